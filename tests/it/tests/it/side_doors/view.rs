//! What is seen is what is signed.

use countersign_it::{Client, TestServer};
use cs_core::{canonical, text::is_hidden};
use serde_json::{Value, json};

const HOSTILE: &str = "Refund\u{1b}[2J\u{1b}[1A\r\n\u{202e}low risk\u{2069}\u{9b}0m";

fn refund(text: &str) -> Value {
    json!({ "text": text, "draft": { "steps": [{ "id": "refund", "use": "payments/refund.create@^2",
        "with": { "customer": "cus_ada", "amount": 4200, "currency": "EUR",
            "card": "4111-1111" } }] } })
}

async fn submit(server: &TestServer, body: &Value) -> (String, Value) {
    let (status, answer) = server.agent.post("/v1/intents", body).await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let execution = server.settled(&id).await;
    (id, execution)
}

async fn data(client: &Client, id: &str, kind: &str) -> Value {
    let (_, trace) = client.get(&format!("/v1/executions/{id}/trace")).await;
    let mut entries = trace["entries"].as_array().unwrap().iter().rev();
    entries.find(|entry| entry["type"] == format!("controlPlane.{kind}")).unwrap()["metadata"]
        .clone()
}

// Sample: a refund of 4200 minor units to a customer; neither amount, recipient nor the rule was
// shown, and an approval signed whatever was current.
#[tokio::test]
async fn a_refund_shows_amount_target_and_rule_and_its_view_is_what_is_signed() {
    let server = TestServer::start().await;
    let (id, execution) = submit(&server, &refund("Refund Ada 42 euros")).await;
    assert_eq!(execution["status"], "blocked", "{execution}");
    let approval = &execution["approvals"][0];
    let lines = approval["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let lines = lines.collect::<Vec<_>>().join("\n");
    for says in [
        "Refund Ada 42 euros",
        "42.00 EUR (4200 minor units)",
        "\"cus_ada\"",
        "/card = (sealed)",
        "agent",
        "high",
    ] {
        assert!(lines.contains(says), "{says}: {lines}");
    }
    assert!(lines.contains("`baseline.assist`: \"people decide\""), "the rule that asks: {lines}");
    assert!(!approval.to_string().contains("4111-1111"), "what is sensitive is in no view");
    let digest = canonical::digest(&approval["view"]).unwrap();
    assert_eq!(
        approval["viewDigest"],
        digest.as_str(),
        "anybody can compute the digest of what is shown"
    );
    assert_eq!(execution["viewDigest"], digest.as_str());
    let path = format!("/v1/executions/{id}/approve");
    let unseen = json!({ "bindingDigest": approval["bindingDigest"],
        "viewDigest": format!("sha256:{}", "0".repeat(64)) });
    let (status, answer) = server.approver.post(&path, &unseen).await;
    assert_eq!((status, &answer["code"]), (409, &json!("BINDING_STALE")), "{answer}");
    let reject = json!({ "viewDigest": unseen["viewDigest"], "reason": "no" });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/reject"), &reject).await;
    assert_eq!((status, &answer["code"]), (409, &json!("BINDING_STALE")), "{answer}");
    let seen = json!({ "bindingDigest": approval["bindingDigest"], "viewDigest": digest });
    let (status, answer) = server.approver.post(&path, &seen).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(server.until(&id, "completed").await["status"], "completed");
    for kind in ["plan.verified", "approval.requested", "approval.granted"] {
        assert_eq!(data(&server.agent, &id, kind).await["viewDigest"], digest.as_str(), "{kind}");
    }
    server.proven(&id).await;
}

// A rejection is recorded with the view that was current, too.
#[tokio::test]
async fn a_rejection_records_the_view() {
    let server = TestServer::start().await;
    let (id, execution) = submit(&server, &refund("Refund Ada 42 euros")).await;
    let body = json!({ "reason": "no" });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/reject"), &body).await;
    assert_eq!(status, 200, "{answer}");
    let rejected = data(&server.agent, &id, "approval.rejected").await;
    assert_eq!(rejected["viewDigest"], execution["viewDigest"]);
    assert!(rejected["viewDigest"].is_string());
    server.proven(&id).await;
}

// Sample: the intent's words move the cursor and forge rows. In the view they are visible; the JSON
// holds them as they are.
#[tokio::test]
async fn hostile_words_are_shown_escaped_and_kept_as_they_are() {
    let server = TestServer::start().await;
    let (_, execution) = submit(&server, &refund(HOSTILE)).await;
    let approval = &execution["approvals"][0];
    assert_eq!(approval["view"]["goal"]["text"], HOSTILE);
    let lines: Vec<&str> =
        approval["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(lines.iter().all(|line| !line.chars().any(is_hidden)), "{lines:?}");
    assert!(lines.join("\n").contains("\\u{1b}[2J"), "{lines:?}");
}

// An answer leaves the views out where it is asked to, and a plan that nobody decides on has none.
#[tokio::test]
async fn a_view_stands_under_what_is_open_and_nowhere_else() {
    let server = TestServer::start().await;
    let (id, _) = submit(&server, &refund("Refund Ada")).await;
    let (_, answer) = server.agent.get(&format!("/v1/executions/{id}?includeView=false")).await;
    let approval = &answer["execution"]["approvals"][0];
    assert!(approval["view"].is_null() && approval["viewDigest"].is_string(), "{approval}");
    server.approve(&id).await;
    let execution = server.until(&id, "completed").await;
    assert!(execution["approvals"][0]["view"].is_null(), "what is decided is not shown again");
}

fn open<'v>(execution: &'v Value, step: Option<&str>) -> &'v Value {
    let mut approvals = execution["approvals"].as_array().unwrap().iter();
    let found = approvals
        .find(|approval| approval["status"] == "requested" && approval["stepId"].as_str() == step);
    found.unwrap_or_else(|| panic!("{step:?} asks nothing: {execution}"))
}

async fn approve(server: &TestServer, id: &str, approval: &Value) {
    let mut body =
        json!({ "bindingDigest": approval["bindingDigest"], "viewDigest": approval["viewDigest"] });
    if approval["stepId"].is_string() {
        body["stepId"] = approval["stepId"].clone();
    }
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!(status, 200, "{answer}");
}

// Sample: what was unknown when the plan was approved passes under that approval. Here, whose money
// it is.
#[tokio::test]
async fn a_target_that_was_unknown_is_shown_before_it_is_approved() {
    let server = TestServer::start().await;
    let (id, execution) = submit(
        &server,
        &json!({ "text": "Refund Ada", "draft": { "steps": [
            { "id": "who", "use": "crm/customer.find", "with": { "email": "ada@example.com" } },
            { "id": "refund", "use": "payments/refund.create",
                "with": { "amount": 4200, "currency": "EUR",
                "card": "4111-1111", "customer": { "$from": "who", "path": "/id" } } }] } }),
    )
    .await;
    let plan = open(&execution, None);
    let lines = plan["lines"].to_string();
    assert!(
        lines.contains("what it acts on: comes from step `who` /id; the step asks again"),
        "{lines}"
    );
    approve(&server, &id, plan).await;
    let execution = server.settled(&id).await;
    assert_eq!(
        execution["status"], "blocked",
        "the approval of the plan covers no unknown target: {execution}"
    );
    assert_eq!(server.tools.effects("payments/refund.create").len(), 0);
    let asks = open(&execution, Some("refund"));
    let found =
        server.agent.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await.1;
    let customer = found["payloads"]["who"]["id"].as_str().unwrap();
    let lines = asks["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect::<Vec<_>>();
    assert!(
        lines.iter().any(|line| line.contains("target") && line.contains(customer)),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line.contains("/card = (sealed)")), "{lines:?}");
    assert!(!asks.to_string().contains("4111-1111"), "{asks}");
    assert_eq!(asks["viewDigest"], canonical::digest(&asks["view"]).unwrap().as_str());
    assert_ne!(asks["viewDigest"], plan["viewDigest"]);
    server.proven(&id).await;
    approve(&server, &id, asks).await;
    server.until(&id, "completed").await;
    let blocked = data(&server.agent, &id, "execution.step.blocked").await;
    assert_eq!(blocked["viewDigest"], asks["viewDigest"]);
    assert_eq!(blocked["inputDigest"], asks["view"]["inputDigest"]);
    server.proven(&id).await;
}

// Who asks, with which key and for whom is part of what is shown, and so of what is signed.
#[tokio::test]
async fn a_view_says_for_whom_and_with_which_key() {
    let server = TestServer::start().await;
    let mut body = refund("Refund Ada");
    body["onBehalfOf"] = json!("ada@example.com");
    let (_, execution) = submit(&server, &body).await;
    let approval = open(&execution, None);
    let lines = approval["lines"].to_string();
    assert!(lines.contains("on behalf of \\\"ada@example.com\\\", with key"), "{lines}");
    assert_eq!(approval["view"]["requester"]["onBehalfOf"], "ada@example.com");
    assert!(approval["view"]["requester"]["keyId"].is_string());
}
