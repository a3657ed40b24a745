//! Which commands may be decided in which status. One match, no wildcard; a golden file shows it.

use super::{Status, decide::Command};

/// A command without its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Receive,
    Compile,
    Verify,
    Start,
    Approve,
    Reject,
    Expire,
    Cancel,
    Pause,
    Resume,
    Retry,
    Abort,
    Resolve,
    Claim,
    Block,
    Refuse,
    Skip,
    SkipCutOff,
    Settle,
    Callback,
    Recover,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Receive,
        Self::Compile,
        Self::Verify,
        Self::Start,
        Self::Approve,
        Self::Reject,
        Self::Expire,
        Self::Cancel,
        Self::Pause,
        Self::Resume,
        Self::Retry,
        Self::Abort,
        Self::Resolve,
        Self::Claim,
        Self::Block,
        Self::Refuse,
        Self::Skip,
        Self::SkipCutOff,
        Self::Settle,
        Self::Callback,
        Self::Recover,
    ];

    pub(super) const fn of(command: &Command) -> Self {
        match command {
            Command::Receive { .. } => Self::Receive,
            Command::Compile { .. } => Self::Compile,
            Command::Verify { .. } => Self::Verify,
            Command::Start { .. } => Self::Start,
            Command::Approve { .. } => Self::Approve,
            Command::Reject { .. } => Self::Reject,
            Command::Expire => Self::Expire,
            Command::Cancel { .. } => Self::Cancel,
            Command::Pause { .. } => Self::Pause,
            Command::Resume { .. } => Self::Resume,
            Command::Retry { .. } => Self::Retry,
            Command::Abort { .. } => Self::Abort,
            Command::Resolve { .. } => Self::Resolve,
            Command::Claim { .. } => Self::Claim,
            Command::Block { .. } => Self::Block,
            Command::Refuse { .. } => Self::Refuse,
            Command::Skip { .. } => Self::Skip,
            Command::SkipCutOff { .. } => Self::SkipCutOff,
            Command::Settle { .. } => Self::Settle,
            Command::Callback { .. } => Self::Callback,
            Command::Recover { .. } => Self::Recover,
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Compile => "compile",
            Self::Verify => "verify",
            Self::Start => "start",
            Self::Approve => "be approved",
            Self::Reject => "be rejected",
            Self::Expire => "expire",
            Self::Cancel => "be cancelled",
            Self::Pause => "be paused",
            Self::Resume => "be resumed",
            Self::Retry => "be retried",
            Self::Abort => "be aborted",
            Self::Resolve => "be resolved",
            Self::Claim => "claim a step",
            Self::Block => "block a step",
            Self::Refuse => "refuse a step",
            Self::Skip => "skip a step",
            Self::SkipCutOff => "skip steps",
            Self::Settle => "settle a step",
            Self::Callback => "take a callback",
            Self::Recover => "recover a step",
        }
    }
}

/// Whether a command may be decided in a status. The rest depends on steps and approvals.
pub const fn allows(status: Status, kind: Kind) -> bool {
    use Kind as K;
    use Status as S;
    match (status, kind) {
        (S::New, K::Receive) => true,
        (S::Received, K::Compile | K::Cancel) => true,
        (S::Compiled, K::Verify | K::Cancel) => true,
        (S::Verified, K::Verify | K::Start | K::Cancel) => true,
        (
            S::Running | S::Blocked,
            K::Verify
            | K::Approve
            | K::Reject
            | K::Expire
            | K::Cancel
            | K::Pause
            | K::Retry
            | K::Abort
            | K::Resolve
            | K::Claim
            | K::Block
            | K::Refuse
            | K::Skip
            | K::SkipCutOff
            | K::Settle
            | K::Callback
            | K::Recover,
        ) => true,
        (
            S::Paused,
            K::Verify
            | K::Approve
            | K::Reject
            | K::Expire
            | K::Cancel
            | K::Resume
            | K::Retry
            | K::Abort
            | K::Resolve
            | K::Settle
            | K::Callback
            | K::Recover,
        ) => true,
        // What is being undone passes the same gate, and may need people.
        (
            S::Cancelling,
            K::Verify
            | K::Approve
            | K::Reject
            | K::Expire
            | K::Abort
            | K::Resolve
            | K::Claim
            | K::Block
            | K::Settle
            | K::Callback
            | K::Recover,
        ) => true,
        (S::Failed, K::Retry | K::Resolve) => true,
        (
            S::New
            | S::Received
            | S::Compiled
            | S::Rejected
            | S::Verified
            | S::Running
            | S::Blocked
            | S::Paused
            | S::Cancelling
            | S::Completed
            | S::Failed
            | S::Cancelled,
            K::Receive
            | K::Compile
            | K::Verify
            | K::Start
            | K::Approve
            | K::Reject
            | K::Expire
            | K::Cancel
            | K::Pause
            | K::Resume
            | K::Retry
            | K::Abort
            | K::Resolve
            | K::Claim
            | K::Block
            | K::Refuse
            | K::Skip
            | K::SkipCutOff
            | K::Settle
            | K::Callback
            | K::Recover,
        ) => false,
    }
}
