//! What follows from other state, without an event: steps that become ready or are cancelled, and the status.

use super::{Execution, Status, Step, StepInput, StepState, step};
use contracts::{
    Timestamp,
    event::{BlockReason, Purpose},
};

impl Execution {
    /// Derives what follows from other state; see the module.
    pub fn settle_derived(&mut self) {
        let closing = self.closing();
        let undoing = self.cancellation.as_ref().is_some_and(|cancel| cancel.compensate) && self.unwinding();
        let graph = self.graph.clone();
        for place in 0..self.steps.len() {
            let Some(step) = self.steps.get(place) else {
                continue;
            };
            let input = match step.state {
                // INVARIANT (unknown-is-not-failed): what may have happened and is not called again is in doubt.
                StepState::Ready | StepState::Blocked | StepState::Held | StepState::Retrying
                    if closing && step.unanswered =>
                {
                    StepInput::Doubt
                }
                StepState::Failed if undoing && step.unanswered && self.has_undo(place) => StepInput::Doubt,
                StepState::Pending
                | StepState::Ready
                | StepState::Blocked
                | StepState::Held
                | StepState::Retrying
                    if closing =>
                {
                    StepInput::Cancel
                }
                StepState::Pending if self.after_all(&graph, place, |state| state == StepState::Completed) => {
                    StepInput::Release
                }
                StepState::Blocked | StepState::Stuck
                    if step.waits_for_approval() && self.grant_for(&step.id).is_some() =>
                {
                    StepInput::Unblock
                }
                // What people were shown names a policy set that is not in force any more: the step asks anew.
                StepState::Blocked | StepState::Stuck if step.waits_for_approval() && self.asked_before(step) => {
                    StepInput::Unblock
                }
                StepState::Pending
                | StepState::Ready
                | StepState::Blocked
                | StepState::Held
                | StepState::Running
                | StepState::Completed
                | StepState::Retrying
                | StepState::Failed
                | StepState::InDoubt
                | StepState::Skipped
                | StepState::Cancelled
                | StepState::Compensating
                | StepState::Compensated
                | StepState::Stuck => continue,
            };
            if let Some(step) = self.steps.get_mut(place)
                && let Some(state) = step::next(step.state, input)
            {
                step.state = state;
                step.waits_for = (input == StepInput::Doubt).then_some(BlockReason::OutcomeUnknown);
                step.retry_at = None;
            }
        }
        if self.status.under_way() {
            self.status = self.derived_status();
        }
    }

    /// Whether everything before a step is in a state that `test` accepts.
    pub(super) fn after_all(&self, graph: &super::Graph, place: usize, test: impl Fn(StepState) -> bool) -> bool {
        let before = graph.after.get(place).map(Vec::as_slice).unwrap_or_default();
        before.iter().all(|before| self.steps.get(*before).is_some_and(|step| test(step.state)))
    }

    /// Pending steps that can never run because a step before them settled without completing.
    pub fn cut_off(&self) -> impl Iterator<Item = &Step> {
        let lost = |state: StepState| {
            matches!(state, StepState::Failed | StepState::Skipped | StepState::Cancelled | StepState::Compensated)
        };
        self.steps.iter().enumerate().filter_map(move |(place, step)| {
            let cut = step.state == StepState::Pending && !self.after_all(&self.graph, place, |state| !lost(state));
            cut.then_some(step)
        })
    }

    pub(super) fn derived_status(&self) -> Status {
        if self.cancellation.is_some() {
            let open = self.steps.iter().enumerate().any(|(place, step)| match step.state {
                StepState::Running | StepState::InDoubt | StepState::Compensating | StepState::Stuck => true,
                StepState::Completed => self.unwinding() && self.undoable(place),
                StepState::Pending
                | StepState::Ready
                | StepState::Blocked
                | StepState::Held
                | StepState::Retrying
                | StepState::Failed
                | StepState::Skipped
                | StepState::Cancelled
                | StepState::Compensated => false,
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
        let steps = self.steps.iter().enumerate().any(|(place, step)| match step.state {
            StepState::Running => !step.awaits_callback(),
            StepState::Ready | StepState::Retrying => true,
            StepState::Compensating => !step.is_held_beside(),
            StepState::InDoubt => self.can_probe(place) && !step.is_held_beside(),
            StepState::Pending
            | StepState::Blocked
            | StepState::Held
            | StepState::Completed
            | StepState::Failed
            | StepState::Skipped
            | StepState::Cancelled
            | StepState::Compensated
            | StepState::Stuck => false,
        });
        let undo = self.next_undo(Timestamp::from_ms(i64::MAX)).and_then(|place| self.steps.get(place));
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
