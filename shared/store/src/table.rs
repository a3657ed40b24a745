//! The table: strongly consistent reads and conditional transactions. This is the whole contract
//! with a store; each adapter (embedded, DynamoDB, in memory) keeps all of it.

use async_trait::async_trait;
use std::collections::BTreeMap;

/// The world did not do as asked. Not a refusal: trying again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Unreachable, throttled, timed out, or the answer was lost: it may or may not have happened.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A stored record cannot be read.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// An item or a transaction is larger than any store takes. Nothing was written.
    #[error("too large: {0}")]
    TooLarge(String),
}

/// Where an item is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub partition: String,
    pub sort: String,
}

/// What is stored: a version, numbers that conditions can look at, and a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub version: u64,
    pub fields: BTreeMap<String, i64>,
    pub body: Vec<u8>,
    /// Seconds since 1970 after which the item may vanish.
    pub expires_at: Option<i64>,
}

/// What must hold for a transaction to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Any,
    NotExists,
    Exists,
    VersionIs(u64),
    /// The item exists and its field (0 if absent) is at most this.
    FieldAtMost(String, i64),
}

/// One part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Put {
        key: Key,
        item: Item,
        condition: Condition,
    },
    Delete {
        key: Key,
        condition: Condition,
    },
    /// Only the condition.
    Check {
        key: Key,
        condition: Condition,
    },
}

impl Write {
    /// Where it writes or looks.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } | Self::Check { key, .. } => key,
        }
    }
    /// What must hold.
    pub fn condition(&self) -> &Condition {
        match self {
            Self::Put { condition, .. }
            | Self::Delete { condition, .. }
            | Self::Check { condition, .. } => condition,
        }
    }
}

/// Why a transaction did not commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The condition of this write does not hold. Nothing was written.
    #[error("the condition of write {0} does not hold")]
    Condition(usize),
    /// It may or may not have been written.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A range of one partition, in order of the sort key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub partition: String,
    /// First sort key, inclusive.
    pub from: String,
    /// Last sort key, exclusive.
    pub to: String,
    pub limit: usize,
    /// From the end.
    pub reverse: bool,
}

impl Condition {
    /// The item is as it was read at this version; 0: there was none.
    pub const fn unchanged(version: u64) -> Self {
        match version {
            0 => Self::NotExists,
            version => Self::VersionIs(version),
        }
    }
}

impl Query {
    /// Every item whose sort key has a prefix.
    pub fn prefix(partition: String, prefix: &str, limit: usize) -> Self {
        // Sort keys are ASCII; no key is above `~`.
        Self { partition, from: prefix.to_owned(), to: format!("{prefix}~"), limit, reverse: false }
    }
    /// What is behind these items, if there may be more. For a range that is read forwards.
    pub fn behind(self, items: &[(Key, Item)]) -> Option<Self> {
        let (last, _) = items.last().filter(|_| items.len() >= self.limit)?;
        // The least sort key above the last one's.
        Some(Self { from: format!("{}\u{1}", last.sort), ..self })
    }
}

/// The whole consistency contract: strongly consistent reads, and transactions of at most
/// [`contracts::limits::TRANSACT_ITEMS_MAX`] writes to distinct keys that commit together or not at
/// all.
#[async_trait]
pub trait Table: Send + Sync {
    /// One item.
    async fn get(&self, key: &Key) -> Result<Option<Item>, PortError>;
    /// The first `limit` items of a range; fewer only where it has no more. See [`Query::behind`].
    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, PortError>;
    /// All of the writes or none. Durable when it returns.
    async fn transact(&self, writes: Vec<Write>) -> Result<(), TransactionError>;
}
