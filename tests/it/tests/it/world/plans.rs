//! What schemas of the world say, and what conditions compare.

use super::kit::{Say, Wire};
use serde_json::{Value, json};

fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties })
}

// What a wire from one schema to another gives, with what its tool answers.
async fn wired(output: Value, (from, to): (&str, Value), answer: Value) -> (Value, Vec<String>) {
    let wire = Wire::start(&[
        ("gives", json!({ "outputSchema": output })),
        ("takes", json!({ "inputSchema": object(json!({ "x": to })) })),
    ])
    .await;
    wire.says("gives", [Say::new(200, answer.to_string())]);
    wire.says("takes", [Say::new(200, "{}")]);
    let id = wire.house.submit(json!([
        { "id": "a", "use": "wire/gives", "with": {} },
        { "id": "b", "use": "wire/takes", "with": { "x": { "$from": "a", "path": from } } },
    ]));
    let id = id.await;
    let execution = wire.house.settled(&id).await;
    (execution, wire.calls("takes").into_iter().map(|call| call.body).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_may_fit_are_compiled_and_checked_when_they_arrive() {
    let nullable = object(json!({ "id": { "type": ["string", "null"] } }));
    let text = || json!({ "type": "string" });
    let (execution, calls) = wired(nullable.clone(), ("/id", text()), json!({ "id": "i" })).await;
    assert_eq!((execution["status"].as_str(), calls), (Some("completed"), vec![r#"{"x":"i"}"#.to_owned()]));
    let (execution, calls) = wired(nullable, ("/id", text()), json!({ "id": null })).await;
    assert_eq!(
        (execution["status"].as_str(), execution["steps"][1]["code"].as_str()),
        (Some("failed"), Some("INPUT_INVALID"))
    );
    assert!(calls.is_empty());
    let number = object(json!({ "n": { "type": "number" } }));
    let integer = || json!({ "type": "integer" });
    let (execution, calls) = wired(number.clone(), ("/n", integer()), json!({ "n": 3.0 })).await;
    assert_eq!((execution["status"].as_str(), calls), (Some("completed"), vec![r#"{"x":3}"#.to_owned()]));
    let (execution, calls) = wired(number, ("/n", integer()), json!({ "n": 3.5 })).await;
    assert_eq!((execution["steps"][1]["code"].as_str(), calls.len()), (Some("INPUT_INVALID"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_may_fit_wherever_a_property_is_named() {
    let named = object(json!({ "id": { "type": "string" } }));
    let other = json!({ "type": "object", "properties": { "no": {} }, "additionalProperties": false });
    for output in [
        json!({ "allOf": [named] }),
        json!({ "oneOf": [named, other] }),
        json!({ "type": "object", "patternProperties": { "^i": { "type": "string" } } }),
        json!({ "type": "object", "properties": { "known": {} } }),
    ] {
        let (execution, calls) =
            wired(output.clone(), ("/id", json!({ "type": "string" })), json!({ "id": "i" })).await;
        assert_eq!((execution["status"].as_str(), calls.len()), (Some("completed"), 1), "{output}: {execution}");
    }
    // What can never be is told at once.
    let (execution, _) = wired(other, ("/id", json!({ "type": "string" })), json!({})).await;
    assert_eq!(execution["reasons"][0]["code"], "UNKNOWN_PATH", "{execution}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nullable_of_openapi_is_named_not_ignored() {
    let wire = Wire::start(&[("any", json!({}))]).await;
    let schema = object(json!({ "nullable": true, "id": { "type": "string", "nullable": true } }));
    let manifest = wire.manifest("2.0.0", &[("any", json!({ "outputSchema": schema }))]);
    let body = countersign_it::install_body(&manifest);
    let (status, answer) = wire.house.approver.post("/v1/skills", &body).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer["issues"][0]["message"].as_str().unwrap().contains("/properties/id/nullable"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_null_is_a_value() {
    let wire = Wire::start(&[("gives", json!({})), ("then", json!({}))]).await;
    wire.says("then", [Say::new(200, "{}")]);
    for (condition, answer, runs) in [
        (json!({ "equals": null }), json!({ "x": null }), true),
        (json!({ "equals": null }), json!({ "x": 1 }), false),
        (json!({ "equals": null }), json!({}), false),
        (json!({ "notEquals": null }), json!({ "x": 1 }), true),
        (json!({ "notEquals": null }), json!({ "x": null }), false),
    ] {
        wire.says("gives", [Say::new(200, answer.to_string())]);
        let mut when = json!({ "$from": "a", "path": "/x" });
        condition.as_object().unwrap().iter().for_each(|(name, value)| when[name] = value.clone());
        let id = wire.house.submit(json!([
            { "id": "a", "use": "wire/gives", "with": {} },
            { "id": "b", "use": "wire/then", "with": {}, "when": when },
        ]));
        let execution = wire.house.settled(&id.await).await;
        assert_eq!(execution["status"], "completed", "{execution}");
        assert_eq!(wire.calls("then").len(), usize::from(runs), "{condition} of {answer}");
    }
}
