//! The work that a schema can cause: bounded before it is compiled, and refused above a limit.
//!
//! A validator evaluates every subschema that applies to a place in a value. With references, one
//! place can be reached in many ways, and the number of ways can double with each level of the
//! value: `allOf` of two references to the root, for example. What is counted here bounds the
//! evaluations along any one path into a value of [`JSON_DEPTH_MAX`] levels, so that validation
//! costs at most that number for each place of the value.
//!
//! [`JSON_DEPTH_MAX`]: contracts::limits::JSON_DEPTH_MAX

mod count;
mod graph;

use contracts::limits::{SCHEMA_NODES_MAX, SCHEMA_PATTERNS_MAX};
use graph::Graph;
use serde_json::{Map, Value};

/// Words of an enumeration that are compared in the time of one evaluation.
const WORDS_AN_EVALUATION: usize = 8;

/// Refuses a schema that is too large or can cause too much work; says why, with a pointer into it.
/// Gives how many evaluations each place of a value may take.
///
/// INVARIANT (bounded-work).
pub(crate) fn check(source: &Value) -> Result<u64, String> {
    let words = check_size(source)?;
    let graph = Graph::of(source)?;
    let order = graph.in_place_order()?;
    Ok(graph.check_evaluations(&order)? + (words / WORDS_AN_EVALUATION) as u64)
}

// Objects and patterns, without a stack of calls: a reference may lead anywhere in the document.
// Gives the words of all enumerations.
fn check_size(source: &Value) -> Result<usize, String> {
    let (mut nodes, mut patterns, mut words) = (0_usize, 0_usize, 0_usize);
    let mut open = vec![source];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                nodes += 1;
                words += map.get("enum").and_then(Value::as_array).map_or(0, Vec::len);
                patterns += usize::from(map.get("pattern").is_some_and(Value::is_string));
                patterns +=
                    map.get("patternProperties").and_then(Value::as_object).map_or(0, Map::len);
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

#[cfg(test)]
mod tests;
