//! The execution: one intent, its plan, its verdict, its steps. State, and how events change it.
//!
//! [`decide`](decide::decide) says which events a command causes; [`Execution::evolve`] applies
//! one. Folding the trace therefore gives the stored state (INVARIANT replayable).
//!
//! Some of a step's state follows from other state: ready once everything before it is completed,
//! cancelled once the execution is closing, unblocked once an approval covers it.
//! [`Execution::settle_derived`] derives it, after events and after loading, so that such changes
//! need no records of their own.

mod approval;
mod attempt;
pub mod ballot;
mod break_glass;
mod command;
pub mod decide;
mod derived;
pub mod duty;
mod edit;
mod evolve;
pub mod gate;
mod grants;
mod mask;
mod progress;
mod sealed;
pub mod step;
pub mod waiting;

use crate::{canonical, plan::Compiled};
pub use ballot::{Comment, Vote};
pub use break_glass::Overridden;
pub use contracts::status::{ApprovalStatus, StepStatus};
use contracts::{
    Digest, ExecutionId, IntentId, Issue, PlanId, RunId, StepId, Timestamp, WorkspaceId,
    draft::OnFailure,
    event::{ActorKind, Purpose, Requirement, StepsRequirement, SubmitMode},
    id::ApprovalId,
    plan::Radius,
    verdict::{RiskTier, RunMode, Verdict},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
pub use step::{About, Asked, Reservation, Step, StepInput};

/// The status of an execution.
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
    /// Waits for people or for a tool's callback.
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

    /// Ended: only a failed execution can be retried.
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
    /// Who supplied the draft, if it did not come with the intent.
    pub drafted_by: Option<String>,
    /// Who made the key that gave it, and so on up to the deployment; of those who edited it too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drafter_key_makers: BTreeSet<String>,
    /// What people changed of it since, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edits: Option<Edits>,
}

/// What people changed of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edits {
    pub by: BTreeSet<String>,
    /// Steps with a changed literal: others than who changed them decide on each.
    #[serde(with = "mask")]
    pub steps: BTreeSet<usize>,
    /// Place in the trace of the last of the events that say what was changed.
    pub last_seq: u64,
    /// Digest of the plan as it was compiled first: steps keep the keys of their calls.
    pub first: Digest,
}

/// Facts of the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictSummary {
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    pub policy_version: String,
    pub policy_digest: Digest,
    pub verdict_digest: Digest,
    pub verified_at: Timestamp,
    /// Indices of the steps that need people: one bit each, so that the head does not grow with
    /// their names.
    #[serde(with = "mask")]
    pub assist: BTreeSet<usize>,
    /// Whom steps ask for, where it is not anybody who decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<StepsRequirement>,
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
    pub state: ApprovalStatus,
    pub requirement: Vec<Requirement>,
    pub excludes: Vec<String>,
    /// What people said who were asked, each person once. Votes that were withdrawn are not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
    /// When who took a vote back had given it by a link: their links from before are used up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub used_links: BTreeMap<String, Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<Comment>,
    /// One person approved alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Overridden>,
    pub decided_by: Vec<String>,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
    /// Steps whose claim consumed it.
    pub consumed: BTreeSet<StepId>,
}

/// A cancellation by a person.
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
    pub ruling: Option<VerdictSummary>,
    pub run: Option<Run>,
    /// Stored as separate records, in this order, so that an execution's head does not grow with
    /// them.
    #[serde(skip)]
    pub approvals: Vec<Approval>,
    pub paused: bool,
    pub cancellation: Option<Cancellation>,
    /// The sum of all reservations that were not refunded.
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
        for (dependent, step) in plan.plan().steps.iter().enumerate() {
            let before: Vec<usize> =
                step.after.iter().filter_map(|id| index.get(id).copied()).collect();
            for from in &before {
                if let Some(list) = dependents.get_mut(*from) {
                    list.push(dependent);
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

    /// Gives the stored step records; steps without one are pending. Then derives what follows from
    /// other state. Approvals come in the order in which they were asked for.
    pub fn restore(&mut self, records: impl IntoIterator<Item = Step>, approvals: Vec<Approval>) {
        self.approvals = approvals;
        if let (Some(plan), Some(_)) = (&self.plan, &self.plan_facts) {
            self.steps = plan.plan().steps.iter().map(|step| Step::new(step.id.clone())).collect();
        }
        for record in records {
            if let Some(index) =
                self.graph.index.get(&record.id).and_then(|index| self.steps.get_mut(*index))
            {
                *index = record;
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
    pub fn index_of(&self, id: &StepId) -> Option<usize> {
        self.graph.index.get(id).copied().filter(|index| *index < self.steps.len())
    }

    /// A step.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.get(self.index_of(id)?)
    }

    /// The planned step at a place.
    pub fn planned(&self, index: usize) -> Option<&contracts::plan::PlanStep> {
        self.plan.as_ref()?.plan().steps.get(index)
    }

    /// Takes the steps whose records changed.
    pub fn take_touched(&mut self) -> Vec<Step> {
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().filter_map(|index| self.steps.get(index).cloned()).collect()
    }

    /// Takes the approvals that changed, with the place of each.
    pub fn take_touched_approvals(&mut self) -> Vec<(usize, Approval)> {
        let touched = std::mem::take(&mut self.touched_approvals);
        touched
            .into_iter()
            .filter_map(|index| Some((index, self.approvals.get(index)?.clone())))
            .collect()
    }
}

/// How often a probe asks before a person must say.
pub const PROBE_ATTEMPTS_MAX: u32 = 3;
