//! How far it is: what ends, what is undone, and what becomes due.

use super::*;

impl Execution {
    /// No further step begins: it was cancelled, or failed with compensation.
    pub fn closing(&self) -> bool {
        self.cancellation.is_some() || self.failing_with_compensation() || self.status.ended()
    }

    pub(super) fn failing_with_compensation(&self) -> bool {
        self.on_failure() == OnFailure::Compensate && self.steps.iter().any(|step| step.state == StepState::Failed)
    }

    pub(super) fn on_failure(&self) -> OnFailure {
        self.plan.as_ref().map_or(OnFailure::Leave, |plan| plan.plan().on_failure)
    }

    /// Completed steps are being undone.
    pub fn unwinding(&self) -> bool {
        let wanted = self.cancellation.as_ref().is_some_and(|cancel| cancel.compensate);
        (wanted || self.failing_with_compensation()) && !self.status.ended()
    }

    /// A failure of a step ends the plan and undoes what it did.
    pub(crate) fn undoes_failures(&self) -> bool {
        self.on_failure() == OnFailure::Compensate
    }

    pub(super) fn has_undo(&self, place: usize) -> bool {
        self.planned(place).is_some_and(|planned| planned.compensate.is_some())
    }

    pub(super) fn undoable(&self, place: usize) -> bool {
        self.steps.get(place).is_some_and(|step| step.state == StepState::Completed) && self.has_undo(place)
    }

    /// The step to undo next, in reverse order: only when nothing else is in flight or stuck.
    pub fn next_undo(&self, now: Timestamp) -> Option<usize> {
        if !self.unwinding() {
            return None;
        }
        let mut undo = None;
        for (place, step) in self.steps.iter().enumerate() {
            match step.state {
                StepState::Running | StepState::InDoubt | StepState::Stuck => return None,
                StepState::Compensating => {
                    let due = !step.in_flight() && step.retry_at.is_none_or(|at| at <= now);
                    return due.then_some(place);
                }
                StepState::Completed if self.undoable(place) => undo = Some(place),
                StepState::Completed
                | StepState::Pending
                | StepState::Ready
                | StepState::Blocked
                | StepState::Held
                | StepState::Retrying
                | StepState::Failed
                | StepState::Skipped
                | StepState::Cancelled
                | StepState::Compensated => {}
            }
        }
        undo
    }

    /// Whether a lost call can be asked about by its probe.
    pub fn can_probe(&self, place: usize) -> bool {
        let declared = self.planned(place).is_some_and(|planned| planned.probe.is_some());
        let asked = self.steps.get(place).is_none_or(|step| step.probe_attempt >= PROBE_ATTEMPTS_MAX);
        declared && !asked
    }

    /// The next moment at which something becomes due on its own.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.dues().min()
    }

    /// The next of those moments behind another: what is due already and still there waits for something else.
    pub fn due_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.dues().filter(|due| *due > at).min()
    }

    pub(super) fn dues(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let steps = self.steps.iter().filter_map(|step| match step.state {
            StepState::Retrying | StepState::Compensating => step.retry_at,
            StepState::Running => step.until,
            StepState::Pending
            | StepState::Ready
            | StepState::Blocked
            | StepState::Held
            | StepState::Completed
            | StepState::Failed
            | StepState::InDoubt
            | StepState::Skipped
            | StepState::Cancelled
            | StepState::Compensated
            | StepState::Stuck => None,
        });
        let open = self.approvals.iter().filter(|approval| approval.state == ApprovalState::Requested);
        steps.chain(open.map(|approval| approval.expires_at))
    }

    /// Nothing will move before people, a callback or the clock act.
    pub fn idle(&self) -> bool {
        let drives_itself = self.intent.as_ref().is_some_and(|intent| intent.mode == SubmitMode::Auto);
        match self.status {
            Status::Received | Status::Compiled => {
                self.intent.as_ref().is_some_and(|intent| intent.mode == SubmitMode::Manual)
            }
            Status::Verified => !drives_itself,
            Status::New | Status::Running => false,
            Status::Cancelling => !self.moving(),
            Status::Rejected
            | Status::Blocked
            | Status::Paused
            | Status::Completed
            | Status::Failed
            | Status::Cancelled => true,
        }
    }
}
