//! Type checks of wires: the subschema at a pointer, and whether values of one schema may be valid
//! under another.
//!
//! A schema says what is allowed, not which values occur. Only what can never be valid is refused;
//! the value itself is validated when it is known, before the call.

use crate::schema::Schema;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashSet};

/// Deepest search into a schema, so that recursive schemas end.
const WALK_DEPTH_MAX: usize = 32;
/// Limit of the subschemas visited in the search for one member.
const MEMBER_STEPS_MAX: usize = 10_000;
/// Pairs of subschemas that one wire compares.
const PAIRS_MAX: usize = 10_000;

/// The subschema at a pointer.
#[derive(Debug, PartialEq)]
pub enum SchemaAt<'s> {
    /// This subschema.
    Schema(&'s Value),
    /// Several subschemas together, or one that allows anything.
    Anything,
    /// The schema does not name the place, and does not forbid it. The names it has.
    Unnamed(Vec<&'s str>),
    /// No value has such a place. The names it has.
    Nothing(Vec<&'s str>),
}

impl SchemaAt<'_> {
    /// Whether the schema describes the place, or describes no places at all: a pointer of a
    /// manifest must be declared.
    pub fn is_declared(&self) -> bool {
        match self {
            Self::Schema(_) | Self::Anything => true,
            Self::Unnamed(names) => names.is_empty(),
            Self::Nothing(_) => false,
        }
    }
}

impl Schema {
    /// The subschema for a place in the value.
    pub fn at(&self, pointer: &str) -> SchemaAt<'_> {
        at(self.source(), pointer)
    }
}

fn at<'s>(root: &'s Value, pointer: &str) -> SchemaAt<'s> {
    let mut schema = deref(root, root);
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let mut search = MemberSearch { root, token: &token, steps: 0 };
        schema = match search.member(schema, 0) {
            Member::Never => return SchemaAt::Nothing(names(root, schema, 0)),
            Member::Unnamed => return SchemaAt::Unnamed(names(root, schema, 0)),
            Member::Named(None) => return SchemaAt::Anything,
            Member::Named(Some(found)) => deref(root, found),
        };
    }
    if schema.as_bool() == Some(true) || schema.as_object().is_some_and(Map::is_empty) {
        return SchemaAt::Anything;
    }
    SchemaAt::Schema(schema)
}

/// What a schema says of one member of a value.
enum Member<'s> {
    /// There is none.
    Never,
    /// It says nothing, so there may be one.
    Unnamed,
    /// There may be one, of this schema, or of several together.
    Named(Option<&'s Value>),
}

impl<'s> Member<'s> {
    // Both schemas hold.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::Unnamed, other) | (other, Self::Unnamed) => other,
            (Self::Named(_), Self::Named(_)) => Self::Named(None),
        }
    }

    // One of the schemas holds.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, other) | (other, Self::Never) => other,
            (Self::Unnamed, Self::Unnamed) => Self::Unnamed,
            (Self::Named(_), _) | (_, Self::Named(_)) => Self::Named(None),
        }
    }

    fn of(schema: &'s Value) -> Self {
        if schema.as_bool() == Some(false) { Self::Never } else { Self::Named(Some(schema)) }
    }
}

/// A search for one member.
struct MemberSearch<'l, 's> {
    root: &'s Value,
    token: &'l str,
    steps: usize,
}

impl<'s> MemberSearch<'_, 's> {
    fn member(&mut self, schema: &'s Value, depth: usize) -> Member<'s> {
        self.steps += 1;
        if depth > WALK_DEPTH_MAX || self.steps > MEMBER_STEPS_MAX {
            return Member::Named(None);
        }
        let schema = deref(self.root, schema);
        let Some(map) = schema.as_object() else {
            return if schema.as_bool() == Some(false) { Member::Never } else { Member::Unnamed };
        };
        let is_index = self.token.bytes().all(|byte| byte.is_ascii_digit());
        let kinds = types(schema);
        let may_be = |kind: &str| kinds.as_ref().is_none_or(|kinds| kinds.contains(kind));
        let mut found = match (may_be("object"), is_index && may_be("array")) {
            (false, false) => return Member::Never,
            (true, false) => self.property(map),
            (false, true) => self.item(map),
            // A list's place is looked at as such where the schema speaks of items.
            (true, true) if map.contains_key("items") || map.contains_key("prefixItems") => {
                self.item(map)
            }
            (true, true) => self.property(map),
        };
        for part in map.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            found = found.and(self.member(part, depth + 1));
        }
        for keyword in ["anyOf", "oneOf"] {
            let parts = map.get(keyword).and_then(Value::as_array).into_iter().flatten();
            if let Some(one) = parts.map(|part| self.member(part, depth + 1)).reduce(Member::or) {
                found = found.and(one);
            }
        }
        match found {
            Member::Unnamed if map.get("unevaluatedProperties") == Some(&Value::Bool(false)) => {
                Member::Never
            }
            found => found,
        }
    }

    fn property(&self, map: &'s Map<String, Value>) -> Member<'s> {
        let properties = map.get("properties").and_then(Value::as_object);
        if let Some(found) = properties.and_then(|properties| properties.get(self.token)) {
            return Member::of(found);
        }
        // Its patterns may match the name.
        if map
            .get("patternProperties")
            .and_then(Value::as_object)
            .is_some_and(|patterns| !patterns.is_empty())
        {
            return Member::Named(None);
        }
        match map.get("additionalProperties") {
            None | Some(Value::Bool(true)) => Member::Unnamed,
            Some(others) => Member::of(others),
        }
    }

    fn item(&self, map: &'s Map<String, Value>) -> Member<'s> {
        let index = self.token.parse::<usize>().unwrap_or(usize::MAX);
        let tuple =
            ["prefixItems", "items"].iter().find_map(|keyword| map.get(*keyword)?.as_array());
        if let Some(found) = tuple.and_then(|tuple| tuple.get(index)) {
            return Member::of(found);
        }
        let rest = ["items", "additionalItems"]
            .iter()
            .find_map(|keyword| map.get(*keyword).filter(|v| !v.is_array()));
        rest.map_or(Member::Unnamed, Member::of)
    }
}

// The names that a schema has, for suggestions.
fn names<'s>(root: &'s Value, schema: &'s Value, depth: usize) -> Vec<&'s str> {
    let schema = deref(root, schema);
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let mut found: Vec<&str> = properties.map(|(name, _)| name.as_str()).collect();
    if depth < 4 {
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for part in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                found.extend(names(root, part, depth + 1));
            }
        }
    }
    found
}

fn deref<'s>(root: &'s Value, mut schema: &'s Value) -> &'s Value {
    for _ in 0..WALK_DEPTH_MAX {
        let Some(reference) = schema.get("$ref").and_then(Value::as_str) else {
            return schema;
        };
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer))
        else {
            return schema;
        };
        schema = target;
    }
    schema
}

fn types(schema: &Value) -> Option<BTreeSet<&str>> {
    match schema.get("type")? {
        Value::String(one) => Some(BTreeSet::from([one.as_str()])),
        Value::Array(many) => Some(many.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

/// Why no value of `producer` can be given to `consumer`; `None` where one may fit.
pub fn mismatch(producer: &Schema, from: &Value, consumer: &Schema, to: &Value) -> Option<String> {
    fits((producer.source(), from), (consumer.source(), to), &mut HashSet::new(), 0)
}

type Pair = (*const Value, *const Value);

// INVARIANT (bounded-work): each pair of subschemas is compared once, however often references lead
// to it.
fn fits(
    (from_root, from): (&Value, &Value),
    (to_root, to): (&Value, &Value),
    seen: &mut HashSet<Pair>,
    depth: usize,
) -> Option<String> {
    let (from, to) = (deref(from_root, from), deref(to_root, to));
    if depth > WALK_DEPTH_MAX || seen.len() > PAIRS_MAX || !seen.insert((from, to)) {
        return None;
    }
    if let (Some(given), Some(wanted)) = (types(from), types(to)) {
        let number = |kind: &str| matches!(kind, "integer" | "number");
        let fit = |kind: &&str| {
            wanted.contains(*kind) || (number(kind) && wanted.iter().any(|kind| number(kind)))
        };
        if !given.iter().any(fit) {
            let list = |kinds: BTreeSet<&str>| kinds.into_iter().collect::<Vec<_>>().join("` or `");
            return Some(format!("gives `{}` where `{}` is wanted", list(given), list(wanted)));
        }
    }
    if let Some(wanted) = to.get("enum").and_then(Value::as_array)
        && let Some(given) = from.get("enum").and_then(Value::as_array)
        && !given.iter().any(|value| wanted.contains(value))
    {
        return Some("gives none of the allowed values".into());
    }
    if let (Some(given), Some(wanted)) = (from.get("items"), to.get("items"))
        && let Some(why) = fits((from_root, given), (to_root, wanted), seen, depth + 1)
    {
        return Some(format!("its items: {why}"));
    }
    for name in
        to.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        let never = matches!(
            MemberSearch { root: from_root, token: name, steps: 0 }.member(from, 0),
            Member::Never
        );
        if never && types(from).is_some_and(|kinds| kinds.contains("object")) {
            return Some(format!("does not give the required property `{name}`"));
        }
    }
    let given = from.get("properties").and_then(Value::as_object)?;
    let wanted = to.get("properties").and_then(Value::as_object)?;
    wanted.iter().find_map(|(name, wanted)| {
        let why = fits((from_root, given.get(name)?), (to_root, wanted), seen, depth + 1)?;
        Some(format!("its property `{name}`: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(source: Value) -> Schema {
        Schema::compile(&source).unwrap()
    }

    #[test]
    fn wiring_is_typed() {
        let from = schema(
            json!({"type":"object","properties":{"id":{"type":"string"},"n":{"type":"integer"},
            "o": { "type": "object", "properties": { "a": { "type": "string" } },
                "additionalProperties": false } },
            "additionalProperties": false }),
        );
        let check = |path: &str, to: Value| match from.at(path) {
            SchemaAt::Schema(found) => mismatch(&from, found, &schema(to.clone()), &to),
            other => Some(format!("{other:?}")),
        };
        assert_eq!(check("/id", json!({"type":"string"})), None);
        assert_eq!(check("/n", json!({"type":"number"})), None);
        assert_eq!(
            check("/id", json!({"type":"integer"})).unwrap(),
            "gives `string` where `integer` is wanted"
        );
        assert!(check("/nope", json!({})).unwrap().contains("Nothing([\"id\", \"n\", \"o\"])"));
        assert!(
            check("/o", json!({"type":"object","required":["b"],"properties":{"b":{}}}))
                .unwrap()
                .contains("`b`")
        );
        assert!(check("/id/deeper", json!({})).unwrap().contains("Nothing"));
    }

    #[test]
    fn types_that_may_fit_are_not_refused() {
        let fit = |from: Value, to: Value| {
            mismatch(&schema(from.clone()), &from, &schema(to.clone()), &to)
        };
        assert_eq!(fit(json!({"type":["string","null"]}), json!({"type":"string"})), None);
        assert_eq!(fit(json!({"type":"number"}), json!({"type":"integer"})), None);
        assert_eq!(fit(json!({"enum":["a","b"]}), json!({"enum":["b","c"]})), None);
        assert!(fit(json!({"enum":["a"]}), json!({"enum":["b"]})).is_some());
        assert!(
            fit(json!({"type":["string","null"]}), json!({"type":["integer","boolean"]})).is_some()
        );
        assert_eq!(
            fit(
                json!({"type":"object","properties":{"a":{}}}),
                json!({"type":"object","required":["b"]})
            ),
            None
        );
    }

    #[test]
    fn types_that_may_fit_are_found_wherever_they_are_named() {
        let part = json!({"type":"object","properties":{"a":{"type":"string"}}});
        let other = json!({"type":"object","properties":{"b":{}},"additionalProperties":false});
        let text = json!({"type":"string"});
        for (source, typed) in [
            (json!({"allOf":[part]}), true),
            (json!({"oneOf":[part, other]}), true),
            (json!({"anyOf":[part, {"type":"object"}]}), false),
            (json!({"allOf":[part, {"properties":{"a":{"maxLength":5}}}]}), false),
            (
                json!({ "type": "object", "patternProperties": { "^a": { "type": "string" } },
                    "additionalProperties": false }),
                false,
            ),
            (json!({"type":"object","additionalProperties":{"type":"string"}}), true),
            (json!({"$ref":"#/$defs/x","$defs":{"x":{"allOf":[part]}}}), true),
        ] {
            let source = schema(source);
            match source.at("/a") {
                SchemaAt::Schema(found) => {
                    assert!(typed && *found == text, "{:?}", source.source())
                }
                found => assert!(
                    !typed && found == SchemaAt::Anything,
                    "{found:?} of {:?}",
                    source.source()
                ),
            }
        }
        let open = schema(json!({"type":"object","properties":{"known":{}}}));
        assert_eq!(open.at("/a"), SchemaAt::Unnamed(vec!["known"]));
        assert!(!open.at("/a").is_declared() && schema(json!({})).at("/a").is_declared());
        for never in [
            json!({"allOf":[part, other]}),
            json!({"type":"object","properties":{"a":false}}),
            json!({"oneOf":[other, {"type":"string"}]}),
            json!({ "type": "object", "unevaluatedProperties": false,
                "allOf": [{ "properties": { "b": {} } }] }),
        ] {
            assert!(matches!(schema(never.clone()).at("/a"), SchemaAt::Nothing(_)), "{never}");
        }
        let list = schema(json!({"type":"array","prefixItems":[{"type":"string"}],"items":false}));
        assert_eq!(list.at("/0"), SchemaAt::Schema(&text));
        assert!(matches!(list.at("/1"), SchemaAt::Nothing(_)));
    }

    #[test]
    fn bounded_work_looking_for_a_member_ends() {
        let twice = |name: &str| {
            let one = json!({ "$ref": format!("#/$defs/{name}") });
            json!([one, one])
        };
        let mut defs = Map::new();
        for n in 0..12 {
            defs.insert(format!("d{n}"), json!({ "allOf": twice(&format!("d{}", n + 1)) }));
        }
        defs.insert("d12".into(), json!({ "type": "object" }));
        let source = json!({ "allOf": twice("d0"), "$defs": defs });
        assert!(matches!(at(&source, "/a"), SchemaAt::Unnamed(_) | SchemaAt::Anything));
    }
}
