use super::*;
use contracts::manifest::Manifest;
use cs_core::skill::Skill;
use serde_json::json;
use std::sync::Arc;

fn registry() -> Registry {
    let operation = |key: &str| {
        json!({ "key": key, "title": key, "effect": "idempotent", "riskTier": "medium",
            "inputSchema": { "type": "object", "properties": {
                "amount": { "type": "integer" }, "note": { "type": "string" } },
                "required": ["amount"] },
            "outputSchema": { "type": "object" }, "timeoutSeconds": 10,
            "retry": { "maxAttempts": 1, "backoffSeconds": 1, "maxBackoffSeconds": 1 },
            "binding": { "kind": "http", "url": "http://127.0.0.1:1/x" } })
    };
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let manifest: Manifest = serde_json::from_value(json!({ "schemaVersion": "1.0.0",
        "skill": { "key": "kit", "version": "1.0.0" },
        "publisher": { "id": "p", "provenance": "p" },
        "artifact": { "digest": format!("sha256:{empty}") },
        "operations": [operation("pay"), operation("other")] }))
    .unwrap();
    Registry::new([Arc::new(Skill::new(manifest).unwrap())])
}

fn request(operation: &str, input: Value) -> Value {
    json!({ "principal": { "id": "bot", "kind": "agent", "grants": [] }, "action": operation,
        "resource": "x", "context": { "mode": "assist", "tier": "medium", "effect": "idempotent",
            "hour": 12, "weekday": "monday", "labels": [], "taint": [], "signals": [],
            "unresolved": [], "input": input,
            "plan": { "writes": 1, "steps": 1, "recipients": 0, "money": {}, "open": false } } })
}

fn holds(when: &str, operation: &str, input: Value) -> bool {
    let condition = MandateCondition::new("kit/pay", Some(when), &registry()).unwrap();
    condition.holds(&request(operation, input))
}

fn issues(when: &str) -> Vec<String> {
    let issues =
        validate_condition(("kit/pay", Some(when)), &registry(), &[], &BTreeSet::default());
    issues.into_iter().map(|issue| format!("{}: {}", issue.pointer, issue.message)).collect()
}

const AT_MOST: &str = "context.input has amount && context.input.amount <= 5000";

#[test]
fn a_condition_holds_for_its_operation_and_input_only() {
    assert!(issues(AT_MOST).is_empty(), "{:?}", issues(AT_MOST));
    assert!(holds(AT_MOST, "kit/pay", json!({ "amount": 5000 })));
    assert!(!holds(AT_MOST, "kit/pay", json!({ "amount": 5001 })));
    assert!(!holds(AT_MOST, "kit/other", json!({ "amount": 1 })));
    assert!(!holds(AT_MOST, "kit/unknown", json!({ "amount": 1 })));
    let any = MandateCondition::new("kit/pay", None, &registry()).unwrap();
    assert!(any.holds(&request("kit/pay", json!({}))));
    assert!(!any.holds(&request("kit/other", json!({}))) && !any.holds(&json!({})));
}

#[test]
fn attack_a_condition_that_is_more_than_one() {
    for when in [
        "true }; permit (principal, action, resource) when { true",
        "true }; permit (principal, action, resource); permit (principal, action, resource) \
            when { true",
        "true }; forbid (principal, action, resource) when { true",
        "}",
        "true };",
        "true } // ",
        "",
        "true; true",
        "@id(\"x\") true",
        "true /*",
        "principal in ?principal",
    ] {
        let found = issues(when);
        assert!(found.len() == 1 && found[0].starts_with("/when: "), "{when:?}: {found:?}");
        assert!(MandateCondition::new("kit/pay", Some(when), &registry()).is_err(), "{when:?}");
    }
    let long = format!("\"{}\" == \"\"", "x".repeat(5_000));
    assert_eq!(issues(&long), ["/when: a condition has at most 4096 bytes"]);
    let deep = format!("{}true{}", "(".repeat(100), ")".repeat(100));
    assert!(issues(&deep)[0].contains("deeper"), "{:?}", issues(&deep));
    // A further clause narrows it.
    assert!(!holds("true } unless { true", "kit/pay", json!({ "amount": 1 })));
    assert!(MandateCondition::new("kit/pay\", resource); //", None, &registry()).is_err());
}

#[test]
fn what_is_unknown_or_of_another_type_is_refused_by_name() {
    for (when, word) in [
        ("context.input.amount <= 5000", "amount"),
        ("context.input has amount && context.input.amount == \"x\"", "type"),
        ("context.input has amout && context.input.amout <= 5000", ""),
        ("context.nope == 1", "nope"),
        ("context.input has amount && context.input.amount < 1.5", ""),
        ("1", ""),
    ] {
        let found = issues(when);
        assert!(!found.is_empty() && found[0].contains(word), "{when}: {found:?}");
    }
}

#[test]
fn attack_a_mandate_is_widened_by_a_crafted_input() {
    for input in [
        json!({}),
        json!({ "amount": null }),
        json!({ "amount": "5000" }),
        json!({ "amount": [1] }),
        json!({ "amount": { "amount": 1 } }),
        json!({ "amount": 1.5 }),
        json!({ "amount": 18_446_744_073_709_551_615_u64 }),
        json!({ "amount": true }),
        json!({ "Amount": 1 }),
        json!([]),
        json!({ "amount": { "__extn": { "fn": "decimal", "arg": "1.0" } } }),
    ] {
        assert!(!holds(AT_MOST, "kit/pay", input.clone()), "{input}");
    }
    // Sums that overflow are errors, and an error is a no.
    let sum = "context.input has amount && context.input.amount + 9223372036854775807 > 0";
    assert!(!holds(sum, "kit/pay", json!({ "amount": 1 })));
    // What a condition forbids by `!` is not there for it: such an input is not plain.
    let without = "!(context.input has note)";
    assert!(holds(without, "kit/pay", json!({ "amount": 1, "note": null })));
    for hidden in [json!({ "note": null }), json!([1, [0.5]]), json!({ "n": u64::MAX })] {
        assert!(!is_plain(&hidden), "{hidden}");
    }
    assert!(is_plain(&json!({ "a": [1, "b", true, { "c": -1 }] })));
}
