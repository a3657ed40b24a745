//! A person changes literals of a plan that waits for people. The changed plan is another one:
//! judged anew, asked anew, and decided by others than who changed it.

use super::{
    Approval, Execution,
    approval::is_open,
    command::EditedPlan,
    decide::{Refusal, ShownDigests, Transition},
    duty::{Decider, Standing},
    step::Step,
};
use crate::plan;
use contracts::{
    Code, StepId,
    approval::{Decision, Literal},
    event::{ExecutionEvent, PlanCompiled, PlanEdit},
    id::ApprovalId,
    limits::EDITABLE_LITERALS_MAX,
};

impl Execution {
    /// Whether people changed a literal of a step: another one decides on it, whatever policy says.
    pub fn was_edited(&self, step: &StepId) -> bool {
        let edits = self.plan_facts.as_ref().and_then(|facts| facts.edits.as_ref());
        let place = self.index_of(step);
        edits.zip(place).is_some_and(|(edits, place)| edits.steps.contains(&place))
    }

    /// The literals that an edit may change now, in plan order.
    pub fn literals(&self) -> Vec<Literal> {
        let mut found = Vec::new();
        let open = self.steps.iter().enumerate().filter(|(_, step)| step.untouched());
        for planned in open.filter_map(|(index, _)| self.planned(index)) {
            if found.len() >= EDITABLE_LITERALS_MAX {
                break;
            }
            plan::literals_of(planned, EDITABLE_LITERALS_MAX - found.len(), &mut found);
        }
        found
    }

    // A step that was called and did not come to its end.
    fn under_call(&self) -> Option<&Step> {
        let settled = |step: &&Step| step.untouched() || (step.state.settled() && !step.unanswered);
        self.steps.iter().find(|step| !settled(step))
    }
}

impl Transition {
    /// INVARIANT (never-ones-own): who could decide on the request may change the plan, and decides
    /// on it no more. INVARIANT (approval-binds-digest): the verdict that follows voids what was
    /// asked and given.
    pub(super) fn edit(
        &mut self,
        (by, channel): (&Decider, String),
        id: &ApprovalId,
        (seen, reason): (&ShownDigests, String),
        edited: EditedPlan,
    ) -> Result<(), Refusal> {
        if by.standing != Standing::Person {
            return Err(Refusal::new(Code::NotAnApprover, "only a person changes a plan"));
        }
        let request: Approval = self.approval(id)?.clone();
        is_open(&request, self.now)?;
        request.ballot().check(by, &self.state.involved(), Decision::Reject, self.now)?;
        self.still_asked(&request, seen)?;
        self.has_room_for(&edited)?;
        let (plan_id, plan_digest) = (edited.plan.id(), edited.plan.digest().clone());
        let step_count = edited.plan.plan().steps.len() as u32;
        self.state.attach(edited.plan);
        self.emit(ExecutionEvent::PlanCompiled(PlanCompiled {
            execution_id: self.state.id.clone(),
            plan_id,
            compiled_at: self.now,
            step_count,
            plan_digest,
            draft_digest: edited.draft_digest,
            planner_model: None,
            drafted_by: Some(by.person.clone()),
            drafter_key_makers: by.key_makers.clone(),
            edit: Some(PlanEdit {
                approval_id: request.id,
                reason,
                channel,
                changes: edited.changes,
            }),
        }));
        Ok(())
    }

    // Nothing of the plan is under way, what is changed has not begun, and all else is the same.
    fn has_room_for(&self, edited: &EditedPlan) -> Result<(), Refusal> {
        let refuse = |message: String| Err(Refusal::new(Code::Conflict, message));
        if let Some(step) = self.state.under_call() {
            let state = step.state.as_str();
            return refuse(format!(
                "step `{}` is {state}: change the plan when it is done",
                step.id
            ));
        }
        for change in &edited.changes {
            if !self.record(&change.step_id)?.untouched() {
                return refuse(format!("step `{}` has begun", change.step_id));
            }
        }
        let ids = edited.plan.plan().steps.iter().map(|step| &step.id);
        if !ids.eq(self.state.steps.iter().map(|step| &step.id)) {
            return refuse("an edit changes literals, and no steps".to_owned());
        }
        Ok(())
    }
}
