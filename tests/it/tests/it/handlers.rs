//! Functions that answer no HTTP, fed with the sample events of `events/`.

use crate::generated::root;
use async_trait::async_trait;
use contracts::{
    WorkspaceId,
    access::CreateKey,
    event::{ActorKind, CloudEvent},
};
use countersign_it::fixture::EngineFixture;
use countersign_store::{PortError, memory::MemoryTable};
use engine::{actor, ports::Publisher};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

fn sample(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(root().join("events").join(name)).unwrap())
        .unwrap()
}

async fn fixture() -> EngineFixture {
    EngineFixture::new(Arc::new(MemoryTable::default())).await
}

/// A queue that can be out of order.
#[derive(Default)]
struct Queue {
    down: Mutex<bool>,
    taken: Mutex<Vec<u64>>,
}

#[async_trait]
impl Publisher for Queue {
    async fn publish(
        &self,
        _: &WorkspaceId,
        events: &[CloudEvent],
    ) -> (usize, Result<(), PortError>) {
        if *self.down.lock().unwrap() {
            return (0, Err(PortError::Unavailable("down".into())));
        }
        self.taken.lock().unwrap().extend(events.iter().map(|event| event.sequence));
        (events.len(), Ok(()))
    }
}

#[tokio::test]
async fn the_door_opens_what_the_grants_cover_and_nothing_to_strangers() {
    let fixture = fixture().await;
    let grants = ["control-plane.execution.read".to_owned()].into();
    let actor = Some(actor(ActorKind::Agent, "reader"));
    let new = CreateKey { actor, person: None, grants, expires_at: None };
    let (_, key) = fixture.engine.access.deploy_key(&fixture.agent.workspace, new).await.unwrap();
    let mut event = sample("authorize/request.json");
    assert_eq!(
        fn_authorize::authorize(&fixture.engine, &event).await.unwrap(),
        None,
        "an unknown key"
    );
    event["headers"] = json!({ "authorization": format!("bearer {key}") });
    let policy = fn_authorize::authorize(&fixture.engine, &event).await.unwrap().unwrap();
    let statement = &policy["policyDocument"]["Statement"][0];
    let allowed: Vec<&str> =
        statement["Resource"].as_array().unwrap().iter().map(|arn| arn.as_str().unwrap()).collect();
    let api = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3/dev";
    assert!(allowed.contains(&format!("{api}/GET/v1/executions").as_str()), "{allowed:?}");
    assert!(allowed.contains(&format!("{api}/GET/v1/executions/*").as_str()), "{allowed:?}");
    assert!(
        !allowed.iter().any(|arn| arn.contains("/POST/v1/intents") || arn.contains("/v1/keys")),
        "{allowed:?}"
    );
    assert_eq!((&statement["Effect"], &policy["principalId"]), (&json!("Allow"), &json!("reader")));
    event["headers"] = json!({});
    assert_eq!(
        fn_authorize::authorize(&fixture.engine, &event).await.unwrap(),
        None,
        "no key at all"
    );
}

#[tokio::test]
async fn the_relay_publishes_what_waits_and_asks_again_for_what_failed() {
    let fixture = fixture().await;
    let id = fixture
        .submit(json!([{ "id": "a", "use": "crm/customer.find", "with": { "email": "a@x.org" } }]))
        .await;
    fixture.drive(&id).await;
    let mut batch = sample("relay/stream.json");
    for record in batch["Records"].as_array_mut().unwrap() {
        record["dynamodb"]["Keys"]["sk"]["S"] = json!(format!("acme#{id}#0000000001"));
    }
    let queue = Queue { down: Mutex::new(true), ..Queue::default() };
    let answer = fn_relay::handle(&fixture.engine, &queue, &batch).await;
    assert_eq!(answer, json!({ "batchItemFailures": [{ "itemIdentifier": "111" }] }));
    *queue.down.lock().unwrap() = false;
    assert_eq!(
        fn_relay::handle(&fixture.engine, &queue, &batch).await,
        json!({ "batchItemFailures": [] })
    );
    fn_relay::handle(&fixture.engine, &queue, &batch).await;
    assert_eq!(*queue.taken.lock().unwrap(), (1..=7).collect::<Vec<_>>(), "all, in order, once");
}

#[tokio::test]
async fn behind_an_event_that_fails_its_whole_group_waits() {
    let fixture = fixture().await;
    let batch = sample("deliver/queue.json");
    assert_eq!(
        fn_deliver::task(&fixture.engine, &batch, 1_000).await.unwrap(),
        json!({ "batchItemFailures": [] }),
        "nobody subscribed"
    );
    let mut records = vec![batch["Records"][0].clone(); 3];
    records[0]["body"] = json!("not an event");
    records[2]["attributes"]["MessageGroupId"] = json!("another");
    for (index, record) in records.iter_mut().enumerate() {
        record["messageId"] = json!(format!("m-{index}"));
    }
    let batch = json!({ "Records": records });
    let answer = fn_deliver::task(&fixture.engine, &batch, 1_000).await.unwrap();
    assert_eq!(
        answer,
        json!({ "batchItemFailures": [{ "itemIdentifier": "m-0" }, { "itemIdentifier": "m-1" }] })
    );
}

#[tokio::test]
async fn a_workspace_is_made_by_its_task_only() {
    let fixture = fixture().await;
    let made =
        fn_access::task(&fixture.engine, &sample("access/create-workspace.json")).await.unwrap();
    let key = made["agentKey"].as_str().unwrap();
    assert_eq!(
        fixture.engine.access.authenticate(Some(key)).await.unwrap().workspace.to_string(),
        "acme"
    );
    for wrong in [
        json!({}),
        json!({ "task": "createWorkspace" }),
        json!({ "task": "dropWorkspace", "workspaceId": "acme" }),
    ] {
        assert!(fn_access::task(&fixture.engine, &wrong).await.is_err(), "{wrong}");
    }
}
