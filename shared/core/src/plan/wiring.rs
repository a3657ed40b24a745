//! Wiring: where inputs take their values from, whether the types fit, and the values themselves
//! once they are there.

use super::{
    Resolved,
    diagnostics::Diagnostics,
    parse::{secrets_base, secrets_of},
};
use crate::{
    schema::within,
    schema_fit::{self, SchemaAt},
    seal::{Opened, RedactedError, Sealed, Secrets},
    skill::CompiledOperation,
    suggest::Suggestions,
};
use contracts::{
    Issue, StepId,
    draft::Condition,
    plan::{PlanStep, Wire},
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A reference or literal in a draft.
pub(super) enum Marker<'m> {
    /// `{"$from": step, "path": pointer}`
    From { step: StepId, path: String },
    /// `{"$literal": value}`
    Literal(&'m Value),
    /// `{"$input": pointer}`, in playbooks only.
    Input(&'m str),
}

/// The marker that an object of a draft is, if it is one.
pub(super) fn marker(
    map: &Map<String, Value>,
    playbook: bool,
) -> Result<Option<Marker<'_>>, Issue> {
    let Some(word) = map.keys().find(|key| key.starts_with('$')) else {
        return Ok(None);
    };
    match word.as_str() {
        "$from" => wire(map).map(Some).map_err(|message| Issue::coded("BAD_WIRE", "", message)),
        "$literal" if map.len() == 1 => Ok(map.get("$literal").map(Marker::Literal)),
        "$input" if playbook && map.len() == 1 => match map.get("$input") {
            Some(Value::String(pointer)) => Ok(Some(Marker::Input(pointer))),
            Some(_) | None => {
                Err(Issue::coded("BAD_MARKER", "", "`$input` is a JSON pointer into the inputs"))
            }
        },
        other => {
            let message = format!(
                "`{other}` is not a marker of a draft; `$from` takes a value, `$literal` keeps one \
                 as it is"
            );
            Err(Issue::coded("BAD_MARKER", "", message))
        }
    }
}

fn wire(map: &Map<String, Value>) -> Result<Marker<'_>, String> {
    let path = map.get("path").map_or(Some(""), Value::as_str).ok_or("`path` is a JSON pointer")?;
    if map.keys().any(|key| key != "$from" && key != "path") {
        return Err("a wire has `$from` and `path` and nothing else".into());
    }
    if !(path.is_empty() || path.starts_with('/')) {
        return Err("`path` is not a JSON pointer: it is empty or begins with `/`".into());
    }
    let from = map.get("$from").and_then(Value::as_str).ok_or("`$from` is the id of a step")?;
    let step: StepId = from.parse().map_err(|_| "`$from` is not the id of a step")?;
    Ok(Marker::From { step, path: path.to_owned() })
}

/// Checks the literals of an input against its schema, except where values are wired or sealed.
pub(super) fn check_input(step: &Resolved<'_>, base: &str, issues: &mut Diagnostics) {
    let schema = &step.operation.input;
    let holes = step.wires.iter().map(|wire| &wire.to).chain(step.draft.seals.keys());
    let holes: BTreeSet<&str> = holes.map(String::as_str).collect();
    if holes.contains("") {
        return;
    }
    issues.extend(schema.issues(&step.draft.input, &holes, base));
    // INVARIANT (no-secrets-in-evidence): no plan holds a sensitive literal, whichever caller
    // compiled it.
    for place in schema.sensitive_in(&step.draft.input) {
        if !holes.iter().any(|hole| within(&place, hole)) {
            let message = "a sensitive value is not sealed: the skill changed since the draft \
                came; send it again";
            issues.push(Issue::coded("NOT_SEALED", format!("{base}{place}"), message));
        }
    }
}

/// Where a draft names an output: the step it is of, and the pointer into the draft.
pub(super) struct Place<'p> {
    pub(super) from: &'p StepId,
    pub(super) pointer: String,
}

/// Checks that a producer's output has the path; suggests the nearest name if it does not.
pub(super) fn check_path<'o>(
    path: &str,
    producer: &'o CompiledOperation,
    place: Place<'_>,
    suggestions: &mut Suggestions,
    issues: &mut Diagnostics,
) -> Option<&'o Value> {
    match producer.output.at(path) {
        SchemaAt::Schema(found) => Some(found),
        SchemaAt::Anything | SchemaAt::Unnamed(_) => None,
        SchemaAt::Nothing(names) => {
            let wanted = path.rsplit('/').next().unwrap_or_default();
            let near = suggestions.nearest(wanted, names.into_iter());
            let Place { from, pointer } = place;
            let message =
                format!("the output of `{from}` ({}) has no `{path}`{near}", producer.spec.key);
            issues.push(Issue::coded("UNKNOWN_PATH", pointer, message));
            None
        }
    }
}

/// Checks one wire: the producer's output has the path, the consumer's input has the pointer, and
/// the types are compatible.
pub(super) fn check_wire(
    wire: &Wire,
    (producer, consumer): (&CompiledOperation, &CompiledOperation),
    base: &str,
    suggestions: &mut Suggestions,
    issues: &mut Diagnostics,
) {
    let at = format!("{base}{}", wire.to);
    let place = Place { from: &wire.from, pointer: format!("{at}/path") };
    let given = check_path(&wire.path, producer, place, suggestions, issues);
    // A pointer that the input schema does not allow is reported by `check_input`, with its parent.
    if let (Some(given), SchemaAt::Schema(wanted)) = (given, consumer.input.at(&wire.to))
        && let Some(why) = schema_fit::mismatch(&producer.output, given, &consumer.input, wanted)
    {
        let message = format!("`{}` of `{}` {why}", wire.path, wire.from);
        issues.push(Issue::coded("TYPE_MISMATCH", at, message));
    } else if let SchemaAt::Nothing(names) = consumer.input.at(&wire.to)
        && !names.is_empty()
        && consumer.input.source().get("additionalProperties") != Some(&Value::Bool(false))
    {
        let wanted = wire.to.rsplit('/').next().unwrap_or_default();
        let near = suggestions.nearest(wanted, names.into_iter());
        let message = format!("the input has no `{}`{near}", wire.to);
        issues.push(Issue::coded("UNKNOWN_PATH", at, message));
    }
}

/// Why an input or a condition has no value.
#[derive(Debug, PartialEq, Eq)]
pub enum InputError {
    /// The output has no value there.
    Value(Wire),
    /// A sensitive value was redacted.
    Redacted,
}

impl From<RedactedError> for InputError {
    fn from(_: RedactedError) -> Self {
        Self::Redacted
    }
}

/// The input of a call in plain text, with the pointers of its sensitive values and the salts of
/// their sources.
#[derive(Debug, Default, PartialEq)]
pub struct Input {
    pub value: Value,
    pub sensitive: BTreeMap<String, Vec<String>>,
}

impl Input {
    /// Writes a part of an opened document at `to`, and records its sensitive pointers.
    fn put(&mut self, to: &str, from: &Opened, path: &str) -> Result<bool, RedactedError> {
        let Some(found) = from.at(path)? else { return Ok(false) };
        if let Some(place) = self.value.pointer_mut(to) {
            *place = found.clone();
        }
        for (place, salt) in from.carried(path, to) {
            self.sensitive.entry(place).or_default().push(salt);
        }
        Ok(true)
    }
}

/// The input of a step with its sealed literals and its wires replaced by values. `output` gives a
/// completed step's output, `literals` holds the secrets of the draft.
pub fn resolve<'o>(
    step: &PlanStep,
    literals: &Secrets,
    output: impl Fn(&StepId) -> Option<&'o Opened>,
) -> Result<Input, InputError> {
    let sealed = Sealed { value: step.input.clone(), seals: step.seals.clone() };
    let opened =
        sealed.open(&secrets_of(literals, &step.id, "input")).map_err(|_| RedactedError)?;
    opened.at("")?;
    let mut input = Input::default();
    input.put("", &opened, "")?;
    for wire in &step.wires {
        let there = match output(&wire.from) {
            Some(output) => input.put(&wire.to, output, &wire.path)?,
            None => false,
        };
        if !there {
            return Err(InputError::Value(wire.clone()));
        }
    }
    Ok(input)
}

/// The input of a compensation: fields from `{"input", "output"}` of the step that is compensated.
pub fn compensation_input(
    fields: &BTreeMap<String, String>,
    input: &Opened,
    output: Option<&Opened>,
) -> Result<Input, InputError> {
    let names = fields.keys().map(|name| (name.clone(), Value::Null)).collect();
    let mut built = Input { value: Value::Object(names), ..Input::default() };
    for (name, pointer) in fields {
        let to = crate::seal::member("", name);
        let there = match (pointer.strip_prefix("/input"), pointer.strip_prefix("/output"), output)
        {
            (Some(rest), _, _) => built.put(&to, input, rest)?,
            (None, Some(rest), Some(output)) => built.put(&to, output, rest)?,
            (None, _, _) => false,
        };
        if !there && let Some(map) = built.value.as_object_mut() {
            map.remove(name);
        }
    }
    Ok(built)
}

/// The input as far as it is known before the run, without wired and sealed values; and the
/// pointers of those.
pub fn known(step: &PlanStep) -> (Value, BTreeSet<String>) {
    let holes: BTreeSet<String> =
        step.wires.iter().map(|wire| &wire.to).chain(step.seals.keys()).cloned().collect();
    (crate::seal::without(step.input.clone(), holes.iter()), holes)
}

/// Whether a step's condition holds on an output; a step without one runs.
pub fn holds(
    step: &PlanStep,
    literals: &Secrets,
    output: Option<&Opened>,
) -> Result<bool, InputError> {
    let Some(condition) = &step.when else { return Ok(true) };
    let Condition { path, exists, .. } = condition;
    let found = match output {
        Some(output) => output.at(path)?,
        None => None,
    };
    let literal = |name: &str, value: &Option<Value>| -> Result<Option<Value>, RedactedError> {
        let Some(value) = value else { return Ok(None) };
        let within = |(place, seal): (&String, &contracts::Digest)| {
            let rest = place.strip_prefix(name)?;
            Some((rest.to_owned(), seal.clone()))
        };
        let sealed = Sealed {
            value: value.clone(),
            seals: step.when_seals.iter().filter_map(within).collect(),
        };
        let base = format!("{}{name}", secrets_base(&step.id, "when"));
        let secrets = literals
            .iter()
            .filter_map(|(place, secret)| {
                Some((place.strip_prefix(&base)?.to_owned(), secret.clone()))
            })
            .collect();
        let opened = sealed.open(&secrets).map_err(|_| RedactedError)?;
        opened.at("").map(|value| value.cloned())
    };
    let equals = literal("/equals", &condition.equals)?;
    let not_equals = literal("/notEquals", &condition.not_equals)?;
    Ok(match (&equals, &not_equals, exists) {
        (Some(wanted), _, _) => found == Some(wanted),
        (_, Some(unwanted), _) => found != Some(unwanted),
        (_, _, Some(wanted)) => found.is_some() == *wanted,
        (None, None, None) => false,
    })
}
