//! Plans that run: approved, repeated, lost, paused, cancelled, undone.

use super::*;
use local::demo_tools::Behaviour;

pub async fn an_autonomous_plan_runs_and_leaves_a_whole_trace(server: &TestServer) {
    let id = server
        .submit(json!([
            find("c", "ada@x.org"),
            send("m", json!({ "$from": "c", "path": "/name" }))
        ]))
        .await;
    let view = server.settled(&id).await;
    assert_eq!(
        (&view["status"], &view["verdict"]),
        (&json!("completed"), &json!("autonomous")),
        "{view}"
    );
    assert_eq!(
        server.events(&id).await,
        [
            "intent.received",
            "plan.compiled",
            "plan.verified",
            "execution.started",
            "execution.step.started",
            "execution.step.completed",
            "execution.step.started",
            "execution.step.completed",
            "execution.completed"
        ]
    );
    server.proven(&id).await;
    let (_, trace) = server
        .agent
        .get(&format!("/v1/executions/{id}/trace?includePayloads=true&fromSeq=5"))
        .await;
    assert_eq!(trace["payloads"]["c"]["name"], "ada");
    assert_eq!(trace["entries"][0]["seq"], 5);
    assert_eq!(trace["head"]["sealed"], true);
}

pub async fn an_approval_of_one_step_runs_that_step(server: &TestServer) {
    let id = server.submit(json!([pay("one"), pay("two")])).await;
    let view = server.settled(&id).await;
    assert_eq!(view["status"], "blocked");
    assert_eq!(step(&view, "one")["waitsFor"], "approval_required");
    let body = json!({ "stepId": "one", "bindingDigest": step(&view, "one")["bindingDigest"] });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!(
        (status, &answer["remaining"], &answer["approvedBy"]),
        (200, &json!(["two"]), &json!("dev-approver")),
        "{answer}"
    );
    let view = server.until(&id, "blocked").await;
    let view =
        if step(&view, "one")["status"] == "completed" { view } else { server.settled(&id).await };
    assert_eq!(step(&view, "two")["status"], "blocked", "{view}");
    let (status, answer) = server
        .approver
        .post(
            &format!("/v1/executions/{id}/reject"),
            &json!({ "stepId": "two", "reason": "too much" }),
        )
        .await;
    assert_eq!(status, 200, "{answer}");
    let view = server.settled(&id).await;
    assert_eq!(
        (&view["status"], &step(&view, "two")["code"]),
        (&json!("failed"), &json!("APPROVAL_REJECTED"))
    );
    assert_eq!(server.tools.effects("payments/payout.create").values().sum::<u32>(), 1);
    server.proven(&id).await;
}

pub async fn approvals_are_bound_once_and_never_ones_own(server: &TestServer) {
    let id = server.submit(json!([pay("p")])).await;
    let view = server.settled(&id).await;
    let path = format!("/v1/executions/{id}/approve");
    let digest = json!({ "bindingDigest": view["bindingDigest"] });
    let code =
        |(status, answer): (u16, Value)| (status, answer["code"].as_str().unwrap_or("").to_owned());
    assert_eq!(
        code(server.agent.post(&path, &digest).await),
        (403, "FORBIDDEN".into()),
        "an agent's key has no such grant"
    );
    // The requester with an approver's grants is refused still.
    let grants = json!({ "actor": { "kind": "human", "id": "dev-agent" },
        "grants": ["control-plane.approval"] });
    let (_, key) = server.approver.post("/v1/keys", &grants).await;
    let own = Client::new(&server.url(), key["apiKey"].as_str().unwrap());
    assert_eq!(code(own.post(&path, &digest).await), (403, "SELF_APPROVAL".into()));
    let tool =
        json!({ "actor": { "kind": "tool", "id": "bot" }, "grants": ["control-plane.approval"] });
    let (_, key) = server.approver.post("/v1/keys", &tool).await;
    let bot = Client::new(&server.url(), key["apiKey"].as_str().unwrap());
    assert_eq!(code(bot.post(&path, &digest).await), (403, "NOT_AN_APPROVER".into()));
    let stale = json!({ "bindingDigest": format!("sha256:{}", "1".repeat(64)) });
    assert_eq!(code(server.approver.post(&path, &stale).await), (409, "BINDING_STALE".into()));
    // Two identical requests at once have one effect. The same idempotency key gives the same
    // answer; another key is told that it is decided.
    let (one, two) = tokio::join!(
        server.approver.keyed(&path, "k1", &digest),
        server.approver.keyed(&path, "k1", &digest)
    );
    assert_eq!((one.0, two.0, &one.1), (200, 200, &two.1));
    assert_eq!(code(server.approver.keyed(&path, "k2", &digest).await).0, 409);
    assert_eq!(
        server.until(&id, "completed").await["approvals"][0]["decidedBy"],
        json!(["dev-approver"])
    );
    assert_eq!(server.tools.effects("payments/payout.create").values().sum::<u32>(), 1);
}

pub async fn the_same_command_twice_has_one_effect_and_one_answer(server: &TestServer) {
    let body = json!({ "text": "do it", "draft": { "steps": [send("m", json!("x"))] } });
    let (first, second) = tokio::join!(
        server.agent.keyed("/v1/intents", "same", &body),
        server.agent.keyed("/v1/intents", "same", &body)
    );
    let third = server.agent.keyed("/v1/intents", "same", &body).await;
    for (status, answer) in [&first, &second] {
        assert!(*answer == third.1 || *status == 409, "{status} {answer}");
    }
    assert_eq!(third.0, 202);
    let other = json!({ "text": "something else", "draft": { "steps": [send("m", json!("x"))] } });
    let (status, answer) = server.agent.keyed("/v1/intents", "same", &other).await;
    assert_eq!((status, &answer["code"]), (422, &json!("VALIDATION_FAILED")));
    server.until(third.1["executionId"].as_str().unwrap(), "completed").await;
    assert_eq!(server.tools.effects("mail/message.send").len(), 1);
    let (_, list) = server.agent.get("/v1/executions").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

pub async fn lost_answers_are_repeated_probed_or_put_before_people(server: &TestServer) {
    server.tools.behave("mail/message.send", Behaviour::Lose);
    let id = server.submit(json!([send("m", json!("x"))])).await;
    assert_eq!(step(&server.settled(&id).await, "m")["attempt"], 2);
    assert_eq!(
        server.tools.effects("mail/message.send").values().copied().collect::<Vec<_>>(),
        [1]
    );

    // The probe is down too: a person looks, and says what became of it.
    server.tools.behave("payments/payout.create", Behaviour::Lose);
    for _ in 0..3 {
        server.tools.behave("payments/payout.find", Behaviour::Fail { status: 500 });
    }
    let id = server
        .submit(json!([pay("p"),
        { "id": "after", "use": "crm/customer.find", "with": { "email": "a@x.org" },
            "after": ["p"] }]))
        .await;
    server.approve(&id).await;
    let view = server.until(&id, "blocked").await;
    assert_eq!(
        (&step(&view, "p")["status"], &step(&view, "p")["waitsFor"]),
        (&json!("in_doubt"), &json!("outcome_unknown")),
        "{view}"
    );
    let path = format!("/v1/executions/{id}/resolve");
    let (status, answer) = server
        .approver
        .post(&path, &json!({ "stepId": "p", "outcome": "completed", "evidence": { "wrong": 1 } }))
        .await;
    assert_eq!(
        (status, &answer["code"]),
        (422, &json!("VALIDATION_FAILED")),
        "evidence fits the output schema"
    );
    let (status, answer) = server
        .approver
        .post(
            &path,
            &json!({ "stepId": "p", "outcome": "completed",
            "evidence": { "payoutId": "by hand" } }),
        )
        .await;
    assert_eq!((status, &answer["status"]), (200, &json!("completed")), "{answer}");
    server.until(&id, "completed").await;
    assert_eq!(server.tools.effects("payments/payout.create").values().sum::<u32>(), 1);
    server.proven(&id).await;
}

pub async fn a_tool_that_answers_later_calls_back_with_its_warrant(server: &TestServer) {
    server.tools.behave("mail/message.send", Behaviour::Later { ms: 3_000 });
    let id = server.submit(json!([send("m", json!("x"))])).await;
    let view = server.settled(&id).await;
    assert_eq!(
        (&view["status"], &step(&view, "m")["status"]),
        (&json!("blocked"), &json!("running"))
    );
    assert_eq!(step(&view, "m")["waitsFor"], "awaiting_callback");
    let forged = Client::new(&server.url(), "a.b.c");
    let path = format!("/v1/executions/{id}/steps/m/callback");
    assert_eq!(forged.post(&path, &json!({ "output": { "messageId": "forged" } })).await.0, 401);
    server.until(&id, "completed").await;
    server.proven(&id).await;
}

pub async fn a_failed_step_fails_what_depends_on_it_and_can_be_tried_again(server: &TestServer) {
    server.tools.behave("crm/customer.find", Behaviour::Fail { status: 404 });
    let id = server
        .submit(json!([
            find("c", "ada@x.org"),
            send("m", json!({ "$from": "c", "path": "/name" }))
        ]))
        .await;
    let view = server.settled(&id).await;
    assert_eq!(
        (&view["status"], &step(&view, "c")["code"], &step(&view, "m")["code"]),
        (&json!("failed"), &json!("TOOL_404"), &json!("DEPENDENCY_FAILED")),
        "{view}"
    );
    let (status, answer) =
        server.agent_and_more().await.post(&format!("/v1/executions/{id}/retry"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    server.until(&id, "completed").await;
    server.proven(&id).await;
}

pub async fn pause_resume_cancel_and_abort(server: &TestServer) {
    server.tools.behave("crm/customer.find", Behaviour::Slow { ms: 2_000 });
    let steps = json!([find("a", "ada@x.org"),
        { "id": "b", "use": "crm/customer.find", "with": { "email": "b@x.org" }, "after": ["a"] }]);
    let id = server.submit(steps.clone()).await;
    server.until(&id, "running").await;
    let path = |verb: &str| format!("/v1/executions/{id}/{verb}");
    assert_eq!(server.approver.post(&path("pause"), &json!({ "reason": "wait" })).await.0, 200);
    tokio::time::sleep(std::time::Duration::from_millis(3_000)).await;
    let view = server.settled(&id).await;
    assert_eq!(
        (&view["status"], &step(&view, "a")["status"], &step(&view, "b")["status"]),
        (&json!("paused"), &json!("completed"), &json!("ready"))
    );
    assert_eq!(server.approver.post(&path("pause"), &json!({})).await.0, 409);
    assert_eq!(server.approver.post(&path("resume"), &json!({})).await.0, 200);
    server.until(&id, "completed").await;
    assert_eq!(server.agent.post(&path("cancel"), &json!({})).await.1["code"], "CONFLICT");
    server.proven(&id).await;

    server.tools.behave("crm/customer.find", Behaviour::Slow { ms: 2_000 });
    let id = server.submit(steps.clone()).await;
    server.until(&id, "running").await;
    let (_, answer) = server
        .agent
        .post(&format!("/v1/executions/{id}/cancel"), &json!({ "reason": "no more" }))
        .await;
    assert_eq!(
        (&answer["status"], &answer["cancelledBy"]),
        (&json!("cancelling"), &json!("dev-agent"))
    );
    let view = server.until(&id, "cancelled").await;
    assert_eq!(
        (&step(&view, "a")["status"], &step(&view, "b")["status"]),
        (&json!("completed"), &json!("cancelled"))
    );
    server.proven(&id).await;

    let id = server.submit(json!([pay("p")])).await;
    server.settled(&id).await;
    let (_, answer) = server.approver.post(&format!("/v1/executions/{id}/abort"), &json!({})).await;
    assert_eq!(answer["status"], "failed");
    server.proven(&id).await;
}

pub async fn cancelling_with_compensation_undoes_in_reverse_order(server: &TestServer) {
    let refund = |id: &str, after: Value| {
        json!({ "id": id, "use": "payments/refund.create",
        "after": after, "with": { "customer": "c", "amount": 5, "currency": "EUR" } })
    };
    server.tools.behave("crm/customer.find", Behaviour::Slow { ms: 4_000 });
    let id = server
        .submit(json!([refund("one", json!([])), refund("two", json!(["one"])),
        { "id": "last", "use": "crm/customer.find", "with": { "email": "a@x.org" },
            "after": ["two"] }]))
        .await;
    server.approve(&id).await;
    for _ in 0..1_000 {
        if server.tools.effects("payments/refund.create").len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (status, answer) = server
        .agent
        .post(&format!("/v1/executions/{id}/cancel"), &json!({ "compensate": true }))
        .await;
    assert_eq!(status, 200, "{answer}");
    let view = server.until(&id, "cancelled").await;
    assert_eq!(
        (&step(&view, "one")["status"], &step(&view, "two")["status"]),
        (&json!("compensated"), &json!("compensated")),
        "{view}"
    );
    assert_eq!(server.tools.effects("payments/refund.cancel").len(), 2);
    let (_, trace) = server.agent.get(&format!("/v1/executions/{id}/trace")).await;
    let undone: Vec<&Value> = trace["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["status"] == "compensated")
        .map(|entry| &entry["metadata"]["stepId"])
        .collect();
    assert_eq!(undone, [&json!("two"), &json!("one")]);
    server.proven(&id).await;
}

pub async fn conditions_skip_and_playbooks_need_no_model(server: &TestServer) {
    let mut mail = send("m", json!("x"));
    mail["when"] = json!({ "$from": "c", "path": "/active", "equals": true });
    let id = server.submit(json!([find("c", "gone@x.org"), mail])).await;
    let view = server.settled(&id).await;
    assert_eq!(
        (&view["status"], &step(&view, "m")["status"], &step(&view, "m")["code"]),
        (&json!("completed"), &json!("skipped"), &json!("CONDITION_FALSE"))
    );
    let body = json!({ "text": "give it back",
        "playbook": { "key": "payments/refund",
            "inputs": { "email": "a@x.org", "amount": 7, "currency": "EUR" } } });
    let (_, answer) = server.agent.post("/v1/intents", &body).await;
    let id = answer["executionId"].as_str().unwrap().to_owned();
    server.approve(&id).await;
    server.until(&id, "completed").await;
    server.proven(&id).await;
    let wrong = json!({ "text": "x", "playbook": { "key": "payments/refund",
        "inputs": { "email": "a@x.org" } } });
    let (_, answer) = server.agent.post("/v1/intents", &wrong).await;
    assert_eq!(answer["status"], "rejected");
}

pub async fn manual_and_dry_runs_start_nothing(server: &TestServer) {
    let steps = json!([send("m", json!("x"))]);
    let (_, answer) = server
        .agent
        .post("/v1/intents", &json!({ "text": "x", "mode": "dryRun", "draft": { "steps": steps } }))
        .await;
    let id = answer["executionId"].as_str().unwrap().to_owned();
    assert_eq!(server.settled(&id).await["status"], "verified");
    let (_, answer) =
        server.agent.post("/v1/intents", &json!({ "text": "x", "mode": "manual" })).await;
    assert_eq!(answer["status"], "received");
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let path = |verb: &str| format!("/v1/executions/{id}/{verb}");
    let (status, plan) = server
        .agent_and_more()
        .await
        .post(&path("plan/compile"), &json!({ "draft": { "steps": steps }, "plannerModel": "m-1" }))
        .await;
    assert_eq!((status, &plan["stepCount"]), (200, &json!(1)), "{plan}");
    let (status, verdict) =
        server.agent.post(&path("plan/verify"), &json!({ "planId": plan["planId"] })).await;
    assert_eq!((status, &verdict["verdict"]), (200, &json!("autonomous")), "{verdict}");
    let wrong = json!({ "planId": format!("pln_{}", "0".repeat(32)) });
    assert_eq!(server.agent.post(&path("start"), &wrong).await.0, 412);
    assert_eq!(server.tools.calls(), 0);
    let (status, started) = server
        .agent
        .post(&path("start"), &json!({ "planId": plan["planId"], "mode": "assist" }))
        .await;
    assert_eq!(status, 202, "{started}");
    let view = server.until(&id, "blocked").await;
    assert_eq!(view["mode"], "assist", "a caller may tighten");
    // Who made the key that gave the draft does not decide.
    let body = json!({ "bindingDigest": view["bindingDigest"] });
    assert_eq!(server.approver.post(&path("approve"), &body).await.1["code"], "SELF_APPROVAL");
    let grants = ["control-plane.approval", "control-plane.execution.read"];
    let key = json!({ "actor": { "kind": "human", "id": "grace" }, "grants": grants });
    let (_, made) = server.approver.post("/v1/keys", &key).await;
    let grace = Client::new(&server.url(), made["apiKey"].as_str().unwrap());
    let (status, answer) = grace.post(&path("approve"), &body).await;
    assert_eq!(status, 200, "{answer}");
    server.until(&id, "completed").await;
    server.proven(&id).await;
}

pub async fn a_disabled_skill_stops_what_has_not_begun(server: &TestServer) {
    let id = server.submit(json!([pay("p")])).await;
    server.settled(&id).await;
    let (status, answer) =
        server.approver.post("/v1/skills/payments/disable", &json!({ "reason": "audit" })).await;
    let counted = answer["voidedSteps"] == 1 || answer["voidedStepsPartial"] == true;
    assert!(status == 200 && counted, "{answer}");
    server.approve(&id).await;
    let view = server.until(&id, "blocked").await;
    for _ in 0..100 {
        if step(&server.settled(&id).await, "p")["waitsFor"] == "skill_disabled" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(step(&server.settled(&id).await, "p")["waitsFor"], "skill_disabled", "{view}");
    assert!(server.tools.effects("payments/payout.create").is_empty());
    let (_, answer) = server
        .agent
        .post("/v1/intents", &json!({ "text": "x", "draft": { "steps": [pay("p")] } }))
        .await;
    assert_eq!(answer["status"], "rejected", "new plans cannot use it");
    let (_, list) = server.approver.get("/v1/skills?includeDisabled=true").await;
    assert!(
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|skill| skill["status"] == "disabled" && skill["verified"] == true)
    );
    server.proven(&id).await;
}

pub async fn a_thousand_steps_run(server: &TestServer) {
    let steps: Vec<Value> = (0..1_000)
        .map(|n| {
            let mut step = find(&format!("s{n:03}"), "a@x.org");
            if n >= 10 {
                step["after"] = json!([format!("s{:03}", n - 10)]);
            }
            step
        })
        .collect();
    let id = server.submit(json!(steps)).await;
    server.until(&id, "completed").await;
    assert_eq!(server.tools.calls(), 1_000);
    server.proven(&id).await;
}
