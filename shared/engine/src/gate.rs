//! Whether a call may happen: everything that could speak against it, looked at before its claim. What it looked at is
//! checked again in the claim's transaction.

use crate::{
    Answer, Engine, Governance, Snapshot,
    call::Ready,
    input::{Outputs, Resolved},
    usage::{self, Metering},
};
use contracts::{
    event::{BlockReason, Purpose},
    plan::{PlanStep, Radius},
    verdict::Verdict,
};
use cs_core::{
    execution::{Execution, Step},
    plan,
};
use policy::{Facts, Metered};
use serde_json::Value;
use std::sync::OnceLock;

/// What a worker sees of the world around an execution.
pub(crate) struct PrepareContext<'t> {
    pub(crate) facts: &'t OnceLock<Facts>,
    pub(crate) snapshot: &'t Snapshot,
    pub(crate) governance: &'t Governance,
    pub(crate) outputs: &'t mut Outputs,
    pub(crate) metering: &'t mut Metering,
}

/// What can be done with a step that is ready.
pub(crate) enum Prepared {
    Skip(String),
    Refuse { code: &'static str, message: String },
    Block { reason: BlockReason, message: Option<String> },
    Call(Box<Ready>),
}

impl Engine {
    // What speaks against using the skill that a step pins, now. The claim's transaction checks it again.
    fn unusable(&self, state: &Execution, planned: &PlanStep, snapshot: &Snapshot) -> Option<String> {
        let pin = state.plan()?.plan().skills.get(planned.call.skill)?;
        let installed = snapshot.skill(&pin.key, &pin.version)?;
        let ended = crate::trust::ended(installed.skill.manifest(), self.now());
        installed.against.clone().or_else(|| ended.map(|end| format!("its signature ended at {end}")))
    }

    /// Resolves a step's input and looks at everything that could speak against calling it now.
    pub(crate) async fn prepare(
        &self,
        state: &Execution,
        planned: &PlanStep,
        record: &Step,
        purpose: Purpose,
        sight: &mut PrepareContext<'_>,
    ) -> Answer<Prepared> {
        let refuse = |code: &'static str, message: String| Ok(Prepared::Refuse { code, message });
        let PrepareContext { facts, snapshot, governance, outputs, metering } = sight;
        let actor = state.intent.as_ref().map(|intent| intent.actor_id.as_str()).unwrap_or_default();
        if let Some((reason, message)) = governance.frozen(&planned.call.operation, actor)
            && (purpose == Purpose::Run || reason == BlockReason::WorkspaceFrozen)
        {
            return Ok(Prepared::Block { reason, message: Some(message) });
        }
        if let Some(message) = self.unusable(state, planned, snapshot) {
            return Ok(Prepared::Block { reason: BlockReason::SkillDisabled, message: Some(message) });
        }
        let resolved = match self.resolve_input(state, planned, purpose, snapshot, outputs).await? {
            Ok(resolved) => resolved,
            Err(prepared) => return Ok(prepared),
        };
        let Resolved { call, operation, own_operation, sealed, opened, words } = *resolved;
        // Values that came from other steps were not there when the plan was judged, and usage has gone on since: judge
        // again, with them.
        let usage =
            self.metered(&state.workspace, governance, [planned.call.operation.as_str()], actor, metering).await?;
        if purpose == Purpose::Run && (!planned.wires.is_empty() || !usage.is_empty()) {
            let own = record.hold.as_ref().map(|hold| hold.meters.as_slice()).unwrap_or_default();
            let usage = usage::without(usage, own);
            match self.judge_actual(state, facts, planned, &sealed.visible(), (usage, snapshot)).await? {
                (Verdict::Autonomous, _) => {}
                (Verdict::Assist, reasons) => {
                    let approved = record.approval.is_some() || state.grant_for(&planned.id).is_some();
                    if !approved {
                        let reason = BlockReason::ApprovalRequired;
                        return Ok(Prepared::Block { reason, message: Some(reasons.join("; ")) });
                    }
                }
                (Verdict::Blocked, reasons) => return refuse("POLICY_BLOCKED", reasons.join("; ")),
            }
        }
        let unapproved = record.approval.is_none() && state.grant_for(&planned.id).is_none();
        if purpose == Purpose::Run && unapproved && state.needs_approval(record) {
            return Ok(Prepared::Block { reason: BlockReason::ApprovalRequired, message: None });
        }
        let spend = match purpose {
            Purpose::Run => plan::resolved_radius(&opened, &operation.spec, planned),
            Purpose::Probe | Purpose::Compensate => Radius::default(),
        };
        let mut reserved = Vec::new();
        if purpose == Purpose::Run && record.hold.is_none() {
            let total = plan::sum(&state.spent, &spend);
            let over = plan::exceeded(&total, governance.budgets.plan.as_ref());
            let over = over.map(|over| format!("{over} (the workspace's budget)"));
            if let Some(over) = state.over_budget(planned, &spend).or(over) {
                return Ok(Prepared::Block { reason: BlockReason::BudgetExceeded, message: Some(over) });
            }
            let who = (planned.call.operation.as_str(), actor);
            match self.reserve(&state.workspace, governance, who, &spend, metering) {
                Ok(amounts) => reserved = amounts,
                Err((reason, over)) => return Ok(Prepared::Block { reason, message: Some(over) }),
            }
        }
        Ok(Prepared::Call(Box::new(Ready {
            step: planned.id.clone(),
            purpose,
            input_digest: sealed.digest().map_err(crate::not_canonical)?,
            spend,
            reserved,
            words,
            input: opened,
            call,
            operation,
            own_operation,
        })))
    }

    async fn judge_actual(
        &self,
        state: &Execution,
        facts: &OnceLock<Facts>,
        planned: &PlanStep,
        input: &Value,
        (usage, snapshot): (Vec<Metered>, &Snapshot),
    ) -> Answer<(Verdict, Vec<String>)> {
        let Some(plan) = state.plan() else {
            return Ok((Verdict::Blocked, vec!["no plan".into()]));
        };
        let authority = self.authority(&state.workspace, snapshot).await?;
        let facts = match facts.get() {
            Some(facts) => facts,
            None => {
                let stored = self.stored_verdict(&state.workspace, &state.id).await?;
                let Some(stored) = stored else {
                    return Ok((Verdict::Blocked, vec!["no verdict".into()]));
                };
                facts.get_or_init(|| stored.facts)
            }
        };
        let facts = Facts { usage, ..facts.clone() };
        let verdict = policy::judge_step(plan.plan(), planned, Some(input), &facts, &authority);
        Ok((verdict.verdict, verdict.reasons))
    }
}
