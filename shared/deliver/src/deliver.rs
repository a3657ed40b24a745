//! What was published just now, to every target at once.

use crate::{Deliverer, SendError, TIMEOUT_MS, busy, cursor::Cursor, health::Health, wanted};
use async_recursion::async_recursion as boxed;
use async_trait::async_trait;
use contracts::{WorkspaceId, event::CloudEvent};
use countersign_store::{PortError, Stream};
use engine::{Target, ports::Publisher};
use futures_util::future::try_join_all;

/// So long, in milliseconds, the other targets of a stream wait for one that is slow; it is called
/// again in its own time, and then has [`TIMEOUT_MS`].
const OTHERS_WAIT_MS: u64 = 2_000;

/// A call that was not made.
fn down() -> SendError {
    SendError::Unreached("it is down, and was not called".into())
}

impl Deliverer {
    /// Sends the next events of a stream to every target of its workspace. What a target does not
    /// take waits for it, and for nobody else. Says whether anything waits: then all is done that
    /// is to be done now, just as if everything had been taken.
    ///
    /// One call for a stream at a time, in its order. A failure of the store alone is an error:
    /// then the same events are to be delivered again.
    #[boxed]
    pub async fn deliver(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        events: &[CloudEvent],
    ) -> Result<bool, PortError> {
        let targets = self.engine.subscriptions.targets(workspace).await?;
        let timeout_ms = if targets.len() > 1 { OTHERS_WAIT_MS } else { TIMEOUT_MS };
        let each = targets
            .iter()
            .map(|target| self.deliver_to(workspace, stream, target, events, timeout_ms));
        Ok(try_join_all(each).await?.contains(&true))
    }

    async fn deliver_to(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        target: &Target,
        events: &[CloudEvent],
        timeout_ms: u64,
    ) -> Result<bool, PortError> {
        let Some(last) = events.last().map(|event| event.sequence) else { return Ok(false) };
        let id = &target.subscription.id;
        let place = self.place(workspace, id, stream);
        let mut tries = self.store().tries();
        loop {
            tries.next().await.map_err(busy)?;
            let stored = place.read().await?;
            if let Some(cursor) = &stored.value {
                // Behind what waits. Whoever sends from it sees that there is more.
                let more = Cursor { known: last, ..cursor.clone() };
                if cursor.known >= last || place.put(&stored, more).await?.is_some() {
                    return Ok(true);
                }
                continue;
            }
            let health = self.health(workspace, id).await?.value;
            let Err((failed, error)) =
                self.send_new(workspace, stream, target, events, (&health, timeout_ms)).await?
            else {
                return Ok(false);
            };
            let mut cursor = Cursor::new(failed.saturating_sub(1), last, self.engine.now());
            cursor.fail(&error, self.engine.now(), self.store().fresh_version());
            if let Some(stored) = place.put(&stored, cursor).await? {
                crate::cursor::report_parked(&place, &stored.value);
                return Ok(true);
            }
        }
    }

    // The event at which it stopped, and why.
    async fn send_new(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        target: &Target,
        events: &[CloudEvent],
        (health, timeout_ms): (&Health, u64),
    ) -> Result<Result<(), (u64, SendError)>, PortError> {
        let place = (workspace, target.subscription.id.as_str());
        for event in events.iter().filter(|event| wanted(target, event)) {
            if health.is_down() {
                return Ok(Err((event.sequence, down())));
            }
            match self.channel(target).send(target, event, timeout_ms).await {
                Ok(()) => self.note_success(place, health).await?,
                Err(error) => {
                    self.note_failure(place, stream, &error).await?;
                    return Ok(Err((event.sequence, error)));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// In one process, what leaves the outbox is delivered at once.
#[async_trait]
impl Publisher for Deliverer {
    async fn publish(
        &self,
        workspace: &WorkspaceId,
        events: &[CloudEvent],
    ) -> (usize, Result<(), PortError>) {
        let Some(first) = events.first() else { return (0, Ok(())) };
        let Ok(stream) = first.subject.parse::<Stream>() else {
            return (0, Err(PortError::Corrupt(format!("`{}` is no stream", first.subject))));
        };
        match self.deliver(workspace, &stream, events).await {
            Ok(_) => (events.len(), Ok(())),
            Err(fault) => (0, Err(fault)),
        }
    }
}
