//! Attacks by those who are called: subscribers and tools that answer never, slowly, without end,
//! or with a way elsewhere.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::any,
};
use countersign_it::{Client, TestServer, anywhere, install_body};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

fn find(id: &str) -> Value {
    json!({ "id": id, "use": "crm/customer.find", "with": { "email": "a@x.org" } })
}

/// What a server got: headers and bodies.
type ReceivedRequests = Arc<Mutex<Vec<(HeaderMap, Vec<u8>)>>>;

// A subscriber that takes everything.
async fn taking() -> (String, ReceivedRequests) {
    let got = ReceivedRequests::default();
    let take = |State(got): State<ReceivedRequests>, headers: HeaderMap, body: Bytes| async move {
        got.lock().unwrap().push((headers, body.to_vec()));
        StatusCode::OK
    };
    let url = serve(Router::new().route("/hook", any(take)).with_state(got.clone())).await;
    (format!("{url}/hook"), got)
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A server that does something with each connection, and counts those that the other side gave up.
async fn socket<F, Fut>(each: F) -> (String, Arc<Mutex<(u32, u32)>>)
where
    F: Fn(TcpStream) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let counts = Arc::new(Mutex::new((0, 0)));
    let counted = counts.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.lock().unwrap().0 += 1;
            let (each, counted) = (each.clone(), counted.clone());
            tokio::spawn(async move {
                each(stream).await;
                counted.lock().unwrap().1 += 1;
            });
        }
    });
    (url, counts)
}

// Reads until the other side closes.
async fn swallow(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

// 200, and a body that goes on for ever, a byte at a time.
async fn endless(mut stream: TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn subscribe(client: &Client, url: &str) -> Value {
    let (status, answer) = client.post("/v1/webhooks", &json!({ "url": url })).await;
    assert_eq!(status, 201, "{answer}");
    answer
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{what}: after {:?}", begun.elapsed());
}

/// A workspace's subscriber never answers. Right: another workspace's events come while that one is
/// still being waited for.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_subscriber_that_never_answers() {
    another_workspace_is_served(swallow).await;
}

/// A workspace's subscriber answers 200 with a body that never ends. Right: the same.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_subscriber_whose_answer_never_ends() {
    another_workspace_is_served(endless).await;
}

async fn another_workspace_is_served<F, Fut>(each: F)
where
    F: Fn(TcpStream) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let server = TestServer::start().await;
    let (silent, counts) = socket(each).await;
    subscribe(&server.approver, &silent).await;
    for _ in 0..5 {
        server.submit(json!([find("a")])).await;
    }
    let other = server.another().await;
    let (url, got) = taking().await;
    subscribe(&Client::new(&server.url(), &other.approver_key), &url).await;
    let other = Client::new(&server.url(), &other.agent_key);
    let waited_for = || {
        let (called, over) = *counts.lock().unwrap();
        called > over
    };
    until("the silent subscriber is waited for", waited_for).await;
    let begun = Instant::now();
    let (status, answer) =
        other.post("/v1/intents", &json!({ "text": "other", "mode": "manual" })).await;
    assert_eq!(status, 202, "{answer}");
    let received =
        |body: &[u8]| String::from_utf8_lossy(body).contains("controlPlane.intent.received");
    let heard = || got.lock().unwrap().iter().any(|(_, body)| received(body));
    until("another workspace's subscriber is called", heard).await;
    // A silent subscriber is waited for ten seconds.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "it waited for the silent one: {took:?}");
}

/// A subscriber answers with a redirect to the metadata address, to another port, to a file. Right:
/// nobody is called there.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_subscriber_that_redirects() {
    let server = TestServer::start().await;
    let (inner, got) = taking().await;
    for (status, to) in [
        (302, inner.as_str()),
        (307, inner.as_str()),
        (308, "http://169.254.169.254/latest"),
        (301, "file:///etc/passwd"),
    ] {
        let seen = Arc::new(Mutex::new(0));
        let (counted, to) = (seen.clone(), to.to_owned());
        let redirect = move || {
            let to = to.clone();
            *counted.lock().unwrap() += 1;
            let status = StatusCode::from_u16(status).unwrap();
            async move { (status, [("location", to)]).into_response() }
        };
        let url = serve(Router::new().route("/hook", any(redirect))).await;
        let made = subscribe(&server.approver, &format!("{url}/hook")).await;
        server.submit(json!([find("a")])).await;
        until("the redirect was given twice", || *seen.lock().unwrap() > 1).await;
        let path = format!(
            "/v1/webhooks/{}/remove",
            made["id"].as_str().or(made["subscription"]["id"].as_str()).unwrap()
        );
        assert_eq!(server.approver.post(&path, &json!({})).await.0, 200);
    }
    assert!(got.lock().unwrap().is_empty(), "a redirect was followed");
}

/// The secret of a subscription is rotated again and again while events are on their way. Right:
/// each delivery verifies with the secret before or after, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn attack_secrets_that_rotate_under_deliveries() {
    let server = TestServer::start().await;
    let (url, got) = taking().await;
    let made = subscribe(&server.approver, &url).await;
    let id = made["id"].as_str().or(made["subscription"]["id"].as_str()).unwrap().to_owned();
    let mut secrets = vec![made["secret"].as_str().unwrap().to_owned()];
    for _ in 0..6 {
        for _ in 0..3 {
            server.submit(json!([find("a")])).await;
        }
        let (status, answer) =
            server.approver.post(&format!("/v1/webhooks/{id}/secret/rotate"), &json!({})).await;
        assert_eq!(status, 200, "{answer}");
        secrets.push(answer["secret"].as_str().unwrap().to_owned());
    }
    let (_, list) = server.approver.get("/v1/executions?limit=200").await;
    let ids: Vec<String> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["executionId"].as_str().unwrap().to_owned())
        .collect();
    for id in &ids {
        server.until(id, "completed").await;
    }
    let finished = |got: &ReceivedRequests| {
        let got = got.lock().unwrap();
        let events = got.iter().filter_map(|(_, body)| serde_json::from_slice::<Value>(body).ok());
        let done: std::collections::BTreeSet<String> = events
            .filter(|event| event["type"] == "controlPlane.execution.completed")
            .map(|event| event["subject"].as_str().unwrap().to_owned())
            .collect();
        done.len()
    };
    until("every execution's end was delivered", || finished(&got) == ids.len()).await;
    for (headers, body) in got.lock().unwrap().iter() {
        let verifies = |secret: &String| {
            let webhook = standardwebhooks::Webhook::new(secret).unwrap();
            webhook.verify(body, headers).is_ok()
        };
        assert!(secrets.iter().any(verifies), "no secret of the subscription verifies a delivery");
    }
}

/// A skill whose one operation is at a URL.
fn skill(key: &str, url: &str, input: &Value, output: &Value) -> Value {
    json!({ "schemaVersion": "1.0.0", "skill": { "key": key, "version": "1.0.0" },
        "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
        "artifact": { "digest": cs_core::canonical::digest_bytes(b"") },
        "operations": [{ "key": "run", "title": "Run", "effect": "read", "riskTier": "low",
            "inputSchema": input, "outputSchema": output, "timeoutSeconds": 3,
            "binding": { "kind": "http", "url": url } }] })
}

/// A tool that answers with bombs: gzip, ten megabytes, no end, a thousand headers, another type, a
/// redirect in a circle or to a file. Right: the step fails with a short message, nothing of it is
/// kept, and nobody else waits.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_tool_that_answers_with_bombs() {
    let server = TestServer::start().await;
    let own = Arc::new(Mutex::new(String::new()));
    let zipped: Bytes = {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&vec![b' '; 32 << 20]).unwrap();
        gzip.write_all(b"{}").unwrap();
        gzip.finish().unwrap().into()
    };
    let bomb = move |State(own): State<Arc<Mutex<String>>>, path: Path<String>| async move {
        let own = own.lock().unwrap().clone();
        let response: Response = match path.as_str() {
            "gzip" => {
                ([("content-type", "application/json"), ("content-encoding", "gzip")], zipped)
                    .into_response()
            }
            "large" => {
                ([("content-type", "application/json")], format!("\"{}\"", "a".repeat(10 << 20)))
                    .into_response()
            }
            "endless" => {
                let chunks = futures_util::stream::repeat_with(|| {
                    Ok::<_, std::io::Error>(vec![b' '; 64 * 1024])
                });
                Body::from_stream(chunks).into_response()
            }
            "trickle" => {
                let chunks =
                    futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '])).then(
                        |chunk| async {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            chunk
                        },
                    );
                Body::from_stream(chunks).into_response()
            }
            "html" => ([("content-type", "text/html")], "<html>{\"a\":1}</html>").into_response(),
            "circle" => {
                (StatusCode::FOUND, [("location", format!("{own}/circle"))]).into_response()
            }
            "file" => {
                (StatusCode::TEMPORARY_REDIRECT, [("location", "file:///etc/passwd".to_owned())])
                    .into_response()
            }
            "metadata" => (
                StatusCode::SEE_OTHER,
                [("location", "http://169.254.169.254/latest/meta-data".to_owned())],
            )
                .into_response(),
            "headers" => {
                let mut headers = HeaderMap::new();
                for number in 0..1_000 {
                    let name: axum::http::HeaderName = format!("x-{number}").parse().unwrap();
                    headers.insert(name, "y".repeat(500).parse().unwrap());
                }
                (headers, "{}").into_response()
            }
            _ => "null".into_response(),
        };
        response
    };
    let url = serve(Router::new().route("/{what}", any(bomb)).with_state(own.clone())).await;
    *own.lock().unwrap() = url.clone();
    let object = json!({ "type": "object" });
    let kinds =
        ["gzip", "large", "endless", "trickle", "html", "circle", "file", "metadata", "headers"];
    let mut ids = Vec::new();
    for kind in kinds {
        server
            .install(&server.approver, &skill(kind, &format!("{url}/{kind}"), &object, &object))
            .await;
        let (status, answer) = server
            .agent
            .post(
                "/v1/intents",
                &json!({ "text": kind,
            "draft": { "steps": [{ "id": "a", "use": format!("{kind}/run") }] } }),
            )
            .await;
        assert_eq!(status, 202, "{answer}");
        ids.push(answer["executionId"].as_str().unwrap().to_owned());
    }
    let fine = server.submit(json!([find("a")])).await;
    server.until(&fine, "completed").await;
    for (kind, id) in kinds.iter().zip(&ids) {
        let path = format!("/v1/executions/{id}/abort");
        // A read whose answer is lost is tried again; it is enough to have seen what it is taken
        // for.
        let begun = Instant::now();
        let step = loop {
            let (_, answer) = server.approver.get(&format!("/v1/executions/{id}")).await;
            let step = answer["execution"]["steps"][0].clone();
            if step["code"].is_string() {
                break step;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{kind}: {answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        println!("{kind:10} {} {}", step["code"], step["message"]);
        assert_ne!(step["status"], "completed", "{kind}: {step}");
        assert!(step["message"].as_str().unwrap_or_default().len() < 1_000, "{kind}: {step}");
        server.approver.post(&path, &json!({ "reason": "seen" })).await;
        let (_, trace) =
            server.approver.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
        assert!(trace.to_string().len() < 64 * 1024, "{kind}");
        assert!(!trace.to_string().contains("root:"), "{kind}: a file was read");
    }
}

/// A signed schema whose check of one large output is dear: a thousand alternatives, a long enum,
/// unique items, patterns that blow up elsewhere. Right: others are answered meanwhile, and the
/// step comes to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_an_output_that_is_dear_to_check() {
    let server = TestServer::start().await;
    // In a build that is not optimised everything is some thirty times as slow.
    let size = if cfg!(debug_assertions) { 5_000 } else { 150_000 };
    let alternatives: Vec<Value> =
        (0..1_000).map(|n| json!({ "const": format!("none-{n}") })).collect();
    let words: Vec<String> = (0..5_000).map(|n| format!("none-{n}")).collect();
    let numbers = json!((0..size as u32).collect::<Vec<u32>>()).to_string();
    let same = json!(vec!["a"; size]).to_string();
    let nested = json!((0..size / 2).map(|n| json!([n])).collect::<Vec<_>>()).to_string();
    let text = format!("\"{}b\"", "a".repeat(6 * size));
    let parts = "1.5,".repeat(size);
    let parts = format!("[{}1]", parts);
    let cases = [
        ("anyof", json!({ "type": "array", "items": { "anyOf": alternatives } }), same.clone()),
        ("enum", json!({ "type": "array", "items": { "enum": words } }), same.clone()),
        ("unique", json!({ "type": "array", "uniqueItems": true }), numbers),
        ("uniquedeep", json!({ "type": "array", "uniqueItems": true }), nested),
        ("pattern", json!({ "type": "string", "pattern": "^(a+)+$" }), text.clone()),
        ("alternation", json!({ "type": "string", "pattern": "^(a|aa|aaa|a*)*c$" }), text),
        (
            "multiple",
            json!({ "type": "array", "items": { "type": "number", "multipleOf": 1e-300 } }),
            parts,
        ),
        (
            "contains",
            json!({ "type": "array", "contains": { "const": "z" }, "minContains": 100_000,
                "maxContains": 100_001 }),
            same,
        ),
    ];
    for (key, schema, answer) in cases {
        let url = serve(Router::new().route(
            "/run",
            any(move || {
                let answer = answer.clone();
                async move { ([("content-type", "application/json")], answer).into_response() }
            }),
        ))
        .await;
        let body =
            install_body(&skill(key, &format!("{url}/run"), &json!({ "type": "object" }), &schema));
        let (status, answer) = server.approver.post("/v1/skills", &body).await;
        if status != 201 {
            assert_eq!(
                (status, &answer["code"]),
                (400, &json!("MANIFEST_INVALID")),
                "{key}: {answer}"
            );
            println!("{key:12} refused when installed: {}", answer["issues"][0]["message"]);
            continue;
        }
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(server.submit(json!([{ "id": "a", "use": format!("{key}/run") }])).await);
        }
        let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
        for id in &ids {
            loop {
                let asked = Instant::now();
                assert_eq!(server.approver.get("/v1/freezes").await.0, 200);
                slowest = slowest.max(asked.elapsed());
                let (_, answer) = server.approver.get(&format!("/v1/executions/{id}")).await;
                if ["completed", "failed"]
                    .contains(&answer["execution"]["status"].as_str().unwrap())
                {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(120), "{key}: {answer}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let (_, answer) = server.approver.get(&format!("/v1/executions/{}", ids[0])).await;
        println!(
            "{key:12} {} {}",
            answer["execution"]["steps"][0]["code"], answer["execution"]["steps"][0]["message"]
        );
        println!(
            "{key:12} four checks in {:?}, slowest answer to another meanwhile {slowest:?}",
            begun.elapsed()
        );
    }
}

/// Sixty outputs of a megabyte each, read with the trace at once. Right: an answer has a bound;
/// what is left out is said.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_trace_whose_payloads_are_sixty_megabytes() {
    let server = TestServer::start().await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000_000));
    let url = serve(Router::new().route(
        "/run",
        any(move || {
            let large = large.clone();
            async move { ([("content-type", "application/json")], large).into_response() }
        }),
    ))
    .await;
    let object = json!({ "type": "object" });
    server
        .install(&server.approver, &skill("large", &format!("{url}/run"), &object, &object))
        .await;
    let steps: Vec<Value> =
        (0..60).map(|n| json!({ "id": format!("s{n}"), "use": "large/run" })).collect();
    let id = server.submit(json!(steps)).await;
    server.until(&id, "completed").await;
    let (status, answer) =
        server.agent.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
    let bytes = answer.to_string().len();
    assert!(status == 200 && bytes < 6 << 20, "{status}: {bytes}");
    assert_eq!(
        answer["payloads"].as_object().unwrap().len()
            + answer["payloadsOmitted"].as_array().unwrap().len(),
        60
    );
}
