//! How much work a schema can cause: counted before it is compiled, and refused where it is too much.
//!
//! A validator evaluates every subschema that applies to a place in a value. With references, one place can be reached
//! in many ways, and the number of ways can double with each level of the value: `allOf` of two references to the
//! root, for example. What is counted here bounds the evaluations along any one path into a value of
//! [`JSON_DEPTH_MAX`] levels, so that validation costs at most that number for each place of the value.

use contracts::{
    json::escape,
    limits::{JSON_DEPTH_MAX, SCHEMA_EVALUATIONS_MAX, SCHEMA_NODES_MAX, SCHEMA_PATTERNS_MAX},
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// Steps of counting itself.
const COUNTING_STEPS_MAX: usize = 400_000;

/// Keywords whose value is a schema, or a list or map of schemas, for the same place of a value.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
const IN_PLACE_MAPS: [&str; 2] = ["dependentSchemas", "dependencies"];

/// Words of an enumeration that are compared in the time of one evaluation.
const WORDS_AN_EVALUATION: usize = 8;

/// Refuses a schema that is too large or can cause too much work; says why, with a pointer into it. Gives how many
/// evaluations each place of a value may take.
///
/// INVARIANT (bounded-work).
pub(crate) fn check(source: &Value) -> Result<u64, String> {
    let words = check_size(source)?;
    let graph = Graph::of(source)?;
    let order = graph.in_place_order()?;
    Ok(graph.check_evaluations(&order)? + (words / WORDS_AN_EVALUATION) as u64)
}

// Objects and patterns, without a stack of calls: a reference may lead anywhere in the document. Gives the words of all
// enumerations.
fn check_size(source: &Value) -> Result<usize, String> {
    let (mut nodes, mut patterns, mut words) = (0_usize, 0_usize, 0_usize);
    let mut open = vec![source];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                nodes += 1;
                words += map.get("enum").and_then(Value::as_array).map_or(0, Vec::len);
                patterns += usize::from(map.get("pattern").is_some_and(Value::is_string));
                patterns += map.get("patternProperties").and_then(Value::as_object).map_or(0, Map::len);
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    if nodes > SCHEMA_NODES_MAX {
        return Err(format!("{nodes} objects; a schema has at most {SCHEMA_NODES_MAX}"));
    }
    if patterns > SCHEMA_PATTERNS_MAX {
        return Err(format!("{patterns} patterns; a schema has at most {SCHEMA_PATTERNS_MAX}"));
    }
    Ok(words)
}

/// A subschema and those it leads to, by their index.
#[derive(Default)]
struct Node {
    pointer: String,
    /// For the same place; those of a schema with `unevaluated…` are looked at twice.
    in_place: Vec<usize>,
    weight: u64,
    /// By the name of a property, or `[n]`.
    named: BTreeMap<String, usize>,
    /// For every property or item, whatever it is named.
    every: Vec<usize>,
    /// For those that are not named.
    others: Vec<usize>,
}

struct Graph<'s> {
    root: &'s Value,
    nodes: Vec<Node>,
    /// By address: a subschema that is referred to twice is one.
    index: HashMap<*const Value, usize>,
    anchors: HashMap<&'s str, Vec<(String, &'s Value)>>,
    open: Vec<(usize, &'s Value)>,
}

impl<'s> Graph<'s> {
    fn of(root: &'s Value) -> Result<Self, String> {
        let mut graph =
            Self { root, nodes: Vec::new(), index: HashMap::new(), anchors: HashMap::new(), open: Vec::new() };
        graph.find_anchors()?;
        graph.node(String::new(), root);
        while let Some((index, schema)) = graph.open.pop() {
            let node = graph.read(index, schema)?;
            if let Some(slot) = graph.nodes.get_mut(index) {
                *slot = node;
            }
        }
        Ok(graph)
    }

    fn find_anchors(&mut self) -> Result<(), String> {
        let mut open = vec![(String::new(), self.root)];
        while let Some((pointer, value)) = open.pop() {
            match value {
                Value::Object(map) => {
                    if !pointer.is_empty() && map.get("$id").is_some_and(Value::is_string) {
                        return Err(format!("{pointer}/$id: a schema inside of a schema has no `$id`"));
                    }
                    for key in ["$anchor", "$dynamicAnchor"] {
                        if let Some(name) = map.get(key).and_then(Value::as_str) {
                            self.anchors.entry(name).or_default().push((pointer.clone(), value));
                        }
                    }
                    open.extend(map.iter().map(|(key, inner)| (format!("{pointer}/{}", escape(key)), inner)));
                }
                Value::Array(items) => {
                    open.extend(items.iter().enumerate().map(|(n, inner)| (format!("{pointer}/{n}"), inner)));
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        Ok(())
    }

    // The index of a subschema; one that is new is read later.
    fn node(&mut self, pointer: String, schema: &'s Value) -> usize {
        if let Some(index) = self.index.get(&std::ptr::from_ref(schema)) {
            return *index;
        }
        let index = self.nodes.len();
        self.index.insert(std::ptr::from_ref(schema), index);
        self.nodes.push(Node { pointer, ..Node::default() });
        self.open.push((index, schema));
        index
    }

    fn read(&mut self, index: usize, schema: &'s Value) -> Result<Node, String> {
        let pointer = self.nodes.get(index).map(|node| node.pointer.clone()).unwrap_or_default();
        let mut node = Node { pointer: pointer.clone(), ..Node::default() };
        let Some(map) = schema.as_object() else { return Ok(node) };
        let at = |keyword: &str| format!("{pointer}/{}", escape(keyword));
        if map.get("nullable") == Some(&Value::Bool(true)) {
            let why = "is OpenAPI 3.0, and means nothing in JSON Schema: add `null` to `type`, and to `enum` where there is one";
            return Err(format!("{}: {why}", at("nullable")));
        }
        for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
            if let Some(reference) = map.get(keyword).and_then(Value::as_str) {
                for (pointer, target) in self.targets(reference, &at(keyword))? {
                    node.in_place.push(self.node(pointer, target));
                }
            }
        }
        for keyword in IN_PLACE {
            for (pointer, inner) in map.get(keyword).into_iter().flat_map(|value| parts(value, at(keyword))) {
                node.in_place.push(self.node(pointer, inner));
            }
        }
        for keyword in IN_PLACE_MAPS {
            for (name, inner) in map.get(keyword).and_then(Value::as_object).into_iter().flatten() {
                node.in_place.push(self.node(format!("{}/{}", at(keyword), escape(name)), inner));
            }
        }
        for (name, inner) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let child = self.node(format!("{}/{}", at("properties"), escape(name)), inner);
            node.named.insert(name.clone(), child);
        }
        for keyword in ["prefixItems", "items"] {
            for (n, inner) in map.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
                node.named.insert(format!("[{n}]"), self.node(format!("{}/{n}", at(keyword)), inner));
            }
        }
        for (name, inner) in map.get("patternProperties").and_then(Value::as_object).into_iter().flatten() {
            node.every.push(self.node(format!("{}/{}", at("patternProperties"), escape(name)), inner));
        }
        for keyword in ["contains", "propertyNames"] {
            node.every.extend(map.get(keyword).map(|inner| self.node(at(keyword), inner)));
        }
        let others =
            ["additionalProperties", "items", "additionalItems", "unevaluatedProperties", "unevaluatedItems"];
        for keyword in others {
            let inner = map.get(keyword).filter(|inner| !inner.is_array());
            node.others.extend(inner.map(|inner| self.node(at(keyword), inner)));
        }
        let twice = map.contains_key("unevaluatedProperties") || map.contains_key("unevaluatedItems");
        node.weight = if twice { 2 } else { 1 };
        Ok(node)
    }

    fn targets(&self, reference: &str, at: &str) -> Result<Vec<(String, &'s Value)>, String> {
        let unknown = || format!("{at}: `{reference}` is no place of this schema");
        let fragment = reference.strip_prefix('#').ok_or_else(unknown)?;
        if fragment.is_empty() || fragment.starts_with('/') {
            let pointer = percent_decoded(fragment).ok_or_else(unknown)?;
            let target = self.root.pointer(&pointer).ok_or_else(unknown)?;
            return Ok(vec![(pointer, target)]);
        }
        self.anchors.get(fragment).cloned().ok_or_else(unknown)
    }

    /// Every subschema after those that it applies to the same place.
    fn in_place_order(&self) -> Result<Vec<usize>, String> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        for start in 0..self.nodes.len() {
            let mut path = vec![(start, 0_usize)];
            while let Some((index, next)) = path.pop() {
                let (Some(mark), Some(node)) = (marks.get_mut(index), self.nodes.get(index)) else { continue };
                if next == 0 {
                    match *mark {
                        Mark::Done => continue,
                        Mark::Open => {
                            let pointer = &node.pointer;
                            return Err(format!(
                                "{pointer}: it refers to itself without going deeper into the value"
                            ));
                        }
                        Mark::New => *mark = Mark::Open,
                    }
                }
                match node.in_place.get(next) {
                    Some(inner) => path.extend([(index, next + 1), (*inner, 0)]),
                    None => {
                        *mark = Mark::Done;
                        order.push(index);
                    }
                }
            }
        }
        Ok(order)
    }

    // A subschema that is nothing but a reference stands for what it refers to. Loops of such were refused before.
    fn resolved(&self, mut index: usize) -> usize {
        while let Some(node) = self.nodes.get(index)
            && let ([target], true, true, true) =
                (node.in_place.as_slice(), node.named.is_empty(), node.every.is_empty(), node.others.is_empty())
        {
            index = *target;
        }
        index
    }

    fn check_evaluations(&self, order: &[usize]) -> Result<u64, String> {
        let mut rank = vec![0_usize; self.nodes.len()];
        for (position, index) in order.iter().enumerate() {
            if let Some(slot) = rank.get_mut(*index) {
                *slot = position;
            }
        }
        // Only the root and what is one level deeper than something else begin anew.
        let mut entries: Vec<usize> = vec![0];
        for node in &self.nodes {
            let deeper = node.named.values().chain(&node.every).chain(&node.others);
            entries.extend(deeper.map(|index| self.resolved(*index)));
        }
        entries.sort_unstable();
        entries.dedup();
        let mut steps = 0;
        let mut levels: BTreeMap<usize, Level> = BTreeMap::new();
        for entry in entries {
            levels.insert(entry, self.level(entry, order, &rank, &mut steps)?);
        }
        let mut counts: HashMap<usize, u64> = levels.iter().map(|(entry, level)| (*entry, level.own)).collect();
        for _ in 0..JSON_DEPTH_MAX {
            let mut next = HashMap::with_capacity(counts.len());
            for (entry, level) in &levels {
                let count = level.count(&counts);
                if count > SCHEMA_EVALUATIONS_MAX {
                    return Err(self.too_much(*entry));
                }
                next.insert(*entry, count);
            }
            if next == counts {
                break;
            }
            counts = next;
        }
        Ok(counts.get(&0).copied().unwrap_or(1))
    }

    fn too_much(&self, entry: usize) -> String {
        let pointer = self.nodes.get(entry).map(|node| node.pointer.as_str()).unwrap_or_default();
        format!(
            "`{pointer}`: one value can be reached in more than {SCHEMA_EVALUATIONS_MAX} ways: the work doubles with depth"
        )
    }

    // What applies to one place, each as often as it is reached.
    fn level(&self, entry: usize, order: &[usize], rank: &[usize], steps: &mut usize) -> Result<Level, String> {
        let of = |index: usize| rank.get(index).copied().unwrap_or_default();
        let mut level = Level::default();
        let mut open = BTreeMap::from([(of(entry), 1_u64)]);
        while let Some((position, times)) = open.pop_last() {
            let Some(node) = order.get(position).and_then(|index| self.nodes.get(*index)) else { continue };
            *steps += 1 + node.in_place.len() + node.named.len() + node.every.len() + node.others.len();
            level.own = level.own.saturating_add(times);
            if level.own > SCHEMA_EVALUATIONS_MAX {
                return Err(self.too_much(entry));
            }
            if *steps > COUNTING_STEPS_MAX {
                return Err(format!("`{}`: too many subschemas apply to one value", node.pointer));
            }
            for inner in &node.in_place {
                let sum = open.entry(of(*inner)).or_default();
                *sum = sum.saturating_add(times.saturating_mul(node.weight));
            }
            level.every.extend(node.every.iter().map(|child| (self.resolved(*child), times)));
            level.others.extend(node.others.iter().map(|child| (self.resolved(*child), times)));
            for (name, child) in &node.named {
                let named = level.named.entry(name.clone()).or_default();
                named.children.push((self.resolved(*child), times));
                named.not.extend(node.others.iter().map(|other| (self.resolved(*other), times)));
            }
        }
        Ok(level)
    }
}

/// What applies one level deeper than an entry.
#[derive(Default)]
struct Level {
    own: u64,
    named: BTreeMap<String, Named>,
    every: Vec<(usize, u64)>,
    others: Vec<(usize, u64)>,
}

#[derive(Default)]
struct Named {
    children: Vec<(usize, u64)>,
    /// Of `others`, those that leave this name out.
    not: Vec<(usize, u64)>,
}

impl Level {
    // The evaluations along the dearest path, if those one level deeper are `counts`.
    fn count(&self, counts: &HashMap<usize, u64>) -> u64 {
        let sum = |list: &[(usize, u64)]| {
            list.iter().fold(0_u64, |total, (child, times)| {
                total.saturating_add(times.saturating_mul(counts.get(child).copied().unwrap_or(1)))
            })
        };
        let (every, others) = (sum(&self.every), sum(&self.others));
        let named = self.named.values().map(|named| sum(&named.children) + others.saturating_sub(sum(&named.not)));
        self.own.saturating_add(every).saturating_add(named.chain([others]).max().unwrap_or_default())
    }
}

fn parts(value: &Value, at: String) -> Vec<(String, &Value)> {
    match value {
        Value::Array(items) => items.iter().enumerate().map(|(n, inner)| (format!("{at}/{n}"), inner)).collect(),
        one => vec![(at, one)],
    }
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

#[cfg(test)]
mod tests {
    use super::check;
    use serde_json::{Value, json};

    #[track_caller]
    fn refused(schema: &Value, says: &str) {
        let why = check(schema).unwrap_err();
        assert!(why.contains(says), "{why}");
    }

    #[test]
    fn bounded_work_ordinary_recursion_is_taken() {
        for schema in [
            json!({ "type": "object", "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } }),
            json!({ "properties": { "children": { "type": "array", "items": { "$ref": "#" } } },
                "additionalProperties": { "$ref": "#" } }),
            json!({ "$defs": { "e": { "oneOf": [
                { "properties": { "and": { "type": "array", "items": { "$ref": "#/$defs/e" } } } },
                { "properties": { "not": { "$ref": "#/$defs/e" } } }, { "type": "string" } ] } },
                "properties": { "where": { "$ref": "#/$defs/e" } } }),
            json!({ "$ref": "#/definitions/a%20b", "definitions": { "a b": { "type": "object" } } }),
            json!({ "$dynamicAnchor": "n", "properties": { "next": { "$dynamicRef": "#n" } } }),
            json!({ "items": [{ "$ref": "#" }, { "type": "null" }], "additionalItems": { "$ref": "#" } }),
            json!(true),
        ] {
            assert!(check(&schema).is_ok(), "{schema}");
        }
    }

    #[test]
    fn bounded_work_what_doubles_is_refused() {
        let a = json!({ "properties": { "a": { "$ref": "#" } } });
        refused(&json!({ "allOf": [a, a] }), "doubles");
        refused(&json!({ "anyOf": [{ "items": { "$ref": "#" } }, { "items": { "$ref": "#" } }] }), "doubles");
        refused(&json!({ "properties": { "a": { "allOf": [{ "$ref": "#" }, { "$ref": "#" }] } } }), "doubles");
        refused(&json!({ "allOf": [a], "unevaluatedProperties": false }), "doubles");
        refused(&json!({ "patternProperties": { "a": { "$ref": "#" }, "b": { "$ref": "#" } } }), "doubles");
        // Without recursion: 2^20 ways to one definition.
        let mut chain = json!({ "$defs": { "d20": { "type": "string" } }, "$ref": "#/$defs/d0" });
        for n in 0..20 {
            let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
            chain["$defs"][format!("d{n}")] = json!({ "allOf": [next, next] });
        }
        refused(&chain, "ways");
        refused(&json!({ "allOf": [{ "$ref": "#" }] }), "itself");
        refused(&json!({ "$ref": "https://example.com/other.json" }), "no place");
        refused(&json!({ "$ref": "#/nowhere" }), "no place");
        refused(&json!({ "allOf": vec![json!({}); 10_001] }), "objects");
        let patterns: serde_json::Map<String, Value> =
            (0..=super::SCHEMA_PATTERNS_MAX).map(|n| (format!("^{n}"), json!({}))).collect();
        refused(&json!({ "patternProperties": patterns }), "patterns");
    }

    #[test]
    fn bounded_work_counting_itself_is_quick() {
        let begun = std::time::Instant::now();
        // A long chain of references, a wide object, and everything refers to everything.
        let chain: serde_json::Map<String, Value> =
            (0..9_000).map(|n| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n + 1) }))).collect();
        let mut chain = json!({ "$defs": chain, "$ref": "#/$defs/d0" });
        chain["$defs"]["d9000"] = json!({});
        let _ = check(&chain);
        let wide: serde_json::Map<String, Value> =
            (0..4_000).map(|n| (format!("p{n}"), json!({ "$ref": "#" }))).collect();
        assert!(check(&json!({ "properties": wide })).is_ok());
        let every: Vec<Value> = (0..100).map(|n| json!({ "$ref": format!("#/$defs/d{n}") })).collect();
        let all: serde_json::Map<String, Value> =
            (0..100).map(|n| (format!("d{n}"), json!({ "properties": { "x": { "anyOf": every } } }))).collect();
        let _ = check(&json!({ "$defs": all, "$ref": "#/$defs/d0" }));
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
