//! Identifiers in short, and rows of a terminal's width.

use crate::kit::{BIN, Process, assert_fits_a_terminal, cli, cli_as};
use serde_json::Value;
use std::{path::Path, process::Command};

fn submit(process: &Process, text: &str) -> String {
    let (code, answer) = cli(process, &["submit", text, "--mode", "manual", "--json"]);
    assert_eq!(code, 0, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["executionId"].as_str().unwrap().to_owned()
}

// The first word of each row that begins an execution.
fn listed(text: &str) -> Vec<&str> {
    let rows = text.lines().filter(|line| line.starts_with("exe_"));
    rows.filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn what_a_list_shows_names_an_execution() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let ids: Vec<String> = (0..12).map(|n| submit(&process, &format!("intent {n}"))).collect();
    let (_, text) = cli(&process, &["list", "--limit", "5"]);
    assert_fits_a_terminal(&text);
    let short = listed(&text);
    assert_eq!(short.len(), 5, "{text}");
    for (short, id) in short.iter().zip(ids.iter().rev()) {
        assert!(short.len() < id.len() && id.starts_with(short), "{short} {id}");
        // With and without what names its kind.
        for name in [short, short.trim_start_matches("exe_")] {
            let (code, text) = cli(&process, &["get", name, "--json"]);
            let view: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((code, view["executionId"].as_str()), (0, Some(id.as_str())), "{text}");
        }
        let (code, text) = cli(&process, &["cancel", short]);
        assert!(code == 0 && text.contains(id.as_str()), "{text}");
    }
    let (code, text) = cli(&process, &["get", "exe_0"]);
    let candidates = ids.iter().filter(|id| text.contains(id.as_str())).count();
    assert!(code == 2 && text.contains("ambiguous") && candidates == 10, "{text}");
    assert!(text.contains("and 2 more"), "{text}");
    let (code, text) = cli(&process, &["get", "exe_ffff"]);
    assert!(code == 2 && text.contains("no recent execution"), "{text}");
    let (_, text) = cli(&process, &["list", "--wide"]);
    assert_eq!(listed(&text), ids.iter().rev().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn keys_and_subscriptions_are_named_by_their_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let run = |args: &[&str]| {
        let (code, text) = cli_as(&process, "approverKey", Path::new("."), args);
        assert_eq!(code, 0, "{args:?}: {text}");
        text
    };
    let made = run(&["keys", "create", "temp", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let id = made["key"]["id"].as_str().unwrap();
    let list = run(&["keys", "list"]);
    assert_fits_a_terminal(&list);
    let row = list.lines().find(|line| line.contains("temp")).unwrap();
    let short = row.split_whitespace().next().unwrap();
    assert!(id.starts_with(short), "{row}");
    assert!(run(&["keys", "revoke", short]).contains(id));
    let url = "https://audit.example.com/hook";
    let made = run(&["webhook", "create", url, "--type", "controlPlane.execution.completed"]);
    assert!(made.contains("whsec_"), "{made}");
    let list = run(&["webhook", "list"]);
    assert_fits_a_terminal(&list);
    let row = list.lines().nth(1).unwrap();
    let short = row.split_whitespace().next().unwrap();
    assert!(run(&["webhook", "rotate-secret", short]).contains("whsec_"));
    assert!(run(&["webhook", "remove", short]).contains("removed"));
    assert!(run(&["webhook", "list"]).contains("no subscriptions"));
}

#[test]
fn a_wide_terminal_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let long = "word ".repeat(40);
    submit(&process, &long);
    let list = |columns: &str| {
        let output = Command::new(BIN)
            .arg("list")
            .env("COUNTERSIGN_URL", process.url())
            .env("COUNTERSIGN_API_KEY", process.key("apiKey"))
            .env("COLUMNS", columns)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let longest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    assert_eq!(longest(&list("80")), 80);
    assert!(longest(&list("160")) > 120);
}
