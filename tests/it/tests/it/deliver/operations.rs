//! What is asked of deliveries: a test, the dead letters once more.

use super::kit::{DeliveryFixture, END, status};
use contracts::{Code, subscription::NamedSubscription};
use countersign_it::{TestServer, fixture::EngineFixture};
use serde_json::json;

async fn test(fixture: &DeliveryFixture, id: &str) -> contracts::subscription::SubscriptionTested {
    let request = NamedSubscription { webhook_id: id.into() };
    fixture.deliverer.test(&fixture.engine.agent, request).await.unwrap()
}

#[tokio::test]
async fn a_test_event_is_sent_now_and_what_came_of_it_is_said() {
    let fixture = DeliveryFixture::new().await;
    let id = fixture.subscribe("mine", &[END]).await;
    let tested = test(&fixture, &id).await;
    assert!(tested.delivered && tested.message.is_none());
    let received = fixture.hooks.received("mine").remove(0);
    assert_eq!((received.subject.as_str(), received.id), ("test", tested.event_id));
    assert!(received.signature.starts_with("v1,"));

    fixture.hooks.answer("mine", [status(500, None)]);
    let tested = test(&fixture, &id).await;
    assert_eq!((tested.delivered, tested.message.as_deref()), (false, Some("it answered 500")));
    let [cursors, due, targets] = fixture.stored();
    assert!(cursors.is_empty() && due.is_empty() && targets.is_empty(), "it is of no stream");
    let request = NamedSubscription { webhook_id: "none".into() };
    let missing = fixture.deliverer.test(&fixture.engine.agent, request).await.unwrap_err();
    assert_eq!(missing.code, Code::NotFound);
}

#[tokio::test]
async fn a_repeated_command_sends_no_second_test_event() {
    let fixture = DeliveryFixture::new().await;
    let id = fixture.subscribe("mine", &[END]).await;
    let EngineFixture { agent, .. } = &fixture.engine;
    let caller = engine::Caller { idempotency_key: Some("once".into()), ..agent.clone() };
    let request = NamedSubscription { webhook_id: id };
    let first = fixture.deliverer.test(&caller, request.clone()).await.unwrap();
    fixture.engine.clock.pass(1_000);
    assert_eq!(fixture.deliverer.test(&caller, request).await.unwrap(), first);
    assert_eq!(fixture.hooks.received("mine").len(), 1);
}

#[tokio::test]
async fn while_a_secret_is_rotated_what_is_tried_again_carries_both_signatures() {
    let fixture = DeliveryFixture::new().await;
    let id = fixture.subscribe("mine", &[END]).await;
    fixture.hooks.answer("mine", [status(500, None), status(200, None)]);
    fixture.run().await;
    fixture.relay().await;
    let request = NamedSubscription { webhook_id: id };
    let subscriptions = &fixture.engine.engine.subscriptions;
    subscriptions.rotate_webhook(&fixture.engine.agent, request).await.unwrap();
    fixture.wait().await;
    fixture.due().await;
    let received = fixture.hooks.received("mine");
    let signatures: Vec<usize> =
        received.iter().map(|one| one.signature.split(' ').count()).collect();
    assert_eq!(signatures, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_the_grant_is_refused() {
    let server = TestServer::start().await;
    let (status, made) =
        server.approver.post("/v1/webhooks", &json!({ "url": "http://127.0.0.1:9/hook" })).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap();
    for operation in ["test", "redeliver"] {
        let path = format!("/v1/webhooks/{id}/{operation}");
        let (status, answer) = server.agent.post(&path, &json!({})).await;
        assert_eq!((status, &answer["code"]), (403, &json!("FORBIDDEN")), "{operation}");
        let (status, answer) = server.approver.post(&path, &json!({})).await;
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(server.agent.get("/v1/webhooks").await.0, 403);
    let (status, answer) =
        server.approver.post(&format!("/v1/webhooks/{id}/test"), &json!({})).await;
    assert_eq!((status, &answer["delivered"]), (200, &json!(false)), "{answer}");
    assert!(answer["message"].as_str().unwrap().starts_with("it was not reached"), "{answer}");
    let neighbour = server.neighbour().await;
    let (status, _) =
        neighbour.approver.post(&format!("/v1/webhooks/{id}/redeliver"), &json!({})).await;
    assert_eq!(status, 404, "another workspace's subscription is none");
}
