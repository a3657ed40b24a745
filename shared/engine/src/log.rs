//! The workspace log: a hash-chained trace of everything that changes authority.
//!
//! INVARIANT (authority-is-on-record): a change and its events commit in one transaction. The events go to an *inbox*, each
//! under a key of its own, so that changes contend with nobody; whoever comes next chains what waits there onto the log:
//! the committer himself, right afterwards, else `sweep`, a reader or an export.
//! INVARIANT (append-only): chaining appends under compare-and-set on the log's head and empties the inbox in the same
//! transaction, so that an event is chained once.

use crate::{
    Answer, Caller, Engine, Stream, bodies, boxed, keys,
    ports::{Condition, Fault, Item, NotCommitted, Query, Write},
    query::entry,
    records::OutboxRecord,
    skills::page,
};
use contracts::{
    Code, Digest, Issue, Problem, Timestamp, WorkspaceId,
    event::{Actor, Event},
    limits::LOG_CHAINED_AT_ONCE_MAX,
    query::{GetWorkspaceLog, TraceHead, WorkspaceLog},
};
use cs_core::trace::{self, Broken, Stamp, Verifier};
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
    event: Event,
}

impl InboxRecord {
    fn new(stamp: Stamp, event: Event) -> Self {
        let Stamp { at, actor, key_id, subject, channel, traceparent } = stamp;
        Self { at, actor, key_id, subject, channel, traceparent, event }
    }
    fn into_parts(self) -> (Stamp, Event) {
        let Self { at, actor, key_id, subject, channel, traceparent, event } = self;
        (Stamp { at, actor, key_id, subject, channel, traceparent }, event)
    }
}

impl Engine {
    /// Commits a change of authority: its writes, and its events for the workspace log. `registry_changes` says that
    /// skills, or the trust in them, changed. False: the condition of one of `writes` does not hold.
    pub(crate) async fn journal(
        &self,
        caller: &Caller,
        events: Vec<Event>,
        writes: Vec<Write>,
        registry_changes: bool,
    ) -> Answer<bool> {
        let stamp = caller.stamp(self.now());
        self.journal_stamped(&caller.workspace, &stamp, events, writes, registry_changes).await
    }

    /// What the deployment does on its own authority is stamped with.
    pub(crate) fn deployment_stamp(&self) -> Stamp {
        Stamp { channel: Some("deployment".into()), ..Stamp::new(self.now(), crate::commit::system(), None) }
    }

    /// [`Engine::journal`], whoever it is that changes.
    pub(crate) async fn journal_stamped(
        &self,
        workspace: &WorkspaceId,
        stamp: &Stamp,
        events: Vec<Event>,
        mut writes: Vec<Write>,
        registry_changes: bool,
    ) -> Answer<bool> {
        writes.extend(self.inbox_writes(workspace, stamp, events)?);
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
    pub(crate) fn inbox_writes(
        &self,
        workspace: &WorkspaceId,
        stamp: &Stamp,
        events: Vec<Event>,
    ) -> Result<Vec<Write>, Fault> {
        let at = stamp.at;
        // What could never be chained is not committed: it would keep all that comes behind it from the log.
        trace::append(&mut trace::Head { seq: SEQ_LONGEST, ..trace::Head::default() }, stamp, events.clone())
            .map_err(|error| Fault::TooLarge(error.to_string()))?;
        let commit: String = self.ports.ids.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let put = |key, item| Write::Put { key, item, condition: Condition::NotExists };
        let mut writes =
            vec![put(keys::inbox_waiting(workspace, at, &commit), Item { version: 1, ..Item::default() })];
        for (index, event) in events.into_iter().enumerate() {
            let record = bodies::item(1, &InboxRecord::new(stamp.clone(), event))?;
            writes.push(put(keys::inbox(workspace, at, &commit, index), record));
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
        let (mut writes, mut first) = (Vec::new(), None);
        let (mut commits, mut unreadable) = (BTreeSet::new(), BTreeSet::new());
        let mut chained = 0;
        for (key, item) in &items {
            // One that cannot be read stays where it is, and is counted as waiting; it keeps no other from the log.
            let entries = bodies::decode::<InboxRecord>(key, &item.body).and_then(|record| {
                let (stamp, event) = record.into_parts();
                trace::append(&mut head, &stamp, vec![event]).map_err(|error| Fault::Corrupt(error.to_string()))
            });
            let entries = match entries {
                Ok(entries) => entries,
                Err(fault) => {
                    tracing::error!(workspace_id = %workspace, %fault, "an event cannot be chained onto the log");
                    unreadable.extend(keys::inbox_commit(&key.sort));
                    continue;
                }
            };
            chained += 1;
            for entry in entries {
                first = first.or(Some(entry.seq));
                let (key, item) = (keys::journal(workspace, entry.seq), bodies::item(1, &entry)?);
                writes.push(Write::Put { key, item, condition: Condition::NotExists });
            }
            writes.push(Write::Delete { key: key.clone(), condition: Condition::Exists });
            commits.extend(keys::inbox_commit(&key.sort).map(str::to_owned));
        }
        if chained == 0 {
            return Err(Fault::Corrupt("the events that wait for the log cannot be read".into()));
        }
        if items.len() == LOG_CHAINED_AT_ONCE_MAX {
            // Of the last commit there may be more.
            commits.pop_last();
        }
        let stream = Stream::Log;
        if let Some(first) = first {
            let item = Item { version: 1, ..Item::default() };
            let key = keys::unexported(workspace, &stream, first);
            writes.push(Write::Put { key, item, condition: Condition::Any });
            if self.stage_events() {
                let (to_seq, at) = (head.seq, self.now());
                let record = OutboxRecord { workspace: workspace.clone(), stream, from_seq: first, to_seq, at };
                let key = keys::outbox(workspace, &Stream::Log, first);
                writes.push(Write::Put { key, item: bodies::item(1, &record)?, condition: Condition::NotExists });
            }
        }
        let done = commits.iter().filter(|commit| !unreadable.contains(commit.as_str())).map(|commit| {
            Write::Delete { key: keys::inbox_waiting_of(workspace, commit), condition: Condition::Any }
        });
        writes.extend(done);
        let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
        writes.push(Write::Put { key: head_key, item: bodies::item(version + 1, &head)?, condition });
        match self.ports.table.transact(writes).await {
            Ok(()) => {
                self.ports.notifier.logged(workspace);
                Ok(Some(chained))
            }
            Err(NotCommitted::Condition(_)) => Ok(None),
            Err(NotCommitted::Fault(fault)) => Err(fault),
        }
    }

    /// Chains what waits in any inbox: the committer died before he came to it. Gives the count of logs that cannot be.
    pub(crate) async fn chain_waiting(&self) -> Result<u64, Fault> {
        let mut failed = 0;
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
                        failed += 1;
                    }
                }
                next = query.behind(&items);
            }
        }
        Ok(failed)
    }

    /// The workspace log, as stored.
    pub async fn workspace_trace(&self, workspace: &WorkspaceId) -> Result<Vec<Value>, Fault> {
        self.chain_log(workspace).await?;
        let partition = keys::journal_head(workspace).partition;
        let items = self.ports.table.query(&Query::prefix(partition, keys::EVENT, usize::MAX)).await?;
        items.iter().map(|(key, item)| bodies::decode(key, &item.body)).collect()
    }

    /// controlPlane.workspace.log: a page of the log. It changes nothing (INVARIANT get-never-mutates): what waits to be
    /// chained is counted, not chained.
    #[boxed]
    pub async fn workspace_log(&self, caller: &Caller, request: GetWorkspaceLog) -> Answer<WorkspaceLog> {
        caller.require_whole("control-plane.audit")?;
        let limit = page(request.limit)?;
        let from = match request.cursor.as_deref().map(str::parse::<u64>) {
            None => 1,
            Some(Ok(seq)) if seq > 0 => seq,
            Some(Ok(_) | Err(_)) => {
                let problem = Problem::new(Code::ValidationFailed, "the cursor is not one that was given out");
                return Err(problem.issue(Issue::new("/cursor", "take `next` as it was given")));
            }
        };
        let workspace = &caller.workspace;
        let head_key = keys::journal_head(workspace);
        let inbox = Query::prefix(keys::inbox_partition(workspace), keys::INBOX, LOG_CHAINED_AT_ONCE_MAX);
        let waiting = self.ports.table.query(&inbox).await?.len() as u32;
        let head: trace::Head = match self.ports.table.get(&head_key).await? {
            Some(item) => bodies::decode(&head_key, &item.body)?,
            None => trace::Head::default(),
        };
        // With the entry before the page, which the page's first must follow; up to the head that was read.
        let query = Query {
            partition: head_key.partition,
            from: keys::journal(workspace, from.saturating_sub(1)).sort,
            to: keys::journal(workspace, head.seq + 1).sort,
            limit: limit + 1,
            reverse: false,
        };
        let mut entries: Vec<Value> = Vec::new();
        for (_, item) in self.ports.table.query(&query).await? {
            // An entry that cannot be read is shown as such: verification names it.
            let shown = || Value::String(String::from_utf8_lossy(&item.body).into_owned());
            entries.push(serde_json::from_slice(&item.body).unwrap_or_else(|_| shown()));
        }
        let before = if from > 1 && !entries.is_empty() { Some(entries.remove(0)) } else { None };
        entries.truncate(limit);
        let last = from + entries.len() as u64 - 1;
        let problem = self.check_page(from, before.as_ref(), &entries, &head).err().map(|why| why.to_string());
        Ok(WorkspaceLog {
            entries: entries.into_iter().map(entry).collect(),
            verified: problem.is_none(),
            problem,
            waiting,
            next: (last < head.seq).then(|| (last + 1).to_string()),
            head: TraceHead { seq: head.seq, hash: head.hash, sealed: false },
        })
    }

    // The entries follow one another and the one before; the last of all is the head.
    fn check_page(
        &self,
        from: u64,
        before: Option<&Value>,
        entries: &[Value],
        head: &trace::Head,
    ) -> Result<(), Broken> {
        let hash = before.and_then(|entry| entry.get("hash")?.as_str()?.parse().ok());
        let behind = trace::Head { seq: from - 1, hash: hash.unwrap_or_else(Digest::zero) };
        let mut verifier = Verifier::behind(behind);
        entries.iter().try_for_each(|entry| verifier.push(entry))?;
        if from + entries.len() as u64 > head.seq { verifier.finish(head) } else { Ok(()) }
    }
}
