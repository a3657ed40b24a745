//! Labels: untrusted text reaches no sink on its own.

use super::*;

// Skills that read what strangers wrote, pass it on, and act on it: after AgentDojo's suites.
async fn suite(server: &TestServer) {
    let operation = |key: &str, tier: &str, labels: Value, url: &str| {
        json!({ "key": key, "title": key, "effect": "idempotent", "riskTier": tier,
            "timeoutSeconds": 5, "labels": labels,
            "inputSchema": { "type": "object", "properties": { "text": { "type": "string" },
                "to": { "type": "string" } } },
            "outputSchema": { "type": "object" },
                "binding": { "kind": "http", "url": format!("{}/{url}", server.tools.url()) } })
    };
    let read = |key: &str, labels: Value| {
        let mut read = operation(key, "low", labels, "crm/ticket.read");
        (read["effect"], read["outputSchema"]) = (
            json!("read"),
            json!({ "type": "object", "properties": { "text": { "type": "string" } } }),
        );
        read
    };
    let manifest = json!({ "schemaVersion": "1.0.0",
        "skill": { "key": "suite", "version": "1.0.0" },
        "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
        "artifact": { "digest": format!("sha256:{}", "0".repeat(64)) },
        "operations": [
            read("inbox.read", json!({ "output": ["untrusted"] })),
            read("directory.read", json!({})),
            // A step that only passes on what it gets.
            read("text.summarise", json!({ "accepts": ["untrusted"] })),
            read("vault.read", json!({ "output": ["secret"] })),
            operation("transfer.send", "low", json!({}), "mail/message.send"),
            operation("mail.forward", "low", json!({ "accepts": [] }), "mail/message.send"),
            operation("share.publish", "low", json!({ "refuses": ["untrusted"] }),
                "mail/message.send"),
            operation("note.keep", "low", json!({ "accepts": ["untrusted"] }), "mail/message.send"),
        ] });
    server.install(&server.approver, &manifest).await;
}

async fn judged(server: &TestServer, steps: Value) -> Value {
    let (status, answer) =
        server.agent.post("/v1/policies/explain", &json!({ "draft": { "steps": steps } })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn source(operation: &str) -> Value {
    json!({ "id": "read", "use": format!("suite/{operation}"), "with": {} })
}

fn sink(operation: &str, from: &str) -> Value {
    json!({ "id": "sink", "use": format!("suite/{operation}"),
        "with": { "text": { "$from": from, "path": "/text" } } })
}

/// Untrusted text that reaches a payment, a recipient or a permission is stopped or put before
/// people, with the way it took; the same plan from trusted input runs. After AgentDojo's
/// injections.
pub async fn attack_untrusted_text_reaches_no_sink_alone(server: &TestServer) {
    suite(server).await;
    for (from, to, verdict) in [
        ("inbox.read", "transfer.send", "assist"),
        ("inbox.read", "mail.forward", "assist"),
        ("inbox.read", "share.publish", "blocked"),
        ("inbox.read", "note.keep", "autonomous"),
        ("vault.read", "mail.forward", "blocked"),
        ("vault.read", "note.keep", "blocked"),
        ("directory.read", "transfer.send", "autonomous"),
        ("directory.read", "mail.forward", "autonomous"),
        ("directory.read", "share.publish", "autonomous"),
    ] {
        let answer = judged(server, json!([source(from), sink(to, "read")])).await;
        assert_eq!(answer["verdict"], verdict, "{from} → {to}: {answer}");
        if verdict != "autonomous" {
            let reasons = answer["reasons"].to_string();
            assert!(reasons.contains("taint") && reasons.contains("through read"), "{reasons}");
        }
    }
    // Policies read labels.
    let text = with_baseline(&rule(
        "own.no-untrusted",
        "forbid",
        "in Action::\"suite\"",
        "context.labels.contains(\"untrusted\")",
    ));
    activate(server, &text).await;
    assert_eq!(
        judged(server, json!([source("inbox.read"), sink("note.keep", "read")])).await["verdict"],
        "blocked"
    );
    activate(server, policy::BASELINE).await;
}

/// Through steps that take it and only pass it on, the label stays.
pub async fn attack_label_laundering_through_a_pass_through_step(server: &TestServer) {
    suite(server).await;
    let launder = json!([source("inbox.read"),
        { "id": "one", "use": "suite/text.summarise",
            "with": { "text": { "$from": "read", "path": "/text" } } },
        { "id": "two", "use": "suite/text.summarise",
            "with": { "text": { "$from": "one", "path": "/text" } } },
        sink("share.publish", "two")]);
    let answer = judged(server, launder).await;
    assert_eq!(answer["verdict"], "blocked", "{answer}");
    assert!(answer["reasons"].to_string().contains("read → one → two"), "{answer}");
}
