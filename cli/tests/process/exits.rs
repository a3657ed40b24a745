//! What a command says, and what it exits with.

use crate::kit::{BIN, Process, cli, cli_as};
use serde_json::{Value, json};
use std::process::Command;

#[test]
fn the_demo_proves_what_it_says() {
    let output = Command::new(BIN).args(["demo", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let proven: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(proven["proven"].as_array().unwrap().len() >= 12, "{proven}");
    assert!(proven["milliseconds"].as_u64().unwrap() < 10_000, "{proven}");
}

#[test]
fn the_command_line_tells_clearly_and_exits_rightly() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let (code, text) = cli(&process, &["list"]);
    assert!(code == 0 && text.contains("execution"), "{text}");
    let (code, text) = cli(&process, &["get", &format!("exe_{}", "0".repeat(32))]);
    assert!(code == 1 && text.contains("NOT_FOUND"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours where there is no terminal");
    assert_eq!(cli(&process, &["frobnicate"]).0, 2);
    let (code, text) = cli(&process, &["--endpoint", "http://127.0.0.1:9", "list"]);
    assert!(code == 3 && text.contains("countersign dev"), "{text}");
    let (code, text) = cli(&process, &["keys", "create", "grace", "--kind", "human"]);
    assert!(code == 1 && text.contains("FORBIDDEN"), "an agent makes no keys: {text}");
    let person = ["keys", "create", "grace", "--kind", "human", "--json"];
    let (code, text) = cli_as(&process, "approverKey", folder.path(), &person);
    assert!(code == 0 && text.contains("csk_"), "{text}");
    let (code, text) = cli(&process, &["capabilities", "--json"]);
    assert!(code == 0 && serde_json::from_str::<Value>(&text).is_ok(), "{text}");
}

#[test]
fn exit_codes_say_what_became_of_a_draft_and_problems_are_json() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let draft = folder.path().join("draft.json");
    let steps = json!({ "steps": [{ "id": "a", "use": "no/such.operation", "with": {} }] });
    std::fs::write(&draft, steps.to_string()).unwrap();
    let submit = ["submit", "x", "--draft", draft.to_str().unwrap()];
    let (code, text) = cli(&process, &submit);
    assert!(
        code == 1 && text.contains("rejected") && text.contains("UNKNOWN_SKILL"),
        "{code} {text}"
    );
    let (code, text) = cli(&process, &[&submit[..], &["--json"]].concat());
    let view: Value = serde_json::from_str(&text).unwrap();
    assert!(
        code == 1 && view["status"] == "rejected" && view["reasons"][0]["code"].is_string(),
        "{text}"
    );
    let (code, text) = cli(&process, &["get", &format!("exe_{}", "0".repeat(32)), "--json"]);
    let problem: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(code == 1 && problem["code"] == "NOT_FOUND", "{text}");
    let (code, text) = cli(&process, &["--endpoint", "http://127.0.0.1:9", "list", "--json"]);
    let problem: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(code == 3 && problem["code"] == "UNREACHABLE", "{text}");
}
