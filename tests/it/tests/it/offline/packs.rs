//! Packs for auditors: made of exports, and checked against them.

use super::{
    Change, Story,
    exports::{audited, by_python, own_key, read},
};
use audit::{AuditError, Code, Options, PACK_EXPORTS, PACK_FILE, PackRequest, Report};
use contracts::{
    Timestamp,
    pack::{Control, Pack},
};
use cs_core::warrant::{Key, Ring};
use serde_json::{Value, json};
use std::{fs, path::Path};
use tempfile::TempDir;

const DAY_MS: i64 = 86_400_000;

// The pack that a story's exports give, in a folder of its own.
fn packed(story: &Story, control: Control) -> (TempDir, Pack) {
    let folder = tempfile::tempdir().unwrap();
    let exports = folder.path().join(PACK_EXPORTS);
    story.archive.write_to(&exports);
    let workspace = read(&exports)[0].manifest.workspace_id.clone();
    let from = Timestamp::from_ms(1_795_001_400_000 / DAY_MS * DAY_MS);
    let request = PackRequest { control, workspace, from, to: from.plus_ms(DAY_MS) };
    let options = Options::new(vec![own_key().public()]);
    let (pack, report) = audit::pack(&exports, &request, &options, &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:#?}", report.findings);
    write(folder.path(), &json!(pack));
    (folder, pack)
}

fn write(folder: &Path, pack: &Value) {
    fs::write(folder.join(PACK_FILE), pack.to_string()).unwrap();
}

fn codes(report: &Report) -> Vec<Code> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[tokio::test]
async fn a_pack_of_each_control_is_whole_and_both_verifiers_check_its_exports() {
    let story = Story::of_three_hours().await;
    for control in [Control::EuAiAct12, Control::EuAiAct14, Control::Soc2Cc7, Control::Iso42001] {
        let (folder, pack) = packed(&story, control);
        let report = audited(folder.path(), &own_key(), None);
        assert!(report.is_whole(), "{control:?}: {:#?}", report.findings);
        let lines: usize = pack.groups.iter().map(|group| group.lines.len()).sum();
        assert_eq!(report.checked.lines, lines as u64, "{control:?}");
        assert_eq!(report.checked.pack.as_deref(), Some(control.as_str()));
        assert_eq!(by_python(folder.path(), Ring::new(own_key()), None), [""; 0]);
        let (_, again) = packed(&story, control);
        assert_eq!(pack, again, "the same exports give the same pack");
    }
}

#[tokio::test]
async fn each_use_is_a_line_with_who_asked_when_and_how_it_ended() {
    let story = Story::of_three_hours().await;
    let (_folder, pack) = packed(&story, Control::EuAiAct12);
    let uses = &pack.groups[0].lines;
    assert_eq!(uses.len(), story.ids.len());
    for line in uses {
        let fact = |name: &str| {
            let fact = line.facts.iter().find(|fact| fact.name == name);
            fact.unwrap_or_else(|| panic!("{name}: {line:#?}")).value.clone()
        };
        assert!(fact("asked by").starts_with("agent "), "{line:?}");
        assert_eq!(fact("outcome"), "completed");
        assert!(fact("from") <= fact("to"), "{line:?}");
        assert_eq!(fact("calls"), "1");
        assert!(fact("plan").starts_with("sha256:"), "{line:?}");
        assert!(fact("verdict").contains("risk"), "{line:?}");
    }
    let counts: Vec<_> = pack.figures.iter().map(|figure| figure.count).collect();
    assert_eq!(counts, [6, 6, 6, 0, 0, 0], "{:?}", pack.figures);
}

#[tokio::test]
async fn what_lies_outside_of_the_period_is_in_no_line_and_no_figure() {
    let story = Story::of_three_hours().await;
    let exports = story.folder();
    let workspace = read(exports.path())[0].manifest.workspace_id.clone();
    let options = Options::new(vec![own_key().public()]);
    // The second of the three hours.
    let from = Timestamp::from_ms(1_795_001_400_000 + super::HOUR_MS);
    let to = from.plus_ms(super::HOUR_MS);
    let request = PackRequest { control: Control::EuAiAct12, workspace, from, to };
    let (pack, _) = audit::pack(exports.path(), &request, &options, &mut |_| {}).unwrap();
    assert_eq!(pack.groups[0].lines.len(), 2);
    assert_eq!(pack.figures[0].count, 2);
    let lines = pack.groups.iter().flat_map(|group| &group.lines);
    assert!(lines.clone().all(|line| from <= line.at && line.at < to));
    // What was in force when the period began came before it.
    let request = PackRequest { control: Control::Iso42001, ..request };
    let (pack, _) = audit::pack(exports.path(), &request, &options, &mut |_| {}).unwrap();
    let policies = &pack.groups[0].lines;
    assert!(policies.len() == 1 && policies[0].at < from, "{policies:?}");
    let nobody = PackRequest { workspace: "nobody".parse().unwrap(), ..request };
    let refused = audit::pack(exports.path(), &nobody, &options, &mut |_| {});
    assert!(matches!(refused, Err(AuditError::Nothing(_))));
}

#[tokio::test]
async fn attack_a_line_of_a_pack_that_is_changed_made_up_or_left_out() {
    let story = Story::of_three_hours().await;
    let (folder, pack) = packed(&story, Control::EuAiAct12);
    let pack = json!(pack);
    let found = |change: &dyn Fn(&mut Value)| {
        let mut changed = pack.clone();
        change(&mut changed);
        assert_ne!(changed, pack);
        write(folder.path(), &changed);
        codes(&audited(folder.path(), &own_key(), None))
    };
    let cases: [(&str, Change<'_>, Code); 12] = [
        (
            "another hash",
            &|pack| {
                let hash = pack["groups"][0]["lines"][1]["hash"].clone();
                pack["groups"][0]["lines"][0]["hash"] = hash;
            },
            Code::PackLineMissing,
        ),
        (
            "an event that never was",
            &|pack| pack["groups"][1]["lines"][0]["seq"] = json!(999),
            Code::PackLineMissing,
        ),
        (
            "another person",
            &|pack| pack["groups"][0]["lines"][0]["actor"] = json!("eve"),
            Code::PackChanged,
        ),
        (
            "another fact",
            &|pack| pack["groups"][0]["lines"][0]["facts"][0]["value"] = json!("eve"),
            Code::PackChanged,
        ),
        (
            "another export",
            &|pack| pack["groups"][0]["lines"][0]["export"] = json!(77),
            Code::PackChanged,
        ),
        (
            "another time",
            &|pack| pack["groups"][0]["lines"][0]["at"] = json!("2020-01-01T00:00:00.000Z"),
            Code::PackChanged,
        ),
        (
            "a line left out",
            &|pack| drop(pack["groups"][0]["lines"].as_array_mut().unwrap().remove(0)),
            Code::PackChanged,
        ),
        (
            "a line twice in the place of another",
            &|pack| pack["groups"][1]["lines"][1] = pack["groups"][1]["lines"][0].clone(),
            Code::PackChanged,
        ),
        (
            "a true line in a group where it answers nothing",
            &|pack| {
                let line = pack["groups"][1]["lines"][0].clone();
                pack["groups"][4]["lines"].as_array_mut().unwrap().push(line);
            },
            Code::PackChanged,
        ),
        ("a figure", &|pack| pack["figures"][3]["count"] = json!(5), Code::PackChanged),
        ("a title", &|pack| pack["groups"][0]["title"] = json!("Nothing"), Code::PackChanged),
        ("another form", &|pack| pack["more"] = json!(1), Code::Unreadable),
    ];
    for (what, change, code) in cases {
        let found = found(change);
        assert!(found.contains(&code), "{what}: {code} is not among {found:?}");
    }
    // A group that is left out, with what it would have said.
    let found = found(&|pack| drop(pack["groups"].as_array_mut().unwrap().pop()));
    assert!(found.contains(&Code::PackChanged), "{found:?}");
}

#[tokio::test]
async fn attack_an_export_of_a_pack_that_is_changed_or_another_key() {
    let story = Story::of_three_hours().await;
    let (folder, _) = packed(&story, Control::Soc2Cc7);
    let found = codes(&audited(folder.path(), &Key::new(&[8; 32]), None));
    assert!(found.contains(&Code::UnknownKey), "{found:?}");
    let mut exports = read(&folder.path().join(PACK_EXPORTS));
    let export = exports.iter_mut().find(|export| !export.events.is_empty()).unwrap();
    export.events[0]["actor"] = json!("eve");
    export.write_events();
    let found = codes(&audited(folder.path(), &own_key(), None));
    assert!(found.contains(&Code::EventChanged) && found.contains(&Code::FileChanged), "{found:?}");
    // What the exports lack, no line makes good.
    assert!(found.contains(&Code::PackChanged), "{found:?}");
    let (folder, _) = packed(&story, Control::Soc2Cc7);
    fs::remove_dir_all(&read(&folder.path().join(PACK_EXPORTS))[0].folder).unwrap();
    let found = codes(&audited(folder.path(), &own_key(), None));
    assert!(found.contains(&Code::ExportMissing), "{found:?}");
    assert!(found.contains(&Code::PackLineMissing), "{found:?}");
}
