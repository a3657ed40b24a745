//! Packs and receipts, by the command line.

use crate::kit::{BIN, Client, Process, cli_as, draft, install, trust};
use local::demo_tools::DemoTools;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

// Every file below a folder, by its place in it.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().into(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

// Without a control plane: no address, no key.
fn offline(folder: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(BIN)
        .args(args)
        .current_dir(folder)
        .env_remove("COUNTERSIGN_URL")
        .env_remove("COUNTERSIGN_API_KEY")
        .env_remove("COUNTERSIGN_PROFILE")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), text + &String::from_utf8_lossy(&output.stderr))
}

// Exports in `data/exports`, the keys in `keys.json`, a receipt in `receipt.json`. Gives today.
async fn story(folder: &Path) -> String {
    let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    let process = Process::start(&folder.join("data"));
    let client = Client::new(&process, "apiKey");
    trust(&process, &tools).await;
    for manifest in tools.manifests().unwrap() {
        install(&client.person(&process), &manifest).await;
    }
    let body = json!({ "text": "x", "draft": draft(2) });
    let (_, answer) = client.send("POST", "/v1/intents", None, Some(&body)).await.unwrap();
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let (_, ended) = client.get(&format!("/v1/executions/{id}?waitSeconds=10")).await.unwrap();
    let today = ended["execution"]["createdAt"].as_str().unwrap()[..10].to_owned();
    let person = |args: &[&str]| {
        let (code, text) = cli_as(&process, "approverKey", folder, args);
        assert_eq!(code, 0, "{args:?}: {text}");
    };
    person(&["evidence", "receipt", &id, "who", "--out", "receipt.json"]);
    person(&["evidence", "keys", "--out", "keys.json"]);
    person(&["evidence", "export"]);
    today
}

#[test]
fn a_pack_is_made_and_verified_without_a_control_plane_and_refused_where_exports_are_not_whole() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let today = runtime.block_on(story(folder));
    let pack = |control: &str, out: &str, more: &[&str]| {
        let args = ["evidence", "pack", "--control", control, "--from", &today, "--to", &today];
        let places = ["--exports", "data/exports", "--keys", "keys.json", "--out", out];
        offline(folder, &[&args[..], &places[..], more].concat())
    };
    let verify = |what: &str| offline(folder, &["verify", what, "--keys", "keys.json"]);
    for control in ["eu-ai-act-12", "eu-ai-act-14", "soc2-cc7", "iso42001"] {
        let (code, text) = pack(control, control, &[]);
        assert_eq!(code, 0, "{text}");
        let copied = files(&folder.join(control).join("exports"));
        assert_eq!(copied, files(&folder.join("data/exports")), "byte for byte");
        let (code, text) = verify(control);
        assert!(code == 0 && text.contains("complete and untouched"), "{text}");
        let page = fs::read_to_string(folder.join(control).join("index.html")).unwrap();
        assert!(page.contains("Content-Security-Policy") && !page.contains("<script"), "{page}");
    }
    assert_eq!(pack("soc2-cc7", "soc2-cc7", &[]).0, 2, "nothing is overwritten");
    // A page that says something else than the pack.
    let page = folder.join("iso42001/index.html");
    let text = fs::read_to_string(&page).unwrap();
    fs::write(&page, text.replace("Policies in force", "No policies")).unwrap();
    let (code, text) = verify("iso42001");
    assert!(code == 1 && text.contains("FILE_CHANGED"), "{text}");
    // A line that says something else than its event.
    let file = folder.join("soc2-cc7/pack.json");
    let mut said: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    said["groups"][0]["lines"][0]["hash"] = json!(format!("sha256:{}", "0".repeat(64)));
    fs::write(&file, said.to_string()).unwrap();
    let (code, text) = verify("soc2-cc7");
    assert!(code == 1 && text.contains("PACK_LINE_MISSING"), "{text}");
    receipts(folder);
    // Exports that are not whole.
    let exports = files(&folder.join("data/exports"));
    let events = exports.keys().find(|path| path.ends_with("events.ndjson.gz")).unwrap();
    fs::remove_file(folder.join("data/exports").join(events)).unwrap();
    let (code, text) = pack("eu-ai-act-12", "refused", &[]);
    assert!(code == 1 && text.contains("FILE_CHANGED") && text.contains("not whole"), "{text}");
    assert!(!folder.join("refused").exists(), "nothing is left");
    let (code, text) = pack("eu-ai-act-12", "even-so", &["--even-so"]);
    assert!(code == 0 && text.contains("FILE_CHANGED"), "{text}");
    let page = fs::read_to_string(folder.join("even-so/index.html")).unwrap();
    assert!(page.contains("are not whole") && page.contains("FILE_CHANGED"), "{page}");
    assert_eq!(verify("even-so").0, 1);
}

fn receipts(folder: &Path) {
    let verify = || offline(folder, &["verify", "receipt.json", "--keys", "keys.json"]);
    let (code, text) = verify();
    assert!(code == 0 && text.contains("crm/customer.find"), "{text}");
    assert!(text.contains("the end of the execution stands in it"), "{text}");
    let file = folder.join("receipt.json");
    let mut receipt: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    receipt["proof"]["leaf"]["seq"] = json!(1);
    fs::write(&file, receipt.to_string()).unwrap();
    let (code, text) = verify();
    assert!(code == 1 && text.contains("RECEIPT_CHANGED"), "{text}");
}
