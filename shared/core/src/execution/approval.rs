//! Approvals: asked for, given, refused, expired. Bound to a digest, never one's own, consumed by the claim.

use super::{
    Approval, ApprovalState, StepInput, StepState,
    attempt::Loss,
    decide::{Refusal, Transition},
    duty::Decider,
    step,
};
use crate::canonical;
use contracts::{
    Code, Digest, StepId,
    event::{Actor, ApprovalDecided, ApprovalRequested, Event, Requirement},
    id::ApprovalId,
};

/// What a decision says of what it is about. INVARIANT (seen-is-signed): it is refused unless that is what holds now.
pub(super) struct Seen {
    pub(super) binding: Option<Digest>,
    pub(super) view: Option<Digest>,
}
/// Approvals, and calls without an answer, that one commit ends: each is two items of it.
const EXPIRED_AT_ONCE_MAX: usize = 10;

impl Transition {
    // The binding and the view of what is decided on now, if they are those that were seen.
    fn current(&self, step: Option<&StepId>, seen: &Seen) -> Result<(Digest, Digest), Refusal> {
        let current = self.state.binding(step).zip(self.state.view_digest(step).cloned());
        let current = current.ok_or_else(|| Refusal::new(Code::Conflict, "there is nothing to decide on"))?;
        let (binding, view) = &current;
        if seen.binding.as_ref().is_some_and(|seen| seen != binding) {
            let message = "the digest is not that of the current plan, policy and skills; look again, then decide";
            return Err(Refusal::new(Code::BindingStale, message));
        }
        if seen.view.as_ref().is_some_and(|seen| seen != view) {
            let message = "the view is not the current one; look again, then decide";
            return Err(Refusal::new(Code::BindingStale, message));
        }
        Ok(current)
    }

    fn approval_id(&self) -> ApprovalId {
        let count = self.state.events.to_be_bytes();
        let parts: [&[u8]; 3] = [b"approval", self.state.id.as_str().as_bytes(), &count];
        ApprovalId::from_bytes(canonical::digest_parts(&parts).short())
    }

    pub(super) fn request(&mut self, step: Option<&StepId>, reason: &str) {
        let (Some(binding), Some(view)) = (self.state.binding(step), self.state.view_digest(step).cloned()) else {
            return;
        };
        let life = self.state.ruling.as_ref().map_or(0, |ruling| ruling.approval_life_ms);
        self.emit(Event::ApprovalRequested(ApprovalRequested {
            execution_id: self.state.id.clone(),
            step_id: step.cloned(),
            approval_id: self.approval_id(),
            binding_digest: binding,
            view_digest: view,
            at: self.now,
            expires_at: self.now.plus_ms(life),
            requirement: vec![Requirement { group: "approvers".into(), count: 1 }],
            excludes: self.state.excluded().into_keys().collect(),
            reason: Some(reason.to_owned()),
        }));
    }

    pub(super) fn decided(
        &self,
        approval: &Approval,
        actor: Option<&Actor>,
        channel: Option<String>,
        reason: Option<String>,
    ) -> ApprovalDecided {
        ApprovalDecided {
            execution_id: self.state.id.clone(),
            step_id: approval.step.clone(),
            approval_id: approval.id.clone(),
            binding_digest: approval.binding.clone(),
            view_digest: approval.view.clone(),
            actor_id: actor.map(|actor| actor.id.clone()),
            channel,
            at: self.now,
            reason,
        }
    }

    // The open request that a decision on the plan or on one step answers.
    fn open_request(&self, by: &Decider, step: Option<&StepId>) -> Result<Approval, Refusal> {
        by.may_decide(&self.state)?;
        if let Some(step) = step {
            let record = self.record(step)?;
            let decided = record.approval.is_some() && record.asked.is_none();
            if decided || self.state.grant_for(step).is_some() {
                return Err(Refusal::new(Code::ApprovalAlreadyDecided, format!("step `{step}` is approved already")));
            }
        }
        let fits = |approval: &&Approval| match (&approval.step, step) {
            (None, _) => true,
            (Some(own), Some(step)) => own == step,
            (Some(_), None) => false,
        };
        let mut candidates: Vec<&Approval> = self.state.approvals.iter().filter(fits).collect();
        // The most specific, then the latest.
        candidates.sort_by_key(|approval| (approval.step.is_some(), approval.requested_at));
        let open = candidates.iter().rev().find(|approval| approval.state == ApprovalState::Requested);
        let Some(approval) = open.or(candidates.last()) else {
            return Err(Refusal::new(Code::Conflict, "nothing here waits for an approval"));
        };
        match approval.state {
            ApprovalState::Requested if self.now >= approval.expires_at => {
                Err(Refusal::new(Code::ApprovalExpired, format!("the time was over at {}", approval.expires_at)))
            }
            ApprovalState::Requested => Ok((*approval).clone()),
            ApprovalState::Expired => {
                Err(Refusal::new(Code::ApprovalExpired, "its time is over; `execution.retry` asks again"))
            }
            ApprovalState::Granted | ApprovalState::Rejected => {
                let by = approval.decided_by.join(", ");
                let message = format!("it was {} by {by}", approval.state.as_str());
                Err(Refusal::new(Code::ApprovalAlreadyDecided, message))
            }
            ApprovalState::Voided => Err(Refusal::new(Code::BindingStale, "what was to be approved has changed")),
        }
    }

    pub(super) fn approve(
        &mut self,
        by: &Decider,
        step: Option<&StepId>,
        seen: &Seen,
        note: Option<String>,
        channel: Option<String>,
    ) -> Result<(), Refusal> {
        let request = self.open_request(by, step)?;
        let (binding_digest, view_digest) = self.current(step, seen)?;
        let granted = if request.step.as_ref() == step {
            self.decided(&request, Some(&by.actor), channel, note)
        } else {
            // One step out of a request for the whole plan.
            ApprovalDecided {
                step_id: step.cloned(),
                approval_id: self.approval_id(),
                binding_digest,
                view_digest,
                ..self.decided(&request, Some(&by.actor), channel, note)
            }
        };
        self.emit(Event::ApprovalGranted(granted));
        Ok(())
    }

    pub(super) fn reject(
        &mut self,
        by: &Decider,
        step: Option<&StepId>,
        seen: &Seen,
        reason: String,
        channel: Option<String>,
    ) -> Result<(), Refusal> {
        let request = self.open_request(by, step)?;
        let (binding_digest, view_digest) = self.current(step, seen)?;
        let own = request.step.as_ref() == step;
        let mut rejected = self.decided(&request, Some(&by.actor), channel, Some(reason.clone()));
        if !own {
            rejected.step_id = step.cloned();
            rejected.approval_id = self.approval_id();
            (rejected.binding_digest, rejected.view_digest) = (binding_digest, view_digest);
        }
        match step {
            // Undoing it was refused: it stays stuck, and people say what became of it.
            Some(step) if self.record(step)?.state == StepState::Stuck => {
                self.emit(Event::ApprovalRejected(rejected));
            }
            Some(step) => {
                self.takes(step, StepInput::Skip)?;
                self.emit(Event::ApprovalRejected(rejected));
                if step::next(self.record(step)?.state, StepInput::Fail).is_some() {
                    let changed = self.changed(step, Some("APPROVAL_REJECTED".into()), Some(reason));
                    self.emit(Event::StepFailed(changed));
                } else {
                    let changed = self.changed(step, Some("APPROVAL_REJECTED".into()), Some(reason));
                    self.emit(Event::StepSkipped(changed));
                }
            }
            None => {
                self.emit(Event::ApprovalRejected(rejected));
                self.fail("APPROVAL_REJECTED", reason);
            }
        }
        Ok(())
    }

    pub(super) fn expire(&mut self) {
        let over: Vec<Approval> = self
            .state
            .approvals
            .iter()
            .filter(|approval| approval.state == ApprovalState::Requested && approval.expires_at <= self.now)
            .take(EXPIRED_AT_ONCE_MAX)
            .cloned()
            .collect();
        for approval in over {
            let decided = self.decided(&approval, None, None, Some("its time is over; nobody decided".into()));
            self.emit(Event::ApprovalExpired(decided));
        }
        let late: Vec<StepId> = self
            .state
            .steps
            .iter()
            .filter(|step| step.awaits_callback() && step.until.is_some_and(|until| until <= self.now))
            .take(EXPIRED_AT_ONCE_MAX)
            .map(|step| step.id.clone())
            .collect();
        for step in late {
            // Cannot be refused: the step is running.
            let _ = self.lost(
                &step,
                "CALLBACK_TIMEOUT",
                "the tool did not call back in time".into(),
                Loss::Answer { retry_after_seconds: None },
            );
        }
    }
}
