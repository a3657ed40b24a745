//! INVARIANTS (one-gate, seen-is-signed, context-is-fresh): what changed since the verdict counts
//! at the claim.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_dry_run_never_starts() {
    let server = TestServer::start().await;
    let steps = json!([{ "id": "m", "use": SENT,
        "with": { "to": ["a@x.org"], "subject": "s", "body": "b" } }]);
    let body = json!({ "text": "x", "mode": "dryRun", "draft": { "steps": steps } });
    let (_, answer) = server.agent.post("/v1/intents", &body).await;
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let view = server.until(&id, "verified").await;
    let body = json!({ "planId": view["planId"] });
    let (status, answer) = server.agent.post(&format!("/v1/executions/{id}/start"), &body).await;
    assert_eq!((status, &answer["code"]), (412, &json!("PRECONDITION_FAILED")), "{answer}");
    for verb in ["retry", "resume"] {
        let (status, _) =
            server.approver.post(&format!("/v1/executions/{id}/{verb}"), &json!({})).await;
        assert!(status >= 400, "{verb}");
    }
    let (workspace, execution) = (&server.identity.workspace, id.parse().unwrap());
    server.node().engine().runs.advance(workspace, &execution, 1_000).await.unwrap();
    assert_eq!(
        (server.tools.calls(), &server.settled(&id).await["status"]),
        (0, &json!("verified"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_revoked_key_stops_what_it_asked() {
    let server = TestServer::start().await;
    let pay = json!([{ "id": "pay", "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }]);
    let id = server.submit(pay).await;
    let blocked = server.until(&id, "blocked").await;
    let (_, keys) = server.approver.get("/v1/keys").await;
    let items = keys["items"]
        .as_array()
        .or_else(|| keys["keys"].as_array())
        .unwrap_or_else(|| panic!("{keys}"));
    let key =
        items.iter().find(|key| key["actor"]["kind"] == "agent").unwrap()["id"].as_str().unwrap();
    let (status, answer) =
        server.approver.post(&format!("/v1/keys/{key}/revoke"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let body = json!({ "bindingDigest": blocked["bindingDigest"] });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!(status, 200, "{answer}");
    for _ in 0..400 {
        let (_, answer) = server.approver.get(&format!("/v1/executions/{id}")).await;
        let view = &answer["execution"];
        if step(view, "pay")["waitsFor"] == "requester_revoked" {
            assert!(step(view, "pay")["message"].as_str().unwrap().contains("revoked"), "{view}");
            assert!(server.tools.effects("payments/payout.create").is_empty());
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!(
        "it ran with the grants that the key had: {:?}",
        server.tools.effects("payments/payout.create")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_withdrawn_trust_stops_what_was_asked() {
    let server = TestServer::start().await;
    let pay = json!([{ "id": "pay", "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }]);
    let id = server.submit(pay).await;
    let blocked = server.until(&id, "blocked").await;
    server.trust(&TrustPolicy::default()).await;
    let body = json!({ "bindingDigest": blocked["bindingDigest"] });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!(status, 200, "{answer}");
    let view = waiting(&server, &id, ("pay", "skill_disabled")).await;
    assert!(
        step(&view, "pay")["message"].as_str().unwrap().contains("trusted no longer"),
        "{view}"
    );
    assert!(server.tools.effects("payments/payout.create").is_empty(), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_a_resolution_by_retry_asks_for_approval_again() {
    let server = TestServer::start().await;
    let pay = json!([{ "id": "pay", "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }]);
    for _ in 0..2 {
        server.tools.behave("payments/payout.create", Behaviour::Lose);
    }
    // Its probe does not answer: people say what became of it.
    for _ in 0..3 {
        server.tools.behave("payments/payout.find", Behaviour::Fail { status: 500 });
    }
    let id = server.submit(pay).await;
    server.until(&id, "blocked").await;
    server.approve(&id).await;
    let view = waiting(&server, &id, ("pay", "outcome_unknown")).await;
    assert_eq!(server.tools.effects("payments/payout.create").len(), 1, "{view}");
    for _ in 0..400 {
        let body = json!({ "stepId": "pay", "outcome": "retry" });
        let (status, answer) =
            server.approver.post(&format!("/v1/executions/{id}/resolve"), &body).await;
        if status == 200 {
            break;
        }
        assert_eq!(status, 409, "{answer}");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let view = waiting(&server, &id, ("pay", "approval_required")).await;
    let paid: u32 = server.tools.effects("payments/payout.create").values().sum();
    assert_eq!(paid, 1, "a second call needs a second approval: {view}");
    server.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seen_is_signed_an_amount_wired_from_an_earlier_step_asks_again() {
    let server = paying(json!({ "type": "integer" }), &["amount", "currency"], minor()).await;
    activate(
        &server,
        "@id(\"own.people\")\n@reason(\"people pay\")\n\
         forbid (principal, action == Action::\"shop/pay\", resource) when { context.mode \
         == \"autonomous\" };",
    )
    .await;
    let paying = |id: &str, amount: Value| {
        json!({ "id": id, "use": "shop/pay",
        "with": { "amount": amount, "currency": "EUR" } })
    };
    let steps = json!([
        { "id": "says", "use": "shop/says", "with": { "n": 7_777_777 } },
        paying("fixed", json!(5)),
        paying("wired", json!({ "$from": "says", "path": "/n" }))
    ]);
    let id = submit(&server, json!({ "steps": steps })).await;
    waiting(&server, &id, ("fixed", "approval_required")).await;
    let view = waiting(&server, &id, ("wired", "approval_required")).await;
    // What is asked shows the value.
    let asks = view["approvals"]
        .as_array()
        .unwrap()
        .iter()
        .find(|approval| approval["stepId"] == "wired")
        .unwrap();
    assert!(asks["lines"].to_string().contains("77777.77 EUR (7777777 minor units)"), "{asks}");
    // The approval of the plan covers what was known, and not the amount that came later.
    let plan = view["approvals"]
        .as_array()
        .unwrap()
        .iter()
        .find(|approval| approval["stepId"].is_null())
        .unwrap();
    let body = json!({ "bindingDigest": plan["bindingDigest"] });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!((status, &answer["remaining"]), (200, &json!(["wired"])), "{answer}");
    for _ in 0..400 {
        if server.tools.effects(SENT).len() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let view = waiting(&server, &id, ("wired", "approval_required")).await;
    assert_eq!(server.tools.effects(SENT).len(), 1, "{view}");
    // Nor does an approval of the step that was made of another input.
    let body = json!({ "stepId": "wired", "bindingDigest": plan["bindingDigest"] });
    let (status, answer) =
        server.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
    assert_eq!((status, &answer["code"]), (409, &json!("BINDING_STALE")), "{answer}");
    approve_step(&server, &id, "wired", &view).await;
    server.until(&id, "completed").await;
    assert_eq!(server.tools.effects(SENT).len(), 2);
    server.proven(&id).await;
}

/// A fixture with a low-risk write, under the shipped business-hours template; its clock is at
/// 17:59 UTC.
async fn at_one_minute_to_six() -> EngineFixture {
    let fixture = EngineFixture::new(Arc::new(MemoryTable::default())).await;
    let mut manifest: Value =
        serde_json::from_str(include_str!("../../../../../../examples/skills/crm.json")).unwrap();
    manifest["skill"]["key"] = json!("notes");
    let operation = &mut manifest["operations"][0];
    (operation["key"], operation["effect"]) = (json!("note.add"), json!("idempotent"));
    fixture
        .engine
        .skills
        .install_skill(&fixture.agent, demo_tools::signed(&manifest, fixture.engine.now()).unwrap())
        .await
        .unwrap();
    let hours = policy::TEMPLATES.iter().find(|(name, _)| *name == "business-hours").unwrap().1;
    let set = json!({ "policies": format!("{}\n{hours}", policy::BASELINE) });
    fixture
        .engine
        .policies
        .activate_policy(&fixture.agent, serde_json::from_value(set).unwrap())
        .await
        .unwrap();
    let (day, now) = (86_400_000, fixture.engine.now().ms());
    fixture.clock.pass((17 * 3_600_000 + 59 * 60_000 - now).rem_euclid(day));
    fixture
}

/// Submits a note, compiles and verifies it; its execution and what starts it.
async fn verified_note(fixture: &EngineFixture) -> (contracts::ExecutionId, StartExecution) {
    let request = json!({ "text": "note it", "mode": "manual", "draft": { "steps": [
        { "id": "note", "use": "notes/note.add", "with": { "email": "ada@x.org" } }] } });
    let request = serde_json::from_value(request).unwrap();
    let id = fixture.engine.intents.submit(&fixture.agent, request).await.unwrap().execution_id;
    let plan = fixture
        .engine
        .plans
        .compile(&fixture.agent, serde_json::from_value(json!({ "executionId": id })).unwrap());
    let plan = plan.await.unwrap().plan_id;
    let named = json!({ "executionId": id, "planId": plan });
    let verdict = fixture
        .engine
        .verdicts
        .verify(&fixture.agent, serde_json::from_value(named.clone()).unwrap())
        .await
        .unwrap();
    assert_eq!(verdict.verdict, Verdict::Autonomous, "within business hours");
    (id, serde_json::from_value(named).unwrap())
}

#[tokio::test]
async fn context_is_fresh_business_hours_end_before_the_start() {
    let fixture = at_one_minute_to_six().await;
    let (id, start) = verified_note(&fixture).await;
    fixture.clock.pass(60_000);
    fixture.engine.controls.start(&fixture.agent, start).await.unwrap();
    let next =
        fixture.engine.runs.advance(&fixture.agent.workspace, &id, 60_000).await.unwrap().next;
    assert_eq!(next, NextStep::Blocked, "people decide outside business hours");
}

#[tokio::test]
async fn context_is_fresh_business_hours_end_before_the_claim() {
    let fixture = at_one_minute_to_six().await;
    let (id, start) = verified_note(&fixture).await;
    fixture.engine.controls.start(&fixture.agent, start.clone()).await.unwrap();
    fixture.clock.pass(60_000);
    let next =
        fixture.engine.runs.advance(&fixture.agent.workspace, &id, 60_000).await.unwrap().next;
    assert_eq!(next, NextStep::Blocked, "people decide outside business hours");
    // Within them it runs.
    let fixture = at_one_minute_to_six().await;
    let (id, start) = verified_note(&fixture).await;
    fixture.engine.controls.start(&fixture.agent, start).await.unwrap();
    let next =
        fixture.engine.runs.advance(&fixture.agent.workspace, &id, 60_000).await.unwrap().next;
    assert_eq!(next, NextStep::Done);
}
