//! Normalised traces: without what differs between two runs of a scenario (times, identifiers,
//! hashes, ports).

use contracts::Timestamp;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// One line for each event. Consecutive events of steps are sorted by step, because the order in
/// which concurrent calls end is not defined.
pub(crate) fn normal(entries: &[Value]) -> Vec<String> {
    let mut ordered: Vec<&Value> = Vec::new();
    let mut steps: Vec<&Value> = Vec::new();
    for entry in entries {
        if step(entry).is_some() {
            steps.push(entry);
        } else {
            steps.sort_by_key(|entry| step(entry));
            ordered.append(&mut steps);
            ordered.push(entry);
        }
    }
    steps.sort_by_key(|entry| step(entry));
    ordered.append(&mut steps);
    let mut names = Names::default();
    ordered.into_iter().map(|entry| names.line(entry)).collect()
}

fn step(entry: &Value) -> Option<&str> {
    entry["metadata"]["stepId"].as_str()
}

/// Identifiers by the order in which they are first seen.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    fn line(&mut self, entry: &Value) -> String {
        let data = self.value(&entry["metadata"]);
        format!("{} {} {data}", entry["type"].as_str().unwrap_or_default(), entry["actorId"])
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                // The fence counts workers: how many there were depends on the time that waits
                // took.
                let timeless = keys
                    .into_iter()
                    .filter(|key| *key != "at" && *key != "fence" && !key.ends_with("At"));
                Value::Object(
                    timeless.map(|key| (key.clone(), self.value(&map[key]))).collect::<Map<_, _>>(),
                )
            }
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.value(item)).collect())
            }
            // Also where a sentence names a time.
            Value::String(text) => Value::String(
                text.split(' ').map(|part| self.part(part)).collect::<Vec<_>>().join(" "),
            ),
            other => other.clone(),
        }
    }

    fn part(&mut self, part: &str) -> String {
        if part.parse::<Timestamp>().is_ok() { "TIME".into() } else { self.text(part) }
    }

    // `exe_…`, `sha256:…`, ids of keys and the like become `exe#1`, `sha256#1`, `key#1`; ports of
    // this machine `PORT`.
    fn text(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
            let (before, word) = rest.split_at(at);
            out.push_str(before);
            let end = word
                .find(|c: char| !(c.is_ascii_alphanumeric() || "_:.".contains(c)))
                .unwrap_or(word.len());
            let (word, after) = word.split_at(end);
            out.push_str(&self.word(word));
            rest = after;
        }
        out + rest
    }

    fn word(&mut self, word: &str) -> String {
        let hex = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        let kind = match word.rsplit_once(['_', ':']) {
            Some((kind, id)) if hex(id, 12) || hex(id, 32) || hex(id, 64) => kind,
            Some(("127.0.0.1", port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
                return "127.0.0.1:PORT".into();
            }
            // An API key's id.
            None if hex(word, 12) => "key",
            _ => return word.to_owned(),
        };
        let count = self.0.len() + 1;
        self.0.entry(word.to_owned()).or_insert_with(|| format!("{kind}#{count}")).clone()
    }
}
