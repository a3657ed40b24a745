//! The vault: what the seals of a document hide, encrypted, in a partition of its own, for as long
//! as it is kept.
//!
//! One entry for each sealed document, under the document's name; never looked up by a commitment.
//! Each entry is encrypted under a key of its own, which the entry's item holds encrypted under the
//! deployment's data key: when the item goes, its blob is noise. What is encrypted is bound to
//! workspace, execution and name.

use crate::{
    Answer, Base, InForce,
    ports::{DataKey, VaultKeys},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use contracts::{
    Digest, ExecutionId, StepId, WorkspaceId,
    limits::{INLINE_BODY_BYTES_MAX, VAULT_SECONDS},
};
use countersign_store::{BlobName, Condition, Item, Key, PortError, Write, keys};
use cs_core::{canonical, seal::Secrets};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Name of the draft's literals.
pub(crate) const DRAFT: &str = "draft";
/// Bytes of a nonce, which stands before what was encrypted with it.
const NONCE_BYTES: usize = 24;

/// Name of a step's output.
pub(crate) fn output_name(step: &StepId) -> String {
    format!("out#{step}")
}

/// A stored entry; bytes in base64.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// The data key, as its keeper wrapped it.
    data_key: String,
    /// The entry's own key, under the data key.
    own_key: String,
    /// The secrets, under the entry's own key; a large one is a blob.
    content: Content,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Content {
    Here(String),
    Blob(Digest),
}

/// Something small that is kept encrypted beside what it belongs to; bytes in base64.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wrapped {
    data_key: String,
    content: String,
}

/// Keeps sensitive values and secrets, encrypted.
pub struct Vault {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
}

impl Vault {
    /// Encrypts something small under the deployment's data key, bound to where it is kept.
    pub(crate) async fn wrap(&self, place: &Key, plain: &[u8]) -> Result<Wrapped, PortError> {
        let data_key = self.base.ports.vault_keys.data_key().await?;
        let content = B64.encode(self.encrypt(&data_key.key, &bound_to(place), plain)?);
        Ok(Wrapped { data_key: B64.encode(&data_key.wrapped), content })
    }

    /// Decrypts it again.
    pub(crate) async fn unwrap(
        &self,
        place: &Key,
        wrapped: &Wrapped,
    ) -> Result<Vec<u8>, PortError> {
        let data_key =
            self.base.ports.vault_keys.open_key(&decoded(place, &wrapped.data_key)?).await?;
        decrypt(place, &data_key, &bound_to(place), &decoded(place, &wrapped.content)?)
    }

    /// Writes that keep the secrets of a document; none where it has none.
    pub(crate) async fn keep_secrets(
        &self,
        (workspace, id): (&WorkspaceId, &ExecutionId),
        name: &str,
        secrets: &Secrets,
    ) -> Result<Vec<Write>, PortError> {
        if secrets.is_empty() {
            return Ok(Vec::new());
        }
        let key = keys::vault(workspace, id, name);
        let bound = bound_to(&key);
        let data_key = self.base.ports.vault_keys.data_key().await?;
        let own_key = self.base.ports.ids.secret();
        let plain =
            serde_json::to_vec(secrets).map_err(|error| PortError::Corrupt(error.to_string()))?;
        let encrypted = self.encrypt(&own_key, &bound, &plain)?;
        let content = if encrypted.len() > INLINE_BODY_BYTES_MAX {
            let blob = BlobName::of(&key, canonical::digest_bytes(&encrypted));
            self.base.store.put_blob(&blob, &encrypted).await?;
            Content::Blob(blob.digest().clone())
        } else {
            Content::Here(B64.encode(encrypted))
        };
        let entry = Entry {
            data_key: B64.encode(&data_key.wrapped),
            own_key: B64.encode(self.encrypt(&data_key.key, &bound, &own_key)?),
            content,
        };
        let expires_at = Some(self.base.now().ms() / 1_000 + VAULT_SECONDS);
        let item = Item { expires_at, ..countersign_store::item(1, &entry)? };
        Ok(vec![Write::Put { key, item, condition: Condition::Any }])
    }

    /// The secrets of a document; none where they are gone.
    pub(crate) async fn secrets(
        &self,
        (workspace, id): (&WorkspaceId, &ExecutionId),
        name: &str,
    ) -> Answer<Secrets> {
        let key = keys::vault(workspace, id, name);
        // A store may be late with what it forgets.
        let kept = |item: &Item| item.expires_at.is_none_or(|at| at > self.base.now().ms() / 1_000);
        let Some(item) = self.base.store.get(&key).await?.filter(kept) else {
            return Ok(Secrets::new());
        };
        let entry: Entry = countersign_store::decode(&key, &item.body)?;
        let encrypted = match &entry.content {
            Content::Here(text) => decoded(&key, text)?,
            Content::Blob(digest) => {
                let blob = BlobName::of(&key, digest.clone());
                self.base.store.blob(&blob).await?.ok_or_else(|| unreadable(&key))?
            }
        };
        let bound = bound_to(&key);
        let data_key =
            self.base.ports.vault_keys.open_key(&decoded(&key, &entry.data_key)?).await?;
        let own_key = decrypt(&key, &data_key, &bound, &decoded(&key, &entry.own_key)?)?;
        let own_key: [u8; 32] = own_key.try_into().map_err(|_| unreadable(&key))?;
        let plain = decrypt(&key, &own_key, &bound, &encrypted)?;
        Ok(serde_json::from_slice(&plain).map_err(|_| unreadable(&key))?)
    }

    fn encrypt(&self, key: &[u8; 32], bound: &[u8], plain: &[u8]) -> Result<Vec<u8>, PortError> {
        let random = self.base.ports.ids.secret();
        let nonce = random.get(..NONCE_BYTES).unwrap_or_default();
        let cipher = XChaCha20Poly1305::new(key.into());
        let payload = Payload { msg: plain, aad: bound };
        let sealed = cipher.encrypt(XNonce::from_slice(nonce), payload);
        let sealed = sealed
            .map_err(|_| PortError::Corrupt("the vault's entry cannot be encrypted".into()))?;
        Ok([nonce, &sealed].concat())
    }
}

// What an entry is for: an entry that is moved to another place does not open.
fn bound_to(head: &Key) -> Vec<u8> {
    let parts =
        [b"countersign/vault/1".as_slice(), head.partition.as_bytes(), head.sort.as_bytes()];
    canonical::digest_parts(&parts).to_string().into_bytes()
}

fn decrypt(head: &Key, key: &[u8; 32], bound: &[u8], sealed: &[u8]) -> Result<Vec<u8>, PortError> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(|| unreadable(head))?;
    let cipher = XChaCha20Poly1305::new(key.into());
    let payload = Payload { msg: sealed, aad: bound };
    cipher.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| unreadable(head))
}

fn decoded(head: &Key, text: &str) -> Result<Vec<u8>, PortError> {
    B64.decode(text).map_err(|_| unreadable(head))
}

fn unreadable(head: &Key) -> PortError {
    PortError::Corrupt(format!(
        "{}/{}: the vault's entry cannot be opened",
        head.partition, head.sort
    ))
}

/// A key of the vault that is at hand.
#[derive(Clone, Copy, Debug)]
pub struct FixedVaultKey(pub [u8; 32]);

/// How a fixed key says which it is.
const FIXED: &[u8] = b"fixed";

#[async_trait::async_trait]
impl VaultKeys for FixedVaultKey {
    async fn data_key(&self) -> Result<DataKey, PortError> {
        Ok(DataKey { key: self.0, wrapped: FIXED.to_vec() })
    }
    async fn open_key(&self, wrapped: &[u8]) -> Result<[u8; 32], PortError> {
        if wrapped != FIXED {
            return Err(PortError::Corrupt("the vault's entry is under another key".into()));
        }
        Ok(self.0)
    }
}
