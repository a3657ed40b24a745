//! Texts that strangers wrote, cut to a length before they become part of an event, an item or an
//! answer.

/// How many bytes a text is as JSON, without its quotation marks.
pub fn json_bytes(text: &str) -> usize {
    text.chars().map(json_char_bytes).sum()
}

fn json_char_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

/// The text, cut so that as JSON it has at most `max` bytes; what was cut ends in `…`.
///
/// INVARIANT (bounded-work): an event or item that quotes a stranger is as large as we say, not as
/// he says.
pub fn clip(mut text: String, max: usize) -> String {
    const MARK: &str = "…";
    let (mut size, mut cut) = (0, 0);
    for (index, c) in text.char_indices() {
        if size + MARK.len() <= max {
            cut = index;
        }
        size += json_char_bytes(c);
        if size > max {
            text.truncate(cut);
            text.push_str(MARK);
            return text;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_work_clips_by_what_is_stored() {
        for text in
            ["", "short", "exactly ten", &"\u{0}".repeat(500), &"ä".repeat(500), &"\"\n".repeat(99)]
        {
            for max in [3, 4, 11, 12, 50, 500] {
                let clipped = clip(text.to_owned(), max);
                assert!(json_bytes(&clipped) <= max, "{max} {clipped:?}");
                assert_eq!(
                    json_bytes(&clipped),
                    serde_json::to_string(&clipped).unwrap().len() - 2
                );
                assert!(clipped == text || clipped.ends_with('…'));
            }
        }
    }
}
