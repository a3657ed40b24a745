//! A tool server whose answers are written byte by byte, and the skill `wire` that calls it.

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::Response};
use countersign_it::{TestServer, anywhere};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Instant,
};

/// One answer, as it goes out.
#[derive(Clone, Debug)]
pub(crate) struct ScriptedAnswer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// What is brought to the callback before the answer goes out.
    first: Option<Value>,
    late_ms: u64,
}

impl ScriptedAnswer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), first: None, late_ms: 0 }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn late(mut self, ms: u64) -> Self {
        self.late_ms = ms;
        self
    }

    pub(crate) fn after_calling_back(mut self, result: Value) -> Self {
        self.first = Some(result);
        self
    }
}

/// One call, as it came.
pub(crate) struct Call {
    pub(crate) at: Instant,
    pub(crate) body: String,
    /// It was told where to call back.
    pub(crate) callback: bool,
}

#[derive(Clone, Default)]
struct Recorded {
    answers: Arc<Mutex<HashMap<String, VecDeque<ScriptedAnswer>>>>,
    calls: Arc<Mutex<HashMap<String, Vec<Call>>>>,
    /// Statuses of callbacks.
    called_back: Arc<Mutex<Vec<u16>>>,
}

/// The tool server. The last answer of an operation is given for ever.
pub(crate) struct WireServer {
    pub(crate) server: TestServer,
    book: Recorded,
    url: String,
}

impl WireServer {
    /// A server with the skill `wire`: reads of low risk, each by its key and what its manifest
    /// says more.
    pub(crate) async fn start(operations: &[(&str, Value)]) -> Self {
        let (server, book) = (TestServer::start().await, Recorded::default());
        let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(book.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let wire = Self { server, book, url };
        wire.server.install(&wire.server.approver, &wire.manifest("1.0.0", operations)).await;
        wire
    }

    pub(crate) fn manifest(&self, version: &str, operations: &[(&str, Value)]) -> Value {
        let operations =
            operations.iter().map(|(key, more)| self.operation(key, more)).collect::<Vec<_>>();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        json!({ "schemaVersion": "1.0.0", "skill": { "key": "wire", "version": version },
            "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
            "artifact": { "digest": format!("sha256:{empty}") }, "operations": operations })
    }

    fn operation(&self, key: &str, more: &Value) -> Value {
        let mut operation = json!({ "key": key, "title": key, "effect": "read", "riskTier": "low",
            "inputSchema": { "type": "object" }, "outputSchema": {}, "timeoutSeconds": 5,
            "labels": { "accepts": ["untrusted"] },
            "retry": { "maxAttempts": 1, "backoffSeconds": 1, "maxBackoffSeconds": 1 },
            "binding": { "kind": "http", "url": format!("{}/{key}", self.url) } });
        for (name, value) in more.as_object().unwrap() {
            operation[name] = value.clone();
        }
        operation
    }

    pub(crate) fn says(&self, operation: &str, answers: impl IntoIterator<Item = ScriptedAnswer>) {
        self.book
            .answers
            .lock()
            .unwrap()
            .insert(operation.to_owned(), answers.into_iter().collect());
    }

    /// Runs one step of an operation until it moves no more on its own; the execution.
    pub(crate) async fn run(&self, operation: &str) -> Value {
        let id = self
            .server
            .submit(json!([{ "id": "a", "use": format!("wire/{operation}"), "with": {} }]))
            .await;
        self.server.settled(&id).await
    }

    /// What came of calls, with how they were made.
    pub(crate) fn calls(&self, operation: &str) -> Vec<Call> {
        self.book.calls.lock().unwrap().remove(operation).unwrap_or_default()
    }

    /// The status of the first call back, once it is answered.
    pub(crate) async fn called_back(&self) -> u16 {
        loop {
            if let Some(status) = self.book.called_back.lock().unwrap().first() {
                return *status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

async fn answer(
    State(book): State<Recorded>,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let operation = uri.path().trim_start_matches('/').to_owned();
    let callback = headers.contains_key("countersign-callback");
    let call =
        Call { at: Instant::now(), body: String::from_utf8_lossy(&body).into_owned(), callback };
    book.calls.lock().unwrap().entry(operation.clone()).or_default().push(call);
    let say = {
        let mut answers = book.answers.lock().unwrap();
        let left = answers.get_mut(&operation).unwrap();
        if left.len() > 1 { left.pop_front().unwrap() } else { left[0].clone() }
    };
    if let Some(result) = &say.first {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let call = countersign_it::http()
            .post(header("countersign-callback"))
            .bearer_auth(header("countersign-warrant"))
            .json(result);
        let status = call.send().await.unwrap().status().as_u16();
        book.called_back.lock().unwrap().push(status);
    }
    tokio::time::sleep(std::time::Duration::from_millis(say.late_ms)).await;
    let mut response = Response::builder().status(say.status);
    for (name, value) in &say.headers {
        response = response.header(*name, value);
    }
    response.body(say.body.into()).unwrap()
}
