//! What there is to tell later: reminders, and groups that escalate. Each execution stands among
//! what is due, at the moment at which somebody is to be told.

use super::{Matter, PeopleChannel};
use crate::{Deliverer, TIMEOUT_MS, busy, cursor::mark, lane::Lane};
use contracts::{ExecutionId, Timestamp, WorkspaceId, limits::NOTICES_OF_ONE_MAX};
use countersign_store::{PortError, Stream, Write, item, keys};
use engine::ToldRecord;

/// Stands for reminders among the targets of what is due. No subscription has such an id.
pub(crate) const REMINDERS: &str = "reminders";
/// What could not be told is tried again after so long, in milliseconds.
pub(crate) const AGAIN_MS: i64 = 60_000;

impl Deliverer {
    /// Tells what is due of executions, until `until`.
    pub(crate) async fn run_reminders(
        &self,
        lane: &Lane,
        until: Timestamp,
    ) -> Result<(), PortError> {
        for (at, stream) in &lane.streams {
            if self.engine.now() >= until {
                return Ok(());
            }
            if let Stream::Trace(execution) = stream {
                self.people.remind(&lane.workspace, execution).await?;
            }
            self.place(&lane.workspace, REMINDERS, stream).not_due(*at).await?;
        }
        Ok(())
    }
}

impl PeopleChannel {
    async fn remind(
        &self,
        workspace: &WorkspaceId,
        execution: &ExecutionId,
    ) -> Result<(), PortError> {
        let notices = &self.engine.notices;
        for name in notices.told_of(workspace, execution, NOTICES_OF_ONE_MAX).await? {
            let told = notices.told(workspace, execution, &name).await?.value;
            let due = told.next_at.is_some_and(|at| at <= self.engine.now());
            let Some(approval) = name.parse().ok().filter(|_| due) else { continue };
            match notices.approval(workspace, execution, &approval).await {
                Ok(Some(asked)) => {
                    let told = self.tell(workspace, &Matter::Approval(asked), TIMEOUT_MS).await;
                    if let Err(error) = told {
                        tracing::warn!(workspace_id = %workspace, %error, "a reminder waits");
                        let at = self.engine.now().plus_ms(AGAIN_MS);
                        self.look_at(workspace, (execution, &name), Some(at)).await?;
                    }
                }
                // It is decided, or its time is over.
                Ok(None) => self.look_at(workspace, (execution, &name), None).await?,
                Err(problem) => return Err(PortError::Unavailable(problem.detail)),
            }
        }
        Ok(())
    }

    // When there is more to tell of it.
    async fn look_at(
        &self,
        workspace: &WorkspaceId,
        (execution, name): (&ExecutionId, &str),
        next_at: Option<Timestamp>,
    ) -> Result<(), PortError> {
        let store = self.engine.store();
        let mut tries = store.tries();
        loop {
            tries.next().await.map_err(busy)?;
            let stored = self.engine.notices.told(workspace, execution, name).await?;
            let record = ToldRecord { next_at, ..stored.value.clone() };
            let key = keys::told(workspace, execution, name);
            let item = item(stored.version + 1, &record)?;
            let stream = Stream::Trace(execution.clone());
            let due = next_at.map(|at| mark(keys::due(workspace, REMINDERS, Some(&stream), at)));
            let mut writes = vec![Write::Put { key, item, condition: stored.unchanged() }];
            writes.extend(due);
            if store.write(writes).await? {
                return Ok(());
            }
        }
    }
}
