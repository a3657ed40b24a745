//! A step refused, skipped and settled.

use super::{Outcome, Refusal, Transition};
use crate::execution::{StepInput, attempt::UnknownOutcome, evolve::DEPENDENCY_FAILED};
use contracts::{Code, StepId, event::ExecutionEvent};

impl Transition {
    pub(super) fn refuse(
        &mut self,
        step: &StepId,
        code: String,
        message: String,
    ) -> Result<(), Refusal> {
        self.check_transition(step, StepInput::Fail)?;
        let mut changed = self.step_changed(step, Some(code), Some(message));
        changed.unanswered = self.record(step)?.unanswered;
        self.emit(ExecutionEvent::StepFailed(changed));
        Ok(())
    }

    pub(super) fn skip(&mut self, step: &StepId, message: String) -> Result<(), Refusal> {
        self.check_transition(step, StepInput::Skip)?;
        let changed = self.step_changed(step, Some("CONDITION_FALSE".into()), Some(message));
        self.emit(ExecutionEvent::StepSkipped(changed));
        Ok(())
    }

    pub(super) fn skip_cut_off(&mut self, limit: usize) {
        let cut: Vec<StepId> =
            self.state.cut_off().take(limit).map(|step| step.id.clone()).collect();
        for step in cut {
            let message = Some("a step before it was not completed".to_owned());
            let changed = self.step_changed(&step, Some(DEPENDENCY_FAILED.into()), message);
            self.emit(ExecutionEvent::StepSkipped(changed));
        }
    }

    pub(super) fn settle_claim(
        &mut self,
        step: &StepId,
        fence: u64,
        attempt: u32,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        let record = self.record(step)?;
        // INVARIANT (fenced): only the claim that is in flight can be settled.
        if record.fence != Some(fence) || record.call_attempt() != attempt {
            return Err(claimed_anew());
        }
        self.settle(step, outcome)
    }

    pub(super) fn call_back(
        &mut self,
        step: &StepId,
        attempt: u32,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        let record = self.record(step)?;
        if !record.takes_callback() || record.call_attempt() != attempt {
            return Err(Refusal::new(
                Code::Conflict,
                "this step does not wait for that result (any more)",
            ));
        }
        self.settle(step, outcome)
    }

    pub(super) fn recover(&mut self, step: &StepId, fence: u64) -> Result<(), Refusal> {
        if self.record(step)?.fence != Some(fence) {
            return Err(claimed_anew());
        }
        self.outcome_unknown(
            step,
            "WORKER_LOST",
            "the worker died before it learnt the outcome".into(),
            UnknownOutcome::Worker,
        )
    }
}

fn claimed_anew() -> Refusal {
    Refusal::new(Code::PreconditionFailed, "another worker has this step now")
}
