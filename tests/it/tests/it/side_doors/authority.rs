//! Who may decide, and what stops everything.

mod decisions;
mod keys;
mod reach;
mod switches;

use crate::common::{AGENT, grants};
use countersign_it::{Client, TestServer, install_body};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

fn pay(id: &str) -> Value {
    json!({ "id": id, "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } })
}

fn find(id: &str) -> Value {
    json!({ "id": id, "use": "crm/customer.find", "with": { "email": "ada@x.org" } })
}

fn code((status, answer): &(u16, Value)) -> (u16, &str) {
    (*status, answer["code"].as_str().unwrap_or_default())
}

fn says(answer: &(u16, Value), words: &str) -> bool {
    answer.1.to_string().contains(words)
}

async fn try_key(by: &Client, kind: &str, id: &str, names: &[&str]) -> (u16, Value) {
    by.post("/v1/keys", &json!({ "actor": { "kind": kind, "id": id }, "grants": grants(names) }))
        .await
}

async fn key(server: &TestServer, by: &Client, kind: &str, id: &str, names: &[&str]) -> Client {
    let (status, answer) = try_key(by, kind, id, names).await;
    assert_eq!(status, 201, "{answer}");
    Client::new(&server.url(), answer["apiKey"].as_str().unwrap())
}

async fn submit(by: &Client, body: Value) -> String {
    let (status, answer) = by.post("/v1/intents", &body).await;
    assert_eq!(status, 202, "{answer}");
    answer["executionId"].as_str().unwrap().to_owned()
}

async fn approve(server: &TestServer, by: &Client, id: &str) -> (u16, Value) {
    let (_, view) = server.approver.get(&format!("/v1/executions/{id}?waitSeconds=10")).await;
    let body = json!({ "bindingDigest": view["execution"]["bindingDigest"] });
    by.post(&format!("/v1/executions/{id}/approve"), &body).await
}

async fn view(server: &TestServer, id: &str) -> Value {
    server.approver.get(&format!("/v1/executions/{id}?waitSeconds=10")).await.1["execution"].clone()
}
