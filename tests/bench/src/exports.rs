//! The offline verifier over exports of its own making, at two sizes: events a second, and memory,
//! which must not grow with the number of events.

use crate::{Row, chain::memory_mib};
use audit::Options;
use contracts::{
    Digest, ExecutionId, Stream, Timestamp, WorkspaceId,
    event::{Actor, ActorKind, Event, ExecutionCompleted, ExecutionEvent, StepCompleted},
    evidence::{Documents, LogLeaf, LogPart, Manifest, Part, Range},
};
use cs_core::{
    canonical, note,
    trace::{Head, Stamp, append},
    transparency::{self as tree, Checkpoint, Compact, hash_text, leaf_hash},
    warrant::Key,
};
use engine::cloud_event;
use flate2::{Compression, GzBuilder};
use serde::Serialize;
use serde_json::json;
use std::{collections::BTreeMap, fs, io::Write as _, path::Path, process::Command, time::Instant};

/// Events of one execution, and executions of one export.
const EVENTS: usize = 16;
const EXECUTIONS: usize = 1_000;

/// Measures both sizes, each in a process of its own: memory is that of a whole process.
pub fn run(rows: &mut Vec<Row>, quick: bool) {
    let sizes = if quick { [2, 8] } else { [8, 64] };
    let mut memory = Vec::new();
    for exports in sizes {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), exports);
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program).arg("--verify-folder").arg(folder.path()).output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        let figures: Vec<f64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [events, seconds, mib] = figures.as_slice() else { panic!("{said}") };
        let name = format!("verify exports, {events} events");
        rows.push(Row::new(&name, events / seconds, "events/s").at_least(100_000.0));
        rows.push(Row::new(format!("{name}: memory"), *mib, "MiB"));
        memory.push(*mib);
    }
    if let [few, many] = memory.as_slice() {
        let factor = sizes[1] / sizes[0];
        let name = format!("its memory at {factor} times the events");
        rows.push(Row::new(name, many / few, "times"));
    }
}

/// Verifies a folder, and prints events, seconds and the most memory that the process had.
pub fn verify(folder: &Path) {
    let began = Instant::now();
    let report = audit::check(folder, &Options::new(vec![key().public()]), &mut |_| {}).unwrap();
    let seconds = began.elapsed().as_secs_f64();
    assert!(report.is_whole(), "{:?}", report.findings);
    println!("{} {seconds} {}", report.checked.events, memory_mib("self", "VmHWM"));
}

fn key() -> Key {
    Key::new(&[7; 32])
}

// So many exports of a workspace, each with the executions of an hour, and its log behind.
fn write(root: &Path, exports: u64) {
    let workspace: WorkspaceId = "bench".parse().unwrap();
    let (mut tree, mut previous) = (Compact::default(), None);
    for export in 0..exports {
        let at = Timestamp::from_ms(1_800_000_000_000 + export as i64 * 3_600_000);
        let folder = root.join(format!("{export:06}"));
        fs::create_dir(&folder).unwrap();
        let (mut lines, mut leaves) = (Vec::new(), Vec::new());
        let (mut heads, mut segments) = (BTreeMap::new(), BTreeMap::new());
        for index in 0..EXECUTIONS {
            let number = export as u128 * EXECUTIONS as u128 + index as u128;
            let stream = Stream::Trace(ExecutionId::from_bytes(number.to_be_bytes()));
            let head = execution(&workspace, &stream, at, &mut lines);
            let range = Range { from: 1, to: head.seq, prev: Digest::zero() };
            segments.insert(stream.clone(), range);
            heads.insert(stream.clone(), head.hash.clone());
            leaves.push(LogLeaf { stream, seq: head.seq, hash: head.hash, at });
        }
        let (from, subtrees) = (tree.size(), tree.roots().iter().map(hash_text).collect());
        leaves.iter().for_each(|leaf| tree.push(leaf_hash(leaf).unwrap()));
        let checkpoint = Checkpoint { size: tree.size(), root: tree.root() };
        let (digest, bytes) = put(&folder, "events.ndjson.gz", &lines);
        let name = "events.ndjson.gz".to_owned();
        let part = Part { name, digest, bytes, events: lines.len() as u64, heads, segments };
        let (digest, bytes) = put(&folder, "log.ndjson.gz", &leaves);
        let name = "log.ndjson.gz".to_owned();
        let entries = Some(Documents { name, digest, bytes, documents: leaves.len() as u64 });
        let manifest = Manifest {
            workspace_id: workspace.clone(),
            number: export + 1,
            previous: previous.take(),
            from: at,
            to: at.plus_ms(3_600_000),
            files: vec![part],
            documents: None,
            broken: BTreeMap::new(),
            ahead: 0,
            log: Some(LogPart {
                checkpoint: checkpoint.sign(&workspace, &key()),
                size: tree.size(),
                from,
                subtrees,
                entries,
            }),
        };
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let digest = canonical::digest_bytes(&bytes);
        let text = tree::manifest_text(&workspace, manifest.number, &digest);
        let signed = note::sign(&tree::origin(&workspace), &key(), &text);
        fs::write(folder.join("manifest.note"), signed).unwrap();
        fs::write(folder.join("manifest.json"), bytes).unwrap();
        previous = Some(digest);
    }
}

fn execution(
    workspace: &WorkspaceId,
    stream: &Stream,
    at: Timestamp,
    lines: &mut Vec<contracts::event::CloudEvent>,
) -> Head {
    let id: ExecutionId = stream.to_string().parse().unwrap();
    let stamp = Stamp {
        key_id: Some("ab12cd34".into()),
        channel: Some("api_key".into()),
        ..Stamp::new(at, Actor { kind: ActorKind::Agent, id: "bench-agent".into() }, None)
    };
    let step = |n: usize| -> Event {
        let data: StepCompleted = serde_json::from_value(json!({ "executionId": id,
            "runId": format!("run_{}", "0".repeat(32)), "stepId": format!("step{n}"),
            "attempt": 1, "completedAt": at, "fence": 7,
            "outputDigest": format!("sha256:{}", "1".repeat(64)) }))
        .unwrap();
        ExecutionEvent::StepCompleted(data).into()
    };
    let end: ExecutionCompleted = serde_json::from_value(json!({ "executionId": id,
        "runId": format!("run_{}", "0".repeat(32)), "completedAt": at,
        "outcome": "succeeded" }))
    .unwrap();
    let events = (1..EVENTS).map(step).chain([ExecutionEvent::ExecutionCompleted(end).into()]);
    let mut head = Head::default();
    let entries = append(&mut head, &stamp, events).unwrap();
    lines.extend(entries.into_iter().map(|entry| cloud_event(workspace, stream, entry)));
    head
}

fn put<T: Serialize>(folder: &Path, name: &str, lines: &[T]) -> (Digest, u64) {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    for line in lines {
        gzip.write_all(&serde_json::to_vec(line).unwrap()).unwrap();
        gzip.write_all(b"\n").unwrap();
    }
    let bytes = gzip.finish().unwrap();
    fs::write(folder.join(name), &bytes).unwrap();
    (canonical::digest_bytes(&bytes), bytes.len() as u64)
}
