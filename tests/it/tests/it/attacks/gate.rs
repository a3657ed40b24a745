//! Attacks on the one gate: what undoes, probes, tries again or goes on after something changed.

mod claims;
mod undoing;

use super::kit::*;
use countersign_it::{TestServer, install_body};
use local::demo_tools::Behaviour;
use serde_json::{Value, json};

const PAYOUT: &str = "payments/payout.create";

/// `ship`, which `undo` undoes; both are the test's own.
async fn shop(undo: Value) -> (TestServer, StubServer) {
    shop_with((json!({}), 200), undo).await
}

/// `ship` with something besides, and the status it answers with.
async fn shop_with((besides, status): (Value, u16), undo: Value) -> (TestServer, StubServer) {
    server_with(|stub| {
        let mut ship = json!({ "effect": "idempotent", "compensate": { "operation": "undo",
                "input": { "id": "/output/id" } } });
        let mut back = json!({ "effect": "idempotent", "inputSchema": { "type": "object",
            "properties": { "id": { "type": "string" } }, "required": ["id"] } });
        for (operation, more) in [(&mut ship, &besides), (&mut back, &undo)] {
            operation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        stub.answers("ship", status, json!({ "id": "s1" }));
        vec![stub.operation("ship", with_id(ship)), stub.operation("undo", back)]
    })
    .await
}

fn with_id(mut operation: Value) -> Value {
    operation["outputSchema"] = json!({ "type": "object",
        "properties": { "id": { "type": "string" } }, "required": ["id"] });
    operation
}

/// A shipment that is done, and a payout behind it that waits for people.
async fn shipped(server: &TestServer, stub: &StubServer) -> String {
    let mut later = pay("p");
    later["after"] = json!(["ship"]);
    let id = submit_steps(
        &server.agent,
        json!([{ "id": "ship", "use": "kit/ship", "with": {} }, later]),
    )
    .await;
    stub.nth("ship", 1).await;
    server.until(&id, "blocked").await;
    id
}

async fn cancel(server: &TestServer, id: &str) {
    let body = json!({ "compensate": true });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/cancel"), &body).await;
    assert_eq!(status, 200, "{answer}");
}

const NO_UNDO: &str = "@id(\"own.undo\") @reason(\"nothing is undone\") \
                       forbid (principal, action == Action::\"kit/undo\", resource);";

/// Resolves `ship` as completed, and sees it undone once.
async fn found_and_undone(server: &TestServer, stub: &StubServer, id: &str, ended: &str) {
    let view = waiting(server, id, ("ship", "outcome_unknown")).await;
    assert_eq!(step(&view, "ship")["status"], "in_doubt", "{view}");
    assert!(stub.calls("undo").is_empty(), "before anybody said what became of it");
    let body = json!({ "stepId": "ship", "outcome": "completed", "evidence": { "id": "s1" } });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/resolve"), &body).await;
    assert_eq!(status, 200, "{answer}");
    server.until(id, ended).await;
    assert_eq!(stub.calls("undo").len(), 1);
    server.proven(id).await;
}
