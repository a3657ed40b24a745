//! Moments as people write them.

use crate::error::CliError;
use contracts::Timestamp;
use cs_core::text::escape_foreign;

/// The moment that a text names: RFC 3339, a day (its beginning, UTC), or so long before `now`.
pub fn moment(text: &str, now: Timestamp) -> Result<Timestamp, CliError> {
    let day = || format!("{text}T00:00:00Z").parse().ok();
    text.parse().ok().or_else(day).or_else(|| ago(text, now)).ok_or_else(|| {
        let text = escape_foreign(text);
        let forms = "2026-07-01T12:00:00Z, 2026-07-01, 30m, 12h or 7d";
        CliError::Local(format!("`{text}` is no moment; write it like {forms}"))
    })
}

fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = digits.then(|| number.parse().ok())??;
    number.checked_mul(unit_ms).map(|ms| now.plus_ms(-ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_days_and_spans_are_read_and_nothing_else() {
        let now: Timestamp = "2026-07-02T12:00:00Z".parse().unwrap();
        for (text, read) in [
            ("2026-07-01T09:30:00Z", "2026-07-01T09:30:00.000Z"),
            ("2026-07-01T09:30:00+02:00", "2026-07-01T07:30:00.000Z"),
            ("2026-07-01", "2026-07-01T00:00:00.000Z"),
            ("30m", "2026-07-02T11:30:00.000Z"),
            ("12h", "2026-07-02T00:00:00.000Z"),
            ("7d", "2026-06-25T12:00:00.000Z"),
        ] {
            assert_eq!(moment(text, now).unwrap().to_string(), read, "{text}");
        }
        for text in [
            "",
            "d",
            "-7d",
            "+7d",
            "7",
            "7w",
            "yesterday",
            "2026-13-01",
            "9é",
            "99999999999999999d",
        ] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }
}
