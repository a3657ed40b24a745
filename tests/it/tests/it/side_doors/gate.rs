//! One gate to every effect, and what cannot be measured. Each test is a sample of the side doors,
//! or its sibling.

mod claims;
mod compensations;
mod measures;

use contracts::{command::StartExecution, governance::TrustPolicy, verdict::Verdict};
use countersign_it::{TestServer, fixture::EngineFixture, install_body};
use countersign_store::memory::MemoryTable;
use engine::NextStep;
use local::demo_tools::{self, Behaviour};
use serde_json::{Value, json};
use std::sync::Arc;

const SENT: &str = "mail/message.send";
const UNDONE: &str = "payments/refund.cancel";

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required,
        "additionalProperties": false })
}

fn amounts() -> Value {
    json!({ "amount": { "type": "integer" }, "currency": { "type": "string" } })
}

/// An operation of the skill `shop`, served by one of the demo's tools.
struct Operation<'o> {
    key: &'o str,
    served: &'o str,
    input: Value,
    output: Value,
    more: Value,
}

fn operation(server: &TestServer, of: Operation<'_>) -> Value {
    let name = format!("shop/{}", of.key);
    server.tools.alias(&name, of.served);
    let mut operation = json!({ "key": of.key, "title": of.key, "inputSchema": of.input,
        "outputSchema": of.output,
        "effect": "idempotent", "riskTier": "low", "timeoutSeconds": 5,
            "labels": { "accepts": ["untrusted", "pii"] },
        "retry": { "maxAttempts": 1, "backoffSeconds": 1, "maxBackoffSeconds": 1 },
        "binding": { "kind": "http", "url": format!("{}/{}", server.tools.url(), of.served) } });
    for (key, value) in of.more.as_object().unwrap() {
        operation[key] = value.clone();
    }
    operation
}

fn sends(server: &TestServer, key: &str, input: Value, more: Value) -> Value {
    let output = object(json!({ "messageId": { "type": "string" } }), &["messageId"]);
    operation(server, Operation { key, served: SENT, input, output, more })
}

fn undoes(server: &TestServer, key: &str, input: Value, more: Value) -> Value {
    let output = object(json!({ "status": { "type": "string" } }), &["status"]);
    operation(server, Operation { key, served: UNDONE, input, output, more })
}

/// Answers `{"n"}` as it was asked: an earlier step whose output is whatever the test wants.
fn says(server: &TestServer, kind: Value) -> Value {
    let schema = object(json!({ "n": kind }), &["n"]);
    let more = json!({ "effect": "read" });
    operation(
        server,
        Operation {
            key: "says",
            served: "bench/noop",
            input: schema.clone(),
            output: schema,
            more,
        },
    )
}

fn manifest(server: &TestServer, operations: Vec<Value>) -> Value {
    let mut manifest = server.tools.manifests().unwrap().remove(2);
    manifest["skill"]["key"] = json!("shop");
    manifest["operations"] = json!(operations);
    manifest.as_object_mut().unwrap().remove("playbooks");
    manifest
}

async fn server_with(operations: impl FnOnce(&TestServer) -> Vec<Value>) -> TestServer {
    let server = TestServer::start().await;
    let manifest = manifest(&server, operations(&server));
    server.install(&server.approver, &manifest).await;
    server
}

fn money() -> Value {
    json!({ "blastRadius": { "money": { "amount": "/amount", "currency": "/currency" } } })
}

async fn submit(server: &TestServer, draft: Value) -> String {
    let (status, answer) =
        server.agent.post("/v1/intents", &json!({ "text": "do it", "draft": draft })).await;
    assert_eq!(status, 202, "{answer}");
    answer["executionId"].as_str().unwrap().to_owned()
}

async fn set_budgets(server: &TestServer, budgets: Value) {
    let (status, answer) =
        server.approver.post("/v1/budgets", &json!({ "budgets": budgets })).await;
    assert_eq!(status, 200, "{answer}");
}

async fn activate(server: &TestServer, rules: &str) {
    let text = format!("{}\n{rules}", policy::BASELINE);
    let (status, answer) = server.approver.post("/v1/policies", &json!({ "policies": text })).await;
    assert_eq!(status, 200, "{answer}");
}

async fn freeze(server: &TestServer, scope: &str, key: &str, frozen: bool) {
    let (status, answer) = server
        .approver
        .post("/v1/freezes", &json!({ "scope": scope, "key": key, "frozen": frozen }))
        .await;
    assert_eq!(status, 200, "{answer}");
}

fn step<'v>(view: &'v Value, id: &str) -> &'v Value {
    view["steps"].as_array().unwrap().iter().find(|step| step["stepId"] == id).unwrap()
}

/// An execution once a step waits for something.
async fn waiting(server: &TestServer, id: &str, (of, reason): (&str, &str)) -> Value {
    for _ in 0..400 {
        let (_, answer) = server.agent.get(&format!("/v1/executions/{id}")).await;
        let view = answer["execution"].clone();
        if step(&view, of)["waitsFor"] == reason {
            return view;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("{of} never waited for {reason}: {}", server.settled(id).await);
}

async fn approve_step(server: &TestServer, id: &str, of: &str, view: &Value) {
    let body = json!({ "stepId": of, "bindingDigest": step(view, of)["bindingDigest"] });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!(status, 200, "{answer}");
}

async fn cancel(server: &TestServer, id: &str) {
    let body = json!({ "compensate": true });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/cancel"), &body).await;
    assert_eq!(status, 200, "{answer}");
}

/// `ship`, which `takeback` undoes with the amount in its own input; `fails`, which fails when told
/// to.
fn shipping(server: &TestServer) -> Vec<Value> {
    let mut input = amounts();
    input["parcel"] = json!({ "type": "string" });
    let undo = json!({ "compensate": { "operation": "takeback",
        "input": { "amount": "/input/amount", "currency": "/input/currency" } } });
    vec![
        sends(server, "ship", object(input, &["parcel", "amount", "currency"]), undo),
        undoes(server, "takeback", object(amounts(), &["amount", "currency"]), money()),
        operation(
            server,
            Operation {
                key: "note.add",
                served: "shop/note.add",
                input: object(json!({ "text": { "type": "string" } }), &["text"]),
                output: object(json!({ "noteId": { "type": "string" } }), &["noteId"]),
                more: json!({}),
            },
        ),
    ]
}

fn ship(amount: i64) -> Value {
    json!({ "id": "ship", "use": "shop/ship",
        "with": { "parcel": "p", "amount": amount, "currency": "EUR" } })
}

fn note(after: &[&str]) -> Value {
    json!({ "id": "note", "use": "shop/note.add", "with": { "text": "x" }, "after": after })
}

/// `pay` with a schema for its amount and a radius for it.
async fn paying(schema: Value, required: &[&str], radius: Value) -> TestServer {
    server_with(|server| {
        let properties = json!({ "amount": schema, "currency": { "type": "string" },
            "to": { "type": "string" } });
        let more = json!({ "blastRadius": radius });
        vec![
            sends(server, "pay", object(properties, required), more),
            says(server, json!({ "type": "integer" })),
        ]
    })
    .await
}

fn pay(with: Value) -> Value {
    json!({ "steps": [{ "id": "pay", "use": "shop/pay", "with": with }] })
}

fn minor() -> Value {
    json!({ "money": { "amount": "/amount", "currency": "/currency" } })
}
