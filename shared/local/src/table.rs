//! The embedded table on fjall, a log-structured store with a write-ahead journal.
//!
//! One thread writes. It takes every transaction that waits, judges each against the store and
//! against those before it in the group, writes the group as one batch and syncs once: many
//! transactions share an fdatasync. Reads go beside it and see only what is committed.
//!
//! Executions have a shelf of their own: their keys begin with ids that grow with time, so that
//! what is written out later never overlaps what was written out before, and there is little to
//! merge. All else is on the other shelf.

use async_trait::async_trait;
use contracts::limits::TRANSACT_ITEMS_MAX;
use countersign_store::{
    Condition, Item, Key, PortError, Query, Table, TransactionError, Write, check_form, check_key,
    check_range, memory::holds,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Transactions of one group.
const GROUP_MAX: usize = 512;
/// How long a group waits to grow as large as the one before: for each transaction of that, but not
/// longer than the second. It looks so often as the third says.
const GATHER_EACH: Duration = Duration::from_micros(120);
const GATHER_MAX: Duration = Duration::from_millis(4);
const GATHER_STEP: Duration = Duration::from_micros(200);
/// Transactions that may wait; beyond, callers wait to join.
const QUEUE_MAX: usize = 4_096;
/// Everyday transactions among those. Urgent ones stand behind so many at the most.
const EVERYDAY_MAX: usize = 32;
/// Memory for recent writes of executions, in bytes.
const EXECUTIONS_MEMTABLE_BYTES_MAX: u64 = 12 * 1024 * 1024;
/// Memory for recent writes of all else, in bytes.
const OTHERS_MEMTABLE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Memory for blocks read, in bytes.
const CACHE_BYTES_MAX: u64 = 8 * 1024 * 1024;

tokio::task_local! {
    static URGENT: ();
}

/// What is written meanwhile waits for few others: kill switches. INVARIANT (bounded-work).
pub(crate) async fn urgently<F: Future>(work: F) -> F::Output {
    URGENT.scope((), work).await
}

/// A transaction that waits to be written.
struct Waiting {
    writes: Vec<Write>,
    urgent: bool,
    answer: oneshot::Sender<Result<(), TransactionError>>,
}

/// How much was done.
#[derive(Debug, Default)]
pub struct Stats {
    /// Transactions committed.
    pub commits: AtomicU64,
    /// Groups written: one fdatasync each.
    pub syncs: AtomicU64,
}

/// A table on local disk.
pub struct EmbeddedTable {
    database: Database,
    shelves: Shelves,
    queue: mpsc::Sender<Waiting>,
    everyday: Semaphore,
    stats: Arc<Stats>,
    broken: watch::Receiver<Option<String>>,
}

impl EmbeddedTable {
    /// Opens a folder, making it if it is not there. Only one process may have it open.
    pub fn open(folder: &Path) -> Result<Self, fjall::Error> {
        let database =
            Database::builder(folder).cache_size(CACHE_BYTES_MAX).worker_threads(1).open()?;
        let options = |bytes| move || KeyspaceCreateOptions::default().max_memtable_size(bytes);
        let shelves = Shelves {
            executions: database.keyspace("executions", options(EXECUTIONS_MEMTABLE_BYTES_MAX))?,
            others: database.keyspace("items", options(OTHERS_MEMTABLE_BYTES_MAX))?,
        };
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let stats = Arc::new(Stats::default());
        let (breaks, broken) = watch::channel(None);
        let writer = Writer {
            database: database.clone(),
            shelves: shelves.clone(),
            stats: stats.clone(),
            breaks,
        };
        thread::Builder::new()
            .name("table-writer".into())
            .spawn(move || writer.run(waiting))
            .map_err(fjall::Error::Io)?;
        let everyday = Semaphore::new(EVERYDAY_MAX);
        Ok(Self { database, shelves, queue, everyday, stats, broken })
    }

    /// Returns when the store takes no writes any more, with the reason: the disk is full, or
    /// fails. Only opening it anew helps, when what was committed is there.
    pub async fn broken(&self) -> String {
        let mut broken = self.broken.clone();
        match broken.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the table's writer has stopped".into(),
        }
    }

    /// Removes what had its time from the partitions whose name begins with a prefix, as DynamoDB
    /// does on its own.
    pub async fn forget(&self, prefix: &str, now_seconds: i64) -> Result<usize, PortError> {
        let expired = self.expired(prefix, now_seconds)?;
        for writes in expired.chunks(TRANSACT_ITEMS_MAX) {
            let removed = self.transact(writes.to_vec()).await;
            removed.map_err(|error| PortError::Unavailable(error.to_string()))?;
        }
        Ok(expired.len())
    }

    fn expired(&self, prefix: &str, now_seconds: i64) -> Result<Vec<Write>, PortError> {
        let (from, to) = (prefix.as_bytes().to_vec(), format!("{prefix}~").into_bytes());
        let snapshot = self.database.snapshot();
        let mut expired = Vec::new();
        for guard in snapshot.range(self.shelves.of(&from), from..to) {
            let (key, value) = guard.into_inner().map_err(unavailable)?;
            if decode_item(&value)?.expires_at.is_some_and(|at| at <= now_seconds) {
                let text = String::from_utf8_lossy(&key).into_owned();
                let (partition, sort) = text.split_once('\0').unwrap_or((&text, ""));
                let key = Key { partition: partition.to_owned(), sort: sort.to_owned() };
                expired.push(Write::Delete { key, condition: Condition::Any });
            }
        }
        Ok(expired)
    }

    /// What was done so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

#[derive(Clone)]
struct Shelves {
    executions: Keyspace,
    others: Keyspace,
}

impl Shelves {
    /// Where the items of a partition are; given an encoded key, its partition.
    fn of(&self, key: &[u8]) -> &Keyspace {
        let partition = key.split(|byte| *byte == 0).next().unwrap_or_default();
        let mark = b"#exe#";
        if partition.windows(mark.len()).any(|part| part == mark) {
            &self.executions
        } else {
            &self.others
        }
    }
}

struct Writer {
    database: Database,
    shelves: Shelves,
    stats: Arc<Stats>,
    breaks: watch::Sender<Option<String>>,
}

impl Writer {
    fn run(self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut group: Vec<Waiting> = Vec::new();
        let mut before = 0;
        while let Some(first) = waiting.blocking_recv() {
            group.push(first);
            gather(&mut group, &mut waiting, before);
            before = group.len();
            self.write(&mut group);
        }
    }

    fn write(&self, group: &mut Vec<Waiting>) {
        let most = group.iter().map(|waiting| waiting.writes.len()).sum();
        let mut changes: HashMap<Vec<u8>, Option<Item>> = HashMap::with_capacity(most);
        let mut answers = Vec::with_capacity(group.len());
        for Waiting { writes, answer, .. } in group.drain(..) {
            let verdict = self.judge(&writes, &changes);
            if verdict.is_ok() {
                for write in writes {
                    match write {
                        Write::Put { key, item, .. } => {
                            changes.insert(encode_key(&key), Some(item));
                        }
                        Write::Delete { key, .. } => {
                            changes.insert(encode_key(&key), None);
                        }
                        Write::Check { .. } => {}
                    }
                }
            }
            answers.push((answer, verdict));
        }
        let written = self.persist(changes);
        let count = answers.iter().filter(|(_, verdict)| verdict.is_ok()).count() as u64;
        self.stats.commits.fetch_add(count, Ordering::Relaxed);
        for (answer, verdict) in answers {
            let outcome = verdict.and_then(|()| written.clone().map_err(TransactionError::Port));
            // A caller that went away has its answer in the store.
            let _ = answer.send(outcome);
        }
    }

    fn judge(
        &self,
        writes: &[Write],
        changes: &HashMap<Vec<u8>, Option<Item>>,
    ) -> Result<(), TransactionError> {
        for (index, write) in writes.iter().enumerate() {
            if *write.condition() == Condition::Any {
                continue;
            }
            let key = encode_key(write.key());
            let stored;
            let current = match changes.get(&key) {
                Some(changed) => changed.as_ref(),
                None => {
                    stored = read(self.shelves.of(&key), &key)?;
                    stored.as_ref()
                }
            };
            if !holds(write.condition(), current) {
                return Err(TransactionError::Condition(index));
            }
        }
        Ok(())
    }

    fn persist(&self, changes: HashMap<Vec<u8>, Option<Item>>) -> Result<(), PortError> {
        if changes.is_empty() {
            return Ok(());
        }
        // In key order, so that the same group gives the same journal.
        let mut sorted: Vec<(Vec<u8>, Option<Item>)> = changes.into_iter().collect();
        sorted.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, item) in sorted {
            let shelf = self.shelves.of(&key);
            match item {
                Some(item) => batch.insert(shelf, key, encode_item(&item)),
                None => batch.remove(shelf, key),
            }
        }
        self.stats.syncs.fetch_add(1, Ordering::Relaxed);
        batch.commit().map_err(|error| {
            // Half of a batch may lie in the journal: the store takes nothing behind it.
            self.breaks.send_if_modified(|broken| {
                broken.is_none() && broken.replace(error.to_string()).is_none()
            });
            unavailable(error)
        })
    }
}

// Takes what waits. Where more than one came last time, as many are waited for, within limits.
fn gather(group: &mut Vec<Waiting>, waiting: &mut mpsc::Receiver<Waiting>, before: usize) {
    let until = Instant::now() + GATHER_EACH.saturating_mul(before as u32).min(GATHER_MAX);
    loop {
        while group.len() < GROUP_MAX
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        if group.len() >= before
            || group.iter().any(|waiting| waiting.urgent)
            || Instant::now() >= until
        {
            break;
        }
        thread::sleep(GATHER_STEP);
    }
}

fn unavailable(error: fjall::Error) -> PortError {
    PortError::Unavailable(error.to_string())
}

fn read(items: &Keyspace, key: &[u8]) -> Result<Option<Item>, PortError> {
    items.get(key).map_err(unavailable)?.map(|bytes| decode_item(&bytes)).transpose()
}

// Partition, NUL, sort key. Neither has a NUL, so that no two keys collide.
fn encode_key(key: &Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.partition.len() + key.sort.len() + 1);
    bytes.extend_from_slice(key.partition.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key.sort.as_bytes());
    bytes
}

/// Form of a stored item.
const FORM: u8 = 1;

// form, version, expiry (0: none), count of fields, fields (length, name, number), body. Numbers
// little endian.
fn encode_item(item: &Item) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(item.body.len() + 32);
    bytes.push(FORM);
    bytes.extend_from_slice(&item.version.to_le_bytes());
    bytes.extend_from_slice(&item.expires_at.unwrap_or(0).to_le_bytes());
    bytes.push(item.fields.len() as u8);
    for (name, number) in &item.fields {
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&item.body);
    bytes
}

fn decode_item(bytes: &[u8]) -> Result<Item, PortError> {
    let mut rest = bytes;
    let mut take = |count: usize| -> Result<&[u8], PortError> {
        let (taken, left) = rest
            .split_at_checked(count)
            .ok_or_else(|| PortError::Corrupt("a stored item is cut".into()))?;
        rest = left;
        Ok(taken)
    };
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
    let byte = |bytes: &[u8]| usize::from(bytes.first().copied().unwrap_or_default());
    if byte(take(1)?) != usize::from(FORM) {
        return Err(PortError::Corrupt("a stored item has an unknown form".into()));
    }
    let version = number(take(8)?);
    let expires_at = Some(number(take(8)?) as i64).filter(|at| *at != 0);
    let mut fields = BTreeMap::new();
    for _ in 0..byte(take(1)?) {
        let length = byte(take(1)?);
        let name = String::from_utf8_lossy(take(length)?).into_owned();
        fields.insert(name, number(take(8)?) as i64);
    }
    Ok(Item { version, fields, body: rest.to_vec(), expires_at })
}

#[async_trait]
impl Table for EmbeddedTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, PortError> {
        check_key(key)?;
        let key = encode_key(key);
        read(self.shelves.of(&key), &key)
    }

    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, PortError> {
        check_range(query)?;
        if query.from >= query.to {
            return Ok(Vec::new());
        }
        let key = |sort: &str| {
            encode_key(&Key { partition: query.partition.clone(), sort: sort.to_owned() })
        };
        // A snapshot, so that a query sees each transaction whole or not at all.
        let snapshot = self.database.snapshot();
        let shelf = self.shelves.of(query.partition.as_bytes());
        let range = snapshot.range(shelf, key(&query.from)..key(&query.to));
        let prefix = query.partition.len() + 1;
        let decode = |guard: fjall::Guard| -> Result<(Key, Item), PortError> {
            let (key, value) = guard.into_inner().map_err(unavailable)?;
            let sort = String::from_utf8_lossy(key.get(prefix..).unwrap_or_default()).into_owned();
            Ok((Key { partition: query.partition.clone(), sort }, decode_item(&value)?))
        };
        if query.reverse {
            range.rev().take(query.limit).map(decode).collect()
        } else {
            range.take(query.limit).map(decode).collect()
        }
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), TransactionError> {
        check_form(&writes)?;
        let gone = || {
            TransactionError::Port(PortError::Unavailable("the table's writer has stopped".into()))
        };
        let urgent = URGENT.try_with(|()| ()).is_ok();
        let _place = match urgent {
            true => None,
            false => Some(self.everyday.acquire().await.map_err(|_| gone())?),
        };
        let (answer, outcome) = oneshot::channel();
        self.queue.send(Waiting { writes, urgent, answer }).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn put(n: usize) -> Vec<Write> {
        let key = Key { partition: "p".into(), sort: n.to_string() };
        vec![Write::Put { key, item: Item::default(), condition: Condition::Any }]
    }

    #[tokio::test]
    async fn bounded_work_what_is_urgent_stands_behind_few() {
        let folder = tempfile::tempdir().unwrap();
        let table = Arc::new(EmbeddedTable::open(folder.path()).unwrap());
        let done = Arc::new(AtomicUsize::new(0));
        for n in 0..4_000 {
            let (table, done) = (table.clone(), done.clone());
            tokio::spawn(async move {
                table.transact(put(n)).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        while done.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let before = table.stats.commits.load(Ordering::Relaxed);
        urgently(table.transact(put(0))).await.unwrap();
        let beside = table.stats.commits.load(Ordering::Relaxed) - before;
        assert!(beside <= 200, "{beside} others were written meanwhile");
    }
}
