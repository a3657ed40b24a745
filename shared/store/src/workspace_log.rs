//! The workspace log: a hash-chained trace of everything that changes authority.
//!
//! INVARIANT (authority-is-on-record): a change and its events commit in one transaction. The
//! events go to an *inbox*, each under a key of its own, so that changes contend with nobody;
//! whoever comes next chains what waits there onto the log: the committer himself, right
//! afterwards, else `sweep`, a reader or an export. INVARIANT (append-only): chaining appends under
//! compare-and-set on the log's head and empties the inbox in the same transaction, so that an
//! event is chained once.

use crate::{
    Condition, Item, PortError, Query, Record, Store, Stream, Write,
    append::{Append, Lists},
    decode, item, keys,
    outbox::PAGE,
};
use contracts::{
    Timestamp, WorkspaceId,
    event::{Actor, WorkspaceEvent},
    limits::LOG_CHAINED_AT_ONCE_MAX,
};
use cs_core::trace::{self, Stamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// Transactions that one chaining tries, its own and those that somebody else was faster with.
const CHAIN_TRIES_MAX: u32 = 200;
/// A place in the log with as many digits as any.
const SEQ_LONGEST: u64 = 1 << 52;

/// An event that waits to be chained.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InboxRecord {
    at: Timestamp,
    actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    event: WorkspaceEvent,
}

impl InboxRecord {
    fn new(stamp: Stamp, event: WorkspaceEvent) -> Self {
        let Stamp { at, actor, key_id, subject, channel, traceparent } = stamp;
        Self { at, actor, key_id, subject, channel, traceparent, event }
    }
    fn into_parts(self) -> (Stamp, WorkspaceEvent) {
        let Self { at, actor, key_id, subject, channel, traceparent, event } = self;
        (Stamp { at, actor, key_id, subject, channel, traceparent }, event)
    }
}

impl Store {
    /// Chains what a commit left in the inbox. A failure here is made good by who comes next. One
    /// try: a kill switch answers at once, whatever others do to the log.
    pub(crate) async fn chain_after_commit(&self, workspace: &WorkspaceId) {
        if let Err(fault) = self.chain_some(workspace).await {
            tracing::warn!(
                workspace_id = %workspace, %fault,
                "events of the workspace log wait in its inbox"
            );
        }
    }

    /// Puts events into the inbox of the workspace log: for a transaction of one's own.
    /// [`Store::chain_log`] afterwards.
    pub fn inbox_writes(
        &self,
        workspace: &WorkspaceId,
        stamp: &Stamp,
        events: Vec<WorkspaceEvent>,
    ) -> Result<Vec<Write>, PortError> {
        let at = stamp.at;
        // What could never be chained is not committed: it would keep all that comes behind it from
        // the log.
        trace::append(
            &mut trace::Head { seq: SEQ_LONGEST, ..trace::Head::default() },
            stamp,
            events.clone(),
        )
        .map_err(|error| PortError::TooLarge(error.to_string()))?;
        let commit = self.fresh_id();
        let put = |key, item| Write::Put { key, item, condition: Condition::NotExists };
        let mut writes = vec![put(
            keys::inbox_waiting(workspace, at, &commit),
            Item { version: 1, ..Item::default() },
        )];
        for (index, event) in events.into_iter().enumerate() {
            let record = item(1, &InboxRecord::new(stamp.clone(), event))?;
            writes.push(put(keys::inbox(workspace, at, &commit, index), record));
        }
        Ok(writes)
    }

    // A version that nobody has seen, written whatever was there: what is kept of the registry
    // compares versions for equality only, and so changes of it contend with nothing.
    pub(crate) fn registry_write(&self, workspace: &WorkspaceId) -> Result<Write, PortError> {
        let item = item(self.fresh_version(), &())?;
        Ok(Write::Put { key: keys::registry(workspace), item, condition: Condition::Any })
    }

    /// Chains what waits in the inbox of a workspace's log.
    pub async fn chain_log(&self, workspace: &WorkspaceId) -> Result<(), PortError> {
        for _ in 0..CHAIN_TRIES_MAX {
            if self.chain_some(workspace).await? == Some(0) {
                return Ok(());
            }
        }
        Err(PortError::Unavailable("the workspace log is being appended to".into()))
    }

    // One transaction's worth. None: the log is another than was seen.
    async fn chain_some(&self, workspace: &WorkspaceId) -> Result<Option<u64>, PortError> {
        let waiting =
            Query::prefix(keys::inbox_partition(workspace), keys::INBOX, LOG_CHAINED_AT_ONCE_MAX);
        let items = self.query(&waiting).await?;
        if items.is_empty() {
            return Ok(Some(0));
        }
        let head_key = keys::journal_head(workspace);
        let stored: Record<trace::Head> = self.record(&head_key).await?;
        let mut append = Append::new(workspace, Stream::Log, stored.value.clone());
        let mut writes = Vec::new();
        let (mut commits, mut unreadable) = (BTreeSet::new(), BTreeSet::new());
        let mut chained = 0;
        for (key, waits) in &items {
            // One that cannot be read stays where it is, and is counted as waiting; it keeps no
            // other from the log.
            let record = decode::<InboxRecord>(key, &waits.body);
            let pushed = record.and_then(|record| {
                let (stamp, event) = record.into_parts();
                append.push(&stamp, vec![event])
            });
            if let Err(fault) = pushed {
                tracing::error!(workspace_id = %workspace, %fault, "an event cannot be chained");
                unreadable.extend(keys::inbox_commit(&key.sort));
                continue;
            }
            chained += 1;
            writes.push(Write::Delete { key: key.clone(), condition: Condition::Exists });
            commits.extend(keys::inbox_commit(&key.sort).map(str::to_owned));
        }
        if chained == 0 {
            return Err(PortError::Corrupt(
                "the events that wait for the log cannot be read".into(),
            ));
        }
        if items.len() == LOG_CHAINED_AT_ONCE_MAX {
            // Of the last commit there may be more.
            commits.pop_last();
        }
        writes.extend(append.writes(self, self.now(), Lists { exports: true, ends: true })?);
        let done = commits.iter().filter(|commit| !unreadable.contains(commit.as_str()));
        writes.extend(done.map(|commit| Write::Delete {
            key: keys::inbox_waiting_of(workspace, commit),
            condition: Condition::Any,
        }));
        writes.push(stored.replace(head_key, &append.head)?);
        if !self.write(writes).await? {
            return Ok(None);
        }
        self.notifier.logged(workspace);
        Ok(Some(chained))
    }

    /// Chains what waits in any inbox: the committer died before he came to it. Gives the count of
    /// logs that cannot be.
    pub async fn chain_waiting(&self) -> Result<u64, PortError> {
        let mut failed = 0;
        for shard in 0..keys::WORK_SHARDS {
            let mut next = Some(Query::prefix(keys::inbox_waiting_partition(shard), "", PAGE));
            while let Some(query) = next {
                let items = self.query(&query).await?;
                let workspaces: BTreeSet<WorkspaceId> = items
                    .iter()
                    .filter_map(|(key, _)| key.sort.split('#').next()?.parse().ok())
                    .collect();
                for workspace in workspaces {
                    // One log that cannot be read keeps no other waiting.
                    if let Err(fault) = self.chain_log(&workspace).await {
                        tracing::error!(
                            workspace_id = %workspace, %fault,
                            "the workspace log cannot be chained"
                        );
                        failed += 1;
                    }
                }
                next = query.behind(&items);
            }
        }
        Ok(failed)
    }

    /// The workspace log, as stored.
    pub async fn workspace_trace(&self, workspace: &WorkspaceId) -> Result<Vec<Value>, PortError> {
        self.chain_log(workspace).await?;
        let partition = keys::journal_head(workspace).partition;
        let items = self.query(&Query::prefix(partition, keys::EVENT, usize::MAX)).await?;
        items.iter().map(|(key, item)| decode(key, &item.body)).collect()
    }
}
