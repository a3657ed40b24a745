//! The execution: one intent, its plan, its verdict, its steps. State, and how events change it.
//!
//! [`decide`](decide::decide) says which events a command causes; [`Execution::evolve`] applies one. Folding the
//! trace therefore gives the stored state (INVARIANT replayable).
//!
//! Some of a step's state follows from other state: ready once everything before it is completed, cancelled once
//! the execution is closing, unblocked once an approval covers it. [`Execution::settle_derived`] derives it, after
//! events and after loading, so that such changes need no records of their own.

mod approval;
mod attempt;
pub mod decide;
pub mod duty;
mod evolve;
pub mod gate;
mod mask;
mod sealed;
pub mod step;

use crate::{canonical, plan::Compiled};
use contracts::{
    Digest, ExecutionId, IntentId, Issue, PlanId, RunId, StepId, Timestamp, WorkspaceId,
    draft::OnFailure,
    event::{ActorKind, Purpose, Requirement, SubmitMode},
    id::ApprovalId,
    plan::Radius,
    verdict::{RiskTier, RunMode, Verdict},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
pub use step::{About, Asked, Hold, Step, StepInput, StepState};

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing happened yet.
    New,
    Received,
    Compiled,
    /// The draft was no plan, or policy said no.
    Rejected,
    Verified,
    Running,
    /// Nothing moves without people or a tool's callback.
    Blocked,
    Paused,
    /// Cancelled, with calls in flight, in doubt, or being undone.
    Cancelling,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 12] = [
        Self::New,
        Self::Received,
        Self::Compiled,
        Self::Rejected,
        Self::Verified,
        Self::Running,
        Self::Blocked,
        Self::Paused,
        Self::Cancelling,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Received => "received",
            Self::Compiled => "compiled",
            Self::Rejected => "rejected",
            Self::Verified => "verified",
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Cancelling => "cancelling",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing more happens, but for a retry of a failed one.
    pub const fn ended(self) -> bool {
        match self {
            Self::Rejected | Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::New
            | Self::Received
            | Self::Compiled
            | Self::Verified
            | Self::Running
            | Self::Blocked
            | Self::Paused
            | Self::Cancelling => false,
        }
    }

    /// A run has begun and not ended.
    pub const fn under_way(self) -> bool {
        match self {
            Self::Running | Self::Blocked | Self::Paused | Self::Cancelling => true,
            Self::New
            | Self::Received
            | Self::Compiled
            | Self::Rejected
            | Self::Verified
            | Self::Completed
            | Self::Failed
            | Self::Cancelled => false,
        }
    }
}

/// Facts of the intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentFacts {
    pub intent_id: IntentId,
    pub actor_id: String,
    pub actor_kind: Option<ActorKind>,
    /// The API key that asked, and who made that key.
    pub key_id: Option<String>,
    pub key_made_by: Option<String>,
    /// Who made that one's key, and so on up to the deployment.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub key_makers_above: BTreeSet<String>,
    pub on_behalf_of: Option<String>,
    pub channel_key: Option<String>,
    pub mode: SubmitMode,
    pub digest: Digest,
}

/// Facts of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanFacts {
    pub plan_id: PlanId,
    pub digest: Digest,
    pub draft_digest: Digest,
    /// Who gave the draft, where it did not come with the intent.
    pub drafted_by: Option<String>,
    /// Who made the key that gave it, and so on up to the deployment.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drafter_key_makers: BTreeSet<String>,
}

/// Facts of the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ruling {
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    pub policy_version: String,
    pub policy_digest: Digest,
    pub verdict_digest: Digest,
    pub verified_at: Timestamp,
    /// Places of the steps that need people: a bit each, so that the head does not grow with their names.
    #[serde(with = "mask")]
    pub assist: BTreeSet<usize>,
    pub approval_life_ms: i64,
    /// Digest of what people are shown of the plan; `None`: the plan was refused.
    pub view: Option<Digest>,
}

/// Facts of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    pub run_id: RunId,
    pub mode: RunMode,
    pub started_at: Timestamp,
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    Requested,
    Granted,
    Rejected,
    Expired,
    Voided,
}

impl ApprovalState {
    /// Name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Granted => "granted",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Voided => "voided",
        }
    }
}

/// A decision of people, bound to a digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    pub id: ApprovalId,
    /// `None`: the whole plan.
    pub step: Option<StepId>,
    pub binding: Digest,
    /// Digest of what people were shown.
    pub view: Digest,
    pub state: ApprovalState,
    pub requirement: Vec<Requirement>,
    pub excludes: Vec<String>,
    pub decided_by: Vec<String>,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
    /// Steps whose claim consumed it.
    pub consumed: BTreeSet<StepId>,
}

/// How an execution is being brought to its end by a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancellation {
    pub actor_id: String,
    pub at: Timestamp,
    pub compensate: bool,
}

/// The aggregate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    pub id: ExecutionId,
    pub workspace: WorkspaceId,
    pub status: Status,
    pub intent: Option<IntentFacts>,
    pub plan_facts: Option<PlanFacts>,
    pub ruling: Option<Ruling>,
    pub run: Option<Run>,
    /// Stored as records of their own, in this order: an execution's head does not grow with them.
    #[serde(skip)]
    pub approvals: Vec<Approval>,
    pub paused: bool,
    pub cancellation: Option<Cancellation>,
    /// What the claims so far reserved, and was not given back.
    pub spent: Radius,
    /// Why it was rejected, failed or cancelled.
    pub reasons: Vec<Issue>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Count of events applied; makes derived ids distinct.
    pub events: u64,
    /// Stored as records of their own.
    #[serde(skip)]
    pub steps: Vec<Step>,
    #[serde(skip)]
    plan: Option<Arc<Compiled>>,
    #[serde(skip)]
    graph: Arc<Graph>,
    /// Steps whose records changed since the last commit.
    #[serde(skip)]
    touched: BTreeSet<usize>,
    /// Approvals that changed since the last commit.
    #[serde(skip)]
    touched_approvals: BTreeSet<usize>,
}

/// Two executions are equal if their stored parts are.
impl PartialEq for Execution {
    fn eq(&self, other: &Self) -> bool {
        serde_json::to_value(self).ok() == serde_json::to_value(other).ok()
            && self.steps == other.steps
            && self.approvals == other.approvals
    }
}

#[derive(Debug, Default)]
struct Graph {
    index: BTreeMap<StepId, usize>,
    after: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
}

impl Graph {
    fn new(plan: &Compiled) -> Self {
        let index = crate::plan::index(plan.plan());
        let mut after = Vec::with_capacity(index.len());
        let mut dependents = vec![Vec::new(); index.len()];
        for (place, step) in plan.plan().steps.iter().enumerate() {
            let before: Vec<usize> = step.after.iter().filter_map(|id| index.get(id).copied()).collect();
            for from in &before {
                if let Some(list) = dependents.get_mut(*from) {
                    list.push(place);
                }
            }
            after.push(before);
        }
        Self { index, after, dependents }
    }
}

impl Execution {
    /// An execution to which nothing has happened.
    pub fn new(id: ExecutionId, workspace: WorkspaceId) -> Self {
        Self {
            id,
            workspace,
            status: Status::New,
            intent: None,
            plan_facts: None,
            ruling: None,
            run: None,
            approvals: Vec::new(),
            paused: false,
            cancellation: None,
            spent: Radius::default(),
            reasons: Vec::new(),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            events: 0,
            steps: Vec::new(),
            plan: None,
            graph: Arc::default(),
            touched: BTreeSet::new(),
            touched_approvals: BTreeSet::new(),
        }
    }

    /// Gives the plan that the events speak of. Before folding, or after loading.
    pub fn attach(&mut self, plan: Arc<Compiled>) {
        self.graph = Arc::new(Graph::new(&plan));
        self.plan = Some(plan);
    }

    /// Gives the stored step records; steps without one are pending. Then derives what follows from other state.
    /// Approvals come in the order in which they were asked for.
    pub fn restore(&mut self, records: impl IntoIterator<Item = Step>, approvals: Vec<Approval>) {
        self.approvals = approvals;
        if let (Some(plan), Some(_)) = (&self.plan, &self.plan_facts) {
            self.steps = plan.plan().steps.iter().map(|step| Step::new(step.id.clone())).collect();
        }
        for record in records {
            if let Some(place) = self.graph.index.get(&record.id).and_then(|place| self.steps.get_mut(*place)) {
                *place = record;
            }
        }
        self.settle_derived();
        self.touched.clear();
        self.touched_approvals.clear();
    }

    /// The attached plan.
    pub fn plan(&self) -> Option<&Arc<Compiled>> {
        self.plan.as_ref()
    }

    /// The place of a step.
    pub fn place(&self, id: &StepId) -> Option<usize> {
        self.graph.index.get(id).copied().filter(|place| *place < self.steps.len())
    }

    /// A step.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.get(self.place(id)?)
    }

    /// The planned step at a place.
    pub fn planned(&self, place: usize) -> Option<&contracts::plan::PlanStep> {
        self.plan.as_ref()?.plan().steps.get(place)
    }

    /// Takes the steps whose records changed.
    pub fn take_touched(&mut self) -> Vec<Step> {
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().filter_map(|place| self.steps.get(place).cloned()).collect()
    }

    /// Takes the approvals that changed, with the place of each.
    pub fn take_touched_approvals(&mut self) -> Vec<(usize, Approval)> {
        let touched = std::mem::take(&mut self.touched_approvals);
        touched.into_iter().filter_map(|place| Some((place, self.approvals.get(place)?.clone()))).collect()
    }

    /// Since when an approval has been asked for that nobody has decided.
    pub fn asked_since(&self) -> Option<Timestamp> {
        let open = self.approvals.iter().filter(|approval| approval.state == ApprovalState::Requested);
        open.map(|approval| approval.requested_at).min()
    }

    /// What a step asks people about with its actual input, if it does.
    pub fn asked(&self, step: &StepId) -> Option<&Asked> {
        let record = self.step(step)?;
        record.asked.as_ref().filter(|_| !self.asked_before(record))
    }

    /// Whether a step asked under a policy set that is not in force any more.
    fn asked_before(&self, step: &Step) -> bool {
        let policy = self.ruling.as_ref().map(|ruling| &ruling.policy_digest);
        step.asked.as_ref().is_some_and(|asked| Some(&asked.policy) != policy)
    }

    /// Digest of what people are shown of the plan, or of one step. INVARIANT (seen-is-signed).
    pub fn view_digest(&self, step: Option<&StepId>) -> Option<&Digest> {
        let own = step.and_then(|step| self.asked(step)).map(|asked| &asked.about.view);
        own.or_else(|| self.ruling.as_ref()?.view.as_ref())
    }

    /// What an approval of the plan, or of one step, binds by digest: plan, policy, skills, what people are shown, and the
    /// actual input of a step that asked with it. INVARIANT (approval-binds-digest).
    pub fn binding(&self, step: Option<&StepId>) -> Option<Digest> {
        let (plan, ruling) = (self.plan.as_ref()?, self.ruling.as_ref()?);
        let mut parts: Vec<&[u8]> = vec![
            b"countersign/approval/2",
            self.id.as_str().as_bytes(),
            plan.digest().as_str().as_bytes(),
            ruling.policy_digest.as_str().as_bytes(),
            self.view_digest(step)?.as_str().as_bytes(),
        ];
        for skill in &plan.plan().skills {
            parts.extend([skill.key.as_bytes(), skill.version.as_bytes(), skill.manifest_digest.as_str().as_bytes()]);
        }
        match step {
            None => parts.push(b"plan"),
            Some(id) => {
                parts.extend([b"step".as_slice(), id.as_str().as_bytes()]);
                // Another input is another question: what was approved for the one before is void.
                if let Some(asked) = self.asked(id) {
                    parts.extend([asked.purpose.as_str().as_bytes(), asked.about.input.as_str().as_bytes()]);
                }
            }
        }
        Some(canonical::digest_parts(&parts))
    }

    /// The idempotency key of a step: sha256(executionId ‖ planDigest ‖ stepId), length-prefixed. Undoing and
    /// probing have keys of their own.
    pub fn idempotency_key(&self, step: &StepId, suffix: &str) -> Option<Digest> {
        let plan = self.plan.as_ref()?.digest();
        let mut parts = vec![self.id.as_str().as_bytes(), plan.as_str().as_bytes(), step.as_str().as_bytes()];
        if !suffix.is_empty() {
            parts.push(suffix.as_bytes());
        }
        Some(canonical::digest_parts(&parts))
    }

    /// What the claims of one skill's steps reserved, by its place in the plan.
    pub fn spent_of(&self, skill: usize) -> Radius {
        let own = |place: usize| self.planned(place).is_some_and(|planned| planned.call.skill == skill);
        let holds = self.steps.iter().enumerate().filter(|(place, _)| own(*place));
        holds
            .flat_map(|(_, step)| step.holds())
            .fold(Radius::default(), |total, hold| crate::plan::sum(&total, &hold.spend))
    }

    /// What of the plan's own budget and of a skill's budget a claim with `spend` would exceed, if anything.
    pub fn over_budget(&self, planned: &contracts::plan::PlanStep, spend: &Radius) -> Option<String> {
        let plan = self.plan.as_ref()?.plan();
        let total = crate::plan::sum(&self.spent, spend);
        let skill = plan.skills.get(planned.call.skill)?;
        crate::plan::exceeded(&total, plan.budget.as_ref()).or_else(|| {
            let own = crate::plan::sum(&self.spent_of(planned.call.skill), spend);
            let over = crate::plan::exceeded(&own, skill.budget.as_ref())?;
            Some(format!("{over} (the budget of `{}`)", skill.key))
        })
    }

    /// Whether a step may run only with an approval.
    pub fn needs_approval(&self, step: &Step) -> bool {
        self.foreseen(&step.id) || step.escalated
    }

    /// Whether it was known before the run that a step needs people.
    pub fn foreseen(&self, id: &StepId) -> bool {
        let assist_mode = self.run.as_ref().is_some_and(|run| run.mode == RunMode::Assist);
        let assists = |ruling: &Ruling| self.place(id).is_none_or(|place| ruling.assist.contains(&place));
        assist_mode || self.ruling.as_ref().is_none_or(assists)
    }

    /// The approval that a claim of this step would consume: of the call that people are asked about, else of its own.
    pub fn grant_for(&self, id: &StepId) -> Option<&Approval> {
        let asked = self.step(id).and_then(|step| step.asked.as_ref());
        match asked {
            Some(asked) => self.grant_for_call(id, asked.purpose, &asked.about.input),
            None => self.grant(id, Purpose::Run, None),
        }
    }

    /// The approval that covers a call with this input. INVARIANT (seen-is-signed): an approval of the plan covers no
    /// amount, currency, recipient or target that was unknown when it was given; one of a step covers the very input that
    /// was asked about.
    pub fn grant_for_call(&self, id: &StepId, purpose: Purpose, input: &Digest) -> Option<&Approval> {
        self.grant(id, purpose, Some(input))
    }

    /// Whether an approval that would cover the call is asked for already.
    pub(crate) fn asked_for(&self, id: &StepId, purpose: Purpose) -> bool {
        let planned = self.place(id).and_then(|place| self.planned(place));
        let known = planned
            .and_then(|planned| crate::plan::call_of(planned, purpose))
            .is_some_and(|call| call.unknown.is_empty());
        self.approvals.iter().filter(|approval| approval.state == ApprovalState::Requested).any(|approval| {
            match &approval.step {
                None => known && purpose.is_run() && self.step(id).is_some_and(|step| step.asked.is_none()),
                Some(step) => step == id,
            }
        })
    }

    fn grant(&self, id: &StepId, purpose: Purpose, input: Option<&Digest>) -> Option<&Approval> {
        let (place, record) = (self.place(id)?, self.step(id)?);
        let known = || {
            let call = self.planned(place).and_then(|planned| crate::plan::call_of(planned, purpose));
            call.is_some_and(|call| call.unknown.is_empty())
        };
        let covers = |approval: &Approval| match (&approval.step, &record.asked) {
            // What was asked about with its input is not in an approval of the plan.
            (None, Some(_)) => false,
            (None, None) => known(),
            (Some(step), Some(asked)) => {
                step == id && asked.purpose == purpose && input.is_none_or(|input| asked.about.input == *input)
            }
            (Some(step), None) => step == id && purpose == Purpose::Run && known(),
        };
        self.approvals.iter().find(|approval| {
            approval.state == ApprovalState::Granted
                && !approval.consumed.contains(id)
                && covers(approval)
                && self.binding(approval.step.as_ref()).as_ref() == Some(&approval.binding)
        })
    }

    /// What a decision is about that names no step: the plan; or, where nothing is asked about the plan and one step asks
    /// with its input, that step. The binding says which.
    pub fn decided_on<'s>(&'s self, step: Option<&'s StepId>) -> Option<&'s StepId> {
        let asked = || self.approvals.iter().filter(|approval| approval.state == ApprovalState::Requested);
        match (step, asked().next(), asked().nth(1)) {
            (None, Some(only), None) => only.step.as_ref(),
            (step, _, _) => step,
        }
    }

    /// Whether an approval of the plan would cover any step that still needs one. Where all of them wait for values that
    /// decide, each asks when they are there, and nobody is asked for what covers nothing.
    pub(crate) fn plan_approvable(&self) -> bool {
        self.steps.iter().enumerate().any(|(place, step)| {
            let open = step.state.unstarted() && step.approval.is_none() && step.asked.is_none();
            let known = self.planned(place).is_some_and(|planned| planned.unknown.is_empty());
            open && known && self.needs_approval(step) && self.grant_for(&step.id).is_none()
        })
    }

    /// Steps that wait for approval or will, in plan order.
    pub fn unapproved(&self) -> Vec<StepId> {
        self.steps
            .iter()
            .filter(|step| step.state.unstarted() && step.approval.is_none() && self.needs_approval(step))
            .filter(|step| self.grant_for(&step.id).is_none())
            .map(|step| step.id.clone())
            .collect()
    }

    /// No further step begins: it was cancelled, or failed with compensation.
    pub fn closing(&self) -> bool {
        self.cancellation.is_some() || self.failing_with_compensation() || self.status.ended()
    }

    fn failing_with_compensation(&self) -> bool {
        self.on_failure() == OnFailure::Compensate && self.steps.iter().any(|step| step.state == StepState::Failed)
    }

    fn on_failure(&self) -> OnFailure {
        self.plan.as_ref().map_or(OnFailure::Leave, |plan| plan.plan().on_failure)
    }

    /// Completed steps are being undone.
    pub fn unwinding(&self) -> bool {
        let wanted = self.cancellation.as_ref().is_some_and(|cancel| cancel.compensate);
        (wanted || self.failing_with_compensation()) && !self.status.ended()
    }

    /// A failure of this step ends the plan and undoes what it did, and this step could be undone.
    pub(crate) fn undoes_failures(&self, id: &StepId) -> bool {
        self.on_failure() == OnFailure::Compensate && self.place(id).is_some_and(|place| self.has_undo(place))
    }

    fn has_undo(&self, place: usize) -> bool {
        self.planned(place).is_some_and(|planned| planned.compensate.is_some())
    }

    fn undoable(&self, place: usize) -> bool {
        self.steps.get(place).is_some_and(|step| step.state == StepState::Completed) && self.has_undo(place)
    }

    /// The step to undo next, in reverse order: only when nothing else is in flight or stuck.
    pub fn next_undo(&self, now: Timestamp) -> Option<usize> {
        if !self.unwinding() {
            return None;
        }
        let mut undo = None;
        for (place, step) in self.steps.iter().enumerate() {
            match step.state {
                StepState::Running | StepState::InDoubt | StepState::Stuck => return None,
                StepState::Compensating => {
                    let due = !step.in_flight() && step.retry_at.is_none_or(|at| at <= now);
                    return due.then_some(place);
                }
                StepState::Completed if self.undoable(place) => undo = Some(place),
                StepState::Completed
                | StepState::Pending
                | StepState::Ready
                | StepState::Blocked
                | StepState::Held
                | StepState::Retrying
                | StepState::Failed
                | StepState::Skipped
                | StepState::Cancelled
                | StepState::Compensated => {}
            }
        }
        undo
    }

    /// Whether a lost call can be asked about by its probe.
    pub fn can_probe(&self, place: usize) -> bool {
        let declared = self.planned(place).is_some_and(|planned| planned.probe.is_some());
        let asked = self.steps.get(place).is_none_or(|step| step.probe_attempt >= PROBE_ATTEMPTS_MAX);
        declared && !asked
    }

    /// The next moment at which something becomes due on its own.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.dues().min()
    }

    /// The next of those moments behind another: what is due already and still there waits for something else.
    pub fn due_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.dues().filter(|due| *due > at).min()
    }

    fn dues(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let steps = self.steps.iter().filter_map(|step| match step.state {
            StepState::Retrying | StepState::Compensating => step.retry_at,
            StepState::Running => step.until,
            StepState::Pending
            | StepState::Ready
            | StepState::Blocked
            | StepState::Held
            | StepState::Completed
            | StepState::Failed
            | StepState::InDoubt
            | StepState::Skipped
            | StepState::Cancelled
            | StepState::Compensated
            | StepState::Stuck => None,
        });
        let open = self.approvals.iter().filter(|approval| approval.state == ApprovalState::Requested);
        steps.chain(open.map(|approval| approval.expires_at))
    }

    /// Nothing will move before people, a callback or the clock act.
    pub fn idle(&self) -> bool {
        let drives_itself = self.intent.as_ref().is_some_and(|intent| intent.mode == SubmitMode::Auto);
        match self.status {
            Status::Received | Status::Compiled => {
                self.intent.as_ref().is_some_and(|intent| intent.mode == SubmitMode::Manual)
            }
            Status::Verified => !drives_itself,
            Status::New | Status::Running | Status::Cancelling => false,
            Status::Rejected
            | Status::Blocked
            | Status::Paused
            | Status::Completed
            | Status::Failed
            | Status::Cancelled => true,
        }
    }
}

/// How often a probe asks before a person must say.
pub const PROBE_ATTEMPTS_MAX: u32 = 3;
