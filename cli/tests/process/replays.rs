//! Replays of a whole workspace.

use crate::kit::{BIN, Client, Process, cli, draft, install, trust};
use countersign_store::{Condition, Key, Table as _, Write, keys};
use local::demo_tools::DemoTools;
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A control plane that executions were submitted to.
async fn with_executions(folder: &Path, count: usize) -> (Process, Vec<String>) {
    let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    let process = Process::start(folder);
    let client = Client::new(&process, "apiKey");
    trust(&process, &tools).await;
    for manifest in tools.manifests().unwrap() {
        install(&client.person(&process), &manifest).await;
    }
    let mut ids = Vec::new();
    for n in 0..count {
        // The first one runs, the second one waits to be started; a plan that is judged only is
        // enough of the others.
        let mode = ["auto", "manual"].get(n).unwrap_or(&"dryRun");
        let body = json!({ "text": "x", "mode": mode, "draft": draft(2) });
        let (_, answer) = client.send("POST", "/v1/intents", None, Some(&body)).await.unwrap();
        let id = answer["executionId"].as_str().unwrap().to_owned();
        client.get(&format!("/v1/executions/{id}?waitSeconds=10")).await.unwrap();
        ids.push(id);
    }
    (process, ids)
}

/// Changes what is stored, as nobody but the store's owner can.
async fn tamper(folder: &Path, key: Key, change: impl Fn(&str) -> String) {
    let table = local::EmbeddedTable::open(&folder.join("table")).unwrap();
    let mut item = table.get(&key).await.unwrap().unwrap();
    let text = String::from_utf8(item.body).unwrap();
    item.body = change(&text).into_bytes();
    assert_ne!(item.body, text.into_bytes());
    table.transact(vec![Write::Put { key, item, condition: Condition::Any }]).await.unwrap();
    drop(table);
    tokio::time::sleep(Duration::from_millis(300)).await;
}

fn report(process: &Process, args: &[&str]) -> (i32, Value) {
    let all = [&["replay", "--all", "--json"][..], args].concat();
    let (code, text) = cli(process, &all);
    let line = text.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    (code, serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn counts(report: &Value) -> [u64; 5] {
    ["executions", "replayed", "matched", "different", "unreadable"]
        .map(|name| report[name].as_u64().unwrap())
}

#[test]
fn a_workspace_without_executions_replays() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let (code, text) = cli(&process, &["replay", "--all"]);
    assert!(code == 0 && text.contains("nothing to replay"), "{code} {text}");
    let (code, report) = report(&process, &["--since", "7d"]);
    assert_eq!((code, counts(&report)), (0, [0; 5]), "{report}");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    for args in [
        &["replay"][..],
        &["replay", "exe_1", "--all"],
        &["replay", "exe_1", "--jobs", "2"],
        &["replay", "--all", "--jobs", "0"],
        &["replay", "--all", "--jobs", "33"],
        &["replay", "--all", "--since", "yesterday"],
        &["replay", "--all", "--since", "1d", "--until", "2d"],
        &["replay", "--all", "--resume", "no/such/folder/file"],
    ] {
        let (code, text) = cli(&process, args);
        assert_eq!(code, 2, "{args:?}: {text}");
    }
}

#[test]
fn replays_that_were_killed_go_on_and_end_with_the_same_totals() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (process, ids) = runtime.block_on(with_executions(folder.path(), 60));
    let (code, whole) = report(&process, &[]);
    assert_eq!((code, counts(&whole)), (0, [60, 60, 60, 0, 0]), "{whole}");

    let file = folder.path().join("replay.ndjson");
    let done = || std::fs::read_to_string(&file).unwrap_or_default().matches("matched").count();
    let mut killed = Command::new(BIN)
        .args(["replay", "--all", "--jobs", "1", "--resume"])
        .arg(&file)
        .env("COUNTERSIGN_URL", process.url())
        .env("COUNTERSIGN_API_KEY", process.key("apiKey"))
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while done() < 5 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    killed.kill().unwrap(); // SIGKILL
    killed.wait().unwrap();
    let before = done();
    assert!((5..60).contains(&before), "{before}");
    // And as if it had been killed while it wrote a line.
    let mut torn = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    torn.write_all(b"{\"executionId\":\"exe_0").unwrap();
    drop(torn);

    let args = ["--resume", file.to_str().unwrap()];
    let (code, resumed) = report(&process, &args);
    assert_eq!((code, counts(&resumed)), (0, counts(&whole)), "{resumed}");
    assert_eq!(resumed["resumed"], before, "{resumed}");
    let (code, again) = report(&process, &args);
    assert_eq!((code, counts(&again)), (0, counts(&whole)), "{again}");
    assert_eq!((&again["resumed"], &again["until"]), (&json!(60), &resumed["until"]), "{again}");

    // What has changed since is replayed again, and a file of other replays is refused.
    let (code, text) = cli(&process, &["cancel", &ids[1]]);
    assert_eq!(code, 0, "{text}");
    let (code, moved) = report(&process, &args);
    assert_eq!((code, &moved["resumed"], counts(&moved)), (0, &json!(59), counts(&whole)));
    let (code, text) = cli(&process, &["replay", "--all", "--since", "1d", args[0], args[1]]);
    assert!(code == 2 && text.contains("another control plane"), "{code} {text}");
    std::fs::write(&file, "{}\n").unwrap();
    let (code, text) = cli(&process, &["replay", "--all", args[0], args[1]]);
    assert!(code == 2 && text.contains("no replay"), "{code} {text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}\n", "a foreign file is left as it is");
}

#[test]
fn attack_one_changed_trace_among_many_is_named_and_the_rest_goes_on() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (process, ids) = runtime.block_on(with_executions(folder.path(), 30));
    drop(process);
    runtime.block_on(async {
        // One letter of an event of the one; of another what is no event at all; of the third what
        // everything begins with.
        let workspace = "default".parse().unwrap();
        let event = |n: usize, seq| keys::event(&workspace, &ids[n].parse().unwrap(), seq);
        let letter = |text: &str| text.replace("\"attempt\":1", "\"attempt\":2");
        tamper(folder.path(), event(0, 5), letter).await;
        tamper(folder.path(), event(9, 2), |_| "[]".to_owned()).await;
        let head = keys::head(&workspace, &ids[17].parse().unwrap());
        tamper(folder.path(), head, |text| text.replacen('{', "[", 1)).await;
    });
    let process = Process::start(folder.path());
    let file = folder.path().join("replay.ndjson");
    let (code, found) = report(&process, &["--jobs", "8", "--resume", file.to_str().unwrap()]);
    assert_eq!((code, counts(&found)), (1, [30, 29, 27, 2, 1]), "{found}");
    let different = &found["differences"][0];
    assert_eq!(
        (&different["executionId"], &different["difference"]["check"]),
        (&json!(ids[0]), &json!("chain")),
        "{found}"
    );
    assert_eq!(different["difference"]["seq"], 5, "{found}");
    assert_eq!(found["differences"][1]["executionId"], json!(ids[9]), "{found}");
    assert_eq!(found["unreadableExecutions"][0]["executionId"], json!(ids[17]), "{found}");

    let (code, text) = cli(&process, &["replay", "--all", "--resume", file.to_str().unwrap()]);
    let summary = "29 replayed: 27 match, 2 differ; 1 could not be read";
    assert!(code == 1 && text.contains(summary), "{code} {text}");
    assert!(text.contains(&ids[0]) && text.contains(&ids[17]), "{text}");
    assert!(text.contains("29 of them before it was stopped"), "{text}");
}

/// A control plane with one execution, whose replay is refused for the moment so many times.
fn busy(times: usize) -> (String, std::thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let id = format!("exe_{}", "0".repeat(32));
    let server = std::thread::spawn(move || {
        let mut refused = 0;
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let path = String::from_utf8(head).unwrap();
            let path = path.split(' ').nth(1).unwrap().to_owned();
            let moment = "2026-07-01T00:00:00.000Z";
            let (status, body) = if !path.contains("replay") {
                let first = !path.contains("createdAfter=2024");
                let item = json!({ "executionId": id, "status": "completed", "actorId": "a",
                    "text": "x", "createdAt": moment, "updatedAt": moment });
                let items = if first && refused == 0 && path.contains("2026-06") {
                    vec![item]
                } else {
                    vec![]
                };
                (200, json!({ "items": items }))
            } else if refused < times {
                refused += 1;
                (
                    503,
                    json!({ "type": "about:blank", "title": "busy", "status": 503,
                    "code": "UNAVAILABLE", "detail": "busy", "retryable": true }),
                )
            } else {
                (
                    200,
                    json!({ "executionId": id, "matches": true, "differences": [],
                    "checked": ["chain"] }),
                )
            };
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n");
            let head = format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
            if status == 200 && path.contains("replay") {
                return refused;
            }
        }
    });
    (url, server)
}

#[test]
fn a_control_plane_that_is_busy_is_asked_again() {
    let (url, server) = busy(4);
    let output = Command::new(BIN)
        .args(["replay", "--all", "--json", "--since", "2026-06-01", "--until", "2026-07-02"])
        .env("COUNTERSIGN_URL", url)
        .env("COUNTERSIGN_API_KEY", "csk_any")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {output:?}"));
    assert_eq!((output.status.code(), counts(&report)), (Some(0), [1, 1, 1, 0, 0]), "{report}");
    assert_eq!(server.join().unwrap(), 4);
}

#[test]
fn a_control_plane_that_is_not_there_is_no_difference() {
    let (code, text) = {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path());
        cli(&process, &["--endpoint", "http://127.0.0.1:9", "replay", "--all"])
    };
    assert!(code == 3 && text.contains("countersign dev"), "{code} {text}");
}
