//! The Cedar type of an input, from its JSON Schema. All attributes are optional: a value may not
//! be known before the run, or be null, which Cedar does not have.
//!
//! What policies can name is what every value of the schema has one type for; the rest is left
//! out, and its reason is kept for the message to whoever names it.

use contracts::limits::POLICY_INPUT_PLACES_MAX;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Deepest walk into an input schema.
const DEPTH_MAX: usize = 8;

/// The record of an input, and why further properties of the schema cannot be named.
pub(crate) struct InputType {
    pub(crate) record: Value,
    /// By the property's name.
    pub(crate) unnamed: BTreeMap<String, &'static str>,
}

/// As deep as the limit of places lets it be: a schema that refers to itself has no end, and a wide
/// one grows with each level. INVARIANT (bounded-work): each try ends at the limit.
pub(crate) fn of(schema: &Value) -> InputType {
    for deepest in (1..=DEPTH_MAX).rev() {
        let left = POLICY_INPUT_PLACES_MAX;
        let mut walk = Walk { root: schema, deepest, left, unnamed: BTreeMap::new() };
        let shape = walk.shape(schema, 0);
        if walk.left > 0 {
            let record = match shape {
                Shape::Typed(kind, _) if is_record(&kind) => kind,
                Shape::Typed(..) | Shape::Any | Shape::Null | Shape::Opaque(_) => empty(),
            };
            return InputType { record, unnamed: walk.unnamed };
        }
    }
    InputType { record: empty(), unnamed: BTreeMap::new() }
}

fn empty() -> Value {
    json!({ "type": "Record", "attributes": {} })
}

/// What a schema says of the type of its values.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// Nothing.
    Any,
    Null,
    /// One Cedar type; or null, too.
    Typed(Value, bool),
    /// Nothing that Cedar has one type for, and why.
    Opaque(&'static str),
}

/// One walk into an input schema.
struct Walk<'s> {
    root: &'s Value,
    deepest: usize,
    /// Places that may still be named; 0: there were too many.
    left: usize,
    unnamed: BTreeMap<String, &'static str>,
}

impl Walk<'_> {
    fn shape(&mut self, schema: &Value, depth: usize) -> Shape {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || depth > self.deepest {
            return Shape::Opaque("is nested too deeply");
        }
        if schema.get("x-sensitive").and_then(Value::as_bool) == Some(true) {
            return Shape::Opaque("is sensitive");
        }
        let mut parts = Vec::new();
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|at| self.root.pointer(at));
            parts.push(target.map_or(Shape::Any, |target| self.shape(target, depth + 1)));
        }
        match schema.get("type") {
            Some(Value::String(name)) => parts.push(self.named(name, schema, depth)),
            Some(Value::Array(names)) => {
                let names = names.iter().filter_map(Value::as_str);
                let shapes: Vec<Shape> =
                    names.map(|name| self.named(name, schema, depth)).collect();
                parts.push(union(shapes));
            }
            Some(_) | None => {}
        }
        parts.extend(schema.get("const").map(of_value));
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            parts.push(union(values.iter().map(of_value)));
        }
        for applicator in ["anyOf", "oneOf"] {
            if let Some(branches) = schema.get(applicator).and_then(Value::as_array) {
                let shapes: Vec<Shape> =
                    branches.iter().map(|branch| self.shape(branch, depth + 1)).collect();
                parts.push(union(shapes));
            }
        }
        for branch in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            parts.push(self.shape(branch, depth + 1));
        }
        let shape = parts.into_iter().fold(Shape::Any, both);
        match shape {
            // OpenAPI 3.0 says it so.
            Shape::Typed(kind, _) if schema.get("nullable") == Some(&Value::Bool(true)) => {
                Shape::Typed(kind, true)
            }
            shape => shape,
        }
    }

    fn named(&mut self, name: &str, schema: &Value, depth: usize) -> Shape {
        let typed = |name: &str| Shape::Typed(json!({ "type": name }), false);
        match name {
            "string" => typed("String"),
            "integer" => typed("Long"),
            "boolean" => typed("Boolean"),
            "null" => Shape::Null,
            "number" => Shape::Opaque("is a `number`, and policies compare integers"),
            "object" => Shape::Typed(self.record(schema, depth), false),
            "array" => match schema.get("items").map(|items| self.shape(items, depth + 1)) {
                Some(Shape::Typed(element, false)) => {
                    Shape::Typed(json!({ "type": "Set", "element": element }), false)
                }
                // A null would be left out of the set without a word.
                Some(_) | None => Shape::Opaque("is an array whose items have no one type"),
            },
            _ => Shape::Opaque("has a type that JSON Schema does not know"),
        }
    }

    fn record(&mut self, schema: &Value, depth: usize) -> Value {
        let mut attributes = Map::new();
        for (name, inner) in
            schema.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            if self.left == 0 {
                break;
            }
            match self.shape(inner, depth + 1) {
                Shape::Typed(mut kind, _) => {
                    if let Some(map) = kind.as_object_mut() {
                        map.insert("required".into(), false.into());
                    }
                    attributes.insert(name.clone(), kind);
                }
                Shape::Opaque(why) => _ = self.unnamed.insert(name.clone(), why),
                Shape::Any => _ = self.unnamed.insert(name.clone(), "may be of any type"),
                Shape::Null => _ = self.unnamed.insert(name.clone(), "is always null"),
            }
        }
        json!({ "type": "Record", "attributes": attributes })
    }
}

fn of_value(value: &Value) -> Shape {
    let typed = |name: &str| Shape::Typed(json!({ "type": name }), false);
    match value {
        Value::Null => Shape::Null,
        Value::Bool(_) => typed("Boolean"),
        Value::Number(number) if number.as_i64().is_some() => typed("Long"),
        Value::Number(_) => Shape::Opaque("is no integer, and policies compare integers"),
        Value::String(_) => typed("String"),
        Value::Array(_) | Value::Object(_) => Shape::Opaque("is one of some whole documents"),
    }
}

// A value of one of them.
fn union(shapes: impl IntoIterator<Item = Shape>) -> Shape {
    let (mut found, mut nullable) = (None, false);
    for shape in shapes {
        match (shape, &found) {
            (Shape::Null, _) => nullable = true,
            (Shape::Typed(kind, null), None) => {
                nullable |= null;
                found = Some(kind);
            }
            (Shape::Typed(kind, null), Some(known)) if kind == *known => nullable |= null,
            (Shape::Typed(..), Some(_)) => return Shape::Opaque("may be of several types"),
            (other @ (Shape::Any | Shape::Opaque(_)), _) => return other,
        }
    }
    found.map_or(Shape::Null, |kind| Shape::Typed(kind, nullable))
}

// A value of both.
fn both(one: Shape, other: Shape) -> Shape {
    match (one, other) {
        (Shape::Opaque(why), _) | (_, Shape::Opaque(why)) => Shape::Opaque(why),
        (Shape::Any, shape) | (shape, Shape::Any) => shape,
        (Shape::Null, _) | (_, Shape::Null) => Shape::Null,
        (Shape::Typed(one, null), Shape::Typed(other, also)) => match merged(one, other) {
            Some(kind) => Shape::Typed(kind, null && also),
            None => Shape::Opaque("may be of no type at all"),
        },
    }
}

fn is_record(kind: &Value) -> bool {
    kind.get("type").is_some_and(|name| name == "Record")
}

fn attributes_of(kind: &Value) -> Option<&Map<String, Value>> {
    kind.get("attributes")?.as_object()
}

// Records have the attributes of both; all else is the same or nothing.
fn merged(one: Value, other: Value) -> Option<Value> {
    if !is_record(&one) || !is_record(&other) {
        let same = |kind: &Value| {
            let mut kind = kind.clone();
            kind.as_object_mut().map(|map| map.remove("required"));
            kind
        };
        return (same(&one) == same(&other)).then_some(one);
    }
    let mut attributes = attributes_of(&one).cloned().unwrap_or_default();
    for (name, kind) in attributes_of(&other).into_iter().flatten() {
        let kind = match attributes.remove(name) {
            Some(known) => merged(known, kind.clone())?,
            None => kind.clone(),
        };
        attributes.insert(name.clone(), kind);
    }
    let mut record = json!({ "type": "Record", "attributes": attributes });
    let optional = one.get("required") == Some(&Value::Bool(false));
    if let Some(map) = record.as_object_mut().filter(|_| optional) {
        map.insert("required".into(), false.into());
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(schema: Value) -> Result<String, &'static str> {
        let input = of(&json!({ "type": "object", "properties": { "a": schema } }));
        match input.record["attributes"].get("a") {
            Some(kind) => Ok(kind["type"].as_str().unwrap().to_owned()),
            None => Err(input.unnamed["a"]),
        }
    }

    #[test]
    fn every_way_to_say_a_type_is_understood() {
        for (schema, wanted) in [
            (json!({ "type": "integer" }), "Long"),
            (json!({ "type": ["integer", "null"] }), "Long"),
            (json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }), "Long"),
            (
                json!({ "oneOf": [{ "type": "string", "maxLength": 2 }, { "const": "x" }] }),
                "String",
            ),
            (json!({ "enum": ["a", "b", null] }), "String"),
            (json!({ "const": 7 }), "Long"),
            (json!({ "allOf": [{ "type": "integer" }, { "minimum": 1 }] }), "Long"),
            (json!({ "type": "string", "nullable": true }), "String"),
            (json!({ "type": "array", "items": { "enum": ["a"] } }), "Set"),
            (
                json!({ "allOf": [
                { "type": "object", "properties": { "x": { "type": "integer" } } },
                { "type": "object", "properties": { "y": { "type": "string" } } } ] }),
                "Record",
            ),
        ] {
            assert_eq!(kind(schema.clone()), Ok(wanted.to_owned()), "{schema}");
        }
        for (schema, why) in [
            (json!({ "type": "number" }), "integers"),
            (json!({ "anyOf": [{ "type": "integer" }, { "type": "string" }] }), "several"),
            (json!({}), "any type"),
            (json!({ "const": 1.5 }), "no integer"),
            (json!({ "type": "array", "items": { "type": ["string", "null"] } }), "no one type"),
            (
                json!({ "anyOf": [{ "type": "string", "x-sensitive": true }, { "type": "null" }] }),
                "sensitive",
            ),
            (json!({ "allOf": [{ "type": "string" }, { "x-sensitive": true }] }), "sensitive"),
            (json!({ "allOf": [{ "type": "string" }, { "type": "integer" }] }), "no type"),
        ] {
            let found = kind(schema.clone()).unwrap_err();
            assert!(found.contains(why), "{schema}: {found}");
        }
    }
}
