//! The Cedar schema, generated from installed operations, and strict validation of policies against it.

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use contracts::Issue;
use cs_core::skill::Registry;
use serde_json::{Map, Value, json};
use std::str::FromStr as _;

/// Deepest look into an input schema.
const DEPTH_MAX: usize = 8;

/// The schema of a registry snapshot, as Cedar JSON. Principal `Actor`, action = operation (a member of its skill),
/// resource `Target`; the context is the same for all but for `input`, whose attributes are all optional because a
/// value may not be known before the run.
pub fn cedar_schema(registry: &Registry) -> Value {
    let mut actions = Map::new();
    for skill in registry.skills() {
        let key = &skill.manifest().skill.key;
        actions.insert(key.clone(), json!({}));
        for (name, operation) in skill.operations() {
            let input = record(operation.input.source(), operation.input.source(), 0);
            actions.insert(
                format!("{key}/{name}"),
                json!({
                    "memberOf": [{ "id": key }],
                    "appliesTo": { "principalTypes": ["Actor"], "resourceTypes": ["Target"], "context": context(&input) },
                }),
            );
        }
    }
    let text = || json!({ "type": "String" });
    json!({ "": {
        "entityTypes": {
            "Actor": { "shape": { "type": "Record", "attributes": {
                "kind": text(), "grants": { "type": "Set", "element": text() } } } },
            "Target": {},
        },
        "actions": actions,
    } })
}

fn context(input: &Value) -> Value {
    let text = || json!({ "type": "String" });
    let long = || json!({ "type": "Long" });
    let texts = || json!({ "type": "Set", "element": { "type": "String" } });
    let optional = |kind: Value| {
        let mut kind = kind;
        if let Some(map) = kind.as_object_mut() {
            map.insert("required".into(), false.into());
        }
        kind
    };
    json!({ "type": "Record", "attributes": {
        "mode": text(), "tier": text(), "effect": text(), "hour": long(),
        "labels": texts(), "taint": texts(), "signals": texts(), "unresolved": texts(),
        "input": input,
        "plan": { "type": "Record", "attributes": { "writes": long(), "steps": long(), "recipients": long(),
            "money": { "type": "Long" }, "open": { "type": "Boolean" } } },
        "channel": optional(text()),
        "confidence": optional(json!({ "type": "Extension", "name": "decimal" })),
    } })
}

fn record(root: &Value, schema: &Value, depth: usize) -> Value {
    let mut attributes = Map::new();
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(mut kind) = kind(root, inner, depth + 1) {
            if let Some(map) = kind.as_object_mut() {
                map.insert("required".into(), false.into());
            }
            attributes.insert(name.clone(), kind);
        }
    }
    json!({ "type": "Record", "attributes": attributes })
}

// The Cedar type of a JSON Schema; none where Cedar has none (floats, unions): policies cannot name such values.
fn kind(root: &Value, schema: &Value, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX || schema.get("x-sensitive").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return kind(root, root.pointer(reference.strip_prefix('#')?)?, depth + 1);
    }
    match schema.get("type").and_then(Value::as_str)? {
        "string" => Some(json!({ "type": "String" })),
        "integer" => Some(json!({ "type": "Long" })),
        "boolean" => Some(json!({ "type": "Boolean" })),
        "object" => Some(record(root, schema, depth)),
        "array" => Some(json!({ "type": "Set", "element": kind(root, schema.get("items")?, depth + 1)? })),
        _ => None,
    }
}

/// What is wrong with a policy text, strictly validated against the operations of a registry. Empty: nothing.
pub fn validate(text: &str, registry: &Registry) -> Vec<Issue> {
    let policies = match PolicySet::from_str(text) {
        Ok(policies) => policies,
        Err(error) => {
            return vec![Issue::coded("POLICY_SYNTAX", "/policies", error.to_string())];
        }
    };
    if policies.is_empty() {
        return vec![Issue::coded("POLICY_EMPTY", "/policies", "an empty set permits nothing")];
    }
    let schema = match Schema::from_json_value(cedar_schema(registry)) {
        Ok(schema) => schema,
        Err(error) => {
            return vec![Issue::coded("POLICY_SCHEMA", "/policies", error.to_string())];
        }
    };
    let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
    result
        .validation_errors()
        .map(|error| {
            let id = policies.policy(error.policy_id()).and_then(|policy| policy.annotation("id"));
            let name = id.map_or_else(|| error.policy_id().to_string(), str::to_owned);
            Issue::coded("POLICY_INVALID", "/policies", format!("`{name}`: {error}"))
        })
        .collect()
}
