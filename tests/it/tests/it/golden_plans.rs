//! Golden plans: drafts with everything that a draft may hold, and the plans that they compile to.
//! A compiler that makes another plan of a stored draft breaks the replay of every trace that names
//! its digest, so what is recorded is never changed; `RECORD=1 cargo test` adds what is missing.

use crate::generated::root;
use contracts::{draft::Draft, manifest::Manifest, plan::Plan};
use cs_core::{
    plan::{Compiled, ParsedDraft, compile_parsed, parse},
    skill::{Registry, Skill},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

const SKILLS: [&str; 4] = ["crm", "everything", "mail", "payments"];

fn file() -> PathBuf {
    root().join("tests/golden/plans.json")
}

fn registry(manifests: &Value) -> Registry {
    Registry::new(manifests.as_array().unwrap().iter().map(|manifest| {
        let manifest: Manifest = serde_json::from_value(manifest.clone()).unwrap();
        Arc::new(Skill::new(manifest).unwrap())
    }))
}

/// By name, what a draft may hold.
fn drafts() -> BTreeMap<&'static str, Value> {
    let find = json!({ "id": "who", "use": "crm/customer.find@^1",
        "with": { "email": "ada@x.org" } });
    let mail = |id: &str, after: Value| {
        json!({ "id": id, "use": "mail/message.send", "after": after,
            "with": { "to": ["a@x.org"], "subject": "s", "body": "b" } })
    };
    let refund = json!({ "id": "refund", "use": "payments/refund.create", "with": {
        "customer": { "$from": "who", "path": "/id" }, "amount": 500, "currency": "EUR" } });
    let payout = |id: &str, amount: u64| {
        json!({ "id": id, "use": "payments/payout.create",
            "with": { "account": "DE02", "amount": amount, "currency": "USD" } })
    };
    let when = |step: Value, condition: Value| {
        let mut step = step;
        step["when"] = condition;
        step
    };
    BTreeMap::from([
        ("one step", json!({ "steps": [mail("m", json!([]))] })),
        (
            "written in another order than it runs",
            json!({ "steps": [mail("z", json!(["b", "who"])),
            mail("c", json!([])), mail("b", json!(["c"])), find] }),
        ),
        ("a wire, money and what undoes it", json!({ "steps": [find, refund] })),
        ("a call that is not idempotent, with its probe", json!({ "steps": [payout("p", 7)] })),
        (
            "money of two currencies",
            json!({ "steps": [find, refund, payout("p", 7),
            payout("q", 1_234_567)] }),
        ),
        (
            "conditions",
            json!({ "steps": [find,
            when(mail("equal", json!([])),
                json!({ "$from": "who", "path": "/active", "equals": true })),
            when(mail("unequal", json!([])),
                json!({ "$from": "who", "path": "/name", "notEquals": "Ada" })),
            when(mail("there", json!([])),
                json!({ "$from": "who", "path": "/notes", "exists": true }))] }),
        ),
        (
            "recipients and text from outputs",
            json!({ "steps": [find, { "id": "tell",
            "use": "mail/message.send", "with": { "to": [{ "$from": "who", "path": "/email" }],
                "subject": "s", "body": { "$from": "who", "path": "/name" } } }] }),
        ),
        (
            "amounts from outputs",
            json!({ "steps": [
            { "id": "sum", "use": "everything/get-sum", "with": { "a": 1, "b": 2.5 } },
            mail("tell", json!(["sum"]))] }),
        ),
        (
            "text that strangers wrote",
            json!({ "steps": [
            { "id": "ticket", "use": "crm/ticket.read", "with": { "ticket": "T-1" } },
            { "id": "tell", "use": "mail/message.send", "with": { "to": ["a@x.org"],
                "subject": "s", "body": { "$from": "ticket", "path": "/text" } } }] }),
        ),
        (
            "a literal that looks like a marker",
            json!({ "steps": [{ "id": "m",
            "use": "mail/message.send", "with": { "to": ["a@x.org"],
                "subject": { "$literal": "$from" },
                "body": "{\"$from\": \"x\"}" } }] }),
        ),
        (
            "a budget, a confidence and what failure means",
            json!({ "steps": [find, refund],
            "budget": { "writes": 3, "money": { "EUR": 1_000 }, "recipients": 0 },
            "confidence": 0.875, "onFailure": "compensate" }),
        ),
        (
            "texts of many alphabets",
            json!({ "steps": [{ "id": "m", "use": "mail/message.send",
            "with": { "to": ["ü@x.org", "東京@x.org"], "subject": "\u{1f600} é e\u{301}",
                "body": "a\u{0}b\"\\\n" } }] }),
        ),
    ])
}

#[test]
fn recorded_drafts_compile_to_the_same_plans() {
    let text = fs::read_to_string(file()).unwrap_or_else(|_| "{}".into());
    let mut golden: Value = serde_json::from_str(&text).unwrap();
    if std::env::var_os("RECORD").is_some() {
        record(&mut golden);
        fs::write(file(), serde_json::to_string_pretty(&golden).unwrap() + "\n").unwrap();
    }
    let registry = registry(&golden["manifests"]);
    let plans = golden["plans"].as_object().unwrap();
    for (name, golden) in plans {
        let draft: ParsedDraft = serde_json::from_value(golden["draft"].clone()).unwrap();
        let compiled = compile_parsed(&draft, &registry).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(json!(compiled.plan()), golden["plan"], "{name}: another plan");
        assert_eq!(json!(compiled.digest()), golden["planDigest"], "{name}: another digest");
        // As it is read from the store.
        let plan: Plan = serde_json::from_value(golden["plan"].clone()).unwrap();
        let stored = Compiled::from_stored(plan).unwrap();
        assert_eq!(stored.digest(), compiled.digest(), "{name}: stored and compiled differ");
    }
    for (name, draft) in drafts() {
        let recorded = plans.get(name).unwrap_or_else(|| panic!("{name}: not recorded"));
        let draft: Draft = serde_json::from_value(draft).unwrap();
        assert_eq!(json!(parse(&draft)), recorded["draft"], "{name}: read otherwise");
    }
}

fn record(golden: &mut Value) {
    if golden["manifests"].is_null() {
        let manifests = SKILLS.map(|name| {
            let file = root().join(format!("examples/skills/{name}.json"));
            serde_json::from_str::<Value>(&fs::read_to_string(file).unwrap()).unwrap()
        });
        golden["manifests"] = json!(manifests);
        golden["plans"] = json!({});
    }
    let registry = registry(&golden["manifests"]);
    for (name, draft) in drafts() {
        if golden["plans"].get(name).is_none() {
            let draft: Draft = serde_json::from_value(draft).unwrap();
            let draft = parse(&draft);
            let compiled =
                compile_parsed(&draft, &registry).unwrap_or_else(|e| panic!("{name}: {e}"));
            golden["plans"][name] = json!({ "draft": draft, "plan": compiled.plan(),
                "planDigest": compiled.digest() });
        }
    }
}
