//! Each way to tamper with exports, done with as much made good as the forger can.

use super::{
    HOUR_MS, Story,
    exports::{Export, audited, both_name, by_python, own_key, read, rechain, relog, write_signed},
};
use audit::Code;
use contracts::event::{Entry, Event, ExecutionEvent};
use countersign_store::{Stream, keys};
use cs_core::{
    trace::{self, Stamp},
    warrant::{Key, Ring},
};
use serde_json::{Value, json};

// The folder of a story of three hours, changed.
async fn tampered(change: impl FnOnce(&mut Vec<Export>)) -> tempfile::TempDir {
    let folder = Story::of_three_hours().await.folder();
    let mut exports = read(folder.path());
    change(&mut exports);
    folder
}

// The last export with events.
fn with_events(exports: &mut [Export]) -> &mut Export {
    exports.iter_mut().rfind(|export| !export.events.is_empty()).unwrap()
}

// Of the export's first execution.
fn execution(export: &Export) -> String {
    let mut subjects = export.events.iter().map(|event| event["subject"].as_str().unwrap());
    subjects.find(|subject| *subject != "log").unwrap().to_owned()
}

fn of<'e>(export: &'e mut Export, subject: &str, seq: u64) -> &'e mut Value {
    let mut events = export.events.iter_mut();
    events.find(|event| event["subject"] == subject && event["sequence"] == seq).unwrap()
}

#[tokio::test]
async fn attack_an_edited_byte() {
    let folder = tampered(|exports| {
        let export = with_events(exports);
        let id = execution(export);
        of(export, &id, 2)["actor"] = json!("eve");
        export.write_events();
    })
    .await;
    both_name(folder.path(), Code::EventChanged, None);
    both_name(folder.path(), Code::FileChanged, None);
    // The manifest made good, which only its signature shows.
    let folder = tampered(|exports| {
        let export = with_events(exports);
        let id = execution(export);
        of(export, &id, 2)["actor"] = json!("eve");
        export.write();
    })
    .await;
    both_name(folder.path(), Code::EventChanged, None);
    both_name(folder.path(), Code::ManifestChanged, None);
}

/// Even who can sign cannot: the hashes of what follows show it.
#[tokio::test]
async fn attack_a_removed_event() {
    let folder = tampered(|exports| {
        let export = with_events(exports);
        let id = execution(export);
        export.events.retain(|event| event["subject"] != *id || event["sequence"] != 3);
        write_signed(exports, &own_key());
    })
    .await;
    both_name(folder.path(), Code::EventMissing, None);
}

/// Whoever signs, the log knows where each execution ended.
#[tokio::test]
async fn attack_a_cut_tail() {
    let folder = tampered(|exports| {
        let export = with_events(exports);
        let id = execution(export);
        export
            .events
            .retain(|event| event["subject"] != *id || event["sequence"].as_u64().unwrap() < 5);
        write_signed(exports, &own_key());
    })
    .await;
    both_name(folder.path(), Code::TailCut, None);
}

#[tokio::test]
async fn attack_a_removed_execution() {
    let folder = tampered(|exports| {
        let export = with_events(exports);
        let id = execution(export);
        export.events.retain(|event| event["subject"] != *id);
        write_signed(exports, &own_key());
    })
    .await;
    both_name(folder.path(), Code::ExecutionMissing, None);
}

#[tokio::test]
async fn attack_a_removed_export() {
    let folder = tampered(|exports| std::fs::remove_dir_all(&exports[2].folder).unwrap()).await;
    both_name(folder.path(), Code::ExportMissing, None);
    let first = tampered(|exports| std::fs::remove_dir_all(&exports[0].folder).unwrap()).await;
    both_name(first.path(), Code::ExportMissing, None);
    // The last ones: only who kept a checkpoint can know.
    let mut kept = String::new();
    let last = tampered(|exports| {
        let log = |export: &Export| Some(export.manifest.log.as_ref()?.checkpoint.clone());
        kept = exports.iter().rev().find_map(log).unwrap();
        for export in &exports[4..] {
            std::fs::remove_dir_all(&export.folder).unwrap();
        }
    })
    .await;
    assert!(audited(last.path(), &own_key(), None).is_whole());
    both_name(last.path(), Code::LogCut, Some(&kept));
}

#[tokio::test]
async fn attack_a_swapped_export() {
    let folder = tampered(|exports| {
        // Another one in its place, whole in itself, and signed.
        let export = with_events(exports);
        export.documents.clear();
        export.manifest.documents = None;
        let rest = std::slice::from_mut(export);
        let previous = rest[0].manifest.previous.clone();
        write_signed(rest, &own_key());
        assert_ne!(rest[0].manifest.previous, previous);
    })
    .await;
    both_name(folder.path(), Code::ExportSwapped, None);
}

#[tokio::test]
async fn attack_a_fork_of_the_log() {
    let folder = tampered(|exports| {
        // From the second hour on, another log.
        let of_log = |export: &&mut Export| export.manifest.log.is_some();
        let second = exports.iter_mut().filter(of_log).nth(1).unwrap();
        let log = second.manifest.log.as_mut().unwrap();
        log.subtrees.iter_mut().for_each(|root| *root = "00".repeat(32));
        write_signed(exports, &own_key());
    })
    .await;
    both_name(folder.path(), Code::LogForked, None);
}

/// An entry is taken out, and everything but the checkpoint made good and signed.
#[tokio::test]
async fn attack_a_removed_entry_of_the_log() {
    let folder = tampered(|exports| {
        let last = exports.iter_mut().rfind(|export| !export.leaves.is_empty()).unwrap();
        last.leaves.remove(0);
        write_signed(exports, &own_key());
    })
    .await;
    both_name(folder.path(), Code::LogChanged, None);
}

/// All of it made anew and signed: by another key it is the wrong key; by the right one, only a
/// checkpoint that was kept elsewhere shows it.
#[tokio::test]
async fn attack_a_re_signed_history() {
    let rewrite = |exports: &mut Vec<Export>, key: &Key| {
        let export = with_events(exports);
        let id = execution(export);
        of(export, &id, 1)["data"]["actorId"] = json!("eve");
        rechain(exports);
        relog(exports, &|_| key);
        write_signed(exports, key);
    };
    let other = Key::new(&[9; 32]);
    let folder = tampered(|exports| rewrite(exports, &other)).await;
    both_name(folder.path(), Code::UnknownKey, None);
    let mut kept = String::new();
    let folder = tampered(|exports| {
        let log = |export: &Export| Some(export.manifest.log.as_ref()?.checkpoint.clone());
        kept = exports.iter().rev().find_map(log).unwrap();
        rewrite(exports, &own_key());
    })
    .await;
    let whole = audited(folder.path(), &own_key(), None);
    assert!(whole.is_whole(), "nothing in it shows that: {:#?}", whole.findings);
    both_name(folder.path(), Code::LogForked, Some(&kept));
}

#[tokio::test]
async fn attack_a_wrong_key_and_a_forged_signature() {
    let folder = tampered(|_| ()).await;
    let other = || Key::new(&[9; 32]);
    let report = audited(folder.path(), &other(), None);
    assert_eq!(report.findings[0].code, Code::UnknownKey);
    assert!(by_python(folder.path(), Ring::new(other()), None).contains(&"UNKNOWN_KEY".into()));
    let forged = tampered(|exports| {
        let path = exports[0].folder.join("manifest.note");
        let note = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, note.replacen("\n1\n", "\n7\n", 1)).unwrap();
    })
    .await;
    both_name(forged.path(), Code::Forged, None);
}

#[tokio::test]
async fn attack_a_changed_document() {
    let folder = tampered(|exports| {
        let export = with_events(exports);
        let intent = export.documents.iter_mut().find(|document| document["kind"] == "intent");
        intent.unwrap()["body"]["text"] = json!("something else");
        write_signed(exports, &own_key());
    })
    .await;
    both_name(folder.path(), Code::DocumentChanged, None);
}

/// The clock of the control plane itself goes back by ten minutes.
#[tokio::test]
async fn attack_a_clock_that_is_moved_back() {
    let mut story = Story::new().await;
    let find = json!([{ "id": "find", "use": "crm/customer.find",
        "with": { "email": "ada@example.com" } }]);
    let id = story.fixture.submit(find).await;
    story.clock().pass(-HOUR_MS / 6);
    story.fixture.drive(&id).await;
    story.clock().pass(HOUR_MS);
    story.export().await;
    both_name(story.folder().path(), Code::ClockBack, None);
}

/// Seconds apart are no fault: functions run on machines with clocks of their own.
#[tokio::test]
async fn clocks_that_differ_by_seconds_are_no_finding() {
    let mut story = Story::new().await;
    for skew in [-5_000, 8_000, -30_000, 12_000] {
        let find = json!([{ "id": "find", "use": "crm/customer.find",
            "with": { "email": "ada@example.com" } }]);
        let id = story.fixture.submit(find).await;
        story.clock().pass(skew);
        story.fixture.drive(&id).await;
    }
    story.clock().pass(HOUR_MS);
    story.export().await;
    let report = audited(story.folder().path(), &own_key(), None);
    assert!(report.is_whole(), "{:#?}", report.findings);
}

/// An operator with the whole table rewrites one execution so that everything in the table agrees:
/// events, chain, head. The log has its true end.
#[tokio::test]
async fn attack_an_operator_rewrites_an_execution_consistently() {
    let mut story = Story::of_three_hours().await;
    let id = story.execution().await;
    story.fixture.engine.transparency.append_waiting().await.unwrap();
    let workspace = story.fixture.agent.workspace.clone();
    let entries = story.fixture.engine.store();
    let entries =
        entries.entries(&workspace, &Stream::Trace(id.clone()), 1..=100, 100).await.unwrap();
    let mut head = trace::Head::default();
    for entry in entries {
        let Entry { at, actor, key_id, subject, channel, traceparent, mut event, seq, .. } = entry;
        if let Event::Execution(ExecutionEvent::IntentReceived(data)) = &mut event {
            data.actor_id = "eve".into();
        }
        let stamp = Stamp { at, actor, key_id, subject, channel, traceparent };
        let entry = trace::append(&mut head, &stamp, vec![event]).unwrap().remove(0);
        let body = serde_json::to_vec(&entry).unwrap();
        story.table.tamper(&keys::event(&workspace, &id, seq), |item| item.body = body.clone());
    }
    story.table.tamper(&keys::head(&workspace, &id), |item| {
        let mut record: Value = serde_json::from_slice(&item.body).unwrap();
        record["chain"] = json!(head);
        item.body = serde_json::to_vec(&record).unwrap();
    });
    story.export().await;
    both_name(story.folder().path(), Code::ExecutionMissing, None);
}

/// He also takes the execution's end off the list, so that it never comes into the log.
#[tokio::test]
async fn attack_an_operator_keeps_an_execution_from_the_log() {
    let mut story = Story::of_three_hours().await;
    let id = story.execution().await;
    let workspace = story.fixture.agent.workspace.clone();
    let (partition, prefix) = keys::unlogged_of(&workspace);
    let query = countersign_store::Query::prefix(partition, &prefix, 100);
    let store = story.fixture.engine.store();
    for (key, _) in store.query(&query).await.unwrap() {
        if key.sort.contains(id.as_str()) {
            use countersign_store::{Condition, Table as _, Write};
            let remove = Write::Delete { key, condition: Condition::Any };
            story.table.transact(vec![remove]).await.unwrap();
        }
    }
    // The next hour: the log goes on without it.
    story.execution().await;
    story.export().await;
    both_name(story.folder().path(), Code::ExecutionUnlogged, None);
}

/// He rewrites an entry of the log with its tiles: the next checkpoint is not signed for it.
#[tokio::test]
async fn attack_an_operator_rewrites_the_tree() {
    let mut story = Story::of_three_hours().await;
    let workspace = story.fixture.agent.workspace.clone();
    story.table.tamper(&keys::tree_tile(&workspace, (0, 0)), |item| {
        let text = String::from_utf8(item.body.clone()).unwrap();
        let at = text.find(':').unwrap() + 2;
        let mut bytes = text.into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        item.body = bytes;
    });
    story.execution().await;
    let failed = story.fixture.engine.transparency.append_waiting().await.unwrap();
    assert_eq!(failed, 1, "nothing is signed for a tree that is not the one signed before");
}
