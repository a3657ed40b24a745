//! The only writer. Everything that changes goes through one transaction: an execution by
//! [`Store::commit`], a workspace by [`Store::change`], both logs by one append.
//!
//! **Architecture invariant:** nothing else calls [`Table::transact`]; use cases hand over what is
//! to be written and never write themselves.

mod append;
mod document;
mod execution;
mod form;
mod idempotency;
pub mod keys;
pub mod memory;
mod metrics;
mod outbox;
mod ports;
mod records;
mod table;
mod transaction;
mod transparency;
mod usage;
mod workspace_log;

pub use contracts::{Stream, StreamError};
pub use document::{Record, decode, encode, item};
pub use execution::{Commit, CommitError, Loaded, system};
pub use form::{check_form, check_key, check_range};
pub use idempotency::Idempotency;
pub use ports::{BlobName, Blobs, Clock, Ids, Notifier};
pub use records::{
    HeadRecord, IdempotencyRecord, Lease, OutboxRecord, PeopleRecord, RegisteredWait,
};
pub use table::{Condition, Item, Key, PortError, Query, Table, TransactionError, Write};
pub use transaction::{Author, Change, Outcome, Tries, busy};
pub use transparency::{Notary, TreeHead};
pub use usage::{UsageRecord, usage_items};

use contracts::{Code, Digest, Problem, Timestamp};
use cs_core::plan::Compiled;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// A use case's answer: what was asked for, or a problem.
pub type Answer<T> = Result<T, Problem>;

/// Reads and writes. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store {
    table: Arc<dyn Table>,
    blobs: Arc<dyn Blobs>,
    notifier: Arc<dyn Notifier>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// Somebody reads the outbox: stage events are put there.
    stage_events: Arc<AtomicBool>,
    /// Plans by digest. They never change.
    plans: Arc<Mutex<HashMap<Digest, Arc<Compiled>>>>,
}

impl Store {
    /// A store over its adapters. `stage_events`: somebody reads the outbox.
    pub fn new(
        (table, blobs): (Arc<dyn Table>, Arc<dyn Blobs>),
        notifier: Arc<dyn Notifier>,
        (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>),
        stage_events: bool,
    ) -> Self {
        let stage_events = Arc::new(AtomicBool::new(stage_events));
        Self { table, blobs, notifier, clock, ids, stage_events, plans: Arc::default() }
    }

    /// This moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether stage events are put into the outbox.
    pub fn stage_events(&self) -> bool {
        self.stage_events.load(Ordering::SeqCst)
    }

    /// From now on stage events are put into the outbox.
    pub fn begin_stage_events(&self) {
        self.stage_events.store(true, Ordering::SeqCst);
    }

    /// One item.
    pub async fn get(&self, key: &Key) -> Result<Option<Item>, PortError> {
        self.table.get(key).await
    }

    /// A range of items.
    pub async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, PortError> {
        self.table.query(query).await
    }

    /// Stores a large body before the write that names it.
    pub async fn put_blob(&self, name: &BlobName, bytes: &[u8]) -> Result<(), PortError> {
        self.blobs.put(name, bytes).await
    }

    /// The bytes of a blob.
    pub async fn blob(&self, name: &BlobName) -> Result<Option<Vec<u8>>, PortError> {
        self.blobs.get(name).await
    }

    /// A version that no item had before: random, and positive for every adapter.
    pub fn fresh_version(&self) -> u64 {
        let bytes = self.ids.secret();
        let number =
            bytes.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        (number >> 12).max(1)
    }

    /// A new identifier: 32 hexadecimal digits.
    pub fn fresh_id(&self) -> String {
        hex::encode(self.ids.id())
    }
}

impl From<PortError> for Problem {
    // What failed inside is for the log; the caller learns that it may try again.
    fn from(fault: PortError) -> Self {
        tracing::error!(%fault, "fault");
        let message = match fault {
            PortError::Unavailable(_) => "the service failed; try again",
            PortError::TooLarge(_) => "what would be stored is too large",
            PortError::Corrupt(_) => "a stored record cannot be read",
        };
        let mut problem = Problem::new(Code::InternalError, message);
        problem.retryable &= matches!(fault, PortError::Unavailable(_));
        problem
    }
}
