//! Where executions, steps, approvals and skills stand, and why steps end as they do: the words of
//! answers. A reader holds them as [`crate::Open`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// Where a step stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum StepStatus {
    /// Waits for other steps.
    Pending,
    /// May be claimed.
    Ready,
    /// Waits for people.
    Blocked,
    /// Waits for an operator: frozen workspace, disabled skill.
    Held,
    /// Its call is in flight.
    Running,
    Completed,
    /// Waits for its next attempt.
    Retrying,
    Failed,
    /// The outcome of its call is unknown.
    InDoubt,
    Skipped,
    Cancelled,
    /// Is being undone.
    Compensating,
    Compensated,
    /// Could not be undone; waits for people.
    Stuck,
}

impl StepStatus {
    /// Every state.
    pub const ALL: [Self; 14] = [
        Self::Pending,
        Self::Ready,
        Self::Blocked,
        Self::Held,
        Self::Running,
        Self::Completed,
        Self::Retrying,
        Self::Failed,
        Self::InDoubt,
        Self::Skipped,
        Self::Cancelled,
        Self::Compensating,
        Self::Compensated,
        Self::Stuck,
    ];

    /// Name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Blocked => "blocked",
            Self::Held => "held",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Compensating => "compensating",
            Self::Compensated => "compensated",
            Self::Stuck => "stuck",
        }
    }

    /// No call is in flight, and one may be made.
    pub const fn unstarted(self) -> bool {
        match self {
            Self::Pending | Self::Ready | Self::Blocked | Self::Held | Self::Retrying => true,
            Self::Running
            | Self::Completed
            | Self::Failed
            | Self::InDoubt
            | Self::Skipped
            | Self::Cancelled
            | Self::Compensating
            | Self::Compensated
            | Self::Stuck => false,
        }
    }

    /// No answer and no automatic action changes it any more.
    pub const fn settled(self) -> bool {
        match self {
            Self::Completed
            | Self::Failed
            | Self::Skipped
            | Self::Cancelled
            | Self::Compensated => true,
            Self::Pending
            | Self::Ready
            | Self::Blocked
            | Self::Held
            | Self::Running
            | Self::Retrying
            | Self::InDoubt
            | Self::Compensating
            | Self::Stuck => false,
        }
    }
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ApprovalStatus {
    Requested,
    Granted,
    Rejected,
    Expired,
    Voided,
}

impl ApprovalStatus {
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

/// Whether a skill may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkillStatus {
    Enabled,
    /// A person disabled it.
    Disabled,
    /// It is no longer trusted.
    Revoked,
    /// Its signature has ended.
    Expired,
}

/// Why a step stands where it stands. Beside these there are `TOOL_` and the HTTP status that a
/// tool answered, and the codes that tools give in what they answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepCode {
    Aborted,
    ApprovalRejected,
    CallbackTimeout,
    CallInvalid,
    ConditionFalse,
    DependencyFailed,
    InputInvalid,
    InputMissing,
    NotDeclared,
    NotDone,
    OutputInvalid,
    OutputNotStored,
    OutputTooLarge,
    PolicyBlocked,
    ProbeInvalid,
    ResolvedFailed,
    SealedValueGone,
    TargetForbidden,
    ToolFailed,
    ToolLost,
    ToolUnreachable,
    WorkerLost,
}
