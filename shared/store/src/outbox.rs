//! What waits to be published, and which executions are open.

use crate::{Condition, OutboxRecord, PortError, Query, Store, Stream, Write, decode, keys};
use contracts::{ExecutionId, WorkspaceId, event::Entry, limits::TRANSACT_ITEMS_MAX};
use std::{collections::BTreeSet, ops::RangeInclusive};

/// Commits of one stream that are sent at once.
const OUTBOX_MAX: usize = TRANSACT_ITEMS_MAX;
/// Open executions, or outbox items, read at once.
pub(crate) const PAGE: usize = 500;

impl Store {
    /// Streams with events in the outbox.
    pub async fn outbox(&self) -> Result<BTreeSet<(WorkspaceId, Stream)>, PortError> {
        self.owners(keys::outbox_partition, keys::stream_owner).await
    }

    /// What of one stream waits in the outbox: the entries in order, and what [`Store::sent`]
    /// removes.
    pub async fn unsent(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
    ) -> Result<(Vec<Entry>, Vec<OutboxRecord>), PortError> {
        let (partition, prefix) = keys::outbox_of(workspace, stream);
        let items = self.query(&Query::prefix(partition, &prefix, OUTBOX_MAX)).await?;
        let records: Vec<OutboxRecord> =
            items.iter().map(|(key, item)| decode(key, &item.body)).collect::<Result<_, _>>()?;
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok((vec![], vec![]));
        };
        let between = first.from_seq..=last.to_seq;
        Ok((self.entries(workspace, stream, between, usize::MAX).await?, records))
    }

    /// The first `limit` of so many entries of a stream, in order.
    pub async fn entries(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        between: RangeInclusive<u64>,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let query = Query {
            partition: keys::stream(workspace, stream),
            from: keys::stream_event(workspace, stream, *between.start()).sort,
            to: keys::stream_event(workspace, stream, between.end() + 1).sort,
            limit,
            reverse: false,
        };
        let items = self.query(&query).await?;
        items.iter().map(|(key, item)| decode(key, &item.body)).collect()
    }

    /// Removes what was sent from the outbox.
    pub async fn sent(&self, records: &[OutboxRecord]) -> Result<(), PortError> {
        for chunk in records.chunks(TRANSACT_ITEMS_MAX) {
            let delete = |record: &OutboxRecord| Write::Delete {
                key: keys::outbox(&record.workspace, &record.stream, record.from_seq),
                condition: Condition::Any,
            };
            self.write(chunk.iter().map(delete).collect()).await?;
        }
        Ok(())
    }

    /// Executions that have not ended: what a restart and the sweep drive again.
    pub async fn open_executions(&self) -> Result<BTreeSet<(WorkspaceId, ExecutionId)>, PortError> {
        self.owners(keys::open_partition, keys::owner).await
    }

    /// So many of one workspace's executions that have not ended: work that does not grow with
    /// other tenants'.
    pub async fn open_executions_of(
        &self,
        workspace: &WorkspaceId,
        limit: usize,
    ) -> Result<Vec<ExecutionId>, PortError> {
        let mut found = Vec::new();
        for shard in 0..keys::WORK_SHARDS {
            let left = limit.saturating_sub(found.len());
            if left == 0 {
                break;
            }
            let query = Query::prefix(keys::open_partition(shard), &keys::open_of(workspace), left);
            let items = self.query(&query).await?;
            let owners = items.iter().filter_map(|(key, _)| keys::owner(&key.sort));
            found.extend(owners.map(|(_, id)| id));
        }
        Ok(found)
    }

    // By their keys: what cannot be read hides nothing else.
    async fn owners<T: Ord>(
        &self,
        partition: fn(u8) -> String,
        owner: fn(&str) -> Option<T>,
    ) -> Result<BTreeSet<T>, PortError> {
        let mut found = BTreeSet::new();
        for shard in 0..keys::WORK_SHARDS {
            let mut next = Some(Query::prefix(partition(shard), "", PAGE));
            while let Some(query) = next {
                let items = self.query(&query).await?;
                found.extend(items.iter().filter_map(|(key, _)| owner(&key.sort)));
                next = query.behind(&items);
            }
        }
        Ok(found)
    }
}
