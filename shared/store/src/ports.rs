//! What the store needs of the world beside its table.

use crate::{Key, PortError};
use async_trait::async_trait;
use contracts::{Digest, ExecutionId, Timestamp, WorkspaceId};

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
    /// A relative path that no other name has, even where capitals do not count: the words of the
    /// partition, escaped, and the digest.
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
    async fn put(&self, name: &BlobName, bytes: &[u8]) -> Result<(), PortError>;
    /// The bytes of a name.
    async fn get(&self, name: &BlobName) -> Result<Option<Vec<u8>>, PortError>;
}

/// Who wants to know that something was committed.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Stage events wait in the outbox. `idle`: nothing of the execution moves on its own any more.
    fn committed(&self, workspace: &WorkspaceId, execution: &ExecutionId, idle: bool);
    /// Events of a workspace's log wait in the outbox.
    fn logged(&self, _workspace: &WorkspaceId) {}
    /// Something came in whose work is to be done.
    fn came_in(&self) {}
    /// Returns when the execution may have become idle, or after `ms` milliseconds.
    async fn wait_until_idle(&self, execution: &ExecutionId, ms: u64);
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
