//! Reads a draft. Its markers (`$from`, `$literal`, in playbooks `$input`) are resolved here, once,
//! into values, wires and the pointers of sensitive values. Afterwards nothing inside a value is a
//! marker (INVARIANT data-is-never-control).

use super::wiring::{self, Marker};
use crate::{
    canonical::CanonicalError,
    schema::within,
    seal::{self, Seals, Secrets},
    skill::{CompiledOperation, Registry},
    suggest::Suggestions,
};
use contracts::{
    Issue, StepId,
    draft::{Budget, Condition, Draft, DraftStep, OnFailure},
    json::escape,
    plan::Wire,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// A draft whose references are stored beside its values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParsedDraft {
    pub steps: Vec<ParsedStep>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// One step of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParsedStep {
    pub id: StepId,
    #[serde(rename = "use")]
    pub operation: String,
    /// Null where a value comes later (`wires`) or was sealed (`seals`).
    pub input: Value,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wires: Vec<Wire>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seals: Seals,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StepId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// By pointer into `when`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when_seals: Seals,
    /// Markers that could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Issue>,
    /// Places that a playbook's inputs make sensitive, whatever the operation says; until it is
    /// sealed.
    #[serde(skip)]
    sensitive: BTreeSet<String>,
}

/// The message for an unreadable marker in a sensitive value: it does not repeat the value.
const SENSITIVE_FAULT: &str = "a sensitive value has keys that begin with `$` and are no marker; \
    `$literal` keeps a value as it is";

/// The inputs of a playbook.
pub(crate) struct Inputs<'i> {
    pub(crate) value: &'i Value,
    pub(crate) sensitive: BTreeSet<String>,
}

/// Reads a draft.
pub fn parse(draft: &Draft) -> ParsedDraft {
    parse_with(draft, None)
}

/// Reads the draft of a playbook, with its inputs.
pub(crate) fn parse_with(draft: &Draft, inputs: Option<&Inputs<'_>>) -> ParsedDraft {
    let steps = draft
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| parse_step(index, step, inputs))
        .collect();
    ParsedDraft {
        steps,
        budget: draft.budget.clone(),
        confidence: draft.confidence,
        on_failure: draft.on_failure,
    }
}

fn parse_step(index: usize, step: &DraftStep, inputs: Option<&Inputs<'_>>) -> ParsedStep {
    let mut reader =
        Reader { base: format!("/draft/steps/{index}/with"), inputs, ..Reader::default() };
    let input = reader.members(&step.with, "");
    let Reader { mut wires, faults, sensitive, .. } = reader;
    wires.sort();
    ParsedStep {
        id: step.id.clone(),
        operation: step.operation.clone(),
        input: Value::Object(input),
        wires,
        seals: Seals::new(),
        after: step.after.clone(),
        when: step.when.clone(),
        when_seals: Seals::new(),
        faults,
        sensitive,
    }
}

#[derive(Default)]
struct Reader<'i> {
    base: String,
    inputs: Option<&'i Inputs<'i>>,
    wires: Vec<Wire>,
    faults: Vec<Issue>,
    sensitive: BTreeSet<String>,
}

impl Reader<'_> {
    // `None` for a playbook's input that was not given: its key is left out.
    fn value(&mut self, value: &Value, at: &str) -> Option<Value> {
        Some(match value {
            Value::Object(map) => match wiring::marker(map, self.inputs.is_some()) {
                Ok(None) => Value::Object(self.members(map, at)),
                Ok(Some(Marker::Literal(inner))) => inner.clone(),
                Ok(Some(Marker::From { step, path })) => {
                    self.wires.push(Wire { to: at.to_owned(), from: step, path });
                    Value::Null
                }
                Ok(Some(Marker::Input(pointer))) => return self.input(pointer, at),
                Err(issue) => {
                    // A marker that cannot be read is kept as a value: it may have to be sealed.
                    self.faults.push(Issue { pointer: format!("{}{at}", self.base), ..issue });
                    value.clone()
                }
            },
            Value::Array(items) => {
                let mut read = Vec::with_capacity(items.len());
                for item in items {
                    read.extend(self.value(item, &format!("{at}/{}", read.len())));
                }
                Value::Array(read)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        })
    }

    fn members(&mut self, map: &Map<String, Value>, at: &str) -> Map<String, Value> {
        let mut read = Map::new();
        for (key, inner) in map {
            if let Some(inner) = self.value(inner, &format!("{at}/{}", escape(key))) {
                read.insert(key.clone(), inner);
            }
        }
        read
    }

    fn input(&mut self, pointer: &str, at: &str) -> Option<Value> {
        let inputs = self.inputs?;
        let found = inputs.value.pointer(pointer)?;
        for place in &inputs.sensitive {
            if within(pointer, place) {
                self.sensitive.insert(at.to_owned());
            } else if within(place, pointer) {
                let rest = place.strip_prefix(pointer).unwrap_or_default();
                self.sensitive.insert(format!("{at}{rest}"));
            }
        }
        Some(found.clone())
    }
}

impl ParsedDraft {
    /// Takes the sensitive literals out of every step: those that the operation's input schema
    /// marks, those that came from a sensitive input of a playbook, and what a condition compares a
    /// sensitive output with. Of an operation that is not known everything is sensitive. The
    /// secrets are named `/steps/<id>/input` and `/steps/<id>/when` and the pointer of their place.
    pub fn seal(
        &mut self,
        registry: &Registry,
        salt: &mut dyn FnMut() -> String,
    ) -> Result<Secrets, CanonicalError> {
        let operation = |reference: &str| -> Option<Arc<CompiledOperation>> {
            let (skill, name) = registry.resolve(reference, &mut Suggestions::none()).ok()?;
            skill.operation(name).cloned()
        };
        let producers: HashMap<StepId, String> =
            self.steps.iter().map(|step| (step.id.clone(), step.operation.clone())).collect();
        let mut secrets = Secrets::new();
        let mut salt = |_: &str| salt();
        for (index, step) in self.steps.iter_mut().enumerate() {
            let mut places = std::mem::take(&mut step.sensitive);
            match operation(&step.operation) {
                Some(operation) => places.extend(operation.input.sensitive_in(&step.input)),
                None => places.extend([String::new()]),
            }
            // The message does not repeat the marker, which is part of the sensitive value.
            let base = format!("/draft/steps/{index}/with");
            for fault in &mut step.faults {
                let at = fault.pointer.strip_prefix(&base).unwrap_or_default();
                if let Some(place) = places.iter().find(|place| within(at, place)) {
                    (fault.pointer, fault.message) =
                        (format!("{base}{place}"), SENSITIVE_FAULT.to_owned());
                }
            }
            let (sealed, hidden) = seal::seal(std::mem::take(&mut step.input), &places, &mut salt)?;
            let base = secrets_base(&step.id, "input");
            secrets.extend(
                hidden.into_iter().map(|(place, secret)| (format!("{base}{place}"), secret)),
            );
            (step.input, step.seals) = (sealed.value, sealed.seals);
            let Some(when) = &mut step.when else { continue };
            let producer = producers.get(&when.from).map(|reference| operation(reference));
            for (name, literal) in
                [("/equals", &mut when.equals), ("/notEquals", &mut when.not_equals)]
            {
                let Some(found) = literal else { continue };
                let places = match &producer {
                    Some(Some(producer)) => producer.output.sensitive_below(&when.path, found),
                    Some(None) | None => BTreeSet::from([String::new()]),
                };
                let (sealed, hidden) = seal::seal(found.take(), &places, &mut salt)?;
                *found = sealed.value;
                let base = format!("{}{name}", secrets_base(&step.id, "when"));
                secrets.extend(
                    hidden.into_iter().map(|(place, secret)| (format!("{base}{place}"), secret)),
                );
                let seals =
                    sealed.seals.into_iter().map(|(place, seal)| (format!("{name}{place}"), seal));
                step.when_seals.extend(seals);
            }
        }
        Ok(secrets)
    }
}

/// The name under which the secrets of a step's `input` or `when` are stored.
pub fn secrets_base(step: &StepId, part: &str) -> String {
    format!("/steps/{step}/{part}")
}

/// The secrets of one part of a step, by the pointer of their place in it.
pub fn secrets_of(secrets: &Secrets, step: &StepId, part: &str) -> Secrets {
    let base = secrets_base(step, part);
    let of = |(name, secret): (&String, &seal::Secret)| {
        let place = name.strip_prefix(&base).filter(|_| within(name, &base))?;
        Some((place.to_owned(), secret.clone()))
    };
    secrets
        .range(base.clone()..)
        .take_while(|(name, _)| name.starts_with(&base))
        .filter_map(of)
        .collect()
}
