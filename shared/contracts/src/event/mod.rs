//! Events: what the trace stores and what stage events publish. Readers tolerate unknown fields.

mod approval;
mod execution;
mod workspace;

pub use approval::*;
pub use execution::*;
pub use workspace::*;

use crate::{Digest, StepId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What kind of actor acts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
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

/// What happens to an execution: the entries of its trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ExecutionEvent {
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
    #[serde(rename = "controlPlane.approval.voted")]
    ApprovalVoted(ApprovalVoted),
    #[serde(rename = "controlPlane.approval.withdrawn")]
    ApprovalWithdrawn(ApprovalWithdrawn),
    #[serde(rename = "controlPlane.approval.commented")]
    ApprovalCommented(ApprovalNoted),
    #[serde(rename = "controlPlane.approval.overridden")]
    ApprovalOverridden(ApprovalDecided),
    #[serde(rename = "controlPlane.approval.reviewed")]
    ApprovalReviewed(ApprovalNoted),
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
}

impl ExecutionEvent {
    /// The step it speaks of.
    pub const fn step_id(&self) -> Option<&StepId> {
        match self {
            Self::StepStarted(data) => Some(&data.step_id),
            Self::StepBlocked(data) => data.step_id.as_ref(),
            Self::StepCompleted(data) => Some(&data.step_id),
            Self::StepFailed(data) | Self::StepSkipped(data) | Self::StepCompensated(data) => {
                Some(&data.step_id)
            }
            Self::StepRetried(data) => Some(&data.step_id),
            Self::StepResolved(data) => Some(&data.step_id),
            Self::ApprovalRequested(data) => data.step_id.as_ref(),
            Self::ApprovalVoted(data) => data.step_id.as_ref(),
            Self::ApprovalWithdrawn(data) => data.step_id.as_ref(),
            Self::ApprovalCommented(data) | Self::ApprovalReviewed(data) => data.step_id.as_ref(),
            Self::ApprovalOverridden(data)
            | Self::ApprovalGranted(data)
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
            | Self::ExecutionResumed(_) => None,
        }
    }

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
            Self::ApprovalVoted(_) => "controlPlane.approval.voted",
            Self::ApprovalWithdrawn(_) => "controlPlane.approval.withdrawn",
            Self::ApprovalCommented(_) => "controlPlane.approval.commented",
            Self::ApprovalOverridden(_) => "controlPlane.approval.overridden",
            Self::ApprovalReviewed(_) => "controlPlane.approval.reviewed",
            Self::ApprovalGranted(_) => "controlPlane.approval.granted",
            Self::ApprovalRejected(_) => "controlPlane.approval.rejected",
            Self::ApprovalExpired(_) => "controlPlane.approval.expired",
            Self::ApprovalVoided(_) => "controlPlane.approval.voided",
            Self::ExecutionCompleted(_) => "controlPlane.execution.completed",
            Self::ExecutionFailed(_) => "controlPlane.execution.failed",
            Self::ExecutionCancelled(_) => "controlPlane.execution.cancelled",
            Self::ExecutionPaused(_) => "controlPlane.execution.paused",
            Self::ExecutionResumed(_) => "controlPlane.execution.resumed",
        }
    }
}

/// What changes authority: the entries of the workspace log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum WorkspaceEvent {
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
    #[serde(rename = "controlPlane.subscription.tested")]
    SubscriptionTested(SubscriptionChanged),
    #[serde(rename = "controlPlane.tool.secret.rotated")]
    ToolSecretRotated(ToolSecretRotated),
    #[serde(rename = "controlPlane.session.started")]
    SessionStarted(SessionStarted),
    #[serde(rename = "controlPlane.session.refused")]
    SessionRefused(SessionRefused),
    #[serde(rename = "controlPlane.evidence.exported")]
    EvidenceExported(EvidenceExported),
}

impl WorkspaceEvent {
    /// The key, `controlPlane.` and what happened.
    pub const fn key(&self) -> &'static str {
        match self {
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
            Self::SubscriptionTested(_) => "controlPlane.subscription.tested",
            Self::ToolSecretRotated(_) => "controlPlane.tool.secret.rotated",
            Self::SessionStarted(_) => "controlPlane.session.started",
            Self::SessionRefused(_) => "controlPlane.session.refused",
            Self::EvidenceExported(_) => "controlPlane.evidence.exported",
        }
    }
}

/// An event of either log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Event {
    Execution(ExecutionEvent),
    Workspace(WorkspaceEvent),
}

impl Event {
    /// The key, `controlPlane.` and what happened.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Execution(event) => event.key(),
            Self::Workspace(event) => event.key(),
        }
    }

    /// The step it speaks of.
    pub const fn step_id(&self) -> Option<&StepId> {
        match self {
            Self::Execution(event) => event.step_id(),
            Self::Workspace(_) => None,
        }
    }

    /// What happened to an execution, where it is of a trace.
    pub const fn execution(&self) -> Option<&ExecutionEvent> {
        match self {
            Self::Execution(event) => Some(event),
            Self::Workspace(_) => None,
        }
    }

    /// What changed authority, where it is of the workspace log.
    pub const fn workspace(&self) -> Option<&WorkspaceEvent> {
        match self {
            Self::Workspace(event) => Some(event),
            Self::Execution(_) => None,
        }
    }
}

impl From<ExecutionEvent> for Event {
    fn from(event: ExecutionEvent) -> Self {
        Self::Execution(event)
    }
}

impl From<WorkspaceEvent> for Event {
    fn from(event: WorkspaceEvent) -> Self {
        Self::Workspace(event)
    }
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
