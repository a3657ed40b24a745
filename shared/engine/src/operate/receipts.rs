//! Receipts that are stuck: what came in through a channel was acknowledged and not worked on.

use crate::{
    Sweep,
    intents::receipts::{SINCE, note},
};
use countersign_store::{Condition, PortError, Query, Write, keys};

/// A note is left alone for so long, in milliseconds: its work may be under way.
const GRACE_MS: i64 = 90_000;
/// Notes of one shard that one sweep looks at: the oldest come first, and the rest the next time.
const PAGE: usize = 200;

impl Sweep {
    /// Puts another note in the place of each that is old: its coming is told as the first one's
    /// was. Says how many.
    pub(crate) async fn requeue_receipts(&self) -> Result<u64, PortError> {
        let (now, mut requeued) = (self.base.now(), 0);
        for shard in 0..keys::WORK_SHARDS {
            let query = Query::prefix(keys::inbound_partition(shard), "", PAGE);
            for (key, item) in self.base.store.query(&query).await? {
                let since = item.fields.get(SINCE).copied().unwrap_or_default();
                let named = keys::inbound_of(&key.sort);
                let Some((workspace, id, round)) =
                    named.filter(|_| now.ms().saturating_sub(since) >= GRACE_MS)
                else {
                    continue;
                };
                let condition = Condition::VersionIs(item.version);
                let writes = vec![
                    Write::Delete { key, condition },
                    note(&workspace, &id, round.saturating_add(1), now),
                ];
                requeued += u64::from(self.base.store.write(writes).await?);
            }
        }
        if requeued > 0 {
            self.base.ports.notifier.came_in();
        }
        Ok(requeued)
    }
}
