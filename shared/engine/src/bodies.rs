//! Bodies: JSON documents of an execution, small ones in their item, large ones in the blob store by digest.

use crate::{
    Engine,
    ports::{Condition, Fault, Item, Key, Write},
};
use contracts::{Digest, limits::INLINE_BODY_BYTES_MAX};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Marks a body that is elsewhere.
const BLOB: &str = "$blob";

/// An item with a JSON body.
pub(crate) fn item<T: Serialize>(version: u64, value: &T) -> Result<Item, Fault> {
    Ok(Item { version, body: encode(value)?, ..Item::default() })
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(|error| Fault::Corrupt(error.to_string()))
}

pub(crate) fn decode<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::Corrupt(format!("{}/{}: {error}", key.partition, key.sort)))
}

impl Engine {
    /// A write that stores a body; a large one goes to the blob store first.
    pub(crate) async fn put_body<T: Serialize>(&self, key: Key, value: &T) -> Result<Write, Fault> {
        let mut body = encode(value)?;
        if body.len() > INLINE_BODY_BYTES_MAX {
            let digest = cs_core::canonical::digest_bytes(&body);
            self.ports.blobs.put(&digest, &body).await?;
            body = encode(&json!({ BLOB: digest }))?;
        }
        Ok(Write::Put { key, item: Item { version: 1, body, ..Item::default() }, condition: Condition::Any })
    }

    /// A stored body.
    pub(crate) async fn get_body<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Fault> {
        match self.ports.table.get(key).await? {
            Some(item) => self.body_of(key, &item).await.map(Some),
            None => Ok(None),
        }
    }

    /// The body of an item that is at hand.
    pub(crate) async fn body_of<T: DeserializeOwned>(&self, key: &Key, item: &Item) -> Result<T, Fault> {
        if item.body.len() < 128 && item.body.starts_with(br#"{"$blob":"#) {
            let pointer: Value = decode(key, &item.body)?;
            let digest: Option<Digest> =
                pointer.get(BLOB).and_then(Value::as_str).and_then(|digest| digest.parse().ok());
            let digest = digest.ok_or_else(|| Fault::Corrupt(format!("{}: no digest", key.sort)))?;
            let bytes = self.ports.blobs.get(&digest).await?;
            let bytes = bytes.ok_or_else(|| Fault::Corrupt(format!("{}: its blob is gone", key.sort)))?;
            if cs_core::canonical::digest_bytes(&bytes) != digest {
                return Err(Fault::Corrupt(format!("{}: its blob was changed", key.sort)));
            }
            return decode(key, &bytes);
        }
        decode(key, &item.body)
    }
}
