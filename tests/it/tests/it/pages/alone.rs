//! What one person decides alone, by forms: break-glass and its review, a vote taken back,
//! mandates.

use super::*;

async fn second(server: &TestServer, id: &str) -> Browser {
    let body = json!({ "actor": { "kind": "human", "id": id },
        "grants": ["control-plane.execution.read", "control-plane.audit", "control-plane.approval",
            "control-plane.approval.override"] });
    let (status, made) = server.approver.post("/v1/keys", &body).await;
    assert_eq!(status, 201, "{made}");
    Browser::signed_in(server, made["apiKey"].as_str().unwrap()).await
}

// Refunds ask for two persons.
async fn two_decide(server: &TestServer) {
    let rule = r#"@id("two") @reason("two look at refunds") @approvers("approvers:2")
        forbid (principal, action == Action::"payments/refund.create", resource)
        when { context.mode == "autonomous" };"#;
    let body = json!({ "policies": format!("{}\n{rule}", policy::BASELINE) });
    let (status, answer) = server.approver.post("/v1/policies", &body).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_is_taken_back_and_glass_is_broken_and_looked_at() {
    let server = TestServer::start().await;
    two_decide(&server).await;
    let mut eve = second(&server, "eve").await;
    let mut ann = second(&server, "ann").await;
    let id = refund(&server.agent, &server, "Refund Ada").await;
    let own = format!("/console/executions/{id}");
    let page = eve.get(&own).await;
    assert_eq!(eve.send(page.form("/approve")).await.status, 303);
    let page = eve.get(&own).await;
    assert!(page.text.contains("1 of approvers"), "{}", page.text);
    let answer = eve.send(page.form("/withdraw")).await;
    assert!(answer.header("location").ends_with("done=console.withdraw"), "{}", answer.text);
    let page = eve.get(&own).await;
    assert!(page.text.contains("2 of approvers"), "{}", page.text);
    // Without a reason nothing is overridden.
    let alone = page.form("/override");
    assert_eq!(eve.send(alone.clone()).await.status, 422);
    let answer = eve.send(alone.with("reason", "the shop is down").with("once", "2")).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let page = eve.get(answer.header("location")).await;
    assert!(page.text.contains("Approved by you alone."), "{}", page.text);
    assert!(
        page.text.contains("alone</span>") && !page.text.contains("/review\""),
        "{}",
        page.text
    );
    let inbox = ann.get("/console/inbox?kind=review").await;
    assert!(inbox.text.contains(&id) && inbox.text.contains("to be reviewed"), "{}", inbox.text);
    let review = ann.get(&own).await.form("/review").with("note", "it was right");
    let answer = ann.send(review).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let page = ann.get(&own).await;
    assert!(page.text.contains("reviewed by"), "{}", page.text);
    assert!(!ann.get("/console/inbox?kind=review").await.text.contains(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mandate_is_given_on_its_page_and_revoked() {
    let server = TestServer::start().await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let page = person.get("/console/mandates").await;
    let end = attribute(page.text.split("<option").nth(2).unwrap(), "value").unwrap();
    let form = page.form("/console/mandates");
    let form = form.with("operation", "payments/refund.create").with("count", "3");
    let form = form.with("expiresAt", &end).with("reason", "small refunds");
    // Half a limit is refused, and so is a number that is none.
    for (name, value) in
        [("amount", "5000"), ("currency", "EUR"), ("writes", "-1"), ("count", "1.5"), ("x", "y")]
    {
        let answer = person.send(form.clone().with(name, value).with("once", name)).await;
        assert_eq!(answer.status, 422, "{name}: {}", answer.text);
    }
    let form = form.with("amount", "5000").with("currency", "EUR").with("writes", "3");
    let answer = person.send(form.clone()).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert_eq!(person.send(form).await.status, 303, "sent twice, it is given once");
    let page = person.get(answer.header("location")).await;
    assert_eq!(page.text.matches("0 of 3").count(), 1, "{}", page.text);
    assert!(page.text.contains("5000 EUR in minor units"), "{}", page.text);
    assert_eq!(person.send(page.form("/revoke")).await.status, 303);
    let page = person.get("/console/mandates").await;
    assert!(page.text.contains("ended") && page.text.contains("it was revoked"), "{}", page.text);
}

/// What is rejected, or aborted, is not offered to be tried again: it would be refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_people_ended_is_not_offered_to_be_tried_again() {
    let server = TestServer::start().await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let id = refund(&server.agent, &server, "Refund Ada").await;
    let own = format!("/console/executions/{id}");
    let reject = person.get(&own).await.form("/reject").with("reason", "no such order");
    assert_eq!(person.send(reject).await.status, 303);
    server.until(&id, "failed").await;
    let page = person.get(&own).await;
    assert!(!page.text.contains("again</button>"), "{}", page.text);
    assert!(page.text.contains("no such order"), "{}", page.text);
}
