//! What schemas of the world say, and what conditions compare.

use super::kit::{ScriptedAnswer, WireServer};
use serde_json::{Value, json};

fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties })
}

// What a wire from one schema to another gives, with what its tool answers.
async fn wired(output: Value, (from, to): (&str, Value), answer: Value) -> (Value, Vec<String>) {
    let wire = WireServer::start(&[
        ("gives", json!({ "outputSchema": output })),
        ("takes", json!({ "inputSchema": object(json!({ "x": to })) })),
    ])
    .await;
    wire.says("gives", [ScriptedAnswer::new(200, answer.to_string())]);
    wire.says("takes", [ScriptedAnswer::new(200, "{}")]);
    let id = wire.server.submit(json!([
        { "id": "a", "use": "wire/gives", "with": {} },
        { "id": "b", "use": "wire/takes", "with": { "x": { "$from": "a", "path": from } } },
    ]));
    let id = id.await;
    let execution = wire.server.settled(&id).await;
    (execution, wire.calls("takes").into_iter().map(|call| call.body).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_may_fit_are_compiled_and_checked_when_they_arrive() {
    let nullable = object(json!({ "id": { "type": ["string", "null"] } }));
    let text = || json!({ "type": "string" });
    let (execution, calls) = wired(nullable.clone(), ("/id", text()), json!({ "id": "i" })).await;
    assert_eq!(
        (execution["status"].as_str(), calls),
        (Some("completed"), vec![r#"{"x":"i"}"#.to_owned()])
    );
    let (execution, calls) = wired(nullable, ("/id", text()), json!({ "id": null })).await;
    assert_eq!(
        (execution["status"].as_str(), execution["steps"][1]["code"].as_str()),
        (Some("failed"), Some("INPUT_INVALID"))
    );
    assert!(calls.is_empty());
    let number = object(json!({ "n": { "type": "number" } }));
    let integer = || json!({ "type": "integer" });
    let (execution, calls) = wired(number.clone(), ("/n", integer()), json!({ "n": 3.0 })).await;
    assert_eq!(
        (execution["status"].as_str(), calls),
        (Some("completed"), vec![r#"{"x":3}"#.to_owned()])
    );
    let (execution, calls) = wired(number, ("/n", integer()), json!({ "n": 3.5 })).await;
    assert_eq!((execution["steps"][1]["code"].as_str(), calls.len()), (Some("INPUT_INVALID"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_may_fit_wherever_a_property_is_named() {
    let named = object(json!({ "id": { "type": "string" } }));
    let other =
        json!({ "type": "object", "properties": { "no": {} }, "additionalProperties": false });
    for output in [
        json!({ "allOf": [named] }),
        json!({ "oneOf": [named, other] }),
        json!({ "type": "object", "patternProperties": { "^i": { "type": "string" } } }),
        json!({ "type": "object", "properties": { "known": {} } }),
    ] {
        let (execution, calls) =
            wired(output.clone(), ("/id", json!({ "type": "string" })), json!({ "id": "i" })).await;
        assert_eq!(
            (execution["status"].as_str(), calls.len()),
            (Some("completed"), 1),
            "{output}: {execution}"
        );
    }
    // What can never be is told at once.
    let (execution, _) = wired(other, ("/id", json!({ "type": "string" })), json!({})).await;
    assert_eq!(execution["reasons"][0]["code"], "UNKNOWN_PATH", "{execution}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nullable_of_openapi_is_named_not_ignored() {
    let wire = WireServer::start(&[("any", json!({}))]).await;
    let schema = object(json!({ "nullable": true, "id": { "type": "string", "nullable": true } }));
    let manifest = wire.manifest("2.0.0", &[("any", json!({ "outputSchema": schema }))]);
    let body = countersign_it::install_body(&manifest);
    let (status, answer) = wire.server.approver.post("/v1/skills", &body).await;
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer["issues"][0]["message"].as_str().unwrap().contains("/properties/id/nullable"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_null_is_a_value() {
    let wire = WireServer::start(&[("gives", json!({})), ("then", json!({}))]).await;
    wire.says("then", [ScriptedAnswer::new(200, "{}")]);
    for (condition, answer, runs) in [
        (json!({ "equals": null }), json!({ "x": null }), true),
        (json!({ "equals": null }), json!({ "x": 1 }), false),
        (json!({ "equals": null }), json!({}), false),
        (json!({ "notEquals": null }), json!({ "x": 1 }), true),
        (json!({ "notEquals": null }), json!({ "x": null }), false),
    ] {
        wire.says("gives", [ScriptedAnswer::new(200, answer.to_string())]);
        let mut when = json!({ "$from": "a", "path": "/x" });
        condition.as_object().unwrap().iter().for_each(|(name, value)| when[name] = value.clone());
        let id = wire.server.submit(json!([
            { "id": "a", "use": "wire/gives", "with": {} },
            { "id": "b", "use": "wire/then", "with": {}, "when": when },
        ]));
        let execution = wire.server.settled(&id.await).await;
        assert_eq!(execution["status"], "completed", "{execution}");
        assert_eq!(wire.calls("then").len(), usize::from(runs), "{condition} of {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_over_schemas_that_say_their_types_in_other_ways() {
    let input = object(json!({
        "opt": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
        "plan": { "enum": ["free", "team"] },
        "kind": { "const": "one" },
        "seats": { "allOf": [{ "type": "integer" }, { "minimum": 1 }] },
        "rate": { "type": "number" },
    }));
    let wire = WireServer::start(&[("send", json!({ "inputSchema": input }))]).await;
    let set = |condition: &str| {
        format!(
            "{}\n@id(\"own\") forbid (principal, action == Action::\"wire/send\", resource)\n\
             when {{ {condition} }};",
            policy::BASELINE
        )
    };
    for condition in [
        "context.input has opt && context.input.opt > 10",
        "context.input has plan && context.input.plan == \"team\"",
        "context.input has kind && context.input.kind == \"one\"",
        "context.input has seats && context.input.seats > 5",
    ] {
        let (status, answer) = activate(&wire, &set(condition)).await;
        assert_eq!(status, 200, "{condition}: {answer}");
    }
    let (status, answer) = activate(&wire, &set("context.input.rate > 1")).await;
    assert_eq!(status, 422, "{answer}");
    let message = answer["issues"][0]["message"].as_str().unwrap();
    assert!(message.contains("`rate` is a `number`"), "which attribute, and why: {message}");
}

async fn activate(wire: &WireServer, policies: &str) -> (u16, Value) {
    let body = json!({ "policies": policies });
    wire.server.approver.post("/v1/policies", &body).await
}
