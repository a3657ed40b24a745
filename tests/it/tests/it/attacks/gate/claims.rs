//! Attacks between an approval or a start and the claim.

use super::*;

/// A failed step is tried again after its skill was disabled, or its operation frozen: it waits,
/// and nothing is called.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_retry_after_its_skill_was_disabled() {
    let (server, stub) =
        server_with(|stub| vec![stub.operation("work", json!({ "effect": "idempotent" }))]).await;
    stub.answers("work", 422, json!({}));
    let id = submit_steps(&server.agent, json!([{ "id": "w", "use": "kit/work" }])).await;
    server.until(&id, "failed").await;
    assert_eq!(server.approver.post("/v1/skills/kit/disable", &json!({})).await.0, 200);
    let retry = format!("/v1/executions/{id}/retry");
    assert_eq!(server.approver.post(&retry, &json!({})).await.0, 200);
    waiting(&server, &id, ("w", "skill_disabled")).await;
    // The same manifest again, another version, or build metadata of the same: disabled all the
    // same.
    let mut manifest =
        stub.manifest(vec![stub.operation("work", json!({ "effect": "idempotent" }))]);
    server.approver.post("/v1/skills", &install_body(&manifest)).await;
    for version in ["1.0.0+b", "1.0.1", "2.0.0"] {
        manifest["skill"]["version"] = json!(version);
        server.approver.post("/v1/skills", &install_body(&manifest)).await;
    }
    let body = json!({ "text": "x", "draft": { "steps": [{ "id": "w", "use": "kit/work@*" }] } });
    let (_, answer) = server.agent.post("/v1/intents", &body).await;
    assert_eq!(answer["status"], "rejected", "{answer}");
    assert_eq!(stub.calls("work").len(), 1);
    freeze(&server, "operation", "kit/work", true).await;
    assert_eq!(server.approver.post("/v1/skills/kit/enable", &json!({})).await.0, 200);
    waiting(&server, &id, ("w", "frozen")).await;
    assert_eq!(stub.calls("work").len(), 1);
}

/// A probe of a skill that was disabled, of an operation that is frozen: it is not asked, and the
/// call stays in doubt.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_probe_of_a_disabled_skill() {
    let (server, stub) = server_with(|stub| {
        let probed = json!({ "effect": "non_idempotent", "probe": "seek" });
        vec![stub.operation("work", probed), stub.operation("seek", json!({}))]
    })
    .await;
    freeze(&server, "operation", "kit/seek", true).await;
    stub.answers("work", 500, json!({}));
    stub.answers("seek", 200, json!({ "found": false }));
    let id = submit_steps(&server.agent, json!([{ "id": "w", "use": "kit/work" }])).await;
    let view = waiting(&server, &id, ("w", "frozen")).await;
    assert_eq!(step(&view, "w")["status"], "in_doubt", "{view}");
    assert_eq!(server.approver.post("/v1/skills/kit/disable", &json!({})).await.0, 200);
    freeze(&server, "operation", "kit/seek", false).await;
    let view = waiting(&server, &id, ("w", "skill_disabled")).await;
    assert_eq!(
        (step(&view, "w")["status"].as_str(), stub.calls("seek").len()),
        (Some("in_doubt"), 0),
        "{view}"
    );
    assert_eq!(stub.calls("work").len(), 1, "never repeated");
}

/// A freeze comes between the approval and the claim: the approval is not used up, and counts once
/// when it is lifted.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_freeze_between_approval_and_claim() {
    let server = TestServer::start().await;
    let id = submit_steps(&server.agent, json!([pay("p")])).await;
    server.until(&id, "blocked").await;
    freeze(&server, "operation", PAYOUT, true).await;
    assert_eq!(approve(&server, &grace(&server).await, &id).await.0, 200);
    waiting(&server, &id, ("p", "frozen")).await;
    for verb in ["pause", "resume"] {
        assert_eq!(
            server.approver.post(&format!("/v1/executions/{id}/{verb}"), &json!({})).await.0,
            200,
            "{verb}"
        );
    }
    assert!(server.tools.effects(PAYOUT).is_empty());
    freeze(&server, "operation", PAYOUT, false).await;
    server.until(&id, "completed").await;
    assert_eq!(server.tools.effects(PAYOUT).values().sum::<u32>(), 1);
    // It is used up: nothing brings a second call.
    for (verb, body) in
        [("retry", json!({})), ("retry", json!({ "stepId": "p" })), ("resume", json!({}))]
    {
        assert!(
            server.approver.post(&format!("/v1/executions/{id}/{verb}"), &body).await.0 >= 400,
            "{verb}"
        );
    }
    assert_eq!(server.tools.effects(PAYOUT).values().sum::<u32>(), 1);
    server.proven(&id).await;
}

/// A mode that loosens: `autonomous` on a plan that needs people, a dry run that becomes another,
/// fields that no command has.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_start_that_loosens_the_verdict() {
    let server = TestServer::start().await;
    let draft = json!({ "text": "pay", "mode": "manual", "draft": { "steps": [pay("p")] } });
    let id = submit(&server.agent, draft).await;
    let path = |verb: &str| format!("/v1/executions/{id}/{verb}");
    let plan = server.settled(&id).await["planId"].clone();
    let verify = json!({ "planId": plan });
    assert_eq!(server.agent.post(&path("plan/verify"), &verify).await.1["verdict"], "assist");
    for more in
        [json!({ "mode": "auto" }), json!({ "approved": true }), json!({ "verdict": "autonomous" })]
    {
        let mut body = verify.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(server.agent.post(&path("start"), &body).await.0, 422, "{more}");
    }
    let body = json!({ "planId": plan, "mode": "autonomous" });
    assert_eq!(server.agent.post(&path("start"), &body).await.0, 202);
    let view = server.until(&id, "blocked").await;
    assert_eq!(step(&view, "p")["waitsFor"], "approval_required", "{view}");
    // Started once: no second start in another mode, no new plan.
    for (verb, body) in
        [("start", body), ("plan/compile", json!({ "draft": { "steps": [send("m")] } }))]
    {
        let (status, answer) = server.approver.post(&path(verb), &body).await;
        assert!(status >= 400, "{verb}: {answer}");
    }
    assert!(
        server.tools.effects(PAYOUT).is_empty()
            && server.tools.effects("mail/message.send").is_empty()
    );
}

/// A version that is installed comes again with other content; with build metadata; below the
/// highest: refused each.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_skill_under_a_version_that_is_there() {
    let (server, stub) =
        server_with(|stub| vec![stub.operation("work", json!({ "riskTier": "high" }))]).await;
    let mild = |version: &str| {
        let mut manifest = stub.manifest(vec![stub.operation("work", json!({}))]);
        manifest["skill"]["version"] = json!(version);
        install_body(&manifest)
    };
    let id = submit_steps(&server.agent, json!([{ "id": "w", "use": "kit/work" }])).await;
    let view = server.until(&id, "blocked").await;
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
        let answer = server.approver.post("/v1/skills", &mild(version)).await;
        assert_eq!(answer.1["code"], wanted, "{version}: {}", answer.1);
    }
    // A machine lets no older version come, even if it says so.
    let clerk = key(&server, &server.approver, "service", "clerk", &["skill-registry"]).await;
    let mut older = mild("0.9.9");
    older["allowDowngrade"] = json!(true);
    assert_eq!(clerk.post("/v1/skills", &older).await.1["code"], "ROLLBACK_REFUSED");
    // What is later is another version: plans that pin the one before go on with that one, approval
    // and all.
    assert_eq!(server.approver.post("/v1/skills", &mild("1.0.0+b")).await.0, 201);
    let now = server.settled(&id).await;
    assert_eq!(now["bindingDigest"], view["bindingDigest"]);
    assert_eq!(step(&now, "w")["riskTier"], "high");
    assert!(stub.calls("work").is_empty());
    assert_eq!(approve(&server, &grace(&server).await, &id).await.0, 200);
    server.until(&id, "completed").await;
    server.proven(&id).await;
}

/// An approval of one step, of another execution or of the same plan submitted again, is used for
/// this one: stale.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_approval_is_carried_to_another_plan() {
    let server = TestServer::start().await;
    let by = grace(&server).await;
    let (one, two) = (
        submit_steps(&server.agent, json!([pay("p")])).await,
        submit_steps(&server.agent, json!([pay("p")])).await,
    );
    let (first, second) =
        (server.until(&one, "blocked").await, server.until(&two, "blocked").await);
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
    assert!(
        by.post(&path, &json!({ "bindingDigest": second["bindingDigest"], "stepId": "q" })).await.0
            >= 400
    );
    assert!(server.tools.effects(PAYOUT).is_empty());
    assert_eq!(by.post(&path, &json!({ "bindingDigest": second["bindingDigest"] })).await.0, 200);
    server.until(&two, "completed").await;
    // Decided is decided, by whomever again.
    let answer = by.post(&path, &json!({ "bindingDigest": second["bindingDigest"] })).await;
    assert_eq!(answer.0, 409, "{}", answer.1);
    assert_eq!(server.tools.effects(PAYOUT).values().sum::<u32>(), 1);
}
