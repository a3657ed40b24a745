//! What an event of the execution as a whole changes.

use super::*;
use contracts::event::{
    ExecutionCancelled, ExecutionFailed, ExecutionStarted, IntentReceived, PlanCompiled, PlanEdit,
    PlanRejected,
};

impl Execution {
    pub(super) fn received(&mut self, data: &IntentReceived) {
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

    pub(super) fn compiled(&mut self, data: &PlanCompiled) {
        if let (Some(edit), Some(facts)) = (&data.edit, self.plan_facts.take()) {
            return self.edited(data, edit, facts);
        }
        self.status = Status::Compiled;
        self.plan_facts = Some(PlanFacts {
            plan_id: data.plan_id.clone(),
            digest: data.plan_digest.clone(),
            draft_digest: data.draft_digest.clone(),
            drafted_by: data.drafted_by.clone(),
            drafter_key_makers: data.drafter_key_makers.clone(),
            edits: None,
        });
        if let Some(plan) = self.plan.as_ref().filter(|plan| *plan.digest() == data.plan_digest) {
            self.steps = plan.plan().steps.iter().map(|step| Step::new(step.id.clone())).collect();
        }
    }

    // The same steps with other literals. What was changed is looked at anew: it asked, perhaps,
    // about another input.
    fn edited(&mut self, data: &PlanCompiled, edit: &PlanEdit, facts: PlanFacts) {
        let PlanFacts { drafted_by, mut drafter_key_makers, edits, digest, .. } = facts;
        let mut edits = edits.unwrap_or_else(|| Edits {
            by: BTreeSet::new(),
            steps: BTreeSet::new(),
            last_seq: 0,
            first: digest,
        });
        edits.by.extend(data.drafted_by.clone());
        let changed = edit.changes.iter().filter_map(|change| self.index_of(&change.step_id));
        let changed: BTreeSet<usize> = changed.collect();
        edits.steps.extend(&changed);
        edits.last_seq = self.events;
        drafter_key_makers.extend(data.drafter_key_makers.iter().cloned());
        self.plan_facts = Some(PlanFacts {
            plan_id: data.plan_id.clone(),
            digest: data.plan_digest.clone(),
            draft_digest: data.draft_digest.clone(),
            drafted_by,
            drafter_key_makers,
            edits: Some(edits),
        });
        self.forget_questions(|index| changed.contains(&index));
    }

    // A step that had asked and was answered, and did not begin, asks anew: its answer is void, and
    // nobody would ask for it any more.
    fn forget_questions(&mut self, also: impl Fn(usize) -> bool) {
        for (index, step) in self.steps.iter_mut().enumerate() {
            let answered = step.state == StepStatus::Ready && step.asked.is_some();
            if step.untouched() && (answered || also(index)) {
                *step = Step::new(step.id.clone());
                self.touched.insert(index);
            }
        }
    }

    pub(super) fn verified(&mut self, data: &PlanVerified) {
        self.forget_questions(|_| false);
        self.ruling = Some(VerdictSummary {
            verdict: data.verdict,
            risk_tier: data.risk_tier,
            policy_version: data.policy_version.clone(),
            policy_digest: data.policy_digest.clone(),
            verdict_digest: data.verdict_digest.clone(),
            verified_at: data.verified_at,
            assist: self.assisted(data),
            requirements: data.requirements.clone(),
            approval_life_ms: data.approval_life_ms,
            view: Some(data.view_digest.clone()),
        });
        if self.run.is_none() {
            self.status = Status::Verified;
        }
    }

    pub(super) fn rejected(&mut self, data: &PlanRejected) {
        self.status = Status::Rejected;
        self.reasons = data.issues.clone();
        if let (Some(policy_digest), Some(verdict_digest)) =
            (&data.policy_digest, &data.verdict_digest)
        {
            self.ruling = Some(VerdictSummary {
                verdict: Verdict::Blocked,
                risk_tier: data.risk_tier.unwrap_or(RiskTier::Blocked),
                policy_version: data.policy_version.clone().unwrap_or_default(),
                policy_digest: policy_digest.clone(),
                verdict_digest: verdict_digest.clone(),
                verified_at: data.rejected_at,
                assist: BTreeSet::new(),
                requirements: Vec::new(),
                approval_life_ms: 0,
                view: None,
            });
        }
        self.abandon_calls();
    }

    pub(super) fn started(&mut self, data: &ExecutionStarted) {
        self.status = Status::Running;
        self.run =
            Some(Run { run_id: data.run_id.clone(), mode: data.mode, started_at: data.started_at });
    }

    pub(super) fn failed(&mut self, data: &ExecutionFailed) {
        self.status = Status::Failed;
        let message = data.error_message.clone().unwrap_or_default();
        self.reasons = vec![Issue::coded(data.error_code.clone(), "", message)];
        self.abandon_calls();
    }

    pub(super) fn cancelled(&mut self, data: &ExecutionCancelled) {
        if let Some(reason) = &data.reason {
            self.reasons = vec![Issue::coded("CANCELLED", "", reason.clone())];
        }
        self.cancellation = Some(Cancellation {
            actor_id: data.actor_id.clone(),
            at: data.at,
            compensate: data.compensate,
        });
        if !self.status.under_way() {
            self.status = Status::Cancelled;
        }
    }
}
