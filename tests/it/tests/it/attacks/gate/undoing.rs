//! Attacks on the undoing of a plan.

use super::*;

/// A call that may be repeated took effect and its answer was lost; before it is repeated, the plan
/// is cancelled, or the agent frozen and then cancelled: the effect is not forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn attack_cancelled_between_a_lost_answer_and_its_repetition() {
    for frozen in [false, true] {
        let seconds = if frozen { 1 } else { 30 };
        let retry =
            json!({ "maxAttempts": 5, "backoffSeconds": seconds, "maxBackoffSeconds": seconds });
        let (server, stub) = shop_with((json!({ "retry": retry }), 500), json!({})).await;
        let id =
            submit_steps(&server.agent, json!([{ "id": "ship", "use": "kit/ship", "with": {} }]))
                .await;
        stub.nth("ship", 1).await;
        if frozen {
            freeze(&server, "operation", "kit/ship", true).await;
            waiting(&server, &id, ("ship", "frozen")).await;
        } else {
            for _ in 0..200 {
                let (_, answer) = server.approver.get(&format!("/v1/executions/{id}")).await;
                if step(&answer["execution"], "ship")["status"] == "retrying" {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            }
        }
        cancel(&server, &id).await;
        let again = json!({ "stepId": "ship", "outcome": "retry" });
        let (status, answer) =
            server.approver.post(&format!("/v1/executions/{id}/resolve"), &again).await;
        assert_eq!(status, 409, "nothing begins any more: {answer}");
        found_and_undone(&server, &stub, &id, "cancelled").await;
    }
}

/// Each attempt took effect and lost its answer: where a failure undoes the plan, the step is in
/// doubt, and no failure.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_failure_of_answers_alone_is_undone() {
    let retry = json!({ "maxAttempts": 2, "backoffSeconds": 1, "maxBackoffSeconds": 1 });
    let (server, stub) = shop_with((json!({ "retry": retry }), 500), json!({})).await;
    server.tools.behave("crm/customer.find", Behaviour::Fail { status: 404 });
    let steps = json!([{ "id": "ship", "use": "kit/ship", "with": {} },
        { "id": "bad", "use": "crm/customer.find", "after": ["ship"],
            "with": { "email": "ada@x.org" } }]);
    let draft = json!({ "steps": steps, "onFailure": "compensate" });
    let id = submit(&server.agent, json!({ "text": "ship", "draft": draft })).await;
    found_and_undone(&server, &stub, &id, "failed").await;
    // Left as it is, a failure may be tried again under the same key; a cancellation that undoes
    // asks.
    let open = json!([{ "id": "ship", "use": "kit/ship", "with": {} }, pay("p")]);
    let id = submit_steps(&server.agent, open).await;
    for _ in 0..400 {
        if step(&server.settled(&id).await, "ship")["status"] == "failed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    cancel(&server, &id).await;
    let view = waiting(&server, &id, ("ship", "outcome_unknown")).await;
    assert_eq!(step(&view, "ship")["status"], "in_doubt", "{view}");
}

/// A set that forbids the undoing comes between the effect and the cancel: it is asked, nothing is
/// undone, people decide.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_policy_is_swapped_before_the_undoing() {
    let (server, stub) = shop(json!({})).await;
    let id = shipped(&server, &stub).await;
    let (status, answer) = activate(&server, NO_UNDO).await;
    assert_eq!(status, 200, "{answer}");
    cancel(&server, &id).await;
    for _ in 0..200 {
        if step(&server.settled(&id).await, "ship")["status"] != "completed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(stub.calls("undo").is_empty(), "{}", server.settled(&id).await);
    assert!(server.tools.effects(PAYOUT).is_empty());
    let view = server.settled(&id).await;
    assert_ne!(step(&view, "ship")["status"], "compensated", "{view}");
    server.proven(&id).await;
}

/// The agent is frozen, or its key revoked, between the effect and the cancel: the undoing waits
/// like any call of it.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_undoing_of_a_frozen_or_revoked_requester() {
    let (server, stub) = shop(json!({})).await;
    let id = shipped(&server, &stub).await;
    freeze(&server, "actor", "dev-agent", true).await;
    cancel(&server, &id).await;
    let view = waiting(&server, &id, ("ship", "frozen")).await;
    assert!(stub.calls("undo").is_empty(), "{view}");
    freeze(&server, "actor", "dev-agent", false).await;
    server.until(&id, "cancelled").await;
    assert_eq!(stub.calls("undo").len(), 1);
    server.proven(&id).await;
    let (status, made) = try_key(&server.approver, "agent", "bot", &AGENT).await;
    assert_eq!(status, 201, "{made}");
    let bot = countersign_it::Client::new(&server.url(), made["apiKey"].as_str().unwrap());
    let mut later = pay("p");
    later["after"] = json!(["ship"]);
    let id =
        submit_steps(&bot, json!([{ "id": "ship", "use": "kit/ship", "with": {} }, later])).await;
    server.until(&id, "blocked").await;
    let revoke = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    assert_eq!(server.approver.post(&revoke, &json!({})).await.0, 200);
    cancel(&server, &id).await;
    waiting(&server, &id, ("ship", "requester_revoked")).await;
    assert_eq!(stub.calls("undo").len(), 1, "of the first alone");
}

/// The set changes while people are asked about an undoing: what was seen is stale, and it is asked
/// anew under the new one.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_policy_is_swapped_while_an_undoing_asks() {
    let (server, stub) = shop(json!({ "riskTier": "medium", "resource": "/id" })).await;
    let steps = json!([{ "id": "ship", "use": "kit/ship", "with": {} }]);
    let draft = json!({ "steps": [steps[0],
        { "id": "bad", "use": "crm/customer.find", "after": ["ship"],
        "with": { "email": "ada@x.org" } }], "onFailure": "compensate" });
    server.tools.behave("crm/customer.find", Behaviour::Fail { status: 404 });
    let id = submit(&server.agent, json!({ "text": "ship", "draft": draft })).await;
    let by = grace(&server).await;
    assert_eq!(approve(&server, &by, &id).await.0, 200);
    let view = waiting(&server, &id, ("ship", "approval_required")).await;
    let stale = json!({ "stepId": "ship", "bindingDigest": step(&view, "ship")["bindingDigest"] });
    let other = "@id(\"own.other\") forbid (principal, action, resource) when { context.plan.steps \
        > 500 };";
    assert_eq!(activate(&server, other).await.0, 200);
    let path = format!("/v1/executions/{id}/approve");
    let answer = by.post(&path, &stale).await;
    assert_eq!(code(&answer), (409, "BINDING_STALE"), "{}", answer.1);
    let plan = json!({ "bindingDigest": view["bindingDigest"] });
    assert!(by.post(&path, &plan).await.0 >= 400);
    assert!(stub.calls("undo").is_empty());
    let mut fresh = waiting(&server, &id, ("ship", "approval_required")).await;
    while step(&fresh, "ship")["bindingDigest"] == stale["bindingDigest"] {
        fresh = waiting(&server, &id, ("ship", "approval_required")).await;
    }
    let body = json!({ "stepId": "ship", "bindingDigest": step(&fresh, "ship")["bindingDigest"] });
    let answer = by.post(&path, &body).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    server.until(&id, "failed").await;
    assert_eq!(stub.calls("undo").len(), 1);
    server.proven(&id).await;
}

/// Nobody decides about an undoing in time: it says so, nothing is undone, and tried again it asks
/// anew.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_approval_of_an_undoing_runs_out() {
    let (server, stub) = shop(json!({ "riskTier": "medium", "resource": "/id" })).await;
    let soon = "@id(\"own.soon\") @expires(\"2s\") forbid (principal, action == \
        Action::\"kit/undo\", resource) \
                when { context.mode == \"autonomous\" };";
    assert_eq!(activate(&server, soon).await.0, 200);
    let draft = json!({ "steps": [{ "id": "ship", "use": "kit/ship", "with": {} }, { "id": "bad",
        "use": "crm/customer.find", "after": ["ship"], "with": { "email": "ada@x.org" } }],
            "onFailure": "compensate" });
    server.tools.behave("crm/customer.find", Behaviour::Fail { status: 404 });
    let id = submit(&server.agent, json!({ "text": "ship", "draft": draft })).await;
    let by = grace(&server).await;
    assert_eq!(approve(&server, &by, &id).await.0, 200);
    waiting(&server, &id, ("ship", "approval_expired")).await;
    assert!(stub.calls("undo").is_empty());
    let (status, answer) = server
        .approver
        .post(
            &format!("/v1/executions/{id}/resolve"),
            &json!({ "stepId": "ship", "outcome": "retry" }),
        )
        .await;
    assert_eq!(status, 200, "{answer}");
    let view = waiting(&server, &id, ("ship", "approval_required")).await;
    let body = json!({ "stepId": "ship", "bindingDigest": step(&view, "ship")["bindingDigest"] });
    assert_eq!(by.post(&format!("/v1/executions/{id}/approve"), &body).await.0, 200);
    server.until(&id, "failed").await;
    assert_eq!(stub.calls("undo").len(), 1);
    server.proven(&id).await;
}

/// A paused plan is cancelled with undoing: what was done is undone once, and nothing that had not
/// begun begins.
#[tokio::test(flavor = "multi_thread")]
async fn attack_cancelling_a_paused_plan_with_undoing() {
    let (server, stub) = shop(json!({})).await;
    let id = shipped(&server, &stub).await;
    assert_eq!(
        server.approver.post(&format!("/v1/executions/{id}/pause"), &json!({})).await.0,
        200
    );
    let by = grace(&server).await;
    let _ = approve(&server, &by, &id).await;
    cancel(&server, &id).await;
    server.until(&id, "cancelled").await;
    for (verb, body) in [
        ("resume", json!({})),
        ("retry", json!({})),
        ("cancel", json!({ "compensate": true })),
        ("resolve", json!({ "stepId": "ship", "outcome": "retry" })),
        ("abort", json!({})),
    ] {
        let (status, answer) =
            server.approver.post(&format!("/v1/executions/{id}/{verb}"), &body).await;
        assert!(status >= 400, "{verb}: {answer}");
    }
    assert_eq!((stub.calls("undo").len(), stub.calls("ship").len()), (1, 1));
    assert!(server.tools.effects(PAYOUT).is_empty());
    server.proven(&id).await;
}

/// Evidence of an undoing that was stuck is given, so that the step's own output becomes another:
/// refused.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_evidence_of_an_undoing_rewrites_the_steps_output() {
    let (server, stub) = shop(json!({ "effect": "non_idempotent" })).await;
    stub.answers("undo", 500, json!({}));
    let id = shipped(&server, &stub).await;
    cancel(&server, &id).await;
    waiting(&server, &id, ("ship", "compensation_failed")).await;
    let by = grace(&server).await;
    let resolve = format!("/v1/executions/{id}/resolve");
    let forged =
        json!({ "stepId": "ship", "outcome": "completed", "evidence": { "id": "forged" } });
    let (status, answer) = by.post(&resolve, &forged).await;
    assert_eq!(status, 422, "{answer}");
    let trace = || async {
        let path = format!("/v1/executions/{id}/trace?includePayloads=true");
        server.approver.get(&path).await.1["payloads"]["ship"].clone()
    };
    assert_eq!(trace().await, json!({ "id": "s1" }));
    let said = json!({ "stepId": "ship", "outcome": "completed" });
    assert_eq!(by.post(&resolve, &said).await.0, 200);
    server.until(&id, "cancelled").await;
    assert_eq!(trace().await, json!({ "id": "s1" }), "what the step gave is evidence of the step");
    server.proven(&id).await;
}

/// An undoing that fails for ever is tried again by people, again and again: what is stored of the
/// step does not grow with it, and each try is counted.
#[tokio::test]
async fn attack_an_undoing_is_tried_again_without_end() {
    let money = json!({ "effect": "non_idempotent",
        "inputSchema": { "type": "object", "required": ["amount"],
        "properties": { "amount": { "type": "integer" } } },
        "blastRadius": { "writes": 1, "money": { "amount": "/amount", "currency": "EUR" } } });
    let ship = json!({ "effect": "idempotent",
        "compensate": { "operation": "undo", "input": { "amount": "/input/amount" } },
        "inputSchema": { "type": "object", "properties": { "amount": { "type": "integer" } } } });
    let fixture = KitFixture::new(&[("ship", ship), ("undo", money), ("fail", json!({}))]).await;
    for (operation, status) in [("undo", 500), ("fail", 422)] {
        fixture.tools.statuses.lock().unwrap().insert(operation.into(), status);
    }
    let draft = json!({ "steps": [{ "id": "ship", "use": "kit/ship", "with": { "amount": 7 } },
        { "id": "fail", "use": "kit/fail", "after": ["ship"] }], "onFailure": "compensate" });
    let request = serde_json::from_value(json!({ "text": "ship", "draft": draft })).unwrap();
    let agent = engine::Caller {
        actor: engine::actor(contracts::event::ActorKind::Agent, "bot"),
        ..fixture.caller.clone()
    };
    let id = fixture.engine.intents.submit(&agent, request).await.unwrap().execution_id;
    fixture.drive(&id).await.unwrap();
    let workspace = &fixture.caller.workspace;
    let size = || {
        let key = countersign_store::keys::step(workspace, &id, &"ship".parse().unwrap());
        fixture.table.dump()[&key].body.len()
    };
    let mut sizes = Vec::new();
    for _ in 0..60 {
        let retry = json!({ "executionId": id, "stepId": "ship", "outcome": "retry" });
        fixture
            .engine
            .controls
            .resolve(&fixture.caller, serde_json::from_value(retry).unwrap())
            .await
            .unwrap();
        fixture.engine.runs.advance(workspace, &id, 60_000).await.unwrap();
        sizes.push(size());
    }
    assert_eq!(
        fixture.tools.received.lock().unwrap().iter().filter(|(name, _)| name == "undo").count(),
        61
    );
    assert!(sizes[59] <= sizes[9] + 32, "{sizes:?}");
    let head = &fixture.table.dump()[&countersign_store::keys::head(workspace, &id)];
    let head: Value = serde_json::from_slice(&head.body).unwrap();
    assert_eq!(head["execution"]["spent"]["money"]["EUR"], 7 * 61, "{head}");
    assert_eq!(fixture.replay(&id).await["matches"], true);
}
