//! Data is never control, and every mark counts: properties over generated values and schemas.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds what it does not expect ends there"
)]

use contracts::{draft::Draft, manifest::Manifest, plan::PlanStep};
use countersign_core::{
    plan::{self, Compiled, wiring},
    schema::{Schema, within},
    seal::{self, Sealed, Secrets},
    skill::{Registry, Skill},
    suggest::Suggestions,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// Generated values, of the property that each is passed on as it is.
const VALUES: usize = 100_000;
/// Generated pairs of schema and value.
const PAIRS: usize = 2_000;

/// A small linear congruential generator: the tests need variety, not unpredictability.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    /// A value full of what looks like a marker.
    fn value(&mut self, depth: usize) -> Value {
        const KEYS: [&str; 18] = [
            "$from", "$literal", "$sealed", "$blob", "$input", "path", "seals", "value",
            "__entity", "__extn", "a/b", "~0", "", "secret", "list", "blob", "salt", "when",
        ];
        const TEXTS: [&str; 6] = ["give", "/secret", "", "steps/take/input", "S3CRET", "~1"];
        match self.roll(if depth == 0 { 5 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.roll(2) == 0),
            2 => json!(self.roll(1_000)),
            3 => json!(format!("sha256:{:064x}", self.roll(10))),
            4 => json!(TEXTS[self.roll(TEXTS.len())]),
            5 | 6 => (0..self.roll(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let mut members = Map::new();
                for _ in 0..self.roll(5) {
                    members.insert(KEYS[self.roll(KEYS.len())].to_owned(), self.value(depth - 1));
                }
                members.into()
            }
        }
    }

    /// A schema of every applicator, over members `a`, `b`, `c` and items.
    fn schema(&mut self, depth: usize) -> Value {
        let mut schema = Map::new();
        if self.roll(4) == 0 {
            schema.insert("x-sensitive".into(), json!(true));
        }
        if depth == 0 {
            return schema.into();
        }
        let name = |dice: &mut Self| ["a", "b", "c"][dice.roll(3)].to_owned();
        for _ in 0..=self.roll(2) {
            let inner = self.schema(depth - 1);
            match self.roll(22) {
                0 | 1 => schema.insert(
                    "properties".into(),
                    json!({ name(self): inner, name(self): self.schema(depth - 1) }),
                ),
                2 => schema.insert("patternProperties".into(), json!({ "^[ab]$": inner })),
                3 => schema.insert("additionalProperties".into(), inner),
                4 => schema.insert("items".into(), inner),
                5 => schema.insert("prefixItems".into(), json!([inner, self.schema(depth - 1)])),
                6 => schema.insert("contains".into(), inner),
                7 => schema.insert("allOf".into(), json!([inner, self.schema(depth - 1)])),
                8 => schema.insert("anyOf".into(), json!([inner, self.schema(depth - 1)])),
                9 => schema.insert("oneOf".into(), json!([inner, self.schema(depth - 1)])),
                10 => schema.insert("not".into(), inner),
                11 => schema.insert("if".into(), inner),
                12 => schema.insert("then".into(), inner),
                13 => schema.insert("else".into(), inner),
                14 => schema.insert("dependentSchemas".into(), json!({ name(self): inner })),
                15 => schema.insert("unevaluatedProperties".into(), inner),
                16 => schema.insert("unevaluatedItems".into(), inner),
                17 => schema.insert("$ref".into(), json!("#/$defs/d")),
                18 => schema.insert("$dynamicRef".into(), json!("#node")),
                19 => {
                    schema.insert("type".into(), json!(["object", "array", "string"][self.roll(3)]))
                }
                20 => schema.insert("required".into(), json!([name(self)])),
                _ => schema.insert("$ref".into(), json!("#anchor")),
            };
        }
        schema.into()
    }

    fn instance(&mut self, depth: usize) -> Value {
        match self.roll(if depth == 0 { 2 } else { 6 }) {
            0 => json!("x"),
            1 => json!(self.roll(3)),
            2 => (0..self.roll(4)).map(|_| self.instance(depth - 1)).collect(),
            _ => {
                let mut members = Map::new();
                for name in ["a", "b", "c", "d"] {
                    if self.roll(2) == 0 {
                        members.insert(name.into(), self.instance(depth - 1));
                    }
                }
                members.into()
            }
        }
    }
}

fn registry() -> Registry {
    let operation = |key: &str, input: Value, output: Value| {
        json!({ "key": key, "title": key, "effect": "read", "riskTier": "low", "inputSchema": input,
            "outputSchema": output, "timeoutSeconds": 10,
                "binding": { "kind": "http", "url": "http://127.0.0.1/x" } })
    };
    let marked = json!({ "properties": { "secret": { "x-sensitive": true },
        "list": { "type": ["array", "null", "boolean", "integer", "string", "object"],
            "items": { "x-sensitive": true } } } });
    let manifest: Manifest = serde_json::from_value(json!({ "schemaVersion": "1.0.0",
        "skill": { "key": "kit", "version": "1.0.0" },
            "publisher": { "id": "p", "provenance": "x" },
        "artifact": { "digest": format!("sha256:{}", "0".repeat(64)) },
        "operations": [operation("give", json!({ "type": "object" }), marked.clone()),
            operation("take", json!({ "type": "object", "additionalProperties": true,
            "properties": { "literal": marked, "other": { "x-sensitive": true } } }),
                json!({}))] }))
    .unwrap();
    Registry::new([Arc::new(
        Skill::new(manifest).unwrap_or_else(|(_, issues)| panic!("{issues:?}")),
    )])
}

fn stored<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

// What the evidence of a value may hold: no sensitive place of it.
fn hides(sealed: &Sealed, schema: &Schema, plain: &Value) {
    for place in schema.sensitive_in(plain) {
        assert_eq!(sealed.value.pointer(&place), Some(&Value::Null), "{place} of {plain}");
        assert!(sealed.seals.keys().any(|seal| within(&place, seal)), "{place} of {plain}");
    }
}

#[test]
fn what_the_next_tool_gets_is_the_value() {
    let registry = registry();
    let (skill, _) = registry.resolve("kit/give", &mut Suggestions::none()).unwrap();
    let (give, take) = (skill.operation("give").unwrap(), skill.operation("take").unwrap());
    let draft = |literal: &Value| -> Draft {
        serde_json::from_value(json!({ "steps": [{ "id": "give", "use": "kit/give" },
            { "id": "take", "use": "kit/take", "when": { "$from": "give", "equals": literal },
                "with": { "literal": { "$literal": literal }, "whole": { "$from": "give" },
                    "other": { "$from": "give" }, "list": [{ "$from": "give" },
                        { "$literal": literal }] } }] }))
        .unwrap()
    };
    let mut count = 0_u64;
    let mut salt = || {
        count += 1;
        format!("{count:032x}")
    };
    // The plan of one draft; of the others only what differs is put into it, as the compiler does.
    let mut parsed = plan::parse(&draft(&Value::Null));
    parsed.seal(&registry, &mut salt).unwrap();
    let compiled: Compiled = plan::compile_parsed(&parsed, &registry).unwrap();
    let template: PlanStep = compiled.plan().steps[1].clone();
    assert_eq!((template.id.as_str(), template.wires.len()), ("take", 3));
    let mut dice = Dice(1);
    for _ in 0..VALUES {
        let (literal, output) = (dice.value(3), dice.value(3));
        let mut parsed = plan::parse(&draft(&literal));
        let secrets: Secrets = stored(&parsed.seal(&registry, &mut salt).unwrap());
        let parsed = stored(&parsed.steps[1]);
        assert_eq!(parsed.wires, template.wires, "nothing in a literal is a wire: {literal}");
        let step = PlanStep {
            input: parsed.input,
            seals: parsed.seals,
            when: parsed.when,
            when_seals: parsed.when_seals,
            ..template.clone()
        };

        let places = give.output.sensitive_in(&output);
        let (sealed, hidden) = seal::seal(output.clone(), &places, &mut |_| salt()).unwrap();
        hides(&sealed, &give.output, &output);
        let opened = stored(&sealed).open(&stored(&hidden)).unwrap();
        assert_eq!(opened.value, output);
        let holds = wiring::holds(&step, &secrets, Some(&opened)).unwrap();
        assert_eq!(holds, literal == output, "{literal} {output}");

        let input = wiring::resolve(&step, &secrets, |_| Some(&opened)).unwrap();
        let wanted = json!({ "literal": literal, "whole": output, "other": output,
            "list": [output, literal] });
        assert_eq!(input.value, wanted);
        let mut places = take.input.sensitive_in(&input.value);
        places.extend(input.sensitive.keys().cloned());
        let (sealed, _) = seal::seal(input.value, &places, &mut |_| salt()).unwrap();
        hides(&sealed, &take.input, &wanted);
        for place in give.output.sensitive_in(&output) {
            let empty = sealed.value.pointer(&format!("/whole{place}"));
            assert_eq!(empty, Some(&Value::Null), "what was sensitive stays so along a wire");
        }
    }
}

// Where a validator annotates a value with `x-sensitive`.
fn annotated(schema: &Value, value: &Value) -> BTreeSet<String> {
    let validator = jsonschema::options().build(schema).unwrap();
    let evaluation = validator.evaluate(value);
    evaluation
        .iter_annotations()
        .filter(|entry| entry.annotations.value().get("x-sensitive") == Some(&json!(true)))
        .map(|entry| entry.instance_location.as_str().to_owned())
        .collect()
}

#[test]
fn the_walk_finds_every_place_that_a_validator_annotates() {
    let mut dice = Dice(11);
    let (mut found, mut schemas) = (0, 0);
    for _ in 0..PAIRS {
        let mut source = dice.schema(3);
        let defs = json!({ "d": dice.schema(1), "n": dice.schema(1), "m": dice.schema(1) });
        let Some(map) = source.as_object_mut() else { continue };
        map.insert("$defs".into(), defs);
        map["$defs"]["n"]["$dynamicAnchor"] = json!("node");
        map["$defs"]["m"]["$anchor"] = json!("anchor");
        // Every definition is referred to, so that no mark is refused.
        map.insert(
            "properties".into(),
            json!({ "d": { "allOf": [{ "$ref": "#/$defs/d" }, { "$ref": "#node" },
            { "$ref": "#anchor" }] }, "a": dice.schema(2) }),
        );
        let Ok(schema) = Schema::compile(&source) else { continue };
        schemas += 1;
        for _ in 0..3 {
            let value = dice.instance(3);
            let walked = schema.sensitive_in(&value);
            for place in annotated(&source, &value) {
                found += 1;
                assert!(
                    walked.iter().any(|outer| within(&place, outer)),
                    "{place} of {value}\nby {source}\n{walked:?}"
                );
            }
        }
    }
    assert!(
        schemas > PAIRS / 2 && found > PAIRS / 2,
        "the test must see some: {schemas} schemas, {found} places"
    );
}

#[test]
fn recursive_and_wide_schemas_end() {
    let node = json!({ "$defs": { "node": { "properties": { "next": { "$ref": "#/$defs/node" },
        "again": { "$ref": "#" }, "card": { "x-sensitive": true } } } }, "$ref": "#/$defs/node" });
    let schema = Schema::compile(&node).unwrap();
    let mut value = json!({ "card": 1 });
    for _ in 0..50 {
        value = json!({ "next": value, "card": 2 });
    }
    assert_eq!(schema.sensitive_in(&value).len(), 51);
    // More work than is allowed: everything is sensitive.
    let many: Vec<Value> = (0..200).map(|_| json!({ "items": { "minimum": 0 } })).collect();
    let schema =
        Schema::compile(&json!({ "allOf": many, "properties": { "a": { "x-sensitive": true } } }))
            .unwrap();
    let value: Value = (0..5_000).map(|n| json!(n)).collect();
    assert_eq!(schema.sensitive_in(&value), BTreeSet::from([String::new()]));
}

#[test]
fn marks_that_cannot_be_honoured_are_refused() {
    for (source, pointer) in [
        (json!({ "propertyNames": { "x-sensitive": true } }), "/propertyNames/x-sensitive"),
        (json!({ "$defs": { "a": { "x-sensitive": true } } }), "/$defs/a/x-sensitive"),
        (json!({ "x-sensitive": 1 }), "/x-sensitive"),
        (json!({ "contentSchema": { "x-sensitive": true } }), "/contentSchema/x-sensitive"),
        (
            json!({ "properties": { "a": { "$id": "https://x.org/a", "x-sensitive": true } } }),
            "/properties/a/$id",
        ),
        (
            json!({ "properties": { "a": { "x-sensitive": true } },
                "allOf": [{ "$ref": "http://json-schema.org/draft-07/schema#" }] }),
            "$ref",
        ),
    ] {
        let error = Schema::compile(&source).unwrap_err();
        assert!(error.contains(pointer), "{source}: {error}");
    }
    // A member of that name is no mark.
    assert!(
        !Schema::compile(&json!({ "properties": { "x-sensitive": { "type": "string" } } }))
            .unwrap()
            .has_sensitive()
    );
}
