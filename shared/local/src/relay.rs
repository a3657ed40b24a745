//! Stage events from the outbox to the subscriptions: at least once, in order per stream.
//!
//! INVARIANT (bounded-work): each workspace has a lane of its own, so that a subscriber that does not answer holds up
//! its own workspace's events and nobody else's. What waits in a lane is at most the names of its streams.

use contracts::WorkspaceId;
use engine::{Engine, Stream, Webhooks};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

/// Streams of a workspace that are looked at together.
const ROUND_MAX: usize = 1_024;
/// First wait after a delivery that failed; doubles to the most.
const BACKOFF_MS: u64 = 500;
const BACKOFF_MS_MAX: u64 = 60_000;
/// Commits come in quick succession: a moment's wait takes many in one go.
const GATHER: Duration = Duration::from_millis(20);

type Waiting = mpsc::UnboundedReceiver<(WorkspaceId, Stream)>;

/// One workspace's streams that wait.
#[derive(Default)]
struct Lane {
    streams: Mutex<BTreeSet<Stream>>,
    more: Notify,
}

impl Lane {
    fn add(&self, streams: impl IntoIterator<Item = Stream>) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).extend(streams);
        self.more.notify_one();
    }

    fn take(&self) -> BTreeSet<Stream> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = streams.iter().nth(ROUND_MAX).cloned().map(|first| streams.split_off(&first));
        std::mem::replace(&mut *streams, rest.unwrap_or_default())
    }
}

/// Runs until the engine is gone.
pub(crate) async fn run(engine: Weak<Engine>, mut committed: Waiting) {
    let mut lanes: HashMap<WorkspaceId, Arc<Lane>> = HashMap::new();
    let mut pass_on = |workspace: WorkspaceId, stream: Stream| {
        let lane = lanes.entry(workspace.clone()).or_insert_with(|| {
            let lane = Arc::<Lane>::default();
            tokio::spawn(send(engine.clone(), workspace, Arc::downgrade(&lane)));
            lane
        });
        lane.add([stream]);
    };
    if let Some(engine) = engine.upgrade() {
        match engine.outbox().await {
            Ok(left) => left.into_iter().for_each(|(workspace, stream)| pass_on(workspace, stream)),
            Err(fault) => tracing::warn!(%fault, "the outbox cannot be read"),
        }
    }
    while let Some((workspace, stream)) = committed.recv().await {
        if engine.upgrade().is_some_and(|engine| engine.stage_events()) {
            pass_on(workspace, stream);
        }
    }
}

// One workspace's lane, until nobody puts anything into it any more.
async fn send(engine: Weak<Engine>, workspace: WorkspaceId, lane: Weak<Lane>) {
    let mut backoff = BACKOFF_MS;
    while let Some(lane) = lane.upgrade() {
        let streams = lane.take();
        if streams.is_empty() {
            tokio::select! {
                () = lane.more.notified() => tokio::time::sleep(GATHER).await,
                // The lane may be gone.
                () = tokio::time::sleep(Duration::from_millis(BACKOFF_MS_MAX)) => {}
            }
            continue;
        }
        let Some(engine) = engine.upgrade() else { return };
        let failed = send_round(&engine, &workspace, streams).await;
        if failed.is_empty() {
            backoff = BACKOFF_MS;
            continue;
        }
        lane.add(failed);
        drop((engine, lane));
        tokio::time::sleep(Duration::from_millis(backoff)).await;
        backoff = (backoff * 2).min(BACKOFF_MS_MAX);
    }
}

// Those that are to be tried again.
async fn send_round(engine: &Engine, workspace: &WorkspaceId, streams: BTreeSet<Stream>) -> Vec<Stream> {
    let (mut failed, mut done) = (Vec::new(), Vec::new());
    for stream in streams {
        // What was sent before a failure is done: the next try goes on behind it.
        let (sent, outcome) = engine.publish(workspace, &stream, &Webhooks::new(engine)).await;
        done.extend(sent);
        if let Err(fault) = outcome {
            tracing::warn!(%workspace, %stream, %fault, "stage events wait for their subscriber");
            failed.push(stream);
        }
    }
    if let Err(problem) = engine.sent(&done).await {
        tracing::warn!(code = %problem.code, "sent stage events stay in the outbox; they will be sent again");
    }
    failed
}
