//! Advance: takes the lease and runs everything that can run, all ready steps concurrently, until
//! nothing can or the time is over. One commit carries several outcomes and the claims they make
//! possible.

mod batch;
mod commit;

use crate::{
    Answer, Base, Gate, InForce, Parts, Snapshot, ToolCalls, Vault, Verdicts, Waker, boxed,
    decide::control::default_mode,
    govern::limits::Governed,
    govern::requester::RequesterKey,
    run::call::{Ready, Settled},
    run::gate::{PrepareContext, Prepared},
    run::meters::{self, Metering},
    run::values::Outputs,
};
use contracts::{
    ExecutionId, RunId, StepId, Timestamp, WorkspaceId,
    event::{BlockReason, Purpose, SubmitMode},
};
use countersign_store::{Commit, CommitError, Condition, Lease, Loaded, Write, keys};
use cs_core::{
    execution::{
        Execution, Status, StepStatus,
        decide::{Command, Outcome, Transition},
    },
    trace::Stamp,
};
use futures_util::{
    FutureExt as _, StreamExt as _, future::BoxFuture, select_biased, stream::FuturesUnordered,
};
use policy::Facts;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

/// Outcomes, and claims, that one commit carries: with their records they stay below the limit of a
/// transaction.
const BATCH_MAX: usize = 10;
/// Bodies and checks that one commit carries.
const BATCH_WRITES_MAX: usize = 40;
/// Commits in a row that may fail for the store's sake before the state machine is told to come
/// back.
const FAULTS_MAX: u32 = 5;
/// Longest wait that the state machine is told, in milliseconds.
const WAIT_MS_MAX: i64 = 24 * 3_600_000;
/// A held step is looked at again after so long, in milliseconds, if nothing wakes it before: an
/// hour.
const HELD_MS: i64 = 3_600_000;
/// Up to so long the state machine sleeps; a longer wait can be ended by a signal. In milliseconds.
const SLEEP_MS_MAX: i64 = 10_000;
/// Rounds of `advance` that one state machine makes before it hands over to a fresh one. A round is
/// 13 entries of a machine's history and 140 when every task of it is retried as often as it may
/// be; a history ends at 25,000.
pub const ROUNDS_MAX: u64 = 100;

/// Tries to give a lease back.
const RELEASES_MAX: u32 = 3;

/// What the state machine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Advance again at once.
    Continue,
    /// Advance again after `seconds`.
    Wait,
    /// Wait for a signal, at most `seconds`.
    Blocked,
    /// Start a fresh state machine and end this one.
    Handover,
    Done,
    Failed,
}

/// What `advance` tells the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Next {
    pub next: Step,
    /// For `wait` and `blocked`; at least 1.
    pub seconds: i64,
    /// The version of the execution that this was decided on.
    pub version: u64,
}

impl Next {
    /// The same, said to a state machine in its `round`th round.
    pub fn in_round(self, round: u64) -> Self {
        match self.next {
            Step::Continue | Step::Wait | Step::Blocked if round >= ROUNDS_MAX => {
                Self { next: Step::Handover, ..self }
            }
            Step::Continue
            | Step::Wait
            | Step::Blocked
            | Step::Handover
            | Step::Done
            | Step::Failed => self,
        }
    }
}

type Calls = FuturesUnordered<BoxFuture<'static, Settled>>;

/// One call of a step: attempts of its own effect, of its probe and of its undoing are counted
/// apart.
type CallId = (StepId, Purpose, u32);

/// One worker's turn.
struct Turn {
    runs: Arc<Runs>,
    loaded: Loaded,
    fence: u64,
    owner: String,
    calls: Calls,
    /// Calls that are on their way, so that an ambiguous commit sends none twice.
    sent: BTreeSet<CallId>,
    settled: Vec<Settled>,
    outputs: Outputs,
    /// Sign the calls.
    tool_secrets: Vec<String>,
    signer: Arc<cs_core::warrant::Ring>,
    snapshot: Arc<Snapshot>,
    governed: Governed,
    metering: Metering,
    deadline: Timestamp,
    /// What verdicts are reached on, and the requester's key, as they are now.
    facts: OnceLock<(Facts, RequesterKey)>,
    /// Held steps were looked at once this turn.
    looked_at_held: bool,
    /// The first moment at which a meter that holds a step has room for it.
    room_at: Option<Timestamp>,
    /// When what can be done was decided last: what was due by then and is still there waits for
    /// something else.
    looked_at: Timestamp,
    faults: u32,
}

/// What one commit of a turn is made of.
struct Batch {
    transition: Transition,
    writes: Vec<Write>,
    /// What each extra condition guards: an index of `writes` and what its failure means.
    checks: Vec<(usize, Check)>,
    ready: Vec<Ready>,
    /// How many outcomes of `settled` are in it.
    settled: usize,
    begins: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    Policy,
    Skill(usize),
    /// Freezes, budgets, meters, disabled skills.
    Governance,
    /// The key of who asked.
    Requester,
    /// The key of who gave a mandate.
    MandateMaker,
}

/// Runs what can run.
pub struct Runs {
    pub(crate) base: Arc<Base>,
    pub(crate) tool_calls: Arc<ToolCalls>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) waker: Arc<Waker>,
}

impl Runs {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            tool_calls: Arc::new(ToolCalls::new(parts)),
            gate: Arc::new(Gate::new(parts)),
            in_force: parts.in_force.clone(),
            vault: parts.vault.clone(),
            verdicts: parts.verdicts.clone(),
            waker: parts.waker.clone(),
        }
    }

    /// Runs what can run, for at most about `budget_ms`.
    pub fn advance<'a>(
        self: &'a Arc<Self>,
        workspace: &'a WorkspaceId,
        id: &'a ExecutionId,
        budget_ms: i64,
    ) -> BoxFuture<'a, Answer<Next>> {
        Box::pin(async move {
            let (next, held) = self.take_turn(workspace, id, budget_ms).await?;
            if !held {
                return Ok(next);
            }
            // Listed first and looked at after: no change of the workspace falls between the two.
            self.waker.list_waiting(workspace, id).await?;
            Ok(self.take_turn(workspace, id, budget_ms).await?.0)
        })
    }

    /// Starts the machine that goes on after one that has made its rounds.
    #[boxed]
    pub async fn hand_over(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        version: u64,
    ) -> Answer<()> {
        let name = format!("{id}-h{version}");
        Ok(self.base.ports.orchestrator.start(workspace, id, &name).await?)
    }

    // What is next, and whether steps are held by what only their workspace or time changes.
    async fn take_turn(
        self: &Arc<Self>,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        budget_ms: i64,
    ) -> Answer<(Next, bool)> {
        let loaded = self.base.store.load(workspace, id).await?;
        let now = self.base.now();
        let next = |next, ms: i64, loaded: &Loaded| Next {
            next,
            seconds: (ms.clamp(0, WAIT_MS_MAX) + 999) / 1_000,
            version: loaded.version,
        };
        let auto =
            loaded.state.intent.as_ref().is_some_and(|intent| intent.mode == SubmitMode::Auto);
        match loaded.state.status {
            Status::Completed => return Ok((next(Step::Done, 0, &loaded), false)),
            Status::Failed | Status::Rejected | Status::Cancelled => {
                return Ok((next(Step::Failed, 0, &loaded), false));
            }
            Status::Verified if auto => {}
            Status::New | Status::Received | Status::Compiled | Status::Verified => {
                return Ok((next(Step::Done, 0, &loaded), false));
            }
            Status::Running | Status::Blocked | Status::Paused | Status::Cancelling => {}
        }
        if let Some(lease) = loaded.lease.as_ref().filter(|lease| lease.expires_at > now)
            && !(self.base.config.exclusive && self.of_another_process(lease))
        {
            return Ok((next(Step::Wait, lease.expires_at.ms() - now.ms(), &loaded), false));
        }
        let owner = self.new_owner();
        let mut turn = Turn {
            fence: loaded.epoch + 1,
            owner,
            tool_secrets: self.vault.tool_secrets(workspace).await?,
            signer: self.base.ports.signer.ring().await?,
            // The guard is looked at before what it guards.
            governed: self.in_force.governed_for(workspace, id).await?,
            snapshot: self.in_force.snapshot(workspace).await?,
            metering: Metering::default(),
            runs: self.clone(),
            loaded,
            calls: FuturesUnordered::new(),
            sent: BTreeSet::new(),
            settled: Vec::new(),
            outputs: Outputs::default(),
            deadline: now.plus_ms(budget_ms),
            facts: OnceLock::new(),
            looked_at_held: false,
            room_at: None,
            looked_at: now,
            faults: 0,
        };
        let step = turn.run().await?;
        let released = turn.release().await;
        let (step, ms, held) = turn.waits(step, released);
        let seconds = (ms.clamp(0, WAIT_MS_MAX) + 999) / 1_000;
        Ok((Next { seconds: seconds.max(1), ..next(step, 0, &turn.loaded) }, held))
    }

    fn new_owner(&self) -> String {
        format!("{}-{}", self.base.process, hex::encode(self.base.ports.ids.id()))
    }

    fn of_another_process(&self, lease: &Lease) -> bool {
        lease.owner.split('-').next() != Some(self.base.process.as_str())
    }
}

impl Turn {
    async fn run(&mut self) -> Answer<Step> {
        loop {
            let over = self.runs.base.now() >= self.deadline || self.runs.base.draining();
            let batch = self.batch(over).await?;
            self.looked_at = batch.transition.now();
            let empty = batch.transition.events().is_empty();
            if !empty {
                match self.commit(batch).await? {
                    Committed::Yes | Committed::Again => continue,
                    Committed::LeaseLost => return Ok(Step::Wait),
                }
            }
            let status = self.loaded.state.status;
            if self.calls.is_empty() {
                let step = match status {
                    Status::Completed => Step::Done,
                    Status::Failed | Status::Rejected | Status::Cancelled => Step::Failed,
                    Status::Blocked | Status::Paused => Step::Blocked,
                    Status::Cancelling | Status::Running => {
                        let due = self.loaded.state.due_after(self.looked_at);
                        let due = due.map(|due| due.ms() - self.runs.base.now().ms());
                        match due {
                            Some(ms) if ms <= self.runs.base.config.inline_wait_ms && !over => {
                                self.runs.base.ports.clock.sleep(ms.max(1) as u64).await;
                                continue;
                            }
                            None if over => Step::Continue,
                            None if status == Status::Cancelling => Step::Blocked,
                            Some(_) | None => Step::Wait,
                        }
                    }
                    Status::New | Status::Received | Status::Compiled | Status::Verified => {
                        Step::Done
                    }
                };
                return Ok(step);
            }
            if matches!(self.wait().await?, Committed::LeaseLost) {
                return Ok(Step::Wait);
            }
        }
    }

    // Waits for a call to end, for the lease to want renewal, or for something to become due.
    async fn wait(&mut self) -> Answer<Committed> {
        let now = self.runs.base.now();
        let renewal = self.runs.base.config.lease_ms / 3;
        let due = self.loaded.state.due_after(self.looked_at);
        let due = due.map_or(renewal, |due| (due.ms() - now.ms()).max(1));
        let clock = self.runs.base.ports.clock.clone();
        let ms = renewal.min(due).max(1) as u64;
        let mut timer = clock.sleep(ms).fuse();
        let first = select_biased! {
            settled = self.calls.next() => settled,
            () = timer => None,
        };
        drop(timer);
        match first {
            Some(settled) => {
                self.settled.push(settled);
                // Whatever else is there already joins the same commit.
                while let Some(Some(settled)) = self.calls.next().now_or_never() {
                    self.settled.push(settled);
                }
            }
            None => return self.renew().await,
        }
        Ok(Committed::Again)
    }

    async fn renew(&mut self) -> Answer<Committed> {
        let lease = self.loaded.lease.as_ref();
        let half = self.runs.base.config.lease_ms / 2;
        let now = self.runs.base.now();
        if lease.is_some_and(|lease| lease.expires_at.ms() - now.ms() > half) {
            return Ok(Committed::Again);
        }
        self.take_lease(now);
        let stamp = self.stamp(now);
        let state = self.loaded.state.clone();
        let (runs, commit) = (self.runs.clone(), Commit::new(state, Vec::new(), stamp));
        match runs.base.store.commit(&mut self.loaded, commit).await {
            Ok(()) => Ok(Committed::Yes),
            Err(_) => self.reload().await,
        }
    }

    // How the state machine waits for the next thing to do, how long, and whether steps are held.
    // What can be ended by a signal is worth a token; a short pause is not.
    fn waits(&self, step: Step, released: bool) -> (Step, i64, bool) {
        let state = &self.loaded.state;
        let now = self.runs.base.now();
        let left = |at: Timestamp| (at.ms() - now.ms()).max(0);
        let due = state.due_after(self.looked_at).map(left);
        let held =
            state.waits_for_workspace(self.looked_at) && matches!(step, Step::Wait | Step::Blocked);
        let mut ms = due.unwrap_or(WAIT_MS_MAX);
        if held {
            ms = ms.min(self.room_at.map_or(HELD_MS, left)).min(HELD_MS);
        }
        let step = match step {
            // Somebody committed while this worker ended: look again.
            Step::Wait | Step::Blocked if !released => Step::Continue,
            Step::Wait if ms > SLEEP_MS_MAX => Step::Blocked,
            Step::Continue
            | Step::Wait
            | Step::Blocked
            | Step::Handover
            | Step::Done
            | Step::Failed => step,
        };
        (step, ms, held && step != Step::Continue)
    }

    // Lets another worker have the execution at once; false where somebody committed meanwhile. If
    // it fails otherwise, the lease runs out.
    async fn release(&mut self) -> bool {
        for tries in 0..RELEASES_MAX {
            let ours = self.loaded.lease.as_ref().is_some_and(|lease| lease.owner == self.owner);
            if !ours {
                return tries == 0;
            }
            self.loaded.lease = None;
            let (state, stamp) = (self.loaded.state.clone(), self.stamp(self.runs.base.now()));
            let runs = self.runs.clone();
            let commit = Commit::new(state, Vec::new(), stamp);
            match runs.base.store.commit(&mut self.loaded, commit).await {
                Ok(()) => return tries == 0,
                Err(error) => tracing::debug!(?error, "the lease was not released"),
            }
            if self.reload().await.is_err() {
                return false;
            }
        }
        false
    }

    fn stamp(&self, at: Timestamp) -> Stamp {
        self.loaded.stamp(at)
    }

    fn take_lease(&mut self, now: Timestamp) {
        let expires_at = now.plus_ms(self.runs.base.config.lease_ms);
        self.loaded.lease = Some(Lease { owner: self.owner.clone(), expires_at });
        self.loaded.epoch = self.fence;
    }
}

enum Committed {
    Yes,
    /// Nothing was committed; look again.
    Again,
    /// Another worker has the lease: its claims are its own, and our outcomes would be refused.
    LeaseLost,
}

// The call of a step that is in flight.
fn call_id(step: &cs_core::execution::Step) -> CallId {
    (step.id.clone(), step.purpose, step.call_attempt())
}

impl Settled {
    fn id(&self) -> CallId {
        (self.step.clone(), self.purpose, self.attempt)
    }
}
