//! Edits: what a person may change of a plan that waits, and what follows from it.

use super::*;

/// Who decides on payments of five and more; smaller ones run on their own.
const LARGE: &str = r#"@id("large") @reason("people decide on large ones")
    forbid (principal, action == Action::"kit/pay", resource)
    when { context.mode == "autonomous" && context has input && context.input has amount
        && context.input.amount >= 5 };"#;

/// A server whose large payments ask people, under these rules beside.
async fn paying(rules: &str) -> (TestServer, StubServer) {
    let fields = json!({ "type": "object", "required": ["amount", "account"],
        "additionalProperties": false, "properties": {
            "amount": { "type": "integer" }, "account": { "type": "string" },
            "pin": { "type": "string", "x-sensitive": true } } });
    let (server, stub) = server_with(|stub| {
        let any = json!({});
        let more = json!({ "effect": "idempotent", "resource": "/account", "inputSchema": fields });
        vec![stub.operation("pay", more), stub.operation("look", any)]
    })
    .await;
    let (status, answer) = activate(&server, &format!("{LARGE}\n{rules}")).await;
    assert_eq!(status, 200, "{answer}");
    (server, stub)
}

fn payment(amount: u32) -> Value {
    json!({ "id": "p", "use": "kit/pay", "with": { "account": "DE02", "amount": amount } })
}

async fn asked(server: &TestServer) -> Asked {
    Asked::of(server, submit_steps(&server.agent, json!([payment(5)])).await).await
}

fn change(asked: &Asked, literals: Value) -> Value {
    json!({ "viewDigest": asked.approval["viewDigest"], "literals": literals,
        "reason": "the invoice says four" })
}

async fn edit(by: &Client, asked: &Asked, literals: Value) -> (u16, Value) {
    by.post(&asked.path("/edit"), &change(asked, literals)).await
}

#[tokio::test]
async fn an_edited_plan_is_asked_anew_and_runs_as_it_was_edited() {
    let (server, stub) = paying("").await;
    let asked = asked(&server).await;
    let (ann, zed) = (person(&server, "ann").await, person(&server, "zed").await);
    let (_, shown) = ann.get(&asked.path("")).await;
    let amount = json!({ "stepId": "p", "pointer": "/amount", "value": 5 });
    assert!(shown["literals"].as_array().unwrap().contains(&amount), "{shown}");
    let answer = edit(&ann, &asked, json!({ "p": { "/amount": 4 } })).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let anew = Asked::of(&server, asked.execution.clone()).await;
    assert_eq!(answer.1["approval"]["approvalId"], anew.approval["approvalId"]);
    assert_ne!(anew.approval["approvalId"], asked.approval["approvalId"]);
    // The request before is void, whoever answers it.
    let stale = vote(&zed, &[asked.vote("approve")]).await;
    assert_eq!(code(&stale), (409, "BINDING_STALE"), "{}", stale.1);
    let (_, shown) = zed.get(&anew.path("")).await;
    let told = json!({ "stepId": "p", "pointer": "/amount", "before": 5, "after": 4 });
    assert_eq!((&shown["edit"]["actorId"], &shown["mine"]), (&json!("ann"), &json!(true)));
    assert_eq!(shown["edit"]["changes"], json!([told]), "{shown}");
    assert!(shown["approval"]["lines"].to_string().contains("amount"), "{shown}");

    assert_eq!(vote(&zed, &[anew.vote("approve")]).await.0, 200);
    server.until(&asked.execution, "completed").await;
    assert_eq!(stub.calls("pay").len(), 1);
    assert_eq!(stub.last("pay").body, json!({ "account": "DE02", "amount": 4 }));
    let replay = server.approver.get(&format!("/v1/executions/{}/replay", asked.execution)).await;
    assert_eq!(replay.1["matches"], true, "{}", replay.1);
    let (_, trace) =
        server.approver.get(&format!("/v1/executions/{}/trace", asked.execution)).await;
    let mut entries = trace["entries"].as_array().unwrap().iter();
    let edit = entries.rfind(|entry| entry["type"] == "controlPlane.plan.compiled").unwrap();
    let data = &edit["event"]["data"];
    assert_eq!(data["edit"]["reason"], "the invoice says four", "{edit}");
    assert_eq!(data["draftedBy"], "ann", "{edit}");
}

#[tokio::test]
async fn attack_who_edits_approves() {
    let (server, stub) = paying("").await;
    let asked = asked(&server).await;
    let (ann, zed) = (person(&server, "ann").await, person(&server, "zed").await);
    assert_eq!(edit(&ann, &asked, json!({ "p": { "/amount": 4 } })).await.0, 200);
    let anew = Asked::of(&server, asked.execution.clone()).await;
    // Herself, who made her key, and herself under another name.
    for by in [&ann, &server.approver] {
        let answer = vote(by, &[anew.vote("approve")]).await;
        assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    }
    let alias = json!({ "person": { "id": "ann", "aliases": ["zed"] } });
    let answer = server.approver.post("/v1/persons", &alias).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let answer = vote(&zed, &[anew.vote("approve")]).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    // She may change it once more, and remains excluded.
    assert_eq!(edit(&ann, &anew, json!({ "p": { "/amount": 3 } })).await.0, 200);
    let again = Asked::of(&server, asked.execution.clone()).await;
    let answer = vote(&ann, &[again.vote("approve")]).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    assert!(stub.calls("pay").is_empty());
    assert_eq!(vote(&person(&server, "eve").await, &[again.vote("approve")]).await.0, 200);
    server.until(&asked.execution, "completed").await;
    assert_eq!(stub.last("pay").body["amount"], 3);
}

/// What was approved is not what was edited; what was edited is not what was seen.
#[tokio::test]
async fn attack_an_edit_of_what_is_no_longer_asked() {
    let (server, stub) = paying("").await;
    let asked = asked(&server).await;
    let (ann, zed) = (person(&server, "ann").await, person(&server, "zed").await);
    let mut unseen = change(&asked, json!({ "p": { "/amount": 4 } }));
    unseen["viewDigest"] = json!(format!("sha256:{}", "0".repeat(64)));
    let answer = ann.post(&asked.path("/edit"), &unseen).await;
    assert_eq!(code(&answer), (409, "BINDING_STALE"), "{}", answer.1);
    // The requester, and who may not decide at all.
    let answer = edit(&server.agent, &asked, json!({ "p": { "/amount": 4 } })).await;
    assert_eq!(answer.0, 403, "{}", answer.1);
    assert_eq!(vote(&zed, &[asked.vote("approve")]).await.0, 200);
    server.until(&asked.execution, "completed").await;
    let answer = edit(&ann, &asked, json!({ "p": { "/amount": 4 } })).await;
    assert_eq!(answer.0, 409, "{}", answer.1);
    assert_eq!(stub.last("pay").body["amount"], 5);
}

#[tokio::test]
async fn attack_an_edit_that_is_no_value() {
    let (server, stub) = paying("").await;
    stub.answers("look", 200, json!({ "id": "DE02" }));
    let steps = json!([{ "id": "c", "use": "kit/look", "with": { "of": "ada" } },
        { "id": "p", "use": "kit/pay", "with": {
            "account": { "$from": "c", "path": "/id" }, "amount": 5, "pin": "1234" } }]);
    let asked = Asked::of(&server, submit_steps(&server.agent, steps).await).await;
    let before = server.approver.get(&format!("/v1/executions/{}/trace", asked.execution)).await;
    let ann = person(&server, "ann").await;
    for (literals, pointer) in [
        (json!({ "p": { "/account": "DE99" } }), "/literals/p/~1account"),
        (json!({ "p": { "/amuont": 4 } }), "/literals/p/~1amuont"),
        (json!({ "p": { "/amount": "four" } }), "/draft/steps/1/with/amount"),
        (json!({ "p": { "/amount": { "$from": "c", "path": "/id" } } }), "/draft/steps/1/with"),
        (json!({ "p": { "/pin": "9999" } }), "/literals/p/~1pin"),
        (json!({ "x": { "/amount": 4 } }), "/literals/x"),
        (json!({}), "/literals"),
    ] {
        let answer = edit(&ann, &asked, literals.clone()).await;
        assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{literals}: {}", answer.1);
        let said = answer.1["issues"][0]["pointer"].as_str().unwrap_or_default();
        assert!(said.starts_with(pointer), "{literals}: {}", answer.1);
    }
    // A step that is done stays as it was done.
    let answer = edit(&ann, &asked, json!({ "c": { "/of": "eve" } })).await;
    assert_eq!(answer.0, 409, "{}", answer.1);
    let after = server.approver.get(&format!("/v1/executions/{}/trace", asked.execution)).await;
    assert_eq!(before.1, after.1, "nothing was changed");
    // What comes from another step stays, and is asked about with what is there now.
    assert_eq!(edit(&ann, &asked, json!({ "p": { "/amount": 4 } })).await.0, 200);
    let anew = Asked::of(&server, asked.execution.clone()).await;
    let lines = anew.approval["lines"].to_string();
    assert!(lines.contains("a person changed it: another one decides"), "{lines}");
    assert_eq!(vote(&person(&server, "zed").await, &[anew.vote("approve")]).await.0, 200);
    server.until(&asked.execution, "completed").await;
    assert_eq!(stub.last("pay").body["amount"], 4);
    let replay = server.approver.get(&format!("/v1/executions/{}/replay", asked.execution)).await;
    assert_eq!(replay.1["matches"], true, "{}", replay.1);
}

/// What policy would let run on its own for the agent, it does not let a person put in its mouth.
#[tokio::test]
async fn attack_an_edit_makes_a_plan_that_nobody_decides_on() {
    let (server, stub) = paying("").await;
    let asked = asked(&server).await;
    let ann = person(&server, "ann").await;
    let own = submit_steps(&server.agent, json!([payment(4)])).await;
    server.until(&own, "completed").await;
    let answer = edit(&ann, &asked, json!({ "p": { "/amount": 4, "/account": "ANN1" } })).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let view = server.settled(&asked.execution).await;
    assert_eq!((&view["status"], stub.calls("pay").len()), (&json!("blocked"), 1), "{view}");
    let anew = Asked::of(&server, asked.execution.clone()).await;
    let answer = vote(&ann, &[anew.vote("approve")]).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
}

/// What policy refuses replaces nothing.
#[tokio::test]
async fn attack_an_edit_that_policy_refuses() {
    let never = r#"@id("never") @reason("never so much") forbid (principal, action ==
        Action::"kit/pay", resource) when { context has input && context.input has amount
        && context.input.amount > 100 };"#;
    let (server, _) = paying(never).await;
    let asked = asked(&server).await;
    let ann = person(&server, "ann").await;
    let answer = edit(&ann, &asked, json!({ "p": { "/amount": 101 } })).await;
    assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{}", answer.1);
    assert!(answer.1.to_string().contains("never so much"), "{}", answer.1);
    let unchanged = Asked::of(&server, asked.execution.clone()).await;
    assert_eq!(unchanged.approval, asked.approval);
}

/// Voices for the plan before are none for the plan after; the same edit twice is one.
#[tokio::test]
async fn attack_votes_survive_an_edit() {
    let (server, stub) = paying("").await;
    let People { ann, bob, sam, .. } = People::of(&server).await;
    group(&server, json!({ "name": "finance", "members": ["ann", "bob", "sam"] })).await;
    let two = LARGE.replacen("@reason", "@approvers(\"finance:2\") @reason", 1);
    let (status, answer) = activate(&server, &two).await;
    assert_eq!(status, 200, "{answer}");
    let asked = asked(&server).await;
    assert_eq!(vote(&ann, &[asked.vote("approve")]).await.0, 200);
    let body = change(&asked, json!({ "p": { "/amount": 6 } }));
    let first = bob.keyed(&asked.path("/edit"), "once", &body).await;
    assert_eq!(first.0, 200, "{}", first.1);
    assert_eq!(bob.keyed(&asked.path("/edit"), "once", &body).await, first);
    assert_eq!(count(&server, &asked.execution, "plan.compiled").await, 2);
    let anew = Asked::of(&server, asked.execution.clone()).await;
    let answer = vote(&sam, &[anew.vote("approve")]).await;
    assert_eq!(answer.1["approvals"][0]["status"], "requested", "{}", answer.1);
    assert!(stub.calls("pay").is_empty());
    assert_eq!(vote(&ann, &[anew.vote("approve")]).await.0, 200);
    server.until(&asked.execution, "completed").await;
}

/// A step is approved, and before it is called another one is changed: its approval is void, and it
/// asks anew instead of waiting for nobody.
#[tokio::test]
async fn attack_an_edit_between_an_approval_and_its_call() {
    let (server, stub) = paying("").await;
    stub.answers("look", 200, json!({ "id": "DE02" }));
    let steps = json!([{ "id": "look", "use": "kit/look", "with": { "of": "ada" } },
        { "id": "p", "use": "kit/pay", "with": {
            "account": { "$from": "look", "path": "/id" }, "amount": 5 } },
        { "id": "z", "use": "kit/pay", "with": { "account": "DE03", "amount": 7 } }]);
    let id = submit_steps(&server.agent, steps).await;
    server.settled(&id).await;
    let (ann, zed) = (person(&server, "ann").await, person(&server, "zed").await);
    let control = |verb: &str| format!("/v1/executions/{id}/{verb}");
    assert_eq!(server.approver.post(&control("pause"), &json!({})).await.0, 200);
    let view = server.settled(&id).await;
    let own = step(&view, "p").clone();
    let body = json!({ "stepId": "p", "bindingDigest": own["bindingDigest"] });
    let answer = zed.post(&control("approve"), &body).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let plan = Asked::of(&server, id.clone()).await;
    let answer = edit(&ann, &plan, json!({ "z": { "/amount": 6 } })).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(server.approver.post(&control("resume"), &json!({})).await.0, 200);
    for _ in 0..40 {
        let view = server.settled(&id).await;
        if view["status"] == "completed" {
            break;
        }
        let open = view["approvals"].as_array().unwrap().iter();
        if open.filter(|one| one["status"] == "requested").count() > 0 {
            let asked = Asked::of(&server, id.clone()).await;
            let answer = vote(&zed, &[asked.vote("approve")]).await;
            assert!(answer.0 == 200 || answer.0 == 409, "{}", answer.1);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    server.until(&id, "completed").await;
    assert_eq!(stub.calls("pay").len(), 2);
    let replay = server.approver.get(&format!("/v1/executions/{id}/replay")).await;
    assert_eq!(replay.1["matches"], true, "{}", replay.1);
}
