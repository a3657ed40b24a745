//! Break-glass: one person approves alone, and another one looks at it later.
//!
//! It meets a request that people were asked; what policy blocks asks nobody, and so there is
//! nothing to override. Who is excluded from deciding is excluded from this, too.

use super::{
    Approval, ApprovalStatus, Execution,
    approval::is_open,
    decide::{Refusal, ShownDigests, Transition},
    duty::{Decider, Standing},
};
use contracts::{
    Code, Timestamp,
    event::{ApprovalNoted, ExecutionEvent},
    id::ApprovalId,
};
use serde::{Deserialize, Serialize};

/// Who approved alone, and who has looked at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overridden {
    pub by: String,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed_by: Option<String>,
}

impl Execution {
    /// Approvals that were given on break-glass authority and that nobody has looked at since.
    pub fn unreviewed(&self) -> impl Iterator<Item = (&Approval, &Overridden)> {
        let own = self.approvals.iter().filter_map(|one| Some((one, one.overridden.as_ref()?)));
        own.filter(|(_, overridden)| overridden.reviewed_by.is_none())
    }
}

impl Transition {
    pub(super) fn override_request(
        &mut self,
        by: &Decider,
        id: &ApprovalId,
        (seen, reason): (&ShownDigests, String),
        channel: Option<String>,
    ) -> Result<(), Refusal> {
        by.may_decide(&self.state)?;
        if by.standing != Standing::Person {
            return Err(Refusal::new(Code::NotAnApprover, "only a person overrides"));
        }
        let request = self.approval(id)?.clone();
        is_open(&request, self.now)?;
        self.still_asked(&request, seen)?;
        let decided = self.decided(&request, Some(&by.person), channel, Some(reason));
        self.emit(ExecutionEvent::ApprovalOverridden(decided.clone()));
        self.grant(decided);
        Ok(())
    }

    pub(super) fn review(
        &mut self,
        by: &Decider,
        id: &ApprovalId,
        note: String,
    ) -> Result<(), Refusal> {
        by.may_decide(&self.state)?;
        let approval = self.approval(id)?;
        match &approval.overridden {
            None => Err(Refusal::new(Code::Conflict, "nobody overrode this request")),
            Some(Overridden { reviewed_by: Some(other), .. }) => {
                Err(Refusal::new(Code::Conflict, format!("`{other}` has looked at it")))
            }
            Some(overridden) if by.is_known_as(&overridden.by) => {
                let message = "another person than who approved looks at it";
                Err(Refusal::new(Code::SelfApproval, message))
            }
            Some(_) => {
                self.emit(ExecutionEvent::ApprovalReviewed(ApprovalNoted {
                    execution_id: self.state.id.clone(),
                    step_id: approval.step.clone(),
                    approval_id: approval.id.clone(),
                    actor_id: by.person.clone(),
                    at: self.now,
                    text: note,
                }));
                Ok(())
            }
        }
    }

    // What was asked is what is shown now.
    pub(super) fn still_asked(
        &self,
        request: &Approval,
        seen: &ShownDigests,
    ) -> Result<(), Refusal> {
        debug_assert_eq!(request.state, ApprovalStatus::Requested);
        let (binding, _) = self.current(request.step.as_ref(), seen)?;
        if request.binding != binding {
            return Err(Refusal::new(Code::BindingStale, "what was to be approved has changed"));
        }
        Ok(())
    }
}
