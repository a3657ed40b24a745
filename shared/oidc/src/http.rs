//! The HTTP client of `openidconnect`: that of tools, with its outbound rules, its answers bounded.

use crate::ANSWER;
use contracts::limits::PROVIDER_ANSWER_BYTES_MAX;
use countersign_tools::Outbound;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use std::{future::Future, pin::Pin};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    Sent(#[from] reqwest::Error),
    #[error("its answer is larger than {PROVIDER_ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("{0}")]
    Form(#[from] http::Error),
}

/// Calls under the outbound rules.
pub(crate) struct OutboundHttp {
    pub(crate) outbound: Outbound,
    /// Addresses of this machine and of private networks may be called.
    pub(crate) allow_private: bool,
}

impl OutboundHttp {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let target = self.outbound.target(&parts.uri.to_string(), self.allow_private);
        let (client, url) = target.map_err(HttpError::Forbidden)?;
        let request = client.request(parts.method, url).headers(parts.headers).body(body);
        let mut answer = request.timeout(ANSWER).send().await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if bytes.len() + chunk.len() > PROVIDER_ANSWER_BYTES_MAX {
                return Err(HttpError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        let mut response = http::Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        Ok(response.body(bytes)?)
    }
}

impl<'c> AsyncHttpClient<'c> for OutboundHttp {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
