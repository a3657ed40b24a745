//! Whether a trace is sealed: nothing can follow what stands in it.

use super::{
    Execution, Status,
    decide::{Command, Transition},
    duty::{Decider, Standing},
};
use contracts::{
    Timestamp,
    event::{Actor, ActorKind, Resolution},
};
use std::{collections::BTreeSet, sync::Arc};

impl Execution {
    /// Whether no command can add an event any more. Completed, rejected and cancelled executions
    /// allow none, but the review of what one person approved alone. One that failed is sealed
    /// besides once none of its calls is in doubt and nothing of it can be tried again: the
    /// commands themselves are asked.
    pub fn sealed(&self) -> bool {
        match self.status {
            Status::Completed | Status::Rejected | Status::Cancelled => {
                self.unreviewed().next().is_none()
            }
            Status::Failed => self.unreviewed().next().is_none() && !self.may_go_on(),
            Status::New
            | Status::Received
            | Status::Compiled
            | Status::Verified
            | Status::Running
            | Status::Blocked
            | Status::Paused
            | Status::Cancelling => false,
        }
    }

    // Whether an execution that failed can be tried again, or a call of it resolved.
    fn may_go_on(&self) -> bool {
        // Somebody who may decide, and asked for nothing here.
        let anybody = || Decider {
            actor: Actor { kind: ActorKind::Human, id: String::new() },
            person: String::new(),
            key_makers: BTreeSet::new(),
            identity_makers: BTreeSet::new(),
            standing: Standing::Person,
            directory: Arc::default(),
        };
        let taken = |command| Transition::begin(self, Timestamp::default()).apply(command).is_ok();
        let retry = Command::Retry { by: anybody(), step: None, reason: None };
        let resolve = |step: &super::Step| Command::Resolve {
            by: anybody(),
            step: step.id.clone(),
            outcome: Resolution::Failed,
            output: None,
        };
        taken(retry) || self.steps.iter().any(|step| taken(resolve(step)))
    }
}
