//! JSON Schemas of operations: compiled validators, look-ups by pointer, and whether one schema's values fit another.

use crate::sensitive::Marks;
use contracts::{
    Digest, Issue,
    limits::{ISSUES_MAX, SCHEMA_PATTERN_BYTES_MAX},
};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// Deepest look into a schema, so that recursive schemas end.
const WALK_DEPTH_MAX: usize = 32;
/// Pairs of subschemas that one wire compares.
const PAIRS_MAX: usize = 10_000;

/// Evaluations of subschemas that checking one value may take.
const CHECKS_MAX: u64 = 20_000_000;
/// Evaluations up to which everything that is wrong with a value is told. A place may be wrong in as many ways as there are
/// evaluations of it, and a validator holds them all at once; beyond, it is only told that something is.
const CHECKS_TOLD_MAX: u64 = 100_000;

/// Longest part of a schema that a message quotes, in characters.
const QUOTED_CHARS_MAX: usize = 100;

/// A compiled JSON Schema, of the draft that its `$schema` names, else 2020-12; no references outside the document.
pub struct Schema {
    source: Value,
    digest: Digest,
    validator: jsonschema::Validator,
    marks: Marks,
    /// Evaluations that each place of a value may take.
    cost: u64,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Schema({})", self.digest)
    }
}

/// What a pointer into a schema finds.
#[derive(Debug, PartialEq)]
pub enum Found<'s> {
    /// This subschema.
    Schema(&'s Value),
    /// The schema allows anything there, or is too free to say.
    Anything,
    /// The schema has no such place; the names it has instead.
    Nothing(Vec<&'s str>),
}

impl Schema {
    /// Compiles a schema.
    pub fn compile(source: &Value) -> Result<Self, String> {
        if !source.is_object() {
            return Err("a schema is a JSON object".into());
        }
        let cost = crate::schema_cost::check(source)?;
        let validator = options().build(source).map_err(|error| format!("not a valid JSON Schema: {error}"))?;
        let digest = crate::canonical::digest(source).map_err(|error| error.to_string())?;
        let marks = Marks::read(source, validator.draft()).map_err(|error| error.to_string())?;
        Ok(Self { source: source.clone(), digest, validator, marks, cost })
    }

    /// sha256(JCS(schema)).
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The document.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Whether anything is marked `x-sensitive`.
    pub fn has_sensitive(&self) -> bool {
        self.marks.any()
    }

    /// The outermost places of a value that are marked `x-sensitive`, valid or not.
    pub fn sensitive_in(&self, value: &Value) -> BTreeSet<String> {
        self.marks.places(&self.source, value)
    }

    /// The same of a value that would stand at `path`.
    pub fn sensitive_below(&self, path: &str, value: &Value) -> BTreeSet<String> {
        self.marks.places_below(&self.source, path, value)
    }

    /// Whether the value is valid, and not too large for what its schema asks of each place. INVARIANT (bounded-work).
    pub fn accepts(&self, value: &Value) -> bool {
        self.fits(value, CHECKS_MAX) && self.validator.is_valid(value)
    }

    // Whether checking the value takes at most so many evaluations.
    fn fits(&self, value: &Value, checks_max: u64) -> bool {
        let (mut left, mut open) = (checks_max / self.cost.max(1), vec![value]);
        while let Some(value) = open.pop() {
            if left == 0 {
                return false;
            }
            left -= 1;
            match value {
                Value::Object(map) => open.extend(map.values()),
                Value::Array(items) => open.extend(items),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        true
    }

    /// What is wrong with a value, leaving out what concerns the places in `holes` (pointers whose values come
    /// later). `base` is put before each pointer.
    pub fn issues(&self, value: &Value, holes: &BTreeSet<&str>, base: &str) -> Vec<Issue> {
        let whole = |message: &str| vec![Issue::coded("SCHEMA_MISMATCH", base, message)];
        if !self.fits(value, CHECKS_MAX) {
            return whole("the value is too large for what its schema asks of each place");
        }
        if holes.is_empty() && self.validator.is_valid(value) {
            return Vec::new();
        }
        if !self.fits(value, CHECKS_TOLD_MAX) {
            // What has holes is checked again when they are filled.
            let told = holes.is_empty().then_some("the value does not fit its schema; it is too large to say where");
            return told.map(whole).unwrap_or_default();
        }
        let mut issues = Vec::new();
        let mut sensitive = None;
        for error in self.validator.iter_errors(value) {
            let at = error.instance_path().to_string();
            let inside = above(&at).any(|above| holes.contains(above));
            // A combination (anyOf, not, ...) above a hole cannot be judged before the value is there.
            let combined = holds_below(holes, &at) && is_combination(&error);
            if !inside && !combined {
                let sensitive = sensitive.get_or_insert_with(|| self.sensitive_in(value));
                // Below a sensitive place even the names of members are not told.
                let shown = sensitive.iter().find(|place| within(&at, place)).unwrap_or(&at);
                let message = self.words(&error);
                issues.push(Issue::coded("SCHEMA_MISMATCH", format!("{base}{shown}"), message));
                if issues.len() == ISSUES_MAX {
                    break;
                }
            }
        }
        issues
    }

    // What was wanted, in the schema's words. INVARIANT (no-secrets-in-evidence): a value is never quoted.
    fn words(&self, error: &jsonschema::ValidationError<'_>) -> String {
        use jsonschema::error::ValidationErrorKind as Kind;
        let keyword = error.kind().keyword();
        let unexpected = match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => unexpected,
            Kind::Required { property } => return format!("`{keyword}`: {} is missing", clip(&property.to_string())),
            // Without a schema of its own nothing is to be quoted.
            _ => &Vec::new(),
        };
        if let Some(first) = unexpected.first().filter(|_| !self.marks.any()) {
            let more = unexpected.len().saturating_sub(1);
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            return format!("`{keyword}`: `{}` is not allowed{more}", clip(first));
        }
        match self.source.pointer(error.schema_path().as_str()) {
            Some(wanted @ (Value::String(_) | Value::Number(_) | Value::Array(_))) if !is_nested(wanted) => {
                format!("`{keyword}`: wants {}", clip(&wanted.to_string()))
            }
            _ => format!("`{keyword}` does not hold"),
        }
    }

    /// The subschema for a place in the value.
    pub fn at(&self, pointer: &str) -> Found<'_> {
        at(&self.source, &self.source, pointer)
    }
}

/// How schemas are compiled: by the engine of patterns whose time is linear in the text, without backtracking and
/// look-around.
pub(crate) fn options() -> jsonschema::ValidationOptions<'static> {
    let patterns = jsonschema::PatternOptions::regex()
        .size_limit(SCHEMA_PATTERN_BYTES_MAX)
        .dfa_size_limit(SCHEMA_PATTERN_BYTES_MAX);
    jsonschema::options().with_pattern_options(patterns)
}

fn is_combination(error: &jsonschema::ValidationError<'_>) -> bool {
    let path = error.schema_path().to_string();
    let last = path.rsplit('/').next().unwrap_or_default();
    matches!(last, "anyOf" | "oneOf" | "not" | "if" | "then" | "else" | "allOf" | "enum" | "const" | "uniqueItems")
}

// A pointer and all above it.
fn above(pointer: &str) -> impl Iterator<Item = &str> {
    let ends = pointer.match_indices('/').map(|(index, _)| index).chain([pointer.len()]);
    ends.filter_map(|end| pointer.get(..end))
}

// Whether one of the pointers is this one or below it.
fn holds_below(pointers: &BTreeSet<&str>, root: &str) -> bool {
    let below = format!("{root}/");
    pointers.contains(root) || pointers.range(below.as_str()..).next().is_some_and(|first| first.starts_with(&below))
}

/// Whether `pointer` is `root` or below it.
pub fn within(pointer: &str, root: &str) -> bool {
    pointer.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

// A list of schemas says nothing in a message.
fn is_nested(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().any(|item| item.is_object() || item.is_array()))
}

fn clip(text: &str) -> String {
    if text.chars().count() <= QUOTED_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(QUOTED_CHARS_MAX).chain(['…']).collect()
}

fn deref<'s>(root: &'s Value, mut schema: &'s Value) -> &'s Value {
    for _ in 0..WALK_DEPTH_MAX {
        let Some(reference) = schema.get("$ref").and_then(Value::as_str) else {
            return schema;
        };
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else {
            return schema;
        };
        schema = target;
    }
    schema
}

fn at<'s>(root: &'s Value, schema: &'s Value, pointer: &str) -> Found<'s> {
    let mut schema = deref(root, schema);
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let properties = schema.get("properties").and_then(Value::as_object);
        let next = if let Some(found) = properties.and_then(|properties| properties.get(&token)) {
            found
        } else if let (Some(items), true) = (schema.get("items"), token.bytes().all(|b| b.is_ascii_digit())) {
            items
        } else {
            match (schema.get("additionalProperties"), properties) {
                (Some(Value::Bool(false)), known) | (None, known @ Some(_)) => {
                    let names = known.into_iter().flat_map(|known| known.keys().map(String::as_str)).collect();
                    return Found::Nothing(names);
                }
                (Some(other @ Value::Object(_)), _) => other,
                _ => {
                    return match types(schema) {
                        Some(kinds) if !kinds.contains("object") && !kinds.contains("array") => {
                            Found::Nothing(Vec::new())
                        }
                        _ => Found::Anything,
                    };
                }
            }
        };
        schema = deref(root, next);
    }
    if schema.as_bool() == Some(true) || schema.as_object().is_some_and(serde_json::Map::is_empty) {
        return Found::Anything;
    }
    Found::Schema(schema)
}

fn types(schema: &Value) -> Option<BTreeSet<&str>> {
    match schema.get("type")? {
        Value::String(one) => Some(BTreeSet::from([one.as_str()])),
        Value::Array(many) => Some(many.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

/// Why values of `producer` cannot be given to `consumer`; `None` where they may fit. What cannot be decided here is
/// checked again with the value itself before a call.
pub fn mismatch(producer: &Schema, from: &Value, consumer: &Schema, to: &Value) -> Option<String> {
    fits((&producer.source, from), (&consumer.source, to), &mut HashSet::new(), 0)
}

type Pair = (*const Value, *const Value);

// INVARIANT (bounded-work): each pair of subschemas is compared once, however often references lead to it.
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
        let fit = |kind: &&str| wanted.contains(*kind) || (*kind == "integer" && wanted.contains("number"));
        if let Some(bad) = given.iter().find(|kind| !fit(kind)) {
            let wanted: Vec<&str> = wanted.into_iter().collect();
            return Some(format!("gives `{bad}` where `{}` is wanted", wanted.join("` or `")));
        }
    }
    if let Some(wanted) = to.get("enum").and_then(Value::as_array)
        && let Some(given) = from.get("enum").and_then(Value::as_array)
        && let Some(bad) = given.iter().find(|value| !wanted.contains(value))
    {
        return Some(format!("may give {bad}, which is not among the allowed values"));
    }
    if let (Some(given), Some(wanted)) = (from.get("items"), to.get("items"))
        && let Some(why) = fits((from_root, given), (to_root, wanted), seen, depth + 1)
    {
        return Some(format!("its items: {why}"));
    }
    let given = from.get("properties").and_then(Value::as_object)?;
    for name in to.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !given.contains_key(name) {
            return Some(format!("does not give the required property `{name}`"));
        }
    }
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

    // Ten million errors would be some gigabytes.
    #[test]
    fn bounded_work_of_a_large_value_it_is_told_only_that_it_does_not_fit() {
        let alternatives: Vec<Value> = (0..1_000).map(|n| json!({ "const": n })).collect();
        let lists: Vec<Value> = (0..1_000).map(|n| json!({ "items": { "const": n } })).collect();
        for schema in [
            schema(json!({ "type": "array", "items": { "anyOf": alternatives } })),
            schema(json!({ "type": "array", "anyOf": lists })),
        ] {
            let told = |value: Value, holes: &[&str]| schema.issues(&value, &holes.iter().copied().collect(), "/in");
            let issues = told(json!(vec!["a"; 5_000]), &[]);
            assert_eq!((issues.len(), issues[0].pointer.as_str()), (1, "/in"), "{issues:?}");
            assert!(issues[0].message.contains("too large to say where"), "{issues:?}");
            assert!(!told(json!(["a", "b"]), &[]).is_empty(), "of a small one it is told");
            assert_eq!(told(json!(vec!["a"; 5_000]), &["/0"]), [], "checked when it is whole");
            assert!(!schema.accepts(&json!(vec![0; 200_000])), "it would take too long");
            assert!(told(json!(vec![0; 200_000]), &[])[0].message.contains("too large for what"));
            assert!(schema.accepts(&json!(vec![0; 100])));
        }
    }

    #[test]
    fn wiring_is_typed() {
        let from = schema(json!({"type":"object","properties":{"id":{"type":"string"},"n":{"type":"integer"},
            "o":{"type":"object","properties":{"a":{"type":"string"}}}}}));
        let check = |path: &str, to: Value| match from.at(path) {
            Found::Schema(found) => mismatch(&from, found, &schema(to.clone()), &to),
            other => Some(format!("{other:?}")),
        };
        assert_eq!(check("/id", json!({"type":"string"})), None);
        assert_eq!(check("/n", json!({"type":"number"})), None);
        assert_eq!(check("/id", json!({"type":"integer"})).unwrap(), "gives `string` where `integer` is wanted");
        assert!(check("/nope", json!({})).unwrap().contains("Nothing([\"id\", \"n\", \"o\"])"));
        assert!(
            check("/o", json!({"type":"object","required":["b"],"properties":{"b":{}}})).unwrap().contains("`b`")
        );
        assert!(check("/id/deeper", json!({})).unwrap().contains("Nothing"));
    }

    #[test]
    fn holes_are_not_judged_but_the_rest_is() {
        let schema = schema(json!({"type":"object","required":["a","b"],"properties":{"a":{"type":"string"},
            "b":{"type":"integer"}},"additionalProperties":false}));
        let holes = BTreeSet::from(["/a"]);
        assert!(schema.issues(&json!({"a":null,"b":1}), &holes, "").is_empty());
        let issues = schema.issues(&json!({"a":null,"b":"x","c":1}), &holes, "/steps/0/with");
        assert_eq!(issues.len(), 2, "{issues:?}");
        assert!(issues.iter().any(|issue| issue.pointer == "/steps/0/with/b"));
    }

    #[test]
    fn no_secrets_in_evidence_messages() {
        let schema = schema(json!({"type":"object","properties":{"card":{"type":"integer","x-sensitive":true}}}));
        let issues = schema.issues(&json!({"card":"4111-secret"}), &BTreeSet::new(), "");
        assert!(!issues[0].message.contains("4111"), "{issues:?}");
        let around = Schema::compile(&json!({"type":"object","maxProperties":1,
            "properties":{"card":{"type":"string","x-sensitive":true}}}))
        .unwrap();
        let issues = around.issues(&json!({"card":"4111-secret","more":1}), &BTreeSet::new(), "");
        assert!(issues.len() == 1 && !issues[0].message.contains("4111"), "{issues:?}");
    }
}
