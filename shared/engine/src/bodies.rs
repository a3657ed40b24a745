//! Bodies: JSON documents, small ones in their item, large ones in the blob store.
//!
//! Whether a body is the document or the digest of a blob is an attribute of the item, never told from the bytes, which
//! are a stranger's (INVARIANT data-is-never-control). A blob lies under the partition of the record that names it, so
//! that no digest reaches what another record, execution or workspace stored (INVARIANT tenant-walls).

use crate::{
    Engine,
    ports::{BlobName, Condition, Fault, Item, Key, Query, Write},
};
use contracts::{Problem, limits::INLINE_BODY_BYTES_MAX};
use cs_core::canonical;
use serde::{Serialize, de::DeserializeOwned};

/// The field of an item whose body is the digest of a blob.
const BLOB: &str = "blob";
/// Items of a kind that are read at once.
const AT_ONCE: usize = 100;

/// An item with a JSON body.
pub(crate) fn item<T: Serialize>(version: u64, value: &T) -> Result<Item, Fault> {
    Ok(Item { version, body: encode(value)?, ..Item::default() })
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(|error| Fault::Corrupt(error.to_string()))
}

pub(crate) fn decode<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, Fault> {
    // Where reading stopped, not what stood there: faults are logged (INVARIANT no-secrets-in-evidence).
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("{}/{}", key.partition, key.sort);
        Fault::Corrupt(format!("{place}: unreadable at line {}, column {}", error.line(), error.column()))
    })
}

impl Engine {
    /// A write that stores a body; a large one goes to the blob store first.
    pub(crate) async fn put_body<T: Serialize>(&self, key: Key, value: &T) -> Result<Write, Fault> {
        let item = self.body_item(&key, encode(value)?).await?;
        Ok(Write::Put { key, item, condition: Condition::Any })
    }

    /// An item with these bytes as its body.
    pub(crate) async fn body_item(&self, key: &Key, body: Vec<u8>) -> Result<Item, Fault> {
        let mut item = Item { version: 1, body, ..Item::default() };
        if item.body.len() > INLINE_BODY_BYTES_MAX {
            let name = BlobName::of(key, canonical::digest_bytes(&item.body));
            self.ports.blobs.put(&name, &item.body).await?;
            item.fields.insert(BLOB.into(), 1);
            item.body = name.digest().to_string().into_bytes();
        }
        Ok(item)
    }

    /// A stored body.
    pub(crate) async fn get_body<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Fault> {
        match self.ports.table.get(key).await? {
            Some(item) => self.body_of(key, &item).await.map(Some),
            None => Ok(None),
        }
    }

    /// Visits the bodies whose sort keys have a prefix, in order and with what follows it, until `visit` says no. By the
    /// page: a thousand requests, one after another, would take their time.
    pub(crate) async fn each_body<T: DeserializeOwned>(
        &self,
        partition: String,
        prefix: &str,
        mut visit: impl FnMut(&str, T) -> Result<bool, Problem> + Send,
    ) -> Result<(), Problem> {
        let mut next = Some(Query::prefix(partition, prefix, AT_ONCE));
        while let Some(query) = next {
            let items = self.ports.table.query(&query).await?;
            for (key, item) in &items {
                let body = self.body_of(key, item).await?;
                if !visit(key.sort.strip_prefix(prefix).unwrap_or_default(), body)? {
                    return Ok(());
                }
            }
            next = query.behind(&items);
        }
        Ok(())
    }

    /// The body of an item that is at hand.
    pub(crate) async fn body_of<T: DeserializeOwned>(&self, key: &Key, item: &Item) -> Result<T, Fault> {
        if item.fields.get(BLOB).copied().unwrap_or(0) == 0 {
            return decode(key, &item.body);
        }
        let digest = std::str::from_utf8(&item.body).ok().and_then(|text| text.parse().ok());
        let digest = digest.ok_or_else(|| Fault::Corrupt(format!("{}: no digest", key.sort)))?;
        let name = BlobName::of(key, digest);
        let bytes = self.ports.blobs.get(&name).await?;
        let bytes = bytes.ok_or_else(|| Fault::Corrupt(format!("{}: its blob is gone", key.sort)))?;
        if canonical::digest_bytes(&bytes) != *name.digest() {
            return Err(Fault::Corrupt(format!("{}: its blob was changed", key.sort)));
        }
        decode(key, &bytes)
    }
}
