//! The typed client of a control plane: one call for every row of the endpoint table. Method, path
//! and query come from the row, so that there is no second list of routes.

mod answer;
mod error;
mod named;
mod request;

pub use answer::Answer;
pub use error::ClientError;

use contracts::{endpoint::Endpoint, operation::Operation};
use reqwest::redirect::Policy;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, time::Duration};
use url::{Host, Url};

/// Longest wait for an answer. Longer than the longest wait that a request can ask for.
const ANSWER_SECONDS_MAX: u64 = 60;
/// How often a call is tried again whose failure may pass.
const RETRIES_MAX: u32 = 2;
/// Wait before the first of them, in milliseconds; it doubles.
const BACKOFF_MS: u64 = 200;

/// A client with one API key.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Without a slash at its end.
    endpoint: Url,
    key: String,
}

/// The key is not told.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the control plane at a URL. An empty key is not sent.
    pub fn new(endpoint: &str, key: &str) -> Result<Self, ClientError> {
        // The first one installed stays; that it was there already is no fault.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoint = parse(endpoint)?;
        let builder = reqwest::Client::builder();
        // What is on this machine is not reached by a proxy.
        let builder = if is_here(&endpoint) { builder.no_proxy() } else { builder };
        let http = builder
            .timeout(Duration::from_secs(ANSWER_SECONDS_MAX))
            // A key goes nowhere but where it was sent.
            .redirect(Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Setup(error.to_string()))?;
        Ok(Self { http, endpoint, key: key.to_owned() })
    }

    /// The same control plane with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// Where the control plane is.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// Calls an operation. A command is sent under an idempotency key of its own, and both commands
    /// and queries are tried again where that may help.
    pub async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        operation: &Operation<Q, A>,
        request: &Q,
    ) -> Result<Answer<A>, ClientError> {
        self.call_as(operation, request, None).await
    }

    /// Calls an operation under an idempotency key of the caller's: the same key and request have
    /// one effect and one answer.
    pub async fn call_as<Q: Serialize, A: DeserializeOwned>(
        &self,
        operation: &Operation<Q, A>,
        request: &Q,
        idempotency_key: Option<&str>,
    ) -> Result<Answer<A>, ClientError> {
        let endpoint = operation.endpoint;
        let parts = request::parts(endpoint, request)?;
        let key = idempotency_key.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
        let mut retries = 0;
        loop {
            // The same key: whatever the first try did, it is not done twice.
            match self.send(endpoint, &parts, &key).await {
                Err(error) if error.may_pass() && retries < RETRIES_MAX => retries += 1,
                outcome => return outcome,
            }
            tokio::time::sleep(Duration::from_millis(BACKOFF_MS << retries)).await;
        }
    }

    /// The public keys that verify warrants and evidence (JWK set): nobody's key is needed.
    pub async fn warrant_keys(&self) -> Result<serde_json::Value, ClientError> {
        let endpoint = contracts::endpoint::named("warrant.keys");
        let parts = request::parts(endpoint, &serde_json::json!({}))?;
        let answer: Answer<serde_json::Value> = self.send(endpoint, &parts, "").await?;
        Ok(answer.document().clone())
    }

    async fn send<A: DeserializeOwned>(
        &self,
        endpoint: &Endpoint,
        parts: &request::Parts,
        idempotency_key: &str,
    ) -> Result<Answer<A>, ClientError> {
        let url = format!("{}{}", self.endpoint(), parts.path);
        let mut request = match &parts.body {
            None => self.http.get(url).query(&parts.query),
            Some(body) => self.http.post(url).json(body),
        };
        if !self.key.is_empty() {
            request = request.bearer_auth(&self.key);
        }
        if endpoint.takes_idempotency_key() {
            request = request.header("idempotency-key", idempotency_key);
        }
        let unreachable = |error| ClientError::unreachable(self.endpoint(), error);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return Answer::read(&bytes)
                .map_err(|why| ClientError::unexpected(status.as_u16(), &bytes, &why));
        }
        let problem = contracts::json::decode(&bytes).map_err(|error| {
            ClientError::unexpected(status.as_u16(), &bytes, &error.to_string())
        })?;
        Err(ClientError::Problem(Box::new(problem)))
    }
}

fn is_here(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn parse(endpoint: &str) -> Result<Url, ClientError> {
    let wrong = |why: &str| ClientError::Endpoint(endpoint.to_owned(), why.to_owned());
    let url = Url::parse(endpoint).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if !url.username().is_empty() || url.password().is_some() => {
            // What it holds is not repeated.
            Err(ClientError::Endpoint("the URL".into(), "a URL holds no user and password".into()))
        }
        "http" | "https" if url.query().is_none() && url.fragment().is_none() => Ok(url),
        "http" | "https" => Err(wrong("it has a query or a fragment")),
        _ => Err(wrong("it is not http or https")),
    }
}
