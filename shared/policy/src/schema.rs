//! The Cedar schema, generated from installed operations, and strict validation of policies against
//! it.

use crate::{
    annotations, input_type, local_time,
    never::{self, KnownNames},
    policy_set::{PolicySetError, name_of, parse},
    source,
};
use cedar_policy::{PolicyId, PolicySet, Schema, ValidationMode, Validator};
use contracts::{Issue, governance::Meter};
use cs_core::skill::Registry;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The schema of a registry snapshot, as Cedar JSON. Principal `Actor`, action = operation (a
/// member of its skill), resource `Target`; the context is the same for all but for `input`, whose
/// attributes are all optional because a value may not be known before the run.
pub fn cedar_schema(registry: &Registry, meters: &[Meter]) -> Value {
    let mut actions = Map::new();
    for skill in registry.skills() {
        let key = &skill.manifest().skill.key;
        actions.insert(key.clone(), json!({}));
        for (name, operation) in skill.operations() {
            let input = input_type::of(operation.input.source()).record;
            actions.insert(
                format!("{key}/{name}"),
                json!({
                    "memberOf": [{ "id": key }],
                    "appliesTo": { "principalTypes": ["Actor"], "resourceTypes": ["Target"],
                        "context": context(&input, meters) },
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
        "plan": { "type": "Record", "attributes": { "writes": long(), "steps": long(),
            "recipients": long(),
            "money": { "type": "Money" }, "currencies": texts(), "open": { "type": "Boolean" },
            "unmeasured": { "type": "Boolean" } } },
        "usage": { "type": "Record", "attributes": usage },
        "channel": optional(text()),
        "confidence": optional(json!({ "type": "Extension", "name": "decimal" })),
    } })
}

/// What is wrong with a policy text, strictly validated against the operations of a registry and
/// the meters of a workspace. Empty: nothing. Each issue names the policy and its line. `signals`:
/// the names of the workspace's phrases.
pub fn validate_with(
    text: &str,
    registry: &Registry,
    meters: &[Meter],
    signals: Option<&BTreeSet<String>>,
) -> Vec<Issue> {
    let (policies, schema) = match readable(text, registry, meters) {
        Ok(read) => read,
        Err(issue) => return vec![issue],
    };
    let locations = source::locations(text);
    let about = |id: &PolicyId, code: &str, what: String| {
        let name = policies.policy(id).map_or_else(|| id.to_string(), name_of);
        let line = source::of(&locations, id).map(|location| location.to_string());
        let message = format!("`{name}` ({}): {what}", line.unwrap_or_default());
        Issue::coded(code, "/policies", message)
    };
    let mut issues = Vec::new();
    let mut names = BTreeSet::new();
    for policy in policies.policies() {
        let mut wrong = |code: &str, what: String| issues.push(about(policy.id(), code, what));
        // One without `@id` is named by its position, and a name is shown to people as that of one
        // policy.
        if !names.insert(name_of(policy)) {
            wrong("POLICY_TWICE", "another policy has this `@id`".into());
        }
        for error in annotations::check(policy) {
            wrong("POLICY_ANNOTATION", error.to_string());
        }
    }
    let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
    let errors = result.validation_errors();
    let unnamed = unnamed(registry);
    issues.extend(errors.map(|error| {
        about(error.policy_id(), "POLICY_INVALID", with_reason(said(&error), &unnamed))
    }));
    // Among the warnings: a policy whose conditions no request can meet. Without operations none
    // can meet any.
    if registry.skills().next().is_some() {
        let warnings = result.validation_warnings();
        issues.extend(
            warnings.map(|warning| about(warning.policy_id(), "POLICY_SUSPECT", said(&warning))),
        );
    }
    // What is not well typed need not be asked for its values.
    if issues.is_empty() {
        let labels = labels(registry);
        let mut check = never::Check::new(KnownNames { labels: Some(&labels), signals });
        for policy in policies.policies() {
            let never = check.policy(policy).into_iter();
            issues.extend(never.map(|what| about(policy.id(), "POLICY_SUSPECT", what)));
        }
    }
    issues
}

// The policies of a text and the schema that they are validated against, or why there is nothing
// to validate.
fn readable(
    text: &str,
    registry: &Registry,
    meters: &[Meter],
) -> Result<(PolicySet, Schema), Issue> {
    let issue = |code: &str, message: String| Issue::coded(code, "/policies", message);
    let policies = parse(text).map_err(|error| issue(code(&error), error.to_string()))?;
    if let Some((line, hidden)) = source::hidden(text) {
        let message = format!(
            "line {line}: `\\u{{{:04x}}}` lets the text walk otherwise than it is read",
            u32::from(hidden)
        );
        return Err(issue("POLICY_HIDDEN", message));
    }
    if policies.is_empty() {
        return Err(issue("POLICY_EMPTY", "an empty set permits nothing".into()));
    }
    local_time::declared(text).map_err(|error| issue("POLICY_TIMEZONE", error.to_string()))?;
    let schema = Schema::from_json_value(cedar_schema(registry, meters))
        .map_err(|error| issue("POLICY_SCHEMA", error.to_string()))?;
    Ok((policies, schema))
}

/// [`validate_with`], where the workspace's phrases are not known.
pub fn validate(text: &str, registry: &Registry, meters: &[Meter]) -> Vec<Issue> {
    validate_with(text, registry, meters, None)
}

fn code(error: &PolicySetError) -> &'static str {
    match error {
        PolicySetError::TooLarge | PolicySetError::TooMany => "POLICY_TOO_LARGE",
        PolicySetError::TooDeep(_) => "POLICY_NESTED_TOO_DEEPLY",
        PolicySetError::Syntax(_) => "POLICY_SYNTAX",
        PolicySetError::Templates => "POLICY_TEMPLATE",
        PolicySetError::TimeZone(_) => "POLICY_TIMEZONE",
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

// Properties of inputs that policies cannot name, and why.
fn unnamed(registry: &Registry) -> BTreeMap<String, &'static str> {
    let operations = registry.skills().flat_map(|skill| skill.operations().values());
    operations.flat_map(|operation| input_type::of(operation.input.source()).unnamed).collect()
}

// An attribute that is not found may be one that cannot be named.
fn with_reason(error: String, unnamed: &BTreeMap<String, &'static str>) -> String {
    if !error.contains("not found") {
        return error;
    }
    let named =
        |name: &str| error.contains(&format!("`{name}`")) || error.contains(&format!(".{name}`"));
    match unnamed.iter().find(|(name, _)| named(name)) {
        Some((name, why)) => format!("{error}; the input `{name}` {why}"),
        None => error,
    }
}

// Cedar names the policy by its position, which is said already.
fn said(what: &impl std::fmt::Display) -> String {
    let text = what.to_string();
    match text.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")) {
        Some((_, rest)) => rest.to_owned(),
        None => text,
    }
}
