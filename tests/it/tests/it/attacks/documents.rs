//! Attacks by documents: schemas, policies, drafts and listings that are legal, large and dear, or
//! that lead elsewhere.

use axum::{
    Router,
    body::{Body, Bytes},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::any,
};
use countersign_it::{TestServer, anywhere, install_body};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

fn skill(key: &str, input: &Value) -> Value {
    json!({ "schemaVersion": "1.0.0", "skill": { "key": key, "version": "1.0.0" },
        "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
        "artifact": { "digest": cs_core::canonical::digest_bytes(b"") },
        "operations": [{ "key": "run", "title": "Run", "effect": "read", "riskTier": "low",
            "inputSchema": input, "outputSchema": {}, "timeoutSeconds": 10,
            "binding": { "kind": "http", "url": "http://127.0.0.1:1/run" } }] })
}

// Does something, and says how long another waited for an answer meanwhile at the most.
async fn beside<T>(server: &TestServer, work: impl Future<Output = T>) -> (T, Duration, Duration) {
    let (stop, begun) = (AtomicBool::new(false), Instant::now());
    let others = async {
        let mut slowest = Duration::ZERO;
        while !stop.load(Ordering::SeqCst) {
            let asked = Instant::now();
            assert_eq!(server.approver.get("/v1/freezes").await.0, 200);
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        slowest
    };
    let work = async {
        let done = work.await;
        stop.store(true, Ordering::SeqCst);
        (done, begun.elapsed())
    };
    let ((done, took), slowest) = tokio::join!(work, others);
    (done, took, slowest)
}

/// Schemas whose references lead to another server, a file, the metadata address, or in a circle.
/// Right: refused with a pointer, or never followed: nobody is connected to.
#[tokio::test(flavor = "multi_thread")]
async fn attack_schemas_that_refer_elsewhere() {
    let server = TestServer::start().await;
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let (url, connected) =
        (format!("http://{}/schema", listener.local_addr().unwrap()), Arc::new(AtomicU32::new(0)));
    let counted = connected.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let circle = json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } },
        "$ref": "#/$defs/a" });
    for (name, schema, must) in [
        ("ref", json!({ "$ref": url }), true),
        ("file", json!({ "$ref": "file:///etc/passwd" }), true),
        (
            "metadata",
            json!({ "properties": { "a": { "$ref": "http://169.254.169.254/latest" } } }),
            true,
        ),
        ("base", json!({ "$id": url, "$ref": "other.json" }), true),
        ("dialect", json!({ "$schema": url }), true),
        ("vocabulary", json!({ "$vocabulary": { url.as_str(): true }, "type": "object" }), false),
        ("dynamic", json!({ "$dynamicRef": format!("{url}#x") }), true),
        (
            "recursive",
            json!({ "$schema": "https://json-schema.org/draft/2019-09/schema",
                "$recursiveRef": url }),
            true,
        ),
        ("pointer", json!({ "$ref": "#/nowhere" }), true),
        ("encoded", json!({ "$ref": "#/%2e%2e/%00" }), true),
        ("circle", circle, true),
        ("itself", json!({ "$ref": "#" }), true),
    ] {
        let body = install_body(&skill(name, &schema));
        let ((status, answer), took, _) =
            beside(&server, server.approver.post("/v1/skills", &body)).await;
        println!("{name:10} {status} {took:?} {}", answer["issues"][0]["message"]);
        assert!(status == 400 || (status == 201 && !must), "{name}: {status} {answer}");
        assert!(!answer.to_string().contains("root:"), "{name}: a file was read");
    }
    assert_eq!(connected.load(Ordering::SeqCst), 0, "a reference was followed");
}

/// Signed schemas of ten thousand parts, of patterns that explode when they are compiled, of enums
/// without end. Right: each is refused or installed; others are answered meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_schemas_that_are_dear_to_read() {
    let server = TestServer::start().await;
    let names = |count: usize| {
        (0..count)
            .map(|n| (format!("p{n}"), json!({ "type": "string" })))
            .collect::<serde_json::Map<_, _>>()
    };
    let words = |count: usize| (0..count).map(|n| format!("word-{n}")).collect::<Vec<_>>();
    let deep = |keyword: &str, levels: usize| {
        (0..levels).fold(
            json!({ "type": "string" }),
            |inner, _| json!({ keyword: [inner.clone(), { "minLength": 1 }] }),
        )
    };
    let patterns = |count: usize| {
        (0..count)
            .map(|n| (format!("^(a{{1,50}}){{1,20}}x{n}$"), json!({})))
            .collect::<serde_json::Map<_, _>>()
    };
    for (name, schema) in [
        ("properties", json!({ "type": "object", "properties": names(9_900) })),
        (
            "required",
            json!({ "type": "object", "properties": names(5_000),
                "required": (0..5_000).map(|n| format!("p{n}")).collect::<Vec<_>>() }),
        ),
        ("enum", json!({ "enum": words(50_000) })),
        ("repeats", json!({ "type": "string", "pattern": "((a{1,100}){1,100}){1,100}" })),
        ("classes", json!({ "type": "string", "pattern": r"^[\p{L}\p{N}\p{S}]{1,1000}$" })),
        (
            "alternatives",
            json!({ "type": "string", "pattern": format!("^({})$", words(20_000).join("|")) }),
        ),
        ("patterns", json!({ "type": "object", "patternProperties": patterns(190) })),
        ("allof", deep("allOf", 20)),
        ("oneof", deep("oneOf", 20)),
        (
            "dependent",
            json!({ "type": "object", "dependentRequired": (0..2_000).map(|n| (format!("p{n}"),
                json!([format!("p{}", n + 1)]))).collect::<serde_json::Map<_, _>>() }),
        ),
        (
            "unevaluated",
            json!({ "allOf": (0..500).map(|n| json!({
                "properties": { format!("p{n}"): {} } })).collect::<Vec<_>>(),
                    "unevaluatedProperties": false }),
        ),
    ] {
        let body = install_body(&skill(name, &schema));
        let ((status, answer), took, slowest) =
            beside(&server, server.approver.post("/v1/skills", &body)).await;
        println!(
            "{name:12} {status} {took:?}, another waited {slowest:?}: {}",
            answer["issues"][0]["message"]
        );
        assert!(status == 201 || (400..500).contains(&status), "{name}: {status} {answer}");
    }
}

/// Policies of ten thousand clauses, of sets without end, of `like` with a thousand stars. Right:
/// refused, or taken and judged by; never a fault, and others are answered meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_policies_that_are_dear_to_read() {
    let server = TestServer::start().await;
    let rule = |condition: &str| {
        format!(
            "@id(\"x\") @reason(\"x\") forbid (principal, action, resource) when {{ {condition} }};"
        )
    };
    let entities = |count: usize| {
        (0..count)
            .map(|n| format!("Action::\"crm/customer.find{n}\""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let stars = "*a".repeat(1_000);
    for (name, text) in [
        ("clauses", rule(&vec!["principal.kind == \"agent\""; 9_000].join(" || "))),
        ("ands", rule(&vec!["true"; 30_000].join(" && "))),
        ("not", rule(&format!("{}true", "!".repeat(100_000)))),
        ("parentheses", rule(&format!("{}true{}", "(".repeat(100_000), ")".repeat(100_000)))),
        ("set", rule(&format!("[{}].contains(action)", entities(4_000)))),
        (
            "scope",
            format!(
                "@id(\"x\") @reason(\"x\") forbid (principal, action in [{}], resource);",
                entities(4_000)
            ),
        ),
        ("like", rule(&format!("principal.id like \"{stars}\""))),
        (
            "if",
            rule(&format!("{}true{}", "if true then ".repeat(5_000), " else false".repeat(5_000))),
        ),
        (
            "rules",
            (0..5_000)
                .map(|n| {
                    format!("@id(\"r{n}\") forbid (principal, action, resource) when {{ false }};")
                })
                .collect(),
        ),
        ("comment", format!("// {}\n{}", "x".repeat(200_000), rule("false"))),
        ("string", rule(&format!("principal.id == \"{}\"", "x".repeat(200_000)))),
        ("long", rule("9223372036854775807 + 1 > 0")),
    ] {
        for path in ["/v1/policies", "/v1/policies/shadow"] {
            let body = json!({ "policies": text });
            let ((status, answer), took, slowest) =
                beside(&server, server.approver.post(path, &body)).await;
            println!(
                "{name:12} {path} {status} {took:?}, another waited {slowest:?}: {}",
                answer["issues"][0]["message"]
            );
            assert!((200..500).contains(&status), "{name}: {status} {answer}");
            assert!(
                answer.to_string().len() < 64 * 1024,
                "{name}: an answer of {} bytes",
                answer.to_string().len()
            );
        }
        let id = server
            .submit(
                json!([{ "id": "a", "use": "crm/customer.find", "with": { "email": "a@x.org" } }]),
            )
            .await;
        let status = server.settled(&id).await["status"].clone();
        assert!(status == "completed" || status == "rejected", "{name}: {status}");
    }
}

/// Drafts in which everything waits for everything, names everything ten thousand times, or looks
/// at everything. Right: refused or compiled, seen and replayed; others are answered meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_drafts_in_which_all_depends_on_all() {
    let server = TestServer::start().await;
    let find =
        |id: &str| json!({ "id": id, "use": "crm/customer.find", "with": { "email": "a@x.org" } });
    let with = |id: &str, more: Value| {
        let mut step = find(id);
        for (key, value) in more.as_object().unwrap() {
            step[key] = value.clone();
        }
        step
    };
    let id = |n: usize| format!("s{n}");
    let all_before = |n: usize| (0..n).map(id).collect::<Vec<_>>();
    let when = |n: usize| json!({ "$from": id(n), "path": "/name", "equals": "ada" });
    let layers = |n: usize| (n / 20 * 20).max(20) - 20..n / 20 * 20;
    for (name, steps) in [
        (
            "all of 180",
            (0..180).map(|n| with(&id(n), json!({ "after": all_before(n) }))).collect::<Vec<_>>(),
        ),
        (
            "1,000 in layers",
            (0..1_000)
                .map(|n| with(&id(n), json!({ "after": layers(n).map(id).collect::<Vec<_>>() })))
                .collect(),
        ),
        (
            "one named 10,000 times",
            vec![find("a"), with("b", json!({ "after": vec!["a"; 10_000] }))],
        ),
        (
            "a circle of 900",
            (0..900).map(|n| with(&id(n), json!({ "after": [id((n + 1) % 900)] }))).collect(),
        ),
        ("itself", vec![with("a", json!({ "after": ["a"] }))]),
        (
            "a chain of looks",
            (0..190)
                .map(
                    |n| {
                        if n == 0 {
                            find("s0")
                        } else {
                            with(&id(n), json!({ "when": when(n - 1) }))
                        }
                    },
                )
                .collect(),
        ),
        (
            "all look at one",
            (0..1_000)
                .map(|n| if n == 0 { find("s0") } else { with(&id(n), json!({ "when": when(0) })) })
                .collect(),
        ),
        ("one id 1,000 times", vec![find("a"); 1_000]),
        (
            "a chain of 1,000",
            (0..1_000)
                .map(|n| {
                    if n == 0 { find("s0") } else { with(&id(n), json!({ "after": [id(n - 1)] })) }
                })
                .collect(),
        ),
    ] {
        let body = json!({ "text": name, "mode": "manual", "draft": { "steps": steps } });
        let ((status, answer), took, slowest) =
            beside(&server, server.agent.post("/v1/intents", &body)).await;
        println!("{name:24} {status} {} {took:?}, another waited {slowest:?}", answer["status"]);
        assert!(status == 202 || status == 422, "{name}: {status} {answer}");
        assert!(answer.to_string().len() < 64 * 1024, "{name}");
        let Some(execution) = answer["executionId"].as_str() else { continue };
        let (status, view) = server.agent.get(&format!("/v1/executions/{execution}")).await;
        assert_eq!(status, 200, "{name}: {view}");
        let (status, trace) = server.agent.get(&format!("/v1/executions/{execution}/trace")).await;
        assert_eq!(status, 200, "{name}");
        for entry in trace["entries"].as_array().unwrap() {
            assert!(entry["event"].to_string().len() <= 64 * 1024, "{name}: {}", entry["type"]);
        }
    }
}

async fn mcp(kind: &'static str, elsewhere: String) -> String {
    let pages = Arc::new(AtomicU32::new(0));
    let handle = move |body: Bytes| {
        let (pages, elsewhere) = (pages.clone(), elsewhere.clone());
        async move {
            let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
            let answer = |result: Value| {
                axum::Json(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }))
                    .into_response()
            };
            let tool = |name: &str, description: &str| {
                json!({ "name": name,
                "description": description, "inputSchema": { "type": "object" } })
            };
            let response: Response = match asked["method"].as_str().unwrap_or_default() {
                _ if kind == "redirect" => {
                    (StatusCode::TEMPORARY_REDIRECT, [("location", elsewhere)]).into_response()
                }
                "initialize" => answer(
                    json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
                    "serverInfo": { "name": "x", "version": "1" } }),
                ),
                "tools/list" => {
                    let page = pages.fetch_add(1, Ordering::SeqCst);
                    match kind {
                        "pages" => answer(json!({ "tools": [tool("a", &"x".repeat(1 << 20))],
                                "nextCursor": format!("c{page}") })),
                        "cursors" => {
                            let cursor = "c".repeat(100_000 + page as usize);
                            answer(json!({ "tools": [], "nextCursor": cursor }))
                        }
                        "name" => answer(json!({ "tools": [tool(&"n".repeat(20 << 20), "")] })),
                        "deep" => {
                            let text = format!(
                                "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"tools\":{}{}}}}}",
                                asked["id"],
                                "[".repeat(200_000),
                                "]".repeat(200_000)
                            );
                            ([("content-type", "application/json")], text).into_response()
                        }
                        "type" => ([("content-type", "text/html")], "<html>").into_response(),
                        _ => {
                            let event = || {
                                Ok::<_, std::io::Error>(format!(
                                    "data: {}\n",
                                    "x".repeat(64 * 1024)
                                ))
                            };
                            let endless =
                                Body::from_stream(futures_util::stream::repeat_with(event));
                            ([("content-type", "text/event-stream")], endless).into_response()
                        }
                    }
                }
                _ => StatusCode::ACCEPTED.into_response(),
            };
            response
        }
    };
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let router = Router::new().route("/mcp", any(handle));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// An MCP server whose list has pages without end, a name of twenty megabytes, an event without
/// end, 200,000 brackets, or a way to another server. Right: an error that says so; nobody else is
/// called.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_mcp_server_that_lists_bombs() {
    let elsewhere = TcpListener::bind(anywhere()).await.unwrap();
    let to = format!("http://{}/latest", elsewhere.local_addr().unwrap());
    let tools = countersign_tools::Dispatch::new().unwrap();
    for kind in ["pages", "cursors", "name", "deep", "type", "endless", "redirect"] {
        let url = mcp(kind, to.clone()).await;
        let begun = Instant::now();
        let error = tools.mcp_tools(&url, &[]).await.map(|tools| tools.len());
        let error = error.map_err(|error| error.to_string()).expect_err(kind);
        println!(
            "{kind:10} {:?}: {}",
            begun.elapsed(),
            error.chars().take(200).collect::<String>()
        );
        assert!(error.len() < 4_000, "{kind}: an error of {} bytes", error.len());
    }
    let called = tokio::time::timeout(Duration::from_millis(200), elsewhere.accept()).await;
    assert!(called.is_err(), "a redirect was followed");
}
