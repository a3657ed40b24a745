//! Stage events: the outbox's way out. At least once, in order per stream; the same event has the
//! same id.

use crate::{Base, Parts, Transparency, boxed, ports::Publisher, run::call::webhook_signature};
use contracts::{
    Timestamp, WorkspaceId,
    event::{CloudEvent, Entry},
};
use countersign_store::{OutboxRecord, PortError, Stream};
use std::sync::Arc;

/// Open executions, or outbox items, read at once.
pub(crate) const PAGE: usize = 500;

/// A trace entry as published (CloudEvents 1.0).
pub fn cloud_event(workspace: &WorkspaceId, stream: &Stream, entry: Entry) -> CloudEvent {
    CloudEvent {
        specversion: "1.0".into(),
        id: entry.hash,
        source: format!("countersign/{workspace}"),
        subject: stream.to_string(),
        event: entry.event,
        time: entry.at,
        datacontenttype: "application/json".into(),
        sequence: entry.seq,
        actor: entry.actor.id,
        actorkind: Some(entry.actor.kind),
        keyid: entry.key_id,
        onbehalfof: entry.subject,
        channel: entry.channel,
        traceparent: entry.traceparent,
        extensions: Default::default(),
    }
}

/// Headers of a stage event's delivery, by Standard Webhooks. `None` where the secret is not one.
pub fn webhook_headers(
    secrets: &[String],
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> Option<[(&'static str, String); 3]> {
    let signature = webhook_signature(secrets, id, at, body)?;
    Some([
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", (at.ms() / 1_000).to_string()),
        ("webhook-signature", signature),
    ])
}

/// The way of stage events out of the outbox.
pub struct Relay {
    pub(crate) base: Arc<Base>,
    pub(crate) transparency: Arc<Transparency>,
}

impl Relay {
    pub(crate) fn new(parts: &Parts, transparency: Arc<Transparency>) -> Self {
        Self { base: parts.base.clone(), transparency }
    }

    /// Publishes what of one stream waits in the outbox; where the stream ends with it, its head
    /// goes into the transparency log. Gives what is out, for [`Engine::sent`],
    /// and why not all.
    #[boxed]
    pub async fn publish(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        publisher: &dyn Publisher,
    ) -> (Vec<OutboxRecord>, Result<(), PortError>) {
        let (entries, mut records) = match self.base.store.unsent(workspace, stream).await {
            Ok(unsent) => unsent,
            Err(fault) => return (Vec::new(), Err(fault)),
        };
        let events: Vec<CloudEvent> =
            entries.into_iter().map(|entry| cloud_event(workspace, stream, entry)).collect();
        let (count, outcome) = publisher.publish(workspace, &events).await;
        // What fails here waits for `sweep`: subscribers do not.
        if records.iter().any(|record| record.ends)
            && let Err(fault) = self.transparency.append(workspace).await
        {
            tracing::warn!(%workspace, %stream, %fault, "a head waits for the transparency log");
        }
        if let Some(waits) = events.get(count) {
            records.retain(|record| record.to_seq < waits.sequence);
        }
        (records, outcome)
    }
}
