//! What callers see: listings, tenant isolation, credentials, and a clear problem for each wrong
//! request.

mod cases;

use cases::cases;

use super::*;
use std::sync::atomic::Ordering;

pub async fn listings_page_newest_first_and_filter(server: &TestServer) {
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(server.submit(json!([find("c", &format!("u{n}@x.org"))])).await);
    }
    for id in &ids {
        server.until(id, "completed").await;
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) =
            server.agent.get(&format!("/v1/executions?limit=3&status=completed{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        found.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["executionId"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={}", next.replace('#', "%23"));
    }
    ids.reverse();
    assert_eq!(found, ids);
    let (_, none) = server.agent.get("/v1/executions?status=failed").await;
    assert_eq!(none["items"], json!([]));
    let (_, all) = server.approver.get("/v1/executions?actorId=dev-agent").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 7);
    let (status, none) = server.approver.get("/v1/executions?actorId=dev-agnet").await;
    assert_eq!(status, 422, "{none}");
    assert!(
        none["issues"][0]["message"].as_str().unwrap().contains("did you mean `dev-agent`?"),
        "{none}"
    );
}

pub async fn tenant_walls(server: &TestServer) {
    let other = server.another().await;
    let stranger = Client::new(&server.url(), &other.agent_key);
    let foreign_approver = Client::new(&server.url(), &other.approver_key);
    let id = server.submit(json!([pay("p")])).await;
    let view = server.settled(&id).await;
    for path in ["", "/trace", "/replay"] {
        let (status, answer) = stranger.get(&format!("/v1/executions/{id}{path}")).await;
        assert_eq!((status, &answer["code"]), (404, &json!("NOT_FOUND")), "{answer}");
    }
    let body = json!({ "bindingDigest": view["bindingDigest"] });
    assert_eq!(foreign_approver.post(&format!("/v1/executions/{id}/approve"), &body).await.0, 404);
    assert_eq!(stranger.post(&format!("/v1/executions/{id}/cancel"), &json!({})).await.0, 404);
    assert_eq!(stranger.get("/v1/executions").await.1["items"], json!([]));
    assert_eq!(foreign_approver.get("/v1/skills").await.1["items"], json!([]));
    let named = json!({ "text": "x", "workspaceId": server.identity.workspace,
        "draft": { "steps": [find("c", "a@x.org")] } });
    assert_eq!(stranger.post("/v1/intents", &named).await.0, 403);
    let (_, keys) = foreign_approver.get("/v1/keys").await;
    assert_eq!(keys["items"].as_array().unwrap().len(), 2);
}

pub async fn every_case_is_a_clear_problem_and_writes_nothing(server: &TestServer) {
    let commits =
        || server.embedded().map(|node| node.table().stats().commits.load(Ordering::SeqCst));
    for case in cases() {
        // A gateway knows its routes, and answers for those it does not.
        if case.path == "/v1/nothing" && server.embedded().is_none() {
            continue;
        }
        // What ended before goes into the transparency log a moment later.
        if let Some(node) = server.embedded() {
            node.engine().transparency.append_waiting().await.unwrap();
        }
        let before = commits();
        let governs =
            ["/approve", "/v1/skills", "/backtest"].iter().any(|end| case.path.ends_with(end));
        let client = if governs { &server.approver } else { &server.agent };
        let (status, problem) = client.raw(case.path, case.body).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (case.status, Some(case.code)),
            "{}: {problem}",
            case.name
        );
        for field in ["type", "title", "detail"] {
            assert!(
                problem[field].as_str().is_some_and(|text| !text.is_empty()),
                "{}: {problem}",
                case.name
            );
        }
        assert_eq!(
            (problem["status"].as_u64(), problem["traceId"].as_str().map(str::len)),
            (Some(u64::from(case.status)), Some(32)),
            "{}",
            case.name
        );
        if let Some(pointer) = case.pointer {
            let issues = problem["issues"].as_array().unwrap();
            assert!(
                issues.iter().any(|issue| issue["pointer"] == pointer),
                "{}: {problem}",
                case.name
            );
        }
        // A refused skill is recorded, and that is all that is ever written.
        if case.path != "/v1/skills" {
            assert_eq!(commits(), before, "{} wrote something", case.name);
        }
    }
    assert_eq!(server.agent.get("/v1/executions").await.1["items"], json!([]));
}

pub async fn a_draft_that_is_no_plan_is_recorded_with_all_its_diagnostics(server: &TestServer) {
    let steps: Vec<Value> = (0..1_001)
        .map(|n| {
            json!({ "id": format!("s{n}"), "use": "crm/customer.find",
            "with": { "email": "a@x.org" } })
        })
        .collect();
    let loops = json!([{ "id": "a", "use": "crm/customer.find", "with": { "email": "a@x.org" },
        "after": ["b"] },
        { "id": "b", "use": "crm/customer.fnid", "after": ["a"] }]);
    for (steps, codes) in
        [(json!(steps), vec!["TOO_MANY_STEPS"]), (loops, vec!["UNKNOWN_OPERATION"])]
    {
        let (status, answer) = server
            .agent
            .post("/v1/intents", &json!({ "text": "x", "draft": { "steps": steps } }))
            .await;
        assert_eq!(status, 202, "{answer}");
        let view = server.settled(answer["executionId"].as_str().unwrap()).await;
        assert_eq!(view["status"], "rejected");
        for code in codes {
            assert!(
                view["reasons"].as_array().unwrap().iter().any(|issue| issue["code"] == code),
                "{view}"
            );
        }
        server.proven(view["executionId"].as_str().unwrap()).await;
    }
}

pub async fn credentials(server: &TestServer) {
    let url = server.url();
    let code = |(status, answer): (u16, Value)| {
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    for key in ["", "csk_", "csk_0000", "Bearer", &"x".repeat(5_000)] {
        assert_eq!(
            code(Client::new(&url, key).get("/v1/executions").await),
            (401, "UNAUTHENTICATED".into()),
            "{key}"
        );
    }
    let past = json!({ "actor": { "kind": "agent", "id": "old" },
        "grants": ["control-plane.execution.read"], "expiresAt": "2020-01-01T00:00:00Z" });
    let refused = server.approver.post("/v1/keys", &past).await;
    assert_eq!(
        (refused.0, &refused.1["issues"][0]["pointer"]),
        (422, &json!("/expiresAt")),
        "{}",
        refused.1
    );
    let mut soon = past;
    soon["expiresAt"] = json!(crate::now().plus_ms(1_500));
    let (_, key) = server.approver.post("/v1/keys", &soon).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_600)).await;
    let expired = Client::new(&url, key["apiKey"].as_str().unwrap());
    assert_eq!(code(expired.get("/v1/executions").await).0, 401);
    let reader = json!({ "actor": { "kind": "agent", "id": "reader" },
        "grants": ["control-plane.execution.read"] });
    let (_, key) = server.approver.post("/v1/keys", &reader).await;
    let reader = Client::new(&url, key["apiKey"].as_str().unwrap());
    assert_eq!(reader.get("/v1/executions").await.0, 200);
    let intent = json!({ "text": "x", "mode": "manual" });
    assert_eq!(
        code(reader.post("/v1/intents", &intent).await),
        (403, "FORBIDDEN".into()),
        "deny by default"
    );
    assert_eq!(code(reader.get("/v1/keys").await), (403, "FORBIDDEN".into()));
    let id = key["key"]["id"].as_str().unwrap();
    assert_eq!(server.approver.post(&format!("/v1/keys/{id}/revoke"), &json!({})).await.0, 200);
    assert_eq!(reader.get("/v1/executions").await.0, 401, "revoked");
    assert!(
        !server.approver.get("/v1/keys").await.1.to_string().contains("csk_"),
        "secrets are stored nowhere"
    );
}

pub async fn edges_of_http(server: &TestServer) {
    let agent = &server.agent;
    if server.embedded().is_some() {
        let (status, problem) = agent.send(agent.request("DELETE", "/v1/executions")).await;
        assert_eq!((status, &problem["status"]), (405, &json!(405)));
    }
    let (status, _) = agent
        .send(agent.request("POST", "/v1/intents").header("content-type", "text/xml").body("<x/>"))
        .await;
    assert_eq!(status, 400);
    for query in [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1&limit=2",
        "nope=1",
        "cursor=zz",
        "createdAfter=yesterday",
    ] {
        let (status, problem) = agent.get(&format!("/v1/executions?{query}")).await;
        assert!(status == 422 || status == 400, "{query}: {problem}");
    }
    let (status, _) = agent
        .send(
            agent
                .request("POST", "/v1/intents")
                .header("idempotency-key", "k".repeat(200))
                .json(&json!({ "text": "x", "mode": "manual" })),
        )
        .await;
    assert_eq!(status, 400);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let response = agent
        .request("GET", "/v1/capabilities")
        .header("traceparent", parent)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["traceparent"], parent);
}
