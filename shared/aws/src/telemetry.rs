//! Logs as JSON lines, and metrics in CloudWatch's embedded metric format.
//!
//! A metric is an event of target `metric`: its numbers are the metrics, its texts the dimensions.
//! The engine says what happened; only here is it known what CloudWatch is.

use serde_json::{Map, Value, json};
use std::{
    env,
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    filter::filter_fn,
    fmt,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

const TARGET: &str = "metric";
const NAMESPACE: &str = "Countersign";

/// Begins to log. `LOG_LEVEL`: error, warn, info (as without it); what is below is in no release.
pub(crate) fn init() {
    let level = match env::var("LOG_LEVEL").unwrap_or_default().as_str() {
        "error" => Level::ERROR,
        "warn" => Level::WARN,
        _ => Level::INFO,
    };
    let logs =
        fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    let ours = |target: &str| {
        !["hyper", "h2", "rustls", "aws_", "tower"].iter().any(|name| target.starts_with(name))
    };
    let logs = logs.with_filter(filter_fn(move |metadata| {
        metadata.target() != TARGET
            && (metadata.level() <= &level)
            && (ours(metadata.target()) || metadata.level() <= &Level::WARN)
    }));
    let metrics = Metrics { stage: env::var("STAGE").unwrap_or_default() };
    let metrics = metrics.with_filter(filter_fn(|metadata| metadata.target() == TARGET));
    let most = LevelFilter::INFO;
    // Once per process; a second start has the first one's.
    let _ = tracing_subscriber::registry().with(logs).with(metrics).with(most).try_init();
}

/// Prints metrics.
struct Metrics {
    stage: String,
}

impl<S: Subscriber> Layer<S> for Metrics {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut found = Found::default();
        event.record(&mut found);
        if found.numbers.is_empty() {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let line = record(found, &self.stage, now as u64);
        // One write: lines of two tasks do not mix. Without a log there is nowhere to say that
        // there is none.
        let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
    }
}

#[derive(Default)]
struct Found {
    numbers: Map<String, Value>,
    texts: Map<String, Value>,
}

impl Visit for Found {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.numbers.insert(field.name().to_owned(), json!(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.numbers.insert(field.name().to_owned(), json!(value));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.texts.insert(field.name().to_owned(), json!(value));
    }
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

fn record(found: Found, stage: &str, now_ms: u64) -> Value {
    let metrics: Vec<Value> = found
        .numbers
        .keys()
        .map(|name| {
            json!({ "Name": name, "Unit": if name.ends_with("Ms") {
            "Milliseconds" } else { "Count" } })
        })
        .collect();
    let mut all = vec!["Stage"];
    all.extend(found.texts.keys().map(String::as_str));
    // By everything, and by stage alone, which alarms look at.
    let dimensions =
        if found.texts.is_empty() { json!([["Stage"]]) } else { json!([all, ["Stage"]]) };
    let mut line = json!({
        "_aws": { "Timestamp": now_ms, "CloudWatchMetrics": [{ "Namespace": NAMESPACE,
            "Dimensions": dimensions, "Metrics": metrics }] },
        "Stage": stage,
    });
    if let Some(line) = line.as_object_mut() {
        line.extend(found.texts);
        line.extend(found.numbers);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_in_the_embedded_format() {
        let mut found = Found::default();
        found.numbers.insert("StepMs".into(), json!(12));
        found.texts.insert("Verdict".into(), json!("assist"));
        let line = record(found, "dev", 7);
        assert_eq!(
            line,
            json!({ "_aws": { "Timestamp": 7, "CloudWatchMetrics": [{ "Namespace": "Countersign",
                "Dimensions": [["Stage", "Verdict"], ["Stage"]],
                "Metrics": [{ "Name": "StepMs", "Unit": "Milliseconds" }] }] },
                "Stage": "dev", "Verdict": "assist", "StepMs": 12 })
        );
    }
}
