//! The HTTP client of the SDK, on the client that calls tools: one stack of HTTP and TLS in a
//! function, not two, and no HTTP/2, which AWS's services do not ask for.
//!
//! The five roots of Amazon Trust Services are embedded: no folder of certificates is read.

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector,
            http_client_fn,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::HttpError,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use reqwest::{Certificate, Client, redirect::Policy};
use std::time::Duration;

const ROOTS: &[u8] = include_bytes!("amazon_roots.pem");
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// A client that trusts Amazon's roots, made once; where it cannot be made, every request says why.
pub fn client() -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(http()));
    http_client_fn(move |_, _| connector.clone())
}

/// An HTTP client that trusts Amazon's roots.
pub fn http() -> Result<Client, String> {
    // The first one installed stays; that it was there already is no fault.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = Certificate::from_pem_bundle(ROOTS).map_err(|error| error.to_string())?;
    let builder =
        Client::builder().tls_certs_only(roots).redirect(Policy::none()).no_proxy().http1_only();
    builder.connect_timeout(CONNECT).tcp_nodelay(true).build().map_err(|error| error.to_string())
}

#[derive(Clone, Debug)]
struct Connector(Result<Client, String>);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let made = self.0.clone();
        HttpConnectorFuture::new(async move {
            let client = made.map_err(|why| ConnectorError::user(why.into()))?;
            let (parts, body) = request.try_into_http1x().map_err(invalid)?.into_parts();
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let request = http::Request::from_parts(parts, body).try_into();
            let answer = client.execute(request.map_err(failed)?).await.map_err(failed)?;
            let mut response = http::Response::new(SdkBody::empty());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = SdkBody::from(answer.bytes().await.map_err(failed)?);
            HttpResponse::try_from(response).map_err(invalid)
        })
    }
}

fn invalid(error: HttpError) -> ConnectorError {
    ConnectorError::user(error.into())
}

// What the SDK may try again: all but a request that could not be made.
fn failed(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
