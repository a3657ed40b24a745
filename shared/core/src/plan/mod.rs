//! The compiler: an untrusted draft and a registry snapshot become a typed, canonical plan, or a
//! list of everything that is wrong with it.
//!
//! INVARIANT (same-input-same-plan): no clock, randomness or map order comes into it. Steps are
//! ordered topologically with ties by id, and every collection in a plan is sorted.

mod called;
mod confidence;
mod diagnostics;
mod edit;
mod flow;
pub(crate) mod measure;
mod order;
mod parse;
mod radius;
pub mod wiring;

pub use called::{call_of, radius_with};
pub use edit::{Literals, literals_of};
pub(crate) use parse::{Inputs, parse_with};
pub use parse::{ParsedDraft, ParsedStep, parse};
pub use radius::resolved as resolved_radius;

use diagnostics::Diagnostics;
use wiring::Place;

use crate::{
    canonical::{self, CanonicalError},
    skill::{CompiledOperation, Registry, Skill},
    suggest::Suggestions,
};
use contracts::{
    Digest, Issue, PlanId, StepId,
    draft::{Budget, Draft},
    event::Purpose,
    json::escape,
    limits::{PLAN_DEPTH_MAX, PLAN_STEPS_MAX},
    plan::{Call, Plan, PlanCompensate, PlanProbe, PlanStep, Radius, SkillPin, Wire},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Form of the plan document this compiler writes.
pub const PLAN_VERSION: u32 = 1;

/// A plan and its digest, `sha256(JCS(plan))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    plan: Plan,
    digest: Digest,
}

impl Compiled {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
    /// Its id: the start of its digest.
    pub fn id(&self) -> PlanId {
        PlanId::from_bytes(self.digest.short())
    }
    /// A stored plan, whose digest is computed anew.
    pub fn from_stored(plan: Plan) -> Result<Self, CanonicalError> {
        let digest = canonical::digest(&plan)?;
        Ok(Self { plan, digest })
    }
}

/// Why a draft is not a plan.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The draft is wrong; every diagnostic found.
    #[error("the draft has {} faults", .0.len())]
    Diagnostics(Vec<Issue>),
    #[error(transparent)]
    NotCanonical(#[from] CanonicalError),
}

/// One draft step with what it resolved to. `index` is its place in the draft, for pointers.
struct Resolved<'a> {
    index: usize,
    draft: &'a ParsedStep,
    skill: &'a Arc<Skill>,
    operation: &'a Arc<CompiledOperation>,
    wires: &'a [Wire],
    after: BTreeSet<StepId>,
}

impl Resolved<'_> {
    fn at(&self, rest: &str) -> String {
        format!("/draft/steps/{}{rest}", self.index)
    }
}

/// Compiles a draft that holds no sensitive value; one that does is refused.
pub fn compile(draft: &Draft, registry: &Registry) -> Result<Compiled, CompileError> {
    compile_parsed(&parse(draft), registry)
}

/// Compiles a parsed and sealed draft.
pub fn compile_parsed(draft: &ParsedDraft, registry: &Registry) -> Result<Compiled, CompileError> {
    let mut issues = Diagnostics::default();
    let mut suggestions = Suggestions::default();
    check_form(draft, &mut issues);
    if draft.steps.len() > PLAN_STEPS_MAX {
        return Err(CompileError::Diagnostics(issues.into_issues()));
    }
    let steps = resolve(draft, registry, &mut suggestions, &mut issues);
    check_wiring(&steps, &mut suggestions, &mut issues);
    let order = order::canonical(&steps, &mut issues);
    let (Some(order), true) = (order, issues.is_empty()) else {
        return Err(CompileError::Diagnostics(issues.into_issues()));
    };
    let plan = build(draft, &order);
    check_budget(&plan, draft.budget.as_ref(), &mut issues);
    check_skill_budgets(&plan, &mut issues);
    if !issues.is_empty() {
        return Err(CompileError::Diagnostics(issues.into_issues()));
    }
    Ok(Compiled::from_stored(plan)?)
}

fn check_form(draft: &ParsedDraft, issues: &mut Diagnostics) {
    let mut issue = |code: &str, pointer: String, message: String| {
        issues.push(Issue::coded(code, pointer, message))
    };
    if draft.steps.is_empty() {
        issue("NO_STEPS", "/draft/steps".into(), "a draft has at least one step".into());
    }
    if draft.steps.len() > PLAN_STEPS_MAX {
        let message = format!("{} steps; a plan has at most {PLAN_STEPS_MAX}", draft.steps.len());
        return issue("TOO_MANY_STEPS", "/draft/steps".into(), message);
    }
    if draft.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
        issue(
            "BAD_CONFIDENCE",
            "/draft/confidence".into(),
            "a confidence is between 0 and 1".into(),
        );
    }
    issues.extend(draft.budget.iter().flat_map(|budget| check_currencies(budget, "/draft/budget")));
    let mut issue = |code: &str, pointer: String, message: String| {
        issues.push(Issue::coded(code, pointer, message))
    };
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, step) in draft.steps.iter().enumerate() {
        if let Some(first) = seen.insert(step.id.as_str(), index) {
            let message = format!("step `{}` stands already at /draft/steps/{first}", step.id);
            issue("DUPLICATE_STEP", format!("/draft/steps/{index}/id"), message);
        }
        if let Some(when) = &step.when {
            let tests = [when.equals.is_some(), when.not_equals.is_some(), when.exists.is_some()];
            if tests.iter().filter(|there| **there).count() != 1 {
                let message = "exactly one of `equals`, `notEquals` and `exists`".to_owned();
                issue("BAD_CONDITION", format!("/draft/steps/{index}/when"), message);
            }
        }
    }
}

fn resolve<'a>(
    draft: &'a ParsedDraft,
    registry: &'a Registry,
    suggestions: &mut Suggestions,
    issues: &mut Diagnostics,
) -> Vec<Resolved<'a>> {
    type Found<'r> = Result<(&'r Arc<Skill>, &'r Arc<CompiledOperation>), Issue>;
    let mut known: HashMap<&str, Found<'a>> = HashMap::new();
    let mut steps = Vec::with_capacity(draft.steps.len());
    for (index, step) in draft.steps.iter().enumerate() {
        let found = known.entry(&step.operation).or_insert_with(|| {
            let found = registry.resolve(&step.operation, suggestions);
            let (skill, name) = found.map_err(|why| Issue::coded(why.code, "", why.message))?;
            match skill.operation(name) {
                Some(operation) => Ok((skill, operation)),
                None => {
                    let near =
                        suggestions.nearest(name, skill.operations().keys().map(String::as_str));
                    let skill = &skill.manifest().skill;
                    let message = format!(
                        "`{}` {} has no operation `{name}`{near}",
                        skill.key, skill.version
                    );
                    Err(Issue::coded("UNKNOWN_OPERATION", "", message))
                }
            }
        });
        issues.extend(step.faults.iter().cloned());
        let wires = step.wires.as_slice();
        let mut after: BTreeSet<StepId> = step.after.iter().cloned().collect();
        after.extend(wires.iter().map(|wire| wire.from.clone()));
        after.extend(step.when.iter().map(|when| when.from.clone()));
        match found {
            Ok((skill, operation)) => {
                steps.push(Resolved { index, draft: step, skill, operation, wires, after })
            }
            Err(issue) => {
                issues
                    .push(Issue { pointer: format!("/draft/steps/{index}/use"), ..issue.clone() });
            }
        }
    }
    // Names are checked against the whole draft, so that an error in one step does not cause errors
    // in others.
    let ids: BTreeSet<&str> = draft.steps.iter().map(|step| step.id.as_str()).collect();
    for (index, step) in draft.steps.iter().enumerate() {
        let mut unknown = |id: &StepId, place: &str| {
            if !ids.contains(id.as_str()) {
                let near = suggestions.nearest(id.as_str(), ids.iter().copied());
                let message = format!("there is no step `{id}`{near}");
                issues.push(Issue::coded(
                    "UNKNOWN_STEP",
                    format!("/draft/steps/{index}{place}"),
                    message,
                ));
            }
        };
        for (place, id) in step.after.iter().enumerate() {
            unknown(id, &format!("/after/{place}"));
        }
        if let Some(when) = &step.when {
            unknown(&when.from, "/when/$from");
        }
        for wire in &step.wires {
            unknown(&wire.from, &format!("/with{}/$from", wire.to));
        }
    }
    steps
}

fn check_wiring(steps: &[Resolved<'_>], suggestions: &mut Suggestions, issues: &mut Diagnostics) {
    let by_id: HashMap<&str, &Resolved<'_>> =
        steps.iter().map(|step| (step.draft.id.as_str(), step)).collect();
    for step in steps {
        if issues.is_full() {
            return;
        }
        let base = step.at("/with");
        wiring::check_input(step, &base, issues);
        for wire in step.wires {
            if let Some(producer) = by_id.get(wire.from.as_str()) {
                let ends = (&**producer.operation, &**step.operation);
                wiring::check_wire(wire, ends, &base, suggestions, issues);
            }
        }
        if let Some(when) = &step.draft.when
            && let Some(producer) = by_id.get(when.from.as_str())
        {
            let place = Place { from: &when.from, pointer: step.at("/when/path") };
            wiring::check_path(&when.path, producer.operation, place, suggestions, issues);
        }
    }
}

/// Pointers of an input whose values are unknown when the plan is compiled, or sealed.
fn later<'p>(wires: &'p [Wire], seals: &'p crate::seal::Seals) -> Vec<&'p String> {
    wires.iter().map(|wire| &wire.to).chain(seals.keys()).collect()
}

fn build(draft: &ParsedDraft, order: &[&Resolved<'_>]) -> Plan {
    let skills: BTreeSet<SkillPin> = order.iter().map(|step| pin(step.skill)).collect();
    let skills: Vec<SkillPin> = skills.into_iter().collect();
    let flow = flow::propagate(order);
    let mut total = Radius::default();
    let mut steps = Vec::with_capacity(order.len());
    for (step, flow) in order.iter().zip(flow) {
        let spec = &step.operation.spec;
        let skill = place_of(step.skill, &skills);
        let own_labels = || spec.labels.iter().flat_map(|labels| &labels.output);
        let mut radius =
            radius::of_draft(&step.draft.input, &later(step.wires, &step.draft.seals), spec);
        radius.data_classes = flow.labels.iter().chain(own_labels()).cloned().collect();
        radius::add(&mut total, &radius);
        let mut planned = PlanStep {
            id: step.draft.id.clone(),
            call: call(step.skill, step.operation, skill),
            input: step.draft.input.clone(),
            seals: step.draft.seals.clone(),
            after: step.after.iter().cloned().collect(),
            when: step.draft.when.clone(),
            when_seals: step.draft.when_seals.clone(),
            wires: step.wires.to_vec(),
            labels: flow.labels,
            taint: flow.taint,
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
            unknown: called::unknown(spec, step.wires),
            compensate: None,
            probe: None,
            retry: step.operation.retry.clone(),
        };
        add_siblings(&mut planned, step, skill);
        steps.push(planned);
    }
    Plan {
        plan_version: PLAN_VERSION,
        steps,
        skills,
        radius: total,
        budget: draft.budget.clone(),
        confidence_bps: draft.confidence.map(confidence::floor_bps),
        on_failure: draft.on_failure,
    }
}

// Its place among the pins, which are sorted: by key and version first, of which there is one each.
fn place_of(skill: &Skill, pins: &[SkillPin]) -> usize {
    let named = &skill.manifest().skill;
    pins.iter()
        .position(|pin| pin.key == named.key && pin.version == named.version)
        .unwrap_or_default()
}

// The probe and the compensation of a step, with what they are judged on. INVARIANT (one-gate).
fn add_siblings(planned: &mut PlanStep, step: &Resolved<'_>, skill: usize) {
    let spec = &step.operation.spec;
    if let Some(operation) = spec.probe.as_deref().and_then(|key| step.skill.operation(key)) {
        let facts = called::facts(operation, &called::Known::default(), std::iter::empty());
        planned.probe = Some(PlanProbe { call: call(step.skill, operation, skill), facts });
    }
    let Some(undo) = &spec.compensate else { return };
    let Some(operation) = step.skill.operation(&undo.operation) else { return };
    let known = called::undo_input(planned, &undo.input);
    // Labels of the step's input and of its output may reach its compensation.
    let reads_output = known.wires.iter().any(|wire| wire.from == planned.id);
    let given = spec.labels.iter().flat_map(|labels| &labels.output).filter(|_| reads_output);
    let carried: BTreeSet<&String> = planned.labels.iter().chain(given).collect();
    let carried = carried.into_iter().map(|label| (label.clone(), vec![planned.id.clone()]));
    let facts = called::facts(operation, &known, carried);
    let call = call(step.skill, operation, skill);
    let retry = Some(&operation.retry).filter(|retry| **retry != planned.retry).cloned();
    planned.compensate = Some(PlanCompensate { call, facts, input: undo.input.clone(), retry });
}

/// Currencies of a budget that do not exist, or are not written in capitals.
pub fn check_currencies(budget: &Budget, at: &str) -> Vec<Issue> {
    let codes = budget.money.iter().flat_map(BTreeMap::keys);
    codes
        .filter_map(|code| {
            let why = crate::currency::fault(code)?;
            Some(Issue::coded("UNKNOWN_CURRENCY", format!("{at}/money/{}", escape(code)), why))
        })
        .collect()
}

fn pin(skill: &Skill) -> SkillPin {
    SkillPin {
        key: skill.manifest().skill.key.clone(),
        version: skill.manifest().skill.version.clone(),
        manifest_digest: skill.digest().clone(),
        budget: skill.manifest().budget.clone(),
    }
}

fn call(skill: &Skill, operation: &CompiledOperation, index: usize) -> Call {
    Call {
        operation: format!("{}/{}", skill.manifest().skill.key, operation.spec.key),
        skill: index,
        effect: operation.spec.effect,
        input_schema_digest: operation.input.digest().clone(),
        output_schema_digest: operation.output.digest().clone(),
        timeout_seconds: operation.spec.timeout_seconds,
        binding: operation.spec.binding.clone(),
    }
}

// The plan's blast radius, also with each compensation: a compensation that exceeds the budget is
// refused now.
fn check_budget(plan: &Plan, budget: Option<&Budget>, issues: &mut Diagnostics) {
    let Some(budget) = budget else { return };
    let place = |kind: &str| {
        format!("/draft/budget/{}", kind.split('/').map(escape).collect::<Vec<_>>().join("/"))
    };
    if let Some(excess) = radius::excess(&plan.radius, budget) {
        let message = format!("the plan needs more than its budget has: {excess}");
        issues.push(Issue::coded("BUDGET_EXCEEDED", place(&excess.kind), message));
        return;
    }
    for step in &plan.steps {
        let undo = call_of(step, Purpose::Compensate);
        let with = undo.map(|undo| radius_with(plan, &undo, Purpose::Compensate));
        if let Some(excess) = with.and_then(|with| radius::excess(&with, budget)) {
            let message = format!(
                "undoing `{}` would need more than the plan's budget has: {excess}",
                step.id
            );
            issues.push(Issue::coded("BUDGET_EXCEEDED", place(&excess.kind), message));
            return;
        }
    }
}

fn check_skill_budgets(plan: &Plan, issues: &mut Diagnostics) {
    for (index, pin) in plan.skills.iter().enumerate() {
        let own = || plan.steps.iter().filter(|step| step.call.skill == index);
        let total = own().fold(Radius::default(), |total, step| sum(&total, &step.radius));
        let undos = own().filter_map(|step| call_of(step, Purpose::Compensate));
        let undone = undos.map(|undo| sum(&total, &undo.radius));
        let over = std::iter::once(total.clone())
            .chain(undone)
            .find_map(|all| exceeded(&all, pin.budget.as_ref()));
        if let Some(over) = over {
            let message = format!(
                "the plan exceeds what `{}` {} lets one plan touch: {over}",
                pin.key, pin.version
            );
            issues.push(Issue::coded("BUDGET_EXCEEDED", "/draft/steps", message));
        }
    }
}

/// The first part of a budget that `total` exceeds, if any.
pub fn exceeded(total: &Radius, budget: Option<&Budget>) -> Option<String> {
    Some(radius::excess(total, budget?)?.to_string())
}

/// Adds `more` to `total`.
pub fn add(total: &mut Radius, more: &Radius) {
    radius::add(total, more);
}

/// `total` and `more`, added up.
pub fn sum(total: &Radius, more: &Radius) -> Radius {
    let mut both = total.clone();
    radius::add(&mut both, more);
    both
}

/// The depth limit, for messages.
pub(crate) const DEPTH_MAX: usize = PLAN_DEPTH_MAX;

/// Index of every step by its id.
pub fn index(plan: &Plan) -> BTreeMap<StepId, usize> {
    plan.steps.iter().enumerate().map(|(index, step)| (step.id.clone(), index)).collect()
}
