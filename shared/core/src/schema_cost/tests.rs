//! INVARIANT (bounded-work): ordinary schemas are accepted, what doubles is refused, and counting
//! is quick.

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
        json!({ "type": "object", "properties": { "left": { "$ref": "#" },
            "right": { "$ref": "#" } } }),
        json!({ "properties": { "children": { "type": "array", "items": { "$ref": "#" } } },
            "additionalProperties": { "$ref": "#" } }),
        json!({ "$defs": { "e": { "oneOf": [
            { "properties": { "and": { "type": "array", "items": { "$ref": "#/$defs/e" } } } },
            { "properties": { "not": { "$ref": "#/$defs/e" } } }, { "type": "string" } ] } },
            "properties": { "where": { "$ref": "#/$defs/e" } } }),
        json!({ "$ref": "#/definitions/a%20b", "definitions": { "a b": { "type": "object" } } }),
        json!({ "$dynamicAnchor": "n", "properties": { "next": { "$dynamicRef": "#n" } } }),
        json!({ "items": [{ "$ref": "#" }, { "type": "null" }],
            "additionalItems": { "$ref": "#" } }),
        json!(true),
    ] {
        assert!(check(&schema).is_ok(), "{schema}");
    }
}

#[test]
fn bounded_work_what_doubles_is_refused() {
    let a = json!({ "properties": { "a": { "$ref": "#" } } });
    refused(&json!({ "allOf": [a, a] }), "doubles");
    refused(
        &json!({ "anyOf": [{ "items": { "$ref": "#" } }, { "items": { "$ref": "#" } }] }),
        "doubles",
    );
    refused(
        &json!({ "properties": { "a": { "allOf": [{ "$ref": "#" }, { "$ref": "#" }] } } }),
        "doubles",
    );
    refused(&json!({ "allOf": [a], "unevaluatedProperties": false }), "doubles");
    refused(
        &json!({ "patternProperties": { "a": { "$ref": "#" }, "b": { "$ref": "#" } } }),
        "doubles",
    );
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
    let chain: serde_json::Map<String, Value> = (0..9_000)
        .map(|n| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n + 1) })))
        .collect();
    let mut chain = json!({ "$defs": chain, "$ref": "#/$defs/d0" });
    chain["$defs"]["d9000"] = json!({});
    let _ = check(&chain);
    let wide: serde_json::Map<String, Value> =
        (0..4_000).map(|n| (format!("p{n}"), json!({ "$ref": "#" }))).collect();
    assert!(check(&json!({ "properties": wide })).is_ok());
    let every: Vec<Value> = (0..100).map(|n| json!({ "$ref": format!("#/$defs/d{n}") })).collect();
    let all: serde_json::Map<String, Value> = (0..100)
        .map(|n| (format!("d{n}"), json!({ "properties": { "x": { "anyOf": every } } })))
        .collect();
    let _ = check(&json!({ "$defs": all, "$ref": "#/$defs/d0" }));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}
