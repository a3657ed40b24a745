//! Views: what people are shown when they decide, derived from the intent, the plan, the verdict
//! and, for one step, its actual input.
//!
//! INVARIANT (seen-is-signed): a decision names the digest of this document, and every channel
//! shows the same [`lines`] of it. It is a pure function of stored documents, so that it can be
//! made again and compared at any time.

mod inputs;
mod lines;

pub use lines::lines;

use crate::{
    canonical::{self, CanonicalError},
    currency,
    plan::{Compiled, call_of},
    seal::Sealed,
};
use contracts::{
    Digest, ExecutionId, StepId,
    draft::Budget,
    event::{Actor, Purpose, Requirement},
    limits::{
        VIEW_ENTRIES_MAX, VIEW_GOAL_CHARACTERS_MAX, VIEW_INPUTS_MAX, VIEW_STEP_INPUTS_MAX,
        VIEW_STEPS_MAX, VIEW_VALUE_CHARACTERS_MAX,
    },
    manifest::Operation,
    plan::{Call, PlanStep, Radius, RadiusKind, Taint},
    verdict::{RiskTier, Verdict},
    view::{
        Excerpt, Requester, Touched, View, ViewCall, ViewCondition, ViewMoney, ViewRule, ViewStep,
        ViewTaint,
    },
};
use inputs::Input;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Form of the document.
const VIEW_VERSION: u32 = 1;

/// The digest that a decision names.
pub fn digest(view: &View) -> Result<Digest, CanonicalError> {
    canonical::digest(view)
}

/// What is decided on.
pub struct Subject<'s> {
    pub execution: &'s ExecutionId,
    pub intent: Intent<'s>,
    pub plan: &'s Compiled,
    pub ruled: PlanVerdictView<'s>,
    /// The verdict of each call of the plan.
    pub calls: &'s Calls,
    /// The manifest of a pinned call.
    pub operation: &'s dyn Fn(&Call) -> Option<&'s Operation>,
}

/// Verdicts by step and call.
pub type Calls = BTreeMap<(StepId, Purpose), StepVerdictView>;

/// The intent and its requester.
pub struct Intent<'s> {
    pub text: &'s str,
    pub digest: &'s Digest,
    pub actor: &'s Actor,
    pub key_id: Option<&'s str>,
    pub on_behalf_of: Option<&'s str>,
    pub channel_key: Option<&'s str>,
}

/// The verdict on the whole plan.
pub struct PlanVerdictView<'s> {
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    pub policy_version: &'s str,
    pub policy_digest: &'s Digest,
    pub signals: Vec<String>,
    pub budget: Option<&'s Budget>,
    /// Whom the plan asks for.
    pub requirement: Vec<Requirement>,
}

/// The verdict on one step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepVerdictView {
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    pub reasons: Vec<String>,
    pub rules: Vec<DecidingRule>,
    /// Whom they ask for; empty: anybody who decides.
    pub requirement: Vec<Requirement>,
}

/// A rule that determined a verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct DecidingRule {
    pub id: String,
    pub effect: String,
    pub reason: Option<String>,
}

/// A call with its input as it would be sent.
pub struct Actual<'s> {
    /// In the form of a step ([`call_of`]).
    pub called: &'s PlanStep,
    pub purpose: Purpose,
    pub input: &'s Sealed,
    pub digest: &'s Digest,
    pub radius: &'s Radius,
    pub judged: &'s StepVerdictView,
    /// Whom it asks for.
    pub requirement: Vec<Requirement>,
}

/// A view cannot be made: the manifest of a pinned operation is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest of `{operation}` is not at hand")]
pub struct ManifestMissingError {
    pub operation: String,
}

/// The view of a whole plan, as far as it is known before it runs.
pub fn of_plan(subject: &Subject<'_>) -> Result<View, ManifestMissingError> {
    let planned = &subject.plan.plan().steps;
    let for_people = |index: &usize| {
        let judged = planned
            .get(*index)
            .and_then(|step| subject.calls.get(&(step.id.clone(), Purpose::Run)));
        judged.is_none_or(|judged| judged.verdict != Verdict::Autonomous)
    };
    let (people, others): (Vec<usize>, Vec<usize>) = (0..planned.len()).partition(for_people);
    let chosen: BTreeSet<usize> =
        people.iter().chain(&others).take(VIEW_STEPS_MAX).copied().collect();
    let mut room = VIEW_INPUTS_MAX;
    let mut steps = Vec::with_capacity(chosen.len());
    for index in &chosen {
        if let Some(step) = planned.get(*index) {
            steps.push(of_step(subject, *index, step, &mut room)?);
        }
    }
    let hidden_people = people.iter().filter(|index| !chosen.contains(index)).count();
    Ok(View {
        touches: touched(&subject.plan.plan().radius),
        omitted_steps: count(planned.len() - chosen.len()),
        omitted_steps_for_people: count(hidden_people),
        steps,
        ..head(subject)
    })
}

fn of_step(
    subject: &Subject<'_>,
    index: usize,
    step: &PlanStep,
    room: &mut usize,
) -> Result<ViewStep, ManifestMissingError> {
    let mut show = |purpose: Purpose| -> Result<Option<ViewCall>, ManifestMissingError> {
        let Some(called) = call_of(step, purpose) else {
            return Ok(None);
        };
        let judged = subject.calls.get(&(step.id.clone(), purpose));
        of_call(subject, &called, (&Input::planned(&called), &called.radius), judged, room)
            .map(Some)
    };
    let own = show(Purpose::Run)?.ok_or_else(|| missing(&step.call))?;
    Ok(ViewStep {
        step_id: step.id.clone(),
        position: count(index + 1),
        call: own,
        condition: condition(step),
        compensation: show(Purpose::Compensate)?.map(Box::new),
        probe: show(Purpose::Probe)?.map(Box::new),
    })
}

/// The view of one call of a step with its actual input.
pub fn of_actual(subject: &Subject<'_>, actual: &Actual<'_>) -> Result<View, ManifestMissingError> {
    let (called, input) = (actual.called, Input::actual(actual.input));
    let mut room = VIEW_STEP_INPUTS_MAX;
    let judged = Some(actual.judged);
    let mut call = of_call(subject, called, (&input, actual.radius), judged, &mut room)?;
    // The whole view asks for the same.
    call.requirement.clear();
    let position =
        subject.plan.plan().steps.iter().position(|step| step.id == called.id).unwrap_or_default();
    let step = ViewStep {
        step_id: called.id.clone(),
        position: count(position + 1),
        call,
        condition: condition(called),
        compensation: None,
        probe: None,
    };
    Ok(View {
        step_id: Some(called.id.clone()),
        purpose: actual.purpose,
        input_digest: Some(actual.digest.clone()),
        verdict: actual.judged.verdict,
        risk_tier: actual.judged.risk_tier,
        requirement: actual.requirement.clone(),
        touches: touched(actual.radius),
        steps: vec![step],
        ..head(subject)
    })
}

fn missing(call: &Call) -> ManifestMissingError {
    ManifestMissingError { operation: call.operation.clone() }
}

fn head(subject: &Subject<'_>) -> View {
    let (intent, ruled, plan) = (&subject.intent, &subject.ruled, subject.plan.plan());
    View {
        view_version: VIEW_VERSION,
        execution_id: subject.execution.clone(),
        step_id: None,
        purpose: Purpose::Run,
        goal: excerpt_to(intent.text, VIEW_GOAL_CHARACTERS_MAX),
        requester: Requester {
            actor: intent.actor.clone(),
            key_id: intent.key_id.map(str::to_owned),
            on_behalf_of: intent.on_behalf_of.map(str::to_owned),
            channel_key: intent.channel_key.map(str::to_owned),
        },
        plan_digest: subject.plan.digest().clone(),
        intent_digest: intent.digest.clone(),
        input_digest: None,
        policy_version: ruled.policy_version.to_owned(),
        policy_digest: ruled.policy_digest.clone(),
        verdict: ruled.verdict,
        risk_tier: ruled.risk_tier,
        signals: ruled.signals.clone(),
        confidence_bps: plan.confidence_bps,
        requirement: ruled.requirement.clone(),
        touches: Touched::default(),
        budget: plan.budget.clone(),
        workspace_budget: ruled.budget.cloned(),
        on_failure: plan.on_failure,
        step_count: count(plan.steps.len()),
        steps: Vec::new(),
        omitted_steps: 0,
        omitted_steps_for_people: 0,
    }
}

fn of_call(
    subject: &Subject<'_>,
    called: &PlanStep,
    (input, radius): (&Input<'_>, &Radius),
    judged: Option<&StepVerdictView>,
    room: &mut usize,
) -> Result<ViewCall, ManifestMissingError> {
    let operation = (subject.operation)(&called.call).ok_or_else(|| missing(&called.call))?;
    let declared = operation.blast_radius.as_ref();
    let (inputs, omitted_inputs) = input.rows((*room).min(VIEW_STEP_INPUTS_MAX));
    *room -= inputs.len();
    let recipients = declared.and_then(|radius| radius.recipients.as_deref());
    let (recipients, omitted_recipients) =
        recipients.map_or((Vec::new(), 0), |pointer| input.leaves(pointer));
    // Fail closed: a call without a verdict is one that needs people.
    let verdict = judged.map_or(Verdict::Blocked, |judged| judged.verdict);
    let explained = judged.filter(|judged| judged.verdict != Verdict::Autonomous);
    Ok(ViewCall {
        operation: called.call.operation.clone(),
        title: excerpt(&operation.title),
        effect: called.call.effect,
        verdict,
        risk_tier: judged.map_or(called.risk_tier, |judged| judged.risk_tier),
        target: called.resource.as_deref().and_then(|pointer| input.at(pointer)),
        touches: touched(radius),
        recipients,
        omitted_recipients,
        inputs,
        omitted_inputs,
        unknown: input.unknown(called.resource.as_deref(), declared),
        reasons: explained
            .map_or_else(Vec::new, |judged| firsts(&judged.reasons, |reason| excerpt(reason))),
        requirement: explained
            .map(|judged| judged.requirement.clone())
            .filter(|own| *own != subject.ruled.requirement)
            .unwrap_or_default(),
        rules: explained.map_or_else(Vec::new, |judged| firsts(&judged.rules, rule)),
        taint: firsts(&called.taint, taint),
    })
}

fn firsts<T, R>(items: &[T], shown: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().take(VIEW_ENTRIES_MAX).map(shown).collect()
}

fn rule(rule: &DecidingRule) -> ViewRule {
    ViewRule {
        id: excerpt(&rule.id),
        effect: rule.effect.clone(),
        reason: rule.reason.as_deref().filter(|reason| !reason.is_empty()).map(excerpt),
    }
}

fn taint(taint: &Taint) -> ViewTaint {
    ViewTaint {
        label: excerpt(&taint.label),
        path: taint.path.iter().take(VIEW_ENTRIES_MAX).cloned().collect(),
        omitted_steps: count(taint.path.len().saturating_sub(VIEW_ENTRIES_MAX)),
    }
}

fn condition(step: &PlanStep) -> Option<ViewCondition> {
    let when = step.when.as_ref()?;
    let tests = [("equals", &when.equals), ("notEquals", &when.not_equals)];
    let value = |value: &Value| {
        if step.when_seals.is_empty() { value.to_string() } else { "(sealed)".to_owned() }
    };
    let test = tests
        .into_iter()
        .find_map(|(name, tested)| Some(format!("{name} {}", value(tested.as_ref()?))));
    let exists = || format!("exists {}", when.exists.unwrap_or(false));
    let test = excerpt(&test.unwrap_or_else(exists));
    Some(ViewCondition { from: when.from.clone(), path: excerpt(&when.path), test })
}

/// What a radius says, as people read it.
pub fn touched(radius: &Radius) -> Touched {
    Touched {
        writes: radius.writes,
        money: money(&radius.money),
        recipients: radius.recipients,
        unmeasured: unmeasured(radius),
        data_classes: radius.data_classes.iter().cloned().collect(),
    }
}

/// Amounts of minor units by currency, as people read them.
pub fn money(minor: &BTreeMap<String, u64>) -> Vec<ViewMoney> {
    let shown = |(currency, minor): (&String, &u64)| ViewMoney {
        currency: currency.clone(),
        minor: *minor,
        amount: currency::major(*minor, currency),
    };
    minor.iter().map(shown).collect()
}

fn unmeasured(radius: &Radius) -> Vec<String> {
    let open = radius.open.then(|| "what depends on outputs".to_owned());
    open.into_iter().chain(radius.unmeasured.iter().copied().map(uncounted)).collect()
}

/// What is said of a kind that cannot be counted.
pub fn uncounted(kind: RadiusKind) -> String {
    format!("{kind}, which cannot be counted")
}

fn excerpt(text: &str) -> Excerpt {
    excerpt_to(text, VIEW_VALUE_CHARACTERS_MAX)
}

fn excerpt_to(text: &str, characters_max: usize) -> Excerpt {
    let shown: String = text.chars().take(characters_max).collect();
    let omitted = text.get(shown.len()..).map_or(0, |rest| rest.chars().count());
    Excerpt { text: shown, omitted_characters: count(omitted) }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
