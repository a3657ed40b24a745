//! Backtests of a candidate policy set, and probes of its rules with extreme requests.

use crate::{
    judge::{Facts, PlanVerdict, StepVerdict, judge_calls},
    policy_set::CompiledPolicySet,
    request::{AuthzRequest, PlanSize, Principal, RequestContext},
};
use contracts::{
    ExecutionId, Issue, StepId,
    event::{Purpose, Requirement},
    governance::Meter,
    plan::Plan,
    query::BacktestChange,
    verdict::Verdict,
};
use cs_core::{execution::ballot, plan::call_of, skill::Registry, view::touched};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The part of a stored [`PlanVerdict`] that is read to evaluate it again: without the requests,
/// which are most of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastVerdict {
    pub facts: Facts,
    pub steps: Vec<PastStepVerdict>,
}

/// The stored verdict of a step.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastStepVerdict {
    pub step_id: StepId,
    #[serde(default)]
    pub purpose: Purpose,
    pub verdict: Verdict,
    #[serde(default)]
    pub approvers: Vec<Requirement>,
}

impl From<&PlanVerdict> for PastVerdict {
    fn from(verdict: &PlanVerdict) -> Self {
        let step = |step: &StepVerdict| PastStepVerdict {
            step_id: step.step_id.clone(),
            purpose: step.purpose,
            verdict: step.verdict,
            approvers: step.approvers.clone(),
        };
        Self { facts: verdict.facts.clone(), steps: verdict.steps.iter().map(step).collect() }
    }
}

/// The steps whose verdict, or who decides on them, would be another under a candidate set, on the
/// very facts of the stored verdict.
pub fn changes(
    execution: &ExecutionId,
    plan: &Plan,
    past: &PastVerdict,
    candidate: &CompiledPolicySet,
) -> Vec<BacktestChange> {
    let judged = |step| judge_calls(plan, step, &past.facts, candidate);
    let would = plan.steps.iter().flat_map(|step| judged(step).into_iter().map(move |v| (step, v)));
    let pairs = past.steps.iter().zip(would);
    pairs
        .filter(|(was, (_, would))| {
            was.verdict != would.verdict || asks_others(was, would).is_some()
        })
        .map(|(was, (step, would))| {
            let call = call_of(step, would.purpose);
            BacktestChange {
                execution_id: execution.clone(),
                step_id: was.step_id.clone(),
                was: was.verdict.into(),
                would: would.verdict.into(),
                purpose: (!would.purpose.is_run()).then(|| would.purpose.into()),
                operation: call.as_ref().map(|call| call.call.operation.clone()),
                actor_id: Some(past.facts.actor.id.clone()),
                actor_kind: Some(past.facts.actor.kind),
                touched: call.map(|call| touched(&call.radius)),
                reasons: asks_others(was, &would)
                    .into_iter()
                    .chain(would.reasons)
                    .chain(would.errors)
                    .collect(),
            }
        })
        .collect()
}

// Whom a step would ask for, where people decide before and after, and others than before.
fn asks_others(was: &PastStepVerdict, would: &StepVerdict) -> Option<String> {
    let wanted = |approvers: &[Requirement]| match approvers {
        [] => ballot::anybody(),
        named => ballot::greatest([named]),
    };
    let (before, after) = (wanted(&was.approvers), wanted(&would.approvers));
    let people = was.verdict == Verdict::Assist && would.verdict == Verdict::Assist;
    (people && before != after).then(|| {
        format!("it asks for {}, and asked for {}", ballot::words(&after), ballot::words(&before))
    })
}

/// Integers at the ends of what requests may hold, where arithmetic in a rule would overflow.
const INTEGERS: [i64; 3] = [(1 << 53) - 1, 0, -((1 << 53) - 1)];

/// Finds rules that fail on a possible request: each operation is evaluated with the least and the
/// greatest integers that its input may hold. A rule that errs would block every request that it
/// applies to.
pub fn probe(
    policy_set: &CompiledPolicySet,
    registry: &Registry,
    meters: &[Meter],
    facts: &Facts,
) -> Vec<Issue> {
    let mut found = BTreeSet::new();
    let (hour, weekday) = policy_set.hour_and_weekday(facts.at);
    for skill in registry.skills() {
        for (name, operation) in skill.operations() {
            for (integer, mode) in
                INTEGERS.into_iter().flat_map(|n| [(n, "autonomous"), (n, "assist")])
            {
                let request = AuthzRequest {
                    principal: Principal {
                        id: facts.actor.id.clone(),
                        kind: "agent".into(),
                        grants: facts.grants.clone(),
                    },
                    action: format!("{}/{name}", skill.manifest().skill.key),
                    resource: String::new(),
                    context: RequestContext {
                        mode: mode.into(),
                        tier: operation.spec.risk_tier.to_string(),
                        effect: operation.spec.effect.to_string(),
                        hour,
                        weekday: weekday.into(),
                        labels: BTreeSet::new(),
                        taint: BTreeSet::new(),
                        signals: BTreeSet::new(),
                        unresolved: BTreeSet::new(),
                        input: sample(operation.input.source(), integer, 0),
                        plan: PlanSize {
                            writes: integer,
                            steps: integer,
                            recipients: integer,
                            money: cs_core::currency::codes()
                                .map(|code| (code.to_owned(), integer))
                                .collect(),
                            open: true,
                            unmeasured: true,
                        },
                        usage: meters
                            .iter()
                            .map(|meter| (meter.id.clone(), integer))
                            .collect::<BTreeMap<_, _>>(),
                        channel: Some(String::new()),
                        confidence_bps: Some(10_000),
                    },
                };
                found.extend(policy_set.authorize(&request).errors.iter().cloned());
            }
        }
    }
    found.into_iter().map(|error| Issue::coded("POLICY_ERRORS", "/policies", error)).collect()
}

const DEPTH_MAX: usize = 8;

// A value that a schema may accept, with every property it names.
fn sample(schema: &Value, integer: i64, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("integer") => integer.into(),
        Some("boolean") => true.into(),
        Some("string") => {
            let known =
                schema.get("enum").and_then(Value::as_array).and_then(|values| values.first());
            known.cloned().unwrap_or_else(|| "".into())
        }
        Some("array") => schema
            .get("items")
            .map(|items| vec![sample(items, integer, depth + 1)])
            .unwrap_or_default()
            .into(),
        Some("object") => {
            let properties =
                schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            let values =
                properties.map(|(name, inner)| (name.clone(), sample(inner, integer, depth + 1)));
            Value::Object(values.collect::<Map<_, _>>())
        }
        _ => Value::Null,
    }
}
