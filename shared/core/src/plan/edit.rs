//! A person changes literals of a draft: values that stand in it, and nothing else. What comes from
//! another step, and what was sealed, stays as it is.

use super::{ParsedDraft, ParsedStep};
use crate::{
    schema::within,
    skill::Registry,
    suggest::{Suggestions, nearest},
};
use contracts::{
    Issue, StepId,
    approval::Literal,
    event::LiteralChange,
    json::escape,
    limits::{EDITED_LITERALS_MAX, EDITED_VALUE_BYTES_MAX, JSON_DEPTH_MAX, POINTER_BYTES_MAX},
    plan::PlanStep,
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// New values, by step and JSON pointer into its input.
pub type Literals = BTreeMap<StepId, BTreeMap<String, Value>>;

impl ParsedDraft {
    /// Puts new values in the place of literals, and says what stood there. Refused as a whole: an
    /// issue for each that cannot be changed, with a pointer into `/literals`.
    ///
    /// INVARIANT (data-is-never-control): the new values are values, whatever stands in them.
    pub fn edit(
        &mut self,
        literals: &Literals,
        registry: &Registry,
    ) -> Result<Vec<LiteralChange>, Vec<Issue>> {
        let count: usize = literals.values().map(BTreeMap::len).sum();
        if !(1..=EDITED_LITERALS_MAX).contains(&count) {
            return Err(vec![Issue::new(
                "/literals",
                format!("1 to {EDITED_LITERALS_MAX} values at once"),
            )]);
        }
        let (mut changes, mut issues) = (Vec::with_capacity(count), Vec::new());
        for (id, places) in literals {
            let at = format!("/literals/{}", escape(id.as_str()));
            let Some(step) = self.steps.iter_mut().find(|step| step.id == *id) else {
                issues.push(Issue::new(at, format!("the plan has no step `{id}`")));
                continue;
            };
            for (pointer, value) in places {
                let others = places.keys().filter(|other| *other != pointer);
                match step.replace(pointer, value, others) {
                    Ok(before) => changes.push(LiteralChange {
                        step_id: id.clone(),
                        pointer: pointer.clone(),
                        before,
                        after: value.clone(),
                    }),
                    Err(why) => issues.push(Issue::new(format!("{at}/{}", escape(pointer)), why)),
                }
            }
            if let Some(place) = step.bare_secret(registry) {
                let why = format!("`{place}` is sensitive: reject it, and have it asked for anew");
                issues.push(Issue::new(at, why));
            }
        }
        if issues.is_empty() { Ok(changes) } else { Err(issues) }
    }
}

impl ParsedStep {
    // Puts a value in the place of another one, which it gives back.
    fn replace<'o>(
        &mut self,
        pointer: &str,
        value: &Value,
        mut others: impl Iterator<Item = &'o String>,
    ) -> Result<Value, String> {
        let touches = |place: &str| within(place, pointer) || within(pointer, place);
        if pointer.len() > POINTER_BYTES_MAX {
            return Err(format!("a pointer of at most {POINTER_BYTES_MAX} bytes"));
        }
        if others.any(|other| touches(other)) {
            return Err("another value of this edit stands in it, or around it".to_owned());
        }
        if let Some(wire) = self.wires.iter().find(|wire| touches(&wire.to)) {
            return Err(format!("it comes from step `{}`, and is no literal", wire.from));
        }
        if self.seals.keys().any(|sealed| touches(sealed)) {
            return Err("it is sensitive: reject it, and have it asked for anew".to_owned());
        }
        if !bounded(value) {
            return Err(format!("a value of at most {EDITED_VALUE_BYTES_MAX} bytes as JSON"));
        }
        let found = Some(pointer).filter(|pointer| !pointer.is_empty());
        let Some(found) = found.and_then(|pointer| self.input.pointer_mut(pointer)) else {
            let known = self.input.as_object().into_iter().flat_map(Map::keys);
            let known: Vec<String> = known.map(|name| format!("/{}", escape(name))).collect();
            let near = nearest(pointer, known.iter().map(String::as_str));
            return Err(format!("there is no such value in the step's input{near}"));
        };
        if !bounded(found) {
            return Err("what stands there is too large to be changed here".to_owned());
        }
        if found == value {
            return Err("it is that already".to_owned());
        }
        let before = std::mem::replace(found, value.clone());
        let nested = serde_json::to_vec(&self.input).ok();
        if nested.is_none_or(|json| contracts::json::check_nesting(&json).is_err()) {
            return Err(format!("the input would nest deeper than {JSON_DEPTH_MAX} levels"));
        }
        Ok(before)
    }

    // A place whose value the operation calls sensitive, and that is not sealed.
    fn bare_secret(&self, registry: &Registry) -> Option<String> {
        let (skill, name) = registry.resolve(&self.operation, &mut Suggestions::none()).ok()?;
        let places = skill.operation(name)?.input.sensitive_in(&self.input);
        places.into_iter().find(|place| !self.seals.contains_key(place))
    }
}

/// Scalars of a planned step's input that an edit may change, at most so many more.
pub fn literals_of(planned: &PlanStep, room: usize, found: &mut Vec<Literal>) {
    let taken: BTreeSet<&str> = planned
        .seals
        .keys()
        .map(String::as_str)
        .chain(planned.wires.iter().map(|wire| wire.to.as_str()))
        .collect();
    let most = found.len() + room;
    let mut open = vec![(String::new(), &planned.input)];
    while let Some((at, value)) = open.pop() {
        if taken.contains(at.as_str()) {
            continue;
        }
        match value {
            Value::Object(map) => {
                let inner = map.iter().rev();
                open.extend(inner.map(|(name, inner)| (format!("{at}/{}", escape(name)), inner)));
            }
            Value::Array(items) => {
                let inner = items.iter().enumerate().rev();
                open.extend(inner.map(|(index, inner)| (format!("{at}/{index}"), inner)));
            }
            _ if found.len() >= most => return,
            _ if bounded(value) => found.push(Literal {
                step_id: planned.id.clone(),
                pointer: at,
                value: value.clone(),
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

// Small enough for the event that tells of it.
fn bounded(value: &Value) -> bool {
    serde_json::to_vec(value).is_ok_and(|json| json.len() <= EDITED_VALUE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::parse;
    use serde_json::json;

    fn draft() -> ParsedDraft {
        let draft = json!({ "steps": [
            { "id": "find", "use": "crm/find", "with": { "email": "ada@x.org" } },
            { "id": "pay", "use": "pay/refund", "with": {
                "customer": { "$from": "find", "path": "/id" },
                "amount": { "value": 250, "currency": "EUR" }, "lines": [1, 2] } }] });
        parse(&serde_json::from_value(draft).unwrap())
    }

    fn edit(literals: Value) -> Result<(ParsedDraft, Vec<LiteralChange>), Vec<Issue>> {
        let mut draft = draft();
        let literals = serde_json::from_value(literals).unwrap();
        let changes = draft.edit(&literals, &Registry::default())?;
        Ok((draft, changes))
    }

    #[test]
    fn a_literal_is_replaced_and_what_stood_there_is_told() {
        let (draft, changes) =
            edit(json!({ "pay": { "/amount/value": 80, "/lines/1": { "$from": "find" } } }))
                .unwrap();
        let input = &draft.steps[1].input;
        assert_eq!(input["amount"], json!({ "value": 80, "currency": "EUR" }));
        assert_eq!(input["lines"][1], json!({ "$from": "find" }), "a value, and no marker");
        assert_eq!(draft.steps[1].wires.len(), 1);
        let told = |at: usize| (changes[at].before.clone(), changes[at].after.clone());
        assert_eq!((changes.len(), told(0)), (2, (json!(250), json!(80))));
    }

    #[test]
    fn attack_what_is_no_literal_is_not_replaced() {
        for (pointer, value, why) in [
            ("/customer", json!("c2"), "comes from step `find`"),
            ("/customer/id", json!("c2"), "comes from step `find`"),
            ("", json!({}), "comes from step `find`"),
            ("/amonut", json!(1), "did you mean `/amount`"),
            ("/lines/2", json!(1), "no such value"),
            ("/amount/value", json!(250), "that already"),
            ("/amount/value", json!("x".repeat(600)), "at most"),
        ] {
            let issues = edit(json!({ "pay": { pointer: value } })).unwrap_err();
            assert!(issues[0].message.contains(why), "{pointer}: {issues:?}");
            assert!(issues[0].pointer.starts_with("/literals/pay/"), "{issues:?}");
        }
        let twice = json!({ "pay": { "/amount": 1, "/amount/value": 2 } });
        assert_eq!(edit(twice).unwrap_err().len(), 2);
        assert!(edit(json!({ "nobody": { "/a": 1 } })).is_err());
        assert!(edit(json!({})).is_err());
        let many: serde_json::Map<String, Value> =
            (0..=EDITED_LITERALS_MAX).map(|place| (format!("/{place}"), json!(1))).collect();
        assert!(edit(json!({ "pay": many })).unwrap_err()[0].message.contains("at once"));
    }
}
