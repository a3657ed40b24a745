//! What follows from other state, without an event: steps that become ready or are cancelled, and
//! the status.

use super::{Execution, Status, Step, StepInput, StepStatus, step};
use contracts::{
    Timestamp,
    event::{BlockReason, Purpose},
};

impl Execution {
    /// Derives what follows from other state; see the module.
    pub fn settle_derived(&mut self) {
        let closing = self.closing();
        let undoing =
            self.cancellation.as_ref().is_some_and(|cancel| cancel.compensate) && self.unwinding();
        let graph = self.graph.clone();
        for index in 0..self.steps.len() {
            let Some(step) = self.steps.get(index) else {
                continue;
            };
            let input = match step.state {
                // INVARIANT (unknown-is-not-failed): what may have happened and is not called again
                // is in doubt.
                StepStatus::Ready
                | StepStatus::Blocked
                | StepStatus::Held
                | StepStatus::Retrying
                    if closing && step.unanswered =>
                {
                    StepInput::Doubt
                }
                StepStatus::Failed if undoing && step.unanswered && self.has_undo(index) => {
                    StepInput::Doubt
                }
                StepStatus::Pending
                | StepStatus::Ready
                | StepStatus::Blocked
                | StepStatus::Held
                | StepStatus::Retrying
                    if closing =>
                {
                    StepInput::Cancel
                }
                StepStatus::Pending
                    if self.after_all(&graph, index, |state| state == StepStatus::Completed) =>
                {
                    StepInput::BecomeReady
                }
                StepStatus::Blocked | StepStatus::Stuck
                    if step.waits_for_approval() && self.grant_for(&step.id).is_some() =>
                {
                    StepInput::Unblock
                }
                // What people were shown names a policy set that is not in force any more: the step
                // asks anew.
                StepStatus::Blocked | StepStatus::Stuck
                    if step.waits_for_approval() && self.asked_before(step) =>
                {
                    StepInput::Unblock
                }
                StepStatus::Pending
                | StepStatus::Ready
                | StepStatus::Blocked
                | StepStatus::Held
                | StepStatus::Running
                | StepStatus::Completed
                | StepStatus::Retrying
                | StepStatus::Failed
                | StepStatus::InDoubt
                | StepStatus::Skipped
                | StepStatus::Cancelled
                | StepStatus::Compensating
                | StepStatus::Compensated
                | StepStatus::Stuck => continue,
            };
            if let Some(step) = self.steps.get_mut(index)
                && let Some(state) = step::next(step.state, input)
            {
                step.state = state;
                step.waits_for = (input == StepInput::Doubt).then_some(BlockReason::OutcomeUnknown);
                (step.since, step.retry_at) = (None, None);
            }
        }
        if self.status.under_way() {
            self.status = self.derived_status();
        }
    }

    /// Whether everything before a step is in a state that `test` accepts.
    pub(super) fn after_all(
        &self,
        graph: &super::Graph,
        index: usize,
        test: impl Fn(StepStatus) -> bool,
    ) -> bool {
        let before = graph.after.get(index).map(Vec::as_slice).unwrap_or_default();
        before.iter().all(|before| self.steps.get(*before).is_some_and(|step| test(step.state)))
    }

    /// Pending steps that can never run because a step before them settled without completing.
    pub fn cut_off(&self) -> impl Iterator<Item = &Step> {
        let lost = |state: StepStatus| {
            matches!(
                state,
                StepStatus::Failed
                    | StepStatus::Skipped
                    | StepStatus::Cancelled
                    | StepStatus::Compensated
            )
        };
        self.steps.iter().enumerate().filter_map(move |(index, step)| {
            let cut = step.state == StepStatus::Pending
                && !self.after_all(&self.graph, index, |state| !lost(state));
            cut.then_some(step)
        })
    }

    pub(super) fn derived_status(&self) -> Status {
        if self.cancellation.is_some() {
            let open = self.steps.iter().enumerate().any(|(index, step)| match step.state {
                StepStatus::Running
                | StepStatus::InDoubt
                | StepStatus::Compensating
                | StepStatus::Stuck => true,
                StepStatus::Completed => self.unwinding() && self.undoable(index),
                StepStatus::Pending
                | StepStatus::Ready
                | StepStatus::Blocked
                | StepStatus::Held
                | StepStatus::Retrying
                | StepStatus::Failed
                | StepStatus::Skipped
                | StepStatus::Cancelled
                | StepStatus::Compensated => false,
            });
            return if open { Status::Cancelling } else { Status::Cancelled };
        }
        if self.paused {
            return Status::Paused;
        }
        let pending = self.cut_off().next().is_some();
        let undo = self.next_undo(Timestamp::from_ms(i64::MAX));
        let finished = undo.is_none() && self.steps.iter().all(|step| step.state.settled());
        if self.moving() || pending || finished { Status::Running } else { Status::Blocked }
    }

    /// Whether a call is made, or will be, without people, operators or a callback.
    pub(super) fn moving(&self) -> bool {
        let steps = self.steps.iter().enumerate().any(|(index, step)| match step.state {
            StepStatus::Running => !step.awaits_callback(),
            StepStatus::Ready | StepStatus::Retrying => true,
            StepStatus::Compensating => !step.is_held_beside(),
            StepStatus::InDoubt => self.can_probe(index) && !step.is_held_beside(),
            StepStatus::Pending
            | StepStatus::Blocked
            | StepStatus::Held
            | StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::Skipped
            | StepStatus::Cancelled
            | StepStatus::Compensated
            | StepStatus::Stuck => false,
        });
        let undo =
            self.next_undo(Timestamp::from_ms(i64::MAX)).and_then(|index| self.steps.get(index));
        steps || undo.is_some_and(|step| !step.is_held_beside())
    }
}

impl Step {
    fn waits_for_approval(&self) -> bool {
        matches!(self.waits_for, Some(BlockReason::ApprovalRequired | BlockReason::ApprovalExpired))
    }

    // A probe or an undoing of it is held where it is.
    fn is_held_beside(&self) -> bool {
        self.waits_for.is_some_and(|reason| reason.holds(Purpose::Compensate))
    }
}
