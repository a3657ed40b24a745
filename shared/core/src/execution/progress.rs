//! Progress of an execution: what ends, what is compensated, and what becomes due.

use super::*;

impl Execution {
    /// No further step begins: it was cancelled, or failed with compensation.
    pub fn closing(&self) -> bool {
        self.cancellation.is_some() || self.failing_with_compensation() || self.status.ended()
    }

    pub(super) fn failing_with_compensation(&self) -> bool {
        self.on_failure() == OnFailure::Compensate
            && self.steps.iter().any(|step| step.state == StepStatus::Failed)
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

    pub(super) fn has_undo(&self, index: usize) -> bool {
        self.planned(index).is_some_and(|planned| planned.compensate.is_some())
    }

    pub(super) fn undoable(&self, index: usize) -> bool {
        self.steps.get(index).is_some_and(|step| step.state == StepStatus::Completed)
            && self.has_undo(index)
    }

    /// The step to undo next, in reverse order: only when nothing else is in flight or stuck.
    pub fn next_undo(&self, now: Timestamp) -> Option<usize> {
        if !self.unwinding() {
            return None;
        }
        let mut undo = None;
        for (index, step) in self.steps.iter().enumerate() {
            match step.state {
                StepStatus::Running | StepStatus::InDoubt | StepStatus::Stuck => return None,
                StepStatus::Compensating => {
                    let due = !step.in_flight() && step.retry_at.is_none_or(|at| at <= now);
                    return due.then_some(index);
                }
                StepStatus::Completed if self.undoable(index) => undo = Some(index),
                StepStatus::Completed
                | StepStatus::Pending
                | StepStatus::Ready
                | StepStatus::Blocked
                | StepStatus::Held
                | StepStatus::Retrying
                | StepStatus::Failed
                | StepStatus::Skipped
                | StepStatus::Cancelled
                | StepStatus::Compensated => {}
            }
        }
        undo
    }

    /// Whether a lost call can be asked about by its probe.
    pub fn can_probe(&self, index: usize) -> bool {
        let declared = self.planned(index).is_some_and(|planned| planned.probe.is_some());
        let asked =
            self.steps.get(index).is_none_or(|step| step.probe_attempt >= PROBE_ATTEMPTS_MAX);
        declared && !asked
    }

    /// The next moment at which something becomes due on its own.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.dues().min()
    }

    /// Whether something of it waits for a change of its workspace: a lifted freeze, a new budget,
    /// a
    /// skill that may be used again. `looked_at`: what was due by then was looked at.
    pub fn waits_for_workspace(&self, looked_at: Timestamp) -> bool {
        // A probe or an undoing waits for the same where it is.
        let held = |step: &Step| {
            step.state == StepStatus::Held
                || step.waits_for.is_some_and(|reason| reason.holds(Purpose::Run))
        };
        // What could be done is not done, and no time will do it: a probe or an undoing that is
        // frozen.
        let stalled = matches!(self.status, Status::Running | Status::Cancelling)
            && self.due_after(looked_at).is_none();
        self.steps.iter().any(held) || stalled
    }

    /// The next of those moments behind another: what is due already and still there waits for
    /// something else.
    pub fn due_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.dues().filter(|due| *due > at).min()
    }

    pub(super) fn dues(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let steps = self.steps.iter().filter_map(|step| match step.state {
            StepStatus::Retrying | StepStatus::Compensating => step.retry_at,
            StepStatus::Running => step.until,
            StepStatus::Pending
            | StepStatus::Ready
            | StepStatus::Blocked
            | StepStatus::Held
            | StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::InDoubt
            | StepStatus::Skipped
            | StepStatus::Cancelled
            | StepStatus::Compensated
            | StepStatus::Stuck => None,
        });
        let open =
            self.approvals.iter().filter(|approval| approval.state == ApprovalStatus::Requested);
        steps.chain(open.map(|approval| approval.expires_at))
    }

    /// Nothing changes until people, a callback or the clock act.
    pub fn idle(&self) -> bool {
        let drives_itself =
            self.intent.as_ref().is_some_and(|intent| intent.mode == SubmitMode::Auto);
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
