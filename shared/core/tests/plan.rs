//! The compiler: what it refuses and how it says so, and that order never matters.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds what it does not expect ends there"
)]

#[path = "plan/flow.rs"]
mod flow;

use contracts::{Issue, draft::Draft, manifest::Manifest, plan::Plan};
use countersign_core as cs_core;
use cs_core::{
    plan::{CompileError, compile},
    skill::{Registry, Skill},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

fn registry() -> Registry {
    let string = json!({ "type": "string" });
    let operation = |key: &str, effect: &str, labels: Value| {
        json!({ "key": key, "title": key, "effect": effect, "riskTier": "low", "timeoutSeconds": 5,
            "labels": labels,
            "inputSchema": { "type": "object", "additionalProperties": false, "required": ["text"],
                "properties": {
                "text": string, "count": { "type": "integer", "minimum": 1 },
                    "to": { "type": "array", "items": string },
                "money": { "type": "object", "required": ["amount"],
                    "properties": { "amount": { "type": "integer" }, "currency": string } } } },
            "outputSchema": { "type": "object", "additionalProperties": false,
                "properties": { "id": string, "count": { "type": "integer" },
                "list": { "type": "array", "items": string },
                    "inner": { "type": "object", "properties": { "name": string } } } },
            "blastRadius": { "money": { "amount": "/money/amount", "currency": "/money/currency" },
                "recipients": "/to" },
            "binding": { "kind": "http", "url": "https://tool.example" } })
    };
    let skill = |version: &str| {
        let manifest: Manifest = serde_json::from_value(json!({ "schemaVersion": "1.0.0",
            "skill": { "key": "kit", "version": version },
                "publisher": { "id": "p", "provenance": "p" },
            "artifact": { "digest": format!("sha256:{}", "0".repeat(64)) },
            "operations": [operation("read", "read", json!({ "output": ["untrusted"] })),
                operation("write", "idempotent", json!({}))] }))
        .unwrap();
        Arc::new(Skill::new(manifest).unwrap())
    };
    Registry::new([skill("1.0.0"), skill("1.4.0"), skill("2.0.0-rc.1")])
}

fn compiled(draft: &Value) -> Result<Plan, Vec<Issue>> {
    let draft: Draft = serde_json::from_value(draft.clone()).unwrap();
    match compile(&draft, &registry()) {
        Ok(compiled) => Ok(compiled.plan().clone()),
        Err(CompileError::Diagnostics(issues)) => Err(issues),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn refused(steps: Value, code: &str, pointer: &str, says: &str) {
    let issues = compiled(&json!({ "steps": steps })).unwrap_err();
    let found =
        issues.iter().find(|issue| issue.code.as_deref() == Some(code) && issue.pointer == pointer);
    assert!(
        found.is_some_and(|issue| issue.message.contains(says)),
        "{code} {pointer} {says}: {issues:#?}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn diagnostics_point_and_suggest() {
    let read = |id: &str| json!({ "id": id, "use": "kit/read", "with": { "text": "x" } });
    refused(json!([]), "NO_STEPS", "/draft/steps", "at least one");
    refused(json!([read("a"), read("a")]), "DUPLICATE_STEP", "/draft/steps/1/id", "/draft/steps/0");
    refused(
        json!([{ "id": "a", "use": "kti/read" }]),
        "UNKNOWN_SKILL",
        "/draft/steps/0/use",
        "did you mean `kit`",
    );
    refused(
        json!([{ "id": "a", "use": "kit/raed" }]),
        "UNKNOWN_OPERATION",
        "/draft/steps/0/use",
        "did you mean `read`",
    );
    refused(
        json!([{ "id": "a", "use": "kit/read@^3" }]),
        "NO_VERSION_FITS",
        "/draft/steps/0/use",
        "1.0.0, 1.4.0",
    );
    refused(
        json!([{ "id": "a", "use": "kit/read@x.y.z.q" }]),
        "BAD_RANGE",
        "/draft/steps/0/use",
        "",
    );
    refused(
        json!([{ "id": "a", "use": "read" }]),
        "BAD_REFERENCE",
        "/draft/steps/0/use",
        "skill/operation",
    );
    let wire = |from: &str, path: &str| {
        json!([read("first"),
        { "id": "b", "use": "kit/write", "with": { "text": { "$from": from, "path": path } } }])
    };
    refused(
        wire("frist", "/id"),
        "UNKNOWN_STEP",
        "/draft/steps/1/with/text/$from",
        "did you mean `first`",
    );
    refused(
        wire("first", "/ide"),
        "UNKNOWN_PATH",
        "/draft/steps/1/with/text/path",
        "did you mean `id`",
    );
    refused(
        wire("first", "/count"),
        "TYPE_MISMATCH",
        "/draft/steps/1/with/text",
        "gives `integer` where `string` is wanted",
    );
    refused(wire("first", "id"), "BAD_WIRE", "/draft/steps/1/with/text", "begins with `/`");
    refused(
        json!([{ "id": "a", "use": "kit/read", "with": { "text": 7 } }]),
        "SCHEMA_MISMATCH",
        "/draft/steps/0/with/text",
        "",
    );
    refused(
        json!([{ "id": "a", "use": "kit/read", "with": { "text": "x", "more": 1 } }]),
        "SCHEMA_MISMATCH",
        "/draft/steps/0/with",
        "more",
    );
    refused(
        json!([{ "id": "a", "use": "kit/read", "with": { "text": { "$env": "HOME" } } }]),
        "BAD_MARKER",
        "/draft/steps/0/with/text",
        "$env",
    );
    refused(
        json!([{ "id": "a", "use": "kit/read",
            "with": { "text": { "$sealed": format!("sha256:{}", "0".repeat(64)) } } }]),
        "BAD_MARKER",
        "/draft/steps/0/with/text",
        "",
    );
    refused(
        json!([{ "id": "a", "use": "kit/read", "with": { "text": "x" },
            "when": { "$from": "a", "equals": 1, "exists": true } }]),
        "BAD_CONDITION",
        "/draft/steps/0/when",
        "exactly one",
    );
    let after = |id: &str, after: &str| {
        json!({ "id": id, "use": "kit/read",
        "with": { "text": "x" }, "after": [after] })
    };
    refused(
        json!([after("c", "b"), after("b", "a"), after("a", "c"), read("d")]),
        "CYCLE",
        "/draft/steps/2",
        "a → b → c → a",
    );
    refused(json!([after("a", "a")]), "CYCLE", "/draft/steps/0", "a → a");
}

#[test]
fn all_diagnostics_at_once() {
    let issues = compiled(&json!({ "steps": [
        { "id": "a", "use": "kit/raed", "with": {} },
        { "id": "b", "use": "kit/read", "with": { "text": 7 }, "after": ["zz"] },
        { "id": "b", "use": "kit/read", "with": {} } ] }))
    .unwrap_err();
    let codes: BTreeSet<&str> = issues.iter().filter_map(|issue| issue.code.as_deref()).collect();
    assert_eq!(
        codes,
        BTreeSet::from(["UNKNOWN_OPERATION", "SCHEMA_MISMATCH", "UNKNOWN_STEP", "DUPLICATE_STEP"])
    );
}

#[test]
fn limits() {
    let chain = |count: usize| -> Value {
        let step = |index: usize| match index {
            0 => json!({ "id": "s0000", "use": "kit/read", "with": { "text": "x" } }),
            _ => {
                json!({ "id": format!("s{index:04}"), "use": "kit/read", "with": { "text": "x" },
                    "after": [format!("s{:04}", index - 1)] })
            }
        };
        (0..count).map(step).collect::<Vec<_>>().into()
    };
    assert!(compiled(&json!({ "steps": chain(200) })).is_ok());
    refused(chain(201), "TOO_DEEP", "/draft/steps", "201");
    let wide = |count: usize| -> Value {
        (0..count)
            .map(|index| {
                json!({ "id": format!("s{index}"), "use": "kit/read",
                "with": { "text": "x" } })
            })
            .collect::<Vec<_>>()
            .into()
    };
    assert!(compiled(&json!({ "steps": wide(1_000) })).is_ok());
    refused(wide(1_001), "TOO_MANY_STEPS", "/draft/steps", "1001");
}

#[test]
fn the_highest_fitting_version_is_pinned_and_pre_releases_only_by_name() {
    let version = |reference: &str| {
        compiled(&json!({ "steps": [{ "id": "a", "use": reference, "with": { "text": "x" } }] }))
            .unwrap()
            .skills[0]
            .version
            .clone()
    };
    assert_eq!(version("kit/read"), "1.4.0");
    assert_eq!(version("kit/read@~1.0"), "1.0.0");
    assert_eq!(version("kit/read@>=2.0.0-rc.1"), "2.0.0-rc.1");
}

#[test]
fn radius_and_budget() {
    let step = |amount: Value| {
        json!({ "id": "a", "use": "kit/write",
        "with": { "text": "x", "to": ["m", "n"],
            "money": { "amount": amount, "currency": "EUR" } } })
    };
    let plan = compiled(&json!({ "steps": [step(json!(40))] })).unwrap();
    assert_eq!((plan.radius.writes, plan.radius.recipients, plan.radius.money["EUR"]), (1, 2, 40));
    let over =
        compiled(&json!({ "steps": [step(json!(40))], "budget": { "money": { "EUR": 39 } } }))
            .unwrap_err();
    assert_eq!(over[0].pointer, "/draft/budget/money/EUR");
    let other =
        compiled(&json!({ "steps": [step(json!(40))], "budget": { "money": { "USD": 100 } } }))
            .unwrap_err();
    assert_eq!(
        other[0].code.as_deref(),
        Some("BUDGET_EXCEEDED"),
        "a currency that is not named has no budget"
    );
    let open = compiled(&json!({ "steps": [
        { "id": "r", "use": "kit/read", "with": { "text": "x" } },
        { "id": "a", "use": "kit/write", "with": { "text": "x",
            "money": { "amount": { "$from": "r", "path": "/count" }, "currency": "EUR" } } } ] }))
    .unwrap();
    assert!(open.radius.open);
}

/// A small linear congruential generator: the test needs variety, not unpredictability.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.roll(index + 1));
        }
    }
}

fn random_draft(dice: &mut Dice) -> Value {
    let count = 1 + dice.roll(12);
    let mut steps = Vec::new();
    for index in 0..count {
        let operation = ["kit/read", "kit/write@^1", "kit/write@~1.0"][dice.roll(3)];
        let mut step = json!({ "id": format!("s{index}"), "use": operation,
            "with": { "text": "x", "count": 1 + dice.roll(5) } });
        let mut after = Vec::new();
        for _ in 0..dice.roll(4) {
            // Mostly backwards; now and then forwards, which may close a cycle.
            let other = if dice.roll(12) == 0 {
                dice.roll(count)
            } else if index == 0 {
                continue;
            } else {
                dice.roll(index)
            };
            if dice.roll(2) == 0 {
                step["with"]["text"] = json!({ "$from": format!("s{other}"), "path": "/id" });
            } else {
                after.push(format!("s{other}"));
            }
        }
        step["after"] = json!(after);
        steps.push(step);
    }
    json!({ "steps": steps })
}

// The same JSON with its object keys in another order, as text, since a `Value` keeps them sorted.
fn scrambled(value: &Value, dice: &mut Dice) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            dice.shuffle(&mut keys);
            let fields: Vec<String> = keys
                .into_iter()
                .map(|key| format!("{}:{}", json!(key), scrambled(&map[key], dice)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(|item| scrambled(item, dice)).collect::<Vec<_>>().join(",")
            )
        }
        other => other.to_string(),
    }
}

#[test]
fn same_input_same_plan_in_10_000_shuffles() {
    let mut dice = Dice(7);
    let registry = registry();
    let mut shuffles = 0;
    while shuffles < 10_000 {
        let mut draft = random_draft(&mut dice);
        let Ok(first) = compile(&serde_json::from_value(draft.clone()).unwrap(), &registry) else {
            continue;
        };
        for _ in 0..50 {
            dice.shuffle(draft["steps"].as_array_mut().unwrap());
            for step in draft["steps"].as_array_mut().unwrap() {
                dice.shuffle(step["after"].as_array_mut().unwrap());
            }
            let again: Draft = serde_json::from_str(&scrambled(&draft, &mut dice)).unwrap();
            let again = compile(&again, &registry).unwrap();
            assert_eq!(again.digest(), first.digest());
            assert_eq!(
                cs_core::canonical::to_bytes(again.plan()).unwrap(),
                cs_core::canonical::to_bytes(first.plan()).unwrap()
            );
            shuffles += 1;
        }
    }
}

/// The compiler's order, dependencies and labels, written the slow and obvious way.
struct Naive {
    order: Vec<String>,
    after: BTreeMap<String, BTreeSet<String>>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

fn naive(draft: &Value) -> Option<Naive> {
    let mut after: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut data: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut reads = BTreeSet::new();
    for step in draft["steps"].as_array()? {
        let id = step["id"].as_str()?.to_owned();
        let mut before: BTreeSet<String> =
            step["after"].as_array()?.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        let from = step["with"]["text"]["$from"].as_str().map(str::to_owned);
        before.extend(from.clone());
        if step["use"] == "kit/read" {
            reads.insert(id.clone());
        }
        data.insert(id.clone(), from);
        after.insert(id, before);
    }
    let mut order: Vec<String> = Vec::new();
    while order.len() < after.len() {
        // `BTreeMap` gives ids in order: the first that is free is the smallest.
        let next = after
            .iter()
            .find(|(id, before)| {
                !order.contains(id) && before.iter().all(|one| order.contains(one))
            })?
            .0;
        order.push(next.clone());
    }
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for id in &order {
        let mut own = BTreeSet::new();
        let mut at = data[id].clone();
        while let Some(source) = at {
            if reads.contains(&source) {
                own.insert("untrusted".to_owned());
            }
            at = data[&source].clone();
        }
        labels.insert(id.clone(), own);
    }
    Some(Naive { order, after, labels })
}

#[test]
fn agrees_with_the_naive_compiler() {
    let mut dice = Dice(99);
    let (mut plans, mut cycles) = (0, 0);
    for _ in 0..3_000 {
        let draft = random_draft(&mut dice);
        match (compiled(&draft), naive(&draft)) {
            (Ok(plan), Some(naive)) => {
                plans += 1;
                assert_eq!(
                    plan.steps.iter().map(|step| step.id.to_string()).collect::<Vec<_>>(),
                    naive.order
                );
                for step in &plan.steps {
                    let after: BTreeSet<String> =
                        step.after.iter().map(ToString::to_string).collect();
                    assert_eq!(after, naive.after[step.id.as_str()]);
                    assert_eq!(step.labels, naive.labels[step.id.as_str()], "{draft}");
                    let tainted = step.call.operation == "kit/write" && !step.labels.is_empty();
                    assert_eq!(!step.taint.is_empty(), tainted);
                }
            }
            (Err(issues), None) => {
                cycles += 1;
                assert!(
                    issues.iter().all(|issue| issue.code.as_deref() == Some("CYCLE")),
                    "{issues:?}"
                );
            }
            (plan, naive) => {
                panic!("they disagree: {plan:?}, {:?}", naive.map(|naive| naive.order))
            }
        }
    }
    assert!(plans > 500 && cycles > 100, "{plans} plans, {cycles} cycles");
}
