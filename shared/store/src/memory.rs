//! The table and the blobs in memory: for tests, the simulation, and as the model of the contract.

use crate::{
    BlobName, Blobs, Condition, Item, Key, PortError, Query, Table, TransactionError, Write,
};
use async_trait::async_trait;

pub use crate::form::{check_form, check_key, check_range};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Mutex, PoisonError},
};

/// Whether a condition holds on what is stored.
pub fn holds(condition: &Condition, item: Option<&Item>) -> bool {
    match condition {
        Condition::Any => true,
        Condition::NotExists => item.is_none(),
        Condition::Exists => item.is_some(),
        Condition::VersionIs(version) => item.is_some_and(|item| item.version == *version),
        Condition::FieldAtMost(field, limit) => {
            item.is_some_and(|item| item.fields.get(field).copied().unwrap_or(0) <= *limit)
        }
    }
}

/// A table in memory.
#[derive(Debug, Default)]
pub struct MemoryTable {
    items: Mutex<BTreeMap<Key, Item>>,
}

impl MemoryTable {
    fn items(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything stored, for checks.
    pub fn dump(&self) -> BTreeMap<Key, Item> {
        self.items().clone()
    }

    /// Changes one stored item behind the engine's back, for tests of detection.
    pub fn tamper(&self, key: &Key, change: impl FnOnce(&mut Item)) {
        if let Some(item) = self.items().get_mut(key) {
            change(item);
        }
    }
}

#[async_trait]
impl Table for MemoryTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, PortError> {
        check_key(key)?;
        Ok(self.items().get(key).cloned())
    }

    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, PortError> {
        check_range(query)?;
        if query.from >= query.to {
            return Ok(Vec::new());
        }
        let key = |sort: &str| Key { partition: query.partition.clone(), sort: sort.to_owned() };
        let items = self.items();
        let range =
            items.range((Bound::Included(key(&query.from)), Bound::Excluded(key(&query.to))));
        let clone = |(key, item): (&Key, &Item)| (key.clone(), item.clone());
        Ok(if query.reverse {
            range.rev().take(query.limit).map(clone).collect()
        } else {
            range.take(query.limit).map(clone).collect()
        })
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), TransactionError> {
        check_form(&writes)?;
        let mut items = self.items();
        if let Some(index) =
            writes.iter().position(|write| !holds(write.condition(), items.get(write.key())))
        {
            return Err(TransactionError::Condition(index));
        }
        for write in writes {
            match write {
                Write::Put { key, item, .. } => {
                    items.insert(key, item);
                }
                Write::Delete { key, .. } => {
                    items.remove(&key);
                }
                Write::Check { .. } => {}
            }
        }
        Ok(())
    }
}

/// Blobs in memory.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    blobs: Mutex<HashMap<BlobName, Vec<u8>>>,
}

impl MemoryBlobs {
    /// Everything stored, for checks.
    pub fn dump(&self) -> HashMap<BlobName, Vec<u8>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, name: &BlobName, bytes: &[u8]) -> Result<(), PortError> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.insert(name.clone(), bytes.to_vec());
        Ok(())
    }
    async fn get(&self, name: &BlobName) -> Result<Option<Vec<u8>>, PortError> {
        Ok(self.blobs.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }
}
