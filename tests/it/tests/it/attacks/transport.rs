//! Attacks on the way in: bytes on a socket, in every form that a client, a proxy or a browser
//! could send them.

mod framing;
mod requests;

use contracts::endpoint::Auth;
use countersign_it::{Client, TestServer};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longest wait for bytes that come or not.
const QUIET: Duration = Duration::from_secs(3);
/// Answers are short, whatever was asked.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where the control plane listens.
pub(super) fn address(server: &TestServer) -> String {
    server.url().trim_start_matches("http://").to_owned()
}

/// What a connection answers to some bytes, until it ends or is quiet.
async fn exchange(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address(server)).await.unwrap();
    // A server that has seen enough closes while the rest is being sent.
    let _ = stream.write_all(bytes).await;
    read_all(&mut stream).await
}

async fn read_all(stream: &mut TcpStream) -> String {
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(Ok(count)) = tokio::time::timeout(QUIET, stream.read(&mut buffer)).await {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.match_indices("HTTP/1.").map(|(at, _)| &answers[at..]);
    heads.filter_map(|head| head.split(' ').nth(1)?.parse().ok()).collect()
}

fn submit_body(text: &str) -> String {
    json!({ "text": text, "mode": "manual" }).to_string()
}

fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

async fn texts(client: &Client) -> Vec<String> {
    let (_, list) = client.get("/v1/executions?limit=200").await;
    let items = list["items"].as_array().unwrap().iter();
    items.filter_map(|item| item["text"].as_str().map(str::to_owned)).collect()
}

async fn lives(server: &TestServer) {
    assert_eq!(server.agent.get("/healthz").await.0, 200);
}
