//! Plans without running them, and outputs after it.

use crate::kit::{Client, Process, assert_fits_a_terminal, cli, cli_as, install, trust};
use local::demo_tools::DemoTools;
use serde_json::{Value, json};
use std::path::Path;

async fn equipped(folder: &Path) -> (Process, DemoTools) {
    let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    let process = Process::start(folder);
    trust(&process, &tools).await;
    for manifest in tools.manifests().unwrap() {
        install(&Client::new(&process, "approverKey"), &manifest).await;
    }
    (process, tools)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_compiled_and_verified_and_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let (process, tools) = equipped(&folder.path().join("data")).await;
    let write = |name: &str, steps: Value| {
        let file = folder.path().join(name);
        std::fs::write(&file, json!({ "steps": steps }).to_string()).unwrap();
    };
    let find = json!({ "id": "ada", "use": "crm/customer.find", "with": { "email": "a@x.org" } });
    write("good.json", json!([find]));
    write("bad.json", json!([find, { "id": "b", "use": "crm/customer.fnd", "with": {} }]));
    write("form.json", json!([{ "id": "b", "uses": "crm/customer.find" }]));
    let run = |args: &[&str]| cli_as(&process, "approverKey", folder.path(), args);
    let (code, text) = run(&["plan", "compile", "good.json"]);
    assert!(code == 0 && text.contains("crm/customer.find") && text.contains("sha256:"), "{text}");
    assert_fits_a_terminal(&text);
    let (code, text) = run(&["plan", "compile", "bad.json"]);
    assert!(code == 1 && text.contains("/draft/steps/1/use"), "{text}");
    let (code, text) = run(&["plan", "compile", "bad.json", "--json"]);
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &problem["code"]), (1, &json!("VALIDATION_FAILED")), "{text}");
    assert_eq!(problem["issues"][0]["pointer"], "/draft/steps/1/use");
    let (code, text) = run(&["plan", "compile", "form.json"]);
    assert!(code == 2 && text.contains("/steps/0") && text.contains("uses"), "{text}");
    let (code, text) = run(&["plan", "verify", "good.json"]);
    assert!(code == 0 && text.contains("autonomous") && text.contains("nothing was run"), "{text}");
    assert_eq!(run(&["plan", "verify", "good.json", "--policy-version", "99"]).0, 1);
    assert_eq!(tools.calls(), 0);
    // An intent's own plan, as before.
    let (code, text) =
        cli_as(&process, "apiKey", folder.path(), &["plan", "Look Ada up", "--draft", "good.json"]);
    assert!(code == 0 && text.contains("verified"), "{text}");
    assert_eq!(tools.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_shown_with_what_it_gave() {
    let folder = tempfile::tempdir().unwrap();
    let (process, _tools) = equipped(&folder.path().join("data")).await;
    let draft = folder.path().join("draft.json");
    let steps =
        json!([{ "id": "ada", "use": "crm/customer.find", "with": { "email": "a@x.org" } }]);
    std::fs::write(&draft, json!({ "steps": steps }).to_string()).unwrap();
    let (code, text) =
        cli(&process, &["submit", "Look Ada up", "--draft", draft.to_str().unwrap(), "--watch"]);
    assert!(code == 0 && text.contains("completed"), "{text}");
    let (_, list) = cli(&process, &["list", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let id = list["items"][0]["executionId"].as_str().unwrap();
    let (code, text) = cli(&process, &["get", id, "--output"]);
    assert!(code == 0 && text.contains("\"ada\": {"), "{text}");
    let (_, text) = cli(&process, &["get", id, "--output", "--json"]);
    let view: Value = serde_json::from_str(&text).unwrap();
    assert!(view["output"]["outputs"]["ada"]["id"].is_string(), "{text}");
    let (code, text) = cli(&process, &["output", id, "--step", "ada"]);
    assert!(code == 0 && text.contains("\"ada\""), "{text}");
}
