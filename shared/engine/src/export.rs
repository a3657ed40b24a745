//! Export: the traces that were sealed in an hour, as gzip NDJSON of CloudEvents, with a manifest of digests.
//!
//! `<workspace>/<yyyy-mm-dd>/<hh>/<part>.ndjson.gz`, and `manifest.json` beside them, written last: an hour without its
//! manifest is exported again, and gives the same bytes. INVARIANT (tenant-walls): one workspace a folder.
//! INVARIANT (append-only): every chain is verified on its way out. One that is broken is named in the manifest and keeps no
//! other waiting.

use crate::{
    Engine, bodies, cloud_event, keys,
    ports::{Archive, Condition, Fault, Item, Key, NotCommitted, Query, Write},
};
use contracts::{Digest, ExecutionId, Timestamp, WorkspaceId, event::Entry};
use cs_core::{
    canonical,
    trace::{Broken, Head, Verifier},
};
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io::Write as _};

/// An hour is exported when it has been over for so long, in milliseconds: clocks differ.
const SETTLED_MS: i64 = 60_000;
/// A part is closed when it has so many bytes, uncompressed.
const PART_BYTES: usize = 16 * 1024 * 1024;

/// What a run exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub hours: u64,
    pub traces: u64,
    pub events: u64,
    /// Traces that cannot be read or do not verify.
    pub broken: u64,
    /// Hours that still wait: the next run goes on with them.
    pub left: u64,
}

/// What one workspace's hour holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub workspace_id: WorkspaceId,
    pub from: Timestamp,
    pub to: Timestamp,
    pub files: Vec<Part>,
    /// Sealed traces that cannot be read or do not verify, and why: they are in no file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broken: BTreeMap<ExecutionId, String>,
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
    /// The traces in it, and the hash of each one's last event.
    pub heads: BTreeMap<ExecutionId, Digest>,
}

impl Engine {
    /// Exports every full hour that is not exported yet, for at most about `budget_ms`.
    pub async fn export(&self, archive: &dyn Archive, budget_ms: i64) -> Result<Exported, Fault> {
        let now = self.now();
        let until = now.plus_ms(budget_ms);
        let last = now.plus_ms(-SETTLED_MS).ms().div_euclid(keys::HOUR_MS);
        let key = keys::exported();
        let stored = self.ports.table.get(&key).await?;
        let mut version = stored.as_ref().map_or(0, |item| item.version);
        let mut hour = match &stored {
            Some(item) => bodies::decode::<i64>(&key, &item.body)?,
            None => last - 24, // the first run: what a day left
        };
        let mut exported = Exported::default();
        while hour < last {
            if self.now() >= until {
                exported.left = (last - hour) as u64;
                break;
            }
            self.export_hour(archive, hour, &mut exported).await?;
            hour += 1;
            exported.hours += 1;
            let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            let item = Item { version: version + 1, ..bodies::item(1, &hour)? };
            match self.ports.table.transact(vec![Write::Put { key: key.clone(), item, condition }]).await {
                Ok(()) => version += 1,
                // Another run is at it.
                Err(NotCommitted::Condition(_)) => break,
                Err(NotCommitted::Fault(fault)) => return Err(fault),
            }
        }
        Ok(exported)
    }

    async fn export_hour(&self, archive: &dyn Archive, hour: i64, exported: &mut Exported) -> Result<(), Fault> {
        let mut sealed: BTreeMap<WorkspaceId, BTreeMap<ExecutionId, (Key, Item)>> = BTreeMap::new();
        for shard in 0..keys::WORK_SHARDS {
            let query = Query::prefix(keys::sealed_partition(hour, shard), "", usize::MAX);
            for (key, item) in self.ports.table.query(&query).await? {
                if let Some((workspace, id)) = keys::owner(&key.sort) {
                    sealed.entry(workspace).or_default().insert(id, (key, item));
                }
            }
        }
        let from = Timestamp::from_ms(hour * keys::HOUR_MS);
        for (workspace, traces) in sealed {
            let folder = format!("{workspace}/{}/{:02}", from.day(), hour.rem_euclid(24));
            let name = format!("{folder}/manifest.json");
            if archive.holds(&name).await? {
                continue;
            }
            let (mut files, mut broken) = (Vec::new(), BTreeMap::new());
            let mut part = Gathering::default();
            for (id, (key, item)) in traces {
                match self.sealed_trace(&workspace, &id, &key, &item).await {
                    Ok(entries) => part.take(&workspace, &id, entries)?,
                    Err(Fault::Corrupt(why)) => {
                        tracing::error!(%workspace, execution = %id, why, "a trace cannot be exported");
                        exported.broken += 1;
                        broken.insert(id, why);
                        continue;
                    }
                    Err(fault) => return Err(fault),
                }
                exported.traces += 1;
                if part.text.len() >= PART_BYTES {
                    let full = std::mem::take(&mut part);
                    files.push(full.store(archive, &folder, files.len()).await?);
                }
            }
            if !part.text.is_empty() {
                files.push(part.store(archive, &folder, files.len()).await?);
            }
            exported.events += files.iter().map(|file| file.events).sum::<u64>();
            let to = from.plus_ms(keys::HOUR_MS);
            let manifest = Manifest { workspace_id: workspace, from, to, files, broken };
            archive.put(&name, "application/json", bodies::encode(&manifest)?).await?;
        }
        Ok(())
    }

    // As it was when it was sealed: a retry may have gone on with it since, which a later hour exports.
    async fn sealed_trace(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        key: &Key,
        sealed: &Item,
    ) -> Result<Vec<Entry>, Fault> {
        let seq: u64 = bodies::decode(key, &sealed.body)?;
        let query = Query {
            to: keys::event(workspace, id, seq + 1).sort,
            ..Query::prefix(keys::execution(workspace, id), keys::EVENT, usize::MAX)
        };
        let (mut verifier, mut head, mut entries) = (Verifier::default(), Head::default(), Vec::new());
        let broken = |why: Broken| Fault::Corrupt(why.to_string());
        for (key, item) in self.ports.table.query(&query).await? {
            verifier.push(&bodies::decode(&key, &item.body)?).map_err(broken)?;
            let entry: Entry = bodies::decode(&key, &item.body)?;
            head.hash = entry.hash.clone();
            entries.push(entry);
        }
        head.seq = seq;
        verifier.finish(&head).map_err(broken)?;
        Ok(entries)
    }
}

/// A part on its way.
#[derive(Default)]
struct Gathering {
    text: Vec<u8>,
    events: u64,
    heads: BTreeMap<ExecutionId, Digest>,
}

impl Gathering {
    fn take(&mut self, workspace: &WorkspaceId, id: &ExecutionId, entries: Vec<Entry>) -> Result<(), Fault> {
        for entry in entries {
            self.heads.insert(id.clone(), entry.hash.clone());
            self.text.extend(bodies::encode(&cloud_event(workspace, id, entry))?);
            self.text.push(b'\n');
            self.events += 1;
        }
        Ok(())
    }

    async fn store(self, archive: &dyn Archive, folder: &str, index: usize) -> Result<Part, Fault> {
        let corrupt = |error: std::io::Error| Fault::Corrupt(error.to_string());
        // Without a time in its header: the same events give the same bytes.
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
        gzip.write_all(&self.text).map_err(corrupt)?;
        let bytes = gzip.finish().map_err(corrupt)?;
        let name = format!("{index:04}.ndjson.gz");
        let digest = canonical::digest_bytes(&bytes);
        let length = bytes.len() as u64;
        archive.put(&format!("{folder}/{name}"), "application/gzip", bytes).await?;
        Ok(Part { name, digest, bytes: length, events: self.events, heads: self.heads })
    }
}
