//! What callers see: listings, walls between tenants, credentials, and a clear problem for whatever is wrong.

use super::*;
use std::sync::atomic::Ordering;

pub async fn listings_page_newest_first_and_filter(house: &House) {
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(house.submit(json!([find("c", &format!("u{n}@x.org"))])).await);
    }
    for id in &ids {
        house.until(id, "completed").await;
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = house.agent.get(&format!("/v1/executions?limit=3&status=completed{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        found.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["executionId"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={}", next.replace('#', "%23"));
    }
    ids.reverse();
    assert_eq!(found, ids);
    let (_, none) = house.agent.get("/v1/executions?status=failed").await;
    assert_eq!(none["items"], json!([]));
    let (_, all) = house.approver.get("/v1/executions?actorId=dev-agent").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 7);
    let (status, none) = house.approver.get("/v1/executions?actorId=dev-agnet").await;
    assert_eq!(status, 422, "{none}");
    assert!(none["issues"][0]["message"].as_str().unwrap().contains("did you mean `dev-agent`?"), "{none}");
}

pub async fn tenant_walls(house: &House) {
    let other = house.another().await;
    let stranger = Client::new(&house.url(), &other.agent_key);
    let foreign_approver = Client::new(&house.url(), &other.approver_key);
    let id = house.submit(json!([pay("p")])).await;
    let view = house.settled(&id).await;
    for path in ["", "/trace", "/replay"] {
        let (status, answer) = stranger.get(&format!("/v1/executions/{id}{path}")).await;
        assert_eq!((status, &answer["code"]), (404, &json!("NOT_FOUND")), "{answer}");
    }
    let body = json!({ "bindingDigest": view["bindingDigest"] });
    assert_eq!(foreign_approver.post(&format!("/v1/executions/{id}/approve"), &body).await.0, 404);
    assert_eq!(stranger.post(&format!("/v1/executions/{id}/cancel"), &json!({})).await.0, 404);
    assert_eq!(stranger.get("/v1/executions").await.1["items"], json!([]));
    assert_eq!(foreign_approver.get("/v1/skills").await.1["items"], json!([]));
    let named =
        json!({ "text": "x", "workspaceId": house.identity.workspace, "draft": { "steps": [find("c", "a@x.org")] } });
    assert_eq!(stranger.post("/v1/intents", &named).await.0, 403);
    let (_, keys) = foreign_approver.get("/v1/keys").await;
    assert_eq!(keys["items"].as_array().unwrap().len(), 2);
}

struct Case {
    name: &'static str,
    path: &'static str,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    pointer: Option<&'static str>,
}

fn case(
    name: &'static str,
    path: &'static str,
    body: impl Into<Vec<u8>>,
    status: u16,
    code: &'static str,
    pointer: Option<&'static str>,
) -> Case {
    Case { name, path, body: body.into(), status, code, pointer }
}

const INTENTS: &str = "/v1/intents";

fn cases() -> Vec<Case> {
    let id = format!("exe_{}", "0".repeat(32));
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let approve = leak(format!("/v1/executions/{id}/approve"));
    let cancel = leak(format!("/v1/executions/{id}/cancel"));
    let digest = format!("sha256:{}", "0".repeat(64));
    vec![
        case("malformed JSON", INTENTS, "{\"text\": ", 400, "BAD_REQUEST", Some("/text")),
        case("not an object", INTENTS, "[1]", 400, "BAD_REQUEST", Some("")),
        case("empty", INTENTS, "", 422, "VALIDATION_FAILED", Some("")),
        case("unknown field", INTENTS, r#"{"text":"x","mode":"manual","nope":1}"#, 422, "VALIDATION_FAILED", Some("/nope")),
        case("unknown field deep inside", INTENTS, r#"{"text":"x","draft":{"steps":[{"id":"a","use":"crm/customer.find","wiht":{}}]}}"#, 422, "VALIDATION_FAILED", Some("/draft/steps/0/wiht")),
        case("wrong type", INTENTS, r#"{"text":7}"#, 422, "VALIDATION_FAILED", Some("/text")),
        case("wrong type deep inside", INTENTS, r#"{"text":"x","draft":{"steps":[{"id":"a","use":7}]}}"#, 422, "VALIDATION_FAILED", Some("/draft/steps/0/use")),
        case("bad enum", INTENTS, r#"{"text":"x","mode":"yolo"}"#, 422, "VALIDATION_FAILED", Some("/mode")),
        case("duplicate key", INTENTS, r#"{"text":"x","text":"y"}"#, 400, "BAD_REQUEST", Some("/text")),
        case("duplicate key in an input", INTENTS, r#"{"text":"x","draft":{"steps":[{"id":"a","use":"b/c","with":{"n":1,"n":2}}]}}"#, 400, "BAD_REQUEST", Some("/draft/steps/0/with/n")),
        case("a number that cannot be kept", INTENTS, r#"{"text":"x","metadata":{"n":18446744073709551616}}"#, 400, "BAD_REQUEST", Some("/metadata/n")),
        case("a number beyond a double", INTENTS, r#"{"text":"x","metadata":{"n":1e999}}"#, 400, "BAD_REQUEST", Some("/metadata/n")),
        case("invalid UTF-8", INTENTS, b"{\"text\":\"\xff\xfe\"}".to_vec(), 400, "BAD_REQUEST", Some("/text")),
        case("lone surrogate", INTENTS, r#"{"text":"\ud800"}"#, 400, "BAD_REQUEST", Some("/text")),
        case("depth bomb", INTENTS, format!("{{\"text\":\"x\",\"metadata\":{}{}}}", "{\"a\":".repeat(5_000), "1".to_owned() + &"}".repeat(5_000)), 400, "BAD_REQUEST", None),
        case("oversized body", INTENTS, format!("{{\"text\":\"{}\"}}", "x".repeat(1_100_000)), 413, "BAD_REQUEST", None),
        case("oversized text", INTENTS, format!("{{\"text\":\"{}\",\"mode\":\"manual\"}}", "x".repeat(17_000)), 422, "VALIDATION_FAILED", Some("/text")),
        case("blank text", INTENTS, r#"{"text":"  ","mode":"manual"}"#, 422, "VALIDATION_FAILED", Some("/text")),
        case("oversized draft", INTENTS, json!({ "text": "x", "draft": { "steps": [{ "id": "a", "use": "crm/customer.find", "with": { "email": "x".repeat(300_000) } }] } }).to_string(), 422, "VALIDATION_FAILED", Some("/draft")),
        case("nothing to compile", INTENTS, r#"{"text":"x"}"#, 422, "VALIDATION_FAILED", Some("/draft")),
        case("draft and playbook", INTENTS, r#"{"text":"x","draft":{"steps":[]},"playbook":{"key":"a/b"}}"#, 422, "VALIDATION_FAILED", Some("/playbook")),
        case("bad step id", INTENTS, r#"{"text":"x","draft":{"steps":[{"id":"a b","use":"crm/customer.find"}]}}"#, 422, "VALIDATION_FAILED", Some("/draft/steps/0/id")),
        case("bad trace id", INTENTS, r#"{"text":"x","mode":"manual","traceId":"zz"}"#, 422, "VALIDATION_FAILED", Some("/traceId")),
        case("unknown execution", cancel, "{}", 404, "NOT_FOUND", None),
        case("malformed execution", "/v1/executions/exe_1/cancel", "{}", 422, "VALIDATION_FAILED", Some("/executionId")),
        case("path traversal", "/v1/executions/..%2f..%2fetc/cancel", "{}", 422, "VALIDATION_FAILED", Some("/executionId")),
        case("path and body disagree", cancel, r#"{"executionId":"exe_11111111111111111111111111111111"}"#, 422, "VALIDATION_FAILED", Some("/executionId")),
        case("malformed digest", approve, r#"{"bindingDigest":"sha256:1"}"#, 422, "VALIDATION_FAILED", Some("/bindingDigest")),
        case("approval without a digest", approve, "{}", 422, "VALIDATION_FAILED", Some("")),
        case("an identity in the body", approve, format!(r#"{{"bindingDigest":"{digest}","approvedBy":"ceo"}}"#), 403, "FORBIDDEN", Some("/approvedBy")),
        case("no such route", "/v1/nothing", "{}", 404, "NOT_FOUND", None),
        case("not offered", "/v1/executions/exe_00000000000000000000000000000000/evidence", "{}", 404, "CAPABILITY_MISSING", None),
        case("policies without the grant", "/v1/policies", r#"{"policies":""}"#, 403, "FORBIDDEN", None),
        case("trust without the grant", "/v1/trust", r#"{"trust":{}}"#, 403, "FORBIDDEN", None),
        case("freeze without the grant", "/v1/freezes", r#"{"scope":"workspace","frozen":true}"#, 403, "FORBIDDEN", None),
        case("budgets without the grant", "/v1/budgets", r#"{"budgets":{}}"#, 403, "FORBIDDEN", None),
        case("a backtest of nonsense", "/v1/policies/backtest", r#"{"policies":"permit (","from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z"}"#, 422, "VALIDATION_FAILED", Some("/policies")),
        case("explain nothing", "/v1/policies/explain", "{}", 422, "VALIDATION_FAILED", Some("")),
        case("explain a draft that is none", "/v1/policies/explain", r#"{"draft":{"steps":[]}}"#, 422, "VALIDATION_FAILED", Some("/draft/steps")),
        case("unsigned envelope form", "/v1/skills", format!(r#"{{"skillKey":"a","version":"1.0.0","artifactDigest":"{digest}","manifest":{{"payloadType":"x"}}}}"#), 400, "SIGNATURE_INVALID", Some("/manifest")),
        case("bare manifest", "/v1/skills", format!(r#"{{"skillKey":"a","version":"1.0.0","artifactDigest":"{digest}","manifest":{{}}}}"#), 400, "SIGNATURE_MISSING", Some("/manifest")),
    ]
}

pub async fn every_case_is_a_clear_problem_and_writes_nothing(house: &House) {
    let commits = || house.embedded().map(|node| node.table().stats().commits.load(Ordering::SeqCst));
    for case in cases() {
        // A gateway knows its routes, and answers for those it does not.
        if case.path == "/v1/nothing" && house.embedded().is_none() {
            continue;
        }
        let before = commits();
        let governs = ["/approve", "/v1/skills", "/backtest"].iter().any(|end| case.path.ends_with(end));
        let client = if governs { &house.approver } else { &house.agent };
        let (status, problem) = client.raw(case.path, case.body).await;
        assert_eq!((status, problem["code"].as_str()), (case.status, Some(case.code)), "{}: {problem}", case.name);
        for field in ["type", "title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{}: {problem}", case.name);
        }
        assert_eq!(
            (problem["status"].as_u64(), problem["traceId"].as_str().map(str::len)),
            (Some(u64::from(case.status)), Some(32)),
            "{}",
            case.name
        );
        if let Some(pointer) = case.pointer {
            let issues = problem["issues"].as_array().unwrap();
            assert!(issues.iter().any(|issue| issue["pointer"] == pointer), "{}: {problem}", case.name);
        }
        // A refused skill is recorded, and that is all that is ever written.
        if case.path != "/v1/skills" {
            assert_eq!(commits(), before, "{} wrote something", case.name);
        }
    }
    assert_eq!(house.agent.get("/v1/executions").await.1["items"], json!([]));
}

pub async fn a_draft_that_is_no_plan_is_recorded_with_all_its_diagnostics(house: &House) {
    let steps: Vec<Value> = (0..1_001)
        .map(|n| json!({ "id": format!("s{n}"), "use": "crm/customer.find", "with": { "email": "a@x.org" } }))
        .collect();
    let loops = json!([{ "id": "a", "use": "crm/customer.find", "with": { "email": "a@x.org" }, "after": ["b"] },
        { "id": "b", "use": "crm/customer.fnid", "after": ["a"] }]);
    for (steps, codes) in [(json!(steps), vec!["TOO_MANY_STEPS"]), (loops, vec!["UNKNOWN_OPERATION"])] {
        let (status, answer) =
            house.agent.post("/v1/intents", &json!({ "text": "x", "draft": { "steps": steps } })).await;
        assert_eq!(status, 202, "{answer}");
        let view = house.settled(answer["executionId"].as_str().unwrap()).await;
        assert_eq!(view["status"], "rejected");
        for code in codes {
            assert!(view["reasons"].as_array().unwrap().iter().any(|issue| issue["code"] == code), "{view}");
        }
        house.proven(view["executionId"].as_str().unwrap()).await;
    }
}

pub async fn credentials(house: &House) {
    let url = house.url();
    let code = |(status, answer): (u16, Value)| (status, answer["code"].as_str().unwrap_or_default().to_owned());
    for key in ["", "csk_", "csk_0000", "Bearer", &"x".repeat(5_000)] {
        assert_eq!(
            code(Client::new(&url, key).get("/v1/executions").await),
            (401, "UNAUTHENTICATED".into()),
            "{key}"
        );
    }
    let past = json!({ "actor": { "kind": "agent", "id": "old" }, "grants": ["control-plane.execution.read"], "expiresAt": "2020-01-01T00:00:00Z" });
    let refused = house.approver.post("/v1/keys", &past).await;
    assert_eq!((refused.0, &refused.1["issues"][0]["pointer"]), (422, &json!("/expiresAt")), "{}", refused.1);
    let mut soon = past;
    soon["expiresAt"] = json!(crate::now().plus_ms(1_500));
    let (_, key) = house.approver.post("/v1/keys", &soon).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_600)).await;
    let expired = Client::new(&url, key["apiKey"].as_str().unwrap());
    assert_eq!(code(expired.get("/v1/executions").await).0, 401);
    let reader = json!({ "actor": { "kind": "agent", "id": "reader" }, "grants": ["control-plane.execution.read"] });
    let (_, key) = house.approver.post("/v1/keys", &reader).await;
    let reader = Client::new(&url, key["apiKey"].as_str().unwrap());
    assert_eq!(reader.get("/v1/executions").await.0, 200);
    let intent = json!({ "text": "x", "mode": "manual" });
    assert_eq!(code(reader.post("/v1/intents", &intent).await), (403, "FORBIDDEN".into()), "deny by default");
    assert_eq!(code(reader.get("/v1/keys").await), (403, "FORBIDDEN".into()));
    let id = key["key"]["id"].as_str().unwrap();
    assert_eq!(house.approver.post(&format!("/v1/keys/{id}/revoke"), &json!({})).await.0, 200);
    assert_eq!(reader.get("/v1/executions").await.0, 401, "revoked");
    assert!(!house.approver.get("/v1/keys").await.1.to_string().contains("csk_"), "secrets are stored nowhere");
}

pub async fn edges_of_http(house: &House) {
    let agent = &house.agent;
    if house.embedded().is_some() {
        let (status, problem) = agent.send(agent.request("DELETE", "/v1/executions")).await;
        assert_eq!((status, &problem["status"]), (405, &json!(405)));
    }
    let (status, _) =
        agent.send(agent.request("POST", "/v1/intents").header("content-type", "text/xml").body("<x/>")).await;
    assert_eq!(status, 400);
    for query in
        ["limit=0", "limit=201", "limit=x", "limit=1&limit=2", "nope=1", "cursor=zz", "createdAfter=yesterday"]
    {
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
    let response = agent.request("GET", "/v1/capabilities").header("traceparent", parent).send().await.unwrap();
    assert_eq!(response.headers()["traceparent"], parent);
}
