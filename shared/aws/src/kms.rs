//! The key that the vault is encrypted under: a key of KMS that never leaves it, and data keys that
//! it wraps.
//!
//! Two requests, signed by AWS's own signer, instead of an SDK of fifty. A data key encrypts for a
//! while, and what was unwrapped is kept: a chain of steps asks KMS once.

use crate::{
    client::TRY,
    signing::{Signing, domain},
};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use countersign_store::PortError;
use engine::ports::{DataKey, VaultKeys};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long one data key encrypts.
const KEPT: Duration = Duration::from_secs(300);
/// Unwrapped data keys that are kept.
const OPENED_MAX: usize = 256;

/// Data keys of one KMS key.
pub struct KmsVaultKeys {
    http: Result<Client, String>,
    signing: Signing,
    url: String,
    key: String,
    current: Mutex<Option<(Instant, DataKey)>>,
    opened: Mutex<HashMap<Vec<u8>, [u8; 32]>>,
}

impl KmsVaultKeys {
    /// By the ARN of the key.
    pub(crate) fn new(signing: Signing, endpoint: Option<&str>, key: String) -> Self {
        let region = &signing.region;
        let url = endpoint.map_or_else(
            || format!("https://kms.{region}.{}/", domain(region)),
            |url| format!("{url}/"),
        );
        let http = crate::transport::http();
        Self { http, signing, url, key, current: Mutex::default(), opened: Mutex::default() }
    }

    async fn ask(&self, operation: &str, mut body: Value) -> Result<Value, PortError> {
        if self.key.is_empty() {
            return Err(PortError::Corrupt("this function has no key of the vault".into()));
        }
        if let Some(body) = body.as_object_mut() {
            body.insert("KeyId".into(), self.key.clone().into());
            body.insert("EncryptionContext".into(), json!({ "countersign": "vault" }));
        }
        let body = body.to_string();
        let target = format!("TrentService.{operation}");
        let headers =
            [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        let signed = self.signing.sign(
            ("kms", Method::POST.as_str()),
            &self.url,
            &headers,
            body.as_bytes(),
        )?;
        let http = self.http.as_ref().map_err(|why| PortError::Unavailable(why.clone()))?;
        let mut request = http.post(&self.url).timeout(TRY).body(body);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let unreachable =
            |error: reqwest::Error| PortError::Unavailable(format!("KMS: {}", error.without_url()));
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if !status.is_success() {
            return Err(PortError::Unavailable(format!("KMS answered {status}")));
        }
        let bytes = response.bytes().await.map_err(unreachable)?;
        serde_json::from_slice(&bytes).map_err(|_| unreadable())
    }
}

fn unreadable() -> PortError {
    PortError::Corrupt("KMS: the answer cannot be read".into())
}

fn bytes(answer: &Value, name: &str) -> Result<Vec<u8>, PortError> {
    let text = answer.get(name).and_then(Value::as_str).ok_or_else(unreadable)?;
    B64.decode(text).map_err(|_| unreadable())
}

fn key(answer: &Value) -> Result<[u8; 32], PortError> {
    bytes(answer, "Plaintext")?.try_into().map_err(|_| unreadable())
}

#[async_trait]
impl VaultKeys for KmsVaultKeys {
    async fn data_key(&self) -> Result<DataKey, PortError> {
        let mut current = self.current.lock().await;
        if let Some((_, kept)) = current.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return Ok(kept.clone());
        }
        let answer = self.ask("GenerateDataKey", json!({ "NumberOfBytes": 32 })).await?;
        let made = DataKey { key: key(&answer)?, wrapped: bytes(&answer, "CiphertextBlob")? };
        *current = Some((Instant::now(), made.clone()));
        self.opened.lock().await.insert(made.wrapped.clone(), made.key);
        Ok(made)
    }

    async fn open_key(&self, wrapped: &[u8]) -> Result<[u8; 32], PortError> {
        if let Some(key) = self.opened.lock().await.get(wrapped) {
            return Ok(*key);
        }
        let answer = self.ask("Decrypt", json!({ "CiphertextBlob": B64.encode(wrapped) })).await?;
        let key = key(&answer)?;
        let mut opened = self.opened.lock().await;
        if opened.len() >= OPENED_MAX {
            opened.clear();
        }
        opened.insert(wrapped.to_vec(), key);
        Ok(key)
    }
}
