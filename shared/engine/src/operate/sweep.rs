//! Sweep: what a failure left lying is taken up again. Stuck leases, expired approvals, lost waits
//! and lost starts get a new drive; stage events that were not sent are published.

use crate::{Answer, Base, Parts, Relay, Waker, boxed, operate::relay::PAGE, ports::Publisher};
use contracts::{ExecutionId, Timestamp, WorkspaceId, event::SubmitMode};
use countersign_store::{HeadRecord, Item, Key, OutboxRecord, PortError, Query, Stream, keys};
use cs_core::execution::Status;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is due is left alone for so long, in milliseconds: whoever should do it may be about to.
const GRACE_MS: i64 = 60_000;
/// An execution of which nobody says until when they wait is taken up after so long, in
/// milliseconds: longer than any pause without a registered wait.
const SILENCE_MS: i64 = 2 * 60_000;

/// What a sweep found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Executions that have not ended.
    pub open: u64,
    /// Of those, driven again.
    pub driven: u64,
    /// Streams whose events were published.
    pub published: u64,
    /// Age of the oldest stage event that still waits, in milliseconds.
    pub outbox_age_ms: i64,
    /// Age of the oldest approval that is asked for, in milliseconds.
    pub approval_age_ms: i64,
    /// Executions that could not be read or started, and workspace logs that could not be chained;
    /// the log names them.
    pub failed: u64,
    /// Of what came in through channels, what was stuck and is worked on anew.
    pub requeued: u64,
    /// The time was over before everything was looked at.
    pub cut: bool,
}

/// Takes up what a failure left lying.
pub struct Sweep {
    pub(crate) base: Arc<Base>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) waker: Arc<Waker>,
}

impl Sweep {
    pub(crate) fn new(parts: &Parts, relay: Arc<Relay>) -> Self {
        Self { base: parts.base.clone(), relay, waker: parts.waker.clone() }
    }

    /// Sweeps for at most about `budget_ms`.
    #[boxed]
    pub async fn sweep(
        &self,
        publisher: Option<&dyn Publisher>,
        budget_ms: i64,
    ) -> Result<Swept, PortError> {
        let mut swept = Swept::default();
        let until = self.base.now().plus_ms(budget_ms);
        // Another shard first each minute, so that none is always the one that is cut off.
        let first =
            self.base.now().ms().div_euclid(GRACE_MS).rem_euclid(i64::from(keys::WORK_SHARDS))
                as u8;
        let shards = (0..keys::WORK_SHARDS).map(|shard| (shard + first) % keys::WORK_SHARDS);
        if let Some(publisher) = publisher {
            // Half of the time: a queue that is down keeps no execution waiting.
            let half = self.base.now().plus_ms(budget_ms / 2);
            for shard in shards.clone() {
                let mut next = Some(Query::prefix(keys::outbox_partition(shard), "", PAGE));
                while let Some(query) = next {
                    if self.base.now() >= half {
                        swept.cut = true;
                        break;
                    }
                    let items = self.base.store.query(&query).await?;
                    self.sweep_outbox(&items, publisher, half, &mut swept).await;
                    next = query.behind(&items);
                }
            }
        }
        swept.failed += self.base.store.chain_waiting().await?;
        swept.failed += self.relay.transparency.append_waiting().await?;
        swept.requeued += self.requeue_receipts().await?;
        if let Err(fault) = self.waker.go_on_waking(self.base.now().plus_ms(budget_ms / 4)).await {
            tracing::warn!(%fault, "held executions stay to be woken");
            swept.failed += 1;
        }
        for shard in shards {
            let mut next = Some(Query::prefix(keys::open_partition(shard), "", PAGE));
            while let Some(query) = next {
                let items = self.base.store.query(&query).await?;
                for (key, _) in &items {
                    if self.base.now() >= until {
                        swept.cut = true;
                        return Ok(swept);
                    }
                    if let Some((workspace, id)) = keys::owner(&key.sort) {
                        // One that cannot be read or started keeps nobody else waiting.
                        if let Err(problem) =
                            self.sweep_execution(&workspace, &id, &mut swept).await
                        {
                            tracing::error!(
                                workspace_id = %workspace, execution_id = %id, %problem,
                                "cannot be swept"
                            );
                            swept.failed += 1;
                        }
                    }
                }
                next = query.behind(&items);
            }
        }
        Ok(swept)
    }

    async fn sweep_execution(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        swept: &mut Swept,
    ) -> Answer<()> {
        swept.open += 1;
        let key = keys::head(workspace, id);
        let Some(item) = self.base.store.get(&key).await? else {
            return Ok(());
        };
        let head: HeadRecord = countersign_store::decode(&key, &item.body)?;
        let now = self.base.now();
        let oldest = head.asked_since.map(|asked| now.ms() - asked.ms());
        swept.approval_age_ms = swept.approval_age_ms.max(oldest.unwrap_or(0));
        if !stuck(&head, now) {
            return Ok(());
        }
        // A machine that gets anywhere changes the version; one that does not is started again in
        // another hour.
        let name = format!("{id}-s{}-{}", item.version, now.ms().div_euclid(keys::HOUR_MS));
        self.base.ports.orchestrator.start(workspace, id, &name).await?;
        swept.driven += 1;
        tracing::warn!(workspace_id = %workspace, execution_id = %id, "was stuck; driven again");
        Ok(())
    }

    async fn sweep_outbox(
        &self,
        items: &[(Key, Item)],
        publisher: &dyn Publisher,
        until: Timestamp,
        swept: &mut Swept,
    ) {
        let now = self.base.now();
        let mut oldest: BTreeMap<(WorkspaceId, Stream), Timestamp> = BTreeMap::new();
        for (key, item) in items {
            match countersign_store::decode::<OutboxRecord>(key, &item.body) {
                Ok(record) if record.at.plus_ms(GRACE_MS) <= now => {
                    let at = oldest.entry((record.workspace, record.stream)).or_insert(record.at);
                    *at = record.at.min(*at);
                }
                Ok(_) => {}
                Err(fault) => {
                    tracing::error!(%fault, "a stage event's record cannot be read");
                    swept.failed += 1;
                }
            }
        }
        for ((workspace, stream), at) in oldest {
            if self.base.now() >= until {
                swept.cut = true;
                swept.outbox_age_ms = swept.outbox_age_ms.max(now.ms() - at.ms());
                continue;
            }
            let (records, outcome) = self.relay.publish(&workspace, &stream, publisher).await;
            if self.base.store.sent(&records).await.is_err() {
                tracing::warn!(
                    %stream, "sent stage events stay in the outbox; they will be sent again"
                );
            }
            match outcome {
                Ok(()) => swept.published += 1,
                Err(fault) => {
                    tracing::warn!(%stream, %fault, "stage events wait");
                    swept.outbox_age_ms = swept.outbox_age_ms.max(now.ms() - at.ms());
                }
            }
        }
    }
}

// Whether nobody drives an execution that should be driven. A lease and a registered wait are
// believed until the moment that they name, and not longer: the machine behind them may have ended
// without a word.
fn stuck(head: &HeadRecord, now: Timestamp) -> bool {
    if let Some(lease) = &head.lease {
        return lease.expires_at.plus_ms(GRACE_MS) <= now;
    }
    let state = &head.execution;
    let quiet_ms = now.ms() - state.updated_at.ms();
    let mode = state.intent.as_ref().map(|intent| intent.mode);
    match state.status {
        Status::Received | Status::Compiled => {
            mode != Some(SubmitMode::Manual) && quiet_ms >= GRACE_MS
        }
        Status::Verified => mode == Some(SubmitMode::Auto) && quiet_ms >= GRACE_MS,
        Status::Running | Status::Cancelling | Status::Blocked | Status::Paused => match &head.wait
        {
            Some(wait) => wait.wait_until.plus_ms(GRACE_MS) <= now,
            None => quiet_ms >= SILENCE_MS,
        },
        Status::New | Status::Completed | Status::Failed | Status::Rejected | Status::Cancelled => {
            false
        }
    }
}
