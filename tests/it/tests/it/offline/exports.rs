//! Exports as a forger has them: read, changed, and written again, with as much made good as the
//! forger can.

use audit::{Code, Options, Report};
use contracts::evidence::{LogLeaf, Manifest};
use cs_core::{
    canonical, note,
    transparency::{self as tree, Checkpoint, Compact, hash_text, leaf_hash},
    warrant::{Key, Ring},
};
use flate2::{Compression, GzBuilder, read::GzDecoder};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// The key of the fixture.
pub(super) fn own_key() -> Key {
    Key::new(&[7; 32])
}

/// One export.
pub(super) struct Export {
    pub(super) folder: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) events: Vec<Value>,
    pub(super) documents: Vec<Value>,
    pub(super) leaves: Vec<Value>,
    note: Vec<u8>,
}

/// Everything below a folder, in order.
pub(super) fn read(root: &Path) -> Vec<Export> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with("manifest.json") {
                found.push(export(&folder));
            }
        }
    }
    found.sort_by_key(|export| export.manifest.number);
    found
}

fn export(folder: &Path) -> Export {
    let manifest: Manifest =
        serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let lines = |name: &str| -> Vec<Value> {
        let Ok(bytes) = fs::read(folder.join(name)) else { return Vec::new() };
        let mut text = String::new();
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    Export {
        folder: folder.to_path_buf(),
        events: lines("events.ndjson.gz"),
        documents: lines("documents.ndjson.gz"),
        leaves: lines("log.ndjson.gz"),
        note: fs::read(folder.join("manifest.note")).unwrap(),
        manifest,
    }
}

fn gzip(lines: &[Value]) -> Vec<u8> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    lines.iter().for_each(|line| writeln!(gzip, "{line}").unwrap());
    gzip.finish().unwrap()
}

impl Export {
    /// Writes the files, and makes the manifest say what is in them.
    pub(super) fn write(&mut self) {
        fs::create_dir_all(&self.folder).unwrap();
        let put = |name: &str, lines: &[Value]| {
            let bytes = gzip(lines);
            fs::write(self.folder.join(name), &bytes).unwrap();
            (canonical::digest_bytes(&bytes), bytes.len() as u64, lines.len() as u64)
        };
        if let Some(part) = self.manifest.files.first_mut() {
            (part.digest, part.bytes, part.events) = put(&part.name, &self.events);
        }
        if let Some(file) = &mut self.manifest.documents {
            (file.digest, file.bytes, file.documents) = put(&file.name, &self.documents);
        }
        if let Some(file) = self.manifest.log.as_mut().and_then(|log| log.entries.as_mut()) {
            (file.digest, file.bytes, file.documents) = put(&file.name, &self.leaves);
        }
        self.write_manifest();
        fs::write(self.folder.join("manifest.note"), &self.note).unwrap();
    }

    /// Writes the files alone: the manifest stays as it was.
    pub(super) fn write_events(&self) {
        fs::write(self.folder.join("events.ndjson.gz"), gzip(&self.events)).unwrap();
    }

    fn write_manifest(&self) {
        let bytes = serde_json::to_vec(&self.manifest).unwrap();
        fs::write(self.folder.join("manifest.json"), bytes).unwrap();
    }

    fn sign(&mut self, key: &Key) {
        let manifest = &self.manifest;
        let bytes = serde_json::to_vec(manifest).unwrap();
        let digest = canonical::digest_bytes(&bytes);
        let text = tree::manifest_text(&manifest.workspace_id, manifest.number, &digest);
        self.note = note::sign(&tree::origin(&manifest.workspace_id), key, &text).into_bytes();
    }
}

/// Writes exports so that everything in them agrees: heads, digests, the order of manifests; and
/// signs them. What the log says is left.
pub(super) fn write_signed(exports: &mut [Export], key: &Key) {
    write_signed_by(exports, &|_| key);
}

/// The same, each by the key for its number.
pub(super) fn write_signed_by<'k>(exports: &mut [Export], key: &dyn Fn(u64) -> &'k Key) {
    let mut previous = None;
    for export in exports.iter_mut() {
        heads(export);
        export.manifest.previous = previous;
        export.write();
        export.sign(key(export.manifest.number));
        export.write();
        let bytes = fs::read(export.folder.join("manifest.json")).unwrap();
        previous = Some(canonical::digest_bytes(&bytes));
    }
}

// Segments and heads as the events are.
fn heads(export: &mut Export) {
    let Some(part) = export.manifest.files.first_mut() else { return };
    let mut seen: BTreeMap<_, (u64, u64, _)> = BTreeMap::new();
    for event in &export.events {
        let stream: contracts::Stream = event["subject"].as_str().unwrap().parse().unwrap();
        let (seq, hash) = (event["sequence"].as_u64().unwrap(), event["id"].clone());
        let range = seen.entry(stream).or_insert((seq, seq, hash.clone()));
        (range.1, range.2) = (seq, hash);
    }
    part.segments.retain(|stream, _| seen.contains_key(stream));
    part.heads.retain(|stream, _| seen.contains_key(stream));
    for (stream, (from, to, hash)) in seen {
        let segment = part.segments.get_mut(&stream).unwrap();
        (segment.from, segment.to) = (from, to);
        part.heads.insert(stream, serde_json::from_value(hash).unwrap());
    }
}

/// Makes every hash of the chains anew, as if what is written had happened.
pub(super) fn rechain(exports: &mut [Export]) {
    let mut ends: BTreeMap<String, Value> = BTreeMap::new();
    for event in exports.iter_mut().flat_map(|export| &mut export.events) {
        let stream = event["subject"].as_str().unwrap().to_owned();
        let zero = json!(contracts::Digest::zero());
        let prev = ends.get(&stream).cloned().unwrap_or(zero);
        let mut hashed = json!({ "seq": event["sequence"], "at": event["time"], "prev": prev,
            "actor": { "kind": event["actorkind"], "id": event["actor"] },
            "type": event["type"], "data": event["data"] });
        for (ours, theirs) in [
            ("keyId", "keyid"),
            ("subject", "onbehalfof"),
            ("channel", "channel"),
            ("traceparent", "traceparent"),
        ] {
            if let Some(value) = event.get(theirs) {
                hashed[ours] = value.clone();
            }
        }
        event["id"] = json!(canonical::digest(&hashed).unwrap());
        ends.insert(stream, event["id"].clone());
    }
}

/// Makes the log anew out of its entries, and signs its checkpoints.
pub(super) fn relog<'k>(exports: &mut [Export], key: &dyn Fn(u64) -> &'k Key) {
    let mut tree = Compact::default();
    let hashes: BTreeMap<(String, u64), Value> = exports
        .iter()
        .flat_map(|export| &export.events)
        .map(|event| {
            let seq = event["sequence"].as_u64().unwrap();
            ((event["subject"].as_str().unwrap().to_owned(), seq), event["id"].clone())
        })
        .collect();
    for export in exports {
        let Some(log) = &mut export.manifest.log else { continue };
        (log.from, log.subtrees) = (tree.size(), tree.roots().iter().map(hash_text).collect());
        for leaf in &mut export.leaves {
            let stream = leaf["stream"].as_str().unwrap().to_owned();
            if let Some(hash) = hashes.get(&(stream, leaf["seq"].as_u64().unwrap())) {
                leaf["hash"] = hash.clone();
            }
            let leaf: LogLeaf = serde_json::from_value(leaf.clone()).unwrap();
            tree.push(leaf_hash(&leaf).unwrap());
        }
        log.size = tree.size();
        let checkpoint = Checkpoint { size: tree.size(), root: tree.root() };
        log.checkpoint =
            checkpoint.sign(&export.manifest.workspace_id, key(export.manifest.number));
    }
}

/// What the verifier says.
pub(super) fn audited(root: &Path, key: &Key, checkpoint: Option<&str>) -> Report {
    let checkpoint = checkpoint.map(str::to_owned);
    let options = Options { checkpoint, ..Options::new(vec![key.public()]) };
    audit::check(root, &options, &mut |_| {}).unwrap()
}

/// The codes that the second verifier prints, which is of Python.
pub(super) fn by_python(root: &Path, keys: Ring, checkpoint: Option<&str>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verify_evidence.py");
    let mut command = Command::new("python3");
    command.arg("-B").arg(script).arg(root).arg(file("keys.json", &keys.jwks().to_string()));
    command.args(checkpoint.map(|text| file("checkpoint", text)));
    let done = command.output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.stderr, b"", "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.success(), said.ends_with("complete and untouched\n"), "{said}");
    let words = said.lines().filter_map(|line| line.split(' ').next());
    words.filter(|word| word.contains('_') || *word == "FORGED").map(str::to_owned).collect()
}

/// Both verifiers name this.
#[track_caller]
pub(super) fn both_name(root: &Path, code: Code, checkpoint: Option<&str>) {
    let report = audited(root, &own_key(), checkpoint);
    let found: Vec<_> = report.findings.iter().map(|finding| finding.code).collect();
    assert!(found.contains(&code), "{code} is not among {:?}", report.findings);
    let python = by_python(root, Ring::new(own_key()), checkpoint);
    assert!(python.contains(&code.to_string()), "{code} is not among {python:?}");
}
