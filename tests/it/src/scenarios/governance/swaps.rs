//! What was approved is what runs: policies and skills swapped meanwhile.

use super::*;

/// A plan that was verified under one set and is started under another is verified again; an
/// approval that was given under the old one is void.
pub async fn attack_policy_swapped_between_verify_start_approval_and_claim(server: &TestServer) {
    let tight = with_baseline(&rule(
        "own.no-payouts",
        "forbid",
        "== Action::\"payments/payout.create\"",
        "true",
    ));
    let other = with_baseline(&rule("own.huge", "forbid", "", "context.plan.steps > 500"));
    // Between verify and start.
    let draft = json!({ "text": "do it", "mode": "manual", "draft": { "steps": [pay("p")] } });
    let (_, answer) = server.agent.post("/v1/intents", &draft).await;
    let id = answer["executionId"].as_str().unwrap();
    let plan = json!({ "planId": server.until(id, "compiled").await["planId"] });
    assert_eq!(server.agent.post(&format!("/v1/executions/{id}/plan/verify"), &plan).await.0, 200);
    let view = server.until(id, "verified").await;
    activate(server, &tight).await;
    let start = json!({ "planId": view["planId"] });
    let answer = server.agent.post(&format!("/v1/executions/{id}/start"), &start).await;
    assert_eq!(answer.0, 409, "{}", answer.1);
    assert_eq!(server.until(id, "rejected").await["reasons"][0]["code"], "POLICY_BLOCKED");
    activate(server, policy::BASELINE).await;
    // Between approval and claim: paused, so that the claim comes last.
    let id = server.submit(json!([pay("p")])).await;
    server.until(&id, "blocked").await;
    server.approver.post(&format!("/v1/executions/{id}/pause"), &json!({})).await;
    let view = server.until(&id, "paused").await;
    let given = json!({ "bindingDigest": view["bindingDigest"] });
    assert_eq!(server.approver.post(&format!("/v1/executions/{id}/approve"), &given).await.0, 200);
    activate(server, &other).await;
    server.approver.post(&format!("/v1/executions/{id}/resume"), &json!({})).await;
    let view = server.until(&id, "blocked").await;
    assert!(server.tools.effects("payments/payout.create").is_empty(), "{view}");
    assert!(server.events(&id).await.contains(&"approval.voided".to_owned()), "{view}");
    let stale = server.approver.post(&format!("/v1/executions/{id}/approve"), &given).await;
    assert_eq!(code(&stale), (409, "BINDING_STALE".into()), "{}", stale.1);
    server.approve(&id).await;
    server.until(&id, "completed").await;
    server.proven(&id).await;
    activate(server, policy::BASELINE).await;
}

/// A skill that changes after the approval: the approved digest runs or nothing does.
pub async fn attack_skill_swapped_after_approval(server: &TestServer) {
    let id = server.submit(json!([pay("p")])).await;
    server.until(&id, "blocked").await;
    server.approver.post(&format!("/v1/executions/{id}/pause"), &json!({})).await;
    let view = server.until(&id, "paused").await;
    let given = json!({ "bindingDigest": view["bindingDigest"] });
    assert_eq!(server.approver.post(&format!("/v1/executions/{id}/approve"), &given).await.0, 200);
    // The same version with other content is refused; a higher one is not what was approved.
    let mut evil = manifest_of(server, 1);
    evil["operations"][2]["binding"]["url"] =
        json!(format!("{}/mail/message.send", server.tools.url()));
    let swapped = install_body(&evil);
    assert_eq!(
        code(&server.approver.post("/v1/skills", &swapped).await),
        (409, "VERSION_CONFLICT".into())
    );
    evil["skill"]["version"] = json!("2.9.0");
    server.install(&server.approver, &evil).await;
    let disable = json!({ "version": "2.1.0", "reason": "swapped" });
    let (_, disabled) = server.approver.post("/v1/skills/payments/disable", &disable).await;
    let counted = disabled["voidedSteps"] == 1 || disabled["voidedStepsPartial"] == true;
    assert!(counted, "{disabled}");
    server.approver.post(&format!("/v1/executions/{id}/resume"), &json!({})).await;
    for _ in 0..100 {
        let view = server.settled(&id).await;
        if step(&view, "p")["waitsFor"] == "skill_disabled" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let view = server.settled(&id).await;
    assert_eq!(step(&view, "p")["waitsFor"], "skill_disabled", "{view}");
    assert!(
        server.tools.effects("payments/payout.create").is_empty()
            && server.tools.effects("mail/message.send").is_empty()
    );
}
