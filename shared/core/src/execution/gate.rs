//! Which commands are allowed in which status: one row a status, drawn in a golden file.

use super::{Status, decide::Command};

/// A command without its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Receive,
    Compile,
    Verify,
    Start,
    Vote,
    Withdraw,
    Override,
    Edit,
    Review,
    Comment,
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
    pub const ALL: [Self; 25] = [
        Self::Receive,
        Self::Compile,
        Self::Verify,
        Self::Start,
        Self::Vote,
        Self::Withdraw,
        Self::Override,
        Self::Edit,
        Self::Review,
        Self::Comment,
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
            Command::Vote { .. } => Self::Vote,
            Command::Withdraw { .. } => Self::Withdraw,
            Command::Override { .. } => Self::Override,
            Command::Edit { .. } => Self::Edit,
            Command::Review { .. } => Self::Review,
            Command::Comment { .. } => Self::Comment,
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
            Self::Vote => "be decided on",
            Self::Withdraw => "give a vote back",
            Self::Override => "be overridden",
            Self::Edit => "be edited",
            Self::Review => "be reviewed",
            Self::Comment => "be commented on",
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

/// Whether a command is allowed in a status. Further checks depend on steps and approvals.
pub fn allows(status: Status, kind: Kind) -> bool {
    allowed_in(status).contains(&kind)
}

// A row a status; what is not in it is refused.
const fn allowed_in(status: Status) -> &'static [Kind] {
    use Kind::*;
    match status {
        Status::New => &[Receive],
        Status::Received => &[Compile, Cancel],
        Status::Compiled => &[Verify, Cancel],
        Status::Verified => &[Verify, Start, Cancel],
        Status::Running | Status::Blocked => &[
            Verify, Vote, Withdraw, Override, Edit, Review, Comment, Expire, Cancel, Pause, Retry,
            Abort, Resolve, Claim, Block, Refuse, Skip, SkipCutOff, Settle, Callback, Recover,
        ],
        Status::Paused => &[
            Verify, Vote, Withdraw, Override, Edit, Review, Comment, Expire, Cancel, Resume, Retry,
            Abort, Resolve, Settle, Callback, Recover,
        ],
        // What is being undone passes the same gate, and may need people.
        Status::Cancelling => &[
            Verify, Vote, Withdraw, Override, Review, Comment, Expire, Abort, Resolve, Claim,
            Block, Settle, Callback, Recover,
        ],
        Status::Failed => &[Retry, Resolve, Review],
        // What was approved alone is looked at whatever became of it.
        Status::Rejected | Status::Completed | Status::Cancelled => &[Review],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A kind in no row could never be decided.
    #[test]
    fn every_command_is_allowed_in_some_status() {
        for kind in Kind::ALL {
            let somewhere = Status::ALL.into_iter().any(|status| allows(status, kind));
            assert!(somewhere, "{kind:?}");
        }
    }

    // What callers see is the same list, without the moment before an intent is received.
    #[test]
    fn every_status_but_the_first_is_one_of_the_contract() {
        let words = |status: Status| status.as_str();
        let own: Vec<_> = Status::ALL.into_iter().skip(1).map(words).collect();
        let contract: Vec<_> =
            contracts::status::ExecutionStatus::ALL.iter().map(|status| status.as_str()).collect();
        assert_eq!((Status::ALL[0], own), (Status::New, contract));
    }
}
