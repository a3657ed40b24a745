//! Playbooks: a signed draft with parameters, filled with validated inputs. They give a plan
//! without a language model.

use crate::{
    plan::{Inputs, ParsedDraft, parse_with},
    schema::Schema,
    skill::Registry,
    suggest::{Suggestions, nearest},
};
use contracts::{Issue, command::PlaybookCall, manifest::Playbook};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is wrong with a playbook of a manifest: inputs it names that its schema does not have.
pub fn check(playbook: &Playbook, inputs: &Schema, at: &str) -> Vec<Issue> {
    let mut issues = Vec::new();
    for (index, step) in playbook.draft.steps.iter().enumerate() {
        walk(&Value::Object(step.with.clone()), &mut |pointer| {
            if !inputs.at(pointer).is_declared() {
                let place = format!("{at}/draft/steps/{index}/with");
                issues.push(Issue::new(
                    place,
                    format!("`$input` `{pointer}` is not in the input schema"),
                ));
            }
        });
    }
    issues
}

fn hole(value: &Value) -> Option<&str> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    map.get("$input").and_then(Value::as_str)
}

fn walk(value: &Value, visit: &mut impl FnMut(&str)) {
    if let Some(pointer) = hole(value) {
        return visit(pointer);
    }
    match value {
        // A literal has no parameters.
        Value::Object(map) if map.len() == 1 && map.contains_key("$literal") => {}
        Value::Object(map) => map.values().for_each(|inner| walk(inner, visit)),
        Value::Array(items) => items.iter().for_each(|inner| walk(inner, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The draft of a playbook with its inputs filled in. An input is always a value, even if it looks
/// like a marker; the key of an input that was not given is left out.
pub fn expand(call: &PlaybookCall, registry: &Registry) -> Result<ParsedDraft, Vec<Issue>> {
    let refuse =
        |code: &str, pointer: &str, message: String| vec![Issue::coded(code, pointer, message)];
    let (skill, name) = registry
        .resolve(&call.key, &mut Suggestions::default())
        .map_err(|why| refuse(why.code, "/playbook/key", why.message))?;
    let playbooks = &skill.manifest().playbooks;
    let playbook = playbooks.iter().find(|playbook| playbook.key == name).ok_or_else(|| {
        let near = nearest(name, playbooks.iter().map(|playbook| playbook.key.as_str()));
        refuse(
            "UNKNOWN_PLAYBOOK",
            "/playbook/key",
            format!("`{}` has no playbook `{name}`{near}", call.key),
        )
    })?;
    let schema = Schema::compile(&playbook.input_schema)
        .map_err(|message| refuse("SCHEMA_MISMATCH", "/playbook/key", message))?;
    let inputs = Value::Object(call.inputs.clone());
    let issues = schema.issues(&inputs, &BTreeSet::new(), "/playbook/inputs");
    if !issues.is_empty() {
        return Err(issues);
    }
    let sensitive = schema.sensitive_in(&inputs);
    Ok(parse_with(&playbook.draft, Some(&Inputs { value: &inputs, sensitive })))
}
