//! The client against a server that is newer, fails, or sends it elsewhere.
#![expect(clippy::unwrap_used, reason = "a test ends where it is wrong")]

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse as _, Response},
};
use contracts::{
    Code, Open,
    command::SubmitIntent,
    governance::EmptyQuery,
    operation as op,
    query::{ExecutionStatus, ListExecutions},
    status::StepStatus,
};
use countersign_client::{Client, ClientError};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What is answered, in order, and what was asked.
#[derive(Default)]
struct Book {
    answers: VecDeque<(u16, Value)>,
    asked: Vec<(String, Option<String>, Option<String>)>,
}

type Shared = Arc<Mutex<Book>>;

async fn answer(State(book): State<Shared>, request: Request) -> Response {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let line = format!("{} {}", request.method(), request.uri());
    let mut book = book.lock().unwrap();
    book.asked.push((line, header("idempotency-key"), header("authorization")));
    let (status, body) = book.answers.pop_front().unwrap();
    let status = StatusCode::from_u16(status).unwrap();
    match status.is_redirection() {
        true => (status, [(LOCATION, body.as_str().unwrap().to_owned())]).into_response(),
        false => (status, body.to_string()).into_response(),
    }
}

async fn serve(answers: impl IntoIterator<Item = (u16, Value)>) -> (Client, Shared) {
    let answers = answers.into_iter().collect();
    let book: Shared = Arc::new(Mutex::new(Book { answers, asked: Vec::new() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(book.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Client::new(&url, "csk_1").unwrap(), book)
}

fn submitted() -> Value {
    json!({ "executionId": format!("exe_{}", "1".repeat(32)), "status": "received",
        "intentId": format!("int_{}", "2".repeat(32)), "receivedAt": "2026-01-01T00:00:00Z" })
}

fn problem(status: u16, code: &str, retryable: bool) -> Value {
    json!({ "type": "urn:x", "title": "t", "status": status, "detail": "d", "code": code,
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "retryable": retryable, "newer": 1,
        "issues": [{ "pointer": "/a", "message": "m" }] })
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again_under_the_same_key() {
    let busy = || (503, problem(503, "TIMEOUT", true));
    let (client, book) = serve([busy(), busy(), (202, submitted())]).await;
    let answer = client.submit(&SubmitIntent::new("x")).await.unwrap();
    assert_eq!(answer.status, ExecutionStatus::Received);
    let asked = book.lock().unwrap().asked.clone();
    assert_eq!(asked.len(), 3);
    let keys: Vec<_> = asked.iter().map(|(_, key, _)| key.clone().unwrap()).collect();
    assert!(!keys[0].is_empty() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(asked[0].0, "POST /v1/intents");
    assert_eq!(asked[0].2.as_deref(), Some("Bearer csk_1"));
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again_and_says_all_it_said() {
    let (client, book) = serve([(409, problem(409, "CODE_OF_A_NEWER_SERVER", false))]).await;
    let error = client.submit(&SubmitIntent::new("x")).await.unwrap_err();
    assert_eq!(book.lock().unwrap().asked.len(), 1);
    let problem = error.problem().unwrap();
    assert!(matches!(&problem.code, Open::Unknown(_)) && !error.is(Code::Conflict));
    assert_eq!(problem.code.to_string(), "CODE_OF_A_NEWER_SERVER");
    assert_eq!(problem.issues[0].pointer, "/a");
    assert_eq!(problem.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(serde_json::to_value(problem).unwrap()["newer"], 1, "and what is new is kept");
}

#[tokio::test]
async fn a_newer_server_is_understood_as_far_as_it_can_be() {
    let id = format!("exe_{}", "1".repeat(32));
    let execution = json!({ "executionId": id, "intentId": format!("int_{}", "2".repeat(32)),
        "text": "t", "actorId": "a", "status": "hibernating", "newer": { "deep": true },
        "verdict": "perhaps", "riskTier": "low", "approvals": [],
        "plan": { "planVersion": 9, "of": "another form" },
        "steps": [{ "stepId": "s", "operation": "a/b", "status": "completed", "attempt": 1,
            "waitsFor": "the_moon", "code": "TOOL_418", "newer": 1 }],
        "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z" });
    let (client, book) = serve([(200, json!({ "execution": execution }))]).await;
    let view = client.execution(&id.parse().unwrap(), 99).await.unwrap();
    assert_eq!(view.status.to_string(), "hibernating");
    assert_eq!(view.verdict.as_ref().unwrap().to_string(), "perhaps");
    assert!(view.plan.as_ref().unwrap().known().is_none());
    let step = &view.steps[0];
    assert_eq!(step.status, StepStatus::Completed);
    assert_eq!(step.waits_for.as_ref().unwrap().to_string(), "the_moon");
    assert_eq!(step.code.as_ref().unwrap().to_string(), "TOOL_418");
    assert_eq!(view.document()["newer"]["deep"], true, "the document is as it came");
    let asked = book.lock().unwrap().asked[0].clone();
    assert_eq!(asked.0, format!("GET /v1/executions/{id}?includePlan=true&waitSeconds=25"));
    assert_eq!(asked.1, None, "a query has no idempotency key");
}

#[tokio::test]
async fn a_key_goes_nowhere_else() {
    let (_elsewhere, thief) = serve([(200, json!({ "items": [] }))]).await;
    let to = _elsewhere.endpoint().to_owned();
    let (client, _) = serve([(307, json!(format!("{to}/v1/executions")))]).await;
    let error = client.call(&op::EXECUTION_LIST, &ListExecutions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unexpected { status: 307, .. }), "{error}");
    assert!(thief.lock().unwrap().asked.is_empty());
    assert!(!format!("{client:?}").contains("csk_1"));
    for wrong in ["https://ada:s3cret@x.example", "ftp://x.example", "x", "http://x.example/?a=b"] {
        let error = Client::new(wrong, "csk_1").unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_answer_of_a_control_plane_is_said_so() {
    let (client, _) = serve([(200, json!("hello")), (404, json!("no such page"))]).await;
    for status in [200, 404] {
        let error = client.call(&op::TRUST_GET, &EmptyQuery {}).await.unwrap_err();
        assert!(
            matches!(error, ClientError::Unexpected { status: found, .. } if found == status),
            "{error}"
        );
    }
    let nobody = Client::new("http://127.0.0.1:9", "").unwrap();
    let error = nobody.call(&op::TRUST_GET, &EmptyQuery {}).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn every_page_of_a_list_is_read() {
    let hash = format!("sha256:{}", "0".repeat(64));
    let page = |seq: u64, next: Option<&str>| {
        let entry = json!({ "seq": seq, "timestamp": "2026-01-01T00:00:00Z", "stage": "key",
            "type": "controlPlane.key.created", "status": "created", "metadata": {},
            "prev": hash, "hash": hash, "event": { "seq": seq } });
        let mut page = json!({ "entries": [entry], "verified": true, "waiting": 0,
            "head": { "seq": 2, "hash": hash, "sealed": false } });
        if let Some(next) = next {
            page["next"] = next.into();
        }
        (200, page)
    };
    let (client, book) = serve([page(1, Some("c 1")), page(2, None)]).await;
    let log = client.whole_log().await.unwrap();
    assert_eq!(log.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(log.document()["entries"].as_array().unwrap().len(), 2);
    let asked = book.lock().unwrap().asked.clone();
    assert!(asked[1].0.contains("cursor=c+1") || asked[1].0.contains("cursor=c%201"), "{asked:?}");
}

#[tokio::test]
async fn a_wait_ends_when_nothing_moves() {
    let id = format!("exe_{}", "1".repeat(32));
    let execution = json!({ "executionId": id, "intentId": format!("int_{}", "2".repeat(32)),
        "text": "t", "actorId": "a", "status": "blocked", "approvals": [], "steps": [],
        "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z" });
    let (client, book) = serve([(200, json!({ "execution": execution }))]).await;
    let view = client.settled(&id.parse().unwrap(), Duration::from_secs(60)).await.unwrap();
    assert_eq!(view.status, ExecutionStatus::Blocked);
    assert_eq!(book.lock().unwrap().asked.len(), 1);
}
