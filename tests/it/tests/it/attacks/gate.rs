//! Attacks on the one gate: what undoes, probes, tries again or goes on after something changed.

use super::kit::*;
use countersign_it::{House, install_body};
use local::demo_tools::Behaviour;
use serde_json::{Value, json};

const PAYOUT: &str = "payments/payout.create";

/// `ship`, which `undo` undoes; both are the test's own.
async fn shop(undo: Value) -> (House, Stub) {
    shop_with((json!({}), 200), undo).await
}

/// `ship` with something besides, and the status it answers with.
async fn shop_with((besides, status): (Value, u16), undo: Value) -> (House, Stub) {
    house_with(|stub| {
        let mut ship =
            json!({ "effect": "idempotent", "compensate": { "operation": "undo", "input": { "id": "/output/id" } } });
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
    operation["outputSchema"] =
        json!({ "type": "object", "properties": { "id": { "type": "string" } }, "required": ["id"] });
    operation
}

/// A shipment that is done, and a payout behind it that waits for people.
async fn shipped(house: &House, stub: &Stub) -> String {
    let mut later = pay("p");
    later["after"] = json!(["ship"]);
    let id = submit_steps(&house.agent, json!([{ "id": "ship", "use": "kit/ship", "with": {} }, later])).await;
    stub.nth("ship", 1).await;
    house.until(&id, "blocked").await;
    id
}

async fn cancel(house: &House, id: &str) {
    let body = json!({ "compensate": true });
    let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/cancel"), &body).await;
    assert_eq!(status, 200, "{answer}");
}

const NO_UNDO: &str = "@id(\"own.undo\") @reason(\"nothing is undone\") \
                       forbid (principal, action == Action::\"kit/undo\", resource);";

/// Resolves `ship` as completed, and sees it undone once.
async fn found_and_undone(house: &House, stub: &Stub, id: &str, ended: &str) {
    let view = waiting(house, id, ("ship", "outcome_unknown")).await;
    assert_eq!(step(&view, "ship")["status"], "in_doubt", "{view}");
    assert!(stub.calls("undo").is_empty(), "before anybody said what became of it");
    let body = json!({ "stepId": "ship", "outcome": "completed", "evidence": { "id": "s1" } });
    let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/resolve"), &body).await;
    assert_eq!(status, 200, "{answer}");
    house.until(id, ended).await;
    assert_eq!(stub.calls("undo").len(), 1);
    house.proven(id).await;
}

/// A call that may be repeated took effect and its answer was lost; before it is repeated, the plan is cancelled, or the agent
/// frozen and then cancelled: the effect is not forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn attack_cancelled_between_a_lost_answer_and_its_repetition() {
    for frozen in [false, true] {
        let seconds = if frozen { 1 } else { 30 };
        let retry = json!({ "maxAttempts": 5, "backoffSeconds": seconds, "maxBackoffSeconds": seconds });
        let (house, stub) = shop_with((json!({ "retry": retry }), 500), json!({})).await;
        let id = submit_steps(&house.agent, json!([{ "id": "ship", "use": "kit/ship", "with": {} }])).await;
        stub.nth("ship", 1).await;
        if frozen {
            freeze(&house, "operation", "kit/ship", true).await;
            waiting(&house, &id, ("ship", "frozen")).await;
        } else {
            for _ in 0..200 {
                let (_, answer) = house.approver.get(&format!("/v1/executions/{id}")).await;
                if step(&answer["execution"], "ship")["status"] == "retrying" {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            }
        }
        cancel(&house, &id).await;
        let again = json!({ "stepId": "ship", "outcome": "retry" });
        let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/resolve"), &again).await;
        assert_eq!(status, 409, "nothing begins any more: {answer}");
        found_and_undone(&house, &stub, &id, "cancelled").await;
    }
}

/// Each attempt took effect and lost its answer: where a failure undoes the plan, the step is in doubt, and no failure.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_failure_of_answers_alone_is_undone() {
    let retry = json!({ "maxAttempts": 2, "backoffSeconds": 1, "maxBackoffSeconds": 1 });
    let (house, stub) = shop_with((json!({ "retry": retry }), 500), json!({})).await;
    house.tools.behave("crm/customer.find", Behaviour::Fail { status: 404 });
    let steps = json!([{ "id": "ship", "use": "kit/ship", "with": {} },
        { "id": "bad", "use": "crm/customer.find", "after": ["ship"], "with": { "email": "ada@x.org" } }]);
    let draft = json!({ "steps": steps, "onFailure": "compensate" });
    let id = submit(&house.agent, json!({ "text": "ship", "draft": draft })).await;
    found_and_undone(&house, &stub, &id, "failed").await;
    // Left as it is, a failure may be tried again under the same key; a cancellation that undoes asks.
    let open = json!([{ "id": "ship", "use": "kit/ship", "with": {} }, pay("p")]);
    let id = submit_steps(&house.agent, open).await;
    for _ in 0..400 {
        if step(&house.settled(&id).await, "ship")["status"] == "failed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    cancel(&house, &id).await;
    let view = waiting(&house, &id, ("ship", "outcome_unknown")).await;
    assert_eq!(step(&view, "ship")["status"], "in_doubt", "{view}");
}

/// A set that forbids the undoing comes between the effect and the cancel: it is asked, nothing is undone, people decide.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_policy_is_swapped_before_the_undoing() {
    let (house, stub) = shop(json!({})).await;
    let id = shipped(&house, &stub).await;
    let (status, answer) = activate(&house, NO_UNDO).await;
    assert_eq!(status, 200, "{answer}");
    cancel(&house, &id).await;
    for _ in 0..200 {
        if step(&house.settled(&id).await, "ship")["status"] != "completed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(stub.calls("undo").is_empty(), "{}", house.settled(&id).await);
    assert!(house.tools.effects(PAYOUT).is_empty());
    let view = house.settled(&id).await;
    assert_ne!(step(&view, "ship")["status"], "compensated", "{view}");
    house.proven(&id).await;
}

/// The agent is frozen, or its key revoked, between the effect and the cancel: the undoing waits like any call of it.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_undoing_of_a_frozen_or_revoked_requester() {
    let (house, stub) = shop(json!({})).await;
    let id = shipped(&house, &stub).await;
    freeze(&house, "actor", "dev-agent", true).await;
    cancel(&house, &id).await;
    let view = waiting(&house, &id, ("ship", "frozen")).await;
    assert!(stub.calls("undo").is_empty(), "{view}");
    freeze(&house, "actor", "dev-agent", false).await;
    house.until(&id, "cancelled").await;
    assert_eq!(stub.calls("undo").len(), 1);
    house.proven(&id).await;
    let (status, made) = try_key(&house.approver, "agent", "bot", &AGENT).await;
    assert_eq!(status, 201, "{made}");
    let bot = countersign_it::Client::new(&house.url(), made["apiKey"].as_str().unwrap());
    let mut later = pay("p");
    later["after"] = json!(["ship"]);
    let id = submit_steps(&bot, json!([{ "id": "ship", "use": "kit/ship", "with": {} }, later])).await;
    house.until(&id, "blocked").await;
    let revoke = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    assert_eq!(house.approver.post(&revoke, &json!({})).await.0, 200);
    cancel(&house, &id).await;
    waiting(&house, &id, ("ship", "requester_revoked")).await;
    assert_eq!(stub.calls("undo").len(), 1, "of the first alone");
}

/// The set changes while people are asked about an undoing: what was seen is stale, and it is asked anew under the new one.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_policy_is_swapped_while_an_undoing_asks() {
    let (house, stub) = shop(json!({ "riskTier": "medium", "resource": "/id" })).await;
    let steps = json!([{ "id": "ship", "use": "kit/ship", "with": {} }]);
    let draft = json!({ "steps": [steps[0], { "id": "bad", "use": "crm/customer.find", "after": ["ship"],
        "with": { "email": "ada@x.org" } }], "onFailure": "compensate" });
    house.tools.behave("crm/customer.find", Behaviour::Fail { status: 404 });
    let id = submit(&house.agent, json!({ "text": "ship", "draft": draft })).await;
    let by = grace(&house).await;
    assert_eq!(approve(&house, &by, &id).await.0, 200);
    let view = waiting(&house, &id, ("ship", "approval_required")).await;
    let stale = json!({ "stepId": "ship", "bindingDigest": step(&view, "ship")["bindingDigest"] });
    let other = "@id(\"own.other\") forbid (principal, action, resource) when { context.plan.steps > 500 };";
    assert_eq!(activate(&house, other).await.0, 200);
    let path = format!("/v1/executions/{id}/approve");
    let answer = by.post(&path, &stale).await;
    assert_eq!(code(&answer), (409, "BINDING_STALE"), "{}", answer.1);
    let plan = json!({ "bindingDigest": view["bindingDigest"] });
    assert!(by.post(&path, &plan).await.0 >= 400);
    assert!(stub.calls("undo").is_empty());
    let mut fresh = waiting(&house, &id, ("ship", "approval_required")).await;
    while step(&fresh, "ship")["bindingDigest"] == stale["bindingDigest"] {
        fresh = waiting(&house, &id, ("ship", "approval_required")).await;
    }
    let body = json!({ "stepId": "ship", "bindingDigest": step(&fresh, "ship")["bindingDigest"] });
    let answer = by.post(&path, &body).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    house.until(&id, "failed").await;
    assert_eq!(stub.calls("undo").len(), 1);
    house.proven(&id).await;
}

/// Nobody decides about an undoing in time: it says so, nothing is undone, and tried again it asks anew.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_approval_of_an_undoing_runs_out() {
    let (house, stub) = shop(json!({ "riskTier": "medium", "resource": "/id" })).await;
    let soon = "@id(\"own.soon\") @expires(\"2s\") forbid (principal, action == Action::\"kit/undo\", resource) \
                when { context.mode == \"autonomous\" };";
    assert_eq!(activate(&house, soon).await.0, 200);
    let draft = json!({ "steps": [{ "id": "ship", "use": "kit/ship", "with": {} }, { "id": "bad",
        "use": "crm/customer.find", "after": ["ship"], "with": { "email": "ada@x.org" } }], "onFailure": "compensate" });
    house.tools.behave("crm/customer.find", Behaviour::Fail { status: 404 });
    let id = submit(&house.agent, json!({ "text": "ship", "draft": draft })).await;
    let by = grace(&house).await;
    assert_eq!(approve(&house, &by, &id).await.0, 200);
    waiting(&house, &id, ("ship", "approval_expired")).await;
    assert!(stub.calls("undo").is_empty());
    let (status, answer) = house
        .approver
        .post(&format!("/v1/executions/{id}/resolve"), &json!({ "stepId": "ship", "outcome": "retry" }))
        .await;
    assert_eq!(status, 200, "{answer}");
    let view = waiting(&house, &id, ("ship", "approval_required")).await;
    let body = json!({ "stepId": "ship", "bindingDigest": step(&view, "ship")["bindingDigest"] });
    assert_eq!(by.post(&format!("/v1/executions/{id}/approve"), &body).await.0, 200);
    house.until(&id, "failed").await;
    assert_eq!(stub.calls("undo").len(), 1);
    house.proven(&id).await;
}

/// A failed step is tried again after its skill was disabled, or its operation frozen: it waits, and nothing is called.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_retry_after_its_skill_was_disabled() {
    let (house, stub) = house_with(|stub| vec![stub.operation("work", json!({ "effect": "idempotent" }))]).await;
    stub.answers("work", 422, json!({}));
    let id = submit_steps(&house.agent, json!([{ "id": "w", "use": "kit/work" }])).await;
    house.until(&id, "failed").await;
    assert_eq!(house.approver.post("/v1/skills/kit/disable", &json!({})).await.0, 200);
    let retry = format!("/v1/executions/{id}/retry");
    assert_eq!(house.approver.post(&retry, &json!({})).await.0, 200);
    waiting(&house, &id, ("w", "skill_disabled")).await;
    // The same manifest again, another version, or build metadata of the same: disabled all the same.
    let mut manifest = stub.manifest(vec![stub.operation("work", json!({ "effect": "idempotent" }))]);
    house.approver.post("/v1/skills", &install_body(&manifest)).await;
    for version in ["1.0.0+b", "1.0.1", "2.0.0"] {
        manifest["skill"]["version"] = json!(version);
        house.approver.post("/v1/skills", &install_body(&manifest)).await;
    }
    let body = json!({ "text": "x", "draft": { "steps": [{ "id": "w", "use": "kit/work@*" }] } });
    let (_, answer) = house.agent.post("/v1/intents", &body).await;
    assert_eq!(answer["status"], "rejected", "{answer}");
    assert_eq!(stub.calls("work").len(), 1);
    freeze(&house, "operation", "kit/work", true).await;
    assert_eq!(house.approver.post("/v1/skills/kit/enable", &json!({})).await.0, 200);
    waiting(&house, &id, ("w", "frozen")).await;
    assert_eq!(stub.calls("work").len(), 1);
}

/// A probe of a skill that was disabled, of an operation that is frozen: it is not asked, and the call stays in doubt.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_probe_of_a_disabled_skill() {
    let (house, stub) = house_with(|stub| {
        let probed = json!({ "effect": "non_idempotent", "probe": "seek" });
        vec![stub.operation("work", probed), stub.operation("seek", json!({}))]
    })
    .await;
    freeze(&house, "operation", "kit/seek", true).await;
    stub.answers("work", 500, json!({}));
    stub.answers("seek", 200, json!({ "found": false }));
    let id = submit_steps(&house.agent, json!([{ "id": "w", "use": "kit/work" }])).await;
    let view = waiting(&house, &id, ("w", "frozen")).await;
    assert_eq!(step(&view, "w")["status"], "in_doubt", "{view}");
    assert_eq!(house.approver.post("/v1/skills/kit/disable", &json!({})).await.0, 200);
    freeze(&house, "operation", "kit/seek", false).await;
    let view = waiting(&house, &id, ("w", "skill_disabled")).await;
    assert_eq!((step(&view, "w")["status"].as_str(), stub.calls("seek").len()), (Some("in_doubt"), 0), "{view}");
    assert_eq!(stub.calls("work").len(), 1, "never repeated");
}

/// A freeze comes between the approval and the claim: the approval is not used up, and counts once when it is lifted.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_freeze_between_approval_and_claim() {
    let house = House::start().await;
    let id = submit_steps(&house.agent, json!([pay("p")])).await;
    house.until(&id, "blocked").await;
    freeze(&house, "operation", PAYOUT, true).await;
    assert_eq!(approve(&house, &grace(&house).await, &id).await.0, 200);
    waiting(&house, &id, ("p", "frozen")).await;
    for verb in ["pause", "resume"] {
        assert_eq!(house.approver.post(&format!("/v1/executions/{id}/{verb}"), &json!({})).await.0, 200, "{verb}");
    }
    assert!(house.tools.effects(PAYOUT).is_empty());
    freeze(&house, "operation", PAYOUT, false).await;
    house.until(&id, "completed").await;
    assert_eq!(house.tools.effects(PAYOUT).values().sum::<u32>(), 1);
    // It is used up: nothing brings a second call.
    for (verb, body) in [("retry", json!({})), ("retry", json!({ "stepId": "p" })), ("resume", json!({}))] {
        assert!(house.approver.post(&format!("/v1/executions/{id}/{verb}"), &body).await.0 >= 400, "{verb}");
    }
    assert_eq!(house.tools.effects(PAYOUT).values().sum::<u32>(), 1);
    house.proven(&id).await;
}

/// A paused plan is cancelled with undoing: what was done is undone once, and nothing that had not begun begins.
#[tokio::test(flavor = "multi_thread")]
async fn attack_cancelling_a_paused_plan_with_undoing() {
    let (house, stub) = shop(json!({})).await;
    let id = shipped(&house, &stub).await;
    assert_eq!(house.approver.post(&format!("/v1/executions/{id}/pause"), &json!({})).await.0, 200);
    let by = grace(&house).await;
    let _ = approve(&house, &by, &id).await;
    cancel(&house, &id).await;
    house.until(&id, "cancelled").await;
    for (verb, body) in [
        ("resume", json!({})),
        ("retry", json!({})),
        ("cancel", json!({ "compensate": true })),
        ("resolve", json!({ "stepId": "ship", "outcome": "retry" })),
        ("abort", json!({})),
    ] {
        let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/{verb}"), &body).await;
        assert!(status >= 400, "{verb}: {answer}");
    }
    assert_eq!((stub.calls("undo").len(), stub.calls("ship").len()), (1, 1));
    assert!(house.tools.effects(PAYOUT).is_empty());
    house.proven(&id).await;
}

/// A mode that loosens: `autonomous` on a plan that needs people, a dry run that becomes another, fields that no command has.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_start_that_loosens_the_verdict() {
    let house = House::start().await;
    let draft = json!({ "text": "pay", "mode": "manual", "draft": { "steps": [pay("p")] } });
    let id = submit(&house.agent, draft).await;
    let path = |verb: &str| format!("/v1/executions/{id}/{verb}");
    let plan = house.settled(&id).await["planId"].clone();
    let verify = json!({ "planId": plan });
    assert_eq!(house.agent.post(&path("plan/verify"), &verify).await.1["verdict"], "assist");
    for more in [json!({ "mode": "auto" }), json!({ "approved": true }), json!({ "verdict": "autonomous" })] {
        let mut body = verify.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(house.agent.post(&path("start"), &body).await.0, 422, "{more}");
    }
    let body = json!({ "planId": plan, "mode": "autonomous" });
    assert_eq!(house.agent.post(&path("start"), &body).await.0, 202);
    let view = house.until(&id, "blocked").await;
    assert_eq!(step(&view, "p")["waitsFor"], "approval_required", "{view}");
    // Started once: no second start in another mode, no new plan.
    for (verb, body) in [("start", body), ("plan/compile", json!({ "draft": { "steps": [send("m")] } }))] {
        let (status, answer) = house.approver.post(&path(verb), &body).await;
        assert!(status >= 400, "{verb}: {answer}");
    }
    assert!(house.tools.effects(PAYOUT).is_empty() && house.tools.effects("mail/message.send").is_empty());
}

/// A version that is installed comes again with other content; with build metadata; below the highest: refused each.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_skill_under_a_version_that_is_there() {
    let (house, stub) = house_with(|stub| vec![stub.operation("work", json!({ "riskTier": "high" }))]).await;
    let mild = |version: &str| {
        let mut manifest = stub.manifest(vec![stub.operation("work", json!({}))]);
        manifest["skill"]["version"] = json!(version);
        install_body(&manifest)
    };
    let id = submit_steps(&house.agent, json!([{ "id": "w", "use": "kit/work" }])).await;
    let view = house.until(&id, "blocked").await;
    for (version, wanted) in [
        ("1.0.0", "VERSION_CONFLICT"),
        ("1.0.0-rc.1", "ROLLBACK_REFUSED"),
        ("0.9.9", "ROLLBACK_REFUSED"),
        ("0.9.9+zzz", "ROLLBACK_REFUSED"),
        ("v1.0.1", "MANIFEST_INVALID"),
        ("1.0", "MANIFEST_INVALID"),
        ("01.0.0", "MANIFEST_INVALID"),
        (" 1.0.1", "MANIFEST_INVALID"),
    ] {
        let answer = house.approver.post("/v1/skills", &mild(version)).await;
        assert_eq!(answer.1["code"], wanted, "{version}: {}", answer.1);
    }
    // A machine lets no older version come, even if it says so.
    let clerk = key(&house, &house.approver, "service", "clerk", &["skill-registry"]).await;
    let mut older = mild("0.9.9");
    older["allowDowngrade"] = json!(true);
    assert_eq!(clerk.post("/v1/skills", &older).await.1["code"], "ROLLBACK_REFUSED");
    // What is later is another version: plans that pin the one before go on with that one, approval and all.
    assert_eq!(house.approver.post("/v1/skills", &mild("1.0.0+b")).await.0, 201);
    let now = house.settled(&id).await;
    assert_eq!(now["bindingDigest"], view["bindingDigest"]);
    assert_eq!(step(&now, "w")["riskTier"], "high");
    assert!(stub.calls("work").is_empty());
    assert_eq!(approve(&house, &grace(&house).await, &id).await.0, 200);
    house.until(&id, "completed").await;
    house.proven(&id).await;
}

/// Evidence of an undoing that was stuck is given, so that the step's own output becomes another: refused.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_evidence_of_an_undoing_rewrites_the_steps_output() {
    let (house, stub) = shop(json!({ "effect": "non_idempotent" })).await;
    stub.answers("undo", 500, json!({}));
    let id = shipped(&house, &stub).await;
    cancel(&house, &id).await;
    waiting(&house, &id, ("ship", "compensation_failed")).await;
    let by = grace(&house).await;
    let resolve = format!("/v1/executions/{id}/resolve");
    let forged = json!({ "stepId": "ship", "outcome": "completed", "evidence": { "id": "forged" } });
    let (status, answer) = by.post(&resolve, &forged).await;
    assert_eq!(status, 422, "{answer}");
    let trace = || async {
        let path = format!("/v1/executions/{id}/trace?includePayloads=true");
        house.approver.get(&path).await.1["payloads"]["ship"].clone()
    };
    assert_eq!(trace().await, json!({ "id": "s1" }));
    let said = json!({ "stepId": "ship", "outcome": "completed" });
    assert_eq!(by.post(&resolve, &said).await.0, 200);
    house.until(&id, "cancelled").await;
    assert_eq!(trace().await, json!({ "id": "s1" }), "what the step gave is evidence of the step");
    house.proven(&id).await;
}

/// An approval of one step, of another execution or of the same plan submitted again, is used for this one: stale.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_approval_is_carried_to_another_plan() {
    let house = House::start().await;
    let by = grace(&house).await;
    let (one, two) =
        (submit_steps(&house.agent, json!([pay("p")])).await, submit_steps(&house.agent, json!([pay("p")])).await);
    let (first, second) = (house.until(&one, "blocked").await, house.until(&two, "blocked").await);
    assert_eq!(first["planDigest"], second["planDigest"], "the very same plan");
    let path = format!("/v1/executions/{two}/approve");
    for body in [
        json!({ "bindingDigest": first["bindingDigest"] }),
        json!({ "bindingDigest": first["planDigest"] }),
        json!({ "bindingDigest": second["planDigest"] }),
        json!({ "bindingDigest": second["viewDigest"] }),
        json!({ "bindingDigest": second["bindingDigest"], "viewDigest": first["viewDigest"] }),
        json!({ "bindingDigest": first["steps"][0]["bindingDigest"], "stepId": "p" }),
        json!({ "bindingDigest": second["bindingDigest"], "stepId": "p" }),
    ] {
        let answer = by.post(&path, &body).await;
        assert_eq!(code(&answer), (409, "BINDING_STALE"), "{body}: {}", answer.1);
    }
    assert!(by.post(&path, &json!({ "bindingDigest": second["bindingDigest"], "stepId": "q" })).await.0 >= 400);
    assert!(house.tools.effects(PAYOUT).is_empty());
    assert_eq!(by.post(&path, &json!({ "bindingDigest": second["bindingDigest"] })).await.0, 200);
    house.until(&two, "completed").await;
    // Decided is decided, by whomever again.
    let answer = by.post(&path, &json!({ "bindingDigest": second["bindingDigest"] })).await;
    assert_eq!(answer.0, 409, "{}", answer.1);
    assert_eq!(house.tools.effects(PAYOUT).values().sum::<u32>(), 1);
}

/// An undoing that fails for ever is tried again by people, again and again: what is stored of the step does not grow with it,
/// and each try is counted.
#[tokio::test]
async fn attack_an_undoing_is_tried_again_without_end() {
    let money = json!({ "effect": "non_idempotent", "inputSchema": { "type": "object", "required": ["amount"],
        "properties": { "amount": { "type": "integer" } } },
        "blastRadius": { "writes": 1, "money": { "amount": "/amount", "currency": "EUR" } } });
    let ship = json!({ "effect": "idempotent", "compensate": { "operation": "undo", "input": { "amount": "/input/amount" } },
        "inputSchema": { "type": "object", "properties": { "amount": { "type": "integer" } } } });
    let rig = Rig::new(&[("ship", ship), ("undo", money), ("fail", json!({}))]).await;
    for (operation, status) in [("undo", 500), ("fail", 422)] {
        rig.tools.statuses.lock().unwrap().insert(operation.into(), status);
    }
    let draft = json!({ "steps": [{ "id": "ship", "use": "kit/ship", "with": { "amount": 7 } },
        { "id": "fail", "use": "kit/fail", "after": ["ship"] }], "onFailure": "compensate" });
    let request = serde_json::from_value(json!({ "text": "ship", "draft": draft })).unwrap();
    let agent = engine::Caller {
        actor: engine::access::actor(contracts::event::ActorKind::Agent, "bot"),
        ..rig.caller.clone()
    };
    let id = rig.engine.submit(&agent, request).await.unwrap().execution_id;
    rig.drive(&id).await.unwrap();
    let workspace = &rig.caller.workspace;
    let size = || {
        let key = engine::keys::step(workspace, &id, &"ship".parse().unwrap());
        rig.table.dump()[&key].body.len()
    };
    let mut sizes = Vec::new();
    for _ in 0..60 {
        let retry = json!({ "executionId": id, "stepId": "ship", "outcome": "retry" });
        rig.engine.resolve(&rig.caller, serde_json::from_value(retry).unwrap()).await.unwrap();
        rig.engine.advance(workspace, &id, 60_000).await.unwrap();
        sizes.push(size());
    }
    assert_eq!(rig.tools.received.lock().unwrap().iter().filter(|(name, _)| name == "undo").count(), 61);
    assert!(sizes[59] <= sizes[9] + 32, "{sizes:?}");
    let head = &rig.table.dump()[&engine::keys::head(workspace, &id)];
    let head: Value = serde_json::from_slice(&head.body).unwrap();
    assert_eq!(head["execution"]["spent"]["money"]["EUR"], 7 * 61, "{head}");
    assert_eq!(rig.replay(&id).await["matches"], true);
}
