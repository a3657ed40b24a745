//! Sweep: what a failure left lying is taken up again. Stuck leases, expired approvals, lost waits and lost starts get
//! a new drive; stage events that were not sent are published.

use crate::{
    Answer, Engine, bodies, keys,
    ports::{Fault, Item, Key, Publisher, Query},
    records::{HeadRecord, OutboxRecord},
    relay::PAGE,
};
use contracts::{ExecutionId, Timestamp, WorkspaceId, event::SubmitMode};
use cs_core::execution::{ApprovalState, Status, StepState};
use std::collections::BTreeMap;

/// What is due is left alone for so long, in milliseconds: whoever should do it may be about to.
const GRACE_MS: i64 = 60_000;
/// An execution that says nothing of when it goes on is taken up after so long, in milliseconds: longer than a held
/// step's pause.
const SILENCE_MS: i64 = 5 * 60_000;

/// What a sweep found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Executions that have not ended.
    pub open: u64,
    /// Of those, driven again.
    pub driven: u64,
    /// Executions whose stage events were published.
    pub published: u64,
    /// Age of the oldest stage event that still waits, in milliseconds.
    pub outbox_age_ms: i64,
    /// Age of the oldest approval that is asked for, in milliseconds.
    pub approval_age_ms: i64,
    /// Executions that could not be read or started; the log names them.
    pub failed: u64,
    /// The time was over before everything was looked at.
    pub cut: bool,
}

impl Engine {
    /// Sweeps for at most about `budget_ms`.
    pub async fn sweep(&self, publisher: Option<&dyn Publisher>, budget_ms: i64) -> Result<Swept, Fault> {
        let mut swept = Swept::default();
        let until = self.now().plus_ms(budget_ms);
        // Another shard first each minute, so that none is always the one that is cut off.
        let first = self.now().ms().div_euclid(GRACE_MS).rem_euclid(i64::from(keys::WORK_SHARDS)) as u8;
        let shards = (0..keys::WORK_SHARDS).map(|shard| (shard + first) % keys::WORK_SHARDS);
        if let Some(publisher) = publisher {
            // Half of the time: a queue that is down keeps no execution waiting.
            let half = self.now().plus_ms(budget_ms / 2);
            for shard in shards.clone() {
                let mut next = Some(Query::prefix(keys::outbox_partition(shard), "", PAGE));
                while let Some(query) = next {
                    if self.now() >= half {
                        swept.cut = true;
                        break;
                    }
                    let items = self.ports.table.query(&query).await?;
                    self.sweep_outbox(&items, publisher, half, &mut swept).await;
                    next = query.behind(&items);
                }
            }
        }
        self.chain_waiting().await?;
        for shard in shards {
            let mut next = Some(Query::prefix(keys::open_partition(shard), "", PAGE));
            while let Some(query) = next {
                let items = self.ports.table.query(&query).await?;
                for (key, _) in &items {
                    if self.now() >= until {
                        swept.cut = true;
                        return Ok(swept);
                    }
                    if let Some((workspace, id)) = keys::owner(&key.sort) {
                        // One that cannot be read or started keeps nobody else waiting.
                        if let Err(problem) = self.sweep_execution(&workspace, &id, &mut swept).await {
                            tracing::error!(workspace_id = %workspace, execution_id = %id, %problem, "cannot be swept");
                            swept.failed += 1;
                        }
                    }
                }
                next = query.behind(&items);
            }
        }
        Ok(swept)
    }

    async fn sweep_execution(&self, workspace: &WorkspaceId, id: &ExecutionId, swept: &mut Swept) -> Answer<()> {
        swept.open += 1;
        let key = keys::head(workspace, id);
        let Some(item) = self.ports.table.get(&key).await? else {
            return Ok(());
        };
        let head: HeadRecord = bodies::decode(&key, &item.body)?;
        let now = self.now();
        let asked = head.execution.approvals.iter().filter(|approval| approval.state == ApprovalState::Requested);
        let oldest = asked.map(|approval| now.ms() - approval.requested_at.ms()).max();
        swept.approval_age_ms = swept.approval_age_ms.max(oldest.unwrap_or(0));
        let Some(occasion) = self.stuck(workspace, id, item.version, &head, now).await? else {
            return Ok(());
        };
        let name = format!("{id}-{occasion}");
        self.ports.signals.start(workspace, id, &name).await?;
        swept.driven += 1;
        tracing::warn!(workspace_id = %workspace, execution_id = %id, "was stuck; driven again");
        Ok(())
    }

    // Whether nobody seems to drive an execution that should be driven; if so, what names the new
    // drive: one of the same name is started once, and a machine that begins to wait changes the version, so that the
    // hour alone names it. Steps are read only where the head gives reason to.
    async fn stuck(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        version: u64,
        head: &HeadRecord,
        now: Timestamp,
    ) -> Answer<Option<String>> {
        let state = &head.execution;
        let quiet_ms = now.ms() - state.updated_at.ms();
        let hourly = format!("hour-{}", now.ms().div_euclid(keys::HOUR_MS));
        if let Some(lease) = &head.lease {
            return Ok((lease.expires_at.plus_ms(GRACE_MS) <= now).then_some(hourly));
        }
        let mode = state.intent.as_ref().map(|intent| intent.mode);
        let quiet = match state.status {
            Status::Received | Status::Compiled => mode != Some(SubmitMode::Manual) && quiet_ms >= GRACE_MS,
            Status::Verified => mode == Some(SubmitMode::Auto) && quiet_ms >= GRACE_MS,
            Status::Running | Status::Cancelling | Status::Blocked | Status::Paused => {
                head.token.is_some() || quiet_ms >= SILENCE_MS
            }
            Status::New | Status::Completed | Status::Failed | Status::Rejected | Status::Cancelled => false,
        };
        if !quiet {
            return Ok(None);
        }
        let loaded = self.load(workspace, id).await?;
        let due = loaded.state.next_due();
        let late = due.is_none_or(|due| due.plus_ms(GRACE_MS) <= now);
        // A wait that is registered ends by a signal, or by what is due.
        let waits = head.token.is_some() && due.is_none();
        // Held steps are looked at again and again without a commit: their driver gives no sign of life.
        let held = loaded.state.steps.iter().any(|step| step.state == StepState::Held);
        Ok((late && !waits).then_some(if held { format!("held-{version}") } else { hourly }))
    }

    async fn sweep_outbox(
        &self,
        items: &[(Key, Item)],
        publisher: &dyn Publisher,
        until: Timestamp,
        swept: &mut Swept,
    ) {
        let now = self.now();
        let mut oldest: BTreeMap<(WorkspaceId, ExecutionId), Timestamp> = BTreeMap::new();
        for (key, item) in items {
            match bodies::decode::<OutboxRecord>(key, &item.body) {
                Ok(record) if record.at.plus_ms(GRACE_MS) <= now => {
                    let at = oldest.entry((record.workspace, record.execution)).or_insert(record.at);
                    *at = record.at.min(*at);
                }
                Ok(_) => {}
                Err(fault) => {
                    tracing::error!(%fault, "a stage event's record cannot be read");
                    swept.failed += 1;
                }
            }
        }
        for ((workspace, id), at) in oldest {
            if self.now() >= until {
                swept.cut = true;
                swept.outbox_age_ms = swept.outbox_age_ms.max(now.ms() - at.ms());
                continue;
            }
            let (records, outcome) = self.publish(&workspace, &id, publisher).await;
            if self.sent(&records).await.is_err() {
                tracing::warn!(execution_id = %id, "sent stage events stay in the outbox; they will be sent again");
            }
            match outcome {
                Ok(()) => swept.published += 1,
                Err(fault) => {
                    tracing::warn!(execution_id = %id, %fault, "stage events wait");
                    swept.outbox_age_ms = swept.outbox_age_ms.max(now.ms() - at.ms());
                }
            }
        }
    }
}
