//! Data is never control, and secrets stay out of evidence.

mod markers;
mod sensitive;
mod tenants;

use crate::common::{CARD, evidence, told_nothing};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use countersign_it::{Client, TestServer, anywhere, install_body, now};
use countersign_store::{Table as _, keys};
use cs_core::{artifact, publisher::SkillSigner};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
};

#[derive(Default)]
struct Recorded {
    /// By operation; the last one stays.
    answers: HashMap<String, VecDeque<(u16, Value)>>,
    received: Vec<(String, Value)>,
}

/// A tool server that answers what it is told to, and keeps what it was sent.
#[derive(Clone)]
struct StubServer {
    url: String,
    book: Arc<Mutex<Recorded>>,
}

impl StubServer {
    async fn start() -> Self {
        async fn call(
            State(book): State<Arc<Mutex<Recorded>>>,
            Path(name): Path<String>,
            body: axum::body::Bytes,
        ) -> (StatusCode, Json<Value>) {
            let mut book = book.lock().unwrap();
            book.received.push((name.clone(), serde_json::from_slice(&body).unwrap()));
            let answers = book.answers.entry(name).or_default();
            let answer =
                if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            let (status, body) = answer.unwrap_or((200, json!({})));
            (StatusCode::from_u16(status).unwrap(), Json(body))
        }
        let book: Arc<Mutex<Recorded>> = Arc::default();
        let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/{operation}", post(call)).with_state(book.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, book }
    }

    fn answers(&self, operation: &str, body: Value) {
        self.answers_with(operation, 200, body);
    }

    fn answers_with(&self, operation: &str, status: u16, body: Value) {
        self.book
            .lock()
            .unwrap()
            .answers
            .entry(operation.into())
            .or_default()
            .push_back((status, body));
    }

    /// What an operation was sent last.
    fn received(&self, operation: &str) -> Value {
        let book = self.book.lock().unwrap();
        let last = book.received.iter().rev().find(|(name, _)| name == operation);
        last.unwrap_or_else(|| panic!("`{operation}` was not called")).1.clone()
    }

    fn calls(&self, operation: &str) -> usize {
        self.book.lock().unwrap().received.iter().filter(|(name, _)| name == operation).count()
    }

    /// A skill `kit` of reads: name, input schema, output schema.
    fn manifest(&self, operations: &[(&str, Value, Value)]) -> Value {
        let operations: Vec<Value> = operations
            .iter()
            .map(|(key, input, output)| {
                let mut input = input.clone();
                input["type"] = json!("object");
                json!({ "key": key, "title": key, "effect": "read", "riskTier": "low",
                    "inputSchema": input,
                    "outputSchema": output, "timeoutSeconds": 10,
                    "binding": { "kind": "http", "url": format!("{}/{key}", self.url) } })
            })
            .collect();
        json!({ "schemaVersion": "1.0.0", "skill": { "key": "kit", "version": "1.0.0" },
            "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
            "artifact": { "digest": format!("sha256:{}",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") },
            "operations": operations })
    }
}

async fn server(operations: &[(&str, Value, Value)]) -> (TestServer, StubServer) {
    let (server, stub) = (TestServer::start().await, StubServer::start().await);
    server.install(&server.approver, &stub.manifest(operations)).await;
    (server, stub)
}

fn free() -> Value {
    json!({ "type": "object" })
}

fn card() -> Value {
    json!({ "type": "object", "properties": { "card": { "x-sensitive": true } } })
}

async fn completed(server: &TestServer, steps: Value) -> String {
    let id = server.submit(steps).await;
    let view = server.settled(&id).await;
    assert_eq!(view["status"], "completed", "{view}");
    server.proven(&id).await;
    id
}
