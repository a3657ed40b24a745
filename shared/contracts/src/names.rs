//! Names that do not exist: what to say about them. INVARIANT (unknown-names-are-refused).

use crate::{
    Issue,
    limits::{NAME_BYTES_MAX, SUGGESTION_CANDIDATES_MAX},
};

/// The known name that is nearest to one that is unknown, if any is near. Bounded: long names have
/// no nearest, and so many candidates are looked at.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let apart = |other: &str| (other.len().max(name.len()) / 2).max(1);
    let near = |other: &&str| {
        other.len() <= NAME_BYTES_MAX && other.len().abs_diff(name.len()) <= apart(other)
    };
    let measured = known
        .into_iter()
        .take(SUGGESTION_CANDIDATES_MAX)
        .filter(near)
        .map(|other| (strsim::damerau_levenshtein(name, other), other));
    measured.filter(|(distance, other)| *distance <= apart(other)).min().map(|(_, other)| other)
}

/// What to say about an unknown name: `; did you mean ...?`, or nothing.
pub fn did_you_mean<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    nearest(name, known).map_or_else(String::new, |other| format!("; did you mean `{other}`?"))
}

/// An issue about a name that does not exist.
pub fn unknown<'n>(
    pointer: &str,
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'n str>,
) -> Issue {
    let shown: String = name.chars().take(80).collect();
    let near = did_you_mean(name, known);
    Issue::coded("UNKNOWN_NAME", pointer, format!("there is no {what} `{shown}`{near}"))
}

// serde names an unknown field or variant and lists those it expects, each in backticks; the
// nearest of them is added.
pub(crate) fn with_nearest(message: String) -> String {
    if !(message.starts_with("unknown variant `") || message.starts_with("unknown field `")) {
        return message;
    }
    let Some((head, tail)) = message.split_once("expected ") else {
        return message;
    };
    let name = head.split('`').nth(1).unwrap_or_default();
    let near = did_you_mean(name, tail.split('`').skip(1).step_by(2));
    message + &near
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        let known = ["blocked", "completed", "cancelled"];
        assert_eq!(nearest("blocekd", known), Some("blocked"));
        assert_eq!(nearest("complete", known), Some("completed"));
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
        assert_eq!(
            with_nearest("unknown variant `humn`, expected one of `human`, `agent`".into()),
            "unknown variant `humn`, expected one of `human`, `agent`; did you mean `human`?"
        );
        assert_eq!(with_nearest("missing field `a`".into()), "missing field `a`");
    }
}
