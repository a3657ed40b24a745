//! The data folder, its keys, and connections that do nothing.

use crate::kit::{BIN, Client, Process, install, trust};
use local::demo_tools::DemoTools;
use serde_json::{Value, json};
use std::{process::Command, time::Duration};

// The data folder is its owner's, whatever the umask was, and no secret lies in it in clear.
#[test]
fn nobody_else_reads_the_data_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let left = data.join("blobs/left");
    std::fs::create_dir_all(data.join("blobs")).unwrap();
    std::fs::write(&left, "by an earlier version").unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&left, PermissionsExt::from_mode(0o644)).unwrap();
    let process = Process::start(&data);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let secrets = runtime.block_on(async {
        let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        trust(&process, &tools).await;
        let person = Client::new(&process, "approverKey");
        let body = json!({ "url": "https://audit.example.com/hook" });
        let hook = person.send("POST", "/v1/webhooks", None, Some(&body)).await.unwrap().1;
        let rotated =
            person.send("POST", "/v1/tools/secret/rotate", None, Some(&json!({}))).await.unwrap().1;
        for manifest in tools.manifests().unwrap() {
            install(&person, &manifest).await;
        }
        // A value that the operation's schema marks as sensitive, kept until people decide.
        let card = "4111-1111-1111-1111";
        let body = json!({ "text": "Refund Ada", "draft": { "steps": [{ "id": "refund",
            "use": "payments/refund.create",
            "with": { "customer": "cus_ada", "amount": 4200, "currency": "EUR", "card": card }
        }] } });
        let answer = Client::new(&process, "apiKey")
            .send("POST", "/v1/intents", None, Some(&body))
            .await
            .unwrap();
        let path =
            format!("/v1/executions/{}?waitSeconds=10", answer.1["executionId"].as_str().unwrap());
        assert_eq!(person.get(&path).await.unwrap().1["execution"]["status"], "blocked");
        let told = |answer: &Value| {
            answer["secret"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
        };
        [told(&hook), told(&rotated), card.to_owned()]
    });
    process.terminated();
    let (mut open, mut files) = (vec![data], 0);
    while let Some(folder) = open.pop() {
        assert_eq!(
            std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700,
            "{}",
            folder.display()
        );
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
                continue;
            }
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
            let bytes = std::fs::read(entry.path()).unwrap();
            for secret in &secrets {
                let clear = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!clear, "a secret in clear in {}", entry.path().display());
            }
            files += 1;
        }
    }
    assert!(files > 3, "{files} files");
}

// Sample (bounded-work): 1,024 connections that send nothing, to a process that has fewer
// descriptors.
#[test]
fn silent_connections_leave_descriptors_for_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 700 && exec \"$0\" \"$@\"", BIN]);
    let process = Process::start_by(limited, folder.path(), "127.0.0.1:0");
    let address = process.url().trim_start_matches("http://").parse().unwrap();
    let connect =
        || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    let silent: Vec<_> = (0..1_024).map(|_| connect()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::new(&process, "apiKey");
        let answer = client.get("/healthz").await.map(|(status, _)| status);
        assert_eq!(answer, Some(200), "beside {} silent connections", silent.len());
        assert_eq!(client.get("/v1/executions").await.unwrap().0, 200);
    });
}

#[test]
fn keys_are_made_once_unless_somebody_asks() {
    let folder = tempfile::tempdir().unwrap();
    let start =
        |more: &[&str]| Process::start_with(Command::new(BIN), folder.path(), "127.0.0.1:0", more);
    let first = start(&[]).ready.clone();
    assert!(first["apiKey"].is_string() && first["approverKey"].is_string(), "{first}");
    let second = start(&[]).ready.clone();
    assert!(second["apiKey"].is_null() && second["url"].is_string(), "{second}");
    let third = start(&["--new-keys"]).ready.clone();
    assert!(third["apiKey"].is_string() && third["apiKey"] != first["apiKey"], "{third}");
}
