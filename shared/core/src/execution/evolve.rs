//! How an event changes an execution. Total: replay cannot fail.

use super::{
    About, Approval, ApprovalState, Asked, Cancellation, Execution, Hold, IntentFacts, PROBE_ATTEMPTS_MAX, PlanFacts,
    Ruling, Run, Status, Step, StepInput, StepState, mask, step,
};
use crate::plan;
use contracts::{
    Issue, StepId, Timestamp,
    event::{ApprovalDecided, BlockReason, Event, PlanVerified, Purpose, Resolution, StepBlocked, StepStarted},
    id::ApprovalId,
    plan::Radius,
    verdict::{Effect, RiskTier, Verdict},
};
use std::collections::BTreeSet;

/// Code of a step that was skipped because a step before it was not completed.
pub const DEPENDENCY_FAILED: &str = "DEPENDENCY_FAILED";
/// Code of a call that is made again because its probe found no effect.
pub(super) const NOT_DONE: &str = "NOT_DONE";

impl Execution {
    /// Applies one event.
    pub fn evolve(&mut self, event: &Event, at: Timestamp) {
        self.events += 1;
        self.updated_at = at;
        match event {
            Event::IntentReceived(data) => {
                self.created_at = data.received_at;
                self.status = Status::Received;
                self.intent = Some(IntentFacts {
                    intent_id: data.intent_id.clone(),
                    actor_id: data.actor_id.clone(),
                    actor_kind: data.actor_kind,
                    key_id: data.key_id.clone(),
                    key_made_by: data.key_made_by.clone(),
                    key_makers_above: data.key_makers_above.clone(),
                    on_behalf_of: data.on_behalf_of.clone(),
                    channel_key: data.channel_key.clone(),
                    mode: data.mode,
                    digest: data.intent_digest.clone(),
                });
            }
            Event::PlanCompiled(data) => {
                self.status = Status::Compiled;
                self.plan_facts = Some(PlanFacts {
                    plan_id: data.plan_id.clone(),
                    digest: data.plan_digest.clone(),
                    draft_digest: data.draft_digest.clone(),
                    drafted_by: data.drafted_by.clone(),
                    drafter_key_makers: data.drafter_key_makers.clone(),
                });
                if let Some(plan) = self.plan.as_ref().filter(|plan| *plan.digest() == data.plan_digest) {
                    self.steps = plan.plan().steps.iter().map(|step| Step::new(step.id.clone())).collect();
                }
            }
            Event::PlanVerified(data) => {
                self.ruling = Some(Ruling {
                    verdict: data.verdict,
                    risk_tier: data.risk_tier,
                    policy_version: data.policy_version.clone(),
                    policy_digest: data.policy_digest.clone(),
                    verdict_digest: data.verdict_digest.clone(),
                    verified_at: data.verified_at,
                    assist: self.assisted(data),
                    approval_life_ms: data.approval_life_ms,
                    view: Some(data.view_digest.clone()),
                });
                if self.run.is_none() {
                    self.status = Status::Verified;
                }
            }
            Event::PlanRejected(data) => {
                self.status = Status::Rejected;
                self.reasons = data.issues.clone();
                if let (Some(policy_digest), Some(verdict_digest)) = (&data.policy_digest, &data.verdict_digest) {
                    self.ruling = Some(Ruling {
                        verdict: Verdict::Blocked,
                        risk_tier: data.risk_tier.unwrap_or(RiskTier::Blocked),
                        policy_version: data.policy_version.clone().unwrap_or_default(),
                        policy_digest: policy_digest.clone(),
                        verdict_digest: verdict_digest.clone(),
                        verified_at: data.rejected_at,
                        assist: BTreeSet::new(),
                        approval_life_ms: 0,
                        view: None,
                    });
                }
                self.abandon_calls();
            }
            Event::ExecutionStarted(data) => {
                self.status = Status::Running;
                self.run = Some(Run { run_id: data.run_id.clone(), mode: data.mode, started_at: data.started_at });
            }
            Event::StepStarted(data) => self.step_started(data),
            Event::StepBlocked(data) => self.step_blocked(data),
            Event::StepCompleted(data) => self.apply(&data.step_id, StepInput::Complete, |step| {
                step.output = Some(data.output_digest.clone());
                step.unanswered = false;
            }),
            Event::StepFailed(data) => {
                self.apply(&data.step_id, StepInput::Fail, |step| {
                    step.code = data.code.clone();
                    step.message = data.message.clone();
                    step.unanswered = data.unanswered;
                });
                if data.released {
                    self.release(&data.step_id);
                }
            }
            Event::StepRetried(data) => self.step_retried(&data.step_id, data.retry_at, data),
            Event::StepSkipped(data) => self.apply(&data.step_id, StepInput::Skip, |step| {
                step.code = data.code.clone();
                step.message = data.message.clone();
            }),
            Event::StepResolved(data) => {
                let before = self.step(&data.step_id).map(|step| step.state);
                let in_doubt = before == Some(StepState::InDoubt);
                let input = match data.outcome {
                    Resolution::Completed => StepInput::Complete,
                    Resolution::Failed => StepInput::Fail,
                    Resolution::Retry => StepInput::Retry,
                };
                self.apply(&data.step_id, input, |step| {
                    step.retry_at = Some(data.at);
                    step.unanswered &= data.outcome == Resolution::Retry;
                    if data.output_digest.is_some() {
                        step.output = data.output_digest.clone();
                    }
                    if data.outcome == Resolution::Failed {
                        step.code = Some("RESOLVED_FAILED".into());
                    }
                    if data.outcome == Resolution::Retry {
                        // People let it be called again: under an approval of its own, and what the call before may have
                        // done still counts.
                        (step.approval, step.undo_approval, step.asked) = (None, None, None);
                        let held = if in_doubt { step.hold.take() } else { step.undo_hold.take() };
                        step.keep(held);
                    }
                });
                // A step that could not be undone has had its effect.
                if data.outcome == Resolution::Failed && in_doubt {
                    self.release(&data.step_id);
                }
            }
            Event::StepCompensated(data) => self.apply(&data.step_id, StepInput::Complete, |_| {}),
            Event::ApprovalRequested(data) => self.push_approval(Approval {
                id: data.approval_id.clone(),
                step: data.step_id.clone(),
                binding: data.binding_digest.clone(),
                view: data.view_digest.clone(),
                state: ApprovalState::Requested,
                requirement: data.requirement.clone(),
                excludes: data.excludes.clone(),
                decided_by: Vec::new(),
                requested_at: data.at,
                expires_at: data.expires_at,
                consumed: BTreeSet::new(),
            }),
            Event::ApprovalGranted(data) => self.approval_decided(data, ApprovalState::Granted),
            Event::ApprovalRejected(data) => {
                self.approval_decided(data, ApprovalState::Rejected);
                if data.step_id.is_none() {
                    self.reasons.push(Issue::coded("APPROVAL_REJECTED", "", data.reason.clone().unwrap_or_default()));
                }
            }
            Event::ApprovalExpired(data) => {
                self.approval_decided(data, ApprovalState::Expired);
                self.approval_gone(BlockReason::ApprovalExpired);
            }
            Event::ApprovalVoided(data) => self.approval_decided(data, ApprovalState::Voided),
            Event::ExecutionCompleted(_) => self.status = Status::Completed,
            Event::ExecutionFailed(data) => {
                self.status = Status::Failed;
                let message = data.error_message.clone().unwrap_or_default();
                self.reasons = vec![Issue::coded(data.error_code.clone(), "", message)];
                self.abandon_calls();
            }
            Event::ExecutionCancelled(data) => {
                if let Some(reason) = &data.reason {
                    self.reasons = vec![Issue::coded("CANCELLED", "", reason.clone())];
                }
                self.cancellation =
                    Some(Cancellation { actor_id: data.actor_id.clone(), at: data.at, compensate: data.compensate });
                if !self.status.under_way() {
                    self.status = Status::Cancelled;
                }
            }
            Event::ExecutionPaused(_) => self.paused = true,
            Event::ExecutionResumed(_) => self.paused = false,
            Event::SkillInstalled(_)
            | Event::SkillRejected(_)
            | Event::SkillDisabled(_)
            | Event::SkillEnabled(_)
            | Event::PolicyActivated(_)
            | Event::GovernanceChanged(_)
            | Event::WorkspaceCreated(_)
            | Event::KeyCreated(_)
            | Event::KeyRevoked(_)
            | Event::SubscriptionCreated(_)
            | Event::SubscriptionRemoved(_)
            | Event::SubscriptionSecretRotated(_)
            | Event::ToolSecretRotated(_)
            | Event::EvidenceExported(_) => {}
        }
        self.settle_derived();
    }

    // Moves one step, if its state takes the input; then `change` adjusts the record.
    fn apply(&mut self, id: &StepId, input: StepInput, change: impl FnOnce(&mut Step)) {
        let Some(place) = self.place(id) else { return };
        let Some(step) = self.steps.get_mut(place) else {
            return;
        };
        let Some(state) = step::next(step.state, input) else {
            return;
        };
        step.state = state;
        step.fence = None;
        step.waits_for = None;
        step.retry_at = None;
        step.until = None;
        change(step);
        self.touched.insert(place);
    }

    fn step_blocked(&mut self, data: &StepBlocked) {
        let Some(id) = &data.step_id else { return };
        let policy = self.ruling.as_ref().map(|ruling| ruling.policy_digest.clone());
        let asked = |step: &mut Step| {
            let digests = data.input_digest.clone().zip(data.view_digest.clone()).zip(policy.clone());
            if data.reason == BlockReason::ApprovalRequired {
                step.asked = digests.map(|((input, view), policy)| Asked {
                    purpose: data.purpose,
                    about: About { input, view },
                    policy,
                });
            }
        };
        let input = match (data.purpose, data.reason) {
            // A call beside the step's own that waits for an operator: nothing of the step changes.
            (Purpose::Probe | Purpose::Compensate, reason) if reason.holds(data.purpose) => {
                self.change(id, |step| {
                    step.waits_for = Some(data.reason);
                    step.message = data.message.clone();
                });
                return;
            }
            // A probe that may not be asked: people say what became of the call.
            (Purpose::Probe, _) => {
                self.change(id, |step| {
                    step.probe_attempt = step.probe_attempt.max(PROBE_ATTEMPTS_MAX);
                    step.message = data.message.clone();
                });
                return;
            }
            (Purpose::Compensate, _) => StepInput::Stick,
            (
                Purpose::Run,
                BlockReason::ApprovalRequired
                | BlockReason::ApprovalExpired
                | BlockReason::BudgetExceeded
                | BlockReason::PolicyBlocked,
            ) => StepInput::Block,
            (
                Purpose::Run,
                BlockReason::SkillDisabled
                | BlockReason::WorkspaceFrozen
                | BlockReason::Frozen
                | BlockReason::RequesterRevoked
                | BlockReason::UsageExceeded,
            ) => StepInput::Hold,
            (Purpose::Run, BlockReason::OutcomeUnknown) => StepInput::Doubt,
            (Purpose::Run, BlockReason::CompensationFailed) => StepInput::Stick,
            (Purpose::Run, BlockReason::AwaitingCallback) => StepInput::Await,
        };
        let escalated = data.reason == BlockReason::ApprovalRequired && data.purpose == Purpose::Run;
        self.apply(id, input, |step| {
            step.waits_for = Some(data.reason);
            step.message = data.message.clone();
            step.until = data.until;
            step.escalated |= escalated;
            step.unanswered |= input == StepInput::Doubt;
            asked(step);
        });
    }

    // Changes a record whose state stays.
    fn change(&mut self, id: &StepId, change: impl FnOnce(&mut Step)) {
        if let Some(place) = self.place(id)
            && let Some(step) = self.steps.get_mut(place)
        {
            change(step);
            self.touched.insert(place);
        }
    }

    fn step_started(&mut self, data: &StepStarted) {
        let input = match data.purpose {
            Purpose::Run => StepInput::Claim,
            Purpose::Probe => StepInput::ClaimProbe,
            Purpose::Compensate => StepInput::ClaimUndo,
        };
        self.apply(&data.step_id, input, |step| {
            step.fence = Some(data.fence);
            step.purpose = data.purpose;
            match data.purpose {
                Purpose::Run => step.attempt = data.attempt,
                Purpose::Probe => step.probe_attempt = data.attempt,
                Purpose::Compensate => step.undo_attempt = data.attempt,
            }
            if data.approval_id.is_some() {
                match data.purpose {
                    Purpose::Run | Purpose::Probe => step.approval = data.approval_id.clone(),
                    Purpose::Compensate => step.undo_approval = data.approval_id.clone(),
                }
            }
            step.asked = None;
            step.code = None;
            step.message = None;
        });
        if let Some(used) = &data.approval_id
            && let Some(approval) = self.approval_mut(used)
        {
            approval.consumed.insert(data.step_id.clone());
        }
        if data.spend != Radius::default() || !data.reserved.is_empty() {
            let hold = Hold { spend: data.spend.clone(), meters: data.reserved.clone(), at: data.started_at };
            if let Some(step) = self.place(&data.step_id).and_then(|place| self.steps.get_mut(place)) {
                match data.purpose {
                    Purpose::Run => step.hold = Some(hold),
                    Purpose::Probe => step.probe_hold = Some(hold),
                    Purpose::Compensate => step.undo_hold = Some(hold),
                }
            }
            self.spent = plan::sum(&self.spent, &data.spend);
        }
    }

    // The call had no effect: what its claim reserved is there again.
    fn release(&mut self, id: &StepId) {
        if let Some(step) = self.place(id).and_then(|place| self.steps.get_mut(place)) {
            step.hold = None;
        }
        let holds = self.steps.iter().flat_map(Step::holds);
        self.spent = holds.fold(Radius::default(), |total, hold| plan::sum(&total, &hold.spend));
    }

    fn step_retried(&mut self, id: &StepId, retry_at: Timestamp, data: &contracts::event::StepRetried) {
        let Some(before) = self.step(id).map(|step| step.state) else {
            return;
        };
        if before == StepState::Blocked {
            self.apply(id, StepInput::Unblock, |_| {});
            return;
        }
        self.apply(id, StepInput::Retry, |step| {
            step.retry_at = Some(retry_at);
            step.unanswered = data.unanswered || (step.unanswered && data.code.as_deref() != Some(NOT_DONE));
            step.code = data.code.clone();
            step.message = data.message.clone();
            step.purpose = if step.state == StepState::Compensating { Purpose::Compensate } else { Purpose::Run };
        });
        let planned = self.place(id).and_then(|place| self.planned(place));
        let counts = planned.is_none_or(|planned| planned.call.effect == Effect::NonIdempotent);
        if counts && data.code.as_deref() == Some(NOT_DONE) {
            // Each call counts, and the tool's word that the first did nothing is no approval of a second.
            self.change(id, |step| step.approval = None);
        }
        if before == StepState::Failed {
            // A person tries again: it needs its approval anew, and what was skipped because of it may run.
            if let Some(step) = self.place(id).and_then(|place| self.steps.get_mut(place)) {
                (step.retry_at, step.approval) = (None, None);
            }
            self.revive_after(id);
            if self.status == Status::Failed {
                self.status = Status::Running;
                self.reasons.clear();
            }
        }
    }

    fn revive_after(&mut self, id: &StepId) {
        let graph = self.graph.clone();
        let mut open: Vec<usize> = self.place(id).into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(place) = open.pop() {
            for next in graph.dependents.get(place).into_iter().flatten().filter(|next| seen.insert(**next)) {
                if let Some(step) = self.steps.get_mut(*next)
                    && step.state == StepState::Skipped
                    && step.code.as_deref() == Some(DEPENDENCY_FAILED)
                    && let Some(state) = step::next(step.state, StepInput::Revive)
                {
                    *step = Step { state, ..Step::new(step.id.clone()) };
                    self.touched.insert(*next);
                    open.push(*next);
                }
            }
        }
    }

    fn assisted(&self, data: &PlanVerified) -> BTreeSet<usize> {
        let masked = data.assist_mask.as_deref().into_iter().flat_map(mask::places);
        data.assist.iter().filter_map(|id| self.place(id)).chain(masked).collect()
    }

    fn push_approval(&mut self, approval: Approval) {
        self.touched_approvals.insert(self.approvals.len());
        self.approvals.push(approval);
    }

    // An approval to be changed.
    fn approval_mut(&mut self, id: &ApprovalId) -> Option<&mut Approval> {
        let place = self.approvals.iter().position(|approval| approval.id == *id)?;
        self.touched_approvals.insert(place);
        self.approvals.get_mut(place)
    }

    fn approval_decided(&mut self, data: &ApprovalDecided, state: ApprovalState) {
        match self.approval_mut(&data.approval_id) {
            Some(approval) => {
                approval.state = state;
                approval.decided_by.extend(data.actor_id.clone());
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
                decided_by: data.actor_id.iter().cloned().collect(),
                requested_at: data.at,
                expires_at: data.at,
                consumed: BTreeSet::new(),
            }),
        }
    }

    fn approval_gone(&mut self, reason: BlockReason) {
        for place in 0..self.steps.len() {
            // Blocked, or stuck: what undoes it asks.
            let waits = self.steps.get(place).and_then(|step| step.waits_for);
            if waits == Some(BlockReason::ApprovalRequired) && !self.has_open_request(place) {
                if let Some(step) = self.steps.get_mut(place) {
                    step.waits_for = Some(reason);
                }
                self.touched.insert(place);
            }
        }
    }

    fn has_open_request(&self, place: usize) -> bool {
        let Some(step) = self.steps.get(place) else {
            return false;
        };
        self.approvals.iter().any(|approval| {
            approval.state == ApprovalState::Requested
                && approval.step.as_ref().map_or(self.asked(&step.id).is_none(), |id| *id == step.id)
        })
    }

    // The execution failed with calls in flight: nobody will learn what became of them here.
    fn abandon_calls(&mut self) {
        for place in 0..self.steps.len() {
            let read = self.planned(place).is_some_and(|planned| planned.call.effect == Effect::Read);
            let Some(step) = self.steps.get_mut(place) else {
                continue;
            };
            let (input, waits_for) = match step.state {
                StepState::Running if read => (StepInput::Cancel, None),
                StepState::Running => (StepInput::Doubt, Some(BlockReason::OutcomeUnknown)),
                // Undoing it is not tried again, and a call to that end may have had its effect.
                StepState::Compensating => (StepInput::Stick, Some(BlockReason::CompensationFailed)),
                StepState::Pending
                | StepState::Ready
                | StepState::Blocked
                | StepState::Held
                | StepState::Completed
                | StepState::Retrying
                | StepState::Failed
                | StepState::InDoubt
                | StepState::Skipped
                | StepState::Cancelled
                | StepState::Compensated
                | StepState::Stuck => continue,
            };
            if let Some(state) = step::next(step.state, input) {
                step.unanswered |= step.state == StepState::Running && !read;
                step.state = state;
                (step.fence, step.until, step.retry_at) = (None, None, None);
                step.waits_for = waits_for;
                self.touched.insert(place);
            }
        }
    }
}
