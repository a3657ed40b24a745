//! controlPlane.execution.approve and reject. Who decides is the authenticated actor.

use crate::{
    Answer, Caller, Engine,
    commit::{run_of, status},
};
use contracts::{
    Code, Issue, Problem,
    command::{ApproveExecution, ExecutionApproved, ExecutionRejected, RejectExecution},
    limits::TEXT_BYTES_MAX,
};
use cs_core::execution::decide::Command;

impl Engine {
    /// Approves a plan or a step.
    pub async fn approve(&self, caller: &Caller, request: ApproveExecution) -> Answer<ExecutionApproved> {
        caller.require("control-plane.execution.approve")?;
        check_text("/note", request.note.as_deref())?;
        let by = self.require_decider(caller).await?;
        self.update(
            caller,
            &request.execution_id,
            "execution.approve",
            &request,
            |_, _| {
                Ok(vec![Command::Approve {
                    by: by.clone(),
                    step: request.step_id.clone(),
                    binding: request.binding_digest.clone(),
                    view: request.view_digest.clone(),
                    note: request.note.clone(),
                    channel: Some(caller.channel.clone()),
                }])
            },
            |state, at| {
                Ok(ExecutionApproved {
                    execution_id: state.id.clone(),
                    run_id: run_of(state),
                    step_id: request.step_id.clone(),
                    status: status(state),
                    approved_at: at,
                    approved_by: caller.actor.id.clone(),
                    remaining: state.unapproved(),
                })
            },
            Vec::new(),
        )
        .await
    }

    /// Rejects a plan or a step.
    pub async fn reject(&self, caller: &Caller, request: RejectExecution) -> Answer<ExecutionRejected> {
        caller.require("control-plane.execution.reject")?;
        check_text("/reason", Some(&request.reason))?;
        if request.reason.trim().is_empty() {
            let issue = Issue::new("/reason", "say why, for those who asked");
            return Err(Problem::new(Code::ValidationFailed, "a rejection has a reason").issue(issue));
        }
        let by = self.require_decider(caller).await?;
        self.update(
            caller,
            &request.execution_id,
            "execution.reject",
            &request,
            |_, _| {
                Ok(vec![Command::Reject {
                    by: by.clone(),
                    step: request.step_id.clone(),
                    view: request.view_digest.clone(),
                    reason: request.reason.clone(),
                    channel: Some(caller.channel.clone()),
                }])
            },
            |state, at| {
                Ok(ExecutionRejected {
                    execution_id: state.id.clone(),
                    run_id: run_of(state),
                    step_id: request.step_id.clone(),
                    status: status(state),
                    rejected_at: at,
                    rejected_by: caller.actor.id.clone(),
                })
            },
            Vec::new(),
        )
        .await
    }
}

/// Refuses a text that is too long.
pub(crate) fn check_text(pointer: &str, text: Option<&str>) -> Answer<()> {
    if text.is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
        let issue = Issue::new(pointer, format!("at most {TEXT_BYTES_MAX} bytes"));
        return Err(Problem::new(Code::ValidationFailed, "a text is too long").issue(issue));
    }
    Ok(())
}
