//! Stage events from the outbox to the subscriber: at least once, in order per execution.

use contracts::{ExecutionId, WorkspaceId};
use engine::{Engine, ports::Fault, webhook_headers};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::mpsc;

/// Executions looked at together.
const ROUND_MAX: usize = 1_024;
/// Outbox items looked at on a start, per shard and round.
const SWEEP_MAX: usize = 500;
/// First wait after a delivery that failed; doubles to the most.
const BACKOFF_MS: u64 = 500;
const BACKOFF_MS_MAX: u64 = 60_000;

type Waiting = mpsc::UnboundedReceiver<(WorkspaceId, ExecutionId)>;

/// Runs until the engine is gone. `target` is the subscriber's URL.
pub(crate) async fn run(engine: Weak<Engine>, mut committed: Waiting, target: String, client: reqwest::Client) {
    let mut backlog = VecDeque::new();
    let mut backoff = BACKOFF_MS;
    if let Some(engine) = engine.upgrade() {
        backlog.extend(left_over(&engine).await);
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
        let round: BTreeSet<(WorkspaceId, ExecutionId)> = backlog.drain(..backlog.len().min(ROUND_MAX)).collect();
        let Some(engine) = engine.upgrade() else { return };
        let mut failed = Vec::new();
        let mut done = Vec::new();
        for (workspace, execution) in round {
            // What was sent before a failure is done: the next try goes on behind it.
            if let Err(why) = deliver(&engine, &workspace, &execution, &target, &client, &mut done).await {
                tracing::warn!(execution_id = %execution, why, "stage events wait for their subscriber");
                failed.push((workspace, execution));
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

async fn left_over(engine: &Engine) -> BTreeSet<(WorkspaceId, ExecutionId)> {
    let mut found = BTreeSet::new();
    for shard in 0..engine::keys::WORK_SHARDS {
        match engine.outbox(shard, SWEEP_MAX).await {
            Ok(records) => found.extend(records.into_iter().map(|record| (record.workspace, record.execution))),
            Err(fault) => tracing::warn!(%fault, "the outbox cannot be read"),
        }
    }
    found
}

async fn deliver(
    engine: &Arc<Engine>,
    workspace: &WorkspaceId,
    execution: &ExecutionId,
    target: &str,
    client: &reqwest::Client,
    done: &mut Vec<engine::OutboxRecord>,
) -> Result<(), String> {
    let text = |fault: Fault| fault.to_string();
    let (events, records) = engine.unsent(workspace, execution).await.map_err(text)?;
    let secret = engine.settings(workspace).await.map_err(|problem| problem.detail)?.webhook_secret;
    let mut records = records.into_iter().peekable();
    for event in events {
        let sequence = event.sequence;
        let body = serde_json::to_vec(&event).map_err(|error| error.to_string())?;
        let id = event.id.hex().get(..32).unwrap_or_default().to_owned();
        let headers =
            webhook_headers(&secret, &id, engine.now(), &body).ok_or("the workspace has no webhook secret")?;
        let mut request = client.post(target).header("content-type", "application/cloudevents+json").body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| error.without_url().to_string())?;
        if !response.status().is_success() {
            return Err(format!("the subscriber answered {}", response.status()));
        }
        done.extend(records.next_if(|record| record.to_seq == sequence));
    }
    done.extend(records);
    Ok(())
}
