//! Deliver: the queue of stage events → the targets of each workspace, in order per execution; on a
//! schedule what is due again; and what people ask of deliveries.

use contracts::{
    Code, Problem, WorkspaceId,
    endpoint::{named, page},
    event::CloudEvent,
    json,
    subscription::NamedSubscription,
};
use countersign_deliver::Deliverer;
use countersign_store::Stream;
use edge::Routes;
use engine::{Answer, Caller, Engine};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .serve(const { named("subscription.list") }, |engine, caller, request| async move {
            Deliverer::new(engine).list(&caller, request).await
        })
        .serve(const { named("subscription.test") }, |engine, caller, request| async move {
            Deliverer::new(engine).test(&caller, request).await
        })
        .serve(const { named("subscription.redeliver") }, |engine, caller, request| async move {
            Deliverer::new(engine).redeliver(&caller, request).await
        })
        .act(
            const { named("console.subscription.test") },
            const { page("console.subscriptions") },
            |engine, caller, request| async move { test(engine, &caller, request).await },
        )
        .act(
            const { named("console.subscription.redeliver") },
            const { page("console.subscriptions") },
            |engine, caller, request| async move {
                Deliverer::new(engine).redeliver(&caller, request).await
            },
        )
}

// What was not delivered is no success on a page.
async fn test(engine: Arc<Engine>, caller: &Caller, request: NamedSubscription) -> Answer<()> {
    let tested = Deliverer::new(engine).test(caller, request).await?;
    if tested.delivered {
        return Ok(());
    }
    let why = tested.message.unwrap_or_default();
    Err(Problem::new(Code::Conflict, format!("the test event was not delivered: {why}")))
}

/// Its task: a batch of the queue, or what is due, for at most about `budget_ms`.
pub async fn task(engine: &Arc<Engine>, payload: &Value, budget_ms: i64) -> Result<Value, Problem> {
    match payload.get("Records").and_then(Value::as_array) {
        Some(records) => Ok(batch(engine, records).await),
        None => due(engine, budget_ms).await,
    }
}

/// Does what is due.
pub async fn due(engine: &Arc<Engine>, budget_ms: i64) -> Result<Value, Problem> {
    let done = Deliverer::new(engine.clone()).due(budget_ms).await?;
    tracing::info!(
        target: "metric",
        DeliveriesDue = done.lanes,
        // A sign of life.
        DeliverRuns = 1_u64,
        "delivered"
    );
    Ok(json!({ "lanes": done.lanes, "failed": done.failed }))
}

/// The messages of one stream, in their order.
#[derive(Default)]
struct Group<'a> {
    messages: Vec<&'a str>,
    events: Vec<CloudEvent>,
    /// The first message that is no event, and all behind it.
    unreadable: Vec<&'a str>,
}

// Says which messages are wanted again: those of a stream together, so that a subscriber sees no
// event before the one it follows.
async fn batch(engine: &Arc<Engine>, records: &[Value]) -> Value {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for record in records {
        let text =
            |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let group = groups.entry(text("/attributes/MessageGroupId")).or_default();
        let event = json::decode::<CloudEvent>(text("/body").as_bytes());
        match event {
            Ok(event) if group.unreadable.is_empty() => {
                group.messages.push(text("/messageId"));
                group.events.push(event);
            }
            Ok(_) => group.unreadable.push(text("/messageId")),
            Err(error) => {
                tracing::error!(%error, "a stage event cannot be read");
                group.unreadable.push(text("/messageId"));
            }
        }
    }
    let deliverer = Deliverer::new(engine.clone());
    let deliveries = groups.into_iter().map(|(name, group)| {
        let deliverer = &deliverer;
        async move {
            let mut failed = group.unreadable;
            if let Err(why) = deliver(deliverer, &group.events).await {
                tracing::warn!(execution_id = name, why, "stage events wait");
                failed.extend(group.messages);
            }
            failed
        }
    });
    let failed = join_all(deliveries).await.into_iter().flatten();
    let failures: Vec<Value> = failed.map(|id| json!({ "itemIdentifier": id })).collect();
    json!({ "batchItemFailures": failures })
}

async fn deliver(deliverer: &Deliverer, events: &[CloudEvent]) -> Result<(), String> {
    let Some(first) = events.first() else { return Ok(()) };
    let source = first.source.strip_prefix("countersign/").ok_or("the event names no workspace")?;
    let workspace: WorkspaceId = source.parse().map_err(|_| "the event names no workspace")?;
    let stream: Stream = first.subject.parse().map_err(|_| "the event names no stream")?;
    let delivered = deliverer.deliver(&workspace, &stream, events).await;
    delivered.map(|_| ()).map_err(|fault| fault.to_string())
}
