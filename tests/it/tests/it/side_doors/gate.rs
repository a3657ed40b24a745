//! One gate to every effect, and what cannot be measured. Each test is a sample of the side doors, or its sibling.

use contracts::{command::StartExecution, governance::TrustPolicy, verdict::Verdict};
use countersign_it::{House, desk::Desk, install_body};
use engine::{NextStep, memory::MemoryTable};
use local::demo_tools::{self, Behaviour};
use serde_json::{Value, json};
use std::sync::Arc;

const SENT: &str = "mail/message.send";
const UNDONE: &str = "payments/refund.cancel";

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
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

fn operation(house: &House, of: Operation<'_>) -> Value {
    let name = format!("shop/{}", of.key);
    house.tools.alias(&name, of.served);
    let mut operation = json!({ "key": of.key, "title": of.key, "inputSchema": of.input, "outputSchema": of.output,
        "effect": "idempotent", "riskTier": "low", "timeoutSeconds": 5, "labels": { "accepts": ["untrusted", "pii"] },
        "retry": { "maxAttempts": 1, "backoffSeconds": 1, "maxBackoffSeconds": 1 },
        "binding": { "kind": "http", "url": format!("{}/{}", house.tools.url(), of.served) } });
    for (key, value) in of.more.as_object().unwrap() {
        operation[key] = value.clone();
    }
    operation
}

fn sends(house: &House, key: &str, input: Value, more: Value) -> Value {
    let output = object(json!({ "messageId": { "type": "string" } }), &["messageId"]);
    operation(house, Operation { key, served: SENT, input, output, more })
}

fn undoes(house: &House, key: &str, input: Value, more: Value) -> Value {
    let output = object(json!({ "status": { "type": "string" } }), &["status"]);
    operation(house, Operation { key, served: UNDONE, input, output, more })
}

/// Answers `{"n"}` as it was asked: an earlier step whose output is whatever the test wants.
fn says(house: &House, kind: Value) -> Value {
    let schema = object(json!({ "n": kind }), &["n"]);
    let more = json!({ "effect": "read" });
    operation(house, Operation { key: "says", served: "bench/noop", input: schema.clone(), output: schema, more })
}

fn manifest(house: &House, operations: Vec<Value>) -> Value {
    let mut manifest = house.tools.manifests().unwrap().remove(2);
    manifest["skill"]["key"] = json!("shop");
    manifest["operations"] = json!(operations);
    manifest.as_object_mut().unwrap().remove("playbooks");
    manifest
}

async fn house_with(operations: impl FnOnce(&House) -> Vec<Value>) -> House {
    let house = House::start().await;
    let manifest = manifest(&house, operations(&house));
    house.install(&house.approver, &manifest).await;
    house
}

fn money() -> Value {
    json!({ "blastRadius": { "money": { "amount": "/amount", "currency": "/currency" } } })
}

async fn submit(house: &House, draft: Value) -> String {
    let (status, answer) = house.agent.post("/v1/intents", &json!({ "text": "do it", "draft": draft })).await;
    assert_eq!(status, 202, "{answer}");
    answer["executionId"].as_str().unwrap().to_owned()
}

async fn set_budgets(house: &House, budgets: Value) {
    let (status, answer) = house.approver.post("/v1/budgets", &json!({ "budgets": budgets })).await;
    assert_eq!(status, 200, "{answer}");
}

async fn activate(house: &House, rules: &str) {
    let text = format!("{}\n{rules}", policy::BASELINE);
    let (status, answer) = house.approver.post("/v1/policies", &json!({ "policies": text })).await;
    assert_eq!(status, 200, "{answer}");
}

async fn freeze(house: &House, scope: &str, key: &str, frozen: bool) {
    let (status, answer) =
        house.approver.post("/v1/freezes", &json!({ "scope": scope, "key": key, "frozen": frozen })).await;
    assert_eq!(status, 200, "{answer}");
}

fn step<'v>(view: &'v Value, id: &str) -> &'v Value {
    view["steps"].as_array().unwrap().iter().find(|step| step["stepId"] == id).unwrap()
}

/// An execution once a step waits for something.
async fn waiting(house: &House, id: &str, (of, reason): (&str, &str)) -> Value {
    for _ in 0..400 {
        let (_, answer) = house.agent.get(&format!("/v1/executions/{id}")).await;
        let view = answer["execution"].clone();
        if step(&view, of)["waitsFor"] == reason {
            return view;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("{of} never waited for {reason}: {}", house.settled(id).await);
}

async fn approve_step(house: &House, id: &str, of: &str, view: &Value) {
    let body = json!({ "stepId": of, "bindingDigest": step(view, of)["bindingDigest"] });
    let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!(status, 200, "{answer}");
}

async fn cancel(house: &House, id: &str) {
    let body = json!({ "compensate": true });
    let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/cancel"), &body).await;
    assert_eq!(status, 200, "{answer}");
}

/// `ship`, which `takeback` undoes with the amount in its own input; `fails`, which fails when told to.
fn shipping(house: &House) -> Vec<Value> {
    let mut input = amounts();
    input["parcel"] = json!({ "type": "string" });
    let undo = json!({ "compensate": { "operation": "takeback",
        "input": { "amount": "/input/amount", "currency": "/input/currency" } } });
    vec![
        sends(house, "ship", object(input, &["parcel", "amount", "currency"]), undo),
        undoes(house, "takeback", object(amounts(), &["amount", "currency"]), money()),
        operation(
            house,
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
    json!({ "id": "ship", "use": "shop/ship", "with": { "parcel": "p", "amount": amount, "currency": "EUR" } })
}

fn note(after: &[&str]) -> Value {
    json!({ "id": "note", "use": "shop/note.add", "with": { "text": "x" }, "after": after })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_forbidden_compensation_refuses_the_plan() {
    let house = house_with(shipping).await;
    activate(
        &house,
        "@id(\"own.no-takeback\")\n@reason(\"nothing is taken back\")\n\
         forbid (principal, action == Action::\"shop/takeback\", resource);",
    )
    .await;
    house.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
    let id = submit(&house, json!({ "steps": [ship(999_999), note(&["ship"])], "onFailure": "compensate" })).await;
    let view = house.settled(&id).await;
    assert_eq!(view["status"], "rejected", "{view}");
    let reason = &view["reasons"][0];
    assert_eq!(reason["pointer"].as_str().unwrap().rsplit('/').next(), Some("compensate"), "{view}");
    assert!(reason["message"].as_str().unwrap().contains("nothing is taken back"), "{view}");
    assert!(house.tools.effects(SENT).is_empty() && house.tools.effects(UNDONE).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_compensation_is_within_the_budget_or_the_plan_is_refused() {
    let house = house_with(shipping).await;
    let draft = json!({ "steps": [ship(999_999)], "budget": { "money": { "EUR": 100 } } });
    let id = submit(&house, draft).await;
    let view = house.settled(&id).await;
    assert_eq!((&view["status"], &view["reasons"][0]["code"]), (&json!("rejected"), &json!("BUDGET_EXCEEDED")));
    assert!(view["reasons"][0]["message"].as_str().unwrap().contains("undoing `ship`"), "{view}");
    // The workspace's own budget, when it is verified.
    set_budgets(&house, json!({ "plan": { "money": { "EUR": 100 } }, "meters": [] })).await;
    let id = submit(&house, json!({ "steps": [ship(999_999)] })).await;
    let view = house.settled(&id).await;
    assert_eq!(view["status"], "rejected", "{view}");
    assert!(view["reasons"][0]["message"].as_str().unwrap().contains("budget_exceeded"), "{view}");
    assert!(house.tools.effects(SENT).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_compensation_is_metered_and_stuck_beyond_the_meter() {
    let house = house_with(shipping).await;
    let meter = json!({ "id": "spend", "scope": "workspace", "measure": { "kind": "money", "currency": "EUR" },
        "windowSeconds": 3600, "limit": 100 });
    set_budgets(&house, json!({ "meters": [meter] })).await;
    let undone = |amount: i64| {
        let house = &house;
        async move {
            house.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
            let draft = json!({ "steps": [ship(amount), note(&["ship"])], "onFailure": "compensate" });
            submit(house, draft).await
        }
    };
    let id = undone(999_999).await;
    let view = waiting(&house, &id, ("ship", "budget_exceeded")).await;
    assert_eq!(step(&view, "ship")["status"], "stuck", "{view}");
    assert!(house.tools.effects(UNDONE).is_empty(), "{view}");
    let id = undone(60).await;
    house.until(&id, "failed").await;
    assert_eq!(house.tools.effects(UNDONE).len(), 1);
    let (_, budgets) = house.approver.get("/v1/budgets").await;
    assert_eq!(budgets["usage"][0]["used"], 60, "what undoes is counted: {budgets}");
    house.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_frozen_compensation_waits() {
    let house = house_with(shipping).await;
    freeze(&house, "operation", "shop/takeback", true).await;
    house.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
    let id = submit(&house, json!({ "steps": [ship(5), note(&["ship"])], "onFailure": "compensate" })).await;
    let view = waiting(&house, &id, ("ship", "frozen")).await;
    assert_eq!(step(&view, "ship")["status"], "completed", "not undone, and not given up: {view}");
    assert!(house.tools.effects(UNDONE).is_empty());
    freeze(&house, "operation", "shop/takeback", false).await;
    house.until(&id, "failed").await;
    assert_eq!(house.tools.effects(UNDONE).len(), 1);
    house.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_an_assist_compensation_makes_its_step_assist_and_is_approved_with_it() {
    let house = house_with(shipping).await;
    activate(
        &house,
        "@id(\"own.people\")\n@reason(\"people take back\")\n\
         forbid (principal, action == Action::\"shop/takeback\", resource) when { context.mode == \"autonomous\" };",
    )
    .await;
    house.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
    let id = submit(&house, json!({ "steps": [ship(5), note(&["ship"])], "onFailure": "compensate" })).await;
    let view = house.until(&id, "blocked").await;
    assert_eq!(step(&view, "ship")["verdict"], "assist", "{view}");
    assert!(house.tools.effects(SENT).is_empty());
    // What undoes it is part of what people are shown and bind, with its amount and the rule that asks.
    let lines = view["approvals"][0]["lines"].to_string();
    for says in ["undone by", "shop/takeback", "0.05 EUR (5 minor units)", "people take back"] {
        assert!(lines.contains(says), "{says}: {lines}");
    }
    house.approve(&id).await;
    house.until(&id, "failed").await;
    assert_eq!(house.tools.effects(UNDONE).len(), 1, "the approval of the plan covers it");
    house.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_compensation_is_labelled_as_a_step_is() {
    let house = house_with(|house| {
        let said = object(json!({ "n": { "type": "string" } }), &["n"]);
        let secret = json!({ "effect": "read", "labels": { "output": ["secret"] } });
        let parcel = object(json!({ "parcel": { "type": "string" } }), &["parcel"]);
        // The step takes what is secret; what undoes it does not.
        let undo = json!({ "labels": { "accepts": ["secret"] },
            "compensate": { "operation": "takeback", "input": { "parcel": "/input/parcel" } } });
        let says = Operation { key: "says", served: "bench/noop", input: said.clone(), output: said, more: secret };
        vec![
            operation(house, says),
            sends(house, "ship", parcel.clone(), undo),
            undoes(house, "takeback", parcel, json!({})),
        ]
    })
    .await;
    let steps = json!([
        { "id": "says", "use": "shop/says", "with": { "n": "p" } },
        { "id": "ship", "use": "shop/ship", "with": { "parcel": { "$from": "says", "path": "/n" } } }
    ]);
    let id = submit(&house, json!({ "steps": steps })).await;
    let view = house.settled(&id).await;
    assert_eq!(view["status"], "rejected", "{view}");
    let reason = &view["reasons"][0];
    assert_eq!(reason["pointer"].as_str().unwrap().rsplit('/').next(), Some("compensate"), "{view}");
    assert!(reason["message"].as_str().unwrap().contains("taint: `secret` reaches this step"), "{view}");
    assert_eq!(house.tools.calls(), 0);
}

/// A compensation whose target is the output of the step: nobody knew it when the plan was approved.
fn undone_by_output(house: &House) -> Vec<Value> {
    let undo = json!({ "compensate": { "operation": "takeback", "input": { "id": "/output/messageId" } } });
    vec![
        sends(house, "ship", object(json!({ "parcel": { "type": "string" } }), &["parcel"]), undo),
        undoes(
            house,
            "takeback",
            object(json!({ "id": { "type": "string" } }), &["id"]),
            json!({ "resource": "/id", "riskTier": "medium" }),
        ),
        operation(
            house,
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

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_compensation_with_an_unknown_target_asks_with_the_value() {
    let house = house_with(undone_by_output).await;
    house.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
    let steps = json!([{ "id": "ship", "use": "shop/ship", "with": { "parcel": "p" } }, note(&["ship"])]);
    let id = submit(&house, json!({ "steps": steps, "onFailure": "compensate" })).await;
    house.until(&id, "blocked").await;
    house.approve(&id).await;
    let view = waiting(&house, &id, ("ship", "approval_required")).await;
    assert_eq!(step(&view, "ship")["status"], "stuck", "{view}");
    assert!(house.tools.effects(UNDONE).is_empty(), "{view}");
    approve_step(&house, &id, "ship", &view).await;
    house.until(&id, "failed").await;
    assert_eq!(house.tools.effects(UNDONE).len(), 1);
    house.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_missing_compensation_input_is_stuck() {
    let house = house_with(|house| {
        let undo = json!({ "compensate": { "operation": "takeback", "input": { "id": "/output/receipt" } } });
        let mut ship = sends(house, "ship", object(json!({ "parcel": { "type": "string" } }), &["parcel"]), undo);
        ship["outputSchema"]["properties"]["receipt"] = json!({ "type": "string" });
        // Nothing is required: called with `{}` it would undo something else.
        let undo = undoes(house, "takeback", object(json!({ "id": { "type": "string" } }), &[]), json!({}));
        vec![ship, undo]
    })
    .await;
    let steps = json!([
        { "id": "ship", "use": "shop/ship", "with": { "parcel": "p" } },
        { "id": "pay", "use": "payments/payout.create", "after": ["ship"],
          "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }
    ]);
    let id = submit(&house, json!({ "steps": steps })).await;
    house.until(&id, "blocked").await;
    cancel(&house, &id).await;
    let view = waiting(&house, &id, ("ship", "compensation_failed")).await;
    assert_eq!(step(&view, "ship")["status"], "stuck", "{view}");
    assert!(step(&view, "ship")["message"].as_str().unwrap().contains("/output/receipt"), "{view}");
    assert!(house.tools.effects(UNDONE).is_empty(), "called with `{{}}`");
    house.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_dry_run_never_starts() {
    let house = House::start().await;
    let steps = json!([{ "id": "m", "use": SENT, "with": { "to": ["a@x.org"], "subject": "s", "body": "b" } }]);
    let body = json!({ "text": "x", "mode": "dryRun", "draft": { "steps": steps } });
    let (_, answer) = house.agent.post("/v1/intents", &body).await;
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let view = house.until(&id, "verified").await;
    let body = json!({ "planId": view["planId"] });
    let (status, answer) = house.agent.post(&format!("/v1/executions/{id}/start"), &body).await;
    assert_eq!((status, &answer["code"]), (412, &json!("PRECONDITION_FAILED")), "{answer}");
    for verb in ["retry", "resume"] {
        let (status, _) = house.approver.post(&format!("/v1/executions/{id}/{verb}"), &json!({})).await;
        assert!(status >= 400, "{verb}");
    }
    let (workspace, execution) = (&house.identity.workspace, id.parse().unwrap());
    house.node().engine().advance(workspace, &execution, 1_000).await.unwrap();
    assert_eq!((house.tools.calls(), &house.settled(&id).await["status"]), (0, &json!("verified")));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_revoked_key_stops_what_it_asked() {
    let house = House::start().await;
    let pay = json!([{ "id": "pay", "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }]);
    let id = house.submit(pay).await;
    let blocked = house.until(&id, "blocked").await;
    let (_, keys) = house.approver.get("/v1/keys").await;
    let items = keys["items"].as_array().or_else(|| keys["keys"].as_array()).unwrap_or_else(|| panic!("{keys}"));
    let key = items.iter().find(|key| key["actor"]["kind"] == "agent").unwrap()["id"].as_str().unwrap();
    let (status, answer) = house.approver.post(&format!("/v1/keys/{key}/revoke"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let body = json!({ "bindingDigest": blocked["bindingDigest"] });
    let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!(status, 200, "{answer}");
    for _ in 0..400 {
        let (_, answer) = house.approver.get(&format!("/v1/executions/{id}")).await;
        let view = &answer["execution"];
        if step(view, "pay")["waitsFor"] == "requester_revoked" {
            assert!(step(view, "pay")["message"].as_str().unwrap().contains("revoked"), "{view}");
            assert!(house.tools.effects("payments/payout.create").is_empty());
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("it ran with the grants that the key had: {:?}", house.tools.effects("payments/payout.create"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_withdrawn_trust_stops_what_was_asked() {
    let house = House::start().await;
    let pay = json!([{ "id": "pay", "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }]);
    let id = house.submit(pay).await;
    let blocked = house.until(&id, "blocked").await;
    house.trust(&TrustPolicy::default()).await;
    let body = json!({ "bindingDigest": blocked["bindingDigest"] });
    let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!(status, 200, "{answer}");
    let view = waiting(&house, &id, ("pay", "skill_disabled")).await;
    assert!(step(&view, "pay")["message"].as_str().unwrap().contains("trusted no longer"), "{view}");
    assert!(house.tools.effects("payments/payout.create").is_empty(), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_resolution_by_retry_asks_for_approval_again() {
    let house = House::start().await;
    let pay = json!([{ "id": "pay", "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }]);
    for _ in 0..2 {
        house.tools.behave("payments/payout.create", Behaviour::Lose);
    }
    // Its probe does not answer: people say what became of it.
    for _ in 0..3 {
        house.tools.behave("payments/payout.find", Behaviour::Fail { status: 500 });
    }
    let id = house.submit(pay).await;
    house.until(&id, "blocked").await;
    house.approve(&id).await;
    let view = waiting(&house, &id, ("pay", "outcome_unknown")).await;
    assert_eq!(house.tools.effects("payments/payout.create").len(), 1, "{view}");
    for _ in 0..400 {
        let body = json!({ "stepId": "pay", "outcome": "retry" });
        let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/resolve"), &body).await;
        if status == 200 {
            break;
        }
        assert_eq!(status, 409, "{answer}");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let view = waiting(&house, &id, ("pay", "approval_required")).await;
    let paid: u32 = house.tools.effects("payments/payout.create").values().sum();
    assert_eq!(paid, 1, "a second call needs a second approval: {view}");
    house.proven(&id).await;
}

/// `pay` with a schema for its amount and a radius for it.
async fn paying(schema: Value, required: &[&str], radius: Value) -> House {
    house_with(|house| {
        let properties = json!({ "amount": schema, "currency": { "type": "string" }, "to": { "type": "string" } });
        let more = json!({ "blastRadius": radius });
        vec![sends(house, "pay", object(properties, required), more), says(house, json!({ "type": "integer" }))]
    })
    .await
}

fn pay(with: Value) -> Value {
    json!({ "steps": [{ "id": "pay", "use": "shop/pay", "with": with }] })
}

fn minor() -> Value {
    json!({ "money": { "amount": "/amount", "currency": "/currency" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_is_not_small_minor_units_want_an_integer_schema() {
    let house = House::start().await;
    let input = object(json!({ "amount": { "type": "number" }, "currency": { "type": "string" } }), &["amount"]);
    let install = |radius: Value| {
        let pay = sends(&house, "pay", input.clone(), json!({ "blastRadius": radius }));
        let body = install_body(&manifest(&house, vec![pay]));
        let client = house.approver.clone();
        async move { client.post("/v1/skills", &body).await }
    };
    let (status, answer) = install(minor()).await;
    assert_eq!((status, &answer["code"]), (400, &json!("MANIFEST_INVALID")), "{answer}");
    assert_eq!(answer["issues"][0]["pointer"], "/manifest/operations/0/blastRadius/money/amount", "{answer}");
    let unknown = json!({ "money": { "amount": "/amount", "currency": "BTC", "unit": "major" } });
    let (status, answer) = install(unknown).await;
    assert_eq!(
        (status, &answer["issues"][0]["pointer"]),
        (400, &json!("/manifest/operations/0/blastRadius/money/currency"))
    );
    let major = json!({ "money": { "amount": "/amount", "currency": "EUR", "unit": "major" } });
    assert_eq!(install(major).await.0, 201);
    // Counted exactly: 99,999.50 are 9,999,950 cents.
    set_budgets(&house, json!({ "plan": { "money": { "EUR": 9_999_949 } }, "meters": [] })).await;
    let id = submit(&house, pay(json!({ "amount": 99_999.5 }))).await;
    assert_eq!(house.settled(&id).await["status"], "rejected");
    set_budgets(&house, json!({ "plan": { "money": { "EUR": 9_999_950 } }, "meters": [] })).await;
    let id = submit(&house, pay(json!({ "amount": 99_999.5 }))).await;
    house.until(&id, "completed").await;
    // Not exact in the currency: more than any limit.
    let id = submit(&house, pay(json!({ "amount": 0.001 }))).await;
    assert_eq!(house.settled(&id).await["status"], "rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_is_not_small_negative_absent_and_unknown_amounts() {
    let house = paying(json!({ "type": "integer" }), &[], minor()).await;
    let cases = [
        json!({ "amount": -99_999, "currency": "EUR" }),
        json!({ "currency": "EUR" }),
        json!({ "amount": 5 }),
        json!({ "amount": 5, "currency": "doubloons" }),
    ];
    for with in &cases {
        let id = submit(&house, pay(with.clone())).await;
        let view = house.settled(&id).await;
        assert_eq!(view["status"], "blocked", "without a limit people decide: {with} {view}");
        assert!(view["steps"][0]["reasons"].to_string().contains("unmeasured: money"), "{view}");
    }
    assert!(house.tools.effects(SENT).is_empty());
    let meter = json!({ "id": "spend", "scope": "workspace", "measure": { "kind": "money", "currency": "USD" },
        "windowSeconds": 3600, "limit": 1_000_000 });
    set_budgets(&house, json!({ "meters": [meter] })).await;
    let id = submit(&house, pay(cases[0].clone())).await;
    house.until(&id, "blocked").await;
    house.approve(&id).await;
    let view = waiting(&house, &id, ("pay", "budget_exceeded")).await;
    assert!(house.tools.effects(SENT).is_empty(), "a meter of whichever currency: {view}");
    for budget in [json!({ "money": { "EUR": 5_000 } }), json!({ "money": {} })] {
        set_budgets(&house, json!({ "plan": budget, "meters": [] })).await;
        for with in &cases {
            let id = submit(&house, pay(with.clone())).await;
            let view = house.settled(&id).await;
            assert_eq!(view["status"], "rejected", "under a limit it is blocked: {with} {view}");
        }
    }
    let mut draft = pay(cases[1].clone());
    draft["budget"] = json!({ "money": { "EUR": 5_000 } });
    set_budgets(&house, json!({ "meters": [] })).await;
    let id = submit(&house, draft).await;
    assert_eq!(house.settled(&id).await["reasons"][0]["code"], "BUDGET_EXCEEDED");
    assert!(house.tools.effects(SENT).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_is_not_small_no_currency_is_allowed_by_an_empty_budget() {
    let house = paying(json!({ "type": "integer" }), &["amount", "currency"], minor()).await;
    let mut draft = pay(json!({ "amount": 1, "currency": "EUR" }));
    draft["budget"] = json!({ "money": {} });
    let id = submit(&house, draft.clone()).await;
    let view = house.settled(&id).await;
    assert_eq!((&view["status"], &view["reasons"][0]["code"]), (&json!("rejected"), &json!("BUDGET_EXCEEDED")));
    // Lower case is the same currency in an input, and refused where a limit is set.
    draft["budget"] = json!({ "money": { "EUR": 100 } });
    draft["steps"][0]["with"] = json!({ "amount": 101, "currency": "eur" });
    let id = submit(&house, draft.clone()).await;
    assert_eq!(house.settled(&id).await["reasons"][0]["code"], "BUDGET_EXCEEDED");
    draft["budget"] = json!({ "money": { "eur": 1_000 } });
    let id = submit(&house, draft).await;
    let view = house.settled(&id).await;
    assert_eq!(view["reasons"][0]["code"], "UNKNOWN_CURRENCY", "{view}");
    assert!(view["reasons"][0]["message"].as_str().unwrap().contains("`EUR`"), "{view}");
    let meter = json!({ "id": "spend", "scope": "workspace", "measure": { "kind": "money", "currency": "eur" },
        "windowSeconds": 3600, "limit": 100 });
    let (status, answer) = house.approver.post("/v1/budgets", &json!({ "budgets": { "meters": [meter] } })).await;
    assert_eq!((status, &answer["issues"][0]["pointer"]), (422, &json!("/budgets/meters/0/measure/currency")));
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_is_not_small_recipients_are_counted_one_by_one() {
    let house = paying(json!({ "type": "integer" }), &["to"], json!({ "recipients": "/to" })).await;
    let sent = |to: &str, limit: u64| {
        let mut draft = pay(json!({ "to": to }));
        draft["budget"] = json!({ "recipients": limit });
        let house = &house;
        async move { house.settled(&submit(house, draft).await).await }
    };
    let view = sent("a@x, b@x; c@x", 1).await;
    assert_eq!(view["reasons"][0]["code"], "BUDGET_EXCEEDED", "{view}");
    let view = sent("a@x, b@x; c@x", 2).await;
    assert_eq!(view["reasons"][0]["code"], "BUDGET_EXCEEDED", "{view}");
    assert_eq!(sent("a@x, b@x; c@x", 3).await["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn unmeasured_is_not_small_policies_see_every_currency() {
    let house = paying(json!({ "type": "integer" }), &["amount", "currency"], minor()).await;
    let limit = policy::TEMPLATES.iter().find(|(name, _)| *name == "spending-limit").unwrap().1;
    activate(&house, &limit.replace("10000", "5000")).await;
    let two = |eur: i64, other: i64, code: &str| {
        let one = |id: &str, amount: i64, currency: &str| json!({ "id": id, "use": "shop/pay", "with": { "amount": amount, "currency": currency } });
        json!({ "steps": [one("a", eur, "EUR"), one("b", other, code)] })
    };
    let verdict = |draft: Value| {
        let house = &house;
        async move { house.settled(&submit(house, draft).await).await["verdict"].clone() }
    };
    assert_eq!(verdict(two(4_000, 3_000, "USD")).await, "autonomous", "each within its limit");
    assert_eq!(verdict(two(4_000, 5_001, "USD")).await, "assist", "each currency has a limit of its own");
    assert_eq!(verdict(two(4_000, 3_000, "EUR")).await, "assist", "a sum of one currency");
    assert_eq!(verdict(two(4_000, 1, "JPY")).await, "assist", "a currency without a limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn seen_is_signed_an_amount_wired_from_an_earlier_step_asks_again() {
    let house = paying(json!({ "type": "integer" }), &["amount", "currency"], minor()).await;
    activate(
        &house,
        "@id(\"own.people\")\n@reason(\"people pay\")\n\
         forbid (principal, action == Action::\"shop/pay\", resource) when { context.mode == \"autonomous\" };",
    )
    .await;
    let paying = |id: &str, amount: Value| json!({ "id": id, "use": "shop/pay", "with": { "amount": amount, "currency": "EUR" } });
    let steps = json!([
        { "id": "says", "use": "shop/says", "with": { "n": 7_777_777 } },
        paying("fixed", json!(5)),
        paying("wired", json!({ "$from": "says", "path": "/n" }))
    ]);
    let id = submit(&house, json!({ "steps": steps })).await;
    waiting(&house, &id, ("fixed", "approval_required")).await;
    let view = waiting(&house, &id, ("wired", "approval_required")).await;
    // What is asked shows the value.
    let asks = view["approvals"].as_array().unwrap().iter().find(|approval| approval["stepId"] == "wired").unwrap();
    assert!(asks["lines"].to_string().contains("77777.77 EUR (7777777 minor units)"), "{asks}");
    // The approval of the plan covers what was known, and not the amount that came later.
    let plan = view["approvals"].as_array().unwrap().iter().find(|approval| approval["stepId"].is_null()).unwrap();
    let body = json!({ "bindingDigest": plan["bindingDigest"] });
    let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!((status, &answer["remaining"]), (200, &json!(["wired"])), "{answer}");
    for _ in 0..400 {
        if house.tools.effects(SENT).len() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let view = waiting(&house, &id, ("wired", "approval_required")).await;
    assert_eq!(house.tools.effects(SENT).len(), 1, "{view}");
    // Nor does an approval of the step that was made of another input.
    let body = json!({ "stepId": "wired", "bindingDigest": plan["bindingDigest"] });
    let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!((status, &answer["code"]), (409, &json!("BINDING_STALE")), "{answer}");
    approve_step(&house, &id, "wired", &view).await;
    house.until(&id, "completed").await;
    assert_eq!(house.tools.effects(SENT).len(), 2);
    house.proven(&id).await;
}

/// A desk with a low-risk write, under the shipped business-hours template; its clock at 17:59 in UTC.
async fn at_one_minute_to_six() -> Desk {
    let desk = Desk::new(Arc::new(MemoryTable::default())).await;
    let mut manifest: Value = serde_json::from_str(include_str!("../../../../../examples/skills/crm.json")).unwrap();
    manifest["skill"]["key"] = json!("notes");
    let operation = &mut manifest["operations"][0];
    (operation["key"], operation["effect"]) = (json!("note.add"), json!("idempotent"));
    desk.engine.install_skill(&desk.agent, demo_tools::signed(&manifest, desk.engine.now()).unwrap()).await.unwrap();
    let hours = policy::TEMPLATES.iter().find(|(name, _)| *name == "business-hours").unwrap().1;
    let set = json!({ "policies": format!("{}\n{hours}", policy::BASELINE) });
    desk.engine.activate_policy(&desk.agent, serde_json::from_value(set).unwrap()).await.unwrap();
    let (day, now) = (86_400_000, desk.engine.now().ms());
    desk.clock.pass((17 * 3_600_000 + 59 * 60_000 - now).rem_euclid(day));
    desk
}

/// Submits a note, compiles and verifies it; its execution and what starts it.
async fn verified_note(desk: &Desk) -> (contracts::ExecutionId, StartExecution) {
    let request = json!({ "text": "note it", "mode": "manual", "draft": { "steps": [
        { "id": "note", "use": "notes/note.add", "with": { "email": "ada@x.org" } }] } });
    let request = serde_json::from_value(request).unwrap();
    let id = desk.engine.submit(&desk.agent, request).await.unwrap().execution_id;
    let plan = desk.engine.compile(&desk.agent, serde_json::from_value(json!({ "executionId": id })).unwrap());
    let plan = plan.await.unwrap().plan_id;
    let named = json!({ "executionId": id, "planId": plan });
    let verdict = desk.engine.verify(&desk.agent, serde_json::from_value(named.clone()).unwrap()).await.unwrap();
    assert_eq!(verdict.verdict, Verdict::Autonomous, "within business hours");
    (id, serde_json::from_value(named).unwrap())
}

#[tokio::test]
async fn context_is_fresh_business_hours_end_before_the_start() {
    let desk = at_one_minute_to_six().await;
    let (id, start) = verified_note(&desk).await;
    desk.clock.pass(60_000);
    desk.engine.start(&desk.agent, start).await.unwrap();
    let next = desk.engine.advance(&desk.agent.workspace, &id, 60_000).await.unwrap().next;
    assert_eq!(next, NextStep::Blocked, "people decide outside business hours");
}

#[tokio::test]
async fn context_is_fresh_business_hours_end_before_the_claim() {
    let desk = at_one_minute_to_six().await;
    let (id, start) = verified_note(&desk).await;
    desk.engine.start(&desk.agent, start.clone()).await.unwrap();
    desk.clock.pass(60_000);
    let next = desk.engine.advance(&desk.agent.workspace, &id, 60_000).await.unwrap().next;
    assert_eq!(next, NextStep::Blocked, "people decide outside business hours");
    // Within them it runs.
    let desk = at_one_minute_to_six().await;
    let (id, start) = verified_note(&desk).await;
    desk.engine.start(&desk.agent, start).await.unwrap();
    let next = desk.engine.advance(&desk.agent.workspace, &id, 60_000).await.unwrap().next;
    assert_eq!(next, NextStep::Done);
}
