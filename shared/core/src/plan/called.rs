//! The calls of a step: its own, its probe and its compensation, each in the form of a step, so
//! that one gate judges, measures and binds all three (INVARIANT one-gate).

use super::radius::{self, touches};
use crate::{seal::Seals, skill::CompiledOperation};
use contracts::{
    event::Purpose,
    json::escape,
    manifest::Operation,
    plan::{CallFacts, Plan, PlanStep, Radius, Taint, Wire},
};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// The call that a step makes for a purpose, in the form of a step: what is known of its input, the
/// wires that give the rest, and what it is judged on. `None`: the operation declares no such call.
pub fn call_of(step: &PlanStep, purpose: Purpose) -> Option<Cow<'_, PlanStep>> {
    let mut retry = &step.retry;
    let (call, facts, Known { input, wires, seals }) = match purpose {
        Purpose::Run => return Some(Cow::Borrowed(step)),
        Purpose::Probe => {
            let probe = step.probe.as_ref()?;
            // The idempotency key is derived from the execution; nothing else is sent.
            (&probe.call, &probe.facts, Known::default())
        }
        Purpose::Compensate => {
            let undo = step.compensate.as_ref()?;
            retry = undo.retry.as_ref().unwrap_or(retry);
            (&undo.call, &undo.facts, undo_input(step, &undo.input))
        }
    };
    Some(Cow::Owned(PlanStep {
        id: step.id.clone(),
        call: call.clone(),
        input: Value::Object(input),
        seals,
        after: Vec::new(),
        when: None,
        when_seals: BTreeMap::new(),
        wires,
        labels: facts.labels.clone(),
        taint: facts.taint.clone(),
        risk_tier: facts.risk_tier,
        required_grants: facts.required_grants.clone(),
        resource: facts.resource.clone(),
        radius: facts.radius.clone(),
        unknown: facts.unknown.clone(),
        compensate: None,
        probe: None,
        retry: retry.clone(),
    }))
}

/// The plan's radius with one call: a step is part of the plan's sum, a probe or a compensation is
/// added to it.
pub fn radius_with(plan: &Plan, called: &PlanStep, purpose: Purpose) -> Radius {
    match purpose {
        Purpose::Run => plan.radius.clone(),
        Purpose::Probe | Purpose::Compensate => super::sum(&plan.radius, &called.radius),
    }
}

/// What is known of an input before the run: null where a wire or a seal stands for a value.
#[derive(Default)]
pub(super) struct Known {
    pub(super) input: Map<String, Value>,
    pub(super) wires: Vec<Wire>,
    pub(super) seals: Seals,
}

// What is known of a compensation's input, and where the rest comes from: the step's own wires, and
// its output.
pub(super) fn undo_input(step: &PlanStep, mapping: &BTreeMap<String, String>) -> Known {
    let mut known = Known::default();
    for (field, pointer) in mapping {
        let to = format!("/{}", escape(field));
        if let Some(path) = pointer.strip_prefix("/output") {
            known.wires.push(Wire { to, from: step.id.clone(), path: path.to_owned() });
            known.input.insert(field.clone(), Value::Null);
            continue;
        }
        let from = pointer.strip_prefix("/input").unwrap_or(pointer);
        for wire in step.wires.iter().filter(|wire| touches(&wire.to, from)) {
            let (below, deeper) = (wire.to.strip_prefix(from), from.strip_prefix(wire.to.as_str()));
            known.wires.push(Wire {
                to: format!("{to}{}", below.unwrap_or_default()),
                from: wire.from.clone(),
                path: format!("{}{}", wire.path, deeper.unwrap_or_default()),
            });
        }
        for (place, seal) in step.seals.iter().filter(|(place, _)| touches(place, from)) {
            let below = place.strip_prefix(from).unwrap_or_default();
            known.seals.insert(format!("{to}{below}"), seal.clone());
        }
        let value = step.input.pointer(from).cloned();
        known.input.insert(field.clone(), value.unwrap_or_default());
    }
    known.wires.sort();
    known
}

/// The properties by which a probe or a compensation is judged. `carried`: labels that may reach
/// its input, each with the steps it came through.
pub(super) fn facts(
    operation: &CompiledOperation,
    known: &Known,
    carried: impl Iterator<Item = (String, Vec<contracts::StepId>)>,
) -> CallFacts {
    let spec = &operation.spec;
    let (mut labels, mut taint) = (BTreeSet::new(), Vec::new());
    for (label, path) in carried {
        let refused = operation.refuses.contains(&label);
        if refused || !operation.accepts_label(&label) {
            taint.push(Taint { label: label.clone(), path, refused });
        }
        labels.insert(label);
    }
    let mut radius = radius::of_draft(
        &Value::Object(known.input.clone()),
        &super::later(&known.wires, &known.seals),
        spec,
    );
    radius.data_classes =
        labels.iter().chain(spec.labels.iter().flat_map(|own| &own.output)).cloned().collect();
    CallFacts {
        labels,
        taint,
        risk_tier: spec.risk_tier,
        required_grants: spec
            .required_grants
            .iter()
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        resource: spec.resource.clone(),
        radius,
        unknown: unknown(spec, &known.wires),
    }
}

/// Pointers of amounts, currencies, recipients and targets whose values come from other steps.
pub(super) fn unknown(spec: &Operation, wires: &[Wire]) -> BTreeSet<String> {
    let radius = spec.blast_radius.as_ref();
    let money = radius.and_then(|radius| radius.money.as_ref());
    let decisive = [
        spec.resource.as_ref(),
        radius.and_then(|radius| radius.recipients.as_ref()),
        money.map(|money| &money.amount),
        money.map(|money| &money.currency).filter(|currency| currency.starts_with('/')),
    ];
    let waits = |pointer: &&String| wires.iter().any(|wire| touches(pointer, &wire.to));
    decisive.into_iter().flatten().filter(waits).cloned().collect()
}
