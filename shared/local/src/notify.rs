//! Who wants to know of commits, in this process: the relay, and callers that wait for an
//! execution.

use async_trait::async_trait;
use contracts::{ExecutionId, WorkspaceId};
use countersign_store::{Notifier, Stream};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

/// Tells the relay and the waiting of commits.
pub struct LocalNotifier {
    outbox: mpsc::UnboundedSender<(WorkspaceId, Stream)>,
    waiting: Mutex<HashMap<ExecutionId, Weak<Notify>>>,
    came_in: Arc<Notify>,
}

impl LocalNotifier {
    /// A notifier, and the end at which the relay listens.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<(WorkspaceId, Stream)>) {
        let (outbox, listener) = mpsc::unbounded_channel();
        (Self { outbox, waiting: Mutex::default(), came_in: Arc::default() }, listener)
    }

    /// Tells when something came in through a channel.
    pub(crate) fn inbound(&self) -> Arc<Notify> {
        self.came_in.clone()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, Weak<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Notifier for LocalNotifier {
    fn committed(&self, workspace: &WorkspaceId, execution: &ExecutionId, idle: bool) {
        let _ = self.outbox.send((workspace.clone(), Stream::Trace(execution.clone())));
        if idle && let Some(notify) = self.waiting().get(execution).and_then(Weak::upgrade) {
            notify.notify_waiters();
        }
    }

    fn logged(&self, workspace: &WorkspaceId) {
        let _ = self.outbox.send((workspace.clone(), Stream::Log));
    }

    fn came_in(&self) {
        self.came_in.notify_one();
    }

    // Polled once before the caller looks, so that a commit in between is seen.
    async fn wait_until_idle(&self, execution: &ExecutionId, ms: u64) {
        let notify = {
            let mut waiting = self.waiting();
            let known = waiting.get(execution).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let fresh = Arc::new(Notify::new());
                waiting.retain(|_, notify| notify.strong_count() > 0);
                waiting.insert(execution.clone(), Arc::downgrade(&fresh));
                fresh
            })
        };
        let _ = tokio::time::timeout(Duration::from_millis(ms), notify.notified()).await;
    }
}
