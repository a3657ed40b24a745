//! What is not exported yet: a list of work, not a span of time, so that no clock that jumps makes
//! an export pass over anything.
//!
//! The first commit of an execution puts its trace onto the list, and so does every commit after
//! its end; chaining puts the workspace log there. An item says from which event on. An export
//! takes a trace as far as it goes, and leaves an item for what comes behind unless the execution
//! has ended.

use crate::{
    Exports, cloud_event,
    evidence::documents::{Named, named},
    operate::relay::PAGE,
};
use contracts::{Digest, Timestamp, WorkspaceId, event::Entry};
use countersign_store::{HeadRecord, PortError, Query, Store, Stream, keys};
use cs_core::trace::{ChainError, Head, Verifier};
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};

/// Events read at once.
const EVENTS_PAGE: usize = 500;
/// A segment is cut when it has so many bytes, uncompressed.
pub(crate) const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
/// An event whose time is so far ahead of the export's, in milliseconds, has it from a clock that
/// was wrong: no hour is awaited for it.
const AHEAD_MS: i64 = 2 * keys::HOUR_MS;

/// Which events are to be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Those before a moment, in the order in which they were committed.
    Moment(Timestamp),
    /// Those up to a sequence number: what was taken before is taken in the same way.
    Sequence(u64),
}

/// Events of a stream, verified.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Lines of JSON.
    pub(crate) text: Vec<u8>,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Hash of the event before the first.
    pub(crate) prev: Digest,
    /// Hash of the last.
    pub(crate) hash: Digest,
    /// Events whose time is far ahead.
    pub(crate) ahead: u64,
    /// Documents that the events name.
    pub(crate) names: BTreeSet<Named>,
}

/// Where a stream ends now.
pub(crate) struct End {
    pub(crate) head: Head,
    /// A commit may add to it without putting it onto the list.
    pub(crate) open: bool,
}

/// The list of work, in order of workspace and stream, whichever shard it is in.
pub(crate) struct Work {
    shards: Vec<(VecDeque<String>, Option<Query>)>,
}

impl Work {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// What one workspace has.
    pub(crate) fn of(workspace: &WorkspaceId) -> Self {
        Self::with(&format!("{workspace}#"))
    }

    fn with(prefix: &str) -> Self {
        let query = |shard| Query::prefix(keys::unexported_partition(shard), prefix, PAGE);
        Self {
            shards: (0..keys::WORK_SHARDS)
                .map(|shard| (VecDeque::new(), Some(query(shard))))
                .collect(),
        }
    }

    /// The next streams of one workspace, at most so many.
    pub(crate) async fn next(
        &mut self,
        store: &Store,
        most: usize,
    ) -> Result<Option<(WorkspaceId, Vec<Stream>)>, PortError> {
        let mut found: Option<(WorkspaceId, Vec<Stream>)> = None;
        while let Some(sort) = self.first(store).await? {
            let Some((workspace, stream)) = keys::stream_owner(&sort) else {
                tracing::error!(sort, "an item of the export's list cannot be read");
                self.pop(&sort);
                continue;
            };
            match &mut found {
                None => found = Some((workspace, vec![stream])),
                Some((of, streams)) if *of == workspace && streams.last() == Some(&stream) => {}
                Some((of, streams)) if *of == workspace && streams.len() < most => {
                    streams.push(stream)
                }
                Some(_) => break,
            }
            self.pop(&sort);
        }
        Ok(found)
    }

    async fn first(&mut self, store: &Store) -> Result<Option<String>, PortError> {
        for (items, next) in &mut self.shards {
            if items.is_empty()
                && let Some(query) = next.take()
            {
                let page = store.query(&query).await?;
                *next = query.behind(&page);
                items.extend(page.into_iter().map(|(key, _)| key.sort));
            }
        }
        Ok(self.shards.iter().filter_map(|(items, _)| items.front()).min().cloned())
    }

    fn pop(&mut self, sort: &str) {
        for (items, _) in &mut self.shards {
            if items.front().is_some_and(|first| first == sort) {
                items.pop_front();
            }
        }
    }
}

impl Exports {
    /// From which event on a stream is not exported; none where all of it is.
    pub(crate) async fn unexported(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
    ) -> Result<Option<u64>, PortError> {
        let (partition, prefix) = keys::unexported_of(workspace, stream);
        let items = self.base.store.query(&Query::prefix(partition, &prefix, 1)).await?;
        Ok(items.first().and_then(|(key, _)| keys::unexported_from(&key.sort)))
    }

    /// Where a stream ends.
    pub(crate) async fn end(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
    ) -> Result<End, PortError> {
        let key = match stream {
            Stream::Log => keys::journal_head(workspace),
            Stream::Trace(id) => keys::head(workspace, id),
        };
        let item = self.base.store.get(&key).await?;
        let item = item.ok_or_else(|| PortError::Corrupt(format!("{stream} has no head")))?;
        Ok(match stream {
            // Chaining puts the log onto the list each time.
            Stream::Log => End { head: countersign_store::decode(&key, &item.body)?, open: false },
            Stream::Trace(id) => {
                let record: HeadRecord = countersign_store::decode(&key, &item.body)?;
                if record.execution.id != *id {
                    return Err(PortError::Corrupt(format!(
                        "what is stored as {id} is another execution"
                    )));
                }
                End { head: record.chain, open: !record.execution.status.ended() }
            }
        })
    }

    /// Reads and verifies a segment. A fault that says `corrupt` is about this stream alone.
    pub(crate) async fn segment(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        from: u64,
        until: Until,
    ) -> Result<(Segment, End), PortError> {
        let end = self.end(workspace, stream).await?;
        let last = match until {
            Until::Moment(_) => end.head.seq,
            Until::Sequence(seq) => seq,
        };
        let prev = self.hash_before(workspace, stream, from).await?;
        let mut verifier = Verifier::behind(Head { seq: from - 1, hash: prev.clone() });
        let mut found = Segment {
            text: Vec::new(),
            from,
            to: from - 1,
            prev: prev.clone(),
            hash: prev,
            ahead: 0,
            names: BTreeSet::new(),
        };
        let corrupt = |why: ChainError| PortError::Corrupt(why.to_string());
        let mut next = Some(Query {
            partition: keys::stream(workspace, stream),
            from: keys::stream_event(workspace, stream, from).sort,
            to: keys::stream_event(workspace, stream, last + 1).sort,
            limit: EVENTS_PAGE,
            reverse: false,
        });
        let mut cut = false;
        while let Some(query) = next {
            let items = self.base.store.query(&query).await?;
            for (key, item) in &items {
                let stored: Value = countersign_store::decode(key, &item.body)?;
                if let Until::Moment(moment) = until {
                    let at: Option<Timestamp> =
                        stored.get("at").and_then(|at| at.as_str()?.parse().ok());
                    cut = found.text.len() >= SEGMENT_BYTES
                        || at.is_some_and(|at| awaited(at, moment));
                    found.ahead += u64::from(!cut && at.is_some_and(|at| at >= moment));
                }
                if cut {
                    break;
                }
                verifier.push(&stored).map_err(corrupt)?;
                let entry: Entry = countersign_store::decode(key, &item.body)?;
                (found.to, found.hash) = (entry.seq, entry.hash.clone());
                found.names.extend(named(&entry));
                found
                    .text
                    .extend(countersign_store::encode(&cloud_event(workspace, stream, entry))?);
                found.text.push(b'\n');
            }
            next = query.behind(&items).filter(|_| !cut);
        }
        if !cut {
            let hash =
                if last == end.head.seq { end.head.hash.clone() } else { found.hash.clone() };
            verifier.finish(&Head { seq: last, hash }).map_err(corrupt)?;
        }
        Ok((found, end))
    }

    // What the first event of a segment must follow.
    async fn hash_before(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        from: u64,
    ) -> Result<Digest, PortError> {
        if from <= 1 {
            return Ok(Digest::zero());
        }
        let key = keys::stream_event(workspace, stream, from - 1);
        let item = self.base.store.get(&key).await?;
        let item =
            item.ok_or_else(|| PortError::Corrupt(format!("event {} is missing", from - 1)))?;
        let entry: Entry = countersign_store::decode(&key, &item.body)?;
        Ok(entry.hash)
    }
}

// Whether an event's hour is still to be over.
fn awaited(at: Timestamp, moment: Timestamp) -> bool {
    at >= moment && at < moment.plus_ms(AHEAD_MS)
}
