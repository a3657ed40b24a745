//! Bounded work: whatever is sent, every answer comes soon, and nobody else waits for it.

use axum::{Router, routing::post};
use countersign_it::{TestServer, anywhere, install_body};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What a debug build on a busy machine may take where milliseconds are meant.
const SOON: Duration = Duration::from_secs(5);

/// A skill with one operation, `run`.
fn skill(key: &str, url: &str, input: &Value, output: &Value) -> Value {
    json!({ "schemaVersion": "1.0.0", "skill": { "key": key, "version": "1.0.0" },
        "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
        "artifact": { "digest": cs_core::canonical::digest_bytes(b"") },
        "operations": [{ "key": "run", "title": "Run", "effect": "read", "riskTier": "low",
            "inputSchema": input, "outputSchema": output, "timeoutSeconds": 10,
            "binding": { "kind": "http", "url": url } }] })
}

#[track_caller]
fn soon(begun: Instant, what: &str) {
    assert!(begun.elapsed() < SOON, "{what} took {:?}", begun.elapsed());
}

fn twofold() -> Value {
    json!({ "type": "object", "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_refers_to_itself_twice_is_refused_for_its_signature_at_once() {
    let server = TestServer::start().await;
    let mut body =
        install_body(&skill("twofold", "http://127.0.0.1:1/run", &twofold(), &twofold()));
    let signature = body["manifest"]["signatures"][0]["sig"].as_str().unwrap().to_owned();
    body["manifest"]["signatures"][0]["sig"] = signature.chars().rev().collect::<String>().into();
    let begun = Instant::now();
    let tries = (0..4).map(|_| {
        let (person, body) = (server.approver.clone(), body.clone());
        tokio::spawn(async move { person.post("/v1/skills/verify", &body).await })
    });
    for tried in tries.collect::<Vec<_>>() {
        let (status, answer) = tried.await.unwrap();
        assert_eq!((status, &answer["signatureVerified"]), (200, &json!(false)), "{answer}");
        assert_eq!(answer["issues"][0]["code"], "SIGNATURE_INVALID", "{answer}");
        assert_eq!(answer["compatibilityVerified"], false, "it was not looked at: {answer}");
    }
    soon(begun, "refusing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_refers_to_itself_twice_installs_in_milliseconds_once_it_is_signed() {
    let server = TestServer::start().await;
    let begun = Instant::now();
    server
        .install(
            &server.approver,
            &skill("twofold", "http://127.0.0.1:1/run", &twofold(), &twofold()),
        )
        .await;
    // Two of them wired together, judged, and a policy set tried on them.
    let draft = json!({ "steps": [{ "id": "a", "use": "twofold/run",
        "with": { "left": { "right": {} } } },
        { "id": "b", "use": "twofold/run", "with": { "left": { "$from": "a" } } }] });
    let (status, answer) =
        server.agent.post("/v1/policies/explain", &json!({ "draft": draft })).await;
    assert_eq!(status, 200, "{answer}");
    let (_, sets) = server.approver.get("/v1/policies").await;
    let body = json!({ "policies": sets["policies"], "from": "2026-01-01T00:00:00.000Z",
        "to": "2026-01-02T00:00:00.000Z" });
    let (status, answer) = server.approver.post("/v1/policies/backtest", &body).await;
    assert_eq!(status, 200, "{answer}");
    soon(begun, "installing, compiling, judging, testing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_whose_work_doubles_with_depth_is_refused_with_its_pointer() {
    let server = TestServer::start().await;
    let step = json!({ "properties": { "a": { "$ref": "#" } } });
    let doubling = json!({ "type": "object", "allOf": [step, step] });
    let looking = json!({ "type": "object", "properties": { "a": { "pattern": "^(?=(a+)+$)b" } } });
    for (schema, says) in [(doubling, "doubles"), (looking, "not a valid JSON Schema")] {
        let begun = Instant::now();
        let body = install_body(&skill("doubling", "http://127.0.0.1:1/run", &schema, &json!({})));
        let (status, answer) = server.approver.post("/v1/skills", &body).await;
        assert_eq!((status, &answer["code"]), (400, &json!("MANIFEST_INVALID")), "{answer}");
        assert_eq!(
            answer["issues"][0]["pointer"], "/manifest/operations/0/inputSchema",
            "{answer}"
        );
        assert!(answer["issues"][0]["message"].as_str().unwrap().contains(says), "{answer}");
        soon(begun, "refusing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_draft_of_unknown_names_is_answered_in_milliseconds() {
    let server = TestServer::start().await;
    let step = |n: usize| {
        json!({ "id": format!("s{n}"),
        "use": format!("paymemts-{n}/refund.creat@^{n}"), "after": [format!("x{n}")] })
    };
    let many: Vec<Value> = (0..9_000).map(step).collect();
    let few: Vec<Value> = (0..1_000).map(step).collect();
    for (steps, path, key) in [
        (&many, "/v1/policies/explain", "draft"),
        (&few, "/v1/policies/explain", "draft"),
        (&many, "/v1/intents", "draft"),
    ] {
        let begun = Instant::now();
        let body = json!({ key: { "steps": steps } });
        let body = if path == "/v1/intents" {
            json!({ "text": "x", "draft": { "steps": steps } })
        } else {
            body
        };
        let (status, answer) = server.agent.post(path, &body).await;
        assert_eq!(status, 422, "{answer}");
        let issues = answer["issues"].as_array().unwrap();
        let suggested = issues
            .iter()
            .filter(|issue| issue["message"].as_str().unwrap().contains("did you mean"));
        let suggested = suggested.count();
        assert!(
            issues.len() <= 101 && suggested <= contracts::limits::SUGGESTIONS_MAX as usize,
            "{answer}"
        );
        assert!(steps.len() > 1_000 || suggested > 0, "a few are given: {answer}");
        soon(begun, path);
    }
    // Fewer steps: received, and rejected with a few suggestions.
    let begun = Instant::now();
    let id = server.submit(json!(few)).await;
    let view = server.settled(&id).await;
    assert_eq!(view["status"], "rejected", "{view}");
    assert!(view["reasons"].as_array().unwrap().len() <= 101);
    soon(begun, "submitting");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nested_too_deeply_is_refused_wherever_json_comes_in() {
    let server = TestServer::start().await;
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    for path in [
        "/v1/intents",
        "/v1/policies/explain",
        "/v1/skills",
        "/v1/skills/verify",
        "/v1/policies",
        "/v1/trust",
    ] {
        for levels in [65, 100_000, 500_000] {
            let body = format!(r#"{{"text":"x","metadata":{{"a":{}}}}}"#, deep(levels));
            let (status, answer) = server.approver.raw(path, body.into_bytes()).await;
            assert_eq!(status, 400, "{path} {levels}: {answer}");
            assert!(
                answer["issues"][0]["message"].as_str().unwrap().contains("64 levels"),
                "{answer}"
            );
        }
    }
}

async fn answering(body: String) -> String {
    let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}/run", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/run", post(move || async move { ([("content-type", "application/json")], body) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_of_900_kb_that_does_not_fit_its_schema_makes_a_short_event() {
    let server = TestServer::start().await;
    let url = answering(json!({ "text": "\u{1}ä\"".repeat(100_000) }).to_string()).await;
    let output = json!({ "type": "object", "properties": { "text": { "type": "integer" } } });
    server
        .install(&server.approver, &skill("loud", &url, &json!({ "type": "object" }), &output))
        .await;
    let id = server.submit(json!([{ "id": "a", "use": "loud/run" }])).await;
    let view = server.until(&id, "failed").await;
    assert_eq!(view["steps"][0]["code"], "OUTPUT_INVALID", "{view}");
    let (_, trace) = server.agent.get(&format!("/v1/executions/{id}/trace")).await;
    for entry in trace["entries"].as_array().unwrap() {
        assert!(entry["event"].to_string().len() <= 64 * 1024, "{}", entry["type"]);
    }
    server.proven(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_thousand_connections_that_send_nothing_keep_nobody_from_an_answer() {
    let server = TestServer::start().await;
    let address = server.url().trim_start_matches("http://").to_owned();
    let mut silent = Vec::new();
    for n in 0..1_024 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        if n % 2 == 0 {
            // Half of a head.
            tokio::io::AsyncWriteExt::write_all(
                &mut stream,
                b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-",
            )
            .await
            .unwrap();
        }
        silent.push(stream);
    }
    let begun = Instant::now();
    let (status, _) = server.agent.get("/healthz").await;
    assert_eq!(status, 200);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let id = server
        .submit(json!([{ "id": "a", "use": "crm/customer.find", "with": { "email": "a@x.org" } }]))
        .await;
    server.until(&id, "completed").await;
    soon(begun, "an execution");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_requests_on_24_connections_keep_nobody_from_an_answer() {
    let server = TestServer::start().await;
    let steps: Vec<Value> = (0..1_000)
        .map(|n| {
            json!({ "id": format!("s{n}"), "use": format!("crm-{n}/customer.fnid@^{n}"),
            "after": [format!("s{}", (n + 1) % 1_000)] })
        })
        .collect();
    let body = json!({ "draft": { "steps": steps } });
    let (_, sets) = server.approver.get("/v1/policies").await;
    let test = json!({ "policies": sets["policies"], "from": "2026-01-01T00:00:00.000Z",
        "to": "2026-03-01T00:00:00.000Z" });
    let flood: Vec<_> = (0..24)
        .map(|n| {
            let (agent, body, test) = (server.agent.clone(), body.clone(), test.clone());
            tokio::spawn(async move {
                let mut statuses = std::collections::BTreeSet::new();
                for _ in 0..10 {
                    let (path, body) = if n % 2 == 0 {
                        ("/v1/policies/explain", &body)
                    } else {
                        ("/v1/policies/backtest", &test)
                    };
                    statuses.insert(agent.post(path, body).await.0);
                }
                statuses
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(server.approver.get("/healthz").await.0, 200);
        slowest = slowest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    flood.iter().for_each(|task| task.abort());
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let server = TestServer::start().await;
    let (status, answer) =
        server.agent.get(&format!("/v1/executions?cursor={}", "x".repeat(10_000))).await;
    assert_eq!((status, &answer["code"]), (414, &json!("BAD_REQUEST")), "{answer}");
    let large =
        server.agent.request("GET", "/v1/executions").header("x-large", "x".repeat(100_000));
    let refused = large.send().await.map(|response| response.status().as_u16());
    assert!(
        refused.is_err() || refused.is_ok_and(|status| status == 431),
        "a head has at most 32 KiB"
    );
    assert_eq!(server.agent.get("/v1/executions").await.0, 200);
}

/// What a connection is answered that sends this and nothing more; `None` where nobody ends it.
async fn answered(address: &str, text: String) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
    // Two or three times as long as a head and a body are waited for.
    let _ = tokio::time::timeout(Duration::from_secs(100), read).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_and_a_body_that_do_not_end_are_not_waited_for() {
    let server = TestServer::start().await;
    let (address, key) =
        (server.url().trim_start_matches("http://").to_owned(), &server.identity.agent_key);
    let head = answered(&address, "GET /healthz HTTP/1.1\r\nhost: x\r\nx-".into());
    let body = answered(
        &address,
        format!(
            "POST /v1/intents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
        ),
    );
    let (head, body) = tokio::join!(head, body);
    assert!(head.is_some(), "a head that does not end");
    assert!(
        body.is_some_and(|answer| answer.starts_with("HTTP/1.1 4")),
        "a body that does not end"
    );
}
