//! The graph of a schema: its subschemas and their references.

use contracts::json::escape;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// A subschema, with the indices of those that it applies.
#[derive(Default)]
pub(super) struct Node {
    pub(super) pointer: String,
    /// Applied to the same place; twice if the schema has `unevaluated…`.
    pub(super) in_place: Vec<usize>,
    pub(super) weight: u64,
    /// By the name of a property, or `[n]`.
    pub(super) named: BTreeMap<String, usize>,
    /// For every property or item, whatever it is named.
    pub(super) every: Vec<usize>,
    /// For those that are not named.
    pub(super) others: Vec<usize>,
}

pub(super) struct Graph<'s> {
    pub(super) root: &'s Value,
    pub(super) nodes: Vec<Node>,
    /// By address: a subschema that is referred to twice is one.
    pub(super) index: HashMap<*const Value, usize>,
    pub(super) anchors: HashMap<&'s str, Vec<(String, &'s Value)>>,
    pub(super) open: Vec<(usize, &'s Value)>,
}

fn parts(value: &Value, at: String) -> Vec<(String, &Value)> {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().map(|(n, inner)| (format!("{at}/{n}"), inner)).collect()
        }
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

/// Keywords whose value is a schema, or a list or map of schemas, for the same place of a value.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];

const IN_PLACE_MAPS: [&str; 2] = ["dependentSchemas", "dependencies"];

impl<'s> Graph<'s> {
    pub(super) fn of(root: &'s Value) -> Result<Self, String> {
        let mut graph = Self {
            root,
            nodes: Vec::new(),
            index: HashMap::new(),
            anchors: HashMap::new(),
            open: Vec::new(),
        };
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
                        return Err(format!(
                            "{pointer}/$id: a schema inside of a schema has no `$id`"
                        ));
                    }
                    for key in ["$anchor", "$dynamicAnchor"] {
                        if let Some(name) = map.get(key).and_then(Value::as_str) {
                            self.anchors.entry(name).or_default().push((pointer.clone(), value));
                        }
                    }
                    open.extend(
                        map.iter()
                            .map(|(key, inner)| (format!("{pointer}/{}", escape(key)), inner)),
                    );
                }
                Value::Array(items) => {
                    open.extend(
                        items
                            .iter()
                            .enumerate()
                            .map(|(n, inner)| (format!("{pointer}/{n}"), inner)),
                    );
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
            let why = "is OpenAPI 3.0, and means nothing in JSON Schema: add `null` to `type`, and \
                to `enum` where there is one";
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
            for (pointer, inner) in
                map.get(keyword).into_iter().flat_map(|value| parts(value, at(keyword)))
            {
                node.in_place.push(self.node(pointer, inner));
            }
        }
        for keyword in IN_PLACE_MAPS {
            for (name, inner) in map.get(keyword).and_then(Value::as_object).into_iter().flatten() {
                node.in_place.push(self.node(format!("{}/{}", at(keyword), escape(name)), inner));
            }
        }
        for (name, inner) in map.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let child = self.node(format!("{}/{}", at("properties"), escape(name)), inner);
            node.named.insert(name.clone(), child);
        }
        for keyword in ["prefixItems", "items"] {
            for (n, inner) in
                map.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate()
            {
                node.named
                    .insert(format!("[{n}]"), self.node(format!("{}/{n}", at(keyword)), inner));
            }
        }
        for (name, inner) in
            map.get("patternProperties").and_then(Value::as_object).into_iter().flatten()
        {
            node.every
                .push(self.node(format!("{}/{}", at("patternProperties"), escape(name)), inner));
        }
        for keyword in ["contains", "propertyNames"] {
            node.every.extend(map.get(keyword).map(|inner| self.node(at(keyword), inner)));
        }
        let others = [
            "additionalProperties",
            "items",
            "additionalItems",
            "unevaluatedProperties",
            "unevaluatedItems",
        ];
        for keyword in others {
            let inner = map.get(keyword).filter(|inner| !inner.is_array());
            node.others.extend(inner.map(|inner| self.node(at(keyword), inner)));
        }
        let twice =
            map.contains_key("unevaluatedProperties") || map.contains_key("unevaluatedItems");
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
    pub(super) fn in_place_order(&self) -> Result<Vec<usize>, String> {
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
                let (Some(mark), Some(node)) = (marks.get_mut(index), self.nodes.get(index)) else {
                    continue;
                };
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
}
