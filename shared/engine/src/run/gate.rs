//! The one gate: whether a call may happen, for a step's own effect, its probe and its
//! compensation, and so for retries and resolutions too, which come back here as claims.
//!
//! INVARIANT (one-gate): [`standing`] and [`pass`] are pure, and what they look at does not depend
//! on the purpose; the purpose only says what becomes of the step when the answer is no. What was
//! looked at (freezes, policy set, skill, key, budgets, meters, approval) is checked again in the
//! claim's transaction. INVARIANT (context-is-fresh): every claim is judged again, with its actual
//! input, the hour, the usage and the grants of this moment.

use crate::{
    Answer, Base, Governance, InForce, Mandates, Meters, Parts, Snapshot, Values, Verdicts, Views,
    evidence::views::{ActualCall, wanted},
    govern::requester::RequesterKey,
    run::call::{Mandated, Ready},
    run::mandate::{CoveredCall, Covering},
    run::meters::{self, Metering},
    run::values::{Outputs, Resolved},
};
use contracts::{
    Digest, Timestamp,
    event::{BlockReason, Purpose, Requirement, Reserved},
    id::ApprovalId,
    limits::APPROVAL_LIFE_MS_DEFAULT,
    plan::{PlanStep, Radius},
    verdict::Verdict,
};
use countersign_store::Write;
use cs_core::{
    execution::{About, Execution, Step, ballot},
    plan,
};
use policy::{CompiledPolicySet, Facts, Measured, StepVerdict};
use serde_json::Value;
use std::sync::Arc;
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
        write: Option<Box<Write>>,
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
    if record.reservation_for(*purpose).is_none()
        && let Some(over) = over_budget(question)
    {
        return Passage::Deny(BlockReason::BudgetExceeded, over);
    }
    if !asks {
        return Passage::Pass(None);
    }
    // What a claim consumed covers the same call once more, and what the plan led to from it with
    // values that were known.
    let consumed = match purpose {
        Purpose::Run => record.approval.is_some(),
        Purpose::Probe => record.approval.is_some() && called.unknown.is_empty(),
        Purpose::Compensate => {
            record.undo_approval.is_some()
                || (record.approval.is_some() && called.unknown.is_empty())
        }
    };
    if consumed {
        return Passage::Pass(None);
    }
    // What was given by fewer than the call asks for now is no approval of it.
    let wanted = asked_for(verdict);
    let given = state.grant_for_call(&called.id, *purpose, question.input);
    match given.filter(|given| ballot::covers(&given.requirement, &wanted)) {
        Some(grant) => Passage::Pass(Some(grant.id.clone())),
        None => Passage::Ask(reasons()),
    }
}

// Whom a call asks for. One that runs on its own is put before people by the run's mode alone.
fn asked_for(verdict: &StepVerdict) -> Vec<Requirement> {
    match verdict.verdict {
        Verdict::Assist => wanted(verdict),
        Verdict::Autonomous | Verdict::Blocked => Vec::new(),
    }
}

fn over_budget(question: &Question<'_>) -> Option<String> {
    let Question { state, called, spend, governance, .. } = question;
    let total = plan::sum(&state.spent, spend);
    let over = plan::exceeded(&total, governance.budgets.plan.as_ref());
    let over = over.map(|over| format!("{over} (the workspace's budget)"));
    state.over_budget(called, spend).or(over)
}

// What the plan does with this call, as far as it is known now: what was spent, this call, and what
// is still to come.
fn total_now(state: &Execution, record: &Step, purpose: Purpose, spend: &Radius) -> Radius {
    let planned = state.plan().map(|plan| &plan.plan().radius);
    let aside = |step: &Step| {
        step.undo_reservation.is_some()
            || step.probe_reservation.is_some()
            || !step.kept_reservations.is_empty()
    };
    if let Some(planned) = planned.filter(|planned| !planned.open && purpose.is_run())
        && !state.steps.iter().any(aside)
    {
        // Nothing comes later and nothing came on top: it is what was planned.
        return planned.clone();
    }
    let mut total = Radius { open: false, ..state.spent.clone() };
    for (place, step) in state.steps.iter().enumerate() {
        let own = purpose.is_run() && step.id == record.id;
        if step.reservation.is_none()
            && step.state.unstarted()
            && !own
            && let Some(coming) = state.planned(place)
        {
            plan::add(&mut total, &coming.radius);
        }
    }
    if record.reservation_for(purpose).is_none() {
        plan::add(&mut total, spend);
    }
    total
}

// Whether people decide about this very input: something decisive of it was unknown when the plan
// was judged, or policy asks only now, or asks for others than it did then.
fn about_input(state: &Execution, actual: &ActualCall<'_>) -> bool {
    let ActualCall { called, purpose, requirement, digest, .. } = actual;
    let foreseen = purpose.is_run() && called.unknown.is_empty() && state.foreseen(&called.id);
    let more = !ballot::covers(&state.requirement(Some(&called.id)), requirement);
    // An approval that is there and is not enough.
    let too_little = state.grant_for_call(&called.id, *purpose, digest).is_some();
    more || too_little || (!called.wires.is_empty() && !foreseen)
}

/// What may be called, and with what: the one gate to an effect.
pub struct Gate {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) mandates: Arc<Mandates>,
    pub(crate) values: Arc<Values>,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) views: Arc<Views>,
}

impl Gate {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            meters: parts.meters.clone(),
            mandates: parts.mandates.clone(),
            values: parts.values.clone(),
            verdicts: parts.verdicts.clone(),
            views: parts.views.clone(),
        }
    }

    // What speaks against using the skill that a call pins, now. The claim's transaction checks it
    // again.
    fn unusable(
        &self,
        state: &Execution,
        called: &PlanStep,
        snapshot: &Snapshot,
    ) -> Option<String> {
        let pin = state.plan()?.plan().skills.get(called.call.skill)?;
        let installed = snapshot.skill(&pin.key, &pin.version)?;
        let ended = crate::govern::trust::ended(installed.skill.manifest(), self.base.now());
        installed
            .against
            .clone()
            .or_else(|| ended.map(|end| format!("its signature ended at {end}")))
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
                let intent = self.views.intent(&state.workspace, &state.id).await?;
                let found = self.verdicts.facts(state, &intent).await?;
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
            now: self.base.now(),
        });
        if let Some((reason, message)) = waits {
            return Ok(Prepared::Block { reason, message: Some(message) });
        }
        let resolved = match self
            .values
            .resolve_input(state, planned, purpose, sight.snapshot, sight.outputs)
            .await?
        {
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
        let facts = self.facts_now(state, (record, purpose), (name, actor), facts, sight).await?;
        let Some(compiled) = state.plan() else {
            let message = "there is no plan".into();
            return Ok(Prepared::Refuse { code: "POLICY_BLOCKED", message });
        };
        let authority = self.in_force.authority(&state.workspace, sight.snapshot).await?;
        let total = total_now(state, record, purpose, &spend);
        let measured = Measured { radius: &spend, total: &total };
        let visible = sealed.visible();
        let known = (Some(&visible), measured);
        let verdict = policy::judge_call(compiled.plan(), called, known, &facts, &authority);
        let question = Question {
            state,
            record,
            called,
            purpose,
            input: &input,
            spend: &spend,
            verdict: &verdict,
            governance: sight.governance,
        };
        let mut covering = None;
        let approval = match pass(&question) {
            Passage::Pass(approval) => approval,
            Passage::Ask(message) => {
                let call = (known, sealed.seals.is_empty() && policy::is_plain(&visible));
                covering = self.covering(&question, call, (&facts, &authority), sight).await?;
                let requirement = match asked_for(&verdict) {
                    none if none.is_empty() => ballot::anybody(),
                    named => named,
                };
                let actual = ActualCall {
                    requirement: &requirement,
                    called,
                    purpose,
                    spec: &operation.spec,
                    input: &sealed,
                    digest: &input,
                    radius: &spend,
                    verdict: &verdict,
                };
                if covering.is_none() {
                    return self.ask(state, &actual, (&facts, &authority), message).await;
                }
                None
            }
            Passage::Deny(BlockReason::PolicyBlocked, message) => {
                return Ok(Prepared::Refuse { code: "POLICY_BLOCKED", message });
            }
            Passage::Deny(reason, message) => {
                return Ok(Prepared::Block { reason, message: Some(message) });
            }
        };
        let metering = &mut *sight.metering;
        let (reserved, mandate) = match self.reserve(&question, actor, covering, metering).await? {
            Ok(reserved) => reserved,
            Err(prepared) => return Ok(prepared),
        };
        Ok(Prepared::Call(Box::new(Ready {
            step: called.id.clone(),
            purpose,
            input_digest: input,
            approval,
            spend,
            reserved,
            mandate,
            words,
            input: opened,
            call,
            operation,
            own_operation,
        })))
    }

    // A mandate in place of people, for a step's own call: what undoes it, or asks about it, needs
    // people by itself.
    async fn covering(
        &self,
        question: &Question<'_>,
        (call, plain): ((Option<&Value>, Measured<'_>), bool),
        (facts, authority): (&Facts, &CompiledPolicySet),
        sight: &mut PrepareContext<'_>,
    ) -> Answer<Option<Covering>> {
        let Question { state, record, called, purpose, spend, verdict, .. } = *question;
        // What a person changed, another one decides.
        let own = purpose.is_run() && !state.was_edited(&called.id);
        let Some(plan) = state.plan().filter(|_| own) else {
            return Ok(None);
        };
        let request = policy::mandate_request(plan.plan(), called, call, facts, authority);
        let Some(request) = request else { return Ok(None) };
        let held = record.reservation_for(purpose);
        let call = CoveredCall { state, called, verdict, request, plain, spend, held };
        self.mandates.covering(call, &sight.snapshot.whole(), sight.metering).await
    }

    // What the claim reserves of the meters, and the mandate that it consumes.
    async fn reserve(
        &self,
        question: &Question<'_>,
        actor: &str,
        covering: Option<Covering>,
        metering: &mut Metering,
    ) -> Answer<Result<(Vec<Reserved>, Option<Mandated>), Prepared>> {
        let Question { state, record, called, purpose, spend, governance, .. } = *question;
        let mut reserved = Vec::new();
        if record.reservation_for(purpose).is_none() {
            let who = (called.call.operation.as_str(), actor);
            match self.meters.reserve(&state.workspace, governance, who, spend, metering) {
                Ok(of_meters) => reserved = of_meters,
                Err((reason, over)) => {
                    return Ok(Err(Prepared::Block { reason, message: Some(over) }));
                }
            }
        }
        let Some(mut covering) = covering else {
            return Ok(Ok((reserved, None)));
        };
        reserved.append(&mut covering.reserved);
        let check = covering.check.take();
        let (used, writes) = self.mandates.used_by(covering, state, called).await?;
        Ok(Ok((reserved, Some(Mandated { used, writes, check }))))
    }

    // What was used by now; its own reservation is no reason against its next attempt.
    async fn facts_now(
        &self,
        state: &Execution,
        (record, purpose): (&Step, Purpose),
        (name, actor): (&str, &str),
        facts: &Facts,
        sight: &mut PrepareContext<'_>,
    ) -> Answer<Facts> {
        let (governance, metering) = (sight.governance, &mut *sight.metering);
        let usage =
            self.meters.metered(&state.workspace, governance, [name], actor, metering).await?;
        let own = record.reservation_for(purpose);
        let own = own.map(|reservation| reservation.meters.as_slice()).unwrap_or_default();
        let (usage, at) = (meters::without(usage, own), self.base.now());
        Ok(Facts { usage, at, budget: None, ..facts.clone() })
    }

    // Asks people: about the step alone, or about what it would be sent, which they are shown.
    async fn ask(
        &self,
        state: &Execution,
        actual: &ActualCall<'_>,
        (facts, authority): (&Facts, &CompiledPolicySet),
        message: String,
    ) -> Answer<Prepared> {
        // Nobody is asked what nobody can answer.
        let (excluded, life_ms) = (state.excluded(), APPROVAL_LIFE_MS_DEFAULT);
        let (workspace, requirement) = (&state.workspace, actual.requirement);
        let unmet = self.in_force.unmet(workspace, requirement, &excluded, life_ms).await?;
        if !unmet.is_empty() {
            let (reason, message) = (BlockReason::PolicyBlocked, Some(unmet.join("; ")));
            return Ok(Prepared::Block { reason, message });
        }
        if !about_input(state, actual) {
            return Ok(Prepared::Ask { message, about: None, write: None });
        }
        let (view, write) = self.views.actual_view(state, actual, facts, authority).await?;
        let requirement = requirement.to_vec();
        let about = Some(About { input: actual.digest.clone(), view, requirement });
        Ok(Prepared::Ask { message, about, write: Some(Box::new(write)) })
    }
}

#[cfg(test)]
mod tests;
