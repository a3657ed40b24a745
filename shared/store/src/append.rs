//! Appending to a log: an execution's trace or the workspace log, in the same way.
//!
//! INVARIANT (append-only): entries follow the head that was read, each under a key that must not
//! exist; who writes the head compares its version in the same transaction. What is appended is
//! published (outbox) and exported by writes of that transaction, too.

use crate::{
    Condition, Item, OutboxRecord, PortError, Store, Stream, Write, item, keys,
    transparency::leaf_write,
};
use contracts::{
    Timestamp, WorkspaceId,
    event::{Entry, Event},
    evidence::LogLeaf,
};
use cs_core::trace::{self, Stamp};

/// Lists of work that what is appended is put onto.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lists {
    /// Of what is to be exported.
    pub(crate) exports: bool,
    /// Of ends that are to go into the transparency log.
    pub(crate) ends: bool,
}

/// Events on their way to the end of a log.
pub(crate) struct Append<'a> {
    workspace: &'a WorkspaceId,
    stream: Stream,
    pub(crate) head: trace::Head,
    pub(crate) entries: Vec<Entry>,
}

impl<'a> Append<'a> {
    /// Behind a head.
    pub(crate) fn new(workspace: &'a WorkspaceId, stream: Stream, head: trace::Head) -> Self {
        Self { workspace, stream, head, entries: Vec::new() }
    }

    /// Chains the next events. Where it fails nothing of them is chained.
    pub(crate) fn push(
        &mut self,
        stamp: &Stamp,
        events: impl IntoIterator<Item = impl Into<Event>>,
    ) -> Result<(), PortError> {
        let mut head = self.head.clone();
        let entries = trace::append(&mut head, stamp, events)
            .map_err(|error| PortError::Corrupt(error.to_string()))?;
        self.head = head;
        self.entries.extend(entries);
        Ok(())
    }

    /// The writes of all but the head.
    pub(crate) fn writes(
        &self,
        store: &Store,
        at: Timestamp,
        lists: Lists,
    ) -> Result<Vec<Write>, PortError> {
        let (workspace, stream) = (self.workspace, &self.stream);
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else {
            return Ok(Vec::new());
        };
        let new = |key, item| Write::Put { key, item, condition: Condition::NotExists };
        let mut writes = Vec::new();
        for entry in &self.entries {
            writes.push(new(keys::stream_event(workspace, stream, entry.seq), item(1, entry)?));
        }
        if store.stage_events() {
            let record = OutboxRecord {
                workspace: workspace.clone(),
                stream: stream.clone(),
                from_seq: first.seq,
                to_seq: last.seq,
                at,
                ends: lists.ends,
            };
            writes.push(new(keys::outbox(workspace, stream, first.seq), item(1, &record)?));
        }
        if lists.ends {
            let (seq, hash, at) = (last.seq, last.hash.clone(), last.at);
            let leaf = LogLeaf { stream: stream.clone(), seq, hash, at };
            writes.push(leaf_write(workspace, &leaf)?);
        }
        if lists.exports {
            let item = Item { version: 1, ..Item::default() };
            let key = keys::unexported(workspace, stream, first.seq);
            writes.push(Write::Put { key, item, condition: Condition::Any });
        }
        Ok(writes)
    }
}
