//! What a command does to an execution: the events it causes, or why it is refused. Pure.

mod lifecycle;
mod plan;
mod steps;

pub use super::command::{Asking, Command, EditedPlan, MandateUsed, Outcome, ShownDigests};

use super::gate::{Kind, allows};
use super::{Execution, StepInput, StepStatus, step};
use contracts::{
    Code, RunId, StepId, Timestamp,
    event::{Actor, ExecutionEvent, ExecutionFailed, ExecutionSteered, Purpose, StepChanged},
};

/// Why a command is refused. Never retried as it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What a command causes.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub events: Vec<ExecutionEvent>,
}

/// Decides one command.
pub fn decide(state: &Execution, command: Command, now: Timestamp) -> Result<Decision, Refusal> {
    let mut transition = Transition::begin(state, now);
    transition.apply(command)?;
    Ok(Decision { events: transition.events })
}

/// Several commands decided together: each changes the state, and their events accumulate.
#[derive(Clone, Debug)]
pub struct Transition {
    pub(in crate::execution) state: Execution,
    events: Vec<ExecutionEvent>,
    pub(in crate::execution) now: Timestamp,
}

impl Transition {
    /// Begins at a state.
    pub fn begin(state: &Execution, now: Timestamp) -> Self {
        Self { state: state.clone(), events: Vec::new(), now }
    }
    /// The state so far.
    pub fn state(&self) -> &Execution {
        &self.state
    }
    /// The events so far.
    pub fn events(&self) -> &[ExecutionEvent] {
        &self.events
    }
    /// The moment at which it is decided; the entries of its events carry it.
    pub fn now(&self) -> Timestamp {
        self.now
    }
    /// The state and the events.
    pub fn into_parts(self) -> (Execution, Vec<ExecutionEvent>) {
        (self.state, self.events)
    }

    /// Decides one command. A refused command leaves everything as it was.
    pub fn apply(&mut self, command: Command) -> Result<(), Refusal> {
        self.allowed(&command)?;
        match command {
            Command::Receive { intent_id, requester, channel_key, mode, digest } => {
                self.receive(intent_id, requester, channel_key, mode, digest);
            }
            Command::Compile { outcome, draft_digest, planner_model, drafted_by } => {
                self.compile(outcome, draft_digest, (planner_model, drafted_by));
            }
            Command::Verify { ruling, reasons } => self.verify(ruling, reasons),
            Command::Start { run_id, mode } => self.start(run_id, mode)?,
            Command::Vote { by, on, decision, seen, reason, channel } => {
                self.vote(&by, &on, (decision, reason), &seen, channel)?;
            }
            Command::Withdraw { by, approval, reason } => self.withdraw(&by, &approval, reason)?,
            Command::Override { by, approval, seen, reason, channel } => {
                self.override_request(&by, &approval, (&seen, reason), channel)?;
            }
            Command::Edit { by, approval, seen, reason, channel, edited } => {
                self.edit((&by, channel), &approval, (&seen, reason), edited)?;
            }
            Command::Review { by, approval, note } => self.review(&by, &approval, note)?,
            Command::Comment { actor, approval, text } => self.comment(actor, &approval, text)?,
            Command::Expire => self.expire(),
            Command::Cancel { actor, reason, compensate } => self.cancel(actor, reason, compensate),
            Command::Pause { actor, reason } => self.pause(actor, reason)?,
            Command::Resume { actor, reason } => self.resume(actor, reason)?,
            Command::Retry { by, step, reason } => self.retry(&by, step.as_ref(), reason)?,
            Command::Abort { actor, reason } => {
                let message = reason.unwrap_or_else(|| format!("aborted by {}", actor.id));
                self.fail("ABORTED", message);
            }
            Command::Resolve { by, step, outcome, output } => {
                self.resolve(&by, &step, outcome, output)?
            }
            Command::Claim { step, purpose, fence, input, approval, spend, reserved, mandate } => {
                let granted = (approval, mandate);
                self.claim(&step, (purpose, fence), input, granted, (spend, reserved))?;
            }
            Command::Block { step, purpose: Purpose::Run, reason, message, about } => {
                self.block(&step, reason, message, about)?;
            }
            Command::Block { step, purpose, reason, message, about } => {
                self.block_beside(&step, purpose, (reason, message), about)?;
            }
            Command::Refuse { step, code, message } => self.refuse(&step, code, message)?,
            Command::Skip { step, message } => self.skip(&step, message)?,
            Command::SkipCutOff { limit } => self.skip_cut_off(limit),
            Command::Settle { step, fence, attempt, outcome } => {
                self.settle_claim(&step, fence, attempt, outcome)?;
            }
            Command::Callback { step, attempt, outcome } => {
                self.call_back(&step, attempt, outcome)?;
            }
            Command::Recover { step, fence } => self.recover(&step, fence)?,
        }
        self.finish();
        Ok(())
    }

    fn allowed(&self, command: &Command) -> Result<(), Refusal> {
        let status = self.state.status;
        if allows(status, Kind::of(command)) {
            return Ok(());
        }
        let verb = Kind::of(command).as_str();
        Err(Refusal::new(
            Code::Conflict,
            format!("an execution that is {} cannot {verb}", status.as_str()),
        ))
    }

    pub(in crate::execution) fn emit(&mut self, event: ExecutionEvent) {
        let event = event.clipped();
        self.state.evolve(&event, self.now);
        self.events.push(event);
    }

    pub(in crate::execution) fn run_id(&self) -> Option<RunId> {
        self.state.run.as_ref().map(|run| run.run_id.clone())
    }

    pub(in crate::execution) fn run(&self) -> Result<RunId, Refusal> {
        self.run_id().ok_or_else(|| Refusal::new(Code::Conflict, "it has not been started"))
    }

    pub(in crate::execution) fn record(&self, id: &StepId) -> Result<&super::Step, Refusal> {
        self.state
            .step(id)
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("the plan has no step `{id}`")))
    }

    pub(in crate::execution) fn check_transition(
        &self,
        id: &StepId,
        input: StepInput,
    ) -> Result<StepStatus, Refusal> {
        let record = self.record(id)?;
        step::next(record.state, input).ok_or_else(|| {
            let state = record.state.as_str();
            Refusal::new(
                Code::Conflict,
                format!("step `{id}` is {state}, which does not allow this"),
            )
        })
    }

    pub(in crate::execution) fn step_changed(
        &self,
        id: &StepId,
        code: Option<String>,
        message: Option<String>,
    ) -> StepChanged {
        StepChanged {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            step_id: id.clone(),
            at: self.now,
            code,
            message,
            budget_refunded: false,
            unanswered: false,
        }
    }

    pub(in crate::execution) fn steered(
        &self,
        actor: Actor,
        reason: Option<String>,
    ) -> ExecutionSteered {
        ExecutionSteered {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            at: self.now,
            actor_id: actor.id,
            reason,
        }
    }

    pub(in crate::execution) fn fail(&mut self, code: &str, message: String) {
        self.emit(ExecutionEvent::ExecutionFailed(ExecutionFailed {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            failed_at: self.now,
            error_code: code.to_owned(),
            error_message: Some(message),
            problem: None,
        }));
    }
}
