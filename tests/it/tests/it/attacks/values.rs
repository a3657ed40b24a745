//! Attacks on values: amounts and recipients that are read otherwise, data that looks like control,
//! secrets in words.

mod amounts;
mod secrets;
mod stores;

use super::kit::*;
use countersign_it::{TestServer, install_body};
use countersign_store::{BlobName, Key, keys};
use serde_json::{Value, json};

fn money(unit: &str, amount: Value) -> Value {
    json!({ "effect": "idempotent",
        "inputSchema": { "type": "object", "properties": { "amount": amount, "currency": {},
            "to": {} } },
        "blastRadius": { "writes": 1, "money": { "amount": "/amount", "currency": "/currency",
            "unit": unit } } })
}

fn one(with: Value) -> Value {
    json!([{ "id": "s", "use": "kit/pay", "with": with }])
}

async fn verdict(server: &TestServer, draft: Value) -> Value {
    let body = json!({ "text": "do it", "mode": "dryRun", "draft": draft });
    let id = submit(&server.agent, body).await;
    server.settled(&id).await
}

/// A body whose keys stand twice, spelled alike or escaped, or whose numbers no reader agrees on:
/// refused whole.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_body_that_two_readers_read_differently() {
    let server = TestServer::start().await;
    let pay = concat!(
        r#"{"id":"p","use":"payments/payout.create","#,
        r#""with":{"account":"DE02","currency":"EUR","amount":"#
    );
    for amount in [
        r#"5,"amount":99999"#,
        r#"5,"\u0061mount":99999"#,
        r#"5,"amoun\u0074":99999"#,
        "1e400",
        "-1e400",
        "99999999999999999999999",
        "9007199254740993.0",
        "1E+16",
        "NaN",
        "+5",
        "05",
        "0x5",
        "5.",
    ] {
        let body = format!(r#"{{"text":"pay","draft":{{"steps":[{pay}{amount}}}}}]}}}}"#);
        let (status, answer) = server.agent.raw("/v1/intents", body.into_bytes()).await;
        assert_eq!(status, 400, "{amount}: {answer}");
    }
    // Forms of one number are one number, for the policy as for the tool.
    let rule = "@id(\"own.limit\") @reason(\"too much\") forbid (principal, action == \
        Action::\"payments/payout.create\", \
                resource) when { context.input has amount && context.input.amount > 1000 };";
    let (status, answer) = activate(&server, rule).await;
    assert_eq!(status, 200, "{answer}");
    for amount in ["99999.0", "9.9999e4", "99999000e-3", "99999", "9007199254740993"] {
        let body = format!(r#"{{"text":"pay","draft":{{"steps":[{pay}{amount}}}}}]}}}}"#);
        let (status, answer) = server.agent.raw("/v1/intents", body.into_bytes()).await;
        assert_eq!(status, 202, "{amount}: {answer}");
        let view = server.settled(answer["executionId"].as_str().unwrap()).await;
        assert_eq!(view["status"], "rejected", "{amount}: {view}");
        assert!(view["reasons"].to_string().contains("too much"), "{amount}: {view}");
    }
}

/// A playbook's inputs bring markers, steps, budgets, amounts below zero: they are values, and
/// checked like any.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_playbook_through_its_inputs() {
    let (server, stub) = (TestServer::start().await, StubServer::start().await);
    let pay = money("minor", json!({ "type": "integer" }));
    let mut manifest =
        stub.manifest(vec![stub.operation("pay", pay), stub.operation("read", json!({}))]);
    manifest["playbooks"] = json!([{ "key": "go", "inputSchema": { "type": "object",
        "properties": { "amount": { "type": "integer" }, "note": {} } },
        "draft": { "budget": { "money": { "EUR": 100 } }, "steps": [
            { "id": "r", "use": "kit/read", "with": { "note": { "$input": "/note" } } },
            { "id": "s", "use": "kit/pay", "after": ["r"],
                "with": { "amount": { "$input": "/amount" }, "currency": "EUR" } }] } }]);
    server.install(&server.approver, &manifest).await;
    let go = |inputs: Value| {
        let server = &server;
        async move {
            let body = json!({ "text": "go", "playbook": { "key": "kit/go", "inputs": inputs } });
            server.settled(&submit(&server.agent, body).await).await
        }
    };
    for note in [
        json!({ "$from": "s" }),
        json!({ "$literal": { "$from": "s" } }),
        json!({ "$input": "/amount" }),
        json!([{ "$from": "s", "path": "/x" }]),
    ] {
        let view = go(json!({ "amount": 5, "note": note })).await;
        assert_eq!(view["status"], "completed", "{note}: {view}");
        assert_eq!(stub.last("read").body, json!({ "note": note }));
    }
    for amount in [json!(101), json!(-5), json!(1_000_000)] {
        assert_eq!(go(json!({ "amount": amount })).await["status"], "rejected", "{amount}");
    }
    // An amount that is left out is no small one.
    assert_eq!(go(json!({})).await["status"], "rejected");
    for body in [
        json!({ "text": "go", "playbook": { "key": "kit/go", "inputs": {}, "budget": {} } }),
        json!({ "text": "go", "playbook": { "key": "kit/go", "inputs": {} },
            "draft": { "steps": [] } }),
        json!({ "text": "go", "playbook": { "key": "kit/go", "inputs": [], "draft": {} } }),
    ] {
        let (status, answer) = server.agent.post("/v1/intents", &body).await;
        assert_eq!(status, 422, "{body}: {answer}");
    }
}

/// References, seals and blobs in the result of a callback, in a probe's evidence and in that of a
/// person: they are data.
#[tokio::test(flavor = "multi_thread")]
async fn attack_markers_in_callbacks_probes_and_resolutions() {
    let card = json!({ "inputSchema": { "type": "object",
        "properties": { "card": { "x-sensitive": true } } } });
    let (server, stub) = server_with(|stub| {
        let probed = json!({ "effect": "non_idempotent", "probe": "seek" });
        let doubtful = json!({ "effect": "non_idempotent" });
        vec![
            stub.operation("hide", card),
            stub.operation("work", probed),
            stub.operation("lose", doubtful),
            stub.operation("seek", json!({})),
            stub.operation("take", json!({})),
        ]
    })
    .await;
    let grace = grace(&server).await;
    let steps = |work: &str| {
        json!([{ "id": "hide", "use": "kit/hide", "with": { "card": CARD } },
            { "id": "work", "use": format!("kit/{work}"), "after": ["hide"] },
            { "id": "take", "use": "kit/take", "with": {
                "v": { "$from": "work", "path": "/v" } } }])
    };
    let id = submit_steps(&server.agent, steps("seek")).await;
    let (_, shown) = server.approver.get(&format!("/v1/executions/{id}?includePlan=true")).await;
    let seal = shown["execution"]["plan"]["steps"][0]["seals"]["/card"].clone();
    for value in [
        json!({ "$sealed": seal }),
        json!({ "$from": "hide", "path": "/card" }),
        json!({ "$literal": { "$from": "hide" } }),
        json!({ "$blob": seal, "blob": 1 }),
        json!({ "value": null, "seals": { "": seal } }),
    ] {
        let mut ids = Vec::new();
        // By callback.
        stub.forget();
        stub.answers("work", 202, json!({}));
        let before = stub.calls("work").len();
        let id = submit_steps(&server.agent, steps("work")).await;
        let call = stub.nth("work", before + 1).await;
        waiting(&server, &id, ("work", "awaiting_callback")).await;
        let request = countersign_it::http().post(&call.callback).bearer_auth(&call.warrant);
        let answer = request.json(&json!({ "output": { "v": value } })).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{value}");
        server.until(&id, "completed").await;
        assert_eq!(stub.last("take").body, json!({ "v": value }));
        ids.push(id);
        // By a probe.
        stub.forget();
        stub.answers("work", 500, json!({}));
        stub.answers("seek", 200, json!({ "found": true, "output": { "v": value } }));
        let id = submit_steps(&server.agent, steps("work")).await;
        server.until(&id, "completed").await;
        assert_eq!(stub.last("take").body, json!({ "v": value }));
        ids.push(id);
        // By a person.
        stub.forget();
        stub.answers("lose", 500, json!({}));
        let id = submit_steps(&server.agent, steps("lose")).await;
        waiting(&server, &id, ("work", "outcome_unknown")).await;
        let said = json!({ "stepId": "work", "outcome": "completed", "evidence": { "v": value } });
        let (status, answer) = grace.post(&format!("/v1/executions/{id}/resolve"), &said).await;
        assert_eq!(status, 200, "{value}: {answer}");
        server.until(&id, "completed").await;
        assert_eq!(stub.last("take").body, json!({ "v": value }));
        ids.push(id);
        for id in ids {
            told_nothing(&evidence(&server, &id).await);
            server.proven(&id).await;
        }
    }
}

async fn freeze_operation(fixture: &KitFixture, key: &str, frozen: bool) {
    let request = json!({ "scope": "operation", "key": key, "frozen": frozen });
    fixture
        .engine
        .limits
        .set_freeze(&fixture.caller, serde_json::from_value(request).unwrap())
        .await
        .unwrap();
}
