//! Evidence that was taken away, checked without a control plane: what is whole is found whole, and
//! each way to tamper with it is named, by the verifier and by a second one of Python.

mod exporters;
mod exports;
mod packs;
mod receipts;
mod tampered;

use contracts::ExecutionId;
use countersign_it::{
    archive::MemoryArchive,
    fixture::{EngineFixture, HandClock},
};
use countersign_store::memory::MemoryTable;
use exports::{audited, by_python, own_key};
use serde_json::json;
use std::sync::Arc;
use tempfile::TempDir;

/// How a forger changes evidence.
type Change<'c> = &'c dyn Fn(&mut serde_json::Value);

const HOUR_MS: i64 = 3_600_000;

/// A workspace in which something happens each hour.
struct Story {
    table: Arc<MemoryTable>,
    fixture: EngineFixture,
    archive: MemoryArchive,
    ids: Vec<ExecutionId>,
}

impl Story {
    async fn new() -> Self {
        let table = Arc::new(MemoryTable::default());
        let fixture = EngineFixture::new(table.clone()).await;
        Self { table, fixture, archive: MemoryArchive::default(), ids: Vec::new() }
    }

    /// An execution, from its intent to its end.
    async fn execution(&mut self) -> ExecutionId {
        let find = json!([{ "id": "find", "use": "crm/customer.find",
            "with": { "email": "ada@example.com" } }]);
        let id = self.fixture.submit(find).await;
        self.fixture.drive(&id).await;
        self.ids.push(id.clone());
        id
    }

    fn clock(&self) -> &HandClock {
        &self.fixture.clock
    }

    /// The hour passes, and is exported.
    async fn export(&mut self) {
        self.clock().pass(HOUR_MS);
        let exported = self.fixture.engine.exports.export(&self.archive, 60_000).await.unwrap();
        assert_eq!((exported.broken, exported.left), (0, 0));
    }

    /// The folder that an auditor is given.
    fn folder(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        self.archive.write_to(folder.path());
        folder
    }

    /// Three hours with two executions each.
    async fn of_three_hours() -> Self {
        let mut story = Self::new().await;
        for _ in 0..3 {
            story.execution().await;
            story.execution().await;
            story.export().await;
        }
        story
    }
}

#[tokio::test]
async fn what_is_whole_is_found_whole_by_both_verifiers() {
    let story = Story::of_three_hours().await;
    let folder = story.folder();
    let report = audited(folder.path(), &own_key(), None);
    assert!(report.is_whole(), "{:#?}", report.findings);
    let checked = &report.checked;
    assert_eq!((checked.executions, checked.exports, checked.newer), (6, 6, 0));
    let kinds = exports::read(folder.path());
    let kinds = kinds.iter().flat_map(|export| &export.documents);
    let kinds: std::collections::BTreeSet<_> =
        kinds.map(|document| document["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(Vec::from_iter(kinds), ["intent", "plan", "policy", "verdict", "view"]);
    assert!(checked.events > 6 * 5, "{checked:?}");
    assert!(checked.entries >= 6 && checked.workspaces.len() == 1, "{checked:?}");
    let ring = cs_core::warrant::Ring::new(own_key());
    assert_eq!(by_python(folder.path(), ring, None), [""; 0]);
}

/// An execution's own evidence: whole, and each way to tamper with it is named.
#[tokio::test]
async fn a_bundle_proves_one_execution_and_nothing_else_does() {
    let mut story = Story::new().await;
    for _ in 0..5 {
        story.execution().await;
    }
    let engine = &story.fixture.engine;
    engine.transparency.append_waiting().await.unwrap();
    let mut auditor = story.fixture.agent.clone();
    auditor.grants.insert("control-plane.audit".into());
    let request = contracts::command::ExportEvidence { execution_id: story.ids[1].clone() };
    let answer = engine.bundles.export(&auditor, request).await.unwrap();
    let bundle = json!(answer.bundle);
    let checked = |bundle: &serde_json::Value, key: &cs_core::warrant::Key| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bundle.to_string()).unwrap();
        audited(file.path(), key, None)
    };
    let report = checked(&bundle, &own_key());
    assert!(report.is_whole(), "{:#?}", report.findings);
    assert!(report.checked.documents >= 4, "intent, plan, verdict, policy: {:?}", report.checked);
    let text = bundle.to_string();
    for other in [0, 2, 3, 4] {
        assert!(!text.contains(story.ids[other].as_str()), "it says nothing of another one");
    }
    let other = cs_core::warrant::Key::new(&[8; 32]);
    assert_eq!(checked(&bundle, &other).findings[0].code, audit::Code::UnknownKey);
    let tampered = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = bundle.clone();
        change(&mut changed);
        let report = checked(&changed, &own_key());
        report.findings.first().map(|finding| finding.code)
    };
    use audit::Code::{DocumentChanged, EventChanged, EventMissing, LogChanged, TailCut};
    let cases: [(Change<'_>, audit::Code); 5] = [
        (&|bundle| bundle["events"][1]["actor"] = json!("eve"), EventChanged),
        (&|bundle| drop(bundle["events"].as_array_mut().unwrap().remove(2)), EventMissing),
        (&|bundle| drop(bundle["events"].as_array_mut().unwrap().pop()), TailCut),
        (&|bundle| bundle["documents"][0]["body"]["text"] = json!("else"), DocumentChanged),
        (&|bundle| bundle["proof"]["index"] = json!(0), LogChanged),
    ];
    for (change, code) in cases {
        assert_eq!(tampered(change), Some(code));
    }
}
