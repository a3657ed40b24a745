//! What one execution costs in DynamoDB's units, counted. `docs/src/how-to/deploy.md` multiplies by
//! this.

use async_trait::async_trait;
use contracts::{WorkspaceId, event::CloudEvent};
use countersign_aws_tests::dynamo::Dynamo;
use countersign_it::fixture::EngineFixture;
use countersign_store::PortError;
use engine::{NextStep, ports::Publisher};
use host::{SystemClock, SystemIds};
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering};

/// A queue that takes everything.
struct Queue;

#[async_trait]
impl Publisher for Queue {
    async fn publish(
        &self,
        _: &WorkspaceId,
        events: &[CloudEvent],
    ) -> (usize, Result<(), PortError>) {
        (events.len(), Ok(()))
    }
}

#[tokio::test]
async fn an_autonomous_execution_of_ten_steps() {
    let units = Arc::new(aws::Units::default());
    let table = Dynamo::new(Arc::new(SystemClock), Arc::new(SystemIds)).counting(units.clone());
    let requests = table.requests.clone();
    let fixture = EngineFixture::new(Arc::new(table)).await;
    // Skills, policy and settings are read once per process.
    let warm = fixture
        .submit(json!([{ "id": "a", "use": "crm/customer.find", "with": { "email": "a@x.org" } }]))
        .await;
    assert_eq!(fixture.drive(&warm).await, NextStep::Done);
    let count = || {
        (
            units.write.load(Ordering::SeqCst) as f64 / 10.0,
            units.read.load(Ordering::SeqCst) as f64 / 10.0,
        )
    };
    let (writes, reads) = count();
    requests.lock().unwrap().clear();

    let steps: Vec<Value> = (0..10)
        .map(|n| {
            let after: Vec<String> = (n > 0).then(|| format!("s{}", n - 1)).into_iter().collect();
            json!({ "id": format!("s{n}"), "use": "crm/customer.find",
                "with": { "email": "a@x.org" }, "after": after })
        })
        .collect();
    let id = fixture.submit(json!(steps)).await;
    assert_eq!(fixture.drive(&id).await, NextStep::Done);
    let (driven_writes, driven_reads) = count();
    let (sent, outcome) =
        fixture.engine.relay.publish(&fixture.agent.workspace, &id.clone().into(), &Queue).await;
    outcome.unwrap();
    fixture.engine.store().sent(&sent).await.unwrap();
    let (all_writes, all_reads) = count();
    let requests = requests.lock().unwrap();
    let of = |operation: &str| requests.iter().filter(|name| *name == operation).count();
    eprintln!(
        "10 steps: {} transactions, {} reads; write units {} and {} for its stage events; read \
         units {} and {}",
        of("TransactWriteItems"),
        of("GetItem") + of("Query"),
        driven_writes - writes,
        all_writes - driven_writes,
        driven_reads - reads,
        all_reads - driven_reads,
    );
    // What docs/src/how-to/deploy.md says, with room for the length of identifiers.
    assert!(of("TransactWriteItems") <= 15, "{requests:?}");
    assert!(all_writes - writes <= 450.0, "{} write units", all_writes - writes);
    assert!(all_reads - reads <= 150.0, "{} read units", all_reads - reads);
}
