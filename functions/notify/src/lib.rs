//! Notify: the queue of stage events → the subscriptions of each workspace, in order per execution.

use contracts::{WorkspaceId, event::CloudEvent};
use engine::{Engine, Webhooks, ports::Publisher as _};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Handles a batch of SQS messages; says which it wants again. Behind one that failed, all of its group are: a
/// subscriber sees no event before the one it follows.
pub async fn handle(engine: &Engine, batch: &Value) -> Value {
    let records = batch.get("Records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut stopped: HashSet<String> = HashSet::new();
    let mut failures = Vec::new();
    for record in records {
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let group = text("/attributes/MessageGroupId");
        let outcome = if stopped.contains(group) {
            Err("an earlier event of its execution waits".to_owned())
        } else {
            deliver(engine, text("/body")).await
        };
        if let Err(why) = outcome {
            tracing::warn!(execution_id = group, why, "a stage event waits for its subscriber");
            stopped.insert(group.to_owned());
            failures.push(json!({ "itemIdentifier": text("/messageId") }));
        }
    }
    json!({ "batchItemFailures": failures })
}

async fn deliver(engine: &Engine, body: &str) -> Result<(), String> {
    let event: CloudEvent = contracts::json::decode(body.as_bytes()).map_err(|error| error.to_string())?;
    let source = event.source.strip_prefix("countersign/").ok_or("the event names no workspace")?;
    let workspace: WorkspaceId = source.parse().map_err(|_| "the event names no workspace")?;
    Webhooks::new(engine).publish(&workspace, &[event]).await.1.map_err(|fault| fault.to_string())
}
