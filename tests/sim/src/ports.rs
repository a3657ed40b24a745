//! The engine's ports, with injected faults.

use crate::{
    exec::{Killable, Shared},
    plans::SKILL,
    run::person,
    watch::{Monitor, StoredView},
};
use async_trait::async_trait;
use contracts::{
    Digest, ExecutionId, Timestamp, WorkspaceId,
    event::{Entry, Event, ExecutionEvent, Purpose},
    governance::{FreezeScope, SetFreeze},
};
use countersign_store::{
    Clock, Ids, Item, Key, Notifier, PortError, Query, Table, TransactionError, Write,
    memory::MemoryTable,
};
use cs_core::warrant::{self, Ring};
use engine::{Engine, ports::*};
use futures_util::FutureExt as _;
use rand::RngCore as _;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, OnceLock, Weak},
    task::{Poll, Waker},
};

/// What the warrants of every seed are signed with.
pub(crate) fn ring() -> Ring {
    Ring::new(warrant::Key::new(&[9; 32]))
}

/// A table that shows everything it holds.
pub trait Store: Table {
    fn dump(&self) -> BTreeMap<Key, Item>;
    /// One item, where that is cheaper than everything.
    fn peek(&self, _: &Key) -> Option<Option<Item>> {
        None
    }
    /// It fails on its own; no faults are added.
    fn fails(&self) -> bool {
        false
    }
}

impl Store for MemoryTable {
    fn dump(&self) -> BTreeMap<Key, Item> {
        self.dump()
    }
    fn peek(&self, key: &Key) -> Option<Option<Item>> {
        self.get(key).now_or_never().and_then(Result::ok)
    }
}

/// Items of a partition whose sort keys have a prefix.
pub(crate) fn range(store: &dyn Store, partition: String, prefix: &str) -> Vec<(Key, Item)> {
    let query = Query::prefix(partition, prefix, usize::MAX);
    // What answers at once is asked for the range alone.
    if let (Some(_), Some(Ok(found))) = (
        store.peek(&Key { partition: String::new(), sort: String::new() }),
        store.query(&query).now_or_never(),
    ) {
        return found;
    }
    let here = |key: &Key| {
        key.partition == query.partition && key.sort >= query.from && key.sort < query.to
    };
    store.dump().into_iter().filter(|(key, _)| here(key)).collect()
}

/// A store behind a network that fails.
pub struct FaultTable {
    pub inner: Arc<dyn Store>,
    pub shared: Arc<Shared>,
    pub commits: Mutex<u64>,
    /// Items that transactions being applied will replace: a query may still see some of them, as
    /// on DynamoDB.
    pub applying: Mutex<Vec<Replaced>>,
    pub(crate) watch: Arc<Monitor>,
    pub engine: OnceLock<Weak<Engine>>,
    /// The answer to the next claim for this purpose is lost after it committed.
    pub(crate) unheard: Mutex<Option<Purpose>>,
}

/// Items before a transaction.
type Replaced = BTreeMap<Key, Option<Item>>;

#[async_trait]
impl Table for FaultTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, PortError> {
        self.shared.yield_some().await;
        if self.fails(300) {
            return Err(PortError::Unavailable("simulated read".into()));
        }
        self.inner.get(key).await
    }
    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, PortError> {
        self.shared.yield_some().await;
        if self.fails(300) {
            return Err(PortError::Unavailable("simulated query".into()));
        }
        let found = self.inner.query(query).await?;
        Ok(self.half_applied(query, found))
    }
    async fn transact(&self, writes: Vec<Write>) -> Result<(), TransactionError> {
        self.shared.yield_some().await;
        if self.fails(60) {
            return Err(PortError::Unavailable("simulated: not committed".into()).into());
        }
        let claims = self.watch.claims_of(&writes);
        let claimed = claims.first().map(|(id, entry)| (id.clone(), entry.clone()));
        if let Some((id, entry)) = &claimed {
            self.freeze_before(id, entry).await;
        }
        let (before, seen) = {
            let sight = StoredView::new(self.inner.as_ref());
            let changed = writes.iter().filter(|write| !matches!(write, Write::Check { .. }));
            let before: Replaced =
                changed.map(|write| (write.key().clone(), sight.get(write.key()))).collect();
            (before, self.watch.before(&writes, &claims, &sight))
        };
        let outcome = self.inner.transact(writes).await;
        if outcome.is_ok() {
            self.watch.committed(seen);
            *self.commits.lock().unwrap() += 1;
            let applied = Applying { table: self, first: before.keys().next().cloned() };
            self.applying.lock().unwrap().push(before);
            self.shared.yield_some().await;
            drop(applied);
            if let Some((id, entry)) = claimed {
                if self.is_unheard(&claims) {
                    return Err(PortError::Unavailable("simulated: committed".into()).into());
                }
                if self.shared.one_in(25) {
                    self.freeze(&id, &entry, "freeze: right after a claim").await;
                }
            }
        }
        self.shared.yield_some().await;
        if self.fails(60) {
            return Err(PortError::Unavailable("simulated: perhaps committed".into()).into());
        }
        outcome
    }
}

/// Ends the applying of a transaction, whatever becomes of its caller.
struct Applying<'t> {
    table: &'t FaultTable,
    first: Option<Key>,
}

impl Drop for Applying<'_> {
    fn drop(&mut self) {
        self.table
            .applying
            .lock()
            .unwrap()
            .retain(|before| before.keys().next() != self.first.as_ref());
    }
}

impl FaultTable {
    // INVARIANT replayable, fail-closed: nobody may act on a state that never was.
    fn half_applied(&self, query: &Query, found: Vec<(Key, Item)>) -> Vec<(Key, Item)> {
        let applying = self.applying.lock().unwrap();
        let here = |key: &Key| {
            key.partition == query.partition && key.sort >= query.from && key.sort < query.to
        };
        let mut of = applying.iter().filter(|before| before.keys().any(here));
        let (Some(before), None, false) =
            (of.next(), of.next(), query.reverse || query.limit < found.len())
        else {
            return found;
        };
        let mut seen: BTreeMap<Key, Item> = found.into_iter().collect();
        for (key, item) in before.iter().filter(|(key, _)| here(key)) {
            if self.shared.one_in(2) {
                match item {
                    Some(item) => seen.insert(key.clone(), item.clone()),
                    None => seen.remove(key),
                };
            }
        }
        seen.into_iter().take(query.limit).collect()
    }

    fn is_unheard(&self, claims: &[(ExecutionId, Entry)]) -> bool {
        let mut unheard = self.unheard.lock().unwrap();
        let named = claims.iter().any(|(_, entry)| match &entry.event {
            Event::Execution(ExecutionEvent::StepStarted(data)) => Some(data.purpose) == *unheard,
            _ => false,
        });
        if named {
            *unheard = None;
        }
        named
    }

    fn fails(&self, one_in: u32) -> bool {
        !self.inner.fails() && self.shared.one_in(one_in)
    }

    // A claim was decided and is about to commit: now and then it is frozen, or something is
    // thawed, just then.
    async fn freeze_before(&self, id: &ExecutionId, entry: &Entry) {
        let Event::Execution(ExecutionEvent::StepStarted(data)) = &entry.event else { return };
        let (storm, one_in) = match data.purpose {
            Purpose::Run => ("freeze: right before the claim of a run", 25),
            Purpose::Probe => ("freeze: right before the claim of a probe", 6),
            Purpose::Compensate => ("freeze: right before the claim of an undo", 6),
        };
        if self.shared.one_in(one_in) {
            self.freeze(id, entry, storm).await;
        } else if self.shared.one_in(10) {
            let frozen =
                self.watch.freezes(&StoredView::new(self.inner.as_ref())).into_iter().next();
            if let Some((engine, freeze)) = self.engine().zip(frozen) {
                let lift = SetFreeze {
                    scope: freeze.scope,
                    key: freeze.key,
                    frozen: false,
                    force: true,
                    reason: None,
                };
                if engine
                    .limits
                    .set_freeze(&person(&self.watch.workspace, "operator"), lift)
                    .await
                    .is_ok()
                {
                    self.watch.invariants.storm("freeze: lifted right before a claim");
                }
            }
        }
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(Weak::upgrade)
    }

    // Freezes what a claim is about, and thaws it in time, whoever dies meanwhile.
    async fn freeze(&self, id: &ExecutionId, entry: &Entry, storm: &'static str) {
        let Event::Execution(ExecutionEvent::StepStarted(data)) = &entry.event else { return };
        let Some(operation) = self.watch.called(id, data.step_id.as_str(), data.purpose) else {
            return;
        };
        let (scope, key) = match self.shared.pick(4) {
            0 => (FreezeScope::Workspace, None),
            1 => (FreezeScope::Skill, Some(SKILL.to_owned())),
            2 => (FreezeScope::Operation, Some(format!("{SKILL}/{}", operation.name))),
            _ => (FreezeScope::Actor, Some("agent".to_owned())),
        };
        let request = SetFreeze { scope, key, frozen: true, force: true, reason: None };
        let Some(engine) = self.engine() else { return };
        let (shared, operator) = (self.shared.clone(), person(&self.watch.workspace, "operator"));
        let (thaw, thawing) =
            (SetFreeze { frozen: false, ..request.clone() }, Arc::downgrade(&engine));
        let by = operator.clone();
        let job = async move {
            shared.sleep(1 + shared.pick(60_000) as u64).await;
            while let Some(engine) = thawing.upgrade() {
                if engine.limits.set_freeze(&by, thaw.clone()).await.is_ok() {
                    return;
                }
                shared.sleep(1_000).await;
            }
        };
        self.shared.spawn(Box::pin(job), Killable::No, None);
        if engine.limits.set_freeze(&operator, request).await.is_ok() {
            self.watch.invariants.storm(storm);
        }
    }
}

pub struct SimClock(pub Arc<Shared>);
#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
    async fn sleep(&self, ms: u64) {
        self.0.sleep(ms).await;
    }
}

pub struct SimIds(pub Arc<Shared>);
impl Ids for SimIds {
    fn id(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.0.rng.lock().unwrap().fill_bytes(&mut bytes);
        bytes
    }
    fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.rng.lock().unwrap().fill_bytes(&mut bytes);
        bytes
    }
}

pub struct SimNotifier(pub Arc<Shared>);
#[async_trait]
impl Notifier for SimNotifier {
    fn committed(&self, _: &WorkspaceId, _: &ExecutionId, _: bool) {}
    async fn wait_until_idle(&self, _: &ExecutionId, ms: u64) {
        self.0.sleep(ms.min(50)).await;
    }
}

/// Failures to advance that may follow the faulty phase; more of them are a defect of the engine.
const FAILURES_MAX: u32 = 50;

/// The state machine: drivers as jobs, tokens as flags.
pub struct SimSignals {
    pub shared: Arc<Shared>,
    watch: Arc<Monitor>,
    pub engine: OnceLock<Weak<Engine>>,
    tokens: Mutex<HashMap<String, (bool, Option<Waker>)>>,
    live: Arc<Mutex<HashMap<ExecutionId, u32>>>,
    own: OnceLock<Weak<Self>>,
}

impl SimSignals {
    pub(crate) fn new(shared: Arc<Shared>, watch: Arc<Monitor>) -> Arc<Self> {
        let signals = Arc::new(Self {
            shared,
            watch,
            engine: OnceLock::new(),
            tokens: Mutex::default(),
            live: Arc::default(),
            own: OnceLock::new(),
        });
        let _ = signals.own.set(Arc::downgrade(&signals));
        signals
    }

    pub fn live(&self, id: &ExecutionId) -> u32 {
        self.live.lock().unwrap().get(id).copied().unwrap_or(0)
    }

    pub fn drive(&self, workspace: &WorkspaceId, id: &ExecutionId) {
        let (own, workspace, id) = (self.own.get().unwrap().clone(), workspace.clone(), id.clone());
        *self.live.lock().unwrap().entry(id.clone()).or_default() += 1;
        let (live, ended) = (self.live.clone(), id.clone());
        let on_end = Box::new(move || *live.lock().unwrap().get_mut(&ended).unwrap() -= 1);
        let job = async move {
            let Some(signals) = own.upgrade() else { return };
            signals.walk(workspace, id).await;
        };
        self.shared.spawn(Box::pin(job), Killable::Yes, Some(on_end));
    }

    // What infra/execution.asl.json says, in Rust.
    async fn walk(&self, workspace: WorkspaceId, id: ExecutionId) {
        let engine = || self.engine.get().and_then(Weak::upgrade).unwrap();
        for _ in 0..200 {
            match engine().plans.compile_task(&workspace, &id).await {
                Ok(Some(_)) => break,
                Ok(None) => return,
                Err(_) => self.shared.sleep(1_000).await,
            }
        }
        for _ in 0..200 {
            match engine().verdicts.verify_task(&workspace, &id).await {
                Ok("advance") => break,
                Ok(_) => return,
                Err(_) => self.shared.sleep(1_000).await,
            }
        }
        for _ in 0..400 {
            let budget = 1_000 + self.shared.pick(60_000) as i64;
            let next = match engine().runs.advance(&workspace, &id, budget).await {
                Ok(next) => next,
                Err(problem) => {
                    if self.shared.is_calm() && self.watch.failed() > FAILURES_MAX {
                        self.watch
                            .invariants
                            .stalled(format!("{id}: when all is calm: {problem:?}"));
                    }
                    self.shared.sleep(1_000).await;
                    continue;
                }
            };
            match next.next {
                engine::NextStep::Continue => {}
                engine::NextStep::Wait => self.shared.sleep(next.seconds as u64 * 1_000).await,
                engine::NextStep::Done | engine::NextStep::Failed | engine::NextStep::Handover => {
                    return;
                }
                engine::NextStep::Blocked => {
                    let token = format!("{id}-{}", self.shared.pick(usize::MAX));
                    self.tokens.lock().unwrap().insert(token.clone(), (false, None));
                    let wait = engine::WaitRequest {
                        token: &token,
                        seen: next.version,
                        seconds: next.seconds,
                    };
                    let registered = engine().waker.register_wait(&workspace, &id, wait).await;
                    if registered.is_ok() {
                        self.wait(&token, next.seconds as u64 * 1_000).await;
                    }
                    self.tokens.lock().unwrap().remove(&token);
                }
            }
        }
    }

    async fn wait(&self, token: &str, ms: u64) {
        let signalled = std::future::poll_fn(|context| {
            let mut tokens = self.tokens.lock().unwrap();
            let entry = tokens.entry(token.to_owned()).or_default();
            entry.1 = Some(context.waker().clone());
            if entry.0 { Poll::Ready(()) } else { Poll::Pending }
        });
        let timer = std::pin::pin!(self.shared.sleep(ms));
        futures_util::future::select(std::pin::pin!(signalled), timer).await;
    }
}

#[async_trait]
impl Orchestrator for SimSignals {
    async fn start(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        _: &str,
    ) -> Result<(), PortError> {
        self.shared.yield_some().await;
        if self.shared.one_in(30) {
            return Err(PortError::Unavailable("simulated: not started".into()));
        }
        self.drive(workspace, id);
        if self.shared.one_in(20) {
            self.drive(workspace, id); // delivered twice
        }
        Ok(())
    }
    async fn succeed(&self, token: &str) -> Result<Signalled, PortError> {
        self.shared.yield_some().await;
        if self.shared.one_in(30) {
            return Err(PortError::Unavailable("simulated: signal lost".into()));
        }
        let mut tokens = self.tokens.lock().unwrap();
        let Some(entry) = tokens.get_mut(token) else { return Ok(Signalled::Gone) };
        entry.0 = true;
        entry.1.take().into_iter().for_each(Waker::wake);
        Ok(Signalled::Delivered)
    }
}

/// The digest of zeros, for approvals of nothing.
pub fn zero() -> Digest {
    Digest::zero()
}
