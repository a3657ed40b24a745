//! Decisions of people on a step: retry it, or resolve the outcome of its call.

use crate::execution::{
    ApprovalStatus, Status, Step, StepStatus,
    decide::{Refusal, Transition},
    duty::Decider,
};
use contracts::{
    Code, Digest, StepId,
    draft::OnFailure,
    event::{BlockReason, ExecutionEvent, Resolution, StepResolved, StepRetried},
};

impl Transition {
    pub(in crate::execution) fn retry(
        &mut self,
        by: &Decider,
        step: Option<&StepId>,
        reason: Option<String>,
    ) -> Result<(), Refusal> {
        self.check_not_ended()?;
        let steps = self.steps_to_retry(step)?;
        let run_id = self.run()?;
        self.may_retry(by, &steps)?;
        for id in steps {
            let attempt = self.record(&id)?.attempt;
            self.emit(ExecutionEvent::StepRetried(StepRetried {
                execution_id: self.state.id.clone(),
                run_id: run_id.clone(),
                step_id: id,
                at: self.now,
                attempt,
                retry_at: self.now,
                code: None,
                message: reason.clone(),
                actor_id: Some(by.actor.id.clone()),
                unanswered: false,
            }));
        }
        let open =
            self.state.approvals.iter().any(|approval| approval.state == ApprovalStatus::Requested);
        if !open && self.state.plan_approvable() {
            self.request(None, "tried again");
        }
        Ok(())
    }

    // What is being ended, undone or was ended by people is not tried again.
    fn check_not_ended(&self) -> Result<(), Refusal> {
        if self.state.closing() && self.state.status != Status::Failed {
            return Err(Refusal::new(
                Code::Conflict,
                "it is being ended; nothing of it is tried again",
            ));
        }
        let compensated =
            self.state.plan().is_some_and(|plan| plan.plan().on_failure == OnFailure::Compensate);
        let aborted =
            self.state.reasons.iter().any(|issue| {
                matches!(issue.code.as_deref(), Some("ABORTED" | "APPROVAL_REJECTED"))
            });
        if self.state.status == Status::Failed && (compensated || aborted) {
            return Err(Refusal::new(Code::Conflict, "it was ended for good; submit it again"));
        }
        Ok(())
    }

    // The step named, or every one that may be tried again; never none.
    fn steps_to_retry(&self, step: Option<&StepId>) -> Result<Vec<StepId>, Refusal> {
        if let Some(id) = step {
            let record = self.record(id)?;
            if !retryable(record) {
                let message = format!(
                    "step `{id}` is {}: there is nothing to try again",
                    record.state.as_str()
                );
                return Err(Refusal::new(Code::Conflict, message));
            }
            return Ok(vec![id.clone()]);
        }
        let steps = self.state.steps.iter().filter(|step| retryable(step));
        let steps: Vec<StepId> = steps.map(|step| step.id.clone()).collect();
        if steps.is_empty() {
            return Err(Refusal::new(
                Code::Conflict,
                "no step failed or waits for an approval whose time is over",
            ));
        }
        Ok(steps)
    }

    // A step that needed approval needs a person to retry it, too; the requester may retry one that
    // ran on its own.
    fn may_retry(&self, by: &Decider, steps: &[StepId]) -> Result<(), Refusal> {
        let assisted =
            |id: &&StepId| self.state.step(id).is_none_or(|step| self.state.needs_approval(step));
        match steps.iter().find(assisted) {
            None => Ok(()),
            Some(id) => by.may_decide(&self.state).map_err(|refusal| Refusal {
                message: format!("step `{id}` needs people: {}", refusal.message),
                ..refusal
            }),
        }
    }

    pub(in crate::execution) fn resolve(
        &mut self,
        by: &Decider,
        id: &StepId,
        outcome: Resolution,
        output: Option<Digest>,
    ) -> Result<(), Refusal> {
        let record = self.record(id)?;
        if !matches!(record.state, StepStatus::InDoubt | StepStatus::Stuck) {
            let message =
                format!("step `{id}` is {}: its outcome is not in doubt", record.state.as_str());
            return Err(Refusal::new(Code::Conflict, message));
        }
        let undone = record.state == StepStatus::Stuck;
        // Undoing goes on while the execution is being ended, not when it has ended.
        if outcome == Resolution::Retry
            && self.state.closing()
            && !(undone && self.state.unwinding())
        {
            return Err(Refusal::new(
                Code::Conflict,
                "it is being ended; say whether the call took effect",
            ));
        }
        if outcome == Resolution::Completed && output.is_none() && !undone {
            return Err(Refusal::new(
                Code::ValidationFailed,
                "`completed` needs `evidence`: the step's output",
            ));
        }
        if output.is_some() && undone {
            // It would replace the step's output, which is evidence.
            let message =
                "what undid the step is no output of it: say `completed` without `evidence`";
            return Err(Refusal::new(Code::ValidationFailed, message));
        }
        let run_id = self.run()?;
        by.may_decide(&self.state)?;
        self.emit(ExecutionEvent::StepResolved(StepResolved {
            execution_id: self.state.id.clone(),
            run_id,
            step_id: id.clone(),
            at: self.now,
            outcome,
            actor_id: by.actor.id.clone(),
            output_digest: output,
        }));
        Ok(())
    }
}

fn retryable(step: &Step) -> bool {
    match step.state {
        StepStatus::Failed => true,
        StepStatus::Blocked => matches!(
            step.waits_for,
            Some(BlockReason::ApprovalExpired | BlockReason::BudgetExceeded)
        ),
        StepStatus::Pending
        | StepStatus::Ready
        | StepStatus::Held
        | StepStatus::Running
        | StepStatus::Completed
        | StepStatus::Retrying
        | StepStatus::InDoubt
        | StepStatus::Skipped
        | StepStatus::Cancelled
        | StepStatus::Compensating
        | StepStatus::Compensated
        | StepStatus::Stuck => false,
    }
}
