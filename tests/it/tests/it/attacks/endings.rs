//! What becomes of a call, and of its undoing, when the execution ends or its requester goes
//! meanwhile.

use super::kit::*;
use crate::world::kit::{ScriptedAnswer, WireServer};
use contracts::event::{ActorKind, BlockReason};
use cs_core::execution::Execution;
use engine::{Caller, actor};
use serde_json::{Value, json};
use std::time::Duration;

/// Does something that `undo` undoes; `end` fails when it is told to.
async fn wire(undo: Value) -> WireServer {
    let writes = |more: Value| {
        let mut operation =
            json!({ "effect": "idempotent", "labels": { "accepts": ["untrusted"] } });
        for (name, value) in more.as_object().unwrap() {
            operation[name] = value.clone();
        }
        operation
    };
    let wire = WireServer::start(&[
        (
            "do",
            writes(json!({ "effect": "non_idempotent",
            "compensate": { "operation": "undo", "input": {} } })),
        ),
        ("undo", writes(undo)),
        (
            "end",
            writes(json!({ "retry": { "maxAttempts": 3, "backoffSeconds": 1,
            "maxBackoffSeconds": 1 } })),
        ),
    ])
    .await;
    wire.says("do", [ScriptedAnswer::new(200, "{}")]);
    wire.says("undo", [ScriptedAnswer::new(200, "{}")]);
    wire.says("end", [ScriptedAnswer::new(422, "{}")]);
    wire
}

fn plan(on_failure: &str) -> Value {
    json!({ "text": "x", "draft": { "onFailure": on_failure, "steps": [
        { "id": "a", "use": "wire/do", "with": {} },
        { "id": "b", "use": "wire/end", "with": {}, "after": ["a"] },
    ] } })
}

async fn step(wire: &WireServer, id: &str, place: usize) -> (String, Value) {
    let (_, answer) = wire.server.approver.get(&format!("/v1/executions/{id}")).await;
    let execution = &answer["execution"];
    (execution["status"].as_str().unwrap().to_owned(), execution["steps"][place].clone())
}

async fn until(wire: &WireServer, id: &str, place: usize, status: &str) -> (String, Value) {
    for _ in 0..400 {
        let found = step(wire, id, place).await;
        if found.1["status"] == status {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never {status}: {:?}", step(wire, id, place).await);
}

/// Aborted while the call that undoes is in flight, which then takes effect. Right: what became of
/// it is not known, people say; until then the trace is not sealed.
#[tokio::test(flavor = "multi_thread")]
async fn attack_aborted_while_it_is_undone() {
    for effect in ["idempotent", "non_idempotent"] {
        let wire = wire(json!({ "effect": effect })).await;
        wire.says("undo", [ScriptedAnswer::new(200, "{}").late(1_500)]);
        let id = submit(&wire.server.agent, plan("compensate")).await;
        until(&wire, &id, 0, "compensating").await;
        let abort = format!("/v1/executions/{id}/abort");
        let (code, answer) = wire.server.approver.post(&abort, &json!({ "reason": "stop" })).await;
        assert_eq!(code, 200, "{answer}");
        tokio::time::sleep(Duration::from_millis(2_000)).await;
        let (status, undone) = step(&wire, &id, 0).await;
        assert_eq!(
            (status.as_str(), undone["status"].as_str()),
            ("failed", Some("stuck")),
            "{undone}"
        );
        let sealed = || async {
            let trace = wire.server.approver.get(&format!("/v1/executions/{id}/trace")).await.1;
            trace["head"]["sealed"].clone()
        };
        assert_eq!(sealed().await, false);
        let resolve = format!("/v1/executions/{id}/resolve");
        let said = |outcome: &str| json!({ "stepId": "a", "outcome": outcome });
        assert_eq!(
            wire.server.approver.post(&resolve, &said("retry")).await.0,
            409,
            "nothing is called any more"
        );
        assert_eq!(wire.server.approver.post(&resolve, &said("completed")).await.0, 200);
        assert_eq!(
            (step(&wire, &id, 0).await.1["status"].as_str(), sealed().await),
            (Some("compensated"), json!(true))
        );
        wire.server.proven(&id).await;
        assert_eq!(wire.calls("undo").len(), 1);
    }
}

/// The requester's key is revoked before what was done has to be undone. Right: nothing is called
/// in its name; the step is stuck, nothing moves on its own, and people decide.
#[tokio::test(flavor = "multi_thread")]
async fn attack_the_requester_goes_before_its_plan_is_undone() {
    let wire = wire(json!({})).await;
    wire.says("end", [ScriptedAnswer::new(422, "{}").late(1_000)]);
    let names = ["intent.submit", "execution.read", "execution.autonomous", "approval.request"];
    let (code, made) = try_key(&wire.server.approver, "agent", "leaver", &names).await;
    assert_eq!(code, 201, "{made}");
    let agent = client(&wire.server, (code, made.clone()));
    let id = submit(&agent, plan("compensate")).await;
    until(&wire, &id, 1, "running").await;
    let revoke = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    let (code, answer) = wire.server.approver.post(&revoke, &json!({})).await;
    assert_eq!(code, 200, "{answer}");
    let (status, undone) = until(&wire, &id, 0, "stuck").await;
    assert_eq!(
        (status.as_str(), undone["waitsFor"].as_str()),
        ("blocked", Some("requester_revoked")),
        "{undone}"
    );
    assert_eq!(wire.calls("undo").len(), 0);
    let said = json!({ "stepId": "a", "outcome": "completed" });
    // Who made the key is as good as the requester.
    assert_eq!(
        wire.server.approver.post(&format!("/v1/executions/{id}/resolve"), &said).await.0,
        403
    );
    let grace = grace(&wire.server).await;
    assert_eq!(grace.post(&format!("/v1/executions/{id}/resolve"), &said).await.0, 200);
    assert_eq!(wire.server.settled(&id).await["status"], "failed");
}

/// An undoing is frozen. Right: nothing moves on its own, whoever waits is told so; once it is
/// lifted, it is undone.
#[tokio::test(flavor = "multi_thread")]
async fn attack_who_waits_while_an_undoing_is_frozen() {
    let wire = wire(json!({})).await;
    wire.says("end", [ScriptedAnswer::new(422, "{}").late(800)]);
    for cancelled in [false, true] {
        let id =
            submit(&wire.server.agent, plan(if cancelled { "leave" } else { "compensate" })).await;
        until(&wire, &id, 1, "running").await;
        let freeze = |frozen: bool| {
            json!({ "scope": "operation", "key": "wire/undo",
            "frozen": frozen, "reason": "x" })
        };
        assert_eq!(wire.server.approver.post("/v1/freezes", &freeze(true)).await.0, 200);
        if cancelled {
            let cancel = json!({ "compensate": true });
            assert_eq!(
                wire.server.approver.post(&format!("/v1/executions/{id}/cancel"), &cancel).await.0,
                200
            );
        }
        let begun = std::time::Instant::now();
        let execution = wire.server.settled(&id).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "it waited for what does not move");
        assert_eq!(execution["steps"][0]["waitsFor"], "frozen", "{execution}");
        assert_eq!(
            execution["status"],
            if cancelled { "cancelling" } else { "blocked" },
            "{execution}"
        );
        assert_eq!(wire.server.approver.post("/v1/freezes", &freeze(false)).await.0, 200);
        until(&wire, &id, 0, "compensated").await;
    }
}

/// Aborted while its undoing is frozen. Right: it has ended, and nothing of it waits for anybody.
#[tokio::test(flavor = "multi_thread")]
async fn attack_aborted_while_its_undoing_is_frozen() {
    let wire = wire(json!({})).await;
    wire.says("end", [ScriptedAnswer::new(422, "{}").late(800)]);
    let id = submit(&wire.server.agent, plan("compensate")).await;
    until(&wire, &id, 1, "running").await;
    let freeze = json!({ "scope": "operation", "key": "wire/undo", "frozen": true });
    assert_eq!(wire.server.approver.post("/v1/freezes", &freeze).await.0, 200);
    let execution = wire.server.settled(&id).await;
    assert_eq!(execution["steps"][0]["waitsFor"], "frozen", "{execution}");
    let abort = format!("/v1/executions/{id}/abort");
    assert_eq!(wire.server.approver.post(&abort, &json!({})).await.0, 200);
    let (status, done) = step(&wire, &id, 0).await;
    assert_eq!((status.as_str(), &done["waitsFor"]), ("failed", &Value::Null), "{done}");
    wire.server.proven(&id).await;
}

/// A writing step whose answers are all lost, in a plan that undoes what it did; the step itself
/// has nothing that undoes it. Right: people are asked what became of it, before anything is
/// undone.
#[tokio::test(flavor = "multi_thread")]
async fn attack_answers_lost_by_what_cannot_be_undone() {
    let wire = wire(json!({})).await;
    wire.says("end", [ScriptedAnswer::new(500, "{}")]);
    let id = submit(&wire.server.agent, plan("compensate")).await;
    let (status, lost) = until(&wire, &id, 1, "in_doubt").await;
    assert_eq!(
        (status.as_str(), wire.calls("end").len(), wire.calls("undo").len()),
        ("blocked", 3, 0),
        "{lost}"
    );
    let said = json!({ "stepId": "b", "outcome": "failed" });
    assert_eq!(
        wire.server.approver.post(&format!("/v1/executions/{id}/resolve"), &said).await.0,
        200
    );
    until(&wire, &id, 0, "compensated").await;
}

/// The call that undoes loses its first answer. Right: it is repeated as its own operation says,
/// not as the one that it undoes.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_undoings_own_retries() {
    let retry =
        json!({ "retry": { "maxAttempts": 3, "backoffSeconds": 1, "maxBackoffSeconds": 1 } });
    let wire = wire(retry).await;
    wire.says("undo", [ScriptedAnswer::new(503, ""), ScriptedAnswer::new(200, "{}")]);
    let id = submit(&wire.server.agent, plan("compensate")).await;
    until(&wire, &id, 0, "compensated").await;
    assert_eq!(wire.calls("undo").len(), 2);
}

/// A tool is asked to undo, or asked by a probe. Right: it is not told of a callback that nobody
/// would take.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_callback_that_nobody_takes_is_not_offered() {
    let wire = wire(json!({})).await;
    let id = submit(&wire.server.agent, plan("compensate")).await;
    until(&wire, &id, 0, "compensated").await;
    let offered = |operation: &str| {
        wire.calls(operation).iter().map(|call| call.callback).collect::<Vec<_>>()
    };
    assert_eq!((offered("do"), offered("undo")), (vec![true], vec![false]));
}

/// A secret goes into a search. Right: nothing takes it that does not say so, reads neither.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_secret_in_a_read() {
    let secret = json!({ "labels": { "output": ["secret"] } });
    let search =
        json!({ "inputSchema": { "type": "object", "properties": { "q": {} } }, "labels": {} });
    let told = json!({ "inputSchema": { "type": "object", "properties": { "q": {} } },
        "labels": { "accepts": ["secret"] } });
    let wire = WireServer::start(&[("vault", secret), ("search", search), ("told", told)]).await;
    for name in ["vault", "search", "told"] {
        wire.says(name, [ScriptedAnswer::new(200, "{}")]);
    }
    for (operation, wanted) in [("search", "rejected"), ("told", "completed")] {
        let id = wire.server.submit(json!([
            { "id": "a", "use": "wire/vault", "with": {} },
            { "id": "b", "use": format!("wire/{operation}"), "with": { "q": { "$from": "a" } } },
        ]));
        let id = id.await;
        assert_eq!(wire.server.settled(&id).await["status"], wanted);
    }
    assert_eq!(wire.calls("search").len(), 0);
}

/// Subscriptions to URLs that nobody can be reached at, or that say one thing and mean another.
/// Right: refused.
#[tokio::test(flavor = "multi_thread")]
async fn attack_subscriptions_that_reach_nobody() {
    let wire = WireServer::start(&[("any", json!({}))]).await;
    for url in [
        "https://user:secret@x.example/",
        "https://x.example:0/",
        "https://x.example:99999/",
        "https://x.exa\r\nmple/",
        "https://x.example/a b",
        "https://",
        "https://\u{202e}x.example/",
    ] {
        let (status, answer) =
            wire.server.approver.post("/v1/webhooks", &json!({ "url": url })).await;
        assert_eq!(status, 422, "{url}: {answer}");
    }
}

/// More steps wait, are called, or were skipped than one transaction holds: what ends them all at
/// once is committed all the same.
#[tokio::test]
async fn attack_more_steps_than_one_commit_can_write() {
    let operations = [("work", json!({ "riskTier": "medium" }))];
    let fixture = KitFixture::new(&operations).await;
    let many: Vec<Value> =
        (0..150).map(|n| json!({ "id": format!("w{n}"), "use": "kit/work" })).collect();
    let id = fixture.run(json!(many)).await;
    let state = async || {
        let workspace = &fixture.caller.workspace;
        fixture.engine.store().load(workspace, &id).await.unwrap().state
    };
    let waits = |state: &Execution, reason: BlockReason| {
        state.steps.iter().filter(|step| step.waits_for == Some(reason)).count()
    };
    assert_eq!(waits(&state().await, BlockReason::ApprovalRequired), 150);
    fixture.clock.pass(25 * 3_600_000);
    fixture.drive(&id).await.unwrap();
    let expired = state().await;
    assert_eq!(expired.approvals[0].state.as_str(), "expired");
    assert_eq!(waits(&expired, BlockReason::ApprovalExpired), 150);
    assert_eq!(fixture.replay(&id).await["matches"], true);
}

#[tokio::test]
async fn attack_more_skipped_steps_than_one_commit_can_revive() {
    let fixture = KitFixture::new(&[("work", json!({ "effect": "idempotent" }))]).await;
    let mut many = vec![json!({ "id": "first", "use": "kit/work" })];
    many.extend(
        (0..150).map(|n| json!({ "id": format!("w{n}"), "use": "kit/work", "after": ["first"] })),
    );
    fixture.tools.statuses.lock().unwrap().insert("work".into(), 422);
    let id = fixture.run(json!(many)).await;
    for _ in 0..40 {
        fixture.drive(&id).await.unwrap();
    }
    let state = async || {
        let workspace = &fixture.caller.workspace;
        fixture.engine.store().load(workspace, &id).await.unwrap().state
    };
    assert_eq!(state().await.status.as_str(), "failed");
    fixture.tools.statuses.lock().unwrap().clear();
    let person = Caller { actor: actor(ActorKind::Human, "zed"), ..fixture.caller.clone() };
    let retry = serde_json::from_value(json!({ "executionId": id })).unwrap();
    fixture.engine.controls.retry(&person, retry).await.unwrap();
    for _ in 0..40 {
        fixture.drive(&id).await.unwrap();
    }
    assert_eq!(state().await.status.as_str(), "completed");
    assert_eq!(fixture.replay(&id).await["matches"], true);
}
