//! The log of the workspace: every change of authority, each entry chained onto the one before.

use crate::{execution::trace::data, page::Page};
use askama::Template;
use contracts::{
    endpoint,
    query::{GetWorkspaceLog, TraceEntry},
};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Moment, Tag, Tone};
use std::sync::Arc;

/// Entries on one page.
const ROWS: u32 = 60;

struct Entry {
    seq: u64,
    at: Moment,
    kind: String,
    actor: String,
    key: String,
    data: Vec<(String, String)>,
    hash: String,
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    entries: Vec<Entry>,
    badge: Tag,
    problem: Option<String>,
    waiting: u32,
    count: u64,
    next: Option<String>,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let here = const { endpoint::page("console.log") };
    let page = Page::new(&engine, &visit)?;
    let cursor = visit.query("cursor").map(str::to_owned);
    let request = GetWorkspaceLog { limit: Some(visit.rows(ROWS)), cursor };
    let log = engine.queries.workspace_log(page.caller, request).await?;
    let badge = match log.verified {
        true => Tag::new(Tone::Good, "this page verifies"),
        false => Tag::new(Tone::Bad, "does not verify"),
    };
    let next = log.next.as_deref().map(|cursor| {
        format!("{}{}?cursor={}", visit.base, here.path, edge::page::escaped(cursor))
    });
    let content = Html::of(&LogPage {
        entries: log.entries.iter().map(entry).collect(),
        badge,
        problem: log.problem.as_deref().map(pages::shown),
        waiting: log.waiting,
        count: log.head.seq,
        next,
    });
    page.reply(("Workspace log", here), None, content)
}

fn entry(entry: &TraceEntry) -> Entry {
    Entry {
        seq: entry.seq,
        at: Moment::exact(entry.timestamp),
        kind: pages::shown(entry.kind.trim_start_matches("controlPlane.")),
        actor: entry.actor_id.as_deref().map(pages::shown).unwrap_or_default(),
        key: entry.key_id.as_deref().map(pages::shown).unwrap_or_default(),
        data: data(&entry.metadata),
        hash: entry.hash.hex().chars().take(12).collect(),
    }
}
