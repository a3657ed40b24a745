//! Export: every event of every stream, as gzip NDJSON of CloudEvents, with the documents that they
//! name and a signed manifest of digests.
//!
//! `<workspace>/<yyyy-mm-dd>/<hh>/<number>/` has `events.ndjson.gz`, `documents.ndjson.gz`,
//! `manifest.note`, which signs the manifest, and `manifest.json`, written last. The last manifest
//! of a run of a workspace has, instead of events, what the transparency log got since the one
//! before (`log.ndjson.gz`) and its checkpoint: with it the run is complete.
//!
//! Manifests of a workspace are numbered without gaps, and each names the one before by its digest;
//! so do the segments of one stream. What a manifest takes is stored before it is written: an
//! export that breaks off is taken up where it was, and gives the same bytes. INVARIANT
//! (tenant-walls): one workspace a folder. INVARIANT (append-only): every chain is verified on its
//! way out. One that is broken is named in the manifest and keeps no other waiting. INVARIANT
//! (authority-is-on-record): the workspace log is a stream like any trace.

use crate::{
    Answer, Base, Caller, Parts, Transparency, Views, boxed,
    evidence::{
        export_files::{self, Gathering},
        export_work::{End, SEGMENT_BYTES, Segment, Until, Work},
    },
    operate::relay::PAGE,
    ports::Archive,
};
use contracts::{
    Digest, Timestamp, WorkspaceId,
    evidence::{ExportWorkspace, Manifest, WorkspaceExported},
};
use countersign_store::{Condition, Item, PortError, Query, Record, Stream, TreeHead, Write, keys};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// An hour is exported when it has been over for so long, in milliseconds: clocks differ.
const SETTLED_MS: i64 = 60_000;
/// Streams of one manifest.
const BATCH_STREAMS_MAX: usize = 200;
/// Items of the list of work that are taken off in one transaction.
const CLOSED_AT_ONCE: usize = 90;
/// How long one call exports, in milliseconds: the gateway gives up after 29 s.
const EXPORT_CALL_MS: i64 = 15_000;
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
    /// Entries of the transparency log that are exported.
    #[serde(default)]
    logged: u64,
    /// What is being written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<Batch>,
}

/// What one manifest takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Batch {
    to: Timestamp,
    streams: Vec<Taken>,
    /// How far the transparency log is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<TreeHead>,
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

/// How far logs are, and the number of the last manifest; none of a workspace that cannot be read.
type Logs = BTreeMap<WorkspaceId, Option<(TreeHead, u64)>>;

/// Everything that happened, into the archive.
pub struct Exports {
    pub(crate) base: Arc<Base>,
    pub(crate) views: Arc<Views>,
    pub(crate) transparency: Arc<Transparency>,
}

impl Exports {
    pub(crate) fn new(parts: &Parts, transparency: Arc<Transparency>) -> Self {
        Self { base: parts.base.clone(), views: parts.views.clone(), transparency }
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
        let mut exported = Exported::default();
        // The heads in the logs first, the list of work behind: with the last manifest of the run
        // everything before `moment` that a log speaks of is exported.
        exported.broken += self.transparency.append_waiting().await?;
        let logs = self.logs().await?;
        let until = self.base.now().plus_ms(budget_ms);
        self.run(archive, (Work::new(), logs), (moment, until), &mut exported).await?;
        Ok(exported)
    }

    /// controlPlane.evidence.export: what one workspace has, up to now.
    #[boxed]
    pub async fn export_workspace(
        &self,
        caller: &Caller,
        _: ExportWorkspace,
    ) -> Answer<WorkspaceExported> {
        caller.require_whole("control-plane.audit")?;
        let (workspace, now) = (&caller.workspace, self.base.now());
        let mut exported = Exported::default();
        self.transparency.append(workspace).await?;
        let logs = [(workspace.clone(), Some(self.log(workspace).await?))].into();
        let (work, archive) = (Work::of(workspace), self.base.ports.archive.clone());
        let until = now.plus_ms(EXPORT_CALL_MS);
        self.run(archive.as_ref(), (work, logs), (now, until), &mut exported).await?;
        let progress: Record<Progress> =
            self.base.store.record(&keys::export_progress(workspace)).await?;
        Ok(WorkspaceExported {
            manifests: exported.manifests,
            events: exported.events,
            broken: exported.broken,
            left: exported.left > 0,
            number: progress.value.number,
        })
    }

    async fn run(
        &self,
        archive: &dyn Archive,
        (mut work, mut logs): (Work, Logs),
        (moment, until): (Timestamp, Timestamp),
        exported: &mut Exported,
    ) -> Result<(), PortError> {
        while let Some((workspace, streams)) =
            work.next(&self.base.store, BATCH_STREAMS_MAX).await?
        {
            if self.base.now() >= until {
                exported.left = 1;
                return Ok(());
            }
            if !logs.contains_key(&workspace) {
                let log = self.log(&workspace).await?;
                logs.insert(workspace.clone(), Some(log));
            }
            let out = (archive, &workspace);
            let done = self.export_streams(out, streams, moment, exported).await;
            if !survived(&workspace, done, exported)? {
                logs.insert(workspace, None);
            }
        }
        for (workspace, log) in logs {
            let Some(log) = log else { continue };
            let done = self.end_run((archive, &workspace), log, moment, exported).await;
            survived(&workspace, done, exported)?;
        }
        Ok(())
    }

    // How far the logs of workspaces are that have exports.
    async fn logs(&self) -> Result<Logs, PortError> {
        let (partition, prefix) = keys::exports_progress();
        let mut logs = BTreeMap::new();
        let mut next = Some(Query::prefix(partition, prefix, PAGE));
        while let Some(query) = next {
            let items = self.base.store.query(&query).await?;
            for (key, _) in &items {
                let name = key.sort.strip_prefix(prefix).unwrap_or_default();
                if let Ok(workspace) = name.parse::<WorkspaceId>() {
                    let log = self.log(&workspace).await?;
                    logs.insert(workspace, Some(log));
                }
            }
            next = query.behind(&items);
        }
        Ok(logs)
    }

    async fn log(&self, workspace: &WorkspaceId) -> Result<(TreeHead, u64), PortError> {
        let progress: Record<Progress> =
            self.base.store.record(&keys::export_progress(workspace)).await?;
        let head = self.base.store.tree_head(workspace).await?;
        Ok((head, progress.value.number))
    }

    // The last manifest of a run of a workspace in which something was exported.
    async fn end_run(
        &self,
        out: (&dyn Archive, &WorkspaceId),
        (head, number): (TreeHead, u64),
        moment: Timestamp,
        exported: &mut Exported,
    ) -> Result<(), PortError> {
        let key = keys::export_progress(out.1);
        let mut progress: Record<Progress> = self.base.store.record(&key).await?;
        self.finish_batch(out, &mut progress, BTreeMap::new(), exported).await?;
        if progress.value.number == number || progress.value.logged >= head.size {
            return Ok(());
        }
        progress.value.open = Some(Batch { to: moment, streams: Vec::new(), log: Some(head) });
        self.note(out.1, &mut progress).await?;
        self.finish_batch(out, &mut progress, BTreeMap::new(), exported).await
    }

    async fn export_streams(
        &self,
        (archive, workspace): (&dyn Archive, &WorkspaceId),
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
                progress.value.open = Some(Batch { to: moment, streams, log: None });
                self.note(workspace, &mut progress).await?;
                let segments = std::mem::take(&mut segments);
                self.finish_batch((archive, workspace), &mut progress, segments, exported).await?;
                bytes = 0;
            }
        }
        if !taken.is_empty() {
            progress.value.open = Some(Batch { to: moment, streams: taken, log: None });
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
            documents: None,
            broken: BTreeMap::new(),
            ahead: 0,
            log: None,
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
        let out = (archive, folder.as_str());
        manifest.documents = self.export_documents(out, workspace, &part.names).await?;
        manifest.files.extend(part.store(out).await?);
        if let Some(head) = &batch.log {
            manifest.log = Some(self.export_log(out, workspace, before.logged, head).await?);
        }
        let ring = self.base.ports.signer.ring().await?;
        let digest = export_files::store_manifest(out, &manifest, ring.current()).await?;
        for taken in &batch.streams {
            self.take_off(workspace, taken).await?;
        }
        exported.count(&manifest);
        progress.value = Progress {
            number: manifest.number,
            previous: Some(digest),
            to: Some(batch.to),
            logged: manifest.log.map_or(before.logged, |log| log.size),
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

// One workspace that cannot be read keeps no other waiting: whether this one could.
fn survived(
    workspace: &WorkspaceId,
    done: Result<(), PortError>,
    exported: &mut Exported,
) -> Result<bool, PortError> {
    match done {
        Ok(()) => Ok(true),
        Err(PortError::Corrupt(why)) => {
            tracing::error!(%workspace, why, "the exports of a workspace cannot go on");
            exported.broken += 1;
            Ok(false)
        }
        Err(fault) => Err(fault),
    }
}
