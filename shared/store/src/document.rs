//! Bodies: JSON documents, small ones in their item, large ones in the blob store.
//!
//! Whether a body is the document or the digest of a blob is an attribute of the item, never told
//! from the bytes, which are a stranger's (INVARIANT data-is-never-control). A blob lies under the
//! partition of the record that names it, so that no digest reaches what another record, execution
//! or workspace stored (INVARIANT tenant-walls).

use crate::{BlobName, Condition, Item, Key, PortError, Query, Store, Write};
use contracts::{Problem, limits::INLINE_BODY_BYTES_MAX};
use cs_core::canonical;
use serde::{Serialize, de::DeserializeOwned};

/// The field of an item whose body is the digest of a blob.
const BLOB: &str = "blob";
/// Items of a kind that are read at once.
const AT_ONCE: usize = 100;

/// A record as it was read: what it says, and the version that a change of it is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<T> {
    /// 0: there is none.
    pub version: u64,
    pub value: T,
}

impl<T> Record<T> {
    /// That it is still as it was read.
    pub const fn unchanged(&self) -> Condition {
        Condition::unchanged(self.version)
    }

    /// The write that puts another value in its place, if it is still as it was read.
    pub fn replace<U: Serialize>(&self, key: Key, value: &U) -> Result<Write, PortError> {
        let item = item(self.version + 1, value)?;
        Ok(Write::Put { key, item, condition: self.unchanged() })
    }
}

/// An item with a JSON body.
pub fn item<T: Serialize>(version: u64, value: &T) -> Result<Item, PortError> {
    Ok(Item { version, body: encode(value)?, ..Item::default() })
}

/// A value as it is stored.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, PortError> {
    serde_json::to_vec(value).map_err(|error| PortError::Corrupt(error.to_string()))
}

/// A stored value. The error says where it is, not what stood there.
pub fn decode<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, PortError> {
    // Where reading stopped, not what stood there: faults are logged (INVARIANT
    // no-secrets-in-evidence).
    serde_json::from_slice(bytes).map_err(|error| {
        let at = format!("{}/{}", key.partition, key.sort);
        PortError::Corrupt(format!(
            "{at}: unreadable at line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

impl Store {
    /// A small record; where there is none, the default at version 0.
    pub async fn record<T: DeserializeOwned + Default>(
        &self,
        key: &Key,
    ) -> Result<Record<T>, PortError> {
        Ok(match self.table.get(key).await? {
            Some(item) => Record { version: item.version, value: self.body_of(key, &item).await? },
            None => Record::default(),
        })
    }

    /// [`Record::replace`] of a value that may be large.
    pub async fn replace<T, U: Serialize>(
        &self,
        record: &Record<T>,
        key: Key,
        value: &U,
    ) -> Result<Write, PortError> {
        let mut item = self.body_item(&key, encode(value)?).await?;
        item.version = record.version + 1;
        Ok(Write::Put { key, item, condition: record.unchanged() })
    }

    /// A write that stores a body; a large one goes to the blob store first.
    pub async fn body_write<T: Serialize>(&self, key: Key, value: &T) -> Result<Write, PortError> {
        let item = self.body_item(&key, encode(value)?).await?;
        Ok(Write::Put { key, item, condition: Condition::Any })
    }

    async fn body_item(&self, key: &Key, body: Vec<u8>) -> Result<Item, PortError> {
        let mut item = Item { version: 1, body, ..Item::default() };
        if item.body.len() > INLINE_BODY_BYTES_MAX {
            let name = BlobName::of(key, canonical::digest_bytes(&item.body));
            self.blobs.put(&name, &item.body).await?;
            item.fields.insert(BLOB.into(), 1);
            item.body = name.digest().to_string().into_bytes();
        }
        Ok(item)
    }

    /// A stored body.
    pub async fn body<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, PortError> {
        match self.table.get(key).await? {
            Some(item) => self.body_of(key, &item).await.map(Some),
            None => Ok(None),
        }
    }

    /// Visits the bodies whose sort keys have a prefix, in order and with what follows it, until
    /// `visit` says no. By the page: a thousand requests, one after another, would take their time.
    pub async fn each_body<T: DeserializeOwned>(
        &self,
        partition: String,
        prefix: &str,
        mut visit: impl FnMut(&str, T) -> Result<bool, Problem> + Send,
    ) -> Result<(), Problem> {
        let mut next = Some(Query::prefix(partition, prefix, AT_ONCE));
        while let Some(query) = next {
            let items = self.table.query(&query).await?;
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
    pub async fn body_of<T: DeserializeOwned>(
        &self,
        key: &Key,
        item: &Item,
    ) -> Result<T, PortError> {
        if item.fields.get(BLOB).copied().unwrap_or(0) == 0 {
            return decode(key, &item.body);
        }
        let digest = std::str::from_utf8(&item.body).ok().and_then(|text| text.parse().ok());
        let digest =
            digest.ok_or_else(|| PortError::Corrupt(format!("{}: no digest", key.sort)))?;
        let name = BlobName::of(key, digest);
        let bytes = self.blobs.get(&name).await?;
        let bytes =
            bytes.ok_or_else(|| PortError::Corrupt(format!("{}: its blob is gone", key.sort)))?;
        if canonical::digest_bytes(&bytes) != *name.digest() {
            return Err(PortError::Corrupt(format!("{}: its blob was changed", key.sort)));
        }
        decode(key, &bytes)
    }
}
