//! The form of a transaction: what every adapter of the table refuses, so that none takes what
//! another would not.

use crate::{Item, Key, PortError, Query, Write};
use contracts::limits::{ITEM_BYTES_MAX, KEY_BYTES_MAX, TRANSACT_BYTES_MAX, TRANSACT_ITEMS_MAX};
use std::collections::BTreeSet;

/// Bytes that an adapter adds to an item: names of attributes, a version, a time.
const ITEM_OVERHEAD_BYTES: usize = 100;

/// Refuses transactions that the contract of the table forbids. Each adapter calls it first.
///
/// INVARIANT (bounded-work): items and transactions have one limit on every store, below that of
/// the smallest.
pub fn check_form(writes: &[Write]) -> Result<(), PortError> {
    let distinct: BTreeSet<&Key> = writes.iter().map(Write::key).collect();
    if distinct.len() != writes.len() {
        return Err(PortError::Corrupt("a transaction names a key twice".into()));
    }
    if writes.is_empty() || writes.len() > TRANSACT_ITEMS_MAX {
        let message =
            format!("{} writes; a transaction has 1 to {TRANSACT_ITEMS_MAX}", writes.len());
        return Err(PortError::Corrupt(message));
    }
    let mut total = 0;
    for write in writes {
        check_key(write.key())?;
        let size = write_bytes(write);
        if size > ITEM_BYTES_MAX {
            let sort = &write.key().sort;
            return Err(PortError::TooLarge(format!(
                "`{sort}`: an item of {size} bytes; at most {ITEM_BYTES_MAX}"
            )));
        }
        total += size;
    }
    if total > TRANSACT_BYTES_MAX {
        return Err(PortError::TooLarge(format!(
            "a transaction of {total} bytes; at most {TRANSACT_BYTES_MAX}"
        )));
    }
    Ok(())
}

/// Refuses a key that no store takes. Each adapter calls it before it looks one up.
pub fn check_key(key: &Key) -> Result<(), PortError> {
    check_parts(&[&key.partition, &key.sort])
}

/// The same of a range.
pub fn check_range(query: &Query) -> Result<(), PortError> {
    check_parts(&[&query.partition, &query.from, &query.to])
}

fn check_parts(parts: &[&str]) -> Result<(), PortError> {
    match parts.iter().find(|part| part.len() > KEY_BYTES_MAX) {
        None => Ok(()),
        Some(long) => Err(PortError::TooLarge(format!(
            "a key of {} bytes; at most {KEY_BYTES_MAX}",
            long.len()
        ))),
    }
}

fn write_bytes(write: &Write) -> usize {
    let key = write.key();
    let item = match write {
        Write::Put { item, .. } => item_bytes(item),
        Write::Delete { .. } | Write::Check { .. } => 0,
    };
    key.partition.len() + key.sort.len() + item
}

fn item_bytes(item: &Item) -> usize {
    let fields: usize = item.fields.keys().map(|name| name.len() + size_of::<i64>()).sum();
    item.body.len() + fields + ITEM_OVERHEAD_BYTES
}
