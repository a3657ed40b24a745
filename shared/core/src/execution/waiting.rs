//! What of an execution waits for people: open requests, calls whose outcome is not known, steps
//! that an operator or a person must let on.

use super::{Approval, ApprovalStatus, Execution, Step, StepStatus, Vote, ballot::Ballot};
use contracts::{
    Digest, StepId, Timestamp,
    approval::WaitKind,
    event::{BlockReason, Purpose, Requirement},
    id::ApprovalId,
    limits::INBOX_ITEMS_OF_ONE_MAX,
};
use serde::{Deserialize, Serialize};

/// One thing that waits for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    pub kind: WaitKind,
    /// `None`: the whole plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<BlockReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub since: Timestamp,
    /// Who approved alone what is to be reviewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The request that is decided on, or that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<OpenRequest>,
}

/// A request as whoever may decide on it needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenRequest {
    pub id: ApprovalId,
    pub view: Digest,
    pub requirement: Vec<Requirement>,
    /// Without their reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
}

impl OpenRequest {
    /// As its votes see it.
    pub fn ballot(&self) -> Ballot<'_> {
        Ballot {
            requirement: &self.requirement,
            votes: &self.votes,
            requested_at: self.requested_at,
            expires_at: self.expires_at,
        }
    }
}

impl From<&Approval> for OpenRequest {
    fn from(approval: &Approval) -> Self {
        let votes = approval.votes.iter();
        Self {
            id: approval.id.clone(),
            view: approval.view.clone(),
            requirement: approval.requirement.clone(),
            votes: votes.map(|vote| Vote { reason: None, ..vote.clone() }).collect(),
            requested_at: approval.requested_at,
            expires_at: approval.expires_at,
        }
    }
}

impl Execution {
    /// What waits for people, requests first; of many things the first.
    pub fn waiting(&self) -> Vec<Waiting> {
        let requests = self.approvals.iter().filter(|one| self.still_asks(one)).map(asked);
        let steps =
            self.steps.iter().enumerate().filter_map(|(index, step)| self.stopped(index, step));
        let reviews = self.unreviewed().map(|(approval, overridden)| Waiting {
            kind: WaitKind::Review,
            waits_for: None,
            message: Some(format!("approved alone by {}", overridden.by)),
            since: overridden.at,
            by: Some(overridden.by.clone()),
            ..asked(approval)
        });
        requests.chain(reviews).chain(steps).take(INBOX_ITEMS_OF_ONE_MAX).collect()
    }

    // Where no further step begins, people decide on what is undone alone.
    fn still_asks(&self, approval: &Approval) -> bool {
        let step = approval.step.as_ref().and_then(|step| self.step(step));
        let waits = |step: &Step| step.waits_for == Some(BlockReason::ApprovalRequired);
        approval.state == ApprovalStatus::Requested
            && !self.status.ended()
            && (!self.closing() || step.is_some_and(waits))
    }

    fn stopped(&self, index: usize, step: &Step) -> Option<Waiting> {
        let beside = |step: &Step| step.waits_for.is_some_and(|why| why.holds(Purpose::Compensate));
        let kind = match step.state {
            // A probe asks first; where it may not, an operator lets it on.
            StepStatus::InDoubt if self.can_probe(index) && !beside(step) => return None,
            StepStatus::InDoubt if self.can_probe(index) => WaitKind::Held,
            StepStatus::InDoubt => WaitKind::InDoubt,
            // A request says the same.
            StepStatus::Blocked | StepStatus::Stuck
                if step.waits_for == Some(BlockReason::ApprovalRequired) =>
            {
                return None;
            }
            StepStatus::Blocked | StepStatus::Stuck | StepStatus::Held => WaitKind::Held,
            StepStatus::Completed | StepStatus::Compensating if beside(step) => WaitKind::Held,
            StepStatus::Pending
            | StepStatus::Ready
            | StepStatus::Running
            | StepStatus::Completed
            | StepStatus::Retrying
            | StepStatus::Failed
            | StepStatus::Skipped
            | StepStatus::Cancelled
            | StepStatus::Compensating
            | StepStatus::Compensated => return None,
        };
        // In doubt from the moment of the cancellation, where no event says so.
        let closed = self.cancellation.as_ref().map(|cancellation| cancellation.at);
        // What ended is looked into where its outcome is not known.
        let open = kind == WaitKind::InDoubt || !self.status.ended();
        open.then(|| Waiting {
            kind,
            step: Some(step.id.clone()),
            waits_for: step.waits_for,
            message: step.message.clone(),
            since: step.since.or(closed).unwrap_or(self.created_at),
            by: None,
            request: None,
        })
    }
}

fn asked(approval: &Approval) -> Waiting {
    Waiting {
        kind: WaitKind::Approval,
        step: approval.step.clone(),
        waits_for: Some(BlockReason::ApprovalRequired),
        message: None,
        since: approval.requested_at,
        by: None,
        request: Some(approval.into()),
    }
}
