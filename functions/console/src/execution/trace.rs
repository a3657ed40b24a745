//! What happened: a timeline of few words, and the trace with its hashes and a replay of it.

use super::unwritten;
use crate::page::Page;
use askama::Template;
use contracts::{
    ExecutionId, Timestamp,
    endpoint::named,
    query::{GetTrace, ReplayTrace, TraceEntry},
};
use engine::{Answer, Engine};
use pages::{Html, Moment, Tag, Tone};
use serde_json::Value;

/// Entries on one page of a trace.
const ENTRIES: usize = 60;
/// Characters of one value of an entry's data that are shown.
const VALUE_COLUMNS: usize = 100;
/// Values of an entry's data that are shown.
const VALUES_SHOWN: usize = 12;

/// One event of the timeline.
pub(super) struct Happening {
    pub(super) at: Moment,
    pub(super) what: String,
    pub(super) class: &'static str,
    pub(super) detail: String,
    pub(super) actor: Option<String>,
}

struct Entry {
    seq: u64,
    at: Moment,
    kind: String,
    actor: String,
    channel: String,
    data: Vec<(String, String)>,
    hash: String,
}

#[derive(Template)]
#[template(path = "trace.html")]
struct TracePart<'p> {
    badge: Tag,
    sealed: bool,
    checked: String,
    differences: Vec<String>,
    count: u64,
    head: String,
    entries: Vec<Entry>,
    own: &'p str,
    newer: Option<u64>,
    older: Option<u64>,
}

/// The events of a trace in few words, if the caller may see it.
pub(super) async fn happenings(
    engine: &Engine,
    page: &Page<'_>,
    (id, begun): (&ExecutionId, Timestamp),
) -> Answer<Vec<Happening>> {
    if !page.may(const { named("trace.get") }) {
        return Ok(Vec::new());
    }
    let trace = engine.queries.trace(page.caller, of(id)).await?;
    Ok(trace.entries.iter().map(|entry| happening(entry, begun)).collect())
}

fn of(id: &ExecutionId) -> GetTrace {
    GetTrace { execution_id: id.clone(), include_payloads: false, from_seq: None }
}

fn happening(entry: &TraceEntry, begun: Timestamp) -> Happening {
    let text = |name: &str| entry.metadata.get(name).and_then(Value::as_str);
    let name = entry.kind.trim_start_matches("controlPlane.");
    let class = match name.rsplit('.').next().unwrap_or_default() {
        "completed" | "granted" | "verified" | "compensated" => Tone::Good,
        "failed" | "rejected" | "voided" | "overridden" => Tone::Bad,
        "blocked" | "requested" | "paused" | "expired" => Tone::Waiting,
        "started" | "resumed" | "retried" => Tone::Moving,
        _ => Tone::Quiet,
    };
    let detail = ["stepId", "reason", "message", "errorMessage", "verdict", "outcome"];
    let mandate = text("mandateId").map(|id| format!("under mandate {id}"));
    let detail = detail.into_iter().filter_map(text).chain(mandate.as_deref());
    let detail: Vec<String> = detail.map(|text| pages::cut(text, VALUE_COLUMNS)).collect();
    Happening {
        at: Moment::since(entry.timestamp, begun),
        what: pages::shown(name),
        class: class.class(),
        detail: detail.join(" · "),
        actor: entry.actor_id.as_deref().map(pages::shown),
    }
}

/// The trace, page by page, and whether it is what happened.
pub(super) async fn part(
    engine: &Engine,
    page: &Page<'_>,
    id: &ExecutionId,
    own: &str,
) -> Answer<Html> {
    let trace = engine.queries.trace(page.caller, of(id)).await?;
    let replay = ReplayTrace { execution_id: id.clone() };
    let replay = engine.replays.replay(page.caller, replay).await?;
    let (tone, word) = match replay.matches {
        true => (Tone::Good, "verified"),
        false => (Tone::Bad, "does not verify"),
    };
    let from = page.visit.query("from").and_then(|from| from.parse::<usize>().ok()).unwrap_or(0);
    let from = from.min(trace.entries.len());
    let rows = page.visit.rows(ENTRIES);
    let entries: Vec<Entry> = trace.entries.iter().skip(from).take(rows).map(entry).collect();
    let older = (from > 0).then(|| from.saturating_sub(rows) as u64);
    let newer = (from + rows < trace.entries.len()).then_some((from + rows) as u64);
    let part = TracePart {
        badge: Tag::new(tone, word),
        sealed: trace.head.sealed,
        checked: replay.checked.join(", "),
        differences: replay
            .differences
            .iter()
            .map(|one| format!("{} at {}", pages::shown(&one.check), pages::shown(&one.path)))
            .collect(),
        count: trace.head.seq,
        head: trace.head.hash.to_string(),
        entries,
        own,
        newer,
        older,
    };
    Html::of(&part).map_err(|error| unwritten(&error))
}

/// What an entry says, beside what its page, its hash and its time say already.
pub(crate) fn data(metadata: &Value) -> Vec<(String, String)> {
    let told = |name: &str| {
        matches!(name, "executionId" | "intentId" | "planId" | "runId" | "at" | "actorId")
            || name.ends_with("At")
            || name.ends_with("Digest")
    };
    let fields = metadata.as_object().into_iter().flatten().filter(|(name, _)| !told(name));
    let shown = fields.take(VALUES_SHOWN).map(|(name, value)| {
        let text = match value {
            Value::String(text) => pages::cell(text, VALUE_COLUMNS),
            other => pages::cut(&other.to_string(), VALUE_COLUMNS),
        };
        (pages::cut(name, VALUE_COLUMNS), text)
    });
    shown.collect()
}

fn entry(entry: &TraceEntry) -> Entry {
    Entry {
        seq: entry.seq,
        at: Moment::exact(entry.timestamp),
        kind: pages::shown(entry.kind.trim_start_matches("controlPlane.")),
        actor: entry.actor_id.as_deref().map(pages::shown).unwrap_or_default(),
        channel: entry.channel.as_deref().map(pages::shown).unwrap_or_default(),
        data: data(&entry.metadata),
        hash: entry.hash.hex().chars().take(12).collect(),
    }
}
