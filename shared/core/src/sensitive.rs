//! Sensitive places: the pointers of a value that the `x-sensitive` marks of a schema apply to.
//!
//! A walk over schema and value together. It takes every branch (`anyOf`, `then`, `else`, even
//! `not`) whether or not the value is valid under it, so that it finds all places whose annotations
//! a validator would report, also in a draft with holes, where validation fails and a validator
//! drops them. What it takes too much is sealed, never shown. A mark that no walk could honour (in
//! `propertyNames`, behind a reference that leads nowhere, in a definition that nothing refers to)
//! is refused when the schema is compiled, with its pointer.
//!
//! INVARIANT (no-secrets-in-evidence).

use contracts::json::escape;
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The keyword.
pub const MARK: &str = "x-sensitive";
/// Most pairs of subschema and place that one walk looks at. A value that needs more is sensitive
/// as a whole.
const WALK_STEPS_MAX: usize = 500_000;

/// Keywords whose members are named by the author, not by JSON Schema.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];
/// Keywords whose value is data.
const DATA: [&str; 5] = ["enum", "const", "default", "examples", "required"];
/// Keywords with one schema for the very value, or a list of them.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
/// Keywords with a reference to a schema for the very value.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
/// Keywords that give a part of a document another base for its references.
const IDS: [&str; 2] = ["$id", "id"];

/// A mark that cannot be honoured, or a construct that prevents one from being honoured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pointer}`: {why}")]
pub struct MarkError {
    /// Into the schema.
    pub pointer: String,
    pub why: String,
}

/// The marks of a schema.
#[derive(Default)]
pub(crate) struct Marks {
    any: bool,
    /// `prefixItems` keeps `items` from the first items: JSON Schema 2020-12.
    after_prefix: bool,
    /// The `$id` of the document, without its fragment.
    base: String,
    /// Pointers of subschemas by their anchor.
    anchors: BTreeMap<String, Vec<String>>,
    /// A validator of property names for each of `patternProperties`: the same regular expressions
    /// as validation uses.
    patterns: BTreeMap<String, Validator>,
}

/// One step from a value into one of its parts.
#[derive(Clone, Copy)]
enum Hop<'h> {
    Name(&'h str),
    Index(usize),
}

impl Marks {
    /// Reads the marks of a schema.
    pub(crate) fn read(root: &Value, draft: Draft) -> Result<Self, MarkError> {
        let mut scan = Scan::default();
        scan.schema(root, String::new())?;
        if scan.marks.is_empty() {
            return Ok(Self::default());
        }
        if let Some(pointer) = scan
            .ids
            .iter()
            .find(|pointer| pointer.rsplit_once('/').is_some_and(|(of, _)| !of.is_empty()))
        {
            let why = "a part of the schema with an identifier of its own keeps `x-sensitive` from \
                being followed";
            return Err(MarkError { pointer: pointer.clone(), why: why.into() });
        }
        let id = IDS.iter().find_map(|key| root.get(*key)?.as_str()).unwrap_or_default();
        let after_prefix =
            !matches!(draft, Draft::Draft4 | Draft::Draft6 | Draft::Draft7 | Draft::Draft201909);
        let mut marks = Self {
            any: true,
            after_prefix,
            base: id.split('#').next().unwrap_or_default().to_owned(),
            anchors: scan.anchors,
            patterns: BTreeMap::new(),
        };
        let reached = marks.reach(root)?;
        for pointer in scan.marks {
            let found = root.pointer(&pointer).map(std::ptr::from_ref);
            if !found.is_some_and(|found| reached.contains(&found)) {
                let why = "`x-sensitive` stands where no part of a value can be";
                return Err(MarkError { pointer: format!("{pointer}/{MARK}"), why: why.into() });
            }
        }
        Ok(marks)
    }

    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        self.any
    }

    /// The outermost sensitive places of a value.
    pub(crate) fn places(&self, root: &Value, value: &Value) -> BTreeSet<String> {
        if self.any { self.walk(root, vec![root], value) } else { BTreeSet::new() }
    }

    /// The same of a value that stands at `path` of a larger one that is not known.
    pub(crate) fn places_below(&self, root: &Value, path: &str, value: &Value) -> BTreeSet<String> {
        if !self.any {
            return BTreeSet::new();
        }
        let mut there = self.closure(root, vec![root], &|_| true);
        for token in path.split('/').skip(1) {
            if is_marked(&there) {
                return BTreeSet::from([String::new()]);
            }
            let token = token.replace("~1", "/").replace("~0", "~");
            let mut next = Vec::new();
            for schema in there.iter().filter_map(|schema| schema.as_object()) {
                next.extend(self.hop(schema, Hop::Name(&token)));
                if let Ok(index) = token.parse() {
                    next.extend(self.hop(schema, Hop::Index(index)));
                }
            }
            there = self.closure(root, next, &|_| true);
        }
        self.walk(root, there, value)
    }

    fn walk(&self, root: &Value, schemas: Vec<&Value>, value: &Value) -> BTreeSet<String> {
        let mut places = BTreeSet::new();
        let mut steps = 0;
        let mut open = vec![(String::new(), value, schemas)];
        while let Some((at, value, schemas)) = open.pop() {
            let here = self.closure(root, schemas, &|name| value.get(name).is_some());
            steps += here.len();
            if steps > WALK_STEPS_MAX {
                return BTreeSet::from([String::new()]);
            }
            if is_marked(&here) {
                places.insert(at);
                continue;
            }
            let parts = |hop: Hop<'_>| -> Vec<&Value> {
                here.iter()
                    .filter_map(|schema| schema.as_object())
                    .flat_map(|schema| self.hop(schema, hop))
                    .collect()
            };
            match value {
                Value::Object(map) => {
                    for (name, inner) in map {
                        let inside = parts(Hop::Name(name));
                        if !inside.is_empty() {
                            open.push((format!("{at}/{}", escape(name)), inner, inside));
                        }
                    }
                }
                Value::Array(items) => {
                    for (index, inner) in items.iter().enumerate() {
                        let inside = parts(Hop::Index(index));
                        if !inside.is_empty() {
                            open.push((format!("{at}/{index}"), inner, inside));
                        }
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        places
    }

    // These schemas and all that apply to the same value: each once, so that recursive references
    // end.
    fn closure<'s>(
        &self,
        root: &'s Value,
        schemas: Vec<&'s Value>,
        present: &dyn Fn(&str) -> bool,
    ) -> Vec<&'s Value> {
        let mut seen: HashSet<*const Value> = HashSet::new();
        let mut found = Vec::new();
        let mut open = schemas;
        while let Some(schema) = open.pop() {
            if !seen.insert(std::ptr::from_ref(schema)) {
                continue;
            }
            found.push(schema);
            let Some(map) = schema.as_object() else { continue };
            open.extend(IN_PLACE.iter().filter_map(|key| map.get(*key)).flat_map(one_or_many));
            for dependent in ["dependentSchemas", "dependencies"] {
                let named = map.get(dependent).and_then(Value::as_object).into_iter().flatten();
                open.extend(
                    named
                        .filter(|(name, inner)| present(name) && !inner.is_array())
                        .map(|(_, inner)| inner),
                );
            }
            for key in REFERENCES {
                let text = map.get(key).and_then(Value::as_str);
                open.extend(text.and_then(|text| self.target(root, text)).into_iter().flatten());
            }
        }
        found
    }

    // What a reference leads to; a dynamic one to every place it could. `None` where that is
    // outside the document.
    fn target<'s>(&self, root: &'s Value, reference: &str) -> Option<Vec<&'s Value>> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        if !base.is_empty() && base != self.base {
            return None;
        }
        let fragment = percent_decoded(fragment)?;
        let found: Vec<&Value> = if fragment.is_empty() || fragment.starts_with('/') {
            root.pointer(&fragment).into_iter().collect()
        } else {
            self.anchors
                .get(&fragment)?
                .iter()
                .filter_map(|pointer| root.pointer(pointer))
                .collect()
        };
        Some(found).filter(|found| !found.is_empty())
    }

    // The subschemas for one part of a value.
    fn hop<'s>(&self, schema: &'s Map<String, Value>, hop: Hop<'_>) -> Vec<&'s Value> {
        let get = |key: &str| schema.get(key).filter(|inner| inner.is_object());
        let mut found = Vec::new();
        match hop {
            Hop::Name(name) => {
                found.extend(schema.get("properties").and_then(|properties| properties.get(name)));
                let patterns = schema.get("patternProperties").and_then(Value::as_object);
                let named = Value::String(name.to_owned());
                for (pattern, inner) in patterns.into_iter().flatten() {
                    // A pattern that could not be compiled matches everything.
                    if self.patterns.get(pattern).is_none_or(|pattern| pattern.is_valid(&named)) {
                        found.push(inner);
                    }
                }
                if found.is_empty() {
                    found.extend(
                        ["additionalProperties", "unevaluatedProperties"]
                            .into_iter()
                            .filter_map(get),
                    );
                }
            }
            Hop::Index(index) => {
                let positional = |key: &str| schema.get(key).and_then(Value::as_array);
                let prefix = positional("prefixItems").map_or(0, Vec::len);
                found.extend(positional("prefixItems").and_then(|items| items.get(index)));
                found.extend(positional("items").and_then(|items| items.get(index)));
                found.extend(get("items").filter(|_| !self.after_prefix || index >= prefix));
                let behind = positional("items").is_some_and(|items| index >= items.len());
                found.extend(get("additionalItems").filter(|_| behind));
                found.extend(get("contains"));
                found.extend(get("unevaluatedItems").filter(|_| index >= prefix));
            }
        }
        found
    }

    // Every subschema that some part of some value can meet. Compiles the patterns on the way.
    fn reach(&mut self, root: &Value) -> Result<HashSet<*const Value>, MarkError> {
        let mut seen = HashSet::new();
        let mut open = vec![(String::new(), root)];
        while let Some((at, schema)) = open.pop() {
            if !seen.insert(std::ptr::from_ref(schema)) {
                continue;
            }
            let Some(map) = schema.as_object() else { continue };
            for key in REFERENCES {
                let Some(text) = map.get(key).and_then(Value::as_str) else { continue };
                let pointer = format!("{at}/{key}");
                let targets = self.target(root, text).ok_or_else(|| MarkError {
                    pointer: pointer.clone(),
                    why: "a schema with `x-sensitive` refers to places of its own only".into(),
                })?;
                // Where a target lies is told by the reference.
                open.extend(targets.into_iter().map(|target| (pointer.clone(), target)));
            }
            for (key, inner) in map {
                let here = format!("{at}/{}", escape(key));
                match key.as_str() {
                    "properties" | "patternProperties" | "dependentSchemas" | "dependencies" => {
                        for (name, inner) in inner.as_object().into_iter().flatten() {
                            open.push((format!("{here}/{}", escape(name)), inner));
                        }
                    }
                    "prefixItems" | "items" => {
                        open.extend(one_or_many(inner).map(|inner| (here.clone(), inner)))
                    }
                    "additionalItems" if !map.get("items").is_some_and(Value::is_array) => {}
                    "additionalItems"
                    | "contains"
                    | "unevaluatedItems"
                    | "additionalProperties"
                    | "unevaluatedProperties" => open.push((here, inner)),
                    key if IN_PLACE.contains(&key) => {
                        open.extend(one_or_many(inner).map(|inner| (here.clone(), inner)));
                    }
                    _ => {}
                }
            }
            for pattern in map
                .get("patternProperties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(p, _)| p)
            {
                let named = serde_json::json!({ "pattern": pattern });
                if let Ok(validator) = crate::schema::options().build(&named) {
                    self.patterns.insert(pattern.clone(), validator);
                }
            }
        }
        Ok(seen)
    }
}

fn is_marked(schemas: &[&Value]) -> bool {
    schemas.iter().any(|schema| schema.get(MARK) == Some(&Value::Bool(true)))
}

fn one_or_many(value: &Value) -> impl Iterator<Item = &Value> {
    let many = value.as_array().map(Vec::as_slice).unwrap_or_default();
    many.iter().chain(Some(value).filter(|value| !value.is_array()))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Everything in a document that is a schema, or would be if something referred to it.
#[derive(Default)]
struct Scan {
    /// Pointers of schemas that are marked.
    marks: Vec<String>,
    anchors: BTreeMap<String, Vec<String>>,
    /// Pointers of identifiers.
    ids: Vec<String>,
}

impl Scan {
    fn schema(&mut self, schema: &Value, at: String) -> Result<(), MarkError> {
        match schema {
            Value::Object(map) => {
                for (key, inner) in map {
                    let here = format!("{at}/{}", escape(key));
                    self.keyword(key, inner, here, &at)?;
                }
                Ok(())
            }
            Value::Array(items) => items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| self.schema(item, format!("{at}/{index}"))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn keyword(
        &mut self,
        key: &str,
        value: &Value,
        here: String,
        at: &str,
    ) -> Result<(), MarkError> {
        match (key, value) {
            (MARK, Value::Bool(true)) => self.marks.push(at.to_owned()),
            (MARK, Value::Bool(false)) => {}
            (MARK, _) => {
                return Err(MarkError {
                    pointer: here,
                    why: "`x-sensitive` is `true` or `false`".into(),
                });
            }
            ("$anchor" | "$dynamicAnchor", Value::String(name)) => {
                self.anchors.entry(name.clone()).or_default().push(at.to_owned());
            }
            ("$id" | "id", Value::String(name)) => match name.strip_prefix('#') {
                Some(anchor) => {
                    self.anchors.entry(anchor.to_owned()).or_default().push(at.to_owned())
                }
                None => self.ids.push(here),
            },
            (key, Value::Object(named)) if NAMED.contains(&key) => {
                for (name, inner) in named {
                    self.schema(inner, format!("{here}/{}", escape(name)))?;
                }
            }
            (key, _) if DATA.contains(&key) => {}
            (_, inner) => self.schema(inner, here)?,
        }
        Ok(())
    }
}
