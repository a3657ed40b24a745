//! Executions as callers see them.

pub use crate::status::ExecutionStatus;
use crate::{
    Digest, ExecutionId, IntentId, Open, PlanId, RunId, StepId, Timestamp,
    approval::{CommentView, VoteView},
    event::{ActorKind, Requirement},
    id::ApprovalId,
    plan::Plan,
    status::{ApprovalStatus, StepCode, StepStatus},
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
    pub status: Open<ExecutionStatus>,
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
    pub status: Open<ExecutionStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Open<RunMode>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<Open<RiskTier>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Open<Verdict>>,
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
    pub plan: Option<Open<Plan>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A step as callers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    pub step_id: StepId,
    pub operation: String,
    pub status: Open<StepStatus>,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Open<Verdict>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<Open<RiskTier>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Why it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Open<crate::event::BlockReason>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub code: Option<Open<StepCode>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_digest: Option<Digest>,
    /// What an approval of this step must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding_digest: Option<Digest>,
    /// Digest of what people are shown of it: its own view where it asks with its actual input,
    /// else the plan's.
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
    pub status: Open<ApprovalStatus>,
    pub binding_digest: Digest,
    /// Digest of `view`, which the binding covers.
    pub view_digest: Digest,
    /// Of an open request: what people are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<Open<crate::view::View>>,
    /// The view as text, in lines of at most 80 columns without controls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    pub requirement: Vec<Requirement>,
    pub excludes: Vec<String>,
    /// Voices that it still needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Requirement>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<VoteView>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<CommentView>,
    pub decided_by: Vec<String>,
    /// One person approved alone, on break-glass authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<OverrideView>,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Who approved alone, and who has looked at it since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideView {
    pub by: String,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed_by: Option<String>,
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
    pub status: Open<ExecutionStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<Open<RiskTier>>,
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
