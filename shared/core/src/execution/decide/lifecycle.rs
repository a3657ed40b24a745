//! An execution received, started, steered and ended.

use super::{Refusal, Transition};
use crate::execution::{Status, StepStatus, duty::Requester};
use contracts::{
    Code, Digest, IntentId, RunId, Timestamp,
    event::{
        Actor, ExecutionCancelled, ExecutionCompleted, ExecutionEvent, ExecutionStarted,
        IntentReceived, SubmitMode,
    },
    verdict::{RunMode, Verdict},
};

impl Transition {
    pub(super) fn receive(
        &mut self,
        intent_id: IntentId,
        requester: Requester,
        channel_key: Option<String>,
        mode: SubmitMode,
        digest: Digest,
    ) {
        let maker = requester.key_made_by;
        self.emit(ExecutionEvent::IntentReceived(IntentReceived {
            execution_id: self.state.id.clone(),
            intent_id,
            received_at: self.now,
            actor_id: requester.actor.id,
            actor_kind: Some(requester.actor.kind),
            key_id: requester.key_id,
            key_made_by: maker.as_ref().map(|maker| maker.actor.id.clone()),
            key_makers_above: maker.map(|maker| maker.above).unwrap_or_default(),
            on_behalf_of: requester.on_behalf_of,
            channel_key,
            mode,
            intent_digest: digest,
        }));
    }

    pub(super) fn start(&mut self, run_id: RunId, mode: RunMode) -> Result<(), Refusal> {
        let intent = self.state.intent.as_ref();
        if intent.is_some_and(|intent| intent.mode == SubmitMode::DryRun) {
            let message = "a dry run never starts: submit the intent again in another mode";
            return Err(Refusal::new(Code::PreconditionFailed, message));
        }
        self.emit(ExecutionEvent::ExecutionStarted(ExecutionStarted {
            execution_id: self.state.id.clone(),
            run_id,
            started_at: self.now,
            mode,
        }));
        let assist =
            self.state.ruling.as_ref().is_none_or(|ruling| ruling.verdict == Verdict::Assist);
        if (assist || mode == RunMode::Assist) && self.state.plan_approvable() {
            let reason =
                if assist { "the verdict is assist" } else { "the run was started in assist mode" };
            self.request(None, reason);
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self, actor: Actor, reason: Option<String>, compensate: bool) {
        self.emit(ExecutionEvent::ExecutionCancelled(ExecutionCancelled {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            at: self.now,
            actor_id: actor.id,
            reason,
            compensate,
        }));
    }

    pub(super) fn pause(&mut self, actor: Actor, reason: Option<String>) -> Result<(), Refusal> {
        if self.state.paused {
            return Err(Refusal::new(Code::Conflict, "it is paused already"));
        }
        let steered = self.steered(actor, reason);
        self.emit(ExecutionEvent::ExecutionPaused(steered));
        Ok(())
    }

    pub(super) fn resume(&mut self, actor: Actor, reason: Option<String>) -> Result<(), Refusal> {
        if !self.state.paused {
            return Err(Refusal::new(Code::Conflict, "it is not paused"));
        }
        let steered = self.steered(actor, reason);
        self.emit(ExecutionEvent::ExecutionResumed(steered));
        Ok(())
    }

    // Ends an execution whose steps have all settled and which undoes nothing any more.
    pub(super) fn finish(&mut self) {
        let state = &self.state;
        let done =
            state.status == Status::Running && state.steps.iter().all(|step| step.state.settled());
        if !done || state.next_undo(Timestamp::from_ms(i64::MAX)).is_some() {
            return;
        }
        let Some(run_id) = self.run_id() else { return };
        match state.steps.iter().find(|step| step.state == StepStatus::Failed) {
            Some(failed) => {
                let code =
                    failed.code.clone().unwrap_or_else(|| Code::InternalError.as_str().to_owned());
                let message = format!(
                    "step `{}`: {}",
                    failed.id,
                    failed.message.as_deref().unwrap_or("failed")
                );
                self.fail(&code, message);
            }
            None => {
                let skipped =
                    state.steps.iter().filter(|step| step.state == StepStatus::Skipped).count();
                let outcome = if skipped == 0 {
                    "succeeded".into()
                } else {
                    format!("succeeded, {skipped} skipped")
                };
                self.emit(ExecutionEvent::ExecutionCompleted(ExecutionCompleted {
                    execution_id: self.state.id.clone(),
                    run_id,
                    completed_at: self.now,
                    outcome: Some(outcome),
                }));
            }
        }
    }
}
