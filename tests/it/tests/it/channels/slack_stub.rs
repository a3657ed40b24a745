//! A stand-in for Slack that checks calls against Slack's documented forms and limits.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::HeaderMap,
    routing::post,
};
use countersign_it::anywhere;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(super) const TOKEN: &str = "xoxb-1-stub-token";

/// What Slack was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) arguments: Value,
    /// Of a message: where it is.
    pub(super) place: Value,
}

#[derive(Clone, Default)]
pub(super) struct SlackStub {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// What was not of Slack's form.
    faults: Arc<Mutex<Vec<String>>>,
    /// So many calls are answered by an error of Slack's own.
    failing: Arc<AtomicUsize>,
}

impl SlackStub {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
        let url = format!("http://{}/api", listener.local_addr().unwrap());
        let stub = Self { url, ..Self::default() };
        let router = Router::new().route("/api/{method}", post(answer)).with_state(stub.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        stub
    }

    /// Calls of a method, once there are so many.
    pub(super) async fn calls(&self, method: &str, count: usize) -> Vec<Asked> {
        for _ in 0..400 {
            let all = self.asked.lock().unwrap().clone();
            let found: Vec<Asked> =
                all.into_iter().filter(|asked| asked.method == method).collect();
            if found.len() >= count {
                self.in_form();
                return found;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{count} calls of {method} never came: {:?}", self.asked.lock().unwrap());
    }

    /// How often a method was called so far.
    pub(super) fn count(&self, method: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.method == method).count()
    }

    /// The next calls fail.
    pub(super) fn fail(&self, count: usize) {
        self.failing.store(count, Ordering::SeqCst);
    }

    /// Every call was of Slack's form.
    pub(super) fn in_form(&self) {
        assert_eq!(*self.faults.lock().unwrap(), Vec::<String>::new());
    }
}

async fn answer(
    State(stub): State<SlackStub>,
    Path(method): Path<String>,
    headers: HeaderMap,
    Json(arguments): Json<Value>,
) -> Json<Value> {
    let mut faults = Vec::new();
    if headers["authorization"] != format!("Bearer {TOKEN}") {
        return Json(json!({ "ok": false, "error": "invalid_auth" }));
    }
    if headers["content-type"] != "application/json; charset=utf-8" {
        faults.push("content-type".to_owned());
    }
    check(&method, &arguments, &mut faults);
    let number = stub.asked.lock().unwrap().len();
    let channel = arguments["channel"].as_str().unwrap_or_default();
    // A message to a user is in the conversation with that user.
    let channel = channel.strip_prefix('U').map_or(channel.to_owned(), |user| format!("D{user}"));
    let place = match method.as_str() {
        "chat.postMessage" => {
            json!({ "channel": channel, "ts": format!("1795001400.{number:06}") })
        }
        _ => Value::Null,
    };
    stub.asked.lock().unwrap().push(Asked { method, arguments, place: place.clone() });
    let failed = !faults.is_empty();
    stub.faults.lock().unwrap().extend(faults);
    let broken =
        stub.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if broken.is_ok() {
        return Json(json!({ "ok": false, "error": "fatal_error" }));
    }
    if failed {
        return Json(json!({ "ok": false, "error": "invalid_arguments" }));
    }
    let mut answer = json!({ "ok": true });
    if let Some(place) = place.as_object() {
        answer.as_object_mut().unwrap().extend(place.clone());
    }
    Json(answer)
}

fn check(method: &str, arguments: &Value, faults: &mut Vec<String>) {
    let (required, optional): (&[&str], &[&str]) = match method {
        "chat.postMessage" => (
            &["channel", "text"],
            &["blocks", "thread_ts", "mrkdwn", "parse", "unfurl_links", "unfurl_media"],
        ),
        "chat.update" => (&["channel", "ts", "text"], &["blocks"]),
        "chat.postEphemeral" => (&["channel", "user", "text"], &["blocks"]),
        "views.open" => (&["trigger_id", "view"], &[]),
        _ => return faults.push(format!("no method {method}")),
    };
    keys("arguments", arguments, required, optional, faults);
    text("text", &arguments["text"], 40_000, faults);
    if let Some(blocks) = arguments.get("blocks") {
        blocks_of(blocks, 50, faults);
    }
    if let Some(view) = arguments.get("view") {
        let required = ["type", "title", "blocks"];
        let optional = ["callback_id", "private_metadata", "submit", "close"];
        keys("view", view, &required, &optional, faults);
        text("callback_id", &view["callback_id"], 255, faults);
        text("private_metadata", &view["private_metadata"], 3_000, faults);
        for name in ["title", "submit", "close"] {
            plain(name, &view[name], 24, faults);
        }
        blocks_of(&view["blocks"], 100, faults);
    }
}

fn blocks_of(blocks: &Value, most: usize, faults: &mut Vec<String>) {
    let blocks = blocks.as_array().unwrap();
    if blocks.is_empty() || blocks.len() > most {
        faults.push(format!("{} blocks", blocks.len()));
    }
    for block in blocks {
        text("block_id", &block["block_id"], 255, faults);
        match block["type"].as_str().unwrap() {
            "header" => {
                keys("header", block, &["type", "text"], &["block_id"], faults);
                plain("header", &block["text"], 150, faults);
            }
            "section" => {
                keys("section", block, &["type", "text"], &["block_id"], faults);
                plain("section", &block["text"], 3_000, faults);
            }
            "rich_text" => {
                keys("rich_text", block, &["type", "elements"], &["block_id"], faults);
                for part in block["elements"].as_array().unwrap() {
                    keys("part", part, &["type", "elements"], &["border"], faults);
                    for element in part["elements"].as_array().unwrap() {
                        keys("element", element, &["type", "text"], &["style"], faults);
                        text("element", &element["text"], 3_000, faults);
                    }
                }
            }
            "actions" => {
                keys("actions", block, &["type", "elements"], &["block_id"], faults);
                for button in block["elements"].as_array().unwrap() {
                    let required = ["type", "text", "action_id"];
                    keys("button", button, &required, &["value", "style"], faults);
                    plain("button", &button["text"], 75, faults);
                    text("action_id", &button["action_id"], 255, faults);
                    text("value", &button["value"], 2_000, faults);
                    if !["primary", "danger"].contains(&button["style"].as_str().unwrap()) {
                        faults.push("style".into());
                    }
                }
            }
            "input" => {
                keys("input", block, &["type", "label", "element"], &["block_id"], faults);
                plain("label", &block["label"], 2_000, faults);
                let optional = ["multiline", "min_length", "max_length"];
                keys("field", &block["element"], &["type", "action_id"], &optional, faults);
            }
            other => faults.push(format!("block {other}")),
        }
    }
}

fn keys(what: &str, value: &Value, required: &[&str], optional: &[&str], faults: &mut Vec<String>) {
    let object = value.as_object().unwrap();
    for name in required.iter().filter(|name| !object.contains_key(**name)) {
        faults.push(format!("{what} has no {name}"));
    }
    let known = |name: &str| required.contains(&name) || optional.contains(&name);
    for name in object.keys().filter(|name| !known(name)) {
        faults.push(format!("{what} has {name}"));
    }
}

fn text(what: &str, value: &Value, most: usize, faults: &mut Vec<String>) {
    if value.as_str().is_some_and(|text| text.is_empty() || text.chars().count() > most) {
        faults.push(format!("{what} is empty or too long"));
    }
}

fn plain(what: &str, value: &Value, most: usize, faults: &mut Vec<String>) {
    keys(what, value, &["type", "text"], &["emoji"], faults);
    if value["type"] != "plain_text" {
        faults.push(format!("{what} is no plain_text"));
    }
    text(what, &value["text"], most, faults);
}
