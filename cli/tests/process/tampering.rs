//! A store that somebody changed.

use crate::kit::{Client, Process, cli, draft, install, trust};
use local::demo_tools::DemoTools;
use serde_json::json;
use std::time::Duration;

#[test]
fn one_changed_byte_of_one_stored_event_is_named() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let mut process = Process::start(folder.path());
        let client = Client::new(&process, "apiKey");
        trust(&process, &tools).await;
        for manifest in tools.manifests().unwrap() {
            install(&client.person(&process), &manifest).await;
        }
        let body = json!({ "text": "x", "draft": draft(2) });
        let (_, answer) = client.send("POST", "/v1/intents", None, Some(&body)).await.unwrap();
        let id = answer["executionId"].as_str().unwrap().to_owned();
        client.get(&format!("/v1/executions/{id}?waitSeconds=10")).await.unwrap();
        assert_eq!(cli(&process, &["trace", &id, "--verify"]).0, 0);
        drop(process);
        {
            // One letter of the fifth event, in the store itself.
            use countersign_store::{Condition, Table as _, Write};
            let table = local::EmbeddedTable::open(&folder.path().join("table")).unwrap();
            let key = countersign_store::keys::event(
                &"default".parse().unwrap(),
                &id.parse().unwrap(),
                5,
            );
            let mut item = table.get(&key).await.unwrap().unwrap();
            let text = String::from_utf8(item.body).unwrap();
            assert!(text.contains("\"attempt\":1"), "{text}");
            item.body = text.replace("\"attempt\":1", "\"attempt\":2").into_bytes();
            table
                .transact(vec![Write::Put { key, item, condition: Condition::Any }])
                .await
                .unwrap();
            drop(table);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        process = Process::start(folder.path());
        let (code, text) = cli(&process, &["trace", &id, "--verify"]);
        assert!(code == 1 && text.contains("event 5 was changed"), "{text}");
        let (code, text) = cli(&process, &["replay", &id]);
        assert!(code == 1 && text.contains("chain"), "{text}");
    });
}
