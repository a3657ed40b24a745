//! Events: what the trace stores and what stage events publish. Readers tolerate unknown fields.

use crate::{
    Digest, ExecutionId, IntentId, PlanId, RunId, StepId, Timestamp,
    id::{ApprovalId, InstallationId},
    problem::Issue,
    verdict::{RiskTier, RunMode, Verdict},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What kind of actor acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ActorKind {
    Human,
    Service,
    Agent,
    Tool,
}

impl ActorKind {
    /// Name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Service => "service",
            Self::Agent => "agent",
            Self::Tool => "tool",
        }
    }
}

/// Who acts. Comes from authentication, never from a body.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    pub kind: ActorKind,
    pub id: String,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id)
    }
}

/// Every event, by its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Event {
    #[serde(rename = "controlPlane.intent.received")]
    IntentReceived(IntentReceived),
    #[serde(rename = "controlPlane.plan.compiled")]
    PlanCompiled(PlanCompiled),
    #[serde(rename = "controlPlane.plan.verified")]
    PlanVerified(PlanVerified),
    #[serde(rename = "controlPlane.plan.rejected")]
    PlanRejected(PlanRejected),
    #[serde(rename = "controlPlane.execution.started")]
    ExecutionStarted(ExecutionStarted),
    #[serde(rename = "controlPlane.execution.step.started")]
    StepStarted(StepStarted),
    #[serde(rename = "controlPlane.execution.step.blocked")]
    StepBlocked(StepBlocked),
    #[serde(rename = "controlPlane.execution.step.completed")]
    StepCompleted(StepCompleted),
    #[serde(rename = "controlPlane.execution.step.failed")]
    StepFailed(StepChanged),
    #[serde(rename = "controlPlane.execution.step.retried")]
    StepRetried(StepRetried),
    #[serde(rename = "controlPlane.execution.step.skipped")]
    StepSkipped(StepChanged),
    #[serde(rename = "controlPlane.execution.step.resolved")]
    StepResolved(StepResolved),
    #[serde(rename = "controlPlane.execution.step.compensated")]
    StepCompensated(StepChanged),
    #[serde(rename = "controlPlane.approval.requested")]
    ApprovalRequested(ApprovalRequested),
    #[serde(rename = "controlPlane.approval.granted")]
    ApprovalGranted(ApprovalDecided),
    #[serde(rename = "controlPlane.approval.rejected")]
    ApprovalRejected(ApprovalDecided),
    #[serde(rename = "controlPlane.approval.expired")]
    ApprovalExpired(ApprovalDecided),
    #[serde(rename = "controlPlane.approval.voided")]
    ApprovalVoided(ApprovalDecided),
    #[serde(rename = "controlPlane.execution.completed")]
    ExecutionCompleted(ExecutionCompleted),
    #[serde(rename = "controlPlane.execution.failed")]
    ExecutionFailed(ExecutionFailed),
    #[serde(rename = "controlPlane.execution.cancelled")]
    ExecutionCancelled(ExecutionCancelled),
    #[serde(rename = "controlPlane.execution.paused")]
    ExecutionPaused(ExecutionSteered),
    #[serde(rename = "controlPlane.execution.resumed")]
    ExecutionResumed(ExecutionSteered),
    #[serde(rename = "controlPlane.skill.installed")]
    SkillInstalled(SkillInstalled),
    #[serde(rename = "controlPlane.skill.rejected")]
    SkillRejected(SkillRejected),
    #[serde(rename = "controlPlane.skill.disabled")]
    SkillDisabled(SkillDisabled),
    #[serde(rename = "controlPlane.skill.enabled")]
    SkillEnabled(SkillEnabled),
    #[serde(rename = "controlPlane.policy.activated")]
    PolicyActivated(PolicyActivated),
    #[serde(rename = "controlPlane.governance.changed")]
    GovernanceChanged(GovernanceChanged),
    #[serde(rename = "controlPlane.workspace.created")]
    WorkspaceCreated(WorkspaceCreated),
    #[serde(rename = "controlPlane.key.created")]
    KeyCreated(KeyChanged),
    #[serde(rename = "controlPlane.key.revoked")]
    KeyRevoked(KeyChanged),
    #[serde(rename = "controlPlane.subscription.created")]
    SubscriptionCreated(SubscriptionChanged),
    #[serde(rename = "controlPlane.subscription.removed")]
    SubscriptionRemoved(SubscriptionChanged),
    #[serde(rename = "controlPlane.subscription.secret.rotated")]
    SubscriptionSecretRotated(SubscriptionChanged),
    #[serde(rename = "controlPlane.tool.secret.rotated")]
    ToolSecretRotated(ToolSecretRotated),
    #[serde(rename = "controlPlane.evidence.exported")]
    EvidenceExported(EvidenceExported),
}

impl Event {
    /// The key, `controlPlane.` and what happened.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::IntentReceived(_) => "controlPlane.intent.received",
            Self::PlanCompiled(_) => "controlPlane.plan.compiled",
            Self::PlanVerified(_) => "controlPlane.plan.verified",
            Self::PlanRejected(_) => "controlPlane.plan.rejected",
            Self::ExecutionStarted(_) => "controlPlane.execution.started",
            Self::StepStarted(_) => "controlPlane.execution.step.started",
            Self::StepBlocked(_) => "controlPlane.execution.step.blocked",
            Self::StepCompleted(_) => "controlPlane.execution.step.completed",
            Self::StepFailed(_) => "controlPlane.execution.step.failed",
            Self::StepRetried(_) => "controlPlane.execution.step.retried",
            Self::StepSkipped(_) => "controlPlane.execution.step.skipped",
            Self::StepResolved(_) => "controlPlane.execution.step.resolved",
            Self::StepCompensated(_) => "controlPlane.execution.step.compensated",
            Self::ApprovalRequested(_) => "controlPlane.approval.requested",
            Self::ApprovalGranted(_) => "controlPlane.approval.granted",
            Self::ApprovalRejected(_) => "controlPlane.approval.rejected",
            Self::ApprovalExpired(_) => "controlPlane.approval.expired",
            Self::ApprovalVoided(_) => "controlPlane.approval.voided",
            Self::ExecutionCompleted(_) => "controlPlane.execution.completed",
            Self::ExecutionFailed(_) => "controlPlane.execution.failed",
            Self::ExecutionCancelled(_) => "controlPlane.execution.cancelled",
            Self::ExecutionPaused(_) => "controlPlane.execution.paused",
            Self::ExecutionResumed(_) => "controlPlane.execution.resumed",
            Self::SkillInstalled(_) => "controlPlane.skill.installed",
            Self::SkillRejected(_) => "controlPlane.skill.rejected",
            Self::SkillDisabled(_) => "controlPlane.skill.disabled",
            Self::SkillEnabled(_) => "controlPlane.skill.enabled",
            Self::PolicyActivated(_) => "controlPlane.policy.activated",
            Self::GovernanceChanged(_) => "controlPlane.governance.changed",
            Self::WorkspaceCreated(_) => "controlPlane.workspace.created",
            Self::KeyCreated(_) => "controlPlane.key.created",
            Self::KeyRevoked(_) => "controlPlane.key.revoked",
            Self::SubscriptionCreated(_) => "controlPlane.subscription.created",
            Self::SubscriptionRemoved(_) => "controlPlane.subscription.removed",
            Self::SubscriptionSecretRotated(_) => "controlPlane.subscription.secret.rotated",
            Self::ToolSecretRotated(_) => "controlPlane.tool.secret.rotated",
            Self::EvidenceExported(_) => "controlPlane.evidence.exported",
        }
    }

    /// The step it speaks of.
    pub const fn step_id(&self) -> Option<&StepId> {
        match self {
            Self::StepStarted(data) => Some(&data.step_id),
            Self::StepBlocked(data) => data.step_id.as_ref(),
            Self::StepCompleted(data) => Some(&data.step_id),
            Self::StepFailed(data) | Self::StepSkipped(data) | Self::StepCompensated(data) => Some(&data.step_id),
            Self::StepRetried(data) => Some(&data.step_id),
            Self::StepResolved(data) => Some(&data.step_id),
            Self::ApprovalRequested(data) => data.step_id.as_ref(),
            Self::ApprovalGranted(data)
            | Self::ApprovalRejected(data)
            | Self::ApprovalExpired(data)
            | Self::ApprovalVoided(data) => data.step_id.as_ref(),
            Self::IntentReceived(_)
            | Self::PlanCompiled(_)
            | Self::PlanVerified(_)
            | Self::PlanRejected(_)
            | Self::ExecutionStarted(_)
            | Self::ExecutionCompleted(_)
            | Self::ExecutionFailed(_)
            | Self::ExecutionCancelled(_)
            | Self::ExecutionPaused(_)
            | Self::ExecutionResumed(_)
            | Self::SkillInstalled(_)
            | Self::SkillRejected(_)
            | Self::SkillDisabled(_)
            | Self::SkillEnabled(_)
            | Self::PolicyActivated(_)
            | Self::GovernanceChanged(_)
            | Self::WorkspaceCreated(_)
            | Self::KeyCreated(_)
            | Self::KeyRevoked(_)
            | Self::SubscriptionCreated(_)
            | Self::SubscriptionRemoved(_)
            | Self::SubscriptionSecretRotated(_)
            | Self::ToolSecretRotated(_)
            | Self::EvidenceExported(_) => None,
        }
    }
}

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
    /// Hexadecimal digits, one for each four steps in plan order; the highest bit is the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assist_mask: Option<String>,
    /// Life of the approval that the plan will ask for, in milliseconds.
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
    /// What the claim reserves of the meters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Reserved>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
    /// It would exceed what may be used within a window of time; tried again as the window moves on.
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
    /// For `approval_required`: digest of the actual input that an approval covers, sensitive values as commitments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<Digest>,
    /// For `awaiting_callback`: until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Where the step asks people with its actual input: digest of the view that they are shown of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_digest: Option<Digest>,
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
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub released: bool,
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
pub struct ApprovalRequested {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub approval_id: ApprovalId,
    pub binding_digest: Digest,
    /// Digest of what people are shown; the binding covers it.
    pub view_digest: Digest,
    pub at: Timestamp,
    pub expires_at: Timestamp,
    /// Groups that must each give so many voices.
    pub requirement: Vec<Requirement>,
    /// Actors whose voices do not count.
    pub excludes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// So many voices of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    pub group: String,
    pub count: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalDecided {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub approval_id: ApprovalId,
    pub binding_digest: Digest,
    /// Digest of what was shown to those who decide.
    pub view_digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// How the actor was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillInstalled {
    pub installation_id: InstallationId,
    pub skill_key: String,
    pub version: String,
    pub installed_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    pub manifest_digest: Digest,
    pub actor_id: String,
    pub verified: bool,
    /// A person let a version come that is below the highest that ever was installed: the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade_from: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillRejected {
    pub skill_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub rejected_at: Timestamp,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<Digest>,
    pub issues: Vec<Issue>,
    pub actor_id: String,
    /// Attempts of this actor before this one that were too many to be recorded, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillEnabled {
    pub key: String,
    /// Absent: the skill as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub at: Timestamp,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillDisabled {
    pub key: String,
    /// Absent: every version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub at: Timestamp,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyActivated {
    pub key: String,
    pub version: String,
    pub digest: Digest,
    pub at: Timestamp,
    pub actor_id: String,
}

/// Trust, freezes, budgets or the shadow policy set of a workspace were changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GovernanceChanged {
    /// `trust`, `freezes`, `budgets` or `shadow`.
    pub key: String,
    /// Digest of what is in force now.
    pub digest: Digest,
    pub at: Timestamp,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceExported {
    pub key: String,
    pub digest: Digest,
    pub at: Timestamp,
    pub actor_id: String,
}

/// A workspace was made, with the baseline policy set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceCreated {
    pub key: String,
    pub at: Timestamp,
    pub actor_id: String,
    /// The policy set that is active in it.
    pub policy_digest: Digest,
}

/// An API key was made or revoked. Its secret is nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyChanged {
    /// Names the key without telling it.
    pub key: String,
    pub at: Timestamp,
    /// Who made or revoked it.
    pub actor_id: String,
    /// Whom it authenticates.
    pub holder: Actor,
    /// What its holder may do.
    pub grants: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A subscription to stage events was made, ended or given another secret. The secret is nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionChanged {
    /// The subscription.
    pub key: String,
    pub at: Timestamp,
    pub actor_id: String,
    /// Scheme, host and port of where its events go.
    pub target: String,
    /// Types of events it wants; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Until when the secret before this one signs as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_until: Option<Timestamp>,
}

/// The secret that signs calls to tools became another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolSecretRotated {
    pub key: String,
    pub at: Timestamp,
    pub actor_id: String,
    /// Until when the secret before this one signs as well.
    pub overlap_until: Timestamp,
}

/// One entry of a trace: an event in its hash chain. `hash` = sha256(JCS(entry without hash)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// 1 for the first; no gaps.
    pub seq: u64,
    pub at: Timestamp,
    pub actor: Actor,
    /// The API key that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// For whom the actor acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How the actor was authenticated: `api_key`, `warrant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(flatten)]
    pub event: Event,
    /// Hash of the entry before; zeros for the first.
    pub prev: Digest,
    pub hash: Digest,
}

/// A stage event: a trace entry as published (CloudEvents 1.0, structured JSON).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CloudEvent {
    pub specversion: String,
    /// The entry's hash: the same event has the same id at every delivery.
    pub id: Digest,
    /// The workspace.
    pub source: String,
    /// The execution; `log` for the workspace log.
    pub subject: String,
    #[serde(flatten)]
    pub event: Event,
    pub time: Timestamp,
    pub datacontenttype: String,
    /// Position in its trace: deliveries of one subject come in this order.
    pub sequence: u64,
    pub actor: String,
    /// Kind of the actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actorkind: Option<ActorKind>,
    /// The API key that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
    /// For whom the actor acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onbehalfof: Option<String>,
    /// How the actor was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Attributes of later versions.
    #[serde(flatten)]
    pub extensions: BTreeMap<String, Value>,
}

/// What the caller hangs on an intent; never interpreted.
pub type Metadata = Map<String, Value>;
