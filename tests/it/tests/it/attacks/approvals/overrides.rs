//! Break-glass: loud, by one person who is not involved, and looked at later.

use super::*;

async fn override_alone(by: &Client, asked: &Asked) -> (u16, Value) {
    let body = json!({ "viewDigest": asked.approval["viewDigest"], "reason": "the shop is down" });
    by.post(&asked.path("/override"), &body).await
}

#[tokio::test]
async fn an_override_is_on_record_until_another_person_looked_at_it() {
    let server = TestServer::start().await;
    let people = People::of(&server).await;
    assert_eq!(payments_ask_for(&server, "finance:2,security:1").await.0, 200);
    let asked = asked(&server).await;
    let (status, answer) = override_alone(&people.eve, &asked).await;
    assert_eq!((status, &answer["status"]), (200, &json!("granted")), "{answer}");
    server.until(&asked.execution, "completed").await;
    assert_eq!(count(&server, &asked.execution, "approval.overridden").await, 1);
    let (_, log) = server.approver.get("/v1/log?limit=200").await;
    assert!(log.to_string().contains("the shop is down"), "{log}");
    // It waits for a review, though the execution has ended, and not by who did it.
    let own = &inbox(&people.eve, "?mine=false").await[0];
    assert_eq!((&own["kind"], &own["mine"]), (&json!("review"), &json!(false)), "{own}");
    assert_eq!(inbox(&people.ann, "?kind=review").await.len(), 1);
    let note = json!({ "note": "it was right" });
    let answer = people.eve.post(&asked.path("/review"), &note).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    assert_eq!(people.ann.post(&asked.path("/review"), &note).await.0, 200);
    assert!(inbox(&people.ann, "?mine=false").await.is_empty());
    assert_eq!(people.sam.post(&asked.path("/review"), &note).await.0, 409);
    let replay = server.approver.get(&format!("/v1/executions/{}/replay", asked.execution)).await;
    assert_eq!(replay.1["matches"], true, "{}", replay.1);
}

#[tokio::test]
async fn attack_an_override_by_who_is_excluded() {
    let server = TestServer::start().await;
    let people = People::of(&server).await;
    let asked = Asked::of(&server, submit_steps(&people.ann, json!([pay("p")])).await).await;
    // By the requester, without a reason, without the grant, of what was not seen.
    let answer = override_alone(&people.ann, &asked).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    let body = json!({ "viewDigest": asked.approval["viewDigest"], "reason": " " });
    assert_eq!(people.eve.post(&asked.path("/override"), &body).await.0, 422);
    let grace = person(&server, "grace").await;
    assert_eq!(code(&override_alone(&grace, &asked).await), (403, "FORBIDDEN"));
    let mut other = asked.clone();
    other.approval["viewDigest"] = json!(format!("sha256:{}", "0".repeat(64)));
    assert_eq!(code(&override_alone(&people.eve, &other).await), (409, "BINDING_STALE"));
    // Nor what policy blocks: there is nothing to override.
    let rule = r#"@id("never") @reason("never") forbid (principal, action, resource)
        when { context.input has currency };"#;
    assert_eq!(activate(&server, rule).await.0, 200);
    let answer = override_alone(&people.eve, &asked).await;
    assert_eq!(code(&answer), (409, "BINDING_STALE"), "{}", answer.1);
    assert!(server.tools.effects("payments/payout.create").is_empty());
}
