//! Commands of an execution, and outcomes of a call.

use super::{
    About, VerdictSummary,
    duty::{Decider, Drafter, Requester},
};
use crate::plan::Compiled;
use contracts::{
    Digest, IntentId, Issue, RunId, StepId, Timestamp,
    approval::Decision,
    event::{Actor, BlockReason, LiteralChange, Purpose, Reserved, Resolution, SubmitMode},
    id::ApprovalId,
    plan::Radius,
    verdict::RunMode,
};
use std::sync::Arc;

/// A command of an execution, by people, callers or the engine.
#[derive(Clone, Debug)]
pub enum Command {
    Receive {
        intent_id: IntentId,
        requester: Requester,
        channel_key: Option<String>,
        mode: SubmitMode,
        digest: Digest,
    },
    Compile {
        outcome: Result<Arc<Compiled>, Vec<Issue>>,
        draft_digest: Digest,
        planner_model: Option<String>,
        /// Who supplied the draft, if it did not come with the intent.
        drafted_by: Option<Drafter>,
    },
    Verify {
        ruling: VerdictSummary,
        reasons: Vec<Issue>,
    },
    Start {
        run_id: RunId,
        mode: RunMode,
    },
    /// A person decides on a request.
    Vote {
        by: Decider,
        on: Asking,
        decision: Decision,
        seen: ShownDigests,
        reason: Option<String>,
        channel: Option<String>,
    },
    /// A person takes a vote back.
    Withdraw {
        by: Decider,
        approval: ApprovalId,
        reason: Option<String>,
    },
    /// A person approves alone, on break-glass authority.
    Override {
        by: Decider,
        approval: ApprovalId,
        seen: ShownDigests,
        reason: String,
        channel: Option<String>,
    },
    /// A person changes literals of the plan. [`Command::Verify`] follows in the same commit.
    Edit {
        by: Decider,
        approval: ApprovalId,
        seen: ShownDigests,
        reason: String,
        channel: String,
        edited: EditedPlan,
    },
    /// A person has looked at what another one approved alone.
    Review {
        by: Decider,
        approval: ApprovalId,
        note: String,
    },
    /// Somebody says something about a request.
    Comment {
        actor: Actor,
        approval: ApprovalId,
        text: String,
    },
    /// Time passed: expires approvals, and callbacks that did not arrive.
    Expire,
    Cancel {
        actor: Actor,
        reason: Option<String>,
        compensate: bool,
    },
    Pause {
        actor: Actor,
        reason: Option<String>,
    },
    Resume {
        actor: Actor,
        reason: Option<String>,
    },
    Retry {
        by: Decider,
        step: Option<StepId>,
        reason: Option<String>,
    },
    Abort {
        actor: Actor,
        reason: Option<String>,
    },
    Resolve {
        by: Decider,
        step: StepId,
        outcome: Resolution,
        output: Option<Digest>,
    },
    /// A worker takes a step.
    Claim {
        step: StepId,
        purpose: Purpose,
        fence: u64,
        input: Digest,
        /// The approval that lets it run.
        approval: Option<ApprovalId>,
        spend: Radius,
        /// What the claim reserves of the meters, and of a mandate.
        reserved: Vec<Reserved>,
        /// The mandate that lets it run in place of an approval.
        mandate: Option<MandateUsed>,
    },
    /// A worker found that a step, its probe or its compensation must wait. `about`: what people
    /// are asked about.
    Block {
        step: StepId,
        purpose: Purpose,
        reason: BlockReason,
        message: Option<String>,
        about: Option<About>,
    },
    /// A worker found that a step cannot be called at all.
    Refuse {
        step: StepId,
        code: String,
        message: String,
    },
    /// A step's condition does not hold.
    Skip {
        step: StepId,
        message: String,
    },
    /// Skips steps after one that failed or was skipped, at most `limit` at once.
    SkipCutOff {
        limit: usize,
    },
    /// A call's outcome, by the worker that made it.
    Settle {
        step: StepId,
        fence: u64,
        attempt: u32,
        outcome: Outcome,
    },
    /// A call's outcome, by the tool that answered 202.
    Callback {
        step: StepId,
        attempt: u32,
        outcome: Outcome,
    },
    /// A worker died with this call in flight.
    Recover {
        step: StepId,
        fence: u64,
    },
}

/// A plan with other literals.
#[derive(Clone, Debug)]
pub struct EditedPlan {
    pub plan: Arc<Compiled>,
    pub draft_digest: Digest,
    pub changes: Vec<LiteralChange>,
}

/// Which request a decision answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asking {
    Request(ApprovalId),
    /// Whatever asks about a step or, without one, about the plan.
    About(Option<StepId>),
}

/// What a decision says of what it is about. INVARIANT (seen-is-signed): it is refused unless that
/// is what holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShownDigests {
    pub binding: Option<Digest>,
    pub view: Option<Digest>,
}

/// A mandate that a claim consumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MandateUsed {
    pub id: String,
    /// Digest of the mandate with what its condition held on.
    pub proof: Digest,
}

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The tool did it.
    Completed { output: Digest },
    /// The tool says no: not repeated.
    Failed { code: String, message: String },
    /// No connection was made: nothing was sent.
    Unreached { message: String },
    /// The outcome is unknown. The tool may have sent `Retry-After`.
    Unknown { code: String, message: String, retry_after_seconds: Option<u32> },
    /// The call took effect, but its answer is unusable; another call would not change that.
    Unusable { code: String, message: String },
    /// The tool will call back.
    Accepted { until: Timestamp },
    /// A probe found that the call had no effect.
    NotDone,
}

impl Outcome {
    /// The outcome is unknown, without `Retry-After`.
    pub fn unknown(code: &str, message: String) -> Self {
        Self::Unknown { code: code.to_owned(), message, retry_after_seconds: None }
    }
}
