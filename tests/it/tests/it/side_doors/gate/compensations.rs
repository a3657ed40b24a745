//! INVARIANT (one-gate): a compensation passes the same gate as a step.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_forbidden_compensation_refuses_the_plan() {
    let server = server_with(shipping).await;
    activate(
        &server,
        "@id(\"own.no-takeback\")\n@reason(\"nothing is taken back\")\n\
         forbid (principal, action == Action::\"shop/takeback\", resource);",
    )
    .await;
    server.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
    let id = submit(
        &server,
        json!({ "steps": [ship(999_999), note(&["ship"])], "onFailure": "compensate" }),
    )
    .await;
    let view = server.settled(&id).await;
    assert_eq!(view["status"], "rejected", "{view}");
    let reason = &view["reasons"][0];
    assert_eq!(
        reason["pointer"].as_str().unwrap().rsplit('/').next(),
        Some("compensate"),
        "{view}"
    );
    assert!(reason["message"].as_str().unwrap().contains("nothing is taken back"), "{view}");
    assert!(server.tools.effects(SENT).is_empty() && server.tools.effects(UNDONE).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_compensation_is_within_the_budget_or_the_plan_is_refused() {
    let server = server_with(shipping).await;
    let draft = json!({ "steps": [ship(999_999)], "budget": { "money": { "EUR": 100 } } });
    let id = submit(&server, draft).await;
    let view = server.settled(&id).await;
    assert_eq!(
        (&view["status"], &view["reasons"][0]["code"]),
        (&json!("rejected"), &json!("BUDGET_EXCEEDED"))
    );
    assert!(view["reasons"][0]["message"].as_str().unwrap().contains("undoing `ship`"), "{view}");
    // The workspace's own budget, when it is verified.
    set_budgets(&server, json!({ "plan": { "money": { "EUR": 100 } }, "meters": [] })).await;
    let id = submit(&server, json!({ "steps": [ship(999_999)] })).await;
    let view = server.settled(&id).await;
    assert_eq!(view["status"], "rejected", "{view}");
    assert!(view["reasons"][0]["message"].as_str().unwrap().contains("budget_exceeded"), "{view}");
    assert!(server.tools.effects(SENT).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_compensation_is_metered_and_stuck_beyond_the_meter() {
    let server = server_with(shipping).await;
    let meter = json!({ "id": "spend", "scope": "workspace",
        "measure": { "kind": "money", "currency": "EUR" },
        "windowSeconds": 3600, "limit": 100 });
    set_budgets(&server, json!({ "meters": [meter] })).await;
    let undone = |amount: i64| {
        let server = &server;
        async move {
            server.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
            let draft =
                json!({ "steps": [ship(amount), note(&["ship"])], "onFailure": "compensate" });
            submit(server, draft).await
        }
    };
    let id = undone(999_999).await;
    let view = waiting(&server, &id, ("ship", "budget_exceeded")).await;
    assert_eq!(step(&view, "ship")["status"], "stuck", "{view}");
    assert!(server.tools.effects(UNDONE).is_empty(), "{view}");
    let id = undone(60).await;
    server.until(&id, "failed").await;
    assert_eq!(server.tools.effects(UNDONE).len(), 1);
    let (_, budgets) = server.approver.get("/v1/budgets").await;
    assert_eq!(budgets["usage"][0]["used"], 60, "what undoes is counted: {budgets}");
    server.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_frozen_compensation_waits() {
    let server = server_with(shipping).await;
    freeze(&server, "operation", "shop/takeback", true).await;
    server.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
    let id =
        submit(&server, json!({ "steps": [ship(5), note(&["ship"])], "onFailure": "compensate" }))
            .await;
    let view = waiting(&server, &id, ("ship", "frozen")).await;
    assert_eq!(step(&view, "ship")["status"], "completed", "not undone, and not given up: {view}");
    assert!(server.tools.effects(UNDONE).is_empty());
    freeze(&server, "operation", "shop/takeback", false).await;
    server.until(&id, "failed").await;
    assert_eq!(server.tools.effects(UNDONE).len(), 1);
    server.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_an_assist_compensation_makes_its_step_assist_and_is_approved_with_it() {
    let server = server_with(shipping).await;
    activate(
        &server,
        "@id(\"own.people\")\n@reason(\"people take back\")\n\
         forbid (principal, action == Action::\"shop/takeback\", resource) when { context.mode \
         == \"autonomous\" };",
    )
    .await;
    server.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
    let id =
        submit(&server, json!({ "steps": [ship(5), note(&["ship"])], "onFailure": "compensate" }))
            .await;
    let view = server.until(&id, "blocked").await;
    assert_eq!(step(&view, "ship")["verdict"], "assist", "{view}");
    assert!(server.tools.effects(SENT).is_empty());
    // What undoes it is part of what people are shown and bind, with its amount and the rule that
    // asks.
    let lines = view["approvals"][0]["lines"].to_string();
    for says in ["undone by", "shop/takeback", "0.05 EUR (5 minor units)", "people take back"] {
        assert!(lines.contains(says), "{says}: {lines}");
    }
    server.approve(&id).await;
    server.until(&id, "failed").await;
    assert_eq!(server.tools.effects(UNDONE).len(), 1, "the approval of the plan covers it");
    server.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_compensation_is_labelled_as_a_step_is() {
    let server = server_with(|server| {
        let said = object(json!({ "n": { "type": "string" } }), &["n"]);
        let secret = json!({ "effect": "read", "labels": { "output": ["secret"] } });
        let parcel = object(json!({ "parcel": { "type": "string" } }), &["parcel"]);
        // The step takes what is secret; what undoes it does not.
        let undo = json!({ "labels": { "accepts": ["secret"] },
            "compensate": { "operation": "takeback", "input": { "parcel": "/input/parcel" } } });
        let says = Operation {
            key: "says",
            served: "bench/noop",
            input: said.clone(),
            output: said,
            more: secret,
        };
        vec![
            operation(server, says),
            sends(server, "ship", parcel.clone(), undo),
            undoes(server, "takeback", parcel, json!({})),
        ]
    })
    .await;
    let steps = json!([
        { "id": "says", "use": "shop/says", "with": { "n": "p" } },
        { "id": "ship", "use": "shop/ship", "with": {
            "parcel": { "$from": "says", "path": "/n" } } }
    ]);
    let id = submit(&server, json!({ "steps": steps })).await;
    let view = server.settled(&id).await;
    assert_eq!(view["status"], "rejected", "{view}");
    let reason = &view["reasons"][0];
    assert_eq!(
        reason["pointer"].as_str().unwrap().rsplit('/').next(),
        Some("compensate"),
        "{view}"
    );
    assert!(
        reason["message"].as_str().unwrap().contains("taint: `secret` reaches this step"),
        "{view}"
    );
    assert_eq!(server.tools.calls(), 0);
}

/// A compensation whose target is the output of the step: nobody knew it when the plan was
/// approved.
fn undone_by_output(server: &TestServer) -> Vec<Value> {
    let undo = json!({ "compensate": { "operation": "takeback",
        "input": { "id": "/output/messageId" } } });
    vec![
        sends(server, "ship", object(json!({ "parcel": { "type": "string" } }), &["parcel"]), undo),
        undoes(
            server,
            "takeback",
            object(json!({ "id": { "type": "string" } }), &["id"]),
            json!({ "resource": "/id", "riskTier": "medium" }),
        ),
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

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_compensation_with_an_unknown_target_asks_with_the_value() {
    let server = server_with(undone_by_output).await;
    server.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
    let steps =
        json!([{ "id": "ship", "use": "shop/ship", "with": { "parcel": "p" } }, note(&["ship"])]);
    let id = submit(&server, json!({ "steps": steps, "onFailure": "compensate" })).await;
    server.until(&id, "blocked").await;
    server.approve(&id).await;
    let view = waiting(&server, &id, ("ship", "approval_required")).await;
    assert_eq!(step(&view, "ship")["status"], "stuck", "{view}");
    assert!(server.tools.effects(UNDONE).is_empty(), "{view}");
    approve_step(&server, &id, "ship", &view).await;
    server.until(&id, "failed").await;
    assert_eq!(server.tools.effects(UNDONE).len(), 1);
    server.proven(&id).await;
}

// Nobody is asked any more, and the step says so.
#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_compensation_that_people_reject_asks_nobody() {
    let server = server_with(undone_by_output).await;
    server.tools.behave("shop/note.add", Behaviour::Fail { status: 400 });
    let steps =
        json!([{ "id": "ship", "use": "shop/ship", "with": { "parcel": "p" } }, note(&["ship"])]);
    let id = submit(&server, json!({ "steps": steps, "onFailure": "compensate" })).await;
    server.until(&id, "blocked").await;
    server.approve(&id).await;
    let view = waiting(&server, &id, ("ship", "approval_required")).await;
    let body = json!({ "stepId": "ship", "reason": "keep it",
        "viewDigest": step(&view, "ship")["viewDigest"] });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/reject"), &body).await;
    assert_eq!(status, 200, "{answer}");
    let view = waiting(&server, &id, ("ship", "compensation_failed")).await;
    assert_eq!(step(&view, "ship")["status"], "stuck", "{view}");
    assert!(server.tools.effects(UNDONE).is_empty(), "{view}");
    server.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_missing_compensation_input_is_stuck() {
    let server = server_with(|server| {
        let undo = json!({ "compensate": { "operation": "takeback",
            "input": { "id": "/output/receipt" } } });
        let mut ship = sends(
            server,
            "ship",
            object(json!({ "parcel": { "type": "string" } }), &["parcel"]),
            undo,
        );
        ship["outputSchema"]["properties"]["receipt"] = json!({ "type": "string" });
        // Nothing is required: called with `{}` it would undo something else.
        let undo = undoes(
            server,
            "takeback",
            object(json!({ "id": { "type": "string" } }), &[]),
            json!({}),
        );
        vec![ship, undo]
    })
    .await;
    let steps = json!([
        { "id": "ship", "use": "shop/ship", "with": { "parcel": "p" } },
        { "id": "pay", "use": "payments/payout.create", "after": ["ship"],
          "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }
    ]);
    let id = submit(&server, json!({ "steps": steps })).await;
    server.until(&id, "blocked").await;
    cancel(&server, &id).await;
    let view = waiting(&server, &id, ("ship", "compensation_failed")).await;
    assert_eq!(step(&view, "ship")["status"], "stuck", "{view}");
    assert!(step(&view, "ship")["message"].as_str().unwrap().contains("/output/receipt"), "{view}");
    assert!(server.tools.effects(UNDONE).is_empty(), "called with `{{}}`");
    server.proven(&id).await;
}
