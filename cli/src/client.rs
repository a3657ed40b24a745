//! The client of a control plane: HTTP in, JSON out, problems as failures.

use contracts::Problem;
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The control plane refused or failed, and said why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// It cannot be reached.
    #[error("cannot reach {0}: {1}")]
    Unreachable(String, String),
    /// What came back is not an answer of a control plane.
    #[error("unexpected answer ({0}): {1}")]
    Unexpected(u16, String),
    /// Something of this machine: a file, a port.
    #[error("{0}")]
    Local(String),
    /// The demo did not prove what it set out to.
    #[error("not proven: {0}")]
    NotProven(String),
}

impl Failure {
    /// For machines: the problem as it came, or one of this machine in the same form.
    pub fn as_json(&self) -> Value {
        match self {
            Self::Problem(problem) => serde_json::to_value(problem).unwrap_or_default(),
            Self::Unreachable(..) => serde_json::json!({ "code": "UNREACHABLE", "detail": self.to_string() }),
            Self::Unexpected(status, _) => {
                serde_json::json!({ "code": "UNEXPECTED_ANSWER", "status": status, "detail": self.to_string() })
            }
            Self::Local(_) => serde_json::json!({ "code": "LOCAL", "detail": self.to_string() }),
            Self::NotProven(_) => serde_json::json!({ "code": "NOT_PROVEN", "detail": self.to_string() }),
        }
    }

    /// Exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Problem(problem) if problem.status < 500 => 1,
            Self::NotProven(_) => 1,
            Self::Local(_) => 2,
            Self::Problem(_) | Self::Unreachable(..) | Self::Unexpected(..) => 3,
        }
    }
}

/// A client with one key.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: String,
    key: String,
}

impl Client {
    /// A client of a control plane.
    pub fn new(endpoint: &str, key: &str) -> Result<Self, Failure> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .map_err(|error| Failure::Local(error.to_string()))?;
        Ok(Self { http, endpoint: endpoint.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// The same control plane with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// A query by GET.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    /// A query by POST.
    pub async fn ask(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// A command, repeatable under its idempotency key.
    pub async fn command(&self, path: &str, body: &Value, key: Option<String>) -> Result<Value, Failure> {
        let key = key.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let mut tries = 0;
        loop {
            let request = self.request(Method::POST, path).header("idempotency-key", &key).json(body);
            match self.send(request).await {
                // The same key: whatever the first try did, it is not done twice.
                Err(Failure::Unreachable(..)) if tries < 2 => tries += 1,
                Err(Failure::Problem(problem)) if problem.retryable && tries < 2 => tries += 1,
                outcome => return outcome,
            }
            tokio::time::sleep(Duration::from_millis(200 << tries)).await;
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.endpoint));
        if self.key.is_empty() { request } else { request.bearer_auth(&self.key) }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let reach = |error: reqwest::Error| {
            let error = error.without_url();
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Failure::Unreachable(self.endpoint.clone(), cause)
        };
        let response = request.send().await.map_err(reach)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(reach)?;
        let unexpected = || {
            let text: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
            Failure::Unexpected(status.as_u16(), text)
        };
        if status.is_success() {
            return contracts::json::decode(&bytes).map_err(|_| unexpected());
        }
        let problem: Problem = contracts::json::decode(&bytes).map_err(|_| unexpected())?;
        Err(Failure::Problem(Box::new(problem)))
    }
}
