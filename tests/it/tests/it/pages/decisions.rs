//! Decisions by forms: the same services, grants and records as by the API.

use super::*;

/// A refund from the inbox to its end by forms alone: seen, commented, approved twice, completed.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_decided_on_its_page() {
    let server = TestServer::start().await;
    let id = refund(&server.agent, &server, "Refund Ada").await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let inbox = person.get("/console/inbox").await;
    assert!(inbox.text.contains(&id) && inbox.text.contains("yours to decide"), "{}", inbox.text);
    let own = format!("/console/executions/{id}");
    let page = person.get(&own).await;
    assert!(page.text.contains("decide on") && page.text.contains("<svg"), "{}", page.text);
    let comment = page.form("/comment").with("text", "is this last week's order?");
    let answer = person.send(comment).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let page = person.get(answer.header("location")).await;
    assert!(page.text.contains("Your comment is on record.") && page.text.contains("last week"));
    let answer = person.send(page.form("/approve").with("note", "fits")).await;
    assert_eq!(answer.header("location"), format!("{own}?done=console.approve"), "{}", answer.text);
    // The refund step asks once more, with what was found.
    let page = loop {
        let page = person.get(&own).await;
        if page.text.contains("Step refund asks") {
            break page;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(person.send(page.form("/approve")).await.status, 303);
    server.until(&id, "completed").await;
    let (_, trace) = server.approver.get(&format!("/v1/executions/{id}/trace")).await;
    let granted = trace["entries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["type"] == "controlPlane.approval.granted");
    let granted = granted.unwrap();
    assert_eq!(
        (&granted["actorId"], &granted["channel"]),
        (&json!("dev-approver"), &json!("console")),
        "{granted}"
    );
    let page = person.get(&format!("{own}?show=trace")).await;
    assert!(page.text.contains("verified") && page.text.contains("sealed"), "{}", page.text);
}

/// Approve is pressed twice, at once. Right: decided once, and both see that it was.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_decision_is_sent_twice() {
    let server = TestServer::start().await;
    let id = refund(&server.agent, &server, "Refund Ada").await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let page = person.get(&format!("/console/executions/{id}")).await;
    let form = page.form("/approve");
    let mut same = Browser::new(&server);
    same.cookies = person.cookies.clone();
    let (one, two) = tokio::join!(person.send(form.clone()), same.send(form.clone()));
    assert_eq!((one.status, two.status), (303, 303), "{} {}", one.text, two.text);
    assert_eq!(person.send(form).await.status, 303, "and a reload of it");
    let (_, trace) = server.approver.get(&format!("/v1/executions/{id}/trace")).await;
    let plan = trace["entries"].as_array().unwrap().iter().filter(|entry| {
        entry["type"] == "controlPlane.approval.granted" && entry["metadata"]["stepId"].is_null()
    });
    assert_eq!(plan.count(), 1);
}

/// What was seen has changed, was decided by another, or is the person's own. Right: the page
/// explains it, and nothing is decided.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_decision_on_what_is_not_shown_any_more() {
    let server = TestServer::start().await;
    let id = refund(&server.agent, &server, "Refund Ada").await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let page = person.get(&format!("/console/executions/{id}")).await;
    let zero = format!("sha256:{}", "0".repeat(64));
    let answer = person.send(page.form("/approve").with("viewDigest", &zero)).await;
    assert!(answer.status >= 400, "{}", answer.status);
    let reject = page.form("/reject").with("reason", "no order");
    assert_eq!(person.send(reject).await.status, 303);
    server.until(&id, "failed").await;
    let answer = person.send(page.form("/approve").with("once", "again")).await;
    assert_eq!(answer.status, 409, "{}", answer.text);
    assert!(answer.text.contains("<h1>") && answer.header("content-type").contains("html"));
}
