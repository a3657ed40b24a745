//! A name for the API that is known before it is deployed, as a domain of one's own is.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;

/// Where requests go, once it is known.
pub(crate) type Target = Arc<OnceLock<String>>;

/// Starts it; its URL.
pub(crate) async fn start(target: Target) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(forward).with_state((target, countersign_it::http()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn forward(
    State((target, client)): State<(Target, reqwest::Client)>,
    request: Request,
) -> Response {
    let Some(target) = target.get() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    let sent = client
        .request(parts.method, format!("{target}{path}"))
        .headers(headers)
        .body(body)
        .send()
        .await;
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove("content-length");
    headers.remove("transfer-encoding");
    let mut response = Response::new(Body::from(answer.bytes().await.unwrap_or_default()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
