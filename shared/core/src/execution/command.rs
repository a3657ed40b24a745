//! What can be asked of an execution, and what became of a call.

use super::{
    About, Ruling,
    duty::{Decider, Drafter, Requester},
};
use crate::plan::Compiled;
use contracts::{
    Digest, IntentId, Issue, RunId, StepId, Timestamp,
    event::{Actor, BlockReason, Purpose, Reserved, Resolution, SubmitMode},
    id::ApprovalId,
    plan::Radius,
    verdict::RunMode,
};
use std::sync::Arc;

/// What can be asked of an execution, by people, by callers and by the engine.
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
        /// Who gave the draft, where it did not come with the intent.
        drafted_by: Option<Drafter>,
    },
    Verify {
        ruling: Ruling,
        reasons: Vec<Issue>,
    },
    Start {
        run_id: RunId,
        mode: RunMode,
    },
    Approve {
        by: Decider,
        step: Option<StepId>,
        binding: Digest,
        /// What was shown to the person, where the request says.
        view: Option<Digest>,
        note: Option<String>,
        channel: Option<String>,
    },
    Reject {
        by: Decider,
        step: Option<StepId>,
        /// What was shown to the person, where the request says.
        view: Option<Digest>,
        reason: String,
        channel: Option<String>,
    },
    /// Time passed: approvals that are over, callbacks that did not come.
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
        /// What the claim reserves of the meters.
        reserved: Vec<Reserved>,
    },
    /// A worker found that a step, its probe or its compensation must wait. `about`: what people are asked about.
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
    /// Steps behind one that failed or was skipped; so many at once.
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

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The tool did it.
    Completed { output: Digest },
    /// The tool says no: not repeated.
    Failed { code: String, message: String },
    /// No connection came about: nothing was sent.
    Unreached { message: String },
    /// Nobody knows. The tool may have asked for some patience.
    Unknown { code: String, message: String, retry_after_seconds: Option<u32> },
    /// The tool did it, but what it says cannot be used: to call it again would not change that.
    Unusable { code: String, message: String },
    /// The tool will call back.
    Accepted { until: Timestamp },
    /// A probe found that the call had no effect.
    NotDone,
}

impl Outcome {
    /// Nobody knows, and nobody asked for patience.
    pub fn unknown(code: &str, message: String) -> Self {
        Self::Unknown { code: code.to_owned(), message, retry_after_seconds: None }
    }
}
