//! JSON Schemas of operations: compiled validators, whose messages do not quote the value.

use crate::sensitive::Marks;
use contracts::{
    Digest, Issue,
    limits::{ISSUES_MAX, SCHEMA_PATTERN_BYTES_MAX},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// Evaluations of subschemas that checking one value may take.
const CHECKS_MAX: u64 = 20_000_000;
/// Evaluations up to which everything that is wrong with a value is told. A place may be wrong in
/// as many ways as there are evaluations of it, and a validator holds them all at once; beyond, it
/// is only told that something is.
const CHECKS_TOLD_MAX: u64 = 100_000;

/// Longest part of a schema that a message quotes, in characters.
const QUOTED_CHARS_MAX: usize = 100;

/// A compiled JSON Schema, of the draft that its `$schema` names, else 2020-12; no references
/// outside the document.
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

impl Schema {
    /// Compiles a schema.
    pub fn compile(source: &Value) -> Result<Self, String> {
        if !source.is_object() {
            return Err("a schema is a JSON object".into());
        }
        let cost = crate::schema_cost::check(source)?;
        let validator =
            options().build(source).map_err(|error| format!("not a valid JSON Schema: {error}"))?;
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

    /// Whether the value is valid, and not too large for what its schema asks of each place.
    /// INVARIANT (bounded-work).
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

    /// What is wrong with a value, leaving out what concerns the places in `holes` (pointers whose
    /// values come later). `base` is put before each pointer.
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
            let told = holes
                .is_empty()
                .then_some("the value does not fit its schema; it is too large to say where");
            return told.map(whole).unwrap_or_default();
        }
        let mut issues = Vec::new();
        let mut sensitive = None;
        for error in self.validator.iter_errors(value) {
            let at = error.instance_path().to_string();
            let inside = above(&at).any(|above| holes.contains(above));
            // A combination (anyOf, not, ...) above a hole cannot be judged before the value is
            // there.
            let combined = holds_below(holes, &at) && is_combination(&error);
            if !inside && !combined {
                let sensitive = sensitive.get_or_insert_with(|| self.sensitive_in(value));
                // Below a sensitive place not even the names of members are shown.
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

    // The expectation, quoted from the schema. INVARIANT (no-secrets-in-evidence): a value is never
    // quoted.
    fn words(&self, error: &jsonschema::ValidationError<'_>) -> String {
        use jsonschema::error::ValidationErrorKind as Kind;
        let keyword = error.kind().keyword();
        let unexpected = match error.kind() {
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => unexpected,
            Kind::Required { property } => {
                return format!("`{keyword}`: {} is missing", clip(&property.to_string()));
            }
            // Without a schema of its own nothing is to be quoted.
            _ => &Vec::new(),
        };
        if let Some(first) = unexpected.first().filter(|_| !self.marks.any()) {
            let more = unexpected.len().saturating_sub(1);
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            return format!("`{keyword}`: `{}` is not allowed{more}", clip(first));
        }
        match self.source.pointer(error.schema_path().as_str()) {
            Some(wanted @ (Value::String(_) | Value::Number(_) | Value::Array(_)))
                if !is_nested(wanted) =>
            {
                format!("`{keyword}`: wants {}", clip(&wanted.to_string()))
            }
            _ => format!("`{keyword}` does not hold"),
        }
    }
}

/// How schemas are compiled: by the engine of patterns whose time is linear in the text, without
/// backtracking and look-around.
pub(crate) fn options() -> jsonschema::ValidationOptions<'static> {
    let patterns = jsonschema::PatternOptions::regex()
        .size_limit(SCHEMA_PATTERN_BYTES_MAX)
        .dfa_size_limit(SCHEMA_PATTERN_BYTES_MAX);
    jsonschema::options().with_pattern_options(patterns)
}

fn is_combination(error: &jsonschema::ValidationError<'_>) -> bool {
    let path = error.schema_path().to_string();
    let last = path.rsplit('/').next().unwrap_or_default();
    matches!(
        last,
        "anyOf"
            | "oneOf"
            | "not"
            | "if"
            | "then"
            | "else"
            | "allOf"
            | "enum"
            | "const"
            | "uniqueItems"
    )
}

// A pointer and all above it.
fn above(pointer: &str) -> impl Iterator<Item = &str> {
    let ends = pointer.match_indices('/').map(|(index, _)| index).chain([pointer.len()]);
    ends.filter_map(|end| pointer.get(..end))
}

// Whether one of the pointers is this one or below it.
fn holds_below(pointers: &BTreeSet<&str>, root: &str) -> bool {
    let below = format!("{root}/");
    pointers.contains(root)
        || pointers.range(below.as_str()..).next().is_some_and(|first| first.starts_with(&below))
}

/// Whether `pointer` is `root` or below it.
pub fn within(pointer: &str, root: &str) -> bool {
    pointer.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

// A list of schemas says nothing in a message.
fn is_nested(value: &Value) -> bool {
    value
        .as_array()
        .is_some_and(|items| items.iter().any(|item| item.is_object() || item.is_array()))
}

fn clip(text: &str) -> String {
    if text.chars().count() <= QUOTED_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(QUOTED_CHARS_MAX).chain(['…']).collect()
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
            let told = |value: Value, holes: &[&str]| {
                schema.issues(&value, &holes.iter().copied().collect(), "/in")
            };
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
    fn holes_are_not_judged_but_the_rest_is() {
        let schema = schema(
            json!({"type":"object","required":["a","b"],"properties":{"a":{"type":"string"},
            "b":{"type":"integer"}},"additionalProperties":false}),
        );
        let holes = BTreeSet::from(["/a"]);
        assert!(schema.issues(&json!({"a":null,"b":1}), &holes, "").is_empty());
        let issues = schema.issues(&json!({"a":null,"b":"x","c":1}), &holes, "/steps/0/with");
        assert_eq!(issues.len(), 2, "{issues:?}");
        assert!(issues.iter().any(|issue| issue.pointer == "/steps/0/with/b"));
    }

    #[test]
    fn no_secrets_in_evidence_messages() {
        let schema = schema(
            json!({"type":"object","properties":{"card":{"type":"integer","x-sensitive":true}}}),
        );
        let issues = schema.issues(&json!({"card":"4111-secret"}), &BTreeSet::new(), "");
        assert!(!issues[0].message.contains("4111"), "{issues:?}");
        let around = Schema::compile(&json!({"type":"object","maxProperties":1,
            "properties":{"card":{"type":"string","x-sensitive":true}}}))
        .unwrap();
        let issues = around.issues(&json!({"card":"4111-secret","more":1}), &BTreeSet::new(), "");
        assert!(issues.len() == 1 && !issues[0].message.contains("4111"), "{issues:?}");
    }
}
