//! Large bodies and exports in buckets of S3: three requests (RFC 9110), signed by AWS's own
//! signer.
//!
//! Not its SDK: that brings checksums and rules for a hundred operations, a fifth of a function's
//! package.

use crate::{
    client::{BACKOFF, TRIES_MAX, TRY},
    signing::{Signing, domain},
};
use async_trait::async_trait;
use aws_credential_types::Credentials;
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use countersign_store::{BlobName, Blobs, PortError};
use engine::ports::Archive;
use reqwest::{Client, Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};

/// A bucket: blobs by digest, exports by name.
pub struct Bucket {
    http: Result<Client, String>,
    signing: Signing,
    /// URL of the bucket, without a slash at the end.
    url: String,
}

impl Bucket {
    /// A bucket by its name; at an endpoint that is not AWS the name stands in the path.
    pub(crate) fn new(
        credentials: Credentials,
        region: String,
        endpoint: Option<&str>,
        name: &str,
    ) -> Self {
        let url = match endpoint {
            Some(endpoint) => format!("{}/{name}", endpoint.trim_end_matches('/')),
            None => format!("https://{name}.s3.{region}.{}", domain(&region)),
        };
        Self { http: crate::transport::http(), signing: Signing { credentials, region }, url }
    }

    /// The bytes of an object.
    pub async fn object(&self, name: &str) -> Result<Option<Vec<u8>>, PortError> {
        let response = self.send(Method::GET, name, "", &[]).await?;
        match found(response)? {
            Some(response) => Ok(Some(response.bytes().await.map_err(unreachable)?.to_vec())),
            None => Ok(None),
        }
    }

    async fn store(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<(), PortError> {
        let response = self.send(Method::PUT, name, media_type, bytes).await?;
        found(response)?
            .map(|_| ())
            .ok_or_else(|| PortError::Unavailable("S3: there is no such bucket".into()))
    }

    // Every request may be repeated: an object is written whole or not at all, and the same twice.
    async fn send(
        &self,
        method: Method,
        name: &str,
        media_type: &str,
        body: &[u8],
    ) -> Result<Response, PortError> {
        let mut tries = 1;
        loop {
            let sent = self.once(method.clone(), name, media_type, body).await;
            let again = match &sent {
                Ok(response) => {
                    response.status().is_server_error()
                        || response.status() == StatusCode::TOO_MANY_REQUESTS
                }
                Err(_) => true,
            };
            if !again || tries == TRIES_MAX {
                return sent;
            }
            tokio::time::sleep(BACKOFF * (1 << tries)).await;
            tries += 1;
        }
    }

    async fn once(
        &self,
        method: Method,
        name: &str,
        media_type: &str,
        body: &[u8],
    ) -> Result<Response, PortError> {
        let url = format!("{}/{name}", self.url);
        // Object lock asks for a checksum.
        let checksum = B64.encode(Sha256::digest(body));
        let mut headers = Vec::new();
        if method == Method::PUT {
            headers.extend([
                ("content-type", media_type),
                ("x-amz-sdk-checksum-algorithm", "SHA256"),
                ("x-amz-checksum-sha256", checksum.as_str()),
            ]);
        }
        let signed = self.signing.sign(("s3", method.as_str()), &url, &headers, body)?;
        let http = self.http.as_ref().map_err(|why| PortError::Unavailable(why.clone()))?;
        let mut request = http.request(method, url).timeout(TRY).body(body.to_vec());
        for (name, value) in signed {
            request = request.header(name, value);
        }
        request.send().await.map_err(unreachable)
    }
}

fn unreachable(error: reqwest::Error) -> PortError {
    PortError::Unavailable(format!("S3: {}", error.without_url()))
}

// What came of a request: an answer, or that there is no such object.
fn found(response: Response) -> Result<Option<Response>, PortError> {
    match response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => Ok(Some(response)),
        status => Err(PortError::Unavailable(format!("S3 answered {status}"))),
    }
}

// `=` in a path is not told from `%3D` by every signer.
fn blob(name: &BlobName) -> String {
    format!("blobs/{}", name.path().replace('=', "."))
}

#[async_trait]
impl Blobs for Bucket {
    async fn put(&self, name: &BlobName, bytes: &[u8]) -> Result<(), PortError> {
        self.store(&blob(name), "application/octet-stream", bytes).await
    }
    async fn get(&self, name: &BlobName) -> Result<Option<Vec<u8>>, PortError> {
        self.object(&blob(name)).await
    }
}

#[async_trait]
impl Archive for Bucket {
    async fn holds(&self, name: &str) -> Result<bool, PortError> {
        Ok(found(self.send(Method::HEAD, name, "", &[]).await?)?.is_some())
    }
    async fn put(&self, name: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        self.store(name, media_type, &bytes).await
    }
}
