//! Claims and blocks the calls of a step.

use crate::execution::{
    About, Approval, ApprovalStatus, StepInput, StepStatus, ballot,
    decide::{MandateUsed, Refusal, Transition},
};
use contracts::{
    Code, Digest, StepId, Timestamp,
    event::{BlockReason, ExecutionEvent, Purpose, Reserved, StepBlocked, StepStarted},
    id::ApprovalId,
    plan::Radius,
};

impl Transition {
    pub(in crate::execution) fn claim(
        &mut self,
        id: &StepId,
        (purpose, fence): (Purpose, u64),
        input: Digest,
        (approval, mandate): (Option<ApprovalId>, Option<MandateUsed>),
        (spend, meters): (Radius, Vec<Reserved>),
    ) -> Result<(), Refusal> {
        let run_id = self.run()?;
        let record = self.record(id)?;
        let (attempt, step_input) = match purpose {
            Purpose::Run => (record.attempt + 1, StepInput::Claim),
            Purpose::Probe => (record.probe_attempt + 1, StepInput::ClaimProbe),
            Purpose::Compensate => (record.undo_attempt + 1, StepInput::ClaimUndo),
        };
        self.check_transition(id, step_input)?;
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
        // The gate's result is checked again: the approval covers this call, and the budget has
        // room for it.
        let unapproved =
            || Refusal::new(Code::PreconditionFailed, format!("step `{id}` is not approved"));
        match &approval {
            Some(wanted) => {
                let grant = self.state.grant_for_call(id, purpose, &input);
                if grant.is_none_or(|grant| grant.id != *wanted) {
                    return Err(unapproved());
                }
            }
            None if purpose == Purpose::Run
                && self.state.needs_approval(record)
                && record.approval.is_none()
                && mandate.is_none() =>
            {
                return Err(unapproved());
            }
            None => {}
        }
        let mut reserve = (Radius::default(), Vec::new());
        if record.reservation_for(purpose).is_none() {
            let planned = self.state.index_of(id).and_then(|index| self.state.planned(index));
            if let Some(over) = planned.and_then(|planned| self.state.over_budget(planned, &spend))
            {
                return Err(Refusal::new(
                    Code::PreconditionFailed,
                    format!("budget exceeded: {over}"),
                ));
            }
            reserve = (spend, meters);
        }
        self.emit(ExecutionEvent::StepStarted(StepStarted {
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
            mandate_id: mandate.as_ref().map(|mandate| mandate.id.clone()),
            mandate_proof: mandate.map(|mandate| mandate.proof),
        }));
        Ok(())
    }

    pub(in crate::execution) fn block(
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
            BlockReason::OutcomeUnknown
            | BlockReason::CompensationFailed
            | BlockReason::AwaitingCallback => {
                return Err(Refusal::new(
                    Code::Conflict,
                    "not a reason for a step that has not begun",
                ));
            }
        };
        self.check_transition(id, step_input)?;
        self.not_called(id, Purpose::Run, (reason, message), about);
        Ok(())
    }

    /// Blocks a probe or a compensation. It waits in its state for what an operator must lift; what
    /// needs people leaves a probed step in doubt, and a compensation stuck, until they decide.
    pub(in crate::execution) fn block_beside(
        &mut self,
        id: &StepId,
        purpose: Purpose,
        (reason, message): (BlockReason, Option<String>),
        about: Option<About>,
    ) -> Result<(), Refusal> {
        let record = self.record(id)?;
        let expected = match purpose {
            Purpose::Run => false,
            Purpose::Probe => record.state == StepStatus::InDoubt,
            Purpose::Compensate => {
                matches!(record.state, StepStatus::Completed | StepStatus::Compensating)
            }
        };
        if !expected || record.in_flight() {
            let state = record.state.as_str();
            return Err(Refusal::new(
                Code::Conflict,
                format!("step `{id}` is {state}: no such call is due"),
            ));
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
        let requirement = about.as_ref().map(|about| about.requirement.clone());
        let requirement = requirement.filter(|one| *one != ballot::anybody()).unwrap_or_default();
        let (input_digest, view_digest) = about.map(|about| (about.input, about.view)).unzip();
        self.emit(ExecutionEvent::StepBlocked(StepBlocked {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            step_id: Some(id.clone()),
            blocked_at: self.now,
            reason,
            message,
            purpose,
            input_digest,
            view_digest,
            requirement,
            until: None,
        }));
        if reason != BlockReason::ApprovalRequired || purpose == Purpose::Probe {
            return;
        }
        // Approvals for another input no longer cover this one.
        let binding = self.state.binding(Some(id));
        let stale: Vec<Approval> = self
            .state
            .approvals
            .iter()
            .filter(|approval| {
                matches!(approval.state, ApprovalStatus::Requested | ApprovalStatus::Granted)
            })
            .filter(|approval| {
                approval.step.as_ref() == Some(id) && !approval.consumed.contains(id)
            })
            .filter(|approval| Some(&approval.binding) != binding.as_ref())
            .cloned()
            .collect();
        for approval in stale {
            let decided =
                self.decided(&approval, None, None, Some("its input is another one".into()));
            self.emit(ExecutionEvent::ApprovalVoided(decided));
        }
        if !self.state.asked_for(id, purpose) {
            self.request(Some(id), "people decide now that the input is known");
        }
    }

    pub(in crate::execution) fn blocked(
        &mut self,
        id: &StepId,
        reason: BlockReason,
        message: Option<String>,
        until: Option<Timestamp>,
    ) {
        self.emit(ExecutionEvent::StepBlocked(StepBlocked {
            execution_id: self.state.id.clone(),
            run_id: self.run_id(),
            step_id: Some(id.clone()),
            blocked_at: self.now,
            reason,
            message,
            purpose: Purpose::Run,
            input_digest: None,
            view_digest: None,
            requirement: Vec::new(),
            until,
        }));
    }
}
