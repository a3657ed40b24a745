//! What an agent may see and steer, and names that do not exist.

use super::*;

#[tokio::test]
async fn authority_an_agent_steers_and_sees_only_what_it_asked_for() {
    let server = TestServer::start().await;
    let verbs = [
        "execution.pause",
        "execution.resume",
        "execution.retry",
        "execution.abort",
        "plan.compile",
    ];
    let names: Vec<&str> = AGENT.iter().chain(&verbs).copied().collect();
    let other = key(&server, &server.approver, "agent", "other", &names).await;
    let id =
        submit(&server.agent, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let waits = server.until(&id, "blocked").await;
    for path in ["", "/trace", "/replay"] {
        let answer = other.get(&format!("/v1/executions/{id}{path}")).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{path}: {}", answer.1);
    }
    let plan = json!({ "planId": waits["planId"] });
    for (verb, body) in [
        ("cancel", json!({})),
        ("pause", json!({})),
        ("resume", json!({})),
        ("abort", json!({})),
        ("retry", json!({})),
        ("start", plan.clone()),
        ("plan/verify", plan),
        ("plan/compile", json!({})),
    ] {
        let answer = other.post(&format!("/v1/executions/{id}/{verb}"), &body).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{verb}: {}", answer.1);
    }
    let answer = other.post("/v1/policies/explain", &json!({ "executionId": id })).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "{}", answer.1);
    assert_eq!(other.get("/v1/executions").await.1["items"], json!([]));
    assert_eq!(code(&other.get("/v1/executions?actorId=dev-agent").await), (403, "FORBIDDEN"));
    // Its own it does, and what the workspace lets happen is not its own.
    let draft = json!({ "draft": { "steps": [pay("p")] } });
    assert_eq!(other.post("/v1/policies/explain", &draft).await.0, 200);
    for path in [
        "/v1/trust",
        "/v1/freezes",
        "/v1/budgets",
        "/v1/policies",
        "/v1/deciders",
        "/v1/policies/shadow",
    ] {
        let answer = server.agent.get(path).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{path}: {}", answer.1);
    }
    let names: Vec<&str> = AGENT.iter().chain(&["execution.any"]).copied().collect();
    let fleet = key(&server, &server.approver, "agent", "fleet", &names).await;
    assert_eq!(
        fleet.post(&format!("/v1/executions/{id}/cancel"), &json!({})).await.0,
        200,
        "granted more"
    );
    // Nor by an id of another kind.
    let id =
        submit(&server.agent, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let tool = key(&server, &server.approver, "tool", "dev-agent", &AGENT).await;
    assert_eq!(code(&tool.get(&format!("/v1/executions/{id}")).await), (403, "FORBIDDEN"));
}

#[tokio::test]
async fn authority_the_narrow_key_installs_disables_resolves_and_tests_nothing() {
    let server = TestServer::start().await;
    let manifest = server.tools.manifests().unwrap().remove(0);
    let exe = format!("/v1/executions/exe_{}", "0".repeat(32));
    for (path, body) in [
        ("/v1/skills".to_owned(), install_body(&manifest)),
        ("/v1/skills/verify".to_owned(), install_body(&manifest)),
        ("/v1/skills/crm/disable".to_owned(), json!({})),
        ("/v1/skills/crm/enable".to_owned(), json!({})),
        (format!("{exe}/resolve"), json!({ "stepId": "a", "outcome": "retry" })),
        (
            format!("{exe}/approve"),
            json!({ "bindingDigest": format!("sha256:{}", "0".repeat(64)) }),
        ),
        (format!("{exe}/pause"), json!({})),
        (format!("{exe}/abort"), json!({})),
        (format!("{exe}/retry"), json!({})),
        ("/v1/freezes".to_owned(), json!({ "scope": "workspace", "frozen": true })),
        ("/v1/keys".to_owned(), json!({ "actor": { "kind": "agent", "id": "x" }, "grants": [] })),
        (
            "/v1/policies/backtest".to_owned(),
            json!({ "policies": "", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z" }),
        ),
    ] {
        let answer = server.agent.post(&path, &body).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{path}: {}", answer.1);
    }
}

// Sample: list --status blocekd; ?status=complete.
#[tokio::test]
async fn unknown_names_are_refused_in_queries_and_commands() {
    let server = TestServer::start().await;
    for (query, near) in [
        ("status=blocekd", "did you mean `blocked`?"),
        ("status=complete", "did you mean `completed`?"),
        ("statsu=blocked", "did you mean `status`?"),
        ("actorId=dev-aprover", "did you mean `dev-approver`?"),
    ] {
        let answer = server.approver.get(&format!("/v1/executions?{query}")).await;
        assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{query}: {}", answer.1);
        assert!(says(&answer, near), "{query}: {}", answer.1);
    }
    let (status, answer) = server
        .approver
        .post("/v1/intents?mode=dryRun", &json!({ "text": "x", "mode": "manual" }))
        .await;
    assert_eq!(status, 422, "a parameter that nobody reads: {answer}");
    for (path, body, near) in [
        (
            "/v1/keys",
            json!({ "actor": { "kind": "humn", "id": "x" }, "grants": [] }),
            "did you mean `human`?",
        ),
        ("/v1/freezes", json!({ "scope": "skil", "frozen": true }), "did you mean `skill`?"),
        ("/v1/intents", json!({ "text": "x", "mode": "manul" }), "did you mean `manual`?"),
    ] {
        let answer = server.approver.post(path, &body).await;
        assert!(answer.0 == 422 && says(&answer, near), "{path}: {}", answer.1);
    }
    let answer = server.approver.post("/v1/keys/000000000000/revoke", &json!({})).await;
    assert_eq!(code(&answer), (404, "NOT_FOUND"));
    for status in contracts::query::ExecutionStatus::ALL {
        assert_eq!(
            server.approver.get(&format!("/v1/executions?status={}", status.as_str())).await.0,
            200
        );
    }
}
