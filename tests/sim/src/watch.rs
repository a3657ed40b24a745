//! The monitor checks every transaction before it commits against the table's content. It does not
//! use the code under test; it knows the drafts, the manifest and the form of the records.

mod authority;
mod claims;

use crate::{
    Shared,
    invariants::InvariantLog,
    plans::{self, Operation, SKILL, VERSION},
    ports::Store,
};
use contracts::{
    Digest, ExecutionId, WorkspaceId,
    access::ApiKey,
    event::{ActorKind, Entry, Event, Purpose},
    governance::{Freeze, FreezeScope},
};
use countersign_store::{Condition, HeadRecord, Item, Key, Write, keys};
use engine::ActivePolicy;
use serde_json::Value;
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

/// Most that an execution's head may take, in bytes: it does not grow with the steps.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const ITEM_BYTES_MAX: usize = 350 * 1024;
const EVENT_BYTES_MAX: usize = 64 * 1024;
const WRITES_MAX: usize = 100;
/// A claim's transaction may come so long after the gate read the clock, in milliseconds.
const SLACK_MS: i64 = 2_000;

/// What was asked for.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) draft: Value,
    /// The key that asked.
    pub(crate) key: String,
    /// It was to be looked at only.
    pub(crate) dry: bool,
}

/// A claim that committed.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) execution: ExecutionId,
    pub(crate) step: String,
    pub(crate) purpose: Purpose,
    /// It reserved of the meters.
    pub(crate) reserved: bool,
    /// When, as time passes, and how often the clock had been set by then.
    pub(crate) passed: i64,
    pub(crate) jumps: usize,
}

/// What a commit is known by: seen before it, kept if it happens.
#[derive(Default)]
pub(crate) struct Seen {
    claims: Vec<Claim>,
    inbox: Vec<Value>,
    head: Option<(ExecutionId, String)>,
}

/// The stored items, as the monitor reads them.
pub(crate) struct StoredView<'s> {
    store: &'s dyn Store,
    dump: OnceCell<BTreeMap<Key, Item>>,
}

impl<'s> StoredView<'s> {
    pub(crate) fn new(store: &'s dyn Store) -> Self {
        Self { store, dump: OnceCell::new() }
    }
    pub(crate) fn get(&self, key: &Key) -> Option<Item> {
        match self.store.peek(key) {
            Some(found) => found,
            None => self.dump.get_or_init(|| self.store.dump()).get(key).cloned(),
        }
    }
}

/// The monitor of a run.
pub(crate) struct Monitor {
    pub(crate) invariants: Arc<InvariantLog>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) workspace: WorkspaceId,
    /// By the words of the intent.
    pub(crate) asked: Mutex<HashMap<String, Asked>>,
    /// The words of each execution's intent.
    words: Mutex<HashMap<ExecutionId, String>>,
    pub(crate) claims: Mutex<Vec<Claim>>,
    /// Every event that was committed for the workspace log.
    pub(crate) inbox: Mutex<Vec<Value>>,
    /// Of the policy set under which nobody may pay.
    pub(crate) strict: Mutex<Option<Digest>>,
    failures: Mutex<u32>,
}

impl Monitor {
    pub(crate) fn new(
        invariants: Arc<InvariantLog>,
        shared: Arc<Shared>,
        workspace: WorkspaceId,
    ) -> Arc<Self> {
        Arc::new(Self {
            invariants,
            shared,
            workspace,
            asked: Mutex::default(),
            words: Mutex::default(),
            claims: Mutex::default(),
            inbox: Mutex::default(),
            strict: Mutex::default(),
            failures: Mutex::default(),
        })
    }

    /// Advancing failed once more; how often by now.
    pub(crate) fn failed(&self) -> u32 {
        let mut failures = self.failures.lock().unwrap();
        *failures += 1;
        *failures
    }

    /// What an execution was asked for with.
    pub(crate) fn asked(&self, id: &ExecutionId) -> Option<Asked> {
        let words = self.words.lock().unwrap().get(id)?.clone();
        self.asked.lock().unwrap().get(&words).cloned()
    }

    /// A step as it was drafted.
    pub(crate) fn drafted(&self, id: &ExecutionId, step: &str) -> Option<Value> {
        let steps = self.asked(id)?.draft["steps"].as_array()?.clone();
        steps.into_iter().find(|drafted| drafted["id"] == step)
    }

    /// What a call of a drafted step calls.
    pub(crate) fn called(
        &self,
        id: &ExecutionId,
        step: &str,
        purpose: Purpose,
    ) -> Option<&'static Operation> {
        plans::called(self.drafted(id, step)?["use"].as_str()?, purpose)
    }

    /// What must hold of a transaction whose conditions hold.
    pub(crate) fn before(
        &self,
        writes: &[Write],
        claims: &[(ExecutionId, Entry)],
        sight: &StoredView<'_>,
    ) -> Seen {
        let mut seen = Seen::default();
        if !writes.iter().all(|write| {
            countersign_store::memory::holds(write.condition(), sight.get(write.key()).as_ref())
        }) {
            return seen;
        }
        let invariants = &self.invariants;
        let workspaces: BTreeSet<&str> =
            writes.iter().filter_map(|write| workspace_of(write.key())).collect();
        invariants.check("tenant-walls", workspaces.len() <= 1, || {
            format!("one transaction writes to {workspaces:?}")
        });
        invariants.check("bounded-work", writes.len() <= WRITES_MAX, || {
            format!("a transaction of {} writes", writes.len())
        });
        let mut head = None;
        for write in writes {
            let key = write.key();
            if key.sort.starts_with(keys::EVENT) && !matches!(write, Write::Check { .. }) {
                self.appends(write, writes, sight);
            }
            let Write::Put { item, .. } = write else { continue };
            let event = key.sort.starts_with(keys::EVENT) || key.sort.starts_with(keys::INBOX);
            let most = match (event, key.sort == "a#head") {
                (true, _) => EVENT_BYTES_MAX,
                (_, true) => HEAD_BYTES_MAX,
                _ => ITEM_BYTES_MAX,
            };
            let size = item.body.len();
            invariants
                .check("bounded-work", size <= most, || format!("`{}`: {size} bytes", key.sort));
            invariants.check("no-secrets-in-evidence", !has(&item.body, b"S3CRET-"), || {
                format!("{}/{} is about to hold one", key.partition, key.sort)
            });
            if key.sort == "a#head"
                && let Some(id) = execution_of(key)
            {
                let record: HeadRecord = serde_json::from_slice(&item.body).unwrap();
                self.head_follows(key, &record, sight);
                seen.head = Some((id.clone(), record.title.clone()));
                head = Some((id, record));
            }
        }
        self.authority(writes, &mut seen);
        if let Some((id, head)) = &head {
            self.words.lock().unwrap().entry(id.clone()).or_insert_with(|| head.title.clone());
            for (of, entry) in claims.iter().filter(|(of, _)| of == id) {
                seen.claims.extend(self.claim(of, entry, head, writes, sight));
            }
            self.completes(id, head, writes, sight);
        }
        invariants.check("claim-is-one-transaction", claims.is_empty() || head.is_some(), || {
            "a claim without its head".into()
        });
        seen
    }

    /// It committed.
    pub(crate) fn committed(&self, seen: Seen) {
        self.claims.lock().unwrap().extend(seen.claims);
        self.inbox.lock().unwrap().extend(seen.inbox);
    }

    // An event is written once, behind the one before it, and never again.
    fn appends(&self, write: &Write, writes: &[Write], sight: &StoredView<'_>) {
        let key = write.key();
        let seq: u64 = key.sort.trim_start_matches(keys::EVENT).parse().unwrap_or(0);
        let before =
            Key { sort: format!("{}{:010}", keys::EVENT, seq.saturating_sub(1)), ..key.clone() };
        let follows = seq == 1
            || writes.iter().any(|other| *other.key() == before)
            || sight.get(&before).is_some();
        let fresh = matches!(write, Write::Put { .. }) && sight.get(key).is_none();
        self.invariants
            .check("append-only", fresh && follows, || format!("{}/{}", key.partition, key.sort));
    }

    fn head_follows(&self, key: &Key, next: &HeadRecord, sight: &StoredView<'_>) {
        let Some(stored) = sight.get(key) else { return };
        let before: HeadRecord = serde_json::from_slice(&stored.body).unwrap();
        self.invariants.check("fenced", before.epoch <= next.epoch, || {
            format!("the fence goes back from {} to {}", before.epoch, next.epoch)
        });
        self.invariants.check("append-only", before.chain.seq <= next.chain.seq, || {
            "the chain was cut".into()
        });
    }
}

/// Whether bytes hold others.
pub(crate) fn has(body: &[u8], wanted: &[u8]) -> bool {
    let first = wanted[0];
    let mut from = 0;
    while let Some(at) = body[from..].iter().position(|byte| *byte == first) {
        if body[from + at..].starts_with(wanted) {
            return true;
        }
        from += at + 1;
    }
    false
}

fn workspace_of(key: &Key) -> Option<&str> {
    key.partition
        .strip_prefix("ws#")
        .or_else(|| key.partition.strip_prefix("vault#"))?
        .split('#')
        .next()
}

fn execution_of(key: &Key) -> Option<ExecutionId> {
    key.partition.split_once("#exe#")?.1.parse().ok()
}
