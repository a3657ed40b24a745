//! What the engine needs of the world. Each port has at least two adapters.

use async_trait::async_trait;
use contracts::{Digest, ExecutionId, Timestamp, WorkspaceId, event::CloudEvent, manifest::Binding};
use cs_core::warrant;
use std::{collections::BTreeMap, sync::Arc};

/// The world did not do as asked. Not a refusal: trying again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
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
            Self::Put { condition, .. } | Self::Delete { condition, .. } | Self::Check { condition, .. } => condition,
        }
    }
}

/// Why a transaction did not commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    /// The condition of this write does not hold. Nothing was written.
    #[error("the condition of write {0} does not hold")]
    Condition(usize),
    /// It may or may not have been written.
    #[error(transparent)]
    Fault(#[from] Fault),
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
/// [`contracts::limits::TRANSACT_ITEMS_MAX`] writes to distinct keys that commit together or not at all.
#[async_trait]
pub trait Table: Send + Sync {
    /// One item.
    async fn get(&self, key: &Key) -> Result<Option<Item>, Fault>;
    /// The first `limit` items of a range; fewer only where it has no more. See [`Query::behind`].
    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, Fault>;
    /// All of the writes or none. Durable when it returns.
    async fn transact(&self, writes: Vec<Write>) -> Result<(), NotCommitted>;
}

/// Where a blob lies: under the partition of the record that names it, by its digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName {
    partition: String,
    digest: Digest,
}

impl BlobName {
    /// The blob of a record.
    pub fn of(record: &Key, digest: Digest) -> Self {
        Self { partition: record.partition.clone(), digest }
    }
    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
    /// A relative path that no other name has, even where capitals do not count: the words of the partition, escaped, and
    /// the digest.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for word in self.partition.split('#') {
            for byte in word.bytes() {
                match byte {
                    b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => path.push(char::from(byte)),
                    other => path.push_str(&format!("={other:02x}")),
                }
            }
            path.push_str(if word.is_empty() { "=-/" } else { "/" });
        }
        path + self.digest.hex()
    }
}

/// Large bodies. What a name holds never changes.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores bytes. Durable when it returns.
    async fn put(&self, name: &BlobName, bytes: &[u8]) -> Result<(), Fault>;
    /// The bytes of a name.
    async fn get(&self, name: &BlobName) -> Result<Option<Vec<u8>>, Fault>;
}

/// A key that encrypts entries of the vault, and the form in which it may be stored beside them.
#[derive(Clone)]
pub struct DataKey {
    pub key: [u8; 32],
    /// Only the keeper can turn it into the key again.
    pub wrapped: Vec<u8>,
}

/// Keeper of the key that the vault is encrypted under, outside the table.
#[async_trait]
pub trait VaultKeys: Send + Sync {
    /// A key to encrypt with.
    async fn data_key(&self) -> Result<DataKey, Fault>;
    /// The key that was wrapped so.
    async fn open_key(&self, wrapped: &[u8]) -> Result<[u8; 32], Fault>;
}

/// One call to a tool, ready to send.
#[derive(Clone, Debug)]
pub struct ToolCall {
    pub binding: Binding,
    pub body: Vec<u8>,
    pub headers: Vec<(&'static str, String)>,
    pub timeout_ms: u64,
    /// Largest answer read, in bytes.
    pub answer_bytes_max: usize,
    /// Loopback and private addresses are allowed.
    pub allow_private: bool,
}

/// An answer of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
    /// The tool asks not to be called again before so many seconds have gone (RFC 9110, `Retry-After`).
    pub retry_after_seconds: Option<u32>,
}

impl Reply {
    /// One that asks for nothing.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), retry_after_seconds: None }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolAnswer {
    /// An HTTP answer, or its like.
    Answered(Reply),
    /// An answer larger than allowed.
    TooLarge { status: u16 },
    /// No connection came about: nothing was sent.
    Unreached(String),
    /// Sent, or perhaps sent; no answer.
    Lost(String),
    /// Not sent, because an outbound rule forbids it.
    Forbidden(String),
}

/// Tools.
#[async_trait]
pub trait Tools: Send + Sync {
    /// Calls a tool once.
    async fn call(&self, call: ToolCall) -> ToolAnswer;
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// A state machine waited with this token and goes on.
    Delivered,
    /// Nobody waits with this token: it is used or timed out, or its machine has ended.
    Gone,
}

/// What drives executions through their state machine: Step Functions, or the walker.
#[async_trait]
pub trait Orchestrator: Send + Sync {
    /// Starts driving an execution. The same execution and `name` twice is one start.
    async fn start(&self, workspace: &WorkspaceId, execution: &ExecutionId, name: &str) -> Result<(), Fault>;
    /// Ends the wait of a token, and says whether anybody waited.
    async fn succeed(&self, token: &str) -> Result<Signalled, Fault>;
}

/// Who wants to know that something was committed.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Stage events wait in the outbox. `idle`: nothing of the execution moves on its own any more.
    fn committed(&self, workspace: &WorkspaceId, execution: &ExecutionId, idle: bool);
    /// Events of a workspace's log wait in the outbox.
    fn logged(&self, _workspace: &WorkspaceId) {}
    /// Returns when the execution may have become idle, or after `ms` milliseconds.
    async fn idle(&self, execution: &ExecutionId, ms: u64);
}

/// Where stage events go: a queue, or a subscriber.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes events of one stream in their order. Says how many, from the first, are out, and why not all.
    async fn publish(&self, workspace: &WorkspaceId, events: &[CloudEvent]) -> (usize, Result<(), Fault>);
}

/// Where exports are kept.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Whether there is a document of this name.
    async fn holds(&self, name: &str) -> Result<bool, Fault>;
    /// Stores a document. Durable when it returns.
    async fn put(&self, name: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), Fault>;
}

/// Keeper of the keys that sign warrants.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The key that signs, and those that are still published.
    async fn ring(&self) -> Result<Arc<warrant::Ring>, Fault>;
}

/// Keys that are at hand.
#[async_trait]
impl Signer for Arc<warrant::Ring> {
    async fn ring(&self) -> Result<Arc<warrant::Ring>, Fault> {
        Ok(self.clone())
    }
}

/// Time.
#[async_trait]
pub trait Clock: Send + Sync {
    /// This moment.
    fn now(&self) -> Timestamp;
    /// Returns after `ms` milliseconds.
    async fn sleep(&self, ms: u64);
}

/// Unpredictable bytes; the first are ordered by time where that helps a store.
pub trait Ids: Send + Sync {
    /// 16 bytes, for identifiers.
    fn id(&self) -> [u8; 16];
    /// 32 secret bytes, for keys, salts and nonces.
    fn secret(&self) -> [u8; 32];
}
