//! Stage events: the outbox's way out. At least once, in order per stream; the same event has the same id.

use crate::{
    Answer, Engine, Stream, bodies, boxed,
    call::webhook_signature,
    keys,
    ports::{Condition, Fault, Publisher, Query, Write},
    records::OutboxRecord,
};
use contracts::{
    ExecutionId, Timestamp, WorkspaceId,
    event::{CloudEvent, Entry},
    limits::TRANSACT_ITEMS_MAX,
};
use std::collections::BTreeSet;

/// Commits of one stream that are sent at once.
const OUTBOX_MAX: usize = TRANSACT_ITEMS_MAX;
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

impl Engine {
    /// Streams with events in the outbox.
    pub async fn outbox(&self) -> Result<BTreeSet<(WorkspaceId, Stream)>, Fault> {
        self.owners(keys::outbox_partition, keys::stream_owner).await
    }

    /// What of one stream waits in the outbox: the events in order, and what [`Engine::sent`] removes.
    pub async fn unsent(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
    ) -> Result<(Vec<CloudEvent>, Vec<OutboxRecord>), Fault> {
        let (partition, prefix) = keys::outbox_of(workspace, stream);
        let items = self.ports.table.query(&Query::prefix(partition, &prefix, OUTBOX_MAX)).await?;
        let records: Vec<OutboxRecord> =
            items.iter().map(|(key, item)| bodies::decode(key, &item.body)).collect::<Result<_, _>>()?;
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok((vec![], vec![]));
        };
        let query = Query {
            partition: keys::stream(workspace, stream),
            from: keys::stream_event(workspace, stream, first.from_seq).sort,
            to: keys::stream_event(workspace, stream, last.to_seq + 1).sort,
            limit: usize::MAX,
            reverse: false,
        };
        let mut events = Vec::new();
        for (key, item) in self.ports.table.query(&query).await? {
            let entry: Entry = bodies::decode(&key, &item.body)?;
            events.push(cloud_event(workspace, stream, entry));
        }
        Ok((events, records))
    }

    /// Publishes what of one stream waits in the outbox. Gives what is out, for [`Engine::sent`], and why not all.
    #[boxed]
    pub async fn publish(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        publisher: &dyn Publisher,
    ) -> (Vec<OutboxRecord>, Result<(), Fault>) {
        let (events, mut records) = match self.unsent(workspace, stream).await {
            Ok(unsent) => unsent,
            Err(fault) => return (Vec::new(), Err(fault)),
        };
        let (count, outcome) = publisher.publish(workspace, &events).await;
        if let Some(waits) = events.get(count) {
            records.retain(|record| record.to_seq < waits.sequence);
        }
        (records, outcome)
    }

    /// Removes what was sent from the outbox.
    #[boxed]
    pub async fn sent(&self, records: &[OutboxRecord]) -> Answer<()> {
        for chunk in records.chunks(TRANSACT_ITEMS_MAX) {
            let delete = |record: &OutboxRecord| Write::Delete {
                key: keys::outbox(&record.workspace, &record.stream, record.from_seq),
                condition: Condition::Any,
            };
            self.ports.table.transact(chunk.iter().map(delete).collect()).await.map_err(|error| match error {
                crate::ports::NotCommitted::Fault(fault) => fault,
                crate::ports::NotCommitted::Condition(_) => Fault::Unavailable("an outbox item changed".into()),
            })?;
        }
        Ok(())
    }

    /// Executions that have not ended: what a restart and [`Engine::sweep`] drive again.
    pub async fn open_executions(&self) -> Result<BTreeSet<(WorkspaceId, ExecutionId)>, Fault> {
        self.owners(keys::open_partition, keys::owner).await
    }

    /// So many of one workspace's executions that have not ended: work that does not grow with other tenants'.
    pub(crate) async fn open_of(&self, workspace: &WorkspaceId, limit: usize) -> Result<Vec<ExecutionId>, Fault> {
        let mut found = Vec::new();
        for shard in 0..keys::WORK_SHARDS {
            let left = limit.saturating_sub(found.len());
            if left == 0 {
                break;
            }
            let query = Query::prefix(keys::open_partition(shard), &keys::open_of(workspace), left);
            let items = self.ports.table.query(&query).await?;
            found.extend(items.iter().filter_map(|(key, _)| keys::owner(&key.sort)).map(|(_, id)| id));
        }
        Ok(found)
    }

    // By their keys: what cannot be read hides nothing else.
    async fn owners<T: Ord>(
        &self,
        partition: fn(u8) -> String,
        owner: fn(&str) -> Option<T>,
    ) -> Result<BTreeSet<T>, Fault> {
        let mut found = BTreeSet::new();
        for shard in 0..keys::WORK_SHARDS {
            let mut next = Some(Query::prefix(partition(shard), "", PAGE));
            while let Some(query) = next {
                let items = self.ports.table.query(&query).await?;
                found.extend(items.iter().filter_map(|(key, _)| owner(&key.sort)));
                next = query.behind(&items);
            }
        }
        Ok(found)
    }
}
