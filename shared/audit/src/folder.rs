//! A folder of exports: manifests that follow one another, and the files that they name.

use crate::{
    AuditError, Options, Watch,
    events::{End, Streams},
    log::{Log, note_refused},
    pack::ReadEvent,
    report::{Code, Report},
    surely_before,
};
use contracts::{
    Digest, Timestamp, WorkspaceId,
    evidence::{Document, Documents, LogLeaf, Manifest, Part},
    json,
    limits::EVENT_BYTES_MAX,
};
use cs_core::{canonical, note, transparency as tree};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Longest line of events or entries, in bytes: an event with the attributes around it.
const LINE_BYTES_MAX: u64 = 2 * EVENT_BYTES_MAX as u64;
/// Longest line of a document, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Largest manifest read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Folders below one another that are looked into.
const DEPTH_MAX: usize = 8;
/// Events between two tellings of how far it is.
const PROGRESS_EVENTS: u64 = 10_000;

/// A manifest, where it lies, and the digest of its bytes.
struct Found {
    folder: PathBuf,
    /// For people: the folder below the one that is checked.
    name: String,
    manifest: Manifest,
    digest: Digest,
}

pub(crate) fn check(
    root: &Path,
    options: &Options,
    watch: &mut Watch<'_>,
) -> Result<Report, AuditError> {
    let mut report = Report::default();
    let mut workspaces: BTreeMap<WorkspaceId, Vec<Found>> = BTreeMap::new();
    for folder in folders(root)? {
        let name = folder.strip_prefix(root).unwrap_or(&folder).display().to_string();
        match read_manifest(&folder) {
            Ok((manifest, digest)) => {
                let found = Found { folder, name, manifest, digest };
                workspaces.entry(found.manifest.workspace_id.clone()).or_default().push(found);
            }
            Err(error) => report.add(Code::Unreadable, format!("{name}/manifest.json"), error),
        }
    }
    if workspaces.is_empty() && report.is_whole() {
        return Err(AuditError::Nothing(root.display().to_string()));
    }
    for (workspace, mut exports) in workspaces {
        exports.sort_by_key(|found| found.manifest.number);
        report.checked.workspaces.insert(workspace.to_string());
        let mut audit = Audit {
            streams: Streams::new(&workspace),
            log: Log::new(&workspace, options, &mut report),
            workspace,
            options,
            report: &mut report,
            watch,
        };
        audit.exports(&exports);
        let Audit { log, workspace, .. } = audit;
        log.finish(&workspace, &mut report);
    }
    Ok(report)
}

/// An export that is there, and the files that it consists of.
#[derive(Clone, Debug)]
pub struct ExportFolder {
    pub workspace: WorkspaceId,
    pub number: u64,
    pub path: PathBuf,
    /// Names of the manifest, its note and the files that it names, as far as they are there.
    pub files: Vec<String>,
    to: Timestamp,
}

/// The exports of a folder whose manifests can be read.
pub fn export_folders(root: &Path) -> Result<Vec<ExportFolder>, AuditError> {
    let mut exports = Vec::new();
    for path in folders(root)? {
        let Ok((manifest, _)) = read_manifest(&path) else { continue };
        let Manifest { files, documents, log, .. } = &manifest;
        let entries = log.as_ref().and_then(|log| log.entries.as_ref());
        let named = files.iter().map(|part| &part.name);
        let named = named.chain(documents.iter().chain(entries).map(|file| &file.name)).cloned();
        let own = ["manifest.json", "manifest.note"].map(str::to_owned);
        let there = |name: &String| {
            let about = fs::symlink_metadata(path.join(name));
            is_plain(name) && about.is_ok_and(|about| about.is_file())
        };
        let files = own.into_iter().chain(named).filter(there).collect();
        let Manifest { workspace_id: workspace, number, to, .. } = manifest;
        exports.push(ExportFolder { workspace, number, path, files, to });
    }
    exports.sort_by_key(|export| export.number);
    Ok(exports)
}

/// Number of the first and the last export of a workspace, and up to when the last one took.
pub(crate) fn range(
    root: &Path,
    workspace: &WorkspaceId,
) -> Result<Option<(u64, u64, Timestamp)>, AuditError> {
    let mut exports = export_folders(root)?;
    exports.retain(|export| export.workspace == *workspace);
    let ends = exports.first().zip(exports.last());
    Ok(ends.map(|(first, last)| (first.number, last.number, last.to)))
}

// A name is one of the folder's own files, wherever the manifest comes from.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.')
}

// Every folder with a manifest.
fn folders(root: &Path) -> Result<Vec<PathBuf>, AuditError> {
    let mut found = Vec::new();
    let mut open = vec![(root.to_path_buf(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let failed = |error| AuditError::Io(folder.display().to_string(), error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && depth < DEPTH_MAX {
                open.push((entry.path(), depth + 1));
            } else if entry.file_name() == "manifest.json" {
                found.push(folder.clone());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read_manifest(folder: &Path) -> Result<(Manifest, Digest), String> {
    let file = File::open(folder.join("manifest.json")).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    let manifest = json::decode(&bytes).map_err(|error| error.to_string())?;
    Ok((manifest, canonical::digest_bytes(&bytes)))
}

struct Audit<'a, 'w> {
    workspace: WorkspaceId,
    options: &'a Options,
    streams: Streams,
    log: Log,
    report: &'a mut Report,
    watch: &'a mut Watch<'w>,
}

impl Audit<'_, '_> {
    fn exports(&mut self, exports: &[Found]) {
        let mut before: Option<&Found> = None;
        // Where entries were read, in advance, of the run that is being read.
        let mut read_to = 0;
        for (index, found) in exports.iter().enumerate() {
            self.signature(found);
            self.order(found, before);
            if index >= read_to {
                let rest = exports.get(index..).unwrap_or_default();
                let last = rest.iter().position(|found| found.manifest.log.is_some());
                if let Some(last) = last.and_then(|last| exports.get(index + last)) {
                    self.entries(last);
                }
                read_to = index + last.map_or(rest.len(), |last| last + 1);
            }
            for part in &found.manifest.files {
                self.events(found, part);
            }
            if let Some(documents) = &found.manifest.documents {
                self.documents(found, documents);
            }
            for (stream, why) in &found.manifest.broken {
                let place = format!("{}, {stream}", found.name);
                self.report.add(Code::BrokenAtExport, place, why);
            }
            if found.manifest.log.is_some() {
                let to = found.manifest.to;
                self.log.complete(to, &mut self.streams, &found.name, self.report);
            }
            self.report.checked.exports += 1;
            before = Some(found);
        }
    }

    // The manifest is what its note signs.
    fn signature(&mut self, found: &Found) {
        let place = format!("{}/manifest.note", found.name);
        let signed = match fs::read_to_string(found.folder.join("manifest.note")) {
            Ok(signed) => signed,
            Err(error) => {
                return self.report.add(Code::FileChanged, place, error.to_string());
            }
        };
        let name = tree::origin(&self.workspace);
        match note::open(&signed, &name, &self.options.keys) {
            Err(error) => note_refused(self.report, &place, &error.into()),
            Ok(text) => {
                let number = found.manifest.number;
                if text != tree::manifest_text(&self.workspace, number, &found.digest) {
                    let message = "it signs another manifest than the one beside it";
                    self.report.add(Code::ManifestChanged, place, message);
                }
            }
        }
    }

    // It follows the one before.
    fn order(&mut self, found: &Found, before: Option<&Found>) {
        let Manifest { number, from, to, .. } = found.manifest;
        let expected = before.map_or(self.options.from, |before| before.manifest.number + 1);
        if number > expected {
            let message = match number - expected {
                1 => format!("export {expected} is missing"),
                _ => format!("exports {expected} to {} are missing", number - 1),
            };
            self.report.add(Code::ExportMissing, &found.name, message);
        } else if number < expected {
            let message = format!("export {number} is there twice");
            self.report.add(Code::ExportSwapped, &found.name, message);
        } else if let Some(before) = before
            && found.manifest.previous.as_ref() != Some(&before.digest)
        {
            let message = format!("it does not follow export {} as it is here", number - 1);
            self.report.add(Code::ExportSwapped, &found.name, message);
        }
        if surely_before(to, from) {
            let message = format!("the clock went back from {from} to {to}");
            self.report.add(Code::ClockBack, &found.name, message);
        }
    }

    // The entries of the log at the end of a run.
    fn entries(&mut self, found: &Found) {
        let Some(part) = &found.manifest.log else { return };
        let place = format!("{}, log", found.name);
        self.log.begin(part, &place, self.report);
        if let Some(file) = &part.entries {
            let named = (file.name.as_str(), &file.digest, file.bytes, file.documents);
            self.lines(found, named, LINE_BYTES_MAX, |audit, line| {
                match json::decode::<LogLeaf>(line) {
                    Ok(leaf) => audit.log.expect(leaf, &mut audit.streams, audit.report),
                    Err(error) => {
                        audit.report.add(Code::Unreadable, &place, error.to_string());
                    }
                }
            });
        }
        self.log.end(part, (&self.workspace, self.options), &place, self.report);
    }

    fn events(&mut self, found: &Found, part: &Part) {
        let place = format!("{}/{}", found.name, part.name);
        for (stream, range) in &part.segments {
            let end = self.streams.end(stream);
            if end.seq == 0 && range.from > 1 && self.options.from > 1 {
                // What was before is in exports that are not here.
                let known = End { seq: range.from - 1, hash: range.prev.clone(), ..End::default() };
                self.streams.ends.insert(stream.clone(), known);
            } else if end.seq + 1 != range.from || end.hash != range.prev {
                let message = format!(
                    "{stream} goes on at event {} behind another event than its last one here, {}",
                    range.from, end.seq
                );
                self.report.add(Code::EventUnlinked, &place, message);
            }
        }
        let named = (part.name.as_str(), &part.digest, part.bytes, part.events);
        self.lines(found, named, LINE_BYTES_MAX, |audit, line| {
            if let Some(each) = &mut audit.watch.event {
                each(ReadEvent { export: found.manifest.number, line });
            }
            if let Some(saw) = audit.streams.push(line, &place, audit.report) {
                audit.log.saw(saw, &mut audit.streams, audit.report);
            }
            let events = audit.report.checked.events;
            if events % PROGRESS_EVENTS == 0 {
                (audit.watch.progress)(events);
            }
        });
        for (stream, range) in &part.segments {
            let end = self.streams.end(stream);
            if end.seq != range.to || part.heads.get(stream) != Some(&end.hash) {
                let message = format!(
                    "{stream} ends with event {}; the manifest has {}, or another hash",
                    end.seq, range.to
                );
                self.report.add(Code::TailCut, &place, message);
            }
        }
    }

    fn documents(&mut self, found: &Found, file: &Documents) {
        let place = format!("{}/{}", found.name, file.name);
        let named = (file.name.as_str(), &file.digest, file.bytes, file.documents);
        self.lines(found, named, DOCUMENT_BYTES_MAX, |audit, line| {
            audit.report.checked.documents += 1;
            match json::decode::<Document>(line) {
                Ok(document) => check_document(&document, &place, audit.report),
                Err(error) => audit.report.add(Code::Unreadable, &place, error.to_string()),
            }
        });
    }

    // Reads a file line by line, and compares it with what the manifest says of it.
    fn lines(
        &mut self,
        found: &Found,
        (name, digest, bytes, lines): (&str, &Digest, u64, u64),
        line_max: u64,
        mut each: impl FnMut(&mut Self, &[u8]),
    ) {
        let place = format!("{}/{name}", found.name);
        let file = is_plain(name).then(|| File::open(found.folder.join(name)));
        let Some(Ok(file)) = file else {
            return self.report.add(Code::FileChanged, place, "the file is not there");
        };
        self.report.checked.files += 1;
        let mut counted = Counted { inner: file, hash: canonical::Hasher::default(), bytes: 0 };
        let mut reader = BufReader::new(GzDecoder::new(&mut counted));
        let (mut line, mut count) = (Vec::new(), 0);
        let outcome = loop {
            line.clear();
            match reader.by_ref().take(line_max).read_until(b'\n', &mut line) {
                Ok(0) => break Ok(()),
                Ok(_) if line.last() != Some(&b'\n') => {
                    break Err("a line is cut off, or too long".to_owned());
                }
                Ok(_) => {
                    line.pop();
                    count += 1;
                    each(self, &line);
                }
                Err(error) => break Err(error.to_string()),
            }
        };
        drop(reader);
        let rest = io::copy(&mut counted, &mut io::sink()).map_err(|error| error.to_string());
        let actual = (counted.bytes, counted.hash.digest(), count);
        if let Err(why) = outcome.and(rest.map(|_| ())) {
            self.report.add(Code::FileChanged, place, why);
        } else if actual != (bytes, digest.clone(), lines) {
            let message =
                "it is not the file that the manifest names: its bytes have another digest";
            self.report.add(Code::FileChanged, place, message);
        }
    }
}

/// A document has its digest.
pub(crate) fn check_document(document: &Document, place: &str, report: &mut Report) {
    let actual = match &document.body {
        Value::String(text) => Some(canonical::digest_bytes(text.as_bytes())),
        body => canonical::digest(body).ok(),
    };
    if actual.as_ref() != Some(&document.digest) {
        let message = format!("{:?} {} was changed", document.kind, document.digest);
        report.add(Code::DocumentChanged, place, message);
    }
}

/// Hashes what is read through it.
struct Counted<R> {
    inner: R,
    hash: canonical::Hasher,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let read = buffer.get(..count).unwrap_or_default();
        self.hash.update(read);
        self.bytes += count as u64;
        Ok(count)
    }
}
