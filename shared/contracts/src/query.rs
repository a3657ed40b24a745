//! Queries: what callers ask to see. They change nothing.

use crate::{
    Digest, ExecutionId, IntentId, PlanId, RunId, StepId, Timestamp,
    command::StepVerdictAnswer,
    draft::Draft,
    event::{ActorKind, Requirement},
    governance::DecidingPolicy,
    id::ApprovalId,
    plan::Plan,
    verdict::{RiskTier, RunMode, Verdict},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// controlPlane.execution.get
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetExecution {
    pub execution_id: ExecutionId,
    /// Wait so many seconds (0 to 30) for a state in which nothing moves on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u32>,
    /// Include the plan.
    #[serde(default)]
    pub include_plan: bool,
    /// `false`: leave out what people are shown under each open approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_view: Option<bool>,
}

/// controlPlane.execution.output
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetOutput {
    pub execution_id: ExecutionId,
    /// The output of this step; else of those that no other step comes after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionOutput {
    pub execution_id: ExecutionId,
    #[schemars(with = "ExecutionStatus")]
    pub status: String,
    /// Outputs by step: of those that have one. Sensitive places are empty.
    pub outputs: Map<String, Value>,
    /// The places that are empty, with their commitments, by step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seals: BTreeMap<String, BTreeMap<String, Digest>>,
    /// Steps whose outputs this answer has no room for: ask for them one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<StepId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionAnswer {
    pub execution: ExecutionView,
}

/// An execution as callers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionView {
    pub execution_id: ExecutionId,
    pub intent_id: IntentId,
    pub text: String,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_kind: Option<ActorKind>,
    /// Whom the actor acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<PlanId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    #[schemars(with = "ExecutionStatus")]
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RunMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<RiskTier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_approval: Option<bool>,
    /// What an approval of the whole plan must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding_digest: Option<Digest>,
    /// Digest of what people are shown of the whole plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_digest: Option<Digest>,
    /// Why it was refused, failed or cancelled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<crate::Issue>,
    pub steps: Vec<StepView>,
    pub approvals: Vec<ApprovalView>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Every status of a step.
pub const STEP_STATUSES: [&str; 14] = [
    "pending",
    "ready",
    "blocked",
    "held",
    "running",
    "completed",
    "retrying",
    "failed",
    "in_doubt",
    "skipped",
    "cancelled",
    "compensating",
    "compensated",
    "stuck",
];
/// Every status of an approval.
pub const APPROVAL_STATUSES: [&str; 5] = ["requested", "granted", "rejected", "expired", "voided"];

/// A step as callers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    pub step_id: StepId,
    pub operation: String,
    #[schemars(extend("enum" = STEP_STATUSES))]
    pub status: String,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<RiskTier>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Why it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<crate::event::BlockReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_digest: Option<Digest>,
    /// What an approval of this step must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding_digest: Option<Digest>,
    /// Digest of what people are shown of it: its own view where it asks with its actual input, else the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

/// An approval as callers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalView {
    pub approval_id: ApprovalId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    #[schemars(extend("enum" = APPROVAL_STATUSES))]
    pub status: String,
    pub binding_digest: Digest,
    /// Digest of `view`, which the binding covers.
    pub view_digest: Digest,
    /// Of an open request: what people are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<crate::view::View>,
    /// The view as text, in lines of at most 80 columns without controls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    pub requirement: Vec<Requirement>,
    pub excludes: Vec<String>,
    pub decided_by: Vec<String>,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    Received,
    Compiled,
    Rejected,
    Verified,
    Running,
    Blocked,
    Paused,
    Cancelling,
    Completed,
    Failed,
    Cancelled,
}

impl ExecutionStatus {
    /// Every status that callers see.
    pub const ALL: [Self; 11] = [
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
}

/// controlPlane.execution.list
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListExecutions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ExecutionStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Timestamp>,
    /// 1 to 200; default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionList {
    /// Newest first.
    pub items: Vec<ExecutionSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionSummary {
    pub execution_id: ExecutionId,
    #[schemars(with = "ExecutionStatus")]
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<RiskTier>,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_kind: Option<ActorKind>,
    /// The first 120 characters.
    pub text: String,
    /// Money that its plan touches, as far as it is known before it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub money: Vec<crate::view::ViewMoney>,
    /// Recipients that its plan touches, as far as they are known; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u64>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// controlPlane.trace.get
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetTrace {
    pub execution_id: ExecutionId,
    /// Include inputs and outputs (sensitive values as commitments).
    #[serde(default)]
    pub include_payloads: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    pub execution_id: ExecutionId,
    pub entries: Vec<TraceEntry>,
    pub head: TraceHead,
    /// With `includePayloads`: output of each completed step.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub payloads: Map<String, Value>,
    /// Commitments to the sensitive values of those outputs, by JSON pointer; the outputs are null there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seals: BTreeMap<String, BTreeMap<String, Digest>>,
    /// Steps whose outputs are left out, because those before them fill the answer (4 MiB).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payloads_omitted: Vec<StepId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// One entry, with everything its hash covers in `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceEntry {
    pub seq: u64,
    pub timestamp: Timestamp,
    /// `intent`, `plan`, `execution`, `step` or `approval`; in the workspace log `key`, `skill`, `policy` and the like.
    pub stage: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// The last word of the type.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// The API key that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// For whom the actor acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How the actor was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The event's data.
    pub metadata: Value,
    pub prev: Digest,
    pub hash: Digest,
    /// The stored entry: hash it again without `hash` (RFC 8785, SHA-256).
    pub event: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceHead {
    pub seq: u64,
    pub hash: Digest,
    /// Nothing can be added any more: it has ended, no call of it is in doubt, and nothing of it can be tried again.
    pub sealed: bool,
}

/// controlPlane.workspace.log
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetWorkspaceLog {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A page of the workspace log, in order; each entry in the shape of a trace's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceLog {
    pub entries: Vec<TraceEntry>,
    /// Where the log ends now. It is never sealed.
    pub head: TraceHead,
    /// Whether the entries of this page follow one another and the entry before them, each with the hash of its content.
    pub verified: bool,
    /// Where they do not, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Events that are committed and wait to be chained, at least.
    pub waiting: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// controlPlane.trace.replay
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplayTrace {
    pub execution_id: ExecutionId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    pub execution_id: ExecutionId,
    pub matches: bool,
    pub differences: Vec<Difference>,
    /// What was compared.
    pub checked: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// The first difference of one comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// `chain`, `state`, `plan`, `verdict` or `view`.
    pub check: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Where.
    pub path: String,
    pub stored: Value,
    pub replayed: Value,
}

/// controlPlane.policy.explain: a stored execution or step, or a hypothetical draft.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainPolicy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
    /// With `executionId`: an earlier verdict, by the `verdictDigest` of its `plan.verified`. Absent: the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict_digest: Option<Digest>,
    /// With a draft: the words it would come with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    /// Of the whole stored verdict.
    pub verdict_digest: Digest,
    pub reasons: Vec<String>,
    pub policy_version: String,
    pub policy_digest: Digest,
    pub steps: Vec<StepExplanation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepExplanation {
    #[serde(flatten)]
    pub verdict: StepVerdictAnswer,
    /// Policies that decided, with reason and location.
    #[serde(default)]
    pub policies: Vec<DecidingPolicy>,
    pub errors: Vec<String>,
    /// The request that was evaluated.
    pub request: Value,
}

/// controlPlane.policy.backtest
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BacktestPolicy {
    pub policies: String,
    pub from: Timestamp,
    pub to: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backtest {
    /// Steps.
    pub evaluated: u64,
    /// At most 1,000.
    pub changed: Vec<BacktestChange>,
    /// Not everything of the window was evaluated: narrow it.
    #[serde(default)]
    pub truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BacktestChange {
    pub execution_id: ExecutionId,
    pub step_id: StepId,
    pub was: Verdict,
    pub would: Verdict,
    pub reasons: Vec<String>,
}

/// controlPlane.skill.list
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListSkills {
    #[serde(default)]
    pub include_disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillList {
    pub items: Vec<SkillView>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillView {
    pub skill_key: String,
    pub version: String,
    /// `enabled`, `disabled` or `revoked`.
    pub status: String,
    pub verified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_at: Option<Timestamp>,
    /// When its signature ends; it is not used after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    pub operations: Vec<String>,
    pub playbooks: Vec<String>,
}

/// controlPlane.skill.verify: installs nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillVerified {
    pub verified: bool,
    pub signature_verified: bool,
    pub publisher_trusted: bool,
    pub compatibility_verified: bool,
    pub manifest_digest: Digest,
    pub issues: Vec<crate::Issue>,
    pub verified_at: Timestamp,
}

/// No fields: `GET /v1/capabilities`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetCapabilities {}
