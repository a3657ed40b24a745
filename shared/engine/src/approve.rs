//! controlPlane.execution.approve and reject. Who decides is the authenticated actor.

use crate::{
    Answer, Caller, Engine, boxed,
    commit::{Loaded, run_of, status},
    keys,
    ports::{Condition, Key, Write},
    wake::Before,
};
use contracts::{
    Code, Digest, ExecutionId, Issue, Problem,
    command::{ApproveExecution, ExecutionApproved, ExecutionRejected, RejectExecution},
    limits::TEXT_BYTES_MAX,
};
use cs_core::execution::{Status, decide::Command};

impl Engine {
    /// Approves a plan or a step.
    #[boxed]
    pub async fn approve(&self, caller: &Caller, request: ApproveExecution) -> Answer<ExecutionApproved> {
        caller.require("control-plane.execution.approve")?;
        check_text("/note", request.note.as_deref())?;
        let by = self.require_decider(caller).await?;
        let policy = self.policy_in_force(caller).await?;
        let decided = self.update(
            caller,
            &request.execution_id,
            "execution.approve",
            &request,
            |loaded, _| {
                policy.must_have_judged(loaded)?;
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
            vec![policy.unchanged()],
        );
        self.or_ask_anew(caller, &request.execution_id, &policy, decided.await).await
    }

    /// Rejects a plan or a step.
    #[boxed]
    pub async fn reject(&self, caller: &Caller, request: RejectExecution) -> Answer<ExecutionRejected> {
        caller.require("control-plane.execution.reject")?;
        check_text("/reason", Some(&request.reason))?;
        if request.reason.trim().is_empty() {
            let issue = Issue::new("/reason", "say why, for those who asked");
            return Err(Problem::new(Code::ValidationFailed, "a rejection has a reason").issue(issue));
        }
        let by = self.require_decider(caller).await?;
        let policy = self.policy_in_force(caller).await?;
        let decided = self.update(
            caller,
            &request.execution_id,
            "execution.reject",
            &request,
            |loaded, _| {
                policy.must_have_judged(loaded)?;
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
            vec![policy.unchanged()],
        );
        self.or_ask_anew(caller, &request.execution_id, &policy, decided.await).await
    }

    async fn policy_in_force(&self, caller: &Caller) -> Answer<PolicyInForce> {
        let (version, digest) = self.active(&caller.workspace).await?;
        Ok(PolicyInForce { key: keys::policy_active(&caller.workspace), version, digest })
    }

    // A decision that was refused because another policy set judged: the plan is judged again at once, so that the next
    // look shows what is asked under the set in force.
    async fn or_ask_anew<R>(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        policy: &PolicyInForce,
        decided: Answer<R>,
    ) -> Answer<R> {
        let refused = match decided {
            Ok(answer) => return Ok(answer),
            Err(problem) => problem,
        };
        let (version, _) = self.active(&caller.workspace).await?;
        let replaced = version != policy.version;
        let others = refused.code == Code::Conflict && refused.retryable && replaced;
        if refused.code != Code::BindingStale && !others {
            return Err(refused);
        }
        let mut loaded = self.load(&caller.workspace, id).await?;
        let judged = loaded.state.ruling.as_ref().map(|ruling| ruling.policy_version.clone());
        let open = loaded.state.status == Status::Verified || loaded.state.status.under_way();
        if judged != Some(version.to_string()) && open {
            let before = Before::of(&mut loaded);
            if self.verify_once(&mut loaded, None, None).await?.is_some() {
                self.wake(&loaded, before).await;
            }
        }
        Err(if others { stale() } else { refused })
    }
}

/// The policy set that was active when a decision came in.
///
/// INVARIANT (approval-binds-digest): a decision under a set that is not active any more is refused, in the decision's own
/// transaction, and not voided a moment later.
struct PolicyInForce {
    key: Key,
    version: u64,
    digest: Digest,
}

impl PolicyInForce {
    fn must_have_judged(&self, loaded: &Loaded) -> Answer<()> {
        match &loaded.state.ruling {
            Some(ruling) if ruling.policy_digest != self.digest => Err(stale()),
            Some(_) | None => Ok(()),
        }
    }

    /// What the decision's transaction checks.
    fn unchanged(&self) -> Write {
        Write::Check { key: self.key.clone(), condition: Condition::VersionIs(self.version) }
    }
}

fn stale() -> Problem {
    let message = "another policy set is active since this was asked; look again, then decide";
    Problem::new(Code::BindingStale, message)
}

/// Refuses a text that is too long.
pub(crate) fn check_text(pointer: &str, text: Option<&str>) -> Answer<()> {
    if text.is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
        let issue = Issue::new(pointer, format!("at most {TEXT_BYTES_MAX} bytes"));
        return Err(Problem::new(Code::ValidationFailed, "a text is too long").issue(issue));
    }
    Ok(())
}
