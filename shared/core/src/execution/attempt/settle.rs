//! The outcome of a call, and whether it is retried.

use crate::canonical;
use crate::execution::{
    StepStatus,
    decide::{Outcome, Refusal, Transition},
    evolve::NOT_DONE,
};
use contracts::{
    StepId, Timestamp,
    event::{BlockReason, ExecutionEvent, Purpose, StepChanged, StepCompleted, StepRetried},
    limits::STEP_ATTEMPTS_MAX,
    plan::RetryPolicy,
    verdict::Effect,
};

/// Why the outcome of a call is unknown.
pub(in crate::execution) enum UnknownOutcome {
    /// The worker died. Such attempts do not count towards the tool's limit, but have a limit of
    /// their own.
    Worker,
    /// The tool gave no outcome. It may have sent `Retry-After`.
    Answer { retry_after_seconds: Option<u32> },
}

impl Transition {
    pub(in crate::execution) fn settle(
        &mut self,
        id: &StepId,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        let record = self.record(id)?;
        let (purpose, attempt, undoing) =
            (record.purpose, record.attempt, record.state == StepStatus::Compensating);
        match outcome {
            Outcome::Completed { .. } if undoing => {
                let changed = self.step_changed(id, None, None);
                self.emit(ExecutionEvent::StepCompensated(changed));
            }
            Outcome::Completed { output } => {
                let run_id = self.run()?;
                self.emit(ExecutionEvent::StepCompleted(StepCompleted {
                    execution_id: self.state.id.clone(),
                    run_id,
                    step_id: id.clone(),
                    completed_at: self.now,
                    output_digest: output,
                    attempt,
                }));
            }
            Outcome::Failed { code, message } => match purpose {
                Purpose::Run => {
                    let mut changed = self.step_changed(id, Some(code), Some(message));
                    // An attempt before it may have had its effect.
                    changed.budget_refunded =
                        attempt == 1 && self.record(id)?.reservation.is_some();
                    self.emit(ExecutionEvent::StepFailed(changed));
                }
                Purpose::Probe => {
                    self.blocked(id, BlockReason::OutcomeUnknown, Some(message), None)
                }
                Purpose::Compensate => {
                    self.blocked(id, BlockReason::CompensationFailed, Some(message), None)
                }
            },
            Outcome::NotDone => self.schedule_retry(
                id,
                self.now,
                NOT_DONE,
                "the probe found no effect".into(),
                false,
            )?,
            Outcome::Accepted { until } if purpose == Purpose::Run => {
                self.blocked(id, BlockReason::AwaitingCallback, None, Some(until));
            }
            Outcome::Accepted { .. } => {
                let message = "only a step's own call may answer 202".to_owned();
                self.outcome_unknown(
                    id,
                    "UNEXPECTED_202",
                    message,
                    UnknownOutcome::Answer { retry_after_seconds: None },
                )?;
            }
            Outcome::Unreached { message } => self.unreached(id, message)?,
            Outcome::Unknown { code, message, retry_after_seconds } => {
                self.outcome_unknown(
                    id,
                    &code,
                    message,
                    UnknownOutcome::Answer { retry_after_seconds },
                )?;
            }
            Outcome::Unusable { code, message } => self.unusable(id, &code, message)?,
        }
        Ok(())
    }

    // Nothing was sent: safe to try again whatever the effect, and safe to give up.
    fn unreached(&mut self, id: &StepId, message: String) -> Result<(), Refusal> {
        let (purpose, attempt) = (self.record(id)?.purpose, self.record(id)?.call_attempt());
        if attempt < self.attempts_max(id, true) {
            let at = self.now.plus_ms(self.backoff_ms(id, attempt));
            return self.schedule_retry(id, at, "TOOL_UNREACHABLE", message, false);
        }
        match purpose {
            // An earlier attempt may have arrived.
            Purpose::Run => {
                let unanswered = self.record(id)?.unanswered;
                self.give_up(id, "TOOL_UNREACHABLE", message, unanswered)?;
            }
            Purpose::Probe => self.blocked(id, BlockReason::OutcomeUnknown, Some(message), None),
            Purpose::Compensate => {
                self.blocked(id, BlockReason::CompensationFailed, Some(message), None)
            }
        }
        Ok(())
    }

    // Makes no further call. If the plan compensates failures, a call that may have had its effect
    // is not taken for a failure: people decide before earlier steps are compensated.
    fn give_up(
        &mut self,
        id: &StepId,
        code: &str,
        message: String,
        unanswered: bool,
    ) -> Result<(), Refusal> {
        let record = self.record(id)?;
        if unanswered && self.state.undoes_failures() {
            self.blocked(id, BlockReason::OutcomeUnknown, Some(format!("{code}: {message}")), None);
            return Ok(());
        }
        let budget_refunded = record.attempt == 1 && !unanswered && record.reservation.is_some();
        let changed = StepChanged {
            budget_refunded,
            unanswered,
            ..self.step_changed(id, Some(code.to_owned()), Some(message))
        };
        self.emit(ExecutionEvent::StepFailed(changed));
        Ok(())
    }

    // A read with an unusable answer fails; any other call has had its effect, and people decide.
    fn unusable(&mut self, id: &StepId, code: &str, message: String) -> Result<(), Refusal> {
        let purpose = self.record(id)?.purpose;
        match (purpose, self.effect_of(id, purpose)) {
            (Purpose::Run, Effect::Read) => {
                let changed = self.step_changed(id, Some(code.to_owned()), Some(message));
                self.emit(ExecutionEvent::StepFailed(changed));
            }
            (Purpose::Run, Effect::Idempotent | Effect::NonIdempotent) | (Purpose::Probe, _) => {
                self.blocked(
                    id,
                    BlockReason::OutcomeUnknown,
                    Some(format!("{code}: {message}")),
                    None,
                );
            }
            (Purpose::Compensate, _) => {
                self.blocked(
                    id,
                    BlockReason::CompensationFailed,
                    Some(format!("{code}: {message}")),
                    None,
                );
            }
        }
        Ok(())
    }

    // The effect class of the call for a purpose.
    fn effect_of(&self, id: &StepId, purpose: Purpose) -> Effect {
        let planned = self.state.index_of(id).and_then(|index| self.state.planned(index));
        planned.map_or(Effect::NonIdempotent, |planned| match (purpose, &planned.compensate) {
            (Purpose::Compensate, Some(undo)) => undo.call.effect,
            (Purpose::Run | Purpose::Probe | Purpose::Compensate, _) => planned.call.effect,
        })
    }

    // INVARIANT (unknown-is-not-failed): a lost non-idempotent call is in doubt; others are
    // repeated with their key.
    pub(in crate::execution) fn outcome_unknown(
        &mut self,
        id: &StepId,
        code: &str,
        message: String,
        loss: UnknownOutcome,
    ) -> Result<(), Refusal> {
        let record = self.record(id)?;
        let (purpose, attempt) = (record.purpose, record.call_attempt());
        let effect = self.effect_of(id, purpose);
        let (limit, wait_ms) = match loss {
            UnknownOutcome::Worker => (STEP_ATTEMPTS_MAX, 0),
            UnknownOutcome::Answer { retry_after_seconds } => {
                let asked = i64::from(retry_after_seconds.unwrap_or_default()) * 1_000;
                (self.attempts_max(id, false), self.backoff_ms(id, attempt).max(asked))
            }
        };
        match (purpose, effect) {
            (Purpose::Probe, _) => {
                self.blocked(id, BlockReason::OutcomeUnknown, Some(message), None)
            }
            (Purpose::Run, Effect::NonIdempotent) => {
                self.blocked(
                    id,
                    BlockReason::OutcomeUnknown,
                    Some(format!("{code}: {message}")),
                    None,
                );
            }
            (Purpose::Compensate, Effect::NonIdempotent) => {
                let message = format!("the outcome of undoing it is not known: {message}");
                self.blocked(id, BlockReason::CompensationFailed, Some(message), None);
            }
            (Purpose::Run | Purpose::Compensate, Effect::Read | Effect::Idempotent)
                if attempt < limit =>
            {
                let unanswered = purpose == Purpose::Run && effect == Effect::Idempotent;
                self.schedule_retry(id, self.now.plus_ms(wait_ms), code, message, unanswered)?;
            }
            (Purpose::Run, Effect::Read | Effect::Idempotent) => {
                let message = format!("no answer after {attempt} attempts; the last: {message}");
                self.give_up(id, code, message, effect == Effect::Idempotent)?;
            }
            (Purpose::Compensate, Effect::Read | Effect::Idempotent) => {
                self.blocked(id, BlockReason::CompensationFailed, Some(message), None);
            }
        }
        Ok(())
    }

    fn schedule_retry(
        &mut self,
        id: &StepId,
        retry_at: Timestamp,
        code: &str,
        message: String,
        unanswered: bool,
    ) -> Result<(), Refusal> {
        let run_id = self.run()?;
        let attempt = self.record(id)?.call_attempt();
        if self.record(id)?.purpose == Purpose::Probe && code != NOT_DONE {
            // After a probe that failed, the outcome stays unknown; the next advance probes again.
            self.blocked(id, BlockReason::OutcomeUnknown, Some(message), None);
            return Ok(());
        }
        self.emit(ExecutionEvent::StepRetried(StepRetried {
            execution_id: self.state.id.clone(),
            run_id,
            step_id: id.clone(),
            at: self.now,
            attempt,
            retry_at,
            code: Some(code.to_owned()),
            message: Some(message),
            actor_id: None,
            unanswered,
        }));
        Ok(())
    }

    fn attempts_max(&self, id: &StepId, unreached: bool) -> u32 {
        let declared = self.retry_of(id).map_or(1, |retry| retry.max_attempts);
        if unreached { declared.max(3) } else { declared }
    }

    // The retry policy of the call in flight.
    fn retry_of(&self, id: &StepId) -> Option<&RetryPolicy> {
        let purpose = self.state.step(id)?.purpose;
        let planned = self.state.index_of(id).and_then(|index| self.state.planned(index))?;
        let undo = planned.compensate.as_ref().filter(|_| purpose == Purpose::Compensate);
        Some(undo.and_then(|undo| undo.retry.as_ref()).unwrap_or(&planned.retry))
    }

    // Capped exponential back-off with a jitter of 0.8 to 1.2, derived from the step's id so that
    // it is deterministic.
    fn backoff_ms(&self, id: &StepId, attempt: u32) -> i64 {
        let (first, most) = self
            .retry_of(id)
            .map_or((1, 30), |retry| (retry.backoff_seconds, retry.max_backoff_seconds));
        let seconds = i64::from(first)
            .saturating_mul(1 << attempt.saturating_sub(1).min(16))
            .min(i64::from(most));
        let parts: [&[u8]; 3] =
            [self.state.id.as_str().as_bytes(), id.as_str().as_bytes(), &attempt.to_be_bytes()];
        let draw = canonical::digest_parts(&parts).short().first().copied().unwrap_or(128);
        seconds * (800 + i64::from(draw) * 400 / 255)
    }
}
