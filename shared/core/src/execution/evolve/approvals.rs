//! What an event of an approval changes.

use super::*;
use crate::link::LINK_CHANNEL;
use contracts::{
    approval::Decision,
    event::{ApprovalNoted, ApprovalRequested, ApprovalVoted, ApprovalWithdrawn},
    limits::MESSAGE_BYTES_MAX,
    text::clip,
};
use std::collections::BTreeMap;

impl Execution {
    pub(super) fn approval_requested(&mut self, data: &ApprovalRequested) {
        self.push_approval(Approval {
            id: data.approval_id.clone(),
            step: data.step_id.clone(),
            binding: data.binding_digest.clone(),
            view: data.view_digest.clone(),
            state: ApprovalStatus::Requested,
            requirement: data.requirement.clone(),
            excludes: data.excludes.clone(),
            votes: Vec::new(),
            used_links: BTreeMap::new(),
            comments: Vec::new(),
            overridden: None,
            decided_by: Vec::new(),
            requested_at: data.at,
            expires_at: data.expires_at,
            consumed: BTreeSet::new(),
        });
    }

    pub(super) fn approval_voted(&mut self, data: &ApprovalVoted) {
        let Some(approval) = self.approval_mut(&data.approval_id) else { return };
        approval.votes.retain(|vote| vote.person != data.actor_id);
        approval.votes.push(Vote {
            person: data.actor_id.clone(),
            decision: data.decision,
            groups: data.groups.clone(),
            places: data.places.clone(),
            identity_makers: data.identity_makers.clone(),
            view: data.view_digest.clone(),
            channel: data.channel.clone(),
            at: data.at,
            // The event has all of it.
            reason: data.reason.clone().map(|reason| clip(reason, MESSAGE_BYTES_MAX)),
        });
    }

    pub(super) fn approval_withdrawn(&mut self, data: &ApprovalWithdrawn) {
        if let Some(approval) = self.approval_mut(&data.approval_id) {
            let by_link = |vote: &&Vote| {
                let channel = vote.channel.as_deref().unwrap_or_default();
                vote.person == data.actor_id && channel.starts_with(LINK_CHANNEL)
            };
            if let Some(vote) = approval.votes.iter().find(by_link) {
                approval.used_links.insert(vote.person.clone(), vote.at);
            }
            approval.votes.retain(|vote| vote.person != data.actor_id);
        }
    }

    pub(super) fn approval_commented(&mut self, data: &ApprovalNoted) {
        if let Some(approval) = self.approval_mut(&data.approval_id) {
            let (actor_id, text) = (data.actor_id.clone(), data.text.clone());
            approval.comments.push(Comment { actor_id, at: data.at, text });
        }
    }

    pub(super) fn approval_overridden(&mut self, data: &ApprovalDecided) {
        let Some(by) = data.actor_id.clone() else { return };
        if let Some(approval) = self.approval_mut(&data.approval_id) {
            approval.overridden = Some(Overridden { by, at: data.at, reviewed_by: None });
        }
    }

    pub(super) fn approval_reviewed(&mut self, data: &ApprovalNoted) {
        let approval = self.approval_mut(&data.approval_id);
        if let Some(overridden) = approval.and_then(|approval| approval.overridden.as_mut()) {
            overridden.reviewed_by = Some(data.actor_id.clone());
        }
    }

    pub(super) fn approval_rejected(&mut self, data: &ApprovalDecided) {
        self.approval_decided(data, ApprovalStatus::Rejected);
        if data.step_id.is_none() {
            self.reasons.push(Issue::coded(
                "APPROVAL_REJECTED",
                "",
                data.reason.clone().unwrap_or_default(),
            ));
        }

        // A step that people were asked about undoing stays stuck, and nobody is asked any more.
        self.no_longer_asked(BlockReason::CompensationFailed, |state| state == StepStatus::Stuck);
    }

    pub(super) fn push_approval(&mut self, approval: Approval) {
        self.touched_approvals.insert(self.approvals.len());
        self.approvals.push(approval);
    }

    // An approval to be changed.
    pub(super) fn approval_mut(&mut self, id: &ApprovalId) -> Option<&mut Approval> {
        let index = self.approvals.iter().position(|approval| approval.id == *id)?;
        self.touched_approvals.insert(index);
        self.approvals.get_mut(index)
    }

    pub(super) fn approval_decided(&mut self, data: &ApprovalDecided, state: ApprovalStatus) {
        match self.approval_mut(&data.approval_id) {
            Some(approval) => {
                approval.state = state;
                if state == ApprovalStatus::Granted {
                    let agreed = |vote: &&Vote| vote.decision == Decision::Approve;
                    let voters = approval.votes.iter().filter(agreed);
                    approval.decided_by = voters.map(|vote| vote.person.clone()).collect();
                }
                let last = data.actor_id.iter().filter(|id| !approval.decided_by.contains(id));
                approval.decided_by.extend(last.cloned().collect::<Vec<_>>());
            }
            // One step decided out of a request for the whole plan: an approval of its own.
            None => self.push_approval(Approval {
                id: data.approval_id.clone(),
                step: data.step_id.clone(),
                binding: data.binding_digest.clone(),
                view: data.view_digest.clone(),
                state,
                requirement: Vec::new(),
                excludes: Vec::new(),
                used_links: BTreeMap::new(),
                votes: Vec::new(),
                comments: Vec::new(),
                overridden: None,
                decided_by: data.actor_id.iter().cloned().collect(),
                requested_at: data.at,
                expires_at: data.at,
                consumed: BTreeSet::new(),
            }),
        }
    }

    // Steps that wait for an approval for which no request is open any more: blocked ones, or stuck
    // ones whose compensation asked.
    pub(super) fn no_longer_asked(
        &mut self,
        reason: BlockReason,
        concerns: impl Fn(StepStatus) -> bool,
    ) {
        for index in 0..self.steps.len() {
            let waits = self.steps.get(index).is_some_and(|step| {
                step.waits_for == Some(BlockReason::ApprovalRequired) && concerns(step.state)
            });
            if waits && !self.has_open_request(index) {
                if let Some(step) = self.steps.get_mut(index) {
                    step.waits_for = Some(reason);
                }
                self.touched.insert(index);
            }
        }
    }

    fn has_open_request(&self, index: usize) -> bool {
        let Some(step) = self.steps.get(index) else {
            return false;
        };
        self.approvals.iter().any(|approval| {
            approval.state == ApprovalStatus::Requested
                && approval
                    .step
                    .as_ref()
                    .map_or(self.asked(&step.id).is_none(), |id| *id == step.id)
        })
    }
}
