//! The scenarios, one list: each runs on the embedded server and on the deployed stack, and the traces it leaves are the
//! same but for times and identifiers.

use crate::{Client, House, governance, skills};
use futures_util::future::BoxFuture;
use local::demo_tools::Behaviour;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// One scenario. It panics where something is not as it should be.
pub type Scenario = for<'h> fn(&'h House) -> BoxFuture<'h, ()>;

/// Every scenario by its name.
pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("an_autonomous_plan_runs_and_leaves_a_whole_trace", |house| {
        Box::pin(an_autonomous_plan_runs_and_leaves_a_whole_trace(house))
    }),
    ("an_approval_of_one_step_runs_that_step", |house| Box::pin(an_approval_of_one_step_runs_that_step(house))),
    ("approvals_are_bound_once_and_never_ones_own", |house| {
        Box::pin(approvals_are_bound_once_and_never_ones_own(house))
    }),
    ("the_same_command_twice_has_one_effect_and_one_answer", |house| {
        Box::pin(the_same_command_twice_has_one_effect_and_one_answer(house))
    }),
    ("lost_answers_are_repeated_probed_or_put_before_people", |house| {
        Box::pin(lost_answers_are_repeated_probed_or_put_before_people(house))
    }),
    ("a_tool_that_answers_later_calls_back_with_its_warrant", |house| {
        Box::pin(a_tool_that_answers_later_calls_back_with_its_warrant(house))
    }),
    ("a_failed_step_fails_what_depends_on_it_and_can_be_tried_again", |house| {
        Box::pin(a_failed_step_fails_what_depends_on_it_and_can_be_tried_again(house))
    }),
    ("pause_resume_cancel_and_abort", |house| Box::pin(pause_resume_cancel_and_abort(house))),
    ("cancelling_with_compensation_undoes_in_reverse_order", |house| {
        Box::pin(cancelling_with_compensation_undoes_in_reverse_order(house))
    }),
    ("conditions_skip_and_playbooks_need_no_model", |house| {
        Box::pin(conditions_skip_and_playbooks_need_no_model(house))
    }),
    ("manual_and_dry_runs_start_nothing", |house| Box::pin(manual_and_dry_runs_start_nothing(house))),
    ("a_disabled_skill_stops_what_has_not_begun", |house| Box::pin(a_disabled_skill_stops_what_has_not_begun(house))),
    ("listings_page_newest_first_and_filter", |house| Box::pin(listings_page_newest_first_and_filter(house))),
    ("tenant_walls", |house| Box::pin(tenant_walls(house))),
    ("a_thousand_steps_run", |house| Box::pin(a_thousand_steps_run(house))),
    ("every_case_is_a_clear_problem_and_writes_nothing", |house| {
        Box::pin(every_case_is_a_clear_problem_and_writes_nothing(house))
    }),
    ("a_draft_that_is_no_plan_is_recorded_with_all_its_diagnostics", |house| {
        Box::pin(a_draft_that_is_no_plan_is_recorded_with_all_its_diagnostics(house))
    }),
    ("credentials", |house| Box::pin(credentials(house))),
    ("edges_of_http", |house| Box::pin(edges_of_http(house))),
    ("refused_skills_never_occupy_the_version", |house| {
        Box::pin(skills::refused_skills_never_occupy_the_version(house))
    }),
    ("what_is_trusted_no_longer_is_no_longer_used", |house| {
        Box::pin(skills::what_is_trusted_no_longer_is_no_longer_used(house))
    }),
    ("policies_are_governed", |house| Box::pin(governance::policies_are_governed(house))),
    ("attack_policy_swapped_between_verify_start_approval_and_claim", |house| {
        Box::pin(governance::attack_policy_swapped_between_verify_start_approval_and_claim(house))
    }),
    ("attack_skill_swapped_after_approval", |house| Box::pin(governance::attack_skill_swapped_after_approval(house))),
    ("attack_budget_split_over_many_small_steps", |house| {
        Box::pin(governance::attack_budget_split_over_many_small_steps(house))
    }),
    ("freezes_hold_for_the_next_claim", |house| Box::pin(governance::freezes_hold_for_the_next_claim(house))),
    ("attack_untrusted_text_reaches_no_sink_alone", |house| {
        Box::pin(governance::attack_untrusted_text_reaches_no_sink_alone(house))
    }),
    ("attack_label_laundering_through_a_pass_through_step", |house| {
        Box::pin(governance::attack_label_laundering_through_a_pass_through_step(house))
    }),
    ("tools_take_warrants_and_nothing_else", |house| {
        Box::pin(governance::tools_take_warrants_and_nothing_else(house))
    }),
];

pub(crate) fn find(id: &str, email: &str) -> Value {
    json!({ "id": id, "use": "crm/customer.find", "with": { "email": email } })
}

pub(crate) fn send(id: &str, body: Value) -> Value {
    json!({ "id": id, "use": "mail/message.send", "with": { "to": ["a@x.org"], "subject": "hi", "body": body } })
}

pub(crate) fn pay(id: &str) -> Value {
    json!({ "id": id, "use": "payments/payout.create", "with": { "account": "DE02", "amount": 5, "currency": "EUR" } })
}

pub(crate) fn step<'v>(view: &'v Value, id: &str) -> &'v Value {
    view["steps"].as_array().unwrap().iter().find(|step| step["stepId"] == id).unwrap()
}

async fn an_autonomous_plan_runs_and_leaves_a_whole_trace(house: &House) {
    let id = house.submit(json!([find("c", "ada@x.org"), send("m", json!({ "$from": "c", "path": "/name" }))])).await;
    let view = house.settled(&id).await;
    assert_eq!((&view["status"], &view["verdict"]), (&json!("completed"), &json!("autonomous")), "{view}");
    assert_eq!(
        house.events(&id).await,
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
    house.proven(&id).await;
    let (_, trace) = house.agent.get(&format!("/v1/executions/{id}/trace?includePayloads=true&fromSeq=5")).await;
    assert_eq!(trace["payloads"]["c"]["name"], "ada");
    assert_eq!(trace["entries"][0]["seq"], 5);
    assert_eq!(trace["head"]["sealed"], true);
}

async fn an_approval_of_one_step_runs_that_step(house: &House) {
    let id = house.submit(json!([pay("one"), pay("two")])).await;
    let view = house.settled(&id).await;
    assert_eq!(view["status"], "blocked");
    assert_eq!(step(&view, "one")["waitsFor"], "approval_required");
    let body = json!({ "stepId": "one", "bindingDigest": step(&view, "one")["bindingDigest"] });
    let (status, answer) = house.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!(
        (status, &answer["remaining"], &answer["approvedBy"]),
        (200, &json!(["two"]), &json!("dev-approver")),
        "{answer}"
    );
    let view = house.until(&id, "blocked").await;
    let view = if step(&view, "one")["status"] == "completed" { view } else { house.settled(&id).await };
    assert_eq!(step(&view, "two")["status"], "blocked", "{view}");
    let (status, answer) = house
        .approver
        .post(&format!("/v1/executions/{id}/reject"), &json!({ "stepId": "two", "reason": "too much" }))
        .await;
    assert_eq!(status, 200, "{answer}");
    let view = house.settled(&id).await;
    assert_eq!((&view["status"], &step(&view, "two")["code"]), (&json!("failed"), &json!("APPROVAL_REJECTED")));
    assert_eq!(house.tools.effects("payments/payout.create").values().sum::<u32>(), 1);
    house.proven(&id).await;
}

async fn approvals_are_bound_once_and_never_ones_own(house: &House) {
    let id = house.submit(json!([pay("p")])).await;
    let view = house.settled(&id).await;
    let path = format!("/v1/executions/{id}/approve");
    let digest = json!({ "bindingDigest": view["bindingDigest"] });
    let code = |(status, answer): (u16, Value)| (status, answer["code"].as_str().unwrap_or("").to_owned());
    assert_eq!(
        code(house.agent.post(&path, &digest).await),
        (403, "FORBIDDEN".into()),
        "an agent's key has no such grant"
    );
    // The requester with an approver's grants is refused still.
    let grants = json!({ "actor": { "kind": "human", "id": "dev-agent" }, "grants": ["control-plane.approval"] });
    let (_, key) = house.approver.post("/v1/keys", &grants).await;
    let own = Client::new(&house.url(), key["apiKey"].as_str().unwrap());
    assert_eq!(code(own.post(&path, &digest).await), (403, "SELF_APPROVAL".into()));
    let tool = json!({ "actor": { "kind": "tool", "id": "bot" }, "grants": ["control-plane.approval"] });
    let (_, key) = house.approver.post("/v1/keys", &tool).await;
    let bot = Client::new(&house.url(), key["apiKey"].as_str().unwrap());
    assert_eq!(code(bot.post(&path, &digest).await), (403, "NOT_AN_APPROVER".into()));
    let stale = json!({ "bindingDigest": format!("sha256:{}", "1".repeat(64)) });
    assert_eq!(code(house.approver.post(&path, &stale).await), (409, "BINDING_STALE".into()));
    // A double click: two at once, one effect. The same key gives the same answer; another is told that it is decided.
    let (one, two) =
        tokio::join!(house.approver.keyed(&path, "k1", &digest), house.approver.keyed(&path, "k1", &digest));
    assert_eq!((one.0, two.0, &one.1), (200, 200, &two.1));
    assert_eq!(code(house.approver.keyed(&path, "k2", &digest).await).0, 409);
    assert_eq!(house.until(&id, "completed").await["approvals"][0]["decidedBy"], json!(["dev-approver"]));
    assert_eq!(house.tools.effects("payments/payout.create").values().sum::<u32>(), 1);
}

async fn the_same_command_twice_has_one_effect_and_one_answer(house: &House) {
    let body = json!({ "text": "do it", "draft": { "steps": [send("m", json!("x"))] } });
    let (first, second) = tokio::join!(
        house.agent.keyed("/v1/intents", "same", &body),
        house.agent.keyed("/v1/intents", "same", &body)
    );
    let third = house.agent.keyed("/v1/intents", "same", &body).await;
    for (status, answer) in [&first, &second] {
        assert!(*answer == third.1 || *status == 409, "{status} {answer}");
    }
    assert_eq!(third.0, 202);
    let other = json!({ "text": "something else", "draft": { "steps": [send("m", json!("x"))] } });
    let (status, answer) = house.agent.keyed("/v1/intents", "same", &other).await;
    assert_eq!((status, &answer["code"]), (422, &json!("VALIDATION_FAILED")));
    house.until(third.1["executionId"].as_str().unwrap(), "completed").await;
    assert_eq!(house.tools.effects("mail/message.send").len(), 1);
    let (_, list) = house.agent.get("/v1/executions").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

async fn lost_answers_are_repeated_probed_or_put_before_people(house: &House) {
    house.tools.behave("mail/message.send", Behaviour::Lose);
    let id = house.submit(json!([send("m", json!("x"))])).await;
    assert_eq!(step(&house.settled(&id).await, "m")["attempt"], 2);
    assert_eq!(house.tools.effects("mail/message.send").values().copied().collect::<Vec<_>>(), [1]);

    // The probe is down too: a person looks, and says what became of it.
    house.tools.behave("payments/payout.create", Behaviour::Lose);
    for _ in 0..3 {
        house.tools.behave("payments/payout.find", Behaviour::Fail { status: 500 });
    }
    let id = house.submit(json!([pay("p"), { "id": "after", "use": "crm/customer.find", "with": { "email": "a@x.org" }, "after": ["p"] }])).await;
    house.approve(&id).await;
    let view = house.until(&id, "blocked").await;
    assert_eq!(
        (&step(&view, "p")["status"], &step(&view, "p")["waitsFor"]),
        (&json!("in_doubt"), &json!("outcome_unknown")),
        "{view}"
    );
    let path = format!("/v1/executions/{id}/resolve");
    let (status, answer) = house
        .approver
        .post(&path, &json!({ "stepId": "p", "outcome": "completed", "evidence": { "wrong": 1 } }))
        .await;
    assert_eq!((status, &answer["code"]), (422, &json!("VALIDATION_FAILED")), "evidence fits the output schema");
    let (status, answer) = house
        .approver
        .post(&path, &json!({ "stepId": "p", "outcome": "completed", "evidence": { "payoutId": "by hand" } }))
        .await;
    assert_eq!((status, &answer["status"]), (200, &json!("completed")), "{answer}");
    house.until(&id, "completed").await;
    assert_eq!(house.tools.effects("payments/payout.create").values().sum::<u32>(), 1);
    house.proven(&id).await;
}

async fn a_tool_that_answers_later_calls_back_with_its_warrant(house: &House) {
    house.tools.behave("mail/message.send", Behaviour::Later { ms: 3_000 });
    let id = house.submit(json!([send("m", json!("x"))])).await;
    let view = house.settled(&id).await;
    assert_eq!((&view["status"], &step(&view, "m")["status"]), (&json!("blocked"), &json!("running")));
    assert_eq!(step(&view, "m")["waitsFor"], "awaiting_callback");
    let forged = Client::new(&house.url(), "a.b.c");
    let path = format!("/v1/executions/{id}/steps/m/callback");
    assert_eq!(forged.post(&path, &json!({ "output": { "messageId": "forged" } })).await.0, 401);
    house.until(&id, "completed").await;
    house.proven(&id).await;
}

async fn a_failed_step_fails_what_depends_on_it_and_can_be_tried_again(house: &House) {
    house.tools.behave("crm/customer.find", Behaviour::Fail { status: 404 });
    let id = house.submit(json!([find("c", "ada@x.org"), send("m", json!({ "$from": "c", "path": "/name" }))])).await;
    let view = house.settled(&id).await;
    assert_eq!(
        (&view["status"], &step(&view, "c")["code"], &step(&view, "m")["code"]),
        (&json!("failed"), &json!("TOOL_404"), &json!("DEPENDENCY_FAILED")),
        "{view}"
    );
    let (status, answer) = house.agent_and_more().await.post(&format!("/v1/executions/{id}/retry"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    house.until(&id, "completed").await;
    house.proven(&id).await;
}

async fn pause_resume_cancel_and_abort(house: &House) {
    house.tools.behave("crm/customer.find", Behaviour::Slow { ms: 2_000 });
    let steps = json!([find("a", "ada@x.org"), { "id": "b", "use": "crm/customer.find", "with": { "email": "b@x.org" }, "after": ["a"] }]);
    let id = house.submit(steps.clone()).await;
    house.until(&id, "running").await;
    let path = |verb: &str| format!("/v1/executions/{id}/{verb}");
    assert_eq!(house.approver.post(&path("pause"), &json!({ "reason": "wait" })).await.0, 200);
    tokio::time::sleep(std::time::Duration::from_millis(3_000)).await;
    let view = house.settled(&id).await;
    assert_eq!(
        (&view["status"], &step(&view, "a")["status"], &step(&view, "b")["status"]),
        (&json!("paused"), &json!("completed"), &json!("ready"))
    );
    assert_eq!(house.approver.post(&path("pause"), &json!({})).await.0, 409);
    assert_eq!(house.approver.post(&path("resume"), &json!({})).await.0, 200);
    house.until(&id, "completed").await;
    assert_eq!(house.agent.post(&path("cancel"), &json!({})).await.1["code"], "CONFLICT");
    house.proven(&id).await;

    house.tools.behave("crm/customer.find", Behaviour::Slow { ms: 2_000 });
    let id = house.submit(steps.clone()).await;
    house.until(&id, "running").await;
    let (_, answer) = house.agent.post(&format!("/v1/executions/{id}/cancel"), &json!({ "reason": "no more" })).await;
    assert_eq!((&answer["status"], &answer["cancelledBy"]), (&json!("cancelling"), &json!("dev-agent")));
    let view = house.until(&id, "cancelled").await;
    assert_eq!(
        (&step(&view, "a")["status"], &step(&view, "b")["status"]),
        (&json!("completed"), &json!("cancelled"))
    );
    house.proven(&id).await;

    let id = house.submit(json!([pay("p")])).await;
    house.settled(&id).await;
    let (_, answer) = house.approver.post(&format!("/v1/executions/{id}/abort"), &json!({})).await;
    assert_eq!(answer["status"], "failed");
    house.proven(&id).await;
}

async fn cancelling_with_compensation_undoes_in_reverse_order(house: &House) {
    let refund = |id: &str, after: Value| json!({ "id": id, "use": "payments/refund.create", "after": after, "with": { "customer": "c", "amount": 5, "currency": "EUR" } });
    house.tools.behave("crm/customer.find", Behaviour::Slow { ms: 4_000 });
    let id = house
        .submit(json!([refund("one", json!([])), refund("two", json!(["one"])),
        { "id": "last", "use": "crm/customer.find", "with": { "email": "a@x.org" }, "after": ["two"] }]))
        .await;
    house.approve(&id).await;
    for _ in 0..1_000 {
        if house.tools.effects("payments/refund.create").len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (status, answer) =
        house.agent.post(&format!("/v1/executions/{id}/cancel"), &json!({ "compensate": true })).await;
    assert_eq!(status, 200, "{answer}");
    let view = house.until(&id, "cancelled").await;
    assert_eq!(
        (&step(&view, "one")["status"], &step(&view, "two")["status"]),
        (&json!("compensated"), &json!("compensated")),
        "{view}"
    );
    assert_eq!(house.tools.effects("payments/refund.cancel").len(), 2);
    let (_, trace) = house.agent.get(&format!("/v1/executions/{id}/trace")).await;
    let undone: Vec<&Value> = trace["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["status"] == "compensated")
        .map(|entry| &entry["metadata"]["stepId"])
        .collect();
    assert_eq!(undone, [&json!("two"), &json!("one")]);
    house.proven(&id).await;
}

async fn conditions_skip_and_playbooks_need_no_model(house: &House) {
    let mut mail = send("m", json!("x"));
    mail["when"] = json!({ "$from": "c", "path": "/active", "equals": true });
    let id = house.submit(json!([find("c", "gone@x.org"), mail])).await;
    let view = house.settled(&id).await;
    assert_eq!(
        (&view["status"], &step(&view, "m")["status"], &step(&view, "m")["code"]),
        (&json!("completed"), &json!("skipped"), &json!("CONDITION_FALSE"))
    );
    let body = json!({ "text": "give it back", "playbook": { "key": "payments/refund", "inputs": { "email": "a@x.org", "amount": 7, "currency": "EUR" } } });
    let (_, answer) = house.agent.post("/v1/intents", &body).await;
    let id = answer["executionId"].as_str().unwrap().to_owned();
    house.approve(&id).await;
    house.until(&id, "completed").await;
    house.proven(&id).await;
    let wrong = json!({ "text": "x", "playbook": { "key": "payments/refund", "inputs": { "email": "a@x.org" } } });
    let (_, answer) = house.agent.post("/v1/intents", &wrong).await;
    assert_eq!(answer["status"], "rejected");
}

async fn manual_and_dry_runs_start_nothing(house: &House) {
    let steps = json!([send("m", json!("x"))]);
    let (_, answer) =
        house.agent.post("/v1/intents", &json!({ "text": "x", "mode": "dryRun", "draft": { "steps": steps } })).await;
    let id = answer["executionId"].as_str().unwrap().to_owned();
    assert_eq!(house.settled(&id).await["status"], "verified");
    let (_, answer) = house.agent.post("/v1/intents", &json!({ "text": "x", "mode": "manual" })).await;
    assert_eq!(answer["status"], "received");
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let path = |verb: &str| format!("/v1/executions/{id}/{verb}");
    let (status, plan) = house
        .agent_and_more()
        .await
        .post(&path("plan/compile"), &json!({ "draft": { "steps": steps }, "plannerModel": "m-1" }))
        .await;
    assert_eq!((status, &plan["stepCount"]), (200, &json!(1)), "{plan}");
    let (status, verdict) = house.agent.post(&path("plan/verify"), &json!({ "planId": plan["planId"] })).await;
    assert_eq!((status, &verdict["verdict"]), (200, &json!("autonomous")), "{verdict}");
    let wrong = json!({ "planId": format!("pln_{}", "0".repeat(32)) });
    assert_eq!(house.agent.post(&path("start"), &wrong).await.0, 412);
    assert_eq!(house.tools.calls(), 0);
    let (status, started) =
        house.agent.post(&path("start"), &json!({ "planId": plan["planId"], "mode": "assist" })).await;
    assert_eq!(status, 202, "{started}");
    let view = house.until(&id, "blocked").await;
    assert_eq!(view["mode"], "assist", "a caller may tighten");
    // Who made the key that gave the draft does not decide.
    let body = json!({ "bindingDigest": view["bindingDigest"] });
    assert_eq!(house.approver.post(&path("approve"), &body).await.1["code"], "SELF_APPROVAL");
    let grants = ["control-plane.approval", "control-plane.execution.read"];
    let key = json!({ "actor": { "kind": "human", "id": "grace" }, "grants": grants });
    let (_, made) = house.approver.post("/v1/keys", &key).await;
    let grace = Client::new(&house.url(), made["apiKey"].as_str().unwrap());
    let (status, answer) = grace.post(&path("approve"), &body).await;
    assert_eq!(status, 200, "{answer}");
    house.until(&id, "completed").await;
    house.proven(&id).await;
}

async fn a_disabled_skill_stops_what_has_not_begun(house: &House) {
    let id = house.submit(json!([pay("p")])).await;
    house.settled(&id).await;
    let (status, answer) = house.approver.post("/v1/skills/payments/disable", &json!({ "reason": "audit" })).await;
    let counted = answer["voidedSteps"] == 1 || answer["voidedStepsPartial"] == true;
    assert!(status == 200 && counted, "{answer}");
    house.approve(&id).await;
    let view = house.until(&id, "blocked").await;
    for _ in 0..100 {
        if step(&house.settled(&id).await, "p")["waitsFor"] == "skill_disabled" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(step(&house.settled(&id).await, "p")["waitsFor"], "skill_disabled", "{view}");
    assert!(house.tools.effects("payments/payout.create").is_empty());
    let (_, answer) =
        house.agent.post("/v1/intents", &json!({ "text": "x", "draft": { "steps": [pay("p")] } })).await;
    assert_eq!(answer["status"], "rejected", "new plans cannot use it");
    let (_, list) = house.approver.get("/v1/skills?includeDisabled=true").await;
    assert!(
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|skill| skill["status"] == "disabled" && skill["verified"] == true)
    );
    house.proven(&id).await;
}

async fn listings_page_newest_first_and_filter(house: &House) {
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(house.submit(json!([find("c", &format!("u{n}@x.org"))])).await);
    }
    for id in &ids {
        house.until(id, "completed").await;
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = house.agent.get(&format!("/v1/executions?limit=3&status=completed{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        found.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["executionId"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={}", next.replace('#', "%23"));
    }
    ids.reverse();
    assert_eq!(found, ids);
    let (_, none) = house.agent.get("/v1/executions?status=failed").await;
    assert_eq!(none["items"], json!([]));
    let (_, all) = house.approver.get("/v1/executions?actorId=dev-agent").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 7);
    let (status, none) = house.approver.get("/v1/executions?actorId=dev-agnet").await;
    assert_eq!(status, 422, "{none}");
    assert!(none["issues"][0]["message"].as_str().unwrap().contains("did you mean `dev-agent`?"), "{none}");
}

async fn tenant_walls(house: &House) {
    let other = house.another().await;
    let stranger = Client::new(&house.url(), &other.agent_key);
    let foreign_approver = Client::new(&house.url(), &other.approver_key);
    let id = house.submit(json!([pay("p")])).await;
    let view = house.settled(&id).await;
    for path in ["", "/trace", "/replay"] {
        let (status, answer) = stranger.get(&format!("/v1/executions/{id}{path}")).await;
        assert_eq!((status, &answer["code"]), (404, &json!("NOT_FOUND")), "{answer}");
    }
    let body = json!({ "bindingDigest": view["bindingDigest"] });
    assert_eq!(foreign_approver.post(&format!("/v1/executions/{id}/approve"), &body).await.0, 404);
    assert_eq!(stranger.post(&format!("/v1/executions/{id}/cancel"), &json!({})).await.0, 404);
    assert_eq!(stranger.get("/v1/executions").await.1["items"], json!([]));
    assert_eq!(foreign_approver.get("/v1/skills").await.1["items"], json!([]));
    let named =
        json!({ "text": "x", "workspaceId": house.identity.workspace, "draft": { "steps": [find("c", "a@x.org")] } });
    assert_eq!(stranger.post("/v1/intents", &named).await.0, 403);
    let (_, keys) = foreign_approver.get("/v1/keys").await;
    assert_eq!(keys["items"].as_array().unwrap().len(), 2);
}

async fn a_thousand_steps_run(house: &House) {
    let steps: Vec<Value> = (0..1_000)
        .map(|n| {
            let mut step = find(&format!("s{n:03}"), "a@x.org");
            if n >= 10 {
                step["after"] = json!([format!("s{:03}", n - 10)]);
            }
            step
        })
        .collect();
    let id = house.submit(json!(steps)).await;
    house.until(&id, "completed").await;
    assert_eq!(house.tools.calls(), 1_000);
    house.proven(&id).await;
}

struct Case {
    name: &'static str,
    path: &'static str,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    pointer: Option<&'static str>,
}

fn case(
    name: &'static str,
    path: &'static str,
    body: impl Into<Vec<u8>>,
    status: u16,
    code: &'static str,
    pointer: Option<&'static str>,
) -> Case {
    Case { name, path, body: body.into(), status, code, pointer }
}

const INTENTS: &str = "/v1/intents";

fn cases() -> Vec<Case> {
    let id = format!("exe_{}", "0".repeat(32));
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let approve = leak(format!("/v1/executions/{id}/approve"));
    let cancel = leak(format!("/v1/executions/{id}/cancel"));
    let digest = format!("sha256:{}", "0".repeat(64));
    vec![
        case("malformed JSON", INTENTS, "{\"text\": ", 400, "BAD_REQUEST", Some("/text")),
        case("not an object", INTENTS, "[1]", 400, "BAD_REQUEST", Some("")),
        case("empty", INTENTS, "", 422, "VALIDATION_FAILED", Some("")),
        case("unknown field", INTENTS, r#"{"text":"x","mode":"manual","nope":1}"#, 422, "VALIDATION_FAILED", Some("/nope")),
        case("unknown field deep inside", INTENTS, r#"{"text":"x","draft":{"steps":[{"id":"a","use":"crm/customer.find","wiht":{}}]}}"#, 422, "VALIDATION_FAILED", Some("/draft/steps/0/wiht")),
        case("wrong type", INTENTS, r#"{"text":7}"#, 422, "VALIDATION_FAILED", Some("/text")),
        case("wrong type deep inside", INTENTS, r#"{"text":"x","draft":{"steps":[{"id":"a","use":7}]}}"#, 422, "VALIDATION_FAILED", Some("/draft/steps/0/use")),
        case("bad enum", INTENTS, r#"{"text":"x","mode":"yolo"}"#, 422, "VALIDATION_FAILED", Some("/mode")),
        case("duplicate key", INTENTS, r#"{"text":"x","text":"y"}"#, 400, "BAD_REQUEST", Some("/text")),
        case("duplicate key in an input", INTENTS, r#"{"text":"x","draft":{"steps":[{"id":"a","use":"b/c","with":{"n":1,"n":2}}]}}"#, 400, "BAD_REQUEST", Some("/draft/steps/0/with/n")),
        case("a number beyond I-JSON", INTENTS, r#"{"text":"x","metadata":{"n":9007199254740993}}"#, 400, "BAD_REQUEST", Some("/metadata/n")),
        case("a number beyond a double", INTENTS, r#"{"text":"x","metadata":{"n":1e999}}"#, 400, "BAD_REQUEST", Some("/metadata/n")),
        case("invalid UTF-8", INTENTS, b"{\"text\":\"\xff\xfe\"}".to_vec(), 400, "BAD_REQUEST", Some("/text")),
        case("lone surrogate", INTENTS, r#"{"text":"\ud800"}"#, 400, "BAD_REQUEST", Some("/text")),
        case("depth bomb", INTENTS, format!("{{\"text\":\"x\",\"metadata\":{}{}}}", "{\"a\":".repeat(5_000), "1".to_owned() + &"}".repeat(5_000)), 400, "BAD_REQUEST", None),
        case("oversized body", INTENTS, format!("{{\"text\":\"{}\"}}", "x".repeat(1_100_000)), 413, "BAD_REQUEST", None),
        case("oversized text", INTENTS, format!("{{\"text\":\"{}\",\"mode\":\"manual\"}}", "x".repeat(17_000)), 422, "VALIDATION_FAILED", Some("/text")),
        case("blank text", INTENTS, r#"{"text":"  ","mode":"manual"}"#, 422, "VALIDATION_FAILED", Some("/text")),
        case("oversized draft", INTENTS, json!({ "text": "x", "draft": { "steps": [{ "id": "a", "use": "crm/customer.find", "with": { "email": "x".repeat(300_000) } }] } }).to_string(), 422, "VALIDATION_FAILED", Some("/draft")),
        case("nothing to compile", INTENTS, r#"{"text":"x"}"#, 422, "VALIDATION_FAILED", Some("/draft")),
        case("draft and playbook", INTENTS, r#"{"text":"x","draft":{"steps":[]},"playbook":{"key":"a/b"}}"#, 422, "VALIDATION_FAILED", Some("/playbook")),
        case("bad step id", INTENTS, r#"{"text":"x","draft":{"steps":[{"id":"a b","use":"crm/customer.find"}]}}"#, 422, "VALIDATION_FAILED", Some("/draft/steps/0/id")),
        case("bad trace id", INTENTS, r#"{"text":"x","mode":"manual","traceId":"zz"}"#, 422, "VALIDATION_FAILED", Some("/traceId")),
        case("unknown execution", cancel, "{}", 404, "NOT_FOUND", None),
        case("malformed execution", "/v1/executions/exe_1/cancel", "{}", 422, "VALIDATION_FAILED", Some("/executionId")),
        case("path traversal", "/v1/executions/..%2f..%2fetc/cancel", "{}", 422, "VALIDATION_FAILED", Some("/executionId")),
        case("path and body disagree", cancel, r#"{"executionId":"exe_11111111111111111111111111111111"}"#, 422, "VALIDATION_FAILED", Some("/executionId")),
        case("malformed digest", approve, r#"{"bindingDigest":"sha256:1"}"#, 422, "VALIDATION_FAILED", Some("/bindingDigest")),
        case("approval without a digest", approve, "{}", 422, "VALIDATION_FAILED", Some("")),
        case("an identity in the body", approve, format!(r#"{{"bindingDigest":"{digest}","approvedBy":"ceo"}}"#), 403, "FORBIDDEN", Some("/approvedBy")),
        case("no such route", "/v1/nothing", "{}", 404, "NOT_FOUND", None),
        case("not offered", "/v1/executions/exe_00000000000000000000000000000000/evidence", "{}", 404, "CAPABILITY_MISSING", None),
        case("policies without the grant", "/v1/policies", r#"{"policies":""}"#, 403, "FORBIDDEN", None),
        case("trust without the grant", "/v1/trust", r#"{"trust":{}}"#, 403, "FORBIDDEN", None),
        case("freeze without the grant", "/v1/freezes", r#"{"scope":"workspace","frozen":true}"#, 403, "FORBIDDEN", None),
        case("budgets without the grant", "/v1/budgets", r#"{"budgets":{}}"#, 403, "FORBIDDEN", None),
        case("a backtest of nonsense", "/v1/policies/backtest", r#"{"policies":"permit (","from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z"}"#, 422, "VALIDATION_FAILED", Some("/policies")),
        case("explain nothing", "/v1/policies/explain", "{}", 422, "VALIDATION_FAILED", Some("")),
        case("explain a draft that is none", "/v1/policies/explain", r#"{"draft":{"steps":[]}}"#, 422, "VALIDATION_FAILED", Some("/draft/steps")),
        case("unsigned envelope form", "/v1/skills", format!(r#"{{"skillKey":"a","version":"1.0.0","artifactDigest":"{digest}","manifest":{{"payloadType":"x"}}}}"#), 400, "SIGNATURE_INVALID", Some("/manifest")),
        case("bare manifest", "/v1/skills", format!(r#"{{"skillKey":"a","version":"1.0.0","artifactDigest":"{digest}","manifest":{{}}}}"#), 400, "SIGNATURE_MISSING", Some("/manifest")),
    ]
}

async fn every_case_is_a_clear_problem_and_writes_nothing(house: &House) {
    let commits = || house.embedded().map(|node| node.table().stats().commits.load(Ordering::SeqCst));
    for case in cases() {
        // A gateway knows its routes, and answers for those it does not.
        if case.path == "/v1/nothing" && house.embedded().is_none() {
            continue;
        }
        let before = commits();
        let governs = ["/approve", "/v1/skills", "/backtest"].iter().any(|end| case.path.ends_with(end));
        let client = if governs { &house.approver } else { &house.agent };
        let (status, problem) = client.raw(case.path, case.body).await;
        assert_eq!((status, problem["code"].as_str()), (case.status, Some(case.code)), "{}: {problem}", case.name);
        for field in ["type", "title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{}: {problem}", case.name);
        }
        assert_eq!(
            (problem["status"].as_u64(), problem["traceId"].as_str().map(str::len)),
            (Some(u64::from(case.status)), Some(32)),
            "{}",
            case.name
        );
        if let Some(pointer) = case.pointer {
            let issues = problem["issues"].as_array().unwrap();
            assert!(issues.iter().any(|issue| issue["pointer"] == pointer), "{}: {problem}", case.name);
        }
        // A refused skill is recorded, and that is all that is ever written.
        if case.path != "/v1/skills" {
            assert_eq!(commits(), before, "{} wrote something", case.name);
        }
    }
    assert_eq!(house.agent.get("/v1/executions").await.1["items"], json!([]));
}

async fn a_draft_that_is_no_plan_is_recorded_with_all_its_diagnostics(house: &House) {
    let steps: Vec<Value> = (0..1_001)
        .map(|n| json!({ "id": format!("s{n}"), "use": "crm/customer.find", "with": { "email": "a@x.org" } }))
        .collect();
    let loops = json!([{ "id": "a", "use": "crm/customer.find", "with": { "email": "a@x.org" }, "after": ["b"] },
        { "id": "b", "use": "crm/customer.fnid", "after": ["a"] }]);
    for (steps, codes) in [(json!(steps), vec!["TOO_MANY_STEPS"]), (loops, vec!["UNKNOWN_OPERATION"])] {
        let (status, answer) =
            house.agent.post("/v1/intents", &json!({ "text": "x", "draft": { "steps": steps } })).await;
        assert_eq!(status, 202, "{answer}");
        let view = house.settled(answer["executionId"].as_str().unwrap()).await;
        assert_eq!(view["status"], "rejected");
        for code in codes {
            assert!(view["reasons"].as_array().unwrap().iter().any(|issue| issue["code"] == code), "{view}");
        }
        house.proven(view["executionId"].as_str().unwrap()).await;
    }
}

async fn credentials(house: &House) {
    let url = house.url();
    let code = |(status, answer): (u16, Value)| (status, answer["code"].as_str().unwrap_or_default().to_owned());
    for key in ["", "csk_", "csk_0000", "Bearer", &"x".repeat(5_000)] {
        assert_eq!(
            code(Client::new(&url, key).get("/v1/executions").await),
            (401, "UNAUTHENTICATED".into()),
            "{key}"
        );
    }
    let past = json!({ "actor": { "kind": "agent", "id": "old" }, "grants": ["control-plane.execution.read"], "expiresAt": "2020-01-01T00:00:00Z" });
    let refused = house.approver.post("/v1/keys", &past).await;
    assert_eq!((refused.0, &refused.1["issues"][0]["pointer"]), (422, &json!("/expiresAt")), "{}", refused.1);
    let mut soon = past;
    soon["expiresAt"] = json!(crate::now().plus_ms(1_500));
    let (_, key) = house.approver.post("/v1/keys", &soon).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_600)).await;
    let expired = Client::new(&url, key["apiKey"].as_str().unwrap());
    assert_eq!(code(expired.get("/v1/executions").await).0, 401);
    let reader = json!({ "actor": { "kind": "agent", "id": "reader" }, "grants": ["control-plane.execution.read"] });
    let (_, key) = house.approver.post("/v1/keys", &reader).await;
    let reader = Client::new(&url, key["apiKey"].as_str().unwrap());
    assert_eq!(reader.get("/v1/executions").await.0, 200);
    let intent = json!({ "text": "x", "mode": "manual" });
    assert_eq!(code(reader.post("/v1/intents", &intent).await), (403, "FORBIDDEN".into()), "deny by default");
    assert_eq!(code(reader.get("/v1/keys").await), (403, "FORBIDDEN".into()));
    let id = key["key"]["id"].as_str().unwrap();
    assert_eq!(house.approver.post(&format!("/v1/keys/{id}/revoke"), &json!({})).await.0, 200);
    assert_eq!(reader.get("/v1/executions").await.0, 401, "revoked");
    assert!(!house.approver.get("/v1/keys").await.1.to_string().contains("csk_"), "secrets are stored nowhere");
}

async fn edges_of_http(house: &House) {
    let agent = &house.agent;
    if house.embedded().is_some() {
        let (status, problem) = agent.send(agent.request("DELETE", "/v1/executions")).await;
        assert_eq!((status, &problem["status"]), (405, &json!(405)));
    }
    let (status, _) =
        agent.send(agent.request("POST", "/v1/intents").header("content-type", "text/xml").body("<x/>")).await;
    assert_eq!(status, 400);
    for query in
        ["limit=0", "limit=201", "limit=x", "limit=1&limit=2", "nope=1", "cursor=zz", "createdAfter=yesterday"]
    {
        let (status, problem) = agent.get(&format!("/v1/executions?{query}")).await;
        assert!(status == 422 || status == 400, "{query}: {problem}");
    }
    let (status, _) = agent
        .send(
            agent
                .request("POST", "/v1/intents")
                .header("idempotency-key", "k".repeat(200))
                .json(&json!({ "text": "x", "mode": "manual" })),
        )
        .await;
    assert_eq!(status, 400);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let response = agent.request("GET", "/v1/capabilities").header("traceparent", parent).send().await.unwrap();
    assert_eq!(response.headers()["traceparent"], parent);
}
