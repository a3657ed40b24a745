//! Entries of a trace, one a line.

use super::{CYAN, GREEN, RED, YELLOW, column, dim, field, paint};
use crate::visible::{columns, cut};
use anstream::println;
use anstyle::Style;
use contracts::query::TraceEntry;
use serde_json::Value;

/// What of an event's data is shown beside its name.
const SHOWN: [&str; 10] = [
    "stepId",
    "verdict",
    "riskTier",
    "mode",
    "attempt",
    "reason",
    "code",
    "message",
    "outcome",
    "errorCode",
];
/// Columns of the number, the time and the event's name.
const BEFORE_ACTOR: usize = 48;

/// One entry of a trace.
pub fn entry(entry: &TraceEntry) {
    let kind = entry.kind.trim_start_matches("controlPlane.");
    let words: Vec<String> = SHOWN
        .iter()
        .filter_map(|key| match entry.metadata.get(key) {
            Some(Value::String(word)) if !word.is_empty() => Some(format!("{key}={word}")),
            Some(Value::Number(number)) => Some(format!("{key}={number}")),
            _ => None,
        })
        .collect();
    let time = entry.timestamp.to_string();
    println!(
        "{} {} {} {}",
        dim(&format!("{:>4}", entry.seq)),
        dim(time.get(11..23).unwrap_or_default()),
        column(kind, &paint(tone(&entry.status), kind), 28),
        cut(
            entry.actor_id.as_deref().unwrap_or_default(),
            columns().saturating_sub(BEFORE_ACTOR).max(1)
        ),
    );
    if !words.is_empty() {
        field(18, "", &words.join("  "));
    }
}

fn tone(last_word: &str) -> Style {
    match last_word {
        "completed" | "granted" | "verified" | "compiled" | "compensated" => GREEN,
        "failed" | "rejected" | "expired" | "voided" => RED,
        "blocked" | "retried" | "requested" | "paused" | "cancelled" => YELLOW,
        _ => CYAN,
    }
}
