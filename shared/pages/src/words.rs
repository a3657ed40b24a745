//! Words and times as pages show them, and foreign text as it may be looked at.

use contracts::Timestamp;
use cs_core::text;

/// How a state is coloured. Its word says the same, for who sees no colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    /// Waits for somebody.
    Waiting,
    Bad,
    /// Is under way.
    Moving,
    Quiet,
}

impl Tone {
    /// Its class in the stylesheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Waiting => "waiting",
            Self::Bad => "bad",
            Self::Moving => "moving",
            Self::Quiet => "quiet",
        }
    }
}

/// The tone of a state, risk or verdict, by its name on the wire. What is not known is quiet.
pub fn tone(state: &str) -> Tone {
    match state {
        "completed" | "succeeded" | "granted" | "autonomous" | "low" | "enabled" | "working"
        | "approve" | "approved" => Tone::Good,
        "blocked" | "held" | "paused" | "requested" | "assist" | "medium" | "retrying"
        | "failing" | "expired" | "cancelling" => Tone::Waiting,
        "failed" | "rejected" | "in_doubt" | "stuck" | "high" | "revoked" | "down" | "reject"
        | "voided" | "disabled" => Tone::Bad,
        "running" | "ready" | "compensating" | "compiled" | "verified" => Tone::Moving,
        _ => Tone::Quiet,
    }
}

/// A word of the wire as people read it: `in_doubt` is "in doubt".
pub fn word(state: &str) -> String {
    shown(state).replace('_', " ")
}

/// Foreign text in quotation marks that nothing in it can end, on one line.
pub fn quoted(foreign: &str) -> String {
    text::quote_foreign(foreign)
}

/// Foreign text on one line: an id, a name.
pub fn shown(foreign: &str) -> String {
    text::escape_foreign(foreign).into_owned()
}

/// Foreign text in quotation marks, cut to about so many columns.
pub fn cell(foreign: &str, columns: usize) -> String {
    format!("\"{}\"", text::cell_foreign(foreign, columns).replace('"', "\\\""))
}

/// Foreign text on one line, cut to about so many columns.
pub fn cut(foreign: &str, columns: usize) -> String {
    text::cell_foreign(foreign, columns)
}

/// A moment as the clock showed it (UTC), to the second.
pub fn exact(at: Timestamp) -> String {
    let iso = at.to_string();
    iso.get(..19).unwrap_or(&iso).replace('T', " ")
}

/// How long something took, from milliseconds.
pub fn took(ms: i64) -> String {
    match ms.max(0) {
        ms @ 0..=999 => format!("{ms} ms"),
        ms @ 1_000..=59_999 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        ms @ 60_000..=3_599_999 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        ms => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// How long ago a moment was, or in how long it will be.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = (now.ms() - at.ms()).div_euclid(1_000);
    let long = match seconds.unsigned_abs() {
        0..=59 => format!("{} s", seconds.unsigned_abs()),
        60..=3_599 => format!("{} min", seconds.unsigned_abs() / 60),
        3_600..=172_799 => format!("{} h", seconds.unsigned_abs() / 3_600),
        _ => format!("{} days", seconds.unsigned_abs() / 86_400),
    };
    if seconds < 0 { format!("in {long}") } else { format!("{long} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now = Timestamp::from_ms(1_000_000_000);
        for (ms, text) in [
            (0, "0 s ago"),
            (-59_000, "59 s ago"),
            (-61_000, "1 min ago"),
            (-7_200_000, "2 h ago"),
            (3_600_000, "in 1 h"),
            (-200_000_000, "2 days ago"),
        ] {
            assert_eq!(ago(now.plus_ms(ms), now), text);
        }
    }

    #[test]
    fn attack_foreign_text_ends_no_quotation_and_hides_nothing() {
        assert_eq!(quoted("a\"b"), r#""a\"b""#);
        for deceiving in ["a\u{202e}b", "a\u{0}b", "a\nb", "a\u{200b}b"] {
            let shown = quoted(deceiving);
            assert!(shown.is_ascii() && !shown.contains('\n'), "{shown}");
        }
    }
}
