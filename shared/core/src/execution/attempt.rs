//! The calls of a step: claimed, blocked, settled, tried again, resolved by people.

use super::{
    About, Approval, ApprovalState, Status, StepInput, StepState,
    decide::{Outcome, Refusal, Transition},
    duty::Decider,
    evolve::NOT_DONE,
};
use crate::canonical;
use contracts::{
    Code, Digest, StepId, Timestamp,
    draft::OnFailure,
    event::{
        BlockReason, Event, Purpose, Reserved, Resolution, StepBlocked, StepChanged, StepCompleted, StepResolved,
        StepRetried, StepStarted,
    },
    id::ApprovalId,
    limits::STEP_ATTEMPTS_MAX,
    plan::{Radius, RetryPolicy},
    verdict::Effect,
};

/// Why nobody knows what became of a call.
pub(super) enum Loss {
    /// The worker died. Our own crashes do not use up a tool's attempts, but they are not endless either.
    Worker,
    /// The tool did not say, but perhaps when to call it again.
    Answer { retry_after_seconds: Option<u32> },
}

impl Transition {
    pub(super) fn retry(
        &mut self,
        by: &Decider,
        step: Option<&StepId>,
        reason: Option<String>,
    ) -> Result<(), Refusal> {
        if self.state.closing() && self.state.status != Status::Failed {
            return Err(Refusal::new(Code::Conflict, "it is being ended; nothing of it is tried again"));
        }
        let compensated = self.state.plan().is_some_and(|plan| plan.plan().on_failure == OnFailure::Compensate);
        let aborted = self
            .state
            .reasons
            .iter()
            .any(|issue| matches!(issue.code.as_deref(), Some("ABORTED" | "APPROVAL_REJECTED")));
        if self.state.status == Status::Failed && (compensated || aborted) {
            return Err(Refusal::new(Code::Conflict, "it was ended for good; submit it again"));
        }
        let again = |step: &super::Step| match step.state {
            StepState::Failed => true,
            StepState::Blocked => {
                matches!(step.waits_for, Some(BlockReason::ApprovalExpired | BlockReason::BudgetExceeded))
            }
            StepState::Pending
            | StepState::Ready
            | StepState::Held
            | StepState::Running
            | StepState::Completed
            | StepState::Retrying
            | StepState::InDoubt
            | StepState::Skipped
            | StepState::Cancelled
            | StepState::Compensating
            | StepState::Compensated
            | StepState::Stuck => false,
        };
        let steps: Vec<StepId> = match step {
            Some(id) => {
                let record = self.record(id)?;
                if !again(record) {
                    let message = format!("step `{id}` is {}: there is nothing to try again", record.state.as_str());
                    return Err(Refusal::new(Code::Conflict, message));
                }
                vec![id.clone()]
            }
            None => self.state.steps.iter().filter(|step| again(step)).map(|step| step.id.clone()).collect(),
        };
        if steps.is_empty() {
            return Err(Refusal::new(Code::Conflict, "no step failed or waits for an approval whose time is over"));
        }
        let run_id = self.run()?;
        self.may_retry(by, &steps)?;
        for id in steps {
            let attempt = self.record(&id)?.attempt;
            self.emit(Event::StepRetried(StepRetried {
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
        let open = self.state.approvals.iter().any(|approval| approval.state == ApprovalState::Requested);
        if !open && self.state.plan_approvable() {
            self.request(None, "tried again");
        }
        Ok(())
    }

    // What needed people needs them to be tried again, too; what ran on its own is its requester's affair.
    fn may_retry(&self, by: &Decider, steps: &[StepId]) -> Result<(), Refusal> {
        let assisted = |id: &&StepId| self.state.step(id).is_none_or(|step| self.state.needs_approval(step));
        match steps.iter().find(assisted) {
            None => Ok(()),
            Some(id) => by.may_decide(&self.state).map_err(|refusal| Refusal {
                message: format!("step `{id}` needs people: {}", refusal.message),
                ..refusal
            }),
        }
    }

    pub(super) fn resolve(
        &mut self,
        by: &Decider,
        id: &StepId,
        outcome: Resolution,
        output: Option<Digest>,
    ) -> Result<(), Refusal> {
        let record = self.record(id)?;
        if !matches!(record.state, StepState::InDoubt | StepState::Stuck) {
            let message = format!("step `{id}` is {}: its outcome is not in doubt", record.state.as_str());
            return Err(Refusal::new(Code::Conflict, message));
        }
        let undone = record.state == StepState::Stuck;
        // Undoing goes on while the execution is being ended, not when it has ended.
        if outcome == Resolution::Retry && self.state.closing() && !(undone && self.state.unwinding()) {
            return Err(Refusal::new(Code::Conflict, "it is being ended; say whether the call took effect"));
        }
        if outcome == Resolution::Completed && output.is_none() && !undone {
            return Err(Refusal::new(Code::ValidationFailed, "`completed` needs `evidence`: the step's output"));
        }
        if output.is_some() && undone {
            // It would take the place of what the step gave, which is evidence.
            let message = "what undid the step is no output of it: say `completed` without `evidence`";
            return Err(Refusal::new(Code::ValidationFailed, message));
        }
        let run_id = self.run()?;
        by.may_decide(&self.state)?;
        self.emit(Event::StepResolved(StepResolved {
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

    pub(super) fn claim(
        &mut self,
        id: &StepId,
        (purpose, fence): (Purpose, u64),
        (input, approval): (Digest, Option<ApprovalId>),
        (spend, meters): (Radius, Vec<Reserved>),
    ) -> Result<(), Refusal> {
        let run_id = self.run()?;
        let record = self.record(id)?;
        let (attempt, step_input) = match purpose {
            Purpose::Run => (record.attempt + 1, StepInput::Claim),
            Purpose::Probe => (record.probe_attempt + 1, StepInput::ClaimProbe),
            Purpose::Compensate => (record.undo_attempt + 1, StepInput::ClaimUndo),
        };
        self.takes(id, step_input)?;
        if record.in_flight() {
            return Err(Refusal::new(Code::Conflict, format!("step `{id}` is in flight")));
        }
        match purpose {
            Purpose::Run if self.state.paused || self.state.closing() => {
                return Err(Refusal::new(Code::Conflict, "no further step begins"));
            }
            Purpose::Compensate if !self.state.unwinding() => {
                return Err(Refusal::new(Code::Conflict, "nothing is being undone"));
            }
            Purpose::Run | Purpose::Probe | Purpose::Compensate => {}
        }
        // What the gate found is not taken on trust: the approval covers this call, and the budget has room for it.
        let unapproved = || Refusal::new(Code::PreconditionFailed, format!("step `{id}` is not approved"));
        match &approval {
            Some(wanted) => {
                let grant = self.state.grant_for_call(id, purpose, &input);
                if grant.is_none_or(|grant| grant.id != *wanted) {
                    return Err(unapproved());
                }
            }
            None if purpose == Purpose::Run && self.state.needs_approval(record) && record.approval.is_none() => {
                return Err(unapproved());
            }
            None => {}
        }
        let mut reserve = (Radius::default(), Vec::new());
        if record.hold_for(purpose).is_none() {
            let planned = self.state.place(id).and_then(|place| self.state.planned(place));
            if let Some(over) = planned.and_then(|planned| self.state.over_budget(planned, &spend)) {
                return Err(Refusal::new(Code::PreconditionFailed, format!("budget exceeded: {over}")));
            }
            reserve = (spend, meters);
        }
        self.emit(Event::StepStarted(StepStarted {
            execution_id: self.state.id.clone(),
            run_id,
            step_id: id.clone(),
            attempt,
            started_at: self.now,
            fence,
            input_digest: input,
            approval_id: approval,
            purpose,
            spend: reserve.0,
            reserved: reserve.1,
        }));
        Ok(())
    }

    pub(super) fn block(
        &mut self,
        id: &StepId,
        reason: BlockReason,
        message: Option<String>,
        about: Option<About>,
    ) -> Result<(), Refusal> {
        let step_input = match reason {
            BlockReason::SkillDisabled
            | BlockReason::WorkspaceFrozen
            | BlockReason::Frozen
            | BlockReason::RequesterRevoked
            | BlockReason::UsageExceeded => StepInput::Hold,
            BlockReason::ApprovalRequired
            | BlockReason::ApprovalExpired
            | BlockReason::BudgetExceeded
            | BlockReason::PolicyBlocked => StepInput::Block,
            BlockReason::OutcomeUnknown | BlockReason::CompensationFailed | BlockReason::AwaitingCallback => {
                return Err(Refusal::new(Code::Conflict, "not a reason for a step that has not begun"));
            }
        };
        self.takes(id, step_input)?;
        self.not_called(id, Purpose::Run, (reason, message), about);
        Ok(())
    }

    /// A probe or a compensation that may not be called: it waits where it is for what an operator must lift; what needs
    /// people leaves the doubt, or is stuck until they decide.
    pub(super) fn block_beside(
        &mut self,
        id: &StepId,
        purpose: Purpose,
        (reason, message): (BlockReason, Option<String>),
        about: Option<About>,
    ) -> Result<(), Refusal> {
        let record = self.record(id)?;
        let expected = match purpose {
            Purpose::Run => false,
            Purpose::Probe => record.state == StepState::InDoubt,
            Purpose::Compensate => matches!(record.state, StepState::Completed | StepState::Compensating),
        };
        if !expected || record.in_flight() {
            let state = record.state.as_str();
            return Err(Refusal::new(Code::Conflict, format!("step `{id}` is {state}: no such call is due")));
        }
        self.not_called(id, purpose, (reason, message), about);
        Ok(())
    }

    fn not_called(
        &mut self,
        id: &StepId,
        purpose: Purpose,
        (reason, message): (BlockReason, Option<String>),
        about: Option<About>,
    ) {
        let (input_digest, view_digest) = about.map(|about| (about.input, about.view)).unzip();
        self.emit(Event::StepBlocked(StepBlocked {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            step_id: Some(id.clone()),
            blocked_at: self.now,
            reason,
            message,
            purpose,
            input_digest,
            view_digest,
            until: None,
        }));
        if reason != BlockReason::ApprovalRequired || purpose == Purpose::Probe {
            return;
        }
        // What was asked or given for another input covers this one no more.
        let binding = self.state.binding(Some(id));
        let stale: Vec<Approval> = self
            .state
            .approvals
            .iter()
            .filter(|approval| matches!(approval.state, ApprovalState::Requested | ApprovalState::Granted))
            .filter(|approval| approval.step.as_ref() == Some(id) && !approval.consumed.contains(id))
            .filter(|approval| Some(&approval.binding) != binding.as_ref())
            .cloned()
            .collect();
        for approval in stale {
            let decided = self.decided(&approval, None, None, Some("its input is another one".into()));
            self.emit(Event::ApprovalVoided(decided));
        }
        if !self.state.asked_for(id, purpose) {
            self.request(Some(id), "people decide now that the input is known");
        }
    }

    fn blocked(&mut self, id: &StepId, reason: BlockReason, message: Option<String>, until: Option<Timestamp>) {
        self.emit(Event::StepBlocked(StepBlocked {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            step_id: Some(id.clone()),
            blocked_at: self.now,
            reason,
            message,
            purpose: Purpose::Run,
            input_digest: None,
            view_digest: None,
            until,
        }));
    }

    pub(super) fn settle(&mut self, id: &StepId, outcome: Outcome) -> Result<(), Refusal> {
        let record = self.record(id)?;
        let (purpose, attempt, undoing) = (record.purpose, record.attempt, record.state == StepState::Compensating);
        match outcome {
            Outcome::Completed { .. } if undoing => {
                let changed = self.changed(id, None, None);
                self.emit(Event::StepCompensated(changed));
            }
            Outcome::Completed { output } => {
                let run_id = self.run()?;
                self.emit(Event::StepCompleted(StepCompleted {
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
                    let mut changed = self.changed(id, Some(code), Some(message));
                    // An attempt before it may have had its effect.
                    changed.released = attempt == 1 && self.record(id)?.hold.is_some();
                    self.emit(Event::StepFailed(changed));
                }
                Purpose::Probe => self.blocked(id, BlockReason::OutcomeUnknown, Some(message), None),
                Purpose::Compensate => self.blocked(id, BlockReason::CompensationFailed, Some(message), None),
            },
            Outcome::NotDone => self.again(id, self.now, NOT_DONE, "the probe found no effect".into(), false)?,
            Outcome::Accepted { until } if purpose == Purpose::Run => {
                self.blocked(id, BlockReason::AwaitingCallback, None, Some(until));
            }
            Outcome::Accepted { .. } => {
                let message = "only a step's own call may answer 202".to_owned();
                self.lost(id, "UNEXPECTED_202", message, Loss::Answer { retry_after_seconds: None })?;
            }
            Outcome::Unreached { message } => self.unreached(id, message)?,
            Outcome::Unknown { code, message, retry_after_seconds } => {
                self.lost(id, &code, message, Loss::Answer { retry_after_seconds })?;
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
            return self.again(id, at, "TOOL_UNREACHABLE", message, false);
        }
        match purpose {
            // An earlier attempt may have arrived.
            Purpose::Run => {
                let unanswered = self.record(id)?.unanswered;
                self.give_up(id, "TOOL_UNREACHABLE", message, unanswered)?;
            }
            Purpose::Probe => self.blocked(id, BlockReason::OutcomeUnknown, Some(message), None),
            Purpose::Compensate => self.blocked(id, BlockReason::CompensationFailed, Some(message), None),
        }
        Ok(())
    }

    // No further call is made of it. Where the plan undoes what it did, what may have had its effect is no failure: people
    // say, before anything before it is undone.
    fn give_up(&mut self, id: &StepId, code: &str, message: String, unanswered: bool) -> Result<(), Refusal> {
        let record = self.record(id)?;
        if unanswered && self.state.undoes_failures() {
            self.blocked(id, BlockReason::OutcomeUnknown, Some(format!("{code}: {message}")), None);
            return Ok(());
        }
        let released = record.attempt == 1 && !unanswered && record.hold.is_some();
        let changed = StepChanged { released, unanswered, ..self.changed(id, Some(code.to_owned()), Some(message)) };
        self.emit(Event::StepFailed(changed));
        Ok(())
    }

    // Of a read that is a failure; else the effect is there, and people see to it.
    fn unusable(&mut self, id: &StepId, code: &str, message: String) -> Result<(), Refusal> {
        let purpose = self.record(id)?.purpose;
        match (purpose, self.effect_of(id, purpose)) {
            (Purpose::Run, Effect::Read) => {
                let changed = self.changed(id, Some(code.to_owned()), Some(message));
                self.emit(Event::StepFailed(changed));
            }
            (Purpose::Run, Effect::Idempotent | Effect::NonIdempotent) | (Purpose::Probe, _) => {
                self.blocked(id, BlockReason::OutcomeUnknown, Some(format!("{code}: {message}")), None);
            }
            (Purpose::Compensate, _) => {
                self.blocked(id, BlockReason::CompensationFailed, Some(format!("{code}: {message}")), None);
            }
        }
        Ok(())
    }

    // Of the call that is made for a purpose.
    fn effect_of(&self, id: &StepId, purpose: Purpose) -> Effect {
        let planned = self.state.place(id).and_then(|place| self.state.planned(place));
        planned.map_or(Effect::NonIdempotent, |planned| match (purpose, &planned.compensate) {
            (Purpose::Compensate, Some(undo)) => undo.call.effect,
            (Purpose::Run | Purpose::Probe | Purpose::Compensate, _) => planned.call.effect,
        })
    }

    // INVARIANT (unknown-is-not-failed): a lost non-idempotent call is in doubt; others are repeated with their key.
    pub(super) fn lost(&mut self, id: &StepId, code: &str, message: String, loss: Loss) -> Result<(), Refusal> {
        let record = self.record(id)?;
        let (purpose, attempt) = (record.purpose, record.call_attempt());
        let effect = self.effect_of(id, purpose);
        let (limit, wait_ms) = match loss {
            Loss::Worker => (STEP_ATTEMPTS_MAX, 0),
            Loss::Answer { retry_after_seconds } => {
                let asked = i64::from(retry_after_seconds.unwrap_or_default()) * 1_000;
                (self.attempts_max(id, false), self.backoff_ms(id, attempt).max(asked))
            }
        };
        match (purpose, effect) {
            (Purpose::Probe, _) => self.blocked(id, BlockReason::OutcomeUnknown, Some(message), None),
            (Purpose::Run, Effect::NonIdempotent) => {
                self.blocked(id, BlockReason::OutcomeUnknown, Some(format!("{code}: {message}")), None);
            }
            (Purpose::Compensate, Effect::NonIdempotent) => {
                let message = format!("the outcome of undoing it is not known: {message}");
                self.blocked(id, BlockReason::CompensationFailed, Some(message), None);
            }
            (Purpose::Run | Purpose::Compensate, Effect::Read | Effect::Idempotent) if attempt < limit => {
                let unanswered = purpose == Purpose::Run && effect == Effect::Idempotent;
                self.again(id, self.now.plus_ms(wait_ms), code, message, unanswered)?;
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

    fn again(
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
            // A probe that could not be asked leaves the doubt; the next advance asks again.
            self.blocked(id, BlockReason::OutcomeUnknown, Some(message), None);
            return Ok(());
        }
        self.emit(Event::StepRetried(StepRetried {
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

    // When the call that is in flight is made again.
    fn retry_of(&self, id: &StepId) -> Option<&RetryPolicy> {
        let purpose = self.state.step(id)?.purpose;
        let planned = self.state.place(id).and_then(|place| self.state.planned(place))?;
        let undo = planned.compensate.as_ref().filter(|_| purpose == Purpose::Compensate);
        Some(undo.and_then(|undo| undo.retry.as_ref()).unwrap_or(&planned.retry))
    }

    // Exponential, capped, spread by a jitter of 0.8 to 1.2 that is drawn from the step's name: deterministic.
    fn backoff_ms(&self, id: &StepId, attempt: u32) -> i64 {
        let (first, most) =
            self.retry_of(id).map_or((1, 30), |retry| (retry.backoff_seconds, retry.max_backoff_seconds));
        let seconds = i64::from(first).saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(i64::from(most));
        let parts: [&[u8]; 3] = [self.state.id.as_str().as_bytes(), id.as_str().as_bytes(), &attempt.to_be_bytes()];
        let draw = canonical::digest_parts(&parts).short().first().copied().unwrap_or(128);
        seconds * (800 + i64::from(draw) * 400 / 255)
    }
}
