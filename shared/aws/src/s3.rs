//! Large bodies and exports on S3.

use async_trait::async_trait;
use aws_sdk_s3::{Client, error::SdkError, primitives::ByteStream};
use contracts::Digest;
use engine::ports::{Archive, Blobs, Fault};

/// Blobs in a bucket, by digest.
pub struct S3Blobs {
    client: Client,
    bucket: String,
}

/// Exports in a bucket, by name.
pub struct S3Archive {
    client: Client,
    bucket: String,
}

impl S3Blobs {
    /// Blobs of a bucket.
    pub fn new(client: Client, bucket: String) -> Self {
        Self { client, bucket }
    }
}

impl S3Archive {
    /// Exports of a bucket.
    pub fn new(client: Client, bucket: String) -> Self {
        Self { client, bucket }
    }
}

fn unavailable(error: impl std::fmt::Debug) -> Fault {
    Fault::Unavailable(format!("{error:?}").chars().take(300).collect())
}

fn name(digest: &Digest) -> String {
    format!("blobs/{}", digest.hex())
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Fault> {
        // The same digest is the same bytes: writing twice changes nothing.
        let body = ByteStream::from(bytes.to_vec());
        let request = self.client.put_object().bucket(&self.bucket).key(name(digest)).body(body);
        request
            .content_type("application/json")
            .send()
            .await
            .map(|_| ())
            .map_err(|error| unavailable(error.into_service_error()))
    }

    async fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Fault> {
        match self.client.get_object().bucket(&self.bucket).key(name(digest)).send().await {
            Ok(out) => Ok(Some(out.body.collect().await.map_err(unavailable)?.into_bytes().to_vec())),
            Err(SdkError::ServiceError(error)) if error.err().is_no_such_key() => Ok(None),
            Err(error) => Err(unavailable(error.into_service_error())),
        }
    }
}

#[async_trait]
impl Archive for S3Archive {
    async fn holds(&self, name: &str) -> Result<bool, Fault> {
        match self.client.head_object().bucket(&self.bucket).key(name).send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if error.err().is_not_found() => Ok(false),
            Err(error) => Err(unavailable(error.into_service_error())),
        }
    }

    async fn put(&self, name: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), Fault> {
        let request = self.client.put_object().bucket(&self.bucket).key(name).content_type(media_type);
        let sent = request.body(ByteStream::from(bytes)).send().await;
        sent.map(|_| ()).map_err(|error| unavailable(error.into_service_error()))
    }
}
