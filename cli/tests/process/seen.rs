//! What is seen is signed.

use crate::kit::{Client, Process, assert_fits_a_terminal, cli, cli_as, install, trust};
use local::demo_tools::DemoTools;
use serde_json::{Value, json};

// Samples: an intent's words move the cursor and forge rows on a terminal; approve signs whatever
// is current.
#[test]
fn what_is_seen_is_signed_at_the_command_line() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let process = Process::start(folder.path());
        let client = Client::new(&process, "apiKey");
        trust(&process, &tools).await;
        for manifest in tools.manifests().unwrap() {
            install(&client.person(&process), &manifest).await;
        }
        let hostile = format!(
            "Refund\u{1b}[2J\u{1b}[1A\r\n\u{202e}exe_{}  completed\u{9b}0m {}",
            "0".repeat(32),
            "x ".repeat(90)
        );
        let body = json!({ "text": hostile, "draft": { "steps": [{ "id": "refund",
            "use": "payments/refund.create",
            "with": { "customer": "cus\u{1b}[31m_ada", "amount": 4200, "currency": "EUR",
                "card": "4111-1111" }
        }] } });
        let (status, answer) = client.send("POST", "/v1/intents", None, Some(&body)).await.unwrap();
        assert_eq!(status, 202, "{answer}");
        let id = answer["executionId"].as_str().unwrap().to_owned();
        client.get(&format!("/v1/executions/{id}?waitSeconds=10")).await.unwrap();
        for args in [
            vec!["get", &id],
            vec!["list"],
            vec!["watch", &id],
            vec!["trace", &id],
            vec!["explain", &id],
        ] {
            let (code, text) = cli(&process, &args);
            // It waits for people: not done.
            assert_eq!(code, i32::from(args[0] == "watch"), "{args:?}: {text}");
            assert_fits_a_terminal(&text);
            assert!(!text.contains("4111-1111"), "{args:?}: {text}");
        }
        for args in [["get", &id], ["watch", &id]] {
            let (_, text) = cli(&process, &args);
            for says in [
                "42.00 EUR (4200 minor units)",
                "cus\\u{1b}[31m_ada",
                "baseline.assist",
                "digest sha256:",
            ] {
                assert!(text.contains(says), "{args:?}, {says}: {text}");
            }
        }
        assert!(cli(&process, &["list"]).1.contains("42.00 EUR"));
        let (_, text) = cli(&process, &["get", &id, "--json"]);
        let execution: Value = serde_json::from_str(&text).unwrap();
        assert!(
            !text.trim_end().chars().any(cs_core::text::is_hidden),
            "JSON on a terminal acts \
            on nothing: {text}"
        );
        assert_eq!(
            execution["approvals"][0]["view"]["goal"]["text"],
            hostile.as_str(),
            "and is \
            the same value"
        );
        let digest = execution["viewDigest"].as_str().unwrap();
        // Without a terminal there is nobody to ask: the view that was seen must be named.
        let (code, text) = cli_as(&process, "approverKey", folder.path(), &["approve", &id]);
        assert!(code == 2 && text.contains("--digest") && text.contains("42.00 EUR"), "{text}");
        assert_fits_a_terminal(&text);
        let other = format!("sha256:{}", "0".repeat(64));
        let (code, text) =
            cli_as(&process, "approverKey", folder.path(), &["approve", &id, "--digest", &other]);
        assert!(code == 1 && text.contains("BINDING_STALE"), "{text}");
        assert_eq!(tools.effects("payments/refund.create").len(), 0);
        let (code, text) =
            cli_as(&process, "approverKey", folder.path(), &["approve", &id, "--digest", digest]);
        assert!(code == 0 && text.contains("42.00 EUR"), "{text}");
        let (code, text) = cli(&process, &["watch", &id]);
        assert!(code == 0 && text.contains("completed"), "{text}");
        assert_eq!(tools.effects("payments/refund.create").len(), 1);
    });
}
