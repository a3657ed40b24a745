//! The Cedar schema, generated from installed operations, and strict validation of policies against it.

use crate::{
    annotations,
    authority::{Faulty, name_of, parse},
    local_time,
    never::{self, KnownNames},
    source,
};
use cedar_policy::{Schema, ValidationMode, Validator};
use contracts::{Issue, governance::Meter, limits::POLICY_INPUT_PLACES_MAX};
use cs_core::skill::Registry;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Deepest look into an input schema.
const DEPTH_MAX: usize = 8;

/// The schema of a registry snapshot, as Cedar JSON. Principal `Actor`, action = operation (a member of its skill),
/// resource `Target`; the context is the same for all but for `input`, whose attributes are all optional because a
/// value may not be known before the run.
pub fn cedar_schema(registry: &Registry, meters: &[Meter]) -> Value {
    let mut actions = Map::new();
    for skill in registry.skills() {
        let key = &skill.manifest().skill.key;
        actions.insert(key.clone(), json!({}));
        for (name, operation) in skill.operations() {
            let input = input_record(operation.input.source());
            actions.insert(
                format!("{key}/{name}"),
                json!({
                    "memberOf": [{ "id": key }],
                    "appliesTo": { "principalTypes": ["Actor"], "resourceTypes": ["Target"], "context": context(&input, meters) },
                }),
            );
        }
    }
    let text = || json!({ "type": "String" });
    // A sum a currency; a plan names those that it spends.
    let money: Map<String, Value> = cs_core::currency::codes()
        .map(|code| (code.to_owned(), json!({ "type": "Long", "required": false })))
        .collect();
    json!({ "": {
        "commonTypes": { "Money": { "type": "Record", "attributes": money } },
        "entityTypes": {
            "Actor": { "shape": { "type": "Record", "attributes": {
                "kind": text(), "grants": { "type": "Set", "element": text() } } } },
            "Target": {},
        },
        "actions": actions,
    } })
}

fn context(input: &Value, meters: &[Meter]) -> Value {
    let usage: Map<String, Value> =
        meters.iter().map(|meter| (meter.id.clone(), json!({ "type": "Long" }))).collect();
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
        "mode": text(), "tier": text(), "effect": text(), "hour": long(), "weekday": text(),
        "labels": texts(), "taint": texts(), "signals": texts(), "unresolved": texts(),
        "input": input,
        "plan": { "type": "Record", "attributes": { "writes": long(), "steps": long(), "recipients": long(),
            "money": { "type": "Money" }, "currencies": texts(), "open": { "type": "Boolean" },
            "unmeasured": { "type": "Boolean" } } },
        "usage": { "type": "Record", "attributes": usage },
        "channel": optional(text()),
        "confidence": optional(json!({ "type": "Extension", "name": "decimal" })),
    } })
}

// As deep as the limit of places lets it be: a schema that refers to itself has no end, and a wide one grows with each
// level. INVARIANT (bounded-work): each try ends at the limit.
fn input_record(schema: &Value) -> Value {
    for deepest in (1..=DEPTH_MAX).rev() {
        let mut look = Look { root: schema, deepest, left: POLICY_INPUT_PLACES_MAX };
        let found = look.record(schema, 0);
        if look.left > 0 {
            return found;
        }
    }
    json!({ "type": "Record", "attributes": {} })
}

/// One look into an input schema.
struct Look<'s> {
    root: &'s Value,
    deepest: usize,
    /// Places that may still be named; 0: there were too many.
    left: usize,
}

impl Look<'_> {
    fn record(&mut self, schema: &Value, depth: usize) -> Value {
        let mut attributes = Map::new();
        for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if self.left == 0 {
                break;
            }
            if let Some(mut kind) = self.kind(inner, depth + 1) {
                if let Some(map) = kind.as_object_mut() {
                    map.insert("required".into(), false.into());
                }
                attributes.insert(name.clone(), kind);
            }
        }
        json!({ "type": "Record", "attributes": attributes })
    }

    // The Cedar type of a JSON Schema; none where Cedar has none (floats, unions): policies cannot name such values.
    fn kind(&mut self, schema: &Value, depth: usize) -> Option<Value> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || depth > self.deepest || schema.get("x-sensitive").and_then(Value::as_bool) == Some(true)
        {
            return None;
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = self.root.pointer(reference.strip_prefix('#')?)?;
            return self.kind(target, depth + 1);
        }
        match schema.get("type").and_then(Value::as_str)? {
            "string" => Some(json!({ "type": "String" })),
            "integer" => Some(json!({ "type": "Long" })),
            "boolean" => Some(json!({ "type": "Boolean" })),
            "object" => Some(self.record(schema, depth)),
            "array" => Some(json!({ "type": "Set", "element": self.kind(schema.get("items")?, depth + 1)? })),
            _ => None,
        }
    }
}

/// What is wrong with a policy text, strictly validated against the operations of a registry and the meters of a
/// workspace. Empty: nothing. Each issue names the policy and its line. `signals`: the names of the workspace's phrases.
pub fn validate_with(
    text: &str,
    registry: &Registry,
    meters: &[Meter],
    signals: Option<&BTreeSet<String>>,
) -> Vec<Issue> {
    let one = |code: &str, message: String| vec![Issue::coded(code, "/policies", message)];
    let policies = match parse(text) {
        Ok(policies) => policies,
        Err(error) => return one(code(&error), error.to_string()),
    };
    if let Some((line, hidden)) = source::hidden(text) {
        let message =
            format!("line {line}: `\\u{{{:04x}}}` lets the text look otherwise than it is read", u32::from(hidden));
        return one("POLICY_HIDDEN", message);
    }
    if policies.is_empty() {
        return one("POLICY_EMPTY", "an empty set permits nothing".into());
    }
    if let Err(error) = local_time::declared(text) {
        return one("POLICY_TIMEZONE", error.to_string());
    }
    let schema = match Schema::from_json_value(cedar_schema(registry, meters)) {
        Ok(schema) => schema,
        Err(error) => return one("POLICY_SCHEMA", error.to_string()),
    };
    let locations = source::locations(text);
    let named = |id: &cedar_policy::PolicyId| {
        let name = policies.policy(id).map_or_else(|| id.to_string(), name_of);
        let line = source::of(&locations, id).map(|location| location.to_string());
        format!("`{name}` ({})", line.unwrap_or_default())
    };
    let mut issues = Vec::new();
    let mut names = BTreeSet::new();
    for policy in policies.policies() {
        let mut wrong = |code: &str, what: String| {
            issues.push(Issue::coded(code, "/policies", format!("{}: {what}", named(policy.id()))));
        };
        // One without `@id` is named by its position, and a name is shown to people as that of one policy.
        if !names.insert(name_of(policy)) {
            wrong("POLICY_TWICE", "another policy has this `@id`".into());
        }
        for error in annotations::check(policy) {
            wrong("POLICY_ANNOTATION", error.to_string());
        }
    }
    let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
    issues.extend(result.validation_errors().map(|error| {
        Issue::coded("POLICY_INVALID", "/policies", format!("{}: {}", named(error.policy_id()), said(&error)))
    }));
    // Among the warnings: a policy whose conditions no request can meet. Without operations none can meet any.
    if registry.skills().next().is_some() {
        issues.extend(result.validation_warnings().map(|warning| {
            let message = format!("{}: {}", named(warning.policy_id()), said(&warning));
            Issue::coded("POLICY_SUSPECT", "/policies", message)
        }));
    }
    // What is not well typed need not be asked for its values.
    if issues.is_empty() {
        let labels = labels(registry);
        let mut check = never::Check::new(KnownNames { labels: Some(&labels), signals });
        for policy in policies.policies() {
            let never = check.policy(policy).into_iter();
            issues.extend(
                never.map(|what| {
                    Issue::coded("POLICY_SUSPECT", "/policies", format!("{}: {what}", named(policy.id())))
                }),
            );
        }
    }
    issues
}

/// [`validate_with`], where the workspace's phrases are not known.
pub fn validate(text: &str, registry: &Registry, meters: &[Meter]) -> Vec<Issue> {
    validate_with(text, registry, meters, None)
}

fn code(error: &Faulty) -> &'static str {
    match error {
        Faulty::TooLarge | Faulty::TooMany => "POLICY_TOO_LARGE",
        Faulty::TooDeep(_) => "POLICY_NESTED_TOO_DEEPLY",
        Faulty::Syntax(_) => "POLICY_SYNTAX",
        Faulty::Templates => "POLICY_TEMPLATE",
        Faulty::TimeZone(_) => "POLICY_TIMEZONE",
    }
}

// The labels that operations speak of.
fn labels(registry: &Registry) -> BTreeSet<String> {
    let operations = registry.skills().flat_map(|skill| skill.operations().values());
    let labels = operations.flat_map(|operation| operation.spec.labels.iter());
    let of = |labels: &contracts::manifest::Labels| {
        labels.output.iter().chain(labels.accepts.iter().flatten()).cloned().collect::<Vec<_>>()
    };
    labels.flat_map(of).collect()
}

// Cedar names the policy by its position, which is said already.
fn said(what: &impl std::fmt::Display) -> String {
    let text = what.to_string();
    match text.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")) {
        Some((_, rest)) => rest.to_owned(),
        None => text,
    }
}
