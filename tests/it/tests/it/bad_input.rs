//! Bad input: each a clear problem, never a 500, never a partial write.

use countersign_it::{Client, House, install_body};
use serde_json::{Value, json};

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
        case("a number beyond I-JSON", INTENTS, r#"{"text":"x","metadata":{"n":9007199254740993}}"#, 400, "BAD_REQUEST", Some("/metadata/n")),
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
        case("forged commitment", INTENTS, r#"{"text":"x","draft":{"steps":[{"id":"a","use":"crm/customer.find","with":{"email":{"$sealed":"x"}}}]}}"#, 422, "VALIDATION_FAILED", Some("/draft/steps/0/with")),
        case("bad trace id", INTENTS, r#"{"text":"x","mode":"manual","traceId":"zz"}"#, 422, "VALIDATION_FAILED", Some("/traceId")),
        case("unknown execution", cancel, "{}", 404, "NOT_FOUND", None),
        case("malformed execution", "/v1/executions/exe_1/cancel", "{}", 422, "VALIDATION_FAILED", Some("/executionId")),
        case("path traversal", "/v1/executions/..%2f..%2fetc/cancel", "{}", 422, "VALIDATION_FAILED", Some("/executionId")),
        case("path and body disagree", cancel, r#"{"executionId":"exe_11111111111111111111111111111111"}"#, 422, "VALIDATION_FAILED", Some("/executionId")),
        case("malformed digest", approve, r#"{"bindingDigest":"sha256:1"}"#, 422, "VALIDATION_FAILED", Some("/bindingDigest")),
        case("approval without a digest", approve, "{}", 422, "VALIDATION_FAILED", Some("")),
        case("an identity in the body", approve, format!(r#"{{"bindingDigest":"{digest}","approvedBy":"ceo"}}"#), 422, "VALIDATION_FAILED", Some("/approvedBy")),
        case("no such route", "/v1/nothing", "{}", 404, "NOT_FOUND", None),
        case("not offered", "/v1/policies", r#"{"policies":""}"#, 404, "CAPABILITY_MISSING", None),
        case("not offered either", "/v1/skills/verify", "{}", 404, "CAPABILITY_MISSING", None),
        case("explain nothing", "/v1/policies/explain", "{}", 422, "VALIDATION_FAILED", Some("")),
        case("explain a draft that is none", "/v1/policies/explain", r#"{"draft":{"steps":[]}}"#, 422, "VALIDATION_FAILED", Some("/draft/steps")),
        case("unsigned envelope form", "/v1/skills", format!(r#"{{"skillKey":"a","version":"1.0.0","artifactDigest":"{digest}","manifest":{{"payloadType":"x"}}}}"#), 400, "SIGNATURE_INVALID", Some("/manifest")),
        case("empty manifest", "/v1/skills", format!(r#"{{"skillKey":"a","version":"1.0.0","artifactDigest":"{digest}","manifest":{{}}}}"#), 400, "MANIFEST_INVALID", Some("/manifest")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_is_a_clear_problem_and_writes_nothing() {
    let house = House::start().await;
    let commits = || house.node.table().stats().commits.load(std::sync::atomic::Ordering::SeqCst);
    for case in cases() {
        let before = commits();
        let client = if case.path.ends_with("/approve") { &house.approver } else { &house.agent };
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

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_that_is_no_plan_is_recorded_with_all_its_diagnostics() {
    let house = House::start().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn credentials() {
    let house = House::start().await;
    let url = house.node.url();
    let code = |(status, answer): (u16, Value)| (status, answer["code"].as_str().unwrap_or_default().to_owned());
    for key in ["", "csk_", "csk_0000", "Bearer", &"x".repeat(5_000)] {
        assert_eq!(
            code(Client::new(&url, key).get("/v1/executions").await),
            (401, "UNAUTHENTICATED".into()),
            "{key}"
        );
    }
    let past = json!({ "actor": { "kind": "agent", "id": "old" }, "grants": ["control-plane.execution.read"], "expiresAt": "2020-01-01T00:00:00Z" });
    let (_, key) = house.agent.post("/v1/keys", &past).await;
    let expired = Client::new(&url, key["apiKey"].as_str().unwrap());
    assert_eq!(code(expired.get("/v1/executions").await).0, 401);
    let reader = json!({ "actor": { "kind": "agent", "id": "reader" }, "grants": ["control-plane.execution.read"] });
    let (_, key) = house.agent.post("/v1/keys", &reader).await;
    let reader = Client::new(&url, key["apiKey"].as_str().unwrap());
    assert_eq!(reader.get("/v1/executions").await.0, 200);
    let intent = json!({ "text": "x", "mode": "manual" });
    assert_eq!(code(reader.post("/v1/intents", &intent).await), (403, "FORBIDDEN".into()), "deny by default");
    assert_eq!(code(reader.get("/v1/keys").await), (403, "FORBIDDEN".into()));
    let id = key["key"]["id"].as_str().unwrap();
    assert_eq!(house.agent.post(&format!("/v1/keys/{id}/revoke"), &json!({})).await.0, 200);
    assert_eq!(reader.get("/v1/executions").await.0, 401, "revoked");
    assert!(!house.agent.get("/v1/keys").await.1.to_string().contains("csk_"), "secrets are stored nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_of_http() {
    let house = House::start().await;
    let agent = &house.agent;
    let (status, problem) = agent.send(agent.request("DELETE", "/v1/executions")).await;
    assert_eq!((status, &problem["status"]), (405, &json!(405)));
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

#[tokio::test(flavor = "multi_thread")]
async fn refused_skills_never_occupy_the_version() {
    let house = House::start().await;
    let mut manifest = house.tools.manifests().unwrap().remove(2);
    manifest["skill"]["key"] = json!("post");
    let check = |change: &dyn Fn(&mut Value)| {
        let mut body = install_body(&manifest);
        change(&mut body);
        body
    };
    let cases: Vec<(&str, Value)> = vec![
        ("SCHEMA_VERSION_INVALID", check(&|body| body["manifest"]["schemaVersion"] = json!("9.0.0"))),
        ("MANIFEST_INVALID", check(&|body| body["manifest"]["operations"][0]["timeoutSeconds"] = json!(0))),
        (
            "MANIFEST_INVALID",
            check(&|body| body["manifest"]["operations"][0]["inputSchema"] = json!({ "type": "nonsense" })),
        ),
        (
            "MANIFEST_INVALID",
            check(&|body| body["manifest"]["operations"][0]["binding"]["url"] = json!("file:///etc/passwd")),
        ),
        ("MANIFEST_INVALID", check(&|body| body["manifest"]["operations"][0]["resource"] = json!("/nope/x"))),
        ("MANIFEST_INVALID", check(&|body| body["manifest"]["operations"][0]["probe"] = json!("message.send"))),
        ("MANIFEST_INVALID", check(&|body| body["version"] = json!("1.0.1"))),
        (
            "ARTIFACT_DIGEST_MISMATCH",
            check(&|body| body["artifactDigest"] = json!(format!("sha256:{}", "1".repeat(64)))),
        ),
        (
            "CONTRACTS_SPEC_TOO_OLD",
            check(&|body| body["manifest"]["compatibility"]["contractsSpec"] = json!({ "minVersion": "9.0.0" })),
        ),
        (
            "CONTRACTS_SPEC_TOO_NEW",
            check(&|body| body["manifest"]["compatibility"]["contractsSpec"] = json!({ "maxVersion": "0.1.0" })),
        ),
        (
            "CONTRACTS_SPEC_VERSION_MISSING",
            check(&|body| body["manifest"]["compatibility"]["contractsSpec"] = json!({})),
        ),
        (
            "CONTROL_PLANE_TOO_OLD",
            check(&|body| {
                body["manifest"]["compatibility"]["controlPlaneFeature"] = json!({ "minVersion": "9.0.0" })
            }),
        ),
        (
            "CAPABILITY_MISSING",
            check(&|body| {
                body["manifest"]["compatibility"]["requiredCapabilities"] =
                    json!([{ "key": "control-plane.channel-runtime" }])
            }),
        ),
    ];
    for (code, body) in cases {
        let (status, problem) = house.agent.post("/v1/skills", &body).await;
        assert_eq!(problem["code"], code, "{problem}");
        assert!((400..500).contains(&status));
        assert!(!problem["issues"].as_array().unwrap().is_empty(), "{problem}");
    }
    let (status, first) = house.agent.post("/v1/skills", &check(&|_| ())).await;
    assert_eq!((status, &first["verified"]), (201, &json!(false)), "{first}");
    let (_, again) = house.agent.post("/v1/skills", &check(&|_| ())).await;
    assert_eq!(again["installationId"], first["installationId"], "the same content again is the same installation");
    let other = check(&|body| body["manifest"]["operations"][0]["title"] = json!("Other"));
    assert_eq!(house.agent.post("/v1/skills", &other).await.1["code"], "VERSION_CONFLICT");
    let trace = house.node.engine().workspace_trace(&house.identity.workspace).await.unwrap();
    let mut verifier = cs_core::trace::Verifier::default();
    trace.iter().for_each(|entry| verifier.push(entry).unwrap());
    let rejected = trace.iter().filter(|entry| entry["type"] == "controlPlane.skill.rejected").count();
    assert_eq!(rejected, 14, "each refused attempt is in the workspace's trace");
}
