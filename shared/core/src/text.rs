//! Foreign text as it is shown to people: on one line, with every character escaped that could
//! control a terminal or deceive a reader.
//!
//! INVARIANT (seen-is-signed): texts of agents, tools, skills and policies reach a terminal, mail
//! or page only through this module. Control, bidirectional, invisible and unassigned characters
//! and unusual blanks are escaped as `\u{1b}`; the backslash is doubled, so that an escape cannot
//! be forged. JSON output is not changed.

use std::borrow::Cow;
use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_width::UnicodeWidthChar as _;

/// Combining marks shown on one letter; more would overlap the lines around it.
const MARKS_MAX: usize = 3;

/// An escaped text, on one line.
pub fn escape_foreign(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'\\') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        pieces(text).fold(String::with_capacity(text.len() + 16), |out, piece| out + &piece.shown),
    )
}

/// An escaped text in at most about `columns` columns; says how much was cut off.
pub fn clip_foreign(text: &str, columns: usize) -> String {
    let whole = escape_foreign(text);
    if width(&whole) <= columns {
        return whole.into_owned();
    }
    let all = text.chars().count();
    let rest = |shown: usize| format!("… (+{} characters)", all.saturating_sub(shown));
    let room = columns.saturating_sub(width(&rest(0)));
    let (mut out, mut used, mut shown) = (String::new(), 0, 0);
    for piece in pieces(text) {
        if used + piece.width > room {
            break;
        }
        used += piece.width;
        shown += 1;
        out += &piece.shown;
    }
    out + &rest(shown)
}

/// An escaped text in quotation marks, which nothing in it can end.
pub fn quote_foreign(text: &str) -> String {
    format!("\"{}\"", escape_foreign(text).replace('"', "\\\""))
}

/// A text in exactly one line of at most `columns`, for a cell of a table: what is cut off is
/// marked by `…`.
pub fn cell_foreign(text: &str, columns: usize) -> String {
    let whole = escape_foreign(text);
    if width(&whole) <= columns {
        return whole.into_owned();
    }
    let (mut out, mut used) = (String::new(), 0);
    for piece in pieces(text) {
        if used + piece.width + 1 > columns {
            break;
        }
        used += piece.width;
        out += &piece.shown;
    }
    out + "…"
}

/// Columns that a text without controls takes.
pub fn width(text: &str) -> usize {
    text.chars().map(|char| char.width().unwrap_or(0)).sum()
}

/// A text that is already visible, in lines of at most `columns`, broken at spaces where there are
/// any.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    for word in text.split_inclusive(' ') {
        if used > 0 && used + width(word.trim_end()) > columns {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for char in word.chars() {
            let wide = char.width().unwrap_or(0);
            // A space at the end of a full line is left out: it would begin the next one.
            if used + wide > columns {
                lines.push(std::mem::take(&mut line));
                used = 0;
                if char == ' ' {
                    continue;
                }
            }
            line.push(char);
            used += wide;
        }
    }
    lines.push(line);
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

/// Whether a character is shown as an escape.
pub fn is_hidden(char: char) -> bool {
    if (' '..='~').contains(&char) {
        return false;
    }
    match get_general_category(char) {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator
        | GeneralCategory::SpaceSeparator
        | GeneralCategory::PrivateUse
        | GeneralCategory::Surrogate
        | GeneralCategory::Unassigned => true,
        _ => is_ignorable(char),
    }
}

// Default_Ignorable_Code_Point of Unicode that no category above covers, and the blank Braille
// pattern.
const fn is_ignorable(char: char) -> bool {
    matches!(
        char,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

fn is_mark(char: char) -> bool {
    !char.is_ascii()
        && matches!(
            get_general_category(char),
            GeneralCategory::NonspacingMark
                | GeneralCategory::EnclosingMark
                | GeneralCategory::SpacingMark
        )
}

/// One character as it is shown.
struct Piece {
    shown: String,
    width: usize,
}

fn pieces(text: &str) -> impl Iterator<Item = Piece> + '_ {
    let mut marks = 0;
    text.chars().map(move |char| {
        marks = if is_mark(char) { marks + 1 } else { 0 };
        let shown = match char {
            '\\' => "\\\\".to_owned(),
            _ if is_hidden(char) || marks > MARKS_MAX => format!("\\u{{{:x}}}", u32::from(char)),
            _ => char.to_string(),
        };
        Piece { width: width(&shown), shown }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_acts_or_hides_is_visible() {
        let cases = [
            ("plain: ünïcödé 東京 👍", "plain: ünïcödé 東京 👍"),
            ("\u{1b}[2J\u{1b}[1A", "\\u{1b}[2J\\u{1b}[1A"),
            ("a\r\nb\tc", "a\\u{d}\\u{a}b\\u{9}c"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("pay \u{202e}RUE 24", "pay \\u{202e}RUE 24"),
            ("\u{2066}x\u{2069}\u{200f}\u{61c}", "\\u{2066}x\\u{2069}\\u{200f}\\u{61c}"),
            ("a\u{200b}b\u{feff}c\u{ad}d", "a\\u{200b}b\\u{feff}c\\u{ad}d"),
            ("a\u{2028}b\u{2029}c\u{a0}d\u{3164}e", "a\\u{2028}b\\u{2029}c\\u{a0}d\\u{3164}e"),
            ("tag \u{e0041}\u{e000}", "tag \\u{e0041}\\u{e000}"),
            ("forged \\u{1b}", "forged \\\\u{1b}"),
            ("z\u{301}\u{301}\u{301}\u{301}", "z\u{301}\u{301}\u{301}\\u{301}"),
        ];
        for (text, shown) in cases {
            assert_eq!(escape_foreign(text), shown);
        }
        assert_eq!(quote_foreign("a\" approved \"b"), "\"a\\\" approved \\\"b\"");
    }

    #[test]
    fn what_is_cut_off_is_counted() {
        assert_eq!(clip_foreign("short", 10), "short");
        assert_eq!(
            clip_foreign(&"x".repeat(100), 30),
            format!("{}… (+89 characters)", "x".repeat(11))
        );
        assert_eq!(cell_foreign("東京東京", 5), "東京…");
        assert_eq!(cell_foreign("\u{1b}\u{1b}", 7), "\\u{1b}…", "an escape is never cut in two");
    }

    #[test]
    fn lines_are_no_wider_than_asked() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("東京東京", 5), ["東京", "東京"]);
    }

    proptest! {
        #[test]
        fn no_hidden_character_is_ever_shown(text in any::<String>(), columns in 0_usize..200) {
            let (clipped, cell) = (clip_foreign(&text, columns), cell_foreign(&text, columns));
            for shown in [escape_foreign(&text).as_ref(), &clipped, &cell, &quote_foreign(&text)] {
                prop_assert!(!shown.chars().any(is_hidden), "{shown:?}");
            }
            prop_assert!(width(&cell) <= columns.max(1));
            for line in wrap(&escape_foreign(&text), columns) {
                prop_assert!(width(&line) <= columns.max(2), "{line:?}");
            }
        }

        // INVARIANT (seen-is-signed): two texts never look the same.
        #[test]
        fn what_is_shown_says_what_it_was(text in any::<String>()) {
            let shown = escape_foreign(&text);
            let (mut back, mut rest) = (String::new(), shown.as_ref());
            while let Some(char) = rest.chars().next() {
                if let Some(escape) = rest.strip_prefix("\\u{") {
                    let (hex, after) = escape.split_once('}').unwrap();
                    back.push(char::from_u32(u32::from_str_radix(hex, 16).unwrap()).unwrap());
                    rest = after;
                } else if let Some(after) = rest.strip_prefix("\\\\") {
                    back.push('\\');
                    rest = after;
                } else {
                    back.push(char);
                    rest = &rest[char.len_utf8()..];
                }
            }
            prop_assert_eq!(back, text);
        }
    }
}
