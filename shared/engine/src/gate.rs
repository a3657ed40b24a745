//! The one gate: whether a call may happen, for a step's own effect, its probe and its compensation, and so for retries
//! and resolutions too, which come back here as claims.
//!
//! INVARIANT (one-gate): [`standing`] and [`pass`] are pure, and what they look at does not depend on the purpose; the
//! purpose only says what becomes of the step when the answer is no. What was looked at (freezes, policy set, skill, key,
//! budgets, meters, approval) is checked again in the claim's transaction.
//! INVARIANT (context-is-fresh): every claim is judged again, with its actual input, the hour, the usage and the grants
//! of this moment.

use crate::{
    Answer, Engine, Governance, Snapshot,
    call::Ready,
    input::{Outputs, Resolved},
    ports::Write,
    requester::RequesterKey,
    usage::{self, Metering},
    view::ActualCall,
};
use contracts::{
    Digest, Timestamp,
    event::{BlockReason, Purpose},
    id::ApprovalId,
    plan::{PlanStep, Radius},
    verdict::Verdict,
};
use cs_core::{
    execution::{About, Execution, Step},
    plan,
};
use policy::{Facts, Measured, StepVerdict};
use std::{borrow::Cow, sync::OnceLock};

/// What a worker sees of the world around an execution.
pub(crate) struct PrepareContext<'t> {
    pub(crate) facts: &'t OnceLock<(Facts, RequesterKey)>,
    pub(crate) snapshot: &'t Snapshot,
    pub(crate) governance: &'t Governance,
    pub(crate) outputs: &'t mut Outputs,
    pub(crate) metering: &'t mut Metering,
}

/// What can be done with a step that is ready.
pub(crate) enum Prepared {
    Skip(String),
    /// The call can never be made.
    Refuse {
        code: &'static str,
        message: String,
    },
    /// The call may not be made now.
    Block {
        reason: BlockReason,
        message: Option<String>,
    },
    /// People are asked; where other steps gave values, about this very input.
    Ask {
        message: String,
        about: Option<About>,
        /// Stores what they are shown of it.
        write: Option<Write>,
    },
    Call(Box<Ready>),
}

/// What speaks against any call of an operation at a moment, whatever its input.
struct Standing<'q> {
    governance: &'q Governance,
    key: &'q RequesterKey,
    operation: &'q str,
    actor: &'q str,
    /// Why its skill may not be used.
    unusable: Option<String>,
    now: Timestamp,
}

/// A call that could be made: everything that decides whether it may.
struct Question<'q> {
    state: &'q Execution,
    record: &'q Step,
    /// In the form of a step.
    called: &'q PlanStep,
    purpose: Purpose,
    input: &'q Digest,
    spend: &'q Radius,
    /// Reached just now, on this input.
    verdict: &'q StepVerdict,
    governance: &'q Governance,
}

/// The gate's answer.
#[derive(Debug, PartialEq, Eq)]
enum Passage {
    /// With the approval that the claim consumes.
    Pass(Option<ApprovalId>),
    Ask(String),
    Deny(BlockReason, String),
}

// Freezes, key, skill: an operator must act, or has acted. The call waits.
fn standing(of: &Standing<'_>) -> Option<(BlockReason, String)> {
    if let Some(frozen) = of.governance.frozen(of.operation, of.actor) {
        return Some(frozen);
    }
    if let Some(fault) = of.key.fault(of.now) {
        return Some((BlockReason::RequesterRevoked, fault));
    }
    of.unusable.clone().map(|message| (BlockReason::SkillDisabled, message))
}

// Policy, approval and budgets, the same for every purpose.
fn pass(question: &Question<'_>) -> Passage {
    let Question { state, record, called, purpose, verdict, .. } = question;
    let reasons = || verdict.reasons.join("; ");
    let asks = match verdict.verdict {
        Verdict::Blocked => return Passage::Deny(BlockReason::PolicyBlocked, reasons()),
        Verdict::Assist => true,
        Verdict::Autonomous => state.needs_approval(record),
    };
    if record.hold_for(*purpose).is_none()
        && let Some(over) = over_budget(question)
    {
        return Passage::Deny(BlockReason::BudgetExceeded, over);
    }
    if !asks {
        return Passage::Pass(None);
    }
    // What a claim consumed covers the same call once more, and what the plan led to from it with values that were known.
    let consumed = match purpose {
        Purpose::Run => record.approval.is_some(),
        Purpose::Probe => record.approval.is_some() && called.unknown.is_empty(),
        Purpose::Compensate => {
            record.undo_approval.is_some() || (record.approval.is_some() && called.unknown.is_empty())
        }
    };
    if consumed {
        return Passage::Pass(None);
    }
    match state.grant_for_call(&called.id, *purpose, question.input) {
        Some(grant) => Passage::Pass(Some(grant.id.clone())),
        None => Passage::Ask(reasons()),
    }
}

fn over_budget(question: &Question<'_>) -> Option<String> {
    let Question { state, called, spend, governance, .. } = question;
    let total = plan::sum(&state.spent, spend);
    let over = plan::exceeded(&total, governance.budgets.plan.as_ref());
    let over = over.map(|over| format!("{over} (the workspace's budget)"));
    state.over_budget(called, spend).or(over)
}

// What the plan does with this call, as far as it is known now: what was spent, this call, and what is still to come.
fn total_now(state: &Execution, record: &Step, purpose: Purpose, spend: &Radius) -> Radius {
    let planned = state.plan().map(|plan| &plan.plan().radius);
    let aside = |step: &Step| step.undo_hold.is_some() || step.probe_hold.is_some() || !step.kept.is_empty();
    if let Some(planned) = planned.filter(|planned| !planned.open && purpose.is_run())
        && !state.steps.iter().any(aside)
    {
        // Nothing comes later and nothing came on top: it is what was planned.
        return planned.clone();
    }
    let mut total = Radius { open: false, ..state.spent.clone() };
    for (place, step) in state.steps.iter().enumerate() {
        let own = purpose.is_run() && step.id == record.id;
        if step.hold.is_none()
            && step.state.unstarted()
            && !own
            && let Some(coming) = state.planned(place)
        {
            plan::add(&mut total, &coming.radius);
        }
    }
    if record.hold_for(purpose).is_none() {
        plan::add(&mut total, spend);
    }
    total
}

// Whether people decide about this very input: something decisive of it was unknown when the plan was judged, or policy
// asks only now.
fn about_input(state: &Execution, called: &PlanStep, purpose: Purpose) -> bool {
    let foreseen = purpose.is_run() && called.unknown.is_empty() && state.foreseen(&called.id);
    !called.wires.is_empty() && !foreseen
}

impl Engine {
    // What speaks against using the skill that a call pins, now. The claim's transaction checks it again.
    fn unusable(&self, state: &Execution, called: &PlanStep, snapshot: &Snapshot) -> Option<String> {
        let pin = state.plan()?.plan().skills.get(called.call.skill)?;
        let installed = snapshot.skill(&pin.key, &pin.version)?;
        let ended = crate::trust::ended(installed.skill.manifest(), self.now());
        installed.against.clone().or_else(|| ended.map(|end| format!("its signature ended at {end}")))
    }

    /// Resolves a call's input and passes it through the gate.
    pub(crate) async fn prepare(
        &self,
        state: &Execution,
        planned: &PlanStep,
        record: &Step,
        purpose: Purpose,
        sight: &mut PrepareContext<'_>,
    ) -> Answer<Prepared> {
        let Some(called) = plan::call_of(planned, purpose) else {
            let message = "the operation declares no such call".into();
            return Ok(Prepared::Refuse { code: "NOT_DECLARED", message });
        };
        let (facts, key) = match sight.facts.get() {
            Some(known) => known,
            None => {
                let intent = self.intent(&state.workspace, &state.id).await?;
                let found = self.facts(state, &intent).await?;
                sight.facts.get_or_init(|| found)
            }
        };
        let actor = facts.actor.id.as_str();
        let waits = standing(&Standing {
            governance: sight.governance,
            key,
            operation: &called.call.operation,
            actor,
            unusable: self.unusable(state, &called, sight.snapshot),
            now: self.now(),
        });
        if let Some((reason, message)) = waits {
            return Ok(Prepared::Block { reason, message: Some(message) });
        }
        let resolved = match self.resolve_input(state, planned, purpose, sight.snapshot, sight.outputs).await? {
            Ok(resolved) => *resolved,
            Err(prepared) => return Ok(prepared),
        };
        self.decide(state, (record, &called, purpose), (facts, actor), resolved, sight).await
    }

    async fn decide(
        &self,
        state: &Execution,
        (record, called, purpose): (&Step, &Cow<'_, PlanStep>, Purpose),
        (facts, actor): (&Facts, &str),
        resolved: Resolved,
        sight: &mut PrepareContext<'_>,
    ) -> Answer<Prepared> {
        let Resolved { call, operation, own_operation, sealed, opened, words } = resolved;
        let input = sealed.digest().map_err(crate::not_canonical)?;
        let spend = plan::resolved_radius(&opened, &operation.spec, called);
        let name = called.call.operation.as_str();
        let usage = self.metered(&state.workspace, sight.governance, [name], actor, sight.metering).await?;
        // Its own reservation is no reason against its next attempt.
        let own = record.hold_for(purpose).map(|hold| hold.meters.as_slice()).unwrap_or_default();
        let facts = Facts { usage: usage::without(usage, own), at: self.now(), budget: None, ..facts.clone() };
        let Some(compiled) = state.plan() else {
            return Ok(Prepared::Refuse { code: "POLICY_BLOCKED", message: "there is no plan".into() });
        };
        let authority = self.authority(&state.workspace, sight.snapshot).await?;
        let total = total_now(state, record, purpose, &spend);
        let measured = Measured { radius: &spend, total: &total };
        let verdict =
            policy::judge_call(compiled.plan(), called, (Some(&sealed.visible()), measured), &facts, &authority);
        let governance = sight.governance;
        let question =
            Question { state, record, called, purpose, input: &input, spend: &spend, verdict: &verdict, governance };
        let approval = match pass(&question) {
            Passage::Pass(approval) => approval,
            Passage::Ask(message) => {
                if !about_input(state, called, purpose) {
                    return Ok(Prepared::Ask { message, about: None, write: None });
                }
                let actual = ActualCall {
                    called,
                    purpose,
                    spec: &operation.spec,
                    input: &sealed,
                    digest: &input,
                    radius: &spend,
                    verdict: &verdict,
                };
                let (view, write) = self.actual_view(state, &actual, &facts, &authority).await?;
                return Ok(Prepared::Ask { message, about: Some(About { input, view }), write: Some(write) });
            }
            Passage::Deny(BlockReason::PolicyBlocked, message) => {
                return Ok(Prepared::Refuse { code: "POLICY_BLOCKED", message });
            }
            Passage::Deny(reason, message) => return Ok(Prepared::Block { reason, message: Some(message) }),
        };
        let mut reserved = Vec::new();
        if record.hold_for(purpose).is_none() {
            match self.reserve(&state.workspace, governance, (name, actor), &spend, sight.metering) {
                Ok(amounts) => reserved = amounts,
                Err((reason, over)) => return Ok(Prepared::Block { reason, message: Some(over) }),
            }
        }
        Ok(Prepared::Call(Box::new(Ready {
            step: called.id.clone(),
            purpose,
            input_digest: input,
            approval,
            spend,
            reserved,
            words,
            input: opened,
            call,
            operation,
            own_operation,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{draft::Budget, event::Reserved, governance::Budgets, plan::RadiusKind, verdict::RiskTier};
    use cs_core::execution::Hold;
    use serde_json::Value;
    use serde_json::json;
    use std::collections::{BTreeMap, BTreeSet};

    fn call() -> PlanStep {
        let zero = Digest::zero();
        serde_json::from_value(json!({ "id": "s", "operation": "shop/pay", "skill": 0, "effect": "idempotent",
            "inputSchemaDigest": zero, "outputSchemaDigest": zero, "timeoutSeconds": 1,
            "binding": { "kind": "http", "url": "https://tool.example" }, "input": {}, "after": [], "riskTier": "low",
            "radius": { "writes": 1 }, "retry": { "maxAttempts": 1, "backoffSeconds": 1, "maxBackoffSeconds": 1 } }))
        .unwrap()
    }

    fn verdict(verdict: Verdict) -> StepVerdict {
        StepVerdict {
            step_id: "s".parse().unwrap(),
            purpose: Purpose::Run,
            verdict,
            risk_tier: RiskTier::Low,
            reasons: Vec::new(),
            determining: Vec::new(),
            errors: Vec::new(),
            request: Value::Null,
            expires_ms: None,
            approvers: Vec::new(),
        }
    }

    fn budgets() -> Vec<Governance> {
        let money = |limit: Option<u64>| {
            let limits = limit.map(|limit| BTreeMap::from([("EUR".to_owned(), limit)])).unwrap_or_default();
            Budget { money: Some(limits), ..Budget::default() }
        };
        let plans =
            [None, Some(money(Some(5))), Some(money(None)), Some(Budget { writes: Some(0), ..money(Some(9)) })];
        let of = |plan| Governance { budgets: Budgets { plan, meters: Vec::new() }, ..Governance::default() };
        plans.into_iter().map(of).collect()
    }

    fn spends() -> Vec<Radius> {
        let eur = |amount| Radius { writes: 1, money: [("EUR".to_owned(), amount)].into(), ..Radius::default() };
        let unmeasured = Radius { unmeasured: BTreeSet::from([RadiusKind::Money]), ..Radius::default() };
        vec![Radius::default(), eur(5), eur(6), unmeasured]
    }

    fn records() -> Vec<Step> {
        let held = Hold { spend: Radius::default(), meters: Vec::<Reserved>::new(), at: Timestamp::from_ms(0) };
        let mut found = Vec::new();
        for (escalated, approved, holds) in (0..8).map(|bits| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0)) {
            let mut record = Step::new("s".parse().unwrap());
            record.escalated = escalated;
            let approval = ApprovalId::from_bytes([7; 16]);
            record.approval = approved.then(|| approval.clone());
            (record.hold, record.undo_hold) = (holds.then(|| held.clone()), holds.then(|| held.clone()));
            record.probe_hold = record.hold.clone();
            found.push(record);
        }
        found
    }

    // The purpose opens no door: whatever is refused for a step's own effect is refused for a compensation and a probe
    // with the same operation and the same input. Everything that decides, in every combination.
    #[test]
    fn one_gate_for_every_purpose() {
        let state = Execution::new("exe_00000000000000000000000000000001".parse().unwrap(), "acme".parse().unwrap());
        let mut unknown = call();
        unknown.unknown.insert("/amount".into());
        let (mut refused, mut passed) = (0, 0);
        for governance in &budgets() {
            for (record, spend) in records().iter().flat_map(|record| spends().into_iter().map(move |s| (record, s)))
            {
                for verdict in [Verdict::Autonomous, Verdict::Assist, Verdict::Blocked].map(verdict) {
                    for called in [&call(), &unknown] {
                        let answer = |purpose| {
                            let input = Digest::zero();
                            let (verdict, spend, input) = (&verdict, &spend, &input);
                            pass(&Question {
                                state: &state,
                                record,
                                called,
                                purpose,
                                input,
                                spend,
                                verdict,
                                governance,
                            })
                        };
                        let own = answer(Purpose::Run);
                        for beside in [answer(Purpose::Compensate), answer(Purpose::Probe)] {
                            match own {
                                Passage::Pass(_) => passed += 1,
                                Passage::Ask(_) | Passage::Deny(..) => {
                                    refused += 1;
                                    assert_eq!(beside, own, "{record:?} {verdict:?} {spend:?}");
                                }
                            }
                        }
                    }
                }
            }
        }
        assert!(refused > 100 && passed > 100, "{refused} {passed}");
    }

    #[test]
    fn one_gate_holds_whatever_the_call_is_for() {
        let governance = Governance::default();
        let record = |revoked_at, expires_at| RequesterKey::Known {
            key: crate::ports::Key { partition: String::new(), sort: String::new() },
            record: Box::new(crate::ApiKey {
                id: "k".into(),
                workspace: "acme".parse().unwrap(),
                actor: crate::access::actor(contracts::event::ActorKind::Agent, "a"),
                grants: BTreeSet::new(),
                created_at: Timestamp::from_ms(0),
                made_by: None,
                expires_at,
                revoked_at,
            }),
        };
        let at = Timestamp::from_ms;
        let cases = [
            (RequesterKey::None, None),
            (record(None, None), None),
            (record(None, Some(at(11))), None),
            (record(None, Some(at(10))), Some(BlockReason::RequesterRevoked)),
            (record(Some(at(3)), None), Some(BlockReason::RequesterRevoked)),
            (RequesterKey::Gone { id: "k".into() }, Some(BlockReason::RequesterRevoked)),
        ];
        for (key, wanted) in cases {
            let found = standing(&Standing {
                governance: &governance,
                key: &key,
                operation: "shop/pay",
                actor: "a",
                unusable: None,
                now: at(10),
            });
            assert_eq!(found.map(|(reason, _)| reason), wanted, "{key:?}");
        }
    }
}
