//! Stage events from the outbox to where workspaces want them: at least once, in order per stream.
//!
//! INVARIANT (bounded-work): each workspace has a lane of its own, in which so many streams are
//! worked on at once, each by itself: what waits for a target that does not answer holds up no
//! other stream for longer than a call, and no other workspace. What waits in a lane is at most the
//! names of its streams.

use contracts::WorkspaceId;
use countersign_deliver::Deliverer;
use countersign_store::Stream;
use engine::Engine;
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

/// Streams of a workspace that are worked on at once.
const STREAMS_AT_ONCE: usize = 16;
/// Wait after a failure of the store.
const BACKOFF: Duration = Duration::from_secs(1);
/// Commits come in quick succession: a moment's wait takes many in one go.
const GATHER: Duration = Duration::from_millis(20);
/// A lane without work looks so often whether it is still wanted.
const IDLE: Duration = Duration::from_secs(60);

/// Where the relay hears of commits.
pub(crate) type Committed = mpsc::UnboundedReceiver<(WorkspaceId, Stream)>;

/// One workspace's streams that wait.
#[derive(Default)]
struct Lane {
    streams: Mutex<BTreeSet<Stream>>,
    more: Notify,
}

impl Lane {
    fn add(&self, stream: Stream) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(stream);
        self.more.notify_one();
    }

    // One that nobody works on: a stream's events are sent in their order.
    fn take(&self, busy: &BTreeSet<Stream>) -> Option<Stream> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let next = streams.iter().find(|stream| !busy.contains(stream)).cloned()?;
        streams.take(&next)
    }
}

/// Runs until the engine is gone. `due` is told of everything that was looked at.
pub(crate) async fn run(engine: Weak<Engine>, mut committed: Committed, due: Arc<Notify>) {
    let mut lanes: HashMap<WorkspaceId, Arc<Lane>> = HashMap::new();
    let mut pass_on = |workspace: WorkspaceId, stream: Stream| {
        let lane = lanes.entry(workspace.clone()).or_insert_with(|| {
            let lane = Arc::<Lane>::default();
            tokio::spawn(send(engine.clone(), workspace, Arc::downgrade(&lane), due.clone()));
            lane
        });
        lane.add(stream);
    };
    if let Some(engine) = engine.upgrade() {
        match engine.store().outbox().await {
            Ok(left) => left.into_iter().for_each(|(workspace, stream)| pass_on(workspace, stream)),
            Err(fault) => tracing::warn!(%fault, "the outbox cannot be read"),
        }
    }
    while let Some((workspace, stream)) = committed.recv().await {
        if engine.upgrade().is_some_and(|engine| engine.store().stage_events()) {
            pass_on(workspace, stream);
        }
    }
}

// One workspace's lane, until nobody puts anything into it any more.
async fn send(engine: Weak<Engine>, workspace: WorkspaceId, lane: Weak<Lane>, due: Arc<Notify>) {
    let mut busy: BTreeSet<Stream> = BTreeSet::new();
    let mut sending: FuturesUnordered<BoxFuture<'_, (Stream, bool)>> = FuturesUnordered::new();
    while let Some(lane) = lane.upgrade() {
        while sending.len() < STREAMS_AT_ONCE
            && let Some(stream) = lane.take(&busy)
        {
            busy.insert(stream.clone());
            sending.push(Box::pin(publish(engine.clone(), &workspace, stream)));
        }
        tokio::select! {
            Some((stream, sent)) = sending.next() => {
                busy.remove(&stream);
                due.notify_one();
                if !sent {
                    lane.add(stream);
                }
            }
            () = lane.more.notified() => tokio::time::sleep(GATHER).await,
            // The lane may be gone.
            () = tokio::time::sleep(IDLE) => {}
        }
        if engine.strong_count() == 0 {
            return;
        }
    }
}

// False: it is to be tried again.
async fn publish(engine: Weak<Engine>, workspace: &WorkspaceId, stream: Stream) -> (Stream, bool) {
    let Some(engine) = engine.upgrade() else { return (stream, true) };
    let deliverer = Deliverer::new(engine.clone());
    let (sent, outcome) = engine.relay.publish(workspace, &stream, &deliverer).await;
    if let Err(fault) = engine.store().sent(&sent).await {
        tracing::warn!(%fault, "sent stage events stay in the outbox; they will be sent again");
    }
    if let Err(fault) = outcome {
        tracing::warn!(%workspace, %stream, %fault, "stage events wait for the store");
        tokio::time::sleep(BACKOFF).await;
        return (stream, false);
    }
    (stream, true)
}
