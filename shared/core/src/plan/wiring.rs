//! Wiring: where inputs take their values from, whether the types fit, and the values themselves once they are there.

use super::diagnostics::Diagnostics;
use crate::{
    schema::{self, Found},
    seal,
    skill::CompiledOperation,
    suggest::Suggestions,
};
use contracts::{
    Issue, StepId,
    draft::Condition,
    json::escape,
    plan::{PlanStep, Wire},
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Every `$from` in an input, sorted by place. Malformed markers become issues under `base`.
pub(crate) fn wires(with: &Map<String, Value>, base: &str, issues: &mut Diagnostics) -> Vec<Wire> {
    let mut wires = Vec::new();
    for (key, value) in with {
        collect(value, format!("/{}", escape(key)), base, &mut wires, issues);
    }
    wires.sort();
    wires
}

fn collect(value: &Value, at: String, base: &str, wires: &mut Vec<Wire>, issues: &mut Diagnostics) {
    match value {
        Value::Object(map) => {
            let Some(marker) = map.keys().find(|key| key.starts_with('$')) else {
                for (key, inner) in map {
                    collect(inner, format!("{at}/{}", escape(key)), base, wires, issues);
                }
                return;
            };
            match marker.as_str() {
                "$from" => match wire(map, &at) {
                    Ok(wire) => wires.push(wire),
                    Err(message) => issues.push(Issue::coded("BAD_WIRE", format!("{base}{at}"), message)),
                },
                "$literal" | seal::SEALED if map.len() == 1 => {}
                other => {
                    let message = format!(
                        "`{other}` is not a marker of a draft; `$from` takes a value, `$literal` keeps one as it is"
                    );
                    issues.push(Issue::coded("BAD_MARKER", format!("{base}{at}"), message));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{at}/{index}"), base, wires, issues);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn wire(map: &Map<String, Value>, at: &str) -> Result<Wire, String> {
    let path = map.get("path").map_or(Some(""), Value::as_str).ok_or("`path` is a JSON pointer")?;
    if map.keys().any(|key| key != "$from" && key != "path") {
        return Err("a wire has `$from` and `path` and nothing else".into());
    }
    if !(path.is_empty() || path.starts_with('/')) {
        return Err(format!("`{path}` is not a JSON pointer: it is empty or begins with `/`"));
    }
    let from = map.get("$from").and_then(Value::as_str).ok_or("`$from` is the id of a step")?;
    let from: StepId = from.parse().map_err(|error: contracts::id::Malformed| error.to_string())?;
    Ok(Wire { to: at.to_owned(), from, path: path.to_owned() })
}

/// Checks the literals of an input against its schema; places whose values come later are left out.
pub(super) fn check_input(
    with: &Map<String, Value>,
    wires: &[Wire],
    operation: &CompiledOperation,
    base: &str,
    issues: &mut Diagnostics,
) {
    let mut holes: BTreeSet<String> = wires.iter().map(|wire| wire.to.clone()).collect();
    let markers = !wires.is_empty() || with.values().any(has_marker);
    if !markers {
        issues.extend(operation.input.issues(&Value::Object(with.clone()), &BTreeSet::new(), base));
        return;
    }
    let mut instance = Map::new();
    for (key, value) in with {
        let at = format!("/{}", escape(key));
        instance.insert(key.clone(), literal(value, at, &mut holes));
    }
    let wired: BTreeSet<&str> = wires.iter().map(|wire| wire.to.as_str()).collect();
    for hole in &holes {
        if !wired.contains(hole.as_str()) && !operation.input.is_sensitive(hole) {
            let message = "`$sealed` stands only where the schema says `x-sensitive`";
            issues.push(Issue::coded("BAD_MARKER", format!("{base}{hole}"), message));
        }
    }
    let holes: BTreeSet<&str> = holes.iter().map(String::as_str).collect();
    issues.extend(operation.input.issues(&Value::Object(instance), &holes, base));
}

fn has_marker(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.keys().any(|key| key.starts_with('$')) || map.values().any(has_marker),
        Value::Array(items) => items.iter().any(has_marker),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

// The value with literals unwrapped and holes as null; sealed places join the holes.
fn literal(value: &Value, at: String, holes: &mut BTreeSet<String>) -> Value {
    match value {
        Value::Object(map) if map.contains_key("$from") => Value::Null,
        Value::Object(map) if seal::sealed(value).is_some() && map.len() == 1 => {
            holes.insert(at);
            Value::Null
        }
        Value::Object(map) => match map.get("$literal").filter(|_| map.len() == 1) {
            Some(inner) => inner.clone(),
            None => Value::Object(
                map.iter()
                    .map(|(key, inner)| (key.clone(), literal(inner, format!("{at}/{}", escape(key)), holes)))
                    .collect(),
            ),
        },
        Value::Array(items) => Value::Array(
            items.iter().enumerate().map(|(index, item)| literal(item, format!("{at}/{index}"), holes)).collect(),
        ),
        other => other.clone(),
    }
}

/// Where a draft names an output: the step it is of, and the pointer into the draft.
pub(super) struct Place<'p> {
    pub(super) from: &'p StepId,
    pub(super) pointer: String,
}

/// Checks that a producer's output has the path, with the nearest name where it has not.
pub(super) fn check_path<'o>(
    path: &str,
    producer: &'o CompiledOperation,
    place: Place<'_>,
    suggestions: &mut Suggestions,
    issues: &mut Diagnostics,
) -> Option<&'o Value> {
    match producer.output.at(path) {
        Found::Schema(found) => Some(found),
        Found::Anything => None,
        Found::Nothing(names) => {
            let wanted = path.rsplit('/').next().unwrap_or_default();
            let near = suggestions.nearest(wanted, names.into_iter());
            let Place { from, pointer } = place;
            let message = format!("the output of `{from}` ({}) has no `{path}`{near}", producer.spec.key);
            issues.push(Issue::coded("UNKNOWN_PATH", pointer, message));
            None
        }
    }
}

/// Checks one wire: the producer's output has the path, the consumer's input has the place, and the types fit.
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
    // A place the input schema does not allow is reported by `check_input`, where the hole is judged by its parent.
    if let (Some(given), Found::Schema(wanted)) = (given, consumer.input.at(&wire.to))
        && let Some(why) = schema::mismatch(&producer.output, given, &consumer.input, wanted)
    {
        let message = format!("`{}` of `{}` {why}", wire.path, wire.from);
        issues.push(Issue::coded("TYPE_MISMATCH", at, message));
    } else if let Found::Nothing(names) = consumer.input.at(&wire.to)
        && !names.is_empty()
        && consumer.input.source().get("additionalProperties") != Some(&Value::Bool(false))
    {
        let wanted = wire.to.rsplit('/').next().unwrap_or_default();
        let near = suggestions.nearest(wanted, names.into_iter());
        let message = format!("the input has no `{}`{near}", wire.to);
        issues.push(Issue::coded("UNKNOWN_PATH", at, message));
    }
}

/// The input of a step with its wires replaced by values. `output` gives a completed step's output.
/// `Err` names the wire whose value is not there.
pub fn resolve<'o>(step: &PlanStep, output: impl Fn(&StepId) -> Option<&'o Value>) -> Result<Value, Wire> {
    let mut input = step.input.clone();
    for wire in &step.wires {
        let value = output(&wire.from).and_then(|output| output.pointer(&wire.path));
        let value = value.ok_or_else(|| wire.clone())?.clone();
        if let Some(place) = input.pointer_mut(&wire.to) {
            // Kept as a literal: a value that looks like a marker is still a value.
            *place = if has_marker(&value) { serde_json::json!({ "$literal": value }) } else { value };
        }
    }
    Ok(unwrap_literals(input))
}

fn unwrap_literals(value: Value) -> Value {
    match value {
        Value::Object(mut map) => match (map.len() == 1).then(|| map.remove("$literal")).flatten() {
            Some(inner) => inner,
            None => Value::Object(map.into_iter().map(|(key, inner)| (key, unwrap_literals(inner))).collect()),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(unwrap_literals).collect()),
        other => other,
    }
}

/// The input as far as it is known before the run, wires left out; and the places that come later.
pub fn known(step: &PlanStep) -> (Value, BTreeSet<String>) {
    let mut holes: BTreeSet<String> = step.wires.iter().map(|wire| wire.to.clone()).collect();
    let mut sealed = BTreeSet::new();
    let mut input = literal(&step.input, String::new(), &mut sealed);
    for hole in holes.iter().chain(&sealed) {
        if let Some((parent, last)) = hole.rsplit_once('/')
            && let Some(map) = input.pointer_mut(parent).and_then(Value::as_object_mut)
        {
            map.remove(&last.replace("~1", "/").replace("~0", "~"));
        }
    }
    holes.extend(sealed);
    (input, holes)
}

/// Whether a condition holds on an output.
pub fn holds(condition: &Condition, output: Option<&Value>) -> bool {
    let found = output.and_then(|output| output.pointer(&condition.path));
    match (&condition.equals, &condition.not_equals, condition.exists) {
        (Some(wanted), _, _) => found == Some(wanted),
        (_, Some(unwanted), _) => found != Some(unwanted),
        (_, _, Some(wanted)) => found.is_some() == wanted,
        (None, None, None) => false,
    }
}
