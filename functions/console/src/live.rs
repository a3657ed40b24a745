//! Live updates: a page says what it shows, and hears once when that has changed. The stream ends
//! then, or after a while; browsers ask again on their own.
//!
//! INVARIANT (bounded-work): a stream looks once a second, at one record or one page of a listing,
//! and for at most so long.

use axum::body::{Body, Bytes};
use contracts::{
    Code, ExecutionId, Problem,
    approval::{InboxItem, ListApprovals},
    query::{GetExecution, ListExecutions},
};
use edge::page::{Reply, Visit};
use engine::{Answer, Caller, Engine};
use futures_util::stream;
use std::{convert::Infallible, sync::Arc};

/// Looks of one stream.
const LOOKS_MAX: u32 = 20;
/// Between two looks, in milliseconds.
const PAUSE_MS: u64 = 1_000;
/// Executions of a listing that are looked at.
const ROWS: u32 = 20;
/// Before a browser asks again, in milliseconds.
const RETRY_MS: u32 = 2_000;

/// What a page hears.
const CHANGED: &[u8] = b"event: changed\ndata: 1\n\n";

/// What a page shows.
#[derive(Clone)]
enum Shown {
    Execution(ExecutionId),
    Waiting,
    Latest,
}

pub(crate) async fn tell(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let caller = visit.caller()?.clone();
    let shown = match visit.query("of") {
        Some("inbox") => Shown::Waiting,
        Some(text) if text.starts_with("exe_") => {
            let invalid = |_| Problem::new(Code::ValidationFailed, "`of` names no execution");
            Shown::Execution(text.parse().map_err(invalid)?)
        }
        Some(_) | None => Shown::Latest,
    };
    let invalid = |_| Problem::new(Code::ValidationFailed, "`since` is no moment");
    let since: i64 = visit.query("since").unwrap_or("0").parse().map_err(invalid)?;
    let first = state(&engine, &caller, &shown).await?;
    // What changed between the page and this look is told at once.
    let missed = first.iter().any(|moment| *moment > since);
    // Behind a gateway an answer is sent when it is whole: a look and no wait.
    let looks = if engine.config().exclusive { LOOKS_MAX } else { 1 };
    let watch = Watch { engine, caller, shown, first, looks, begun: false, missed };
    let events = stream::unfold(watch, |watch| async move { watch.next().await });
    Ok(Reply::events(Body::from_stream(events)))
}

struct Watch {
    engine: Arc<Engine>,
    caller: Caller,
    shown: Shown,
    first: Vec<i64>,
    looks: u32,
    begun: bool,
    missed: bool,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if !self.begun {
            self.begun = true;
            return Some((Ok(Bytes::from(format!("retry: {RETRY_MS}\n\n"))), self));
        }
        if self.looks == 0 {
            return None;
        }
        if self.missed {
            self.looks = 0;
            return Some((Ok(Bytes::from_static(CHANGED)), self));
        }
        self.looks -= 1;
        self.engine.ports().clock.sleep(PAUSE_MS).await;
        // Who may not see it any more hears nothing of it.
        let now = state(&self.engine, &self.caller, &self.shown).await.ok()?;
        if now == self.first {
            return Some((Ok(Bytes::from_static(b":\n\n")), self));
        }
        self.looks = 0;
        Some((Ok(Bytes::from_static(CHANGED)), self))
    }
}

// What changes when what is shown changes.
async fn state(engine: &Engine, caller: &Caller, shown: &Shown) -> Answer<Vec<i64>> {
    let request = match shown {
        Shown::Execution(id) => {
            let request = GetExecution {
                execution_id: id.clone(),
                wait_seconds: None,
                include_plan: false,
                include_view: Some(false),
            };
            let view = engine.queries.get(caller, request).await?.execution;
            return Ok(vec![view.updated_at.ms()]);
        }
        Shown::Waiting => {
            let request =
                ListApprovals { mine: Some(false), limit: Some(ROWS), ..ListApprovals::default() };
            let items = engine.queries.inbox(caller, request).await?.items;
            // A vote changes what is missing.
            let item = |item: &InboxItem| {
                let missing = item.missing.iter().map(|one| i64::from(one.count)).sum();
                [item.since.ms(), missing]
            };
            return Ok(items.iter().flat_map(item).collect());
        }
        Shown::Latest => ListExecutions { limit: Some(ROWS), ..ListExecutions::default() },
    };
    let items = engine.queries.list(caller, request).await?.items;
    Ok(items.iter().map(|one| one.updated_at.ms()).collect())
}
