//! A plan compiled, verified and started.

use super::Transition;
use crate::{
    execution::{Approval, ApprovalStatus, Step, VerdictSummary, duty::Drafter, mask},
    plan::Compiled,
};
use contracts::{
    Digest, Issue,
    event::{BlockReason, ExecutionEvent, PlanCompiled, PlanRejected, PlanVerified},
    verdict::Verdict,
};
use std::sync::Arc;

/// Steps that an event names one by one; more are a mask.
const ASSIST_LISTED_MAX: usize = 100;

/// Approvals that one commit voids; each may be asked for again in it.
const VOIDED_AT_ONCE_MAX: usize = 10;

const VERIFIED_AGAIN: &str = "verified again under another policy";
const EDITED: &str = "a person changed the plan";

// The distinct messages of the issues.
fn words(issues: &[Issue]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for issue in contracts::json::clip_issues(issues.to_vec()) {
        if !words.contains(&issue.message) {
            words.push(issue.message);
        }
    }
    words
}

impl Transition {
    pub(super) fn compile(
        &mut self,
        outcome: Result<Arc<Compiled>, Vec<Issue>>,
        draft: Digest,
        (model, drafted_by): (Option<String>, Option<Drafter>),
    ) {
        match outcome {
            Ok(plan) => {
                let (plan_id, plan_digest) = (plan.id(), plan.digest().clone());
                let step_count = plan.plan().steps.len() as u32;
                self.state.attach(plan);
                self.emit(ExecutionEvent::PlanCompiled(PlanCompiled {
                    execution_id: self.state.id.clone(),
                    plan_id,
                    compiled_at: self.now,
                    step_count,
                    plan_digest,
                    draft_digest: draft,
                    planner_model: model,
                    drafted_by: drafted_by.as_ref().map(|drafter| drafter.id.clone()),
                    drafter_key_makers: drafted_by
                        .map(|drafter| drafter.key_makers)
                        .unwrap_or_default(),
                    edit: None,
                }));
            }
            Err(issues) => self.emit(ExecutionEvent::PlanRejected(PlanRejected {
                execution_id: self.state.id.clone(),
                plan_id: None,
                rejected_at: self.now,
                reasons: words(&issues),
                issues: contracts::json::clip_issues(issues),
                risk_tier: None,
                policy_digest: None,
                policy_version: None,
                verdict_digest: None,
                draft_digest: Some(draft),
            })),
        }
    }

    pub(super) fn verify(&mut self, ruling: VerdictSummary, reasons: Vec<Issue>) {
        let execution_id = self.state.id.clone();
        let plan_id = self.state.plan_facts.as_ref().map(|facts| facts.plan_id.clone());
        // An execution that is being compensated starts no further step: each compensation call is
        // judged on its own.
        let ends = ruling.verdict == Verdict::Blocked && !self.state.unwinding();
        let (assist, assist_mask) = if ruling.assist.len() <= ASSIST_LISTED_MAX {
            let id = |index: usize| self.state.steps.get(index).map(|step| step.id.clone());
            (ruling.assist.into_iter().filter_map(id).collect(), None)
        } else {
            (Vec::new(), Some(mask::to_mask(&ruling.assist, self.state.steps.len())))
        };
        // INVARIANT (fail-closed): a plan without a view is one that nobody can decide on.
        match (plan_id, ruling.view) {
            (Some(plan_id), Some(view_digest)) if !ends => {
                self.emit(ExecutionEvent::PlanVerified(PlanVerified {
                    execution_id,
                    plan_id,
                    verdict: ruling.verdict,
                    risk_tier: ruling.risk_tier,
                    policy_version: ruling.policy_version,
                    policy_digest: ruling.policy_digest,
                    verdict_digest: ruling.verdict_digest,
                    verified_at: self.now,
                    assist,
                    assist_mask,
                    requirements: ruling.requirements,
                    approval_life_ms: ruling.approval_life_ms,
                    view_digest,
                }))
            }
            (plan_id, _) => {
                self.emit(ExecutionEvent::PlanRejected(PlanRejected {
                    execution_id,
                    plan_id,
                    rejected_at: self.now,
                    reasons: words(&reasons),
                    issues: contracts::json::clip_issues(reasons),
                    risk_tier: Some(ruling.risk_tier),
                    policy_digest: Some(ruling.policy_digest),
                    policy_version: Some(ruling.policy_version),
                    verdict_digest: Some(ruling.verdict_digest),
                    draft_digest: None,
                }));
            }
        }
        let edited = |event: &ExecutionEvent| match event {
            ExecutionEvent::PlanCompiled(data) => data.edit.is_some(),
            _ => false,
        };
        let why = if self.events().iter().any(edited) { EDITED } else { VERIFIED_AGAIN };
        if self.void_stale_approvals(why) {
            self.ask_again(why);
        }
    }

    /// INVARIANT (approval-binds-digest): a new verdict voids what was asked or given under the old
    /// one. INVARIANT (bounded-work): so many at once; requests that are left are voided by the
    /// next commits, and whatever is left counts no more, for it binds what does not hold. Whether
    /// there was any.
    pub(in crate::execution) fn void_stale_approvals(&mut self, why: &str) -> bool {
        let mut stale: Vec<Approval> = self.state.stale_approvals().cloned().collect();
        stale.sort_by_key(|approval| approval.state != ApprovalStatus::Requested);
        stale.truncate(VOIDED_AT_ONCE_MAX);
        for approval in &stale {
            let decided = self.decided(approval, None, None, Some(why.into()));
            self.emit(ExecutionEvent::ApprovalVoided(decided));
        }
        !stale.is_empty()
    }

    // Asks for the plan, and for each step whose approval is no longer asked for.
    pub(in crate::execution) fn ask_again(&mut self, why: &str) {
        let asked = |one: &Approval| {
            one.state == ApprovalStatus::Requested
                && one.step.is_none()
                && self.state.binding(None).as_ref() == Some(&one.binding)
        };
        let asked = self.state.approvals.iter().any(asked);
        if self.state.status.under_way() && self.state.plan_approvable() && !asked {
            self.request(None, why);
        }
        let waiting = |step: &&Step| step.waits_for == Some(BlockReason::ApprovalRequired);
        let asking: Vec<_> = self
            .state
            .steps
            .iter()
            .filter(waiting)
            .filter_map(|step| Some((step.id.clone(), step.asked.as_ref()?.purpose)))
            .collect();
        for (id, purpose) in asking {
            if !self.state.asked_for(&id, purpose) {
                self.request(Some(&id), why);
            }
        }
    }
}
