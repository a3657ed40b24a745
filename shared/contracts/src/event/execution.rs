//! What happens to an execution.

use crate::{
    Digest, ExecutionId, IntentId, PlanId, RunId, StepId, Timestamp,
    event::{ActorKind, Requirement, StepsRequirement},
    id::ApprovalId,
    problem::Issue,
    verdict::{RiskTier, RunMode, Verdict},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeSet, fmt};

/// What the caller wants done with an intent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SubmitMode {
    /// Compile, verify, start.
    #[default]
    Auto,
    /// Wait for commands.
    Manual,
    /// Compile and verify, never start.
    DryRun,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntentReceived {
    pub execution_id: ExecutionId,
    pub intent_id: IntentId,
    pub received_at: Timestamp,
    pub actor_id: String,
    /// Absent from traces of before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_kind: Option<ActorKind>,
    /// The API key that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Who made that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_made_by: Option<String>,
    /// Who made the maker's own key, and so on up to the deployment.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub key_makers_above: BTreeSet<String>,
    /// Whom the requester acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_key: Option<String>,
    pub mode: SubmitMode,
    /// Digest of the stored intent.
    pub intent_digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanCompiled {
    pub execution_id: ExecutionId,
    pub plan_id: PlanId,
    pub compiled_at: Timestamp,
    pub step_count: u32,
    pub plan_digest: Digest,
    /// Digest of the draft that was compiled, sealed.
    pub draft_digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planner_model: Option<String>,
    /// Who gave the draft, where it did not come with the intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drafted_by: Option<String>,
    /// Who made the key that gave it, and so on up to the deployment.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drafter_key_makers: BTreeSet<String>,
    /// What a person changed of the plan before. The draft is the changed one, and the person gave
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<PlanEdit>,
}

/// What a person changed of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanEdit {
    /// The request that asked about the plan before.
    pub approval_id: ApprovalId,
    pub reason: String,
    /// How the person was authenticated.
    pub channel: String,
    /// 1 to 20, in the order of steps and pointers.
    pub changes: Vec<LiteralChange>,
}

/// A literal that was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiteralChange {
    pub step_id: StepId,
    /// JSON pointer into the step's input.
    pub pointer: String,
    pub before: Value,
    pub after: Value,
}

impl fmt::Display for LiteralChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step_id, pointer, before, after } = self;
        write!(f, "{step_id} {pointer}: {before} → {after}")
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanVerified {
    pub execution_id: ExecutionId,
    pub plan_id: PlanId,
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    /// Version and digest of the policy set that decided.
    pub policy_version: String,
    pub policy_digest: Digest,
    /// Digest of the stored verdict, which holds every input needed to evaluate it again.
    pub verdict_digest: Digest,
    pub verified_at: Timestamp,
    /// Steps that need people, in plan order. Where they are many, `assistMask` says it instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assist: Vec<StepId>,
    /// Hexadecimal digits, one for each four steps in plan order; the highest bit is the first of
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assist_mask: Option<String>,
    /// Life of the approval that the plan will ask for, in milliseconds.
    /// Whom steps ask for, where it is not anybody who decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<StepsRequirement>,
    pub approval_life_ms: i64,
    /// Digest of the view that people are shown of the plan.
    pub view_digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanRejected {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<PlanId>,
    pub rejected_at: Timestamp,
    /// What speaks against the plan, in words.
    pub reasons: Vec<String>,
    /// The same, each with its place and code.
    #[serde(default)]
    pub issues: Vec<Issue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<RiskTier>,
    /// Where policy blocked: what decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict_digest: Option<Digest>,
    /// Where compilation failed: the draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_digest: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionStarted {
    pub execution_id: ExecutionId,
    pub run_id: RunId,
    pub started_at: Timestamp,
    pub mode: RunMode,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStarted {
    pub execution_id: ExecutionId,
    pub run_id: RunId,
    pub step_id: StepId,
    /// 1 for the first.
    pub attempt: u32,
    pub started_at: Timestamp,
    /// Epoch of the lease that claimed it.
    pub fence: u64,
    /// Digest of the input as sent, sensitive values as commitments.
    pub input_digest: Digest,
    /// The approval this claim consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_id: Option<ApprovalId>,
    /// What the call is: the step itself, its probe or its compensation.
    #[serde(default)]
    pub purpose: Purpose,
    /// What the call reserves of the budget, known now that the input is.
    #[serde(default)]
    pub spend: crate::plan::Radius,
    /// What the claim reserves of the meters, and of a mandate (`mandate-…`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Reserved>,
    /// The mandate that lets it run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandate_id: Option<String>,
    /// Digest of that mandate with the request on which its condition held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandate_proof: Option<Digest>,
}

/// A reservation of one meter, made in the transaction of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reserved {
    /// The meter's id.
    pub meter: String,
    /// Whose usage: nothing for the workspace, an actor's id, or an operation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub of: String,
    pub amount: u64,
    /// The meter's window.
    pub window_seconds: u64,
}

/// What a call to a tool is for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// The step's own effect.
    #[default]
    Run,
    /// Whether an earlier call took effect.
    Probe,
    /// Undoing the step.
    Compensate,
}

impl Purpose {
    /// Name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Probe => "probe",
            Self::Compensate => "compensate",
        }
    }
    /// Whether it is the step's own effect; for serde.
    pub fn is_run(&self) -> bool {
        *self == Self::Run
    }
}

/// Why a step waits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum BlockReason {
    /// People must approve it.
    ApprovalRequired,
    /// The approval's time ran out.
    ApprovalExpired,
    /// Its call's outcome is not known; a person must say.
    OutcomeUnknown,
    /// It would exceed the plan's budget.
    BudgetExceeded,
    /// It would exceed what may be used within a window of time; tried again as the window moves
    /// on.
    UsageExceeded,
    /// Policy refused it with its actual input.
    PolicyBlocked,
    /// Its skill was disabled.
    SkillDisabled,
    /// The workspace is frozen.
    WorkspaceFrozen,
    /// Its skill, its operation or who submitted it is frozen.
    Frozen,
    /// The key that asked for it is revoked or expired.
    RequesterRevoked,
    /// Undoing it failed.
    CompensationFailed,
    /// The tool answered 202 and will call back.
    AwaitingCallback,
}

impl BlockReason {
    /// Whether a call for that purpose waits where it is for an operator to act or for time to
    /// pass. A requester that is gone holds a step that has not begun; what is beside a call that
    /// was made is put before people, for nothing brings that key back.
    pub fn holds(self, purpose: Purpose) -> bool {
        match self {
            Self::SkillDisabled | Self::WorkspaceFrozen | Self::Frozen | Self::UsageExceeded => {
                true
            }
            Self::RequesterRevoked => purpose.is_run(),
            Self::ApprovalRequired
            | Self::ApprovalExpired
            | Self::OutcomeUnknown
            | Self::BudgetExceeded
            | Self::PolicyBlocked
            | Self::CompensationFailed
            | Self::AwaitingCallback => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepBlocked {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub blocked_at: Timestamp,
    pub reason: BlockReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What does not happen: the step itself, its probe or its compensation.
    #[serde(default, skip_serializing_if = "Purpose::is_run")]
    pub purpose: Purpose,
    /// For `approval_required`: digest of the actual input that an approval covers, sensitive
    /// values as commitments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<Digest>,
    /// For `awaiting_callback`: until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Where the step asks people with its actual input: digest of the view that they are shown of
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_digest: Option<Digest>,
    /// Whom it asks for then; absent: anybody who decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirement: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepCompleted {
    pub execution_id: ExecutionId,
    pub run_id: RunId,
    pub step_id: StepId,
    pub completed_at: Timestamp,
    pub output_digest: Digest,
    pub attempt: u32,
}

/// A step failed for good, was skipped, or was compensated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepChanged {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    pub step_id: StepId,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The call had no effect: what its claim reserved is given back.
    #[serde(default, skip_serializing_if = "crate::is_false", rename = "released")]
    pub budget_refunded: bool,
    /// A call of it may have had its effect: nobody learnt what became of it.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub unanswered: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepRetried {
    pub execution_id: ExecutionId,
    pub run_id: RunId,
    pub step_id: StepId,
    pub at: Timestamp,
    /// The attempt that did not succeed.
    pub attempt: u32,
    /// Not before this moment.
    pub retry_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Set where a person asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// The attempt may have had its effect: nobody learnt what became of it.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub unanswered: bool,
}

/// What a person says about a call whose outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It took effect.
    Completed,
    /// It did not, and shall not.
    Failed,
    /// It did not; try again.
    Retry,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepResolved {
    pub execution_id: ExecutionId,
    pub run_id: RunId,
    pub step_id: StepId,
    pub at: Timestamp,
    pub outcome: Resolution,
    pub actor_id: String,
    /// Digest of the evidence given, which is the step's output where it completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_digest: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionCompleted {
    pub execution_id: ExecutionId,
    pub run_id: RunId,
    pub completed_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionFailed {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    pub failed_at: Timestamp,
    pub error_code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionCancelled {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    pub at: Timestamp,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether completed steps are undone.
    #[serde(default)]
    pub compensate: bool,
}

/// Paused or resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionSteered {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    pub at: Timestamp,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
