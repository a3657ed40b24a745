//! How an event changes an execution. Total: replay cannot fail.

mod approvals;
mod lifecycle;
mod steps;

use super::{
    About, Approval, ApprovalStatus, Asked, Cancellation, Comment, Edits, Execution, IntentFacts,
    Overridden, PROBE_ATTEMPTS_MAX, PlanFacts, Reservation, Run, Status, Step, StepInput,
    StepStatus, VerdictSummary, Vote, ballot, mask, step,
};
use crate::plan;
use contracts::{
    Issue, StepId, Timestamp,
    event::{
        ApprovalDecided, BlockReason, ExecutionEvent, PlanVerified, Purpose, Resolution,
        StepBlocked, StepStarted,
    },
    id::ApprovalId,
    plan::Radius,
    verdict::{Effect, RiskTier, Verdict},
};
use std::collections::BTreeSet;

/// Code of a step that was skipped because a step before it was not completed.
pub const DEPENDENCY_FAILED: &str = "DEPENDENCY_FAILED";
/// Code of a call that is made again because its probe found no effect.
pub(in crate::execution) const NOT_DONE: &str = "NOT_DONE";

impl Execution {
    /// Applies one event.
    pub fn evolve(&mut self, event: &ExecutionEvent, at: Timestamp) {
        self.events += 1;
        self.updated_at = at;
        match event {
            ExecutionEvent::IntentReceived(data) => self.received(data),
            ExecutionEvent::PlanCompiled(data) => self.compiled(data),
            ExecutionEvent::PlanVerified(data) => self.verified(data),
            ExecutionEvent::PlanRejected(data) => self.rejected(data),
            ExecutionEvent::ExecutionStarted(data) => self.started(data),
            ExecutionEvent::StepStarted(data) => self.step_started(data),
            ExecutionEvent::StepBlocked(data) => self.step_blocked(data),
            ExecutionEvent::StepCompleted(data) => self.step_completed(data),
            ExecutionEvent::StepFailed(data) => self.step_failed(data),
            ExecutionEvent::StepRetried(data) => {
                self.step_retried(&data.step_id, data.retry_at, data);
            }
            ExecutionEvent::StepSkipped(data) => self.step_skipped(data),
            ExecutionEvent::StepResolved(data) => self.step_resolved(data),
            ExecutionEvent::StepCompensated(data) => {
                self.apply(&data.step_id, StepInput::Complete, |_| {});
            }
            ExecutionEvent::ApprovalRequested(data) => self.approval_requested(data),
            ExecutionEvent::ApprovalVoted(data) => self.approval_voted(data),
            ExecutionEvent::ApprovalWithdrawn(data) => self.approval_withdrawn(data),
            ExecutionEvent::ApprovalCommented(data) => self.approval_commented(data),
            ExecutionEvent::ApprovalOverridden(data) => self.approval_overridden(data),
            ExecutionEvent::ApprovalReviewed(data) => self.approval_reviewed(data),
            ExecutionEvent::ApprovalGranted(data) => {
                self.approval_decided(data, ApprovalStatus::Granted);
            }
            ExecutionEvent::ApprovalRejected(data) => self.approval_rejected(data),
            ExecutionEvent::ApprovalExpired(data) => {
                self.approval_decided(data, ApprovalStatus::Expired);
                self.no_longer_asked(BlockReason::ApprovalExpired, |_| true);
            }
            ExecutionEvent::ApprovalVoided(data) => {
                self.approval_decided(data, ApprovalStatus::Voided);
            }
            ExecutionEvent::ExecutionCompleted(_) => self.status = Status::Completed,
            ExecutionEvent::ExecutionFailed(data) => self.failed(data),
            ExecutionEvent::ExecutionCancelled(data) => self.cancelled(data),
            ExecutionEvent::ExecutionPaused(_) => self.paused = true,
            ExecutionEvent::ExecutionResumed(_) => self.paused = false,
        }
        self.settle_derived();
    }

    // Moves one step, if its state takes the input; then `change` adjusts the record.
    fn apply(&mut self, id: &StepId, input: StepInput, change: impl FnOnce(&mut Step)) {
        let Some(index) = self.index_of(id) else { return };
        let Some(step) = self.steps.get_mut(index) else {
            return;
        };
        let Some(state) = step::next(step.state, input) else {
            return;
        };
        step.state = state;
        step.fence = None;
        step.waits_for = None;
        step.retry_at = None;
        step.until = None;
        change(step);
        step.since = step.waits_for.map(|_| self.updated_at);
        self.touched.insert(index);
    }

    // Changes a record whose state stays.
    fn change(&mut self, id: &StepId, change: impl FnOnce(&mut Step)) {
        if let Some(index) = self.index_of(id)
            && let Some(step) = self.steps.get_mut(index)
        {
            change(step);
            self.touched.insert(index);
        }
    }

    fn assisted(&self, data: &PlanVerified) -> BTreeSet<usize> {
        let masked = data.assist_mask.as_deref().into_iter().flat_map(mask::places);
        data.assist.iter().filter_map(|id| self.index_of(id)).chain(masked).collect()
    }
}
