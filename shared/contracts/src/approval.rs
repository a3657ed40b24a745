//! What waits for people, and how they decide: the inbox, votes, comments, edits.

use crate::{
    Digest, ExecutionId, Open, PlanId, StepId, Timestamp,
    event::{ActorKind, BlockReason, LiteralChange, Requirement},
    id::ApprovalId,
    notice::NoticeView,
    query::{ApprovalView, ExecutionStatus},
    status::ApprovalStatus,
    verdict::RiskTier,
    view::ViewMoney,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Why something is in the inbox.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// An approval is asked for.
    Approval,
    /// The outcome of a call is not known; people say what became of it.
    InDoubt,
    /// A step waits for an operator, or could not be undone.
    Held,
    /// An approval was given on break-glass authority and is to be reviewed.
    Review,
}

/// controlPlane.approval.list
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListApprovals {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<WaitKind>,
    /// Only what the caller may decide now: an approver of what is missing, not excluded, not
    /// voted. Absent: true for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mine: Option<bool>,
    /// Only what this group is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Only of this risk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<RiskTier>,
    /// 1 to 200; default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The inbox: the highest risk first, within a risk the oldest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalList {
    pub items: Vec<InboxItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One thing that waits for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InboxItem {
    pub kind: Open<WaitKind>,
    pub execution_id: ExecutionId,
    /// Of an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_id: Option<ApprovalId>,
    /// Absent: the whole plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    /// The first 120 characters of what was asked.
    pub text: String,
    /// Who asked, and for whom.
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_kind: Option<ActorKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<Open<RiskTier>>,
    /// Why the step waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Open<BlockReason>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Money that is touched, as far as it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub money: Vec<ViewMoney>,
    /// Recipients that are touched; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u64>,
    /// Whom it asks for, and of those who is still missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirement: Vec<Requirement>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Requirement>,
    /// Digest of what is shown; a vote names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_digest: Option<Digest>,
    pub since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether the caller may decide it now.
    pub mine: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// controlPlane.approval.get
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetApproval {
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
}

/// One request, what is shown of it, and who said what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalAnswer {
    pub execution_id: ExecutionId,
    pub execution_status: Open<ExecutionStatus>,
    /// The text of the intent.
    pub text: String,
    pub approval: ApprovalView,
    /// Who was told of it by mail, and whom nobody reached, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<NoticeView>,
    /// What a person changed of the plan last, if anybody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<EditView>,
    /// What `approval.edit` may change while the request is open: the first 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub literals: Vec<Literal>,
    /// Whether the caller may decide it now.
    pub mine: bool,
    /// Before deciding the caller signs in once more: on a page, never by an API key.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub needs_second_factor: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// A change of the plan by a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EditView {
    pub actor_id: String,
    pub at: Timestamp,
    pub reason: String,
    pub changes: Vec<LiteralChange>,
}

/// A value that stands in a step's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Literal {
    pub step_id: StepId,
    /// JSON pointer into the step's input.
    pub pointer: String,
    pub value: Value,
}

/// How the fields of forms begin that stand for literals.
pub const LITERAL_FIELD: &str = "literal:";

impl Literal {
    /// Its field in a form.
    pub fn field(&self) -> String {
        format!("{LITERAL_FIELD}{}{}", self.step_id, self.pointer)
    }
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Approve,
    Reject,
}

/// What a person said of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VoteView {
    pub actor_id: String,
    pub decision: Open<Decision>,
    /// Groups that the person was in, and the voice counts for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Digest of what the person saw.
    pub view_digest: Digest,
    /// How the person was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A comment on a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommentView {
    pub actor_id: String,
    pub at: Timestamp,
    pub text: String,
}

/// controlPlane.approval.vote: decides on several requests, all or nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VoteApprovals {
    /// 1 to 8, each request once.
    pub approvals: Vec<Vote>,
}

/// One decision of a [`VoteApprovals`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Vote {
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
    /// Of what the person saw; refused unless it is shown now.
    pub view_digest: Digest,
    pub decision: Decision,
    /// Required to reject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of the decisions, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalsVoted {
    pub approvals: Vec<ApprovalState>,
}

/// Where a request stands after a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalState {
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub status: Open<ApprovalStatus>,
    pub execution_status: Open<ExecutionStatus>,
    /// Voices that it still needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Requirement>,
    pub at: Timestamp,
}

/// controlPlane.approval.withdraw: takes one's own vote back, while the request is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WithdrawVote {
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// controlPlane.approval.comment
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommentApproval {
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
    pub text: String,
}

/// controlPlane.approval.edit: changes literals of a plan that waits for people. The changed plan
/// is judged and asked anew, and what was given for the one before is void. Who edits decides on it
/// no more: another person does, on each step that was changed, whatever policy says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EditPlan {
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
    /// Of what the person saw; refused unless it is shown now.
    pub view_digest: Digest,
    /// Step → JSON pointer into its input → the new value: 1 to 20 of them. Only literals of steps
    /// that have not begun, each of which exists; none that is sensitive.
    pub literals: BTreeMap<StepId, BTreeMap<String, Value>>,
    pub reason: String,
}

/// A plan was changed: what was asked before is void, the new plan is judged and asked anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanEdited {
    pub execution_id: ExecutionId,
    pub execution_status: Open<ExecutionStatus>,
    pub plan_id: PlanId,
    pub plan_digest: Digest,
    /// The request that the new plan made, if people are still needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalState>,
    pub at: Timestamp,
}

/// controlPlane.approval.override: break-glass. One person approves alone, loudly: recorded in the
/// trace and the workspace log, told to everybody who was asked, and reviewed later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideApproval {
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
    pub view_digest: Digest,
    pub reason: String,
}

/// controlPlane.approval.review: another person looked at what was approved on break-glass
/// authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReviewOverride {
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
    pub note: String,
}
