//! Relay: the table's stream → the queue of stage events. Told of a stream, it publishes all that
//! waits in its outbox, so that order never depends on the order of the stream.

use countersign_store::keys;
use engine::{Engine, ports::Publisher};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Handles a batch of a DynamoDB stream; says from which record on it wants them again.
pub async fn handle(engine: &Engine, publisher: &dyn Publisher, batch: &Value) -> Value {
    let records =
        batch.get("Records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // The first record of each stream, in order of the stream.
    let mut first = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        let text =
            |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let fresh =
            text("/eventName") == "INSERT" && text("/dynamodb/Keys/pk/S").starts_with(keys::OUTBOX);
        if let Some(owner) = keys::stream_owner(text("/dynamodb/Keys/sk/S")).filter(|_| fresh) {
            first.entry(owner).or_insert((index, text("/dynamodb/SequenceNumber")));
        }
    }
    let mut done = Vec::new();
    let mut failed: Option<(usize, &str)> = None;
    for ((workspace, stream), at) in first {
        let (sent, outcome) = engine.relay.publish(&workspace, &stream, publisher).await;
        done.extend(sent);
        if let Err(fault) = outcome {
            tracing::error!(%workspace, %stream, %fault, "stage events wait");
            failed = Some(failed.map_or(at, |earlier| earlier.min(at)));
        }
    }
    if let Err(fault) = engine.store().sent(&done).await {
        tracing::warn!(%fault, "sent stage events stay in the outbox; they will be sent again");
    }
    let failures: Vec<Value> =
        failed.iter().map(|(_, number)| json!({ "itemIdentifier": number })).collect();
    json!({ "batchItemFailures": failures })
}
