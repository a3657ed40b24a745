//! Stage events from the outbox to the subscriptions: at least once, in order per stream.

use contracts::WorkspaceId;
use engine::{Engine, Stream, Webhooks};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Weak,
    time::Duration,
};
use tokio::sync::mpsc;

/// Streams looked at together.
const ROUND_MAX: usize = 1_024;
/// First wait after a delivery that failed; doubles to the most.
const BACKOFF_MS: u64 = 500;
const BACKOFF_MS_MAX: u64 = 60_000;

type Waiting = mpsc::UnboundedReceiver<(WorkspaceId, Stream)>;

/// Runs until the engine is gone.
pub(crate) async fn run(engine: Weak<Engine>, mut committed: Waiting) {
    let mut backlog = VecDeque::new();
    let mut backoff = BACKOFF_MS;
    if let Some(engine) = engine.upgrade() {
        match engine.outbox().await {
            Ok(left) => backlog.extend(left),
            Err(fault) => tracing::warn!(%fault, "the outbox cannot be read"),
        }
    }
    loop {
        if backlog.is_empty() {
            match committed.recv().await {
                Some(next) => backlog.push_back(next),
                None => return,
            }
            // Commits come in quick succession: a moment's wait takes many in one go.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while let Ok(next) = committed.try_recv() {
            backlog.push_back(next);
        }
        let round: BTreeSet<(WorkspaceId, Stream)> = backlog.drain(..backlog.len().min(ROUND_MAX)).collect();
        let Some(engine) = engine.upgrade() else { return };
        if !engine.stage_events() {
            continue;
        }
        let mut failed = Vec::new();
        let mut done = Vec::new();
        for (workspace, stream) in round {
            // What was sent before a failure is done: the next try goes on behind it.
            let (sent, outcome) = engine.publish(&workspace, &stream, &Webhooks::new(&engine)).await;
            done.extend(sent);
            if let Err(fault) = outcome {
                tracing::warn!(%workspace, %stream, %fault, "stage events wait for their subscriber");
                failed.push((workspace, stream));
            }
        }
        if let Err(problem) = engine.sent(&done).await {
            tracing::warn!(code = %problem.code, "sent stage events stay in the outbox; they will be sent again");
        }
        if failed.is_empty() {
            backoff = BACKOFF_MS;
        } else {
            backlog.extend(failed);
            drop(engine);
            tokio::time::sleep(Duration::from_millis(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MS_MAX);
        }
    }
}
