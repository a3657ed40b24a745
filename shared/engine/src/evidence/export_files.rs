//! The files of an export.

use crate::{
    Exports,
    evidence::{documents::Named, export_work::Segment},
    ports::Archive,
};
use contracts::{
    Digest, WorkspaceId,
    evidence::{Documents, LogPart, Manifest, Part, Range},
};
use countersign_store::{PortError, Stream, TreeHead, encode};
use cs_core::{
    canonical, note,
    transparency::{self as tree, Question, hash_text},
    warrant::Key,
};
use flate2::{Compression, GzBuilder};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
};

/// Entries of the transparency log that are read at once.
const LEAVES_PAGE: usize = 500;

/// Where files go: the archive, and the folder in it.
type Out<'o> = (&'o dyn Archive, &'o str);

/// Segments on their way into one file.
#[derive(Default)]
pub(crate) struct Gathering {
    text: Vec<u8>,
    events: u64,
    heads: BTreeMap<Stream, Digest>,
    segments: BTreeMap<Stream, Range>,
    /// What their events name.
    pub(crate) names: BTreeMap<Stream, BTreeSet<Named>>,
}

impl Gathering {
    pub(crate) fn add(&mut self, stream: Stream, segment: Segment) {
        self.text.extend(segment.text);
        self.events += segment.to + 1 - segment.from;
        self.heads.insert(stream.clone(), segment.hash);
        let range = Range { from: segment.from, to: segment.to, prev: segment.prev };
        self.segments.insert(stream.clone(), range);
        self.names.insert(stream, segment.names);
    }

    /// None where there is nothing.
    pub(crate) async fn store(self, out: Out<'_>) -> Result<Option<Part>, PortError> {
        if self.text.is_empty() {
            return Ok(None);
        }
        let Self { text, events, heads, segments, .. } = self;
        let (name, digest, bytes) = store_lines(out, "events.ndjson.gz", &text).await?;
        Ok(Some(Part { name, digest, bytes, events, heads, segments }))
    }
}

impl Exports {
    /// What events name, each document once.
    pub(crate) async fn export_documents(
        &self,
        out: Out<'_>,
        workspace: &WorkspaceId,
        names: &BTreeMap<Stream, BTreeSet<Named>>,
    ) -> Result<Option<Documents>, PortError> {
        let (mut lines, mut seen) = (Lines::default(), BTreeSet::new());
        for (stream, names) in names {
            let names = names.iter().filter(|name| seen.insert((*name).clone())).cloned().collect();
            for document in self.views.documents(workspace, stream, &names).await? {
                lines.push(&document)?;
            }
        }
        lines.store(out, "documents.ndjson.gz").await
    }

    /// What the transparency log got behind the first `from` entries.
    pub(crate) async fn export_log(
        &self,
        out: Out<'_>,
        workspace: &WorkspaceId,
        from: u64,
        head: &TreeHead,
    ) -> Result<LogPart, PortError> {
        let corrupt = |error: tree::TreeError| PortError::Corrupt(error.to_string());
        let store = &self.base.store;
        let hashes = store.tree_hashes(workspace, Question::Append { size: from }).await?;
        let subtrees = tree::subtree_roots(from, &hashes).map_err(corrupt)?;
        let (mut lines, mut next) = (Lines::default(), from);
        while next < head.size {
            let limit = LEAVES_PAGE.min((head.size - next) as usize);
            let leaves = store.tree_leaves(workspace, next, limit).await?;
            if leaves.len() < limit {
                let why = format!("entry {next} or one behind it is missing in the log");
                return Err(PortError::Corrupt(why));
            }
            leaves.iter().try_for_each(|leaf| lines.push(leaf))?;
            next += limit as u64;
        }
        Ok(LogPart {
            checkpoint: head.checkpoint.clone(),
            size: head.size,
            from,
            subtrees: subtrees.iter().map(hash_text).collect(),
            entries: lines.store(out, "log.ndjson.gz").await?,
        })
    }
}

/// Lines of canonical JSON.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    count: u64,
}

impl Lines {
    fn push<T: Serialize>(&mut self, value: &T) -> Result<(), PortError> {
        let bytes = canonical::to_bytes(value);
        self.text.extend(bytes.map_err(|error| PortError::Corrupt(error.to_string()))?);
        self.text.push(b'\n');
        self.count += 1;
        Ok(())
    }

    async fn store(self, out: Out<'_>, name: &str) -> Result<Option<Documents>, PortError> {
        if self.count == 0 {
            return Ok(None);
        }
        let (name, digest, bytes) = store_lines(out, name, &self.text).await?;
        Ok(Some(Documents { name, digest, bytes, documents: self.count }))
    }
}

// Name, digest and size of the compressed file.
async fn store_lines(
    (archive, folder): Out<'_>,
    name: &str,
    text: &[u8],
) -> Result<(String, Digest, u64), PortError> {
    let corrupt = |error: std::io::Error| PortError::Corrupt(error.to_string());
    // Without a time in its header: the same events give the same bytes.
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    gzip.write_all(text).map_err(corrupt)?;
    let bytes = gzip.finish().map_err(corrupt)?;
    let (digest, length) = (canonical::digest_bytes(&bytes), bytes.len() as u64);
    archive.put(&format!("{folder}/{name}"), "application/gzip", bytes).await?;
    Ok((name.to_owned(), digest, length))
}

/// Stores a manifest and, before it, the note that signs it. Gives its digest.
pub(crate) async fn store_manifest(
    (archive, folder): Out<'_>,
    manifest: &Manifest,
    key: &Key,
) -> Result<Digest, PortError> {
    let bytes = encode(manifest)?;
    let digest = canonical::digest_bytes(&bytes);
    let text = tree::manifest_text(&manifest.workspace_id, manifest.number, &digest);
    let signed = note::sign(&tree::origin(&manifest.workspace_id), key, &text).into_bytes();
    archive.put(&format!("{folder}/manifest.note"), "text/plain; charset=utf-8", signed).await?;
    archive.put(&format!("{folder}/manifest.json"), "application/json", bytes).await?;
    Ok(digest)
}
