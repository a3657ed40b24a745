//! The hour and the weekday that policies read, in the time zone that the policy set declares.
//!
//! A line `// timezone: Europe/Berlin` outside of any policy declares it; without one it is UTC. So
//! the zone is part of the set's text and digest, is activated, tried and replayed with it, and a
//! verdict needs to keep the moment only.

use crate::source;
use contracts::Timestamp;
use cs_core::suggest::nearest;
use jiff::{civil::Weekday, tz::TimeZone};

/// Days of the week as policies name them.
pub(crate) const WEEKDAYS: &[&str] =
    &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A declared time zone that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeZoneError {
    #[error("line {line}: `{name}` is no time zone of the IANA database{near}")]
    Unknown { line: u32, name: String, near: String },
    #[error("line {line}: the set declares another time zone already")]
    Twice { line: u32 },
}

/// The time zone that a policy text declares.
pub(crate) fn declared(text: &str) -> Result<TimeZone, TimeZoneError> {
    let mut found: Option<(String, TimeZone)> = None;
    for (line, name) in source::directives(text, "timezone") {
        let known = TimeZone::get(&name).ok().filter(|zone| zone.iana_name().is_some());
        let Some(zone) = known else {
            let near =
                jiff::tz::db().available().map(|other| other.to_string()).collect::<Vec<_>>();
            let near = nearest(&name, near.iter().map(String::as_str));
            return Err(TimeZoneError::Unknown { line, name, near });
        };
        if found.as_ref().is_some_and(|(other, _)| *other != name) {
            return Err(TimeZoneError::Twice { line });
        }
        found = Some((name, zone));
    }
    Ok(found.map_or(TimeZone::UTC, |(_, zone)| zone))
}

/// Hour (0 to 23) and weekday of a moment.
pub(crate) fn hour_and_weekday(at: Timestamp, zone: &TimeZone) -> (u8, &'static str) {
    // What no calendar reaches counts as the first moment of 1970: such a timestamp cannot be
    // stored.
    let moment =
        jiff::Timestamp::from_millisecond(at.ms()).unwrap_or_default().to_zoned(zone.clone());
    let weekday = match moment.weekday() {
        Weekday::Monday => "monday",
        Weekday::Tuesday => "tuesday",
        Weekday::Wednesday => "wednesday",
        Weekday::Thursday => "thursday",
        Weekday::Friday => "friday",
        Weekday::Saturday => "saturday",
        Weekday::Sunday => "sunday",
    };
    (u8::try_from(moment.hour()).unwrap_or_default(), weekday)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, set: &str) -> (u8, &'static str) {
        hour_and_weekday(text.parse().unwrap(), &declared(set).unwrap())
    }

    #[test]
    fn hours_and_days_are_those_of_the_declared_zone() {
        assert_eq!(at("2026-07-06T05:59:00Z", ""), (5, "monday"));
        assert_eq!(at("2026-07-06T05:59:00Z", "// timezone: Europe/Berlin"), (7, "monday"));
        assert_eq!(
            at("2026-01-04T23:30:00Z", "// timezone: Europe/Berlin\n"),
            (0, "monday"),
            "no summer time"
        );
        assert_eq!(
            at("2026-07-06T05:59:00Z", "// file: a\n  // timezone:   Pacific/Auckland  "),
            (17, "monday")
        );
        assert_eq!(at("2026-07-05T23:30:00Z", "// timezone: America/New_York"), (19, "sunday"));
    }

    #[test]
    fn unknown_zones_are_refused_with_the_nearest() {
        let error = declared("\n// timezone: Europe/Berlim").unwrap_err().to_string();
        assert_eq!(
            error,
            "line 2: `Europe/Berlim` is no time zone of the IANA database; did you mean \
             `Europe/Berlin`?"
        );
        assert!(declared("// timezone:").is_err());
        assert!(declared("// timezone: UTC\n// timezone: Asia/Tokyo").is_err());
        assert!(declared("// timezone: Asia/Tokyo\n// timezone: Asia/Tokyo").is_ok());
        // A text or a comment inside of a policy declares nothing.
        let text = "permit (principal, action, resource)\n// timezone: Nowhere\nwhen { \
            context.input.a == \"\n// timezone: x\" };";
        assert_eq!(declared(text), Ok(TimeZone::UTC));
    }
}
