//! Approvals: asked for, given, refused, expired. Bound to a digest, never one's own, consumed by
//! the claim.

use super::{
    Approval, ApprovalStatus, StepInput, StepStatus,
    attempt::UnknownOutcome,
    decide::{Asking, Refusal, ShownDigests, Transition},
    duty::Decider,
    step,
};
use crate::canonical;
use contracts::{
    Code, Digest, StepId, Timestamp,
    approval::Decision,
    event::{
        Actor, ApprovalDecided, ApprovalNoted, ApprovalRequested, ApprovalVoted, ApprovalWithdrawn,
        ExecutionEvent,
    },
    id::ApprovalId,
    limits::COMMENTS_MAX,
};

/// Approvals, and calls without an answer, that one commit ends: each is two items of it.
const EXPIRED_AT_ONCE_MAX: usize = 10;

impl Transition {
    // The binding and the view of what is decided on now, if they are those that were seen.
    pub(super) fn current(
        &self,
        step: Option<&StepId>,
        seen: &ShownDigests,
    ) -> Result<(Digest, Digest), Refusal> {
        let current = self.state.binding(step).zip(self.state.view_digest(step).cloned());
        let current = current.ok_or_else(nothing_shown)?;
        let (binding, view) = &current;
        if seen.binding.as_ref().is_some_and(|seen| seen != binding) {
            let message = "the digest is not that of the current plan, policy and skills; look \
                again, then decide";
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
        let life = self.state.ruling.as_ref().map_or(0, |ruling| ruling.approval_life_ms);
        self.request_until(step, self.now.plus_ms(life), reason);
    }

    // The request, unless there is nothing that could be shown.
    fn request_until(
        &mut self,
        step: Option<&StepId>,
        expires_at: Timestamp,
        reason: &str,
    ) -> Option<Approval> {
        let (binding, view) =
            self.state.binding(step).zip(self.state.view_digest(step).cloned())?;
        self.emit(ExecutionEvent::ApprovalRequested(ApprovalRequested {
            execution_id: self.state.id.clone(),
            step_id: step.cloned(),
            approval_id: self.approval_id(),
            binding_digest: binding,
            view_digest: view,
            at: self.now,
            expires_at,
            requirement: self.state.requirement(step),
            excludes: self.state.excluded().into_keys().collect(),
            reason: Some(reason.to_owned()),
        }));
        self.state.approvals.last().cloned()
    }

    pub(super) fn decided(
        &self,
        approval: &Approval,
        person: Option<&String>,
        channel: Option<String>,
        reason: Option<String>,
    ) -> ApprovalDecided {
        ApprovalDecided {
            execution_id: self.state.id.clone(),
            step_id: approval.step.clone(),
            approval_id: approval.id.clone(),
            binding_digest: approval.binding.clone(),
            view_digest: approval.view.clone(),
            actor_id: person.cloned(),
            channel,
            at: self.now,
            reason,
        }
    }

    // The open request that a decision answers, and the step that is decided on.
    fn open_request(&self, on: &Asking) -> Result<(Approval, Option<StepId>), Refusal> {
        let step = match on {
            Asking::Request(id) => {
                let approval = self.approval(id)?;
                return is_open(approval, self.now)
                    .map(|()| (approval.clone(), approval.step.clone()));
            }
            Asking::About(step) => self.state.decided_on(step.as_ref()),
        };
        if let Some(step) = step {
            let record = self.record(step)?;
            let decided = record.approval.is_some() && record.asked.is_none();
            if decided || self.state.grant_for(step).is_some() {
                return Err(Refusal::new(
                    Code::ApprovalAlreadyDecided,
                    format!("step `{step}` is approved already"),
                ));
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
        let open =
            candidates.iter().rev().find(|approval| approval.state == ApprovalStatus::Requested);
        let Some(approval) = open.or(candidates.last()) else {
            return Err(Refusal::new(Code::Conflict, "nothing here waits for an approval"));
        };
        is_open(approval, self.now).map(|()| ((*approval).clone(), step.cloned()))
    }

    pub(super) fn approval(&self, id: &ApprovalId) -> Result<&Approval, Refusal> {
        let found = self.state.approvals.iter().find(|approval| approval.id == *id);
        found.ok_or_else(|| Refusal::new(Code::NotFound, format!("there is no request `{id}`")))
    }

    /// A person's yes or no. A yes decides once the requirement is met, a no at once.
    pub(super) fn vote(
        &mut self,
        by: &Decider,
        on: &Asking,
        (decision, reason): (Decision, Option<String>),
        seen: &ShownDigests,
        channel: Option<String>,
    ) -> Result<(), Refusal> {
        by.may_decide(&self.state)?;
        let (mut request, step) = self.open_request(on)?;
        let (binding, _) = self.current(step.as_ref(), seen)?;
        if request.step != step {
            // One step out of a request for the whole plan: a request of its own.
            let reason = "decided on without the rest of the plan";
            let own = self.request_until(step.as_ref(), request.expires_at, reason);
            request = own.ok_or_else(nothing_shown)?;
        } else if request.binding != binding {
            return Err(Refusal::new(Code::BindingStale, CHANGED));
        }
        let excluded = self.state.excluded();
        let mut places = request.ballot().check(by, &excluded, decision, self.now)?;
        let groups = places.keys().cloned().collect();
        places.retain(|_, of| of.iter().ne([&by.person]));
        self.emit(ExecutionEvent::ApprovalVoted(ApprovalVoted {
            execution_id: self.state.id.clone(),
            step_id: request.step.clone(),
            approval_id: request.id.clone(),
            binding_digest: request.binding.clone(),
            view_digest: request.view.clone(),
            actor_id: by.person.clone(),
            decision,
            groups,
            places,
            identity_makers: by.identity_makers.clone(),
            channel: channel.clone(),
            at: self.now,
            reason: reason.clone(),
        }));
        match decision {
            Decision::Reject => {
                let reason = reason.unwrap_or_default();
                let rejected =
                    self.decided(&request, Some(&by.person), channel, Some(reason.clone()));
                self.reject(rejected, reason)
            }
            Decision::Approve => {
                if self.approval(&request.id)?.ballot().missing().is_empty() {
                    let granted = self.decided(&request, Some(&by.person), channel, reason);
                    self.grant(granted);
                }
                Ok(())
            }
        }
    }

    // Requests of steps that the plan's approval covers are voided by the next commit: several
    // decisions are one transaction.
    pub(super) fn grant(&mut self, granted: ApprovalDecided) {
        self.emit(ExecutionEvent::ApprovalGranted(granted));
    }

    fn reject(&mut self, rejected: ApprovalDecided, reason: String) -> Result<(), Refusal> {
        let Some(step) = rejected.step_id.clone() else {
            self.emit(ExecutionEvent::ApprovalRejected(rejected));
            self.fail("APPROVAL_REJECTED", reason);
            return Ok(());
        };
        // Undoing it was refused: it stays stuck, and people say what became of it.
        if self.record(&step)?.state == StepStatus::Stuck {
            self.emit(ExecutionEvent::ApprovalRejected(rejected));
            return Ok(());
        }
        self.check_transition(&step, StepInput::Skip)?;
        self.emit(ExecutionEvent::ApprovalRejected(rejected));
        let fails = step::next(self.record(&step)?.state, StepInput::Fail).is_some();
        let changed = self.step_changed(&step, Some("APPROVAL_REJECTED".into()), Some(reason));
        self.emit(match fails {
            true => ExecutionEvent::StepFailed(changed),
            false => ExecutionEvent::StepSkipped(changed),
        });
        Ok(())
    }

    /// Takes a person's vote back, while the request is open.
    pub(super) fn withdraw(
        &mut self,
        by: &Decider,
        id: &ApprovalId,
        reason: Option<String>,
    ) -> Result<(), Refusal> {
        let approval = self.approval(id)?;
        is_open(approval, self.now)?;
        let ballot = approval.ballot();
        let Some(vote) = ballot.vote_of(by) else {
            return Err(Refusal::new(Code::Conflict, "you have no vote on this request"));
        };
        self.emit(ExecutionEvent::ApprovalWithdrawn(ApprovalWithdrawn {
            execution_id: self.state.id.clone(),
            step_id: approval.step.clone(),
            approval_id: approval.id.clone(),
            actor_id: vote.person.clone(),
            at: self.now,
            reason,
        }));
        Ok(())
    }

    /// Says something about a request. Decides nothing.
    pub(super) fn comment(
        &mut self,
        actor: Actor,
        id: &ApprovalId,
        text: String,
    ) -> Result<(), Refusal> {
        let approval = self.approval(id)?;
        if approval.comments.len() >= COMMENTS_MAX {
            let message = format!("a request has at most {COMMENTS_MAX} comments");
            return Err(Refusal::new(Code::Conflict, message));
        }
        self.emit(ExecutionEvent::ApprovalCommented(ApprovalNoted {
            execution_id: self.state.id.clone(),
            step_id: approval.step.clone(),
            approval_id: approval.id.clone(),
            actor_id: actor.id,
            at: self.now,
            text,
        }));
        Ok(())
    }

    pub(super) fn expire(&mut self) {
        if self.state.asks_in_vain() && self.void_stale_approvals(CHANGED) {
            self.ask_again(CHANGED);
        }
        let over: Vec<Approval> = self
            .state
            .approvals
            .iter()
            .filter(|approval| {
                approval.state == ApprovalStatus::Requested && approval.expires_at <= self.now
            })
            .take(EXPIRED_AT_ONCE_MAX)
            .cloned()
            .collect();
        for approval in over {
            let decided = self.decided(
                &approval,
                None,
                None,
                Some("its time is over; nobody decided".into()),
            );
            self.emit(ExecutionEvent::ApprovalExpired(decided));
        }
        let late: Vec<StepId> = self
            .state
            .steps
            .iter()
            .filter(|step| {
                step.awaits_callback() && step.until.is_some_and(|until| until <= self.now)
            })
            .take(EXPIRED_AT_ONCE_MAX)
            .map(|step| step.id.clone())
            .collect();
        for step in late {
            // Cannot be refused: the step is running.
            let _ = self.outcome_unknown(
                &step,
                "CALLBACK_TIMEOUT",
                "the tool did not call back in time".into(),
                UnknownOutcome::Answer { retry_after_seconds: None },
            );
        }
    }
}

const CHANGED: &str = "what was to be approved has changed";

// INVARIANT (fail-closed): at the very moment at which its time is over, a request is over.
pub(super) fn is_open(approval: &Approval, now: Timestamp) -> Result<(), Refusal> {
    match approval.state {
        ApprovalStatus::Requested if now >= approval.expires_at => Err(Refusal::new(
            Code::ApprovalExpired,
            format!("the time was over at {}", approval.expires_at),
        )),
        ApprovalStatus::Requested => Ok(()),
        ApprovalStatus::Expired => Err(Refusal::new(
            Code::ApprovalExpired,
            "its time is over; `execution.retry` asks again",
        )),
        ApprovalStatus::Granted | ApprovalStatus::Rejected => {
            let by = approval.decided_by.join(", ");
            let message = format!("it was {} by {by}", approval.state.as_str());
            Err(Refusal::new(Code::ApprovalAlreadyDecided, message))
        }
        ApprovalStatus::Voided => Err(Refusal::new(Code::BindingStale, CHANGED)),
    }
}

fn nothing_shown() -> Refusal {
    Refusal::new(Code::Conflict, "there is nothing to decide on")
}
