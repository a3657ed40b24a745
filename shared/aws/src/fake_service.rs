//! A service of AWS, as one local server that gives one answer.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use contracts::manifest::Binding;
use engine::ports::ToolCall;
use std::sync::{Arc, Mutex};
use tokio::{io::AsyncReadExt as _, net::TcpListener};

/// What one answer has.
#[derive(Clone, Default)]
pub(crate) struct Canned {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Vec<u8>,
}

/// A request as it came.
pub(crate) struct Taken {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The requests so far.
pub(crate) type Requests = Arc<Mutex<Vec<Taken>>>;

/// Starts one that always gives the same answer; its URL.
pub(crate) async fn answering(canned: Canned) -> (String, Requests) {
    let requests = Requests::default();
    let state = (requests.clone(), canned);
    let answer = |State((requests, canned)): State<(Requests, Canned)>,
                  uri: Uri,
                  headers: HeaderMap,
                  body: Bytes| async move {
        requests.lock().unwrap().push(Taken { uri, headers, body });
        let mut response: Response = canned.body.into_response();
        *response.status_mut() = StatusCode::from_u16(canned.status).unwrap();
        for (name, value) in canned.headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, requests)
}

/// Starts one that reads a request and closes the connection; its URL.
pub(crate) async fn hanging_up() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 64 * 1024]).await;
        }
    });
    url
}

/// The URL of a port that nobody listens on.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A call as the engine makes it.
pub(crate) fn call(binding: Binding) -> ToolCall {
    // {"exe":"exe_7"}
    let warrant = "e30.eyJleGUiOiJleGVfNyJ9.c2ln";
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", "k1"),
        ("traceparent", "00-1-2-01"),
        ("webhook-id", "k1.2"),
        ("webhook-timestamp", "1795593600"),
        ("webhook-signature", "v1,c2ln"),
        ("countersign-warrant", warrant),
        ("countersign-callback", "https://control.example/callback"),
    ];
    ToolCall {
        binding,
        body: br#"{"note":"hi"}"#.to_vec(),
        headers: headers.map(|(name, value)| (name, value.to_owned())).to_vec(),
        timeout_ms: 5_000,
        answer_bytes_max: 1_000,
        allow_private: false,
    }
}
