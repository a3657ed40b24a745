//! The workspace log: a hash-chained trace of everything that changes authority.
//!
//! INVARIANT (authority-is-on-record): a change and its events commit in one transaction. The events go to an *inbox*, each
//! under a key of its own, so that changes contend with nobody; whoever comes next chains what waits there onto the log:
//! the committer himself, right afterwards, else `sweep`, a reader or an export.
//! INVARIANT (append-only): chaining appends under compare-and-set on the log's head and empties the inbox in the same
//! transaction, so that an event is chained once.

use crate::{
    Answer, Caller, Engine, bodies, keys,
    ports::{Condition, Fault, Item, NotCommitted, Query, Write},
};
use contracts::{
    Timestamp, WorkspaceId,
    event::{Actor, Event},
    limits::LOG_CHAINED_AT_ONCE_MAX,
};
use cs_core::trace::{self, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Transactions that one chaining tries, its own and those that somebody else was faster with.
const CHAIN_TRIES_MAX: u32 = 200;

/// An event that waits to be chained.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InboxRecord {
    at: Timestamp,
    actor: Actor,
    /// How the actor was authenticated.
    channel: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    event: Event,
}

impl Engine {
    /// Commits a change of authority: its writes, and its events for the workspace log. `registry_changes` says that
    /// skills, or the trust in them, changed. False: the condition of one of `writes` does not hold.
    pub(crate) async fn journal(
        &self,
        caller: &Caller,
        events: Vec<Event>,
        mut writes: Vec<Write>,
        registry_changes: bool,
    ) -> Answer<bool> {
        let workspace = &caller.workspace;
        writes.extend(self.inbox_writes(caller, events)?);
        if registry_changes {
            writes.push(self.registry_changed(workspace)?);
        }
        match self.ports.table.transact(writes).await {
            Ok(()) => {}
            Err(NotCommitted::Condition(_)) => return Ok(false),
            Err(NotCommitted::Fault(fault)) => return Err(fault.into()),
        }
        // The change is made, and its events are safe in the inbox: a failure here is made good by who comes next.
        // One try: a kill switch answers at once, whatever others do to the log.
        if let Err(fault) = self.chain_some(workspace).await {
            tracing::warn!(workspace_id = %workspace, %fault, "events of the workspace log wait in its inbox");
        }
        Ok(true)
    }

    /// Puts events into the inbox of the workspace log: for a transaction of one's own. [`Engine::chain_log`] afterwards.
    pub(crate) fn inbox_writes(&self, caller: &Caller, events: Vec<Event>) -> Result<Vec<Write>, Fault> {
        let (workspace, at) = (&caller.workspace, self.now());
        let commit: String = self.ports.ids.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let put = |key, item| Write::Put { key, item, condition: Condition::NotExists };
        let mut writes =
            vec![put(keys::inbox_waiting(workspace, at, &commit), Item { version: 1, ..Item::default() })];
        for (index, event) in events.into_iter().enumerate() {
            let record = InboxRecord {
                at,
                actor: caller.actor.clone(),
                channel: caller.channel.clone(),
                traceparent: caller.traceparent.clone(),
                event,
            };
            writes.push(put(keys::inbox(workspace, at, &commit, index), bodies::item(1, &record)?));
        }
        Ok(writes)
    }

    // A version that nobody has seen, written whatever was there: what is kept of the registry compares versions for
    // equality only, and so changes of it contend with nothing.
    fn registry_changed(&self, workspace: &WorkspaceId) -> Result<Write, Fault> {
        let [a, b, c, d, e, f, g, h, ..] = self.ports.ids.secret();
        // Any adapter's numbers hold 62 bits.
        let version = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 2;
        let item = bodies::item(version.max(1), &())?;
        Ok(Write::Put { key: keys::registry(workspace), item, condition: Condition::Any })
    }

    /// Chains what waits in the inbox of a workspace's log.
    pub async fn chain_log(&self, workspace: &WorkspaceId) -> Result<(), Fault> {
        for _ in 0..CHAIN_TRIES_MAX {
            if self.chain_some(workspace).await? == Some(0) {
                return Ok(());
            }
        }
        Err(Fault::Unavailable("the workspace log is being appended to".into()))
    }

    // One transaction's worth. None: the log is another than was seen.
    async fn chain_some(&self, workspace: &WorkspaceId) -> Result<Option<u64>, Fault> {
        let head_key = keys::journal_head(workspace);
        let waiting = Query::prefix(keys::inbox_partition(workspace), keys::INBOX, LOG_CHAINED_AT_ONCE_MAX);
        let items = self.ports.table.query(&waiting).await?;
        if items.is_empty() {
            return Ok(Some(0));
        }
        let stored = self.ports.table.get(&head_key).await?;
        let version = stored.as_ref().map_or(0, |item| item.version);
        let mut head: trace::Head = match &stored {
            Some(item) => bodies::decode(&head_key, &item.body)?,
            None => trace::Head::default(),
        };
        let mut writes = Vec::new();
        let mut commits = BTreeSet::new();
        for (key, item) in &items {
            let record: InboxRecord = bodies::decode(key, &item.body)?;
            let stamp = Stamp { at: record.at, actor: record.actor, traceparent: record.traceparent };
            let entries = trace::append(&mut head, &stamp, vec![record.event]);
            for entry in entries.map_err(|error| Fault::Corrupt(error.to_string()))? {
                let (key, item) = (keys::journal(workspace, entry.seq), bodies::item(1, &entry)?);
                writes.push(Write::Put { key, item, condition: Condition::NotExists });
            }
            writes.push(Write::Delete { key: key.clone(), condition: Condition::Exists });
            commits.extend(keys::inbox_commit(&key.sort).map(str::to_owned));
        }
        if items.len() == LOG_CHAINED_AT_ONCE_MAX {
            // Of the last commit there may be more.
            commits.pop_last();
        }
        let done = commits.iter().map(|commit| Write::Delete {
            key: keys::inbox_waiting_of(workspace, commit),
            condition: Condition::Any,
        });
        writes.extend(done);
        let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
        writes.push(Write::Put { key: head_key, item: bodies::item(version + 1, &head)?, condition });
        match self.ports.table.transact(writes).await {
            Ok(()) => Ok(Some(items.len() as u64)),
            Err(NotCommitted::Condition(_)) => Ok(None),
            Err(NotCommitted::Fault(fault)) => Err(fault),
        }
    }

    /// Chains what waits in any inbox: the committer died before he came to it.
    pub(crate) async fn chain_waiting(&self) -> Result<(), Fault> {
        for shard in 0..keys::WORK_SHARDS {
            let mut next = Some(Query::prefix(keys::inbox_waiting_partition(shard), "", crate::relay::PAGE));
            while let Some(query) = next {
                let items = self.ports.table.query(&query).await?;
                let workspaces: BTreeSet<WorkspaceId> =
                    items.iter().filter_map(|(key, _)| key.sort.split('#').next()?.parse().ok()).collect();
                for workspace in workspaces {
                    // One log that cannot be read keeps no other waiting.
                    if let Err(fault) = self.chain_log(&workspace).await {
                        tracing::error!(workspace_id = %workspace, %fault, "the workspace log cannot be chained");
                    }
                }
                next = query.behind(&items);
            }
        }
        Ok(())
    }

    /// The workspace log, as stored.
    pub async fn workspace_trace(&self, workspace: &WorkspaceId) -> Result<Vec<serde_json::Value>, Fault> {
        self.chain_log(workspace).await?;
        let partition = keys::journal_head(workspace).partition;
        let items = self.ports.table.query(&Query::prefix(partition, keys::EVENT, usize::MAX)).await?;
        items.iter().map(|(key, item)| bodies::decode(key, &item.body)).collect()
    }
}
