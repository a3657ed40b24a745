//! Export: every event of every stream, as gzip NDJSON of CloudEvents, with a manifest of digests.
//!
//! `<workspace>/<yyyy-mm-dd>/<hh>/<number>/0000.ndjson.gz`, and `manifest.json` beside it, written
//! last. Manifests of a workspace are numbered without gaps, and each names the one before by its
//! digest; so do the segments of one stream. What a manifest takes is stored before it is written:
//! an export that breaks off is taken up where it was, and gives the same bytes. INVARIANT
//! (tenant-walls): one workspace a folder. INVARIANT (append-only): every chain is verified on its
//! way out. One that is broken is named in the manifest and keeps no other waiting. INVARIANT
//! (authority-is-on-record): the workspace log is a stream like any trace.

use crate::{
    Base, Parts, boxed,
    evidence::export_work::{End, SEGMENT_BYTES, Segment, Until, Work},
    ports::Archive,
};
use contracts::{Digest, Timestamp, WorkspaceId};
use countersign_store::{Condition, Item, PortError, Query, Record, Stream, Write, keys};
use cs_core::canonical;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::{collections::BTreeMap, io::Write as _};

/// An hour is exported when it has been over for so long, in milliseconds: clocks differ.
const SETTLED_MS: i64 = 60_000;
/// Streams of one manifest.
const BATCH_STREAMS_MAX: usize = 200;
/// Items of the list of work that are taken off in one transaction.
const CLOSED_AT_ONCE: usize = 90;
/// Characters of what is said of a stream that is broken.
const BROKEN_CHARACTERS_MAX: usize = 300;

/// What a run exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub manifests: u64,
    /// Traces and workspace logs of which something was exported.
    pub traces: u64,
    pub events: u64,
    /// Streams that cannot be read or do not verify.
    pub broken: u64,
    /// 1 where the time was over before everything was exported: the next run goes on.
    pub left: u64,
    /// How far the clock went back since what was exported before, in milliseconds.
    pub clock_back_ms: i64,
    /// Events whose time is hours ahead of the clock.
    pub ahead: u64,
}

/// What one run took of one workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub workspace_id: WorkspaceId,
    /// 1 for the first of the workspace; no gaps.
    pub number: u64,
    /// Digest of the manifest before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// Up to when the manifest before this one took what had come.
    pub from: Timestamp,
    /// Up to when this one did. Before `from` where the clock went back in between.
    pub to: Timestamp,
    pub files: Vec<Part>,
    /// Streams that cannot be read or do not verify, and why: they are in no file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broken: BTreeMap<Stream, String>,
    /// Events whose time is hours behind `to`: a clock had jumped ahead.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ahead: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    pub name: String,
    /// Of the compressed bytes.
    pub digest: Digest,
    pub bytes: u64,
    pub events: u64,
    /// The streams in it (an execution's id, or `log`), and the hash of each one's last event.
    pub heads: BTreeMap<Stream, Digest>,
    /// Which events of each.
    pub segments: BTreeMap<Stream, Range>,
}

/// Events of one stream that follow one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub from: u64,
    pub to: u64,
    /// Hash of the event before the first: the head of the segment before this one.
    pub prev: Digest,
}

/// How far the exports of a workspace are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    /// Of the last manifest.
    number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Timestamp>,
    /// What is being written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<Batch>,
}

/// What one manifest takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Batch {
    to: Timestamp,
    streams: Vec<Taken>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Taken {
    stream: Stream,
    from: u64,
    to: u64,
    /// More may come without anybody putting it onto the list.
    open: bool,
    #[serde(default)]
    ahead: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    broken: Option<String>,
}

impl Taken {
    fn broken(stream: Stream, from: u64, end: Option<&End>, why: &str) -> Self {
        let to = end.map_or(from, |end| end.head.seq.max(from));
        let why = why.chars().take(BROKEN_CHARACTERS_MAX).collect();
        Self {
            stream,
            from,
            to,
            open: end.is_some_and(|end| end.open),
            ahead: 0,
            broken: Some(why),
        }
    }
}

/// Everything that happened, into the archive.
pub struct Exports {
    pub(crate) base: Arc<Base>,
}

impl Exports {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self { base: parts.base.clone() }
    }

    /// Exports every hour that is over, for at most about `budget_ms`. Does next to nothing where
    /// that was done.
    #[boxed]
    pub async fn export(
        &self,
        archive: &dyn Archive,
        budget_ms: i64,
    ) -> Result<Exported, PortError> {
        let hour = self.base.now().plus_ms(-SETTLED_MS).ms().div_euclid(keys::HOUR_MS);
        let key = keys::exported();
        let stored = self.base.store.get(&key).await?;
        // Another hour than the last time, earlier or later: what is due is asked of the list,
        // never of the clock.
        if let Some(item) = &stored
            && countersign_store::decode::<i64>(&key, &item.body)? == hour
        {
            return Ok(Exported::default());
        }
        let exported =
            self.export_until(archive, Timestamp::from_ms(hour * keys::HOUR_MS), budget_ms).await?;
        if exported.left == 0 {
            let version = stored.map_or(0, |item| item.version) + 1;
            let write = Write::Put {
                key,
                item: countersign_store::item(version, &hour)?,
                condition: Condition::Any,
            };
            self.stored(vec![write]).await?;
        }
        Ok(exported)
    }

    /// Exports what came before a moment.
    #[boxed]
    pub async fn export_until(
        &self,
        archive: &dyn Archive,
        moment: Timestamp,
        budget_ms: i64,
    ) -> Result<Exported, PortError> {
        let until = self.base.now().plus_ms(budget_ms);
        let (mut exported, mut work) = (Exported::default(), Work::new());
        while let Some((workspace, streams)) =
            work.next(&self.base.store, BATCH_STREAMS_MAX).await?
        {
            if self.base.now() >= until {
                exported.left = 1;
                break;
            }
            match self.export_streams(archive, &workspace, streams, moment, &mut exported).await {
                Ok(()) => {}
                // One workspace that cannot be read keeps no other waiting.
                Err(PortError::Corrupt(why)) => {
                    tracing::error!(%workspace, why, "the exports of a workspace cannot go on");
                    exported.broken += 1;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(exported)
    }

    async fn export_streams(
        &self,
        archive: &dyn Archive,
        workspace: &WorkspaceId,
        streams: Vec<Stream>,
        moment: Timestamp,
        exported: &mut Exported,
    ) -> Result<(), PortError> {
        let mut progress: Record<Progress> =
            self.base.store.record(&keys::export_progress(workspace)).await?;
        // A run broke off: first what it had begun.
        self.finish_batch((archive, workspace), &mut progress, BTreeMap::new(), exported).await?;
        let (mut taken, mut segments, mut bytes) = (Vec::new(), BTreeMap::new(), 0);
        for stream in streams {
            let Some(from) = self.unexported(workspace, &stream).await? else { continue };
            match self.segment(workspace, &stream, from, Until::Moment(moment)).await {
                Ok((segment, _)) if segment.to < segment.from => {}
                Ok((segment, end)) => {
                    let open = end.open || segment.to < end.head.seq;
                    let (to, ahead) = (segment.to, segment.ahead);
                    taken.push(Taken {
                        stream: stream.clone(),
                        from,
                        to,
                        open,
                        ahead,
                        broken: None,
                    });
                    bytes += segment.text.len();
                    segments.insert(stream, segment);
                }
                Err(PortError::Corrupt(why)) => {
                    tracing::error!(
                        %workspace, %stream, why, "a stream of events cannot be exported"
                    );
                    let end = self.end(workspace, &stream).await.ok();
                    taken.push(Taken::broken(stream, from, end.as_ref(), &why));
                }
                Err(fault) => return Err(fault),
            }
            if bytes >= SEGMENT_BYTES {
                let streams = std::mem::take(&mut taken);
                progress.value.open = Some(Batch { to: moment, streams });
                self.note(workspace, &mut progress).await?;
                let segments = std::mem::take(&mut segments);
                self.finish_batch((archive, workspace), &mut progress, segments, exported).await?;
                bytes = 0;
            }
        }
        if !taken.is_empty() {
            progress.value.open = Some(Batch { to: moment, streams: taken });
            self.note(workspace, &mut progress).await?;
            self.finish_batch((archive, workspace), &mut progress, segments, exported).await?;
        }
        Ok(())
    }

    // What is being exported is known before any of it is written.
    async fn note(
        &self,
        workspace: &WorkspaceId,
        progress: &mut Record<Progress>,
    ) -> Result<(), PortError> {
        let write = progress.replace(keys::export_progress(workspace), &progress.value)?;
        self.stored(vec![write]).await?;
        progress.version += 1;
        Ok(())
    }

    async fn finish_batch(
        &self,
        (archive, workspace): (&dyn Archive, &WorkspaceId),
        progress: &mut Record<Progress>,
        mut segments: BTreeMap<Stream, Segment>,
        exported: &mut Exported,
    ) -> Result<(), PortError> {
        let before = &mut progress.value;
        let Some(batch) = before.open.take() else { return Ok(()) };
        let from = before.to.unwrap_or_else(|| batch.to.plus_ms(-keys::HOUR_MS));
        let mut manifest = Manifest {
            workspace_id: workspace.clone(),
            number: before.number + 1,
            previous: before.previous.clone(),
            from,
            to: batch.to,
            files: Vec::new(),
            broken: BTreeMap::new(),
            ahead: 0,
        };
        let mut part = Gathering::default();
        for taken in &batch.streams {
            if let Some(why) = &taken.broken {
                manifest.broken.insert(taken.stream.clone(), why.clone());
                continue;
            }
            let segment = match segments.remove(&taken.stream) {
                Some(segment) => segment,
                None => match self
                    .segment(workspace, &taken.stream, taken.from, Until::Sequence(taken.to))
                    .await
                {
                    Ok((segment, _)) => segment,
                    Err(PortError::Corrupt(why)) => {
                        manifest.broken.insert(taken.stream.clone(), why);
                        continue;
                    }
                    Err(fault) => return Err(fault),
                },
            };
            manifest.ahead += taken.ahead;
            part.add(taken.stream.clone(), segment);
        }
        let hour = batch.to.plus_ms(-1);
        let hours = hour.ms().div_euclid(keys::HOUR_MS).rem_euclid(24);
        let folder = format!("{workspace}/{}/{hours:02}/{:06}", hour.day(), manifest.number);
        if !part.text.is_empty() {
            manifest.files.push(part.store(archive, &folder).await?);
        }
        let bytes = countersign_store::encode(&manifest)?;
        let digest = canonical::digest_bytes(&bytes);
        archive.put(&format!("{folder}/manifest.json"), "application/json", bytes).await?;
        for taken in &batch.streams {
            self.take_off(workspace, taken).await?;
        }
        exported.count(&manifest);
        progress.value = Progress {
            number: manifest.number,
            previous: Some(digest),
            to: Some(batch.to),
            open: None,
        };
        self.note(workspace, progress).await
    }

    // Takes what is exported off the list; what may come behind it is put there in the same
    // transaction.
    async fn take_off(&self, workspace: &WorkspaceId, taken: &Taken) -> Result<(), PortError> {
        let behind = keys::unexported(workspace, &taken.stream, taken.to + 1);
        let (partition, prefix) = keys::unexported_of(workspace, &taken.stream);
        loop {
            let query = Query {
                to: behind.sort.clone(),
                ..Query::prefix(partition.clone(), &prefix, CLOSED_AT_ONCE)
            };
            let items = self.base.store.query(&query).await?;
            if items.is_empty() {
                return Ok(());
            }
            // Another run that took them off may have come further: nothing is put behind twice.
            let delete = |(key, _)| Write::Delete { key, condition: Condition::Exists };
            let more = items.len() == CLOSED_AT_ONCE;
            let mut writes: Vec<Write> = items.into_iter().map(delete).collect();
            if taken.open {
                let item = Item { version: 1, ..Item::default() };
                writes.push(Write::Put { key: behind.clone(), item, condition: Condition::Any });
            }
            self.stored(writes).await?;
            if !more {
                return Ok(());
            }
        }
    }

    async fn stored(&self, writes: Vec<Write>) -> Result<(), PortError> {
        match self.base.store.write(writes).await? {
            true => Ok(()),
            false => Err(PortError::Unavailable("another export is at it".into())),
        }
    }
}

impl Exported {
    fn count(&mut self, manifest: &Manifest) {
        self.manifests += 1;
        for part in &manifest.files {
            self.traces += part.segments.len() as u64;
            self.events += part.events;
        }
        self.broken += manifest.broken.len() as u64;
        self.ahead += manifest.ahead;
        let back_ms = manifest.from.ms() - manifest.to.ms();
        self.clock_back_ms = self.clock_back_ms.max(back_ms);
        if back_ms > 0 || manifest.ahead > 0 {
            let (workspace, ahead) = (&manifest.workspace_id, manifest.ahead);
            tracing::error!(
                %workspace, back_ms, ahead, "the clock jumped; everything is exported nevertheless"
            );
        }
    }
}

/// A file on its way.
#[derive(Default)]
struct Gathering {
    text: Vec<u8>,
    events: u64,
    heads: BTreeMap<Stream, Digest>,
    segments: BTreeMap<Stream, Range>,
}

impl Gathering {
    fn add(&mut self, stream: Stream, segment: Segment) {
        self.text.extend(segment.text);
        self.events += segment.to + 1 - segment.from;
        self.heads.insert(stream.clone(), segment.hash);
        self.segments
            .insert(stream, Range { from: segment.from, to: segment.to, prev: segment.prev });
    }

    async fn store(self, archive: &dyn Archive, folder: &str) -> Result<Part, PortError> {
        let corrupt = |error: std::io::Error| PortError::Corrupt(error.to_string());
        // Without a time in its header: the same events give the same bytes.
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
        gzip.write_all(&self.text).map_err(corrupt)?;
        let bytes = gzip.finish().map_err(corrupt)?;
        let name = "0000.ndjson.gz".to_owned();
        let (digest, length) = (canonical::digest_bytes(&bytes), bytes.len() as u64);
        archive.put(&format!("{folder}/{name}"), "application/gzip", bytes).await?;
        let Self { events, heads, segments, .. } = self;
        Ok(Part { name, digest, bytes: length, events, heads, segments })
    }
}
