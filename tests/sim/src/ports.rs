//! The world, with faults.

use crate::exec::{Mortal, Shared};
use async_trait::async_trait;
use contracts::{
    Digest, ExecutionId, Timestamp, WorkspaceId,
    event::{Entry, Event, Purpose},
    manifest::Binding,
};
use cs_core::warrant::{self, Expected, Ring, verify};
use engine::{
    Engine, keys,
    memory::{MemoryBlobs, MemoryTable},
    ports::*,
};
use rand::RngCore as _;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, OnceLock, Weak},
    task::{Poll, Waker},
};

/// What the warrants of every seed are signed with.
pub(crate) fn ring() -> Ring {
    Ring::new(warrant::Key::new(&[9; 32]))
}

/// Violations found while running.
#[derive(Default)]
pub struct Findings(Mutex<BTreeSet<String>>);

impl Findings {
    pub fn add(&self, invariant: &str, what: impl std::fmt::Display) {
        self.0.lock().unwrap().insert(format!("{invariant}: {what}"));
    }
    pub fn take(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().cloned().collect()
    }
}

/// A table that shows everything it holds.
pub trait Store: Table {
    fn dump(&self) -> BTreeMap<Key, Item>;
    /// It fails on its own; no faults are added.
    fn fails(&self) -> bool {
        false
    }
}

impl Store for MemoryTable {
    fn dump(&self) -> BTreeMap<Key, Item> {
        self.dump()
    }
}

/// A store behind a network that fails.
pub struct FaultTable {
    pub inner: Arc<dyn Store>,
    pub shared: Arc<Shared>,
    pub findings: Arc<Findings>,
    pub commits: Mutex<u64>,
    /// What the transactions that are being applied will replace: a query may see some of it still, as DynamoDB's do.
    pub applying: Mutex<Vec<Replaced>>,
}

/// Items before a transaction.
type Replaced = BTreeMap<Key, Option<Item>>;

#[async_trait]
impl Table for FaultTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Fault> {
        self.shared.yield_some().await;
        if self.fails(300) {
            return Err(Fault::Unavailable("simulated read".into()));
        }
        self.inner.get(key).await
    }
    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, Fault> {
        self.shared.yield_some().await;
        if self.fails(300) {
            return Err(Fault::Unavailable("simulated query".into()));
        }
        let found = self.inner.query(query).await?;
        Ok(self.half_applied(query, found))
    }
    async fn transact(&self, writes: Vec<Write>) -> Result<(), NotCommitted> {
        self.shared.yield_some().await;
        if self.fails(60) {
            return Err(Fault::Unavailable("simulated: not committed".into()).into());
        }
        self.inspect(&writes).await;
        let dump = self.inner.dump();
        let changed = writes.iter().filter(|write| !matches!(write, Write::Check { .. }));
        let before: Replaced = changed.map(|write| (write.key().clone(), dump.get(write.key()).cloned())).collect();
        let outcome = self.inner.transact(writes).await;
        if outcome.is_ok() {
            *self.commits.lock().unwrap() += 1;
            let applied = Applying { table: self, first: before.keys().next().cloned() };
            self.applying.lock().unwrap().push(before);
            self.shared.yield_some().await;
            drop(applied);
        }
        self.shared.yield_some().await;
        if self.fails(60) {
            return Err(Fault::Unavailable("simulated: perhaps committed".into()).into());
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
        self.table.applying.lock().unwrap().retain(|before| before.keys().next() != self.first.as_ref());
    }
}

impl FaultTable {
    // INVARIANT replayable, fail-closed: nobody may act on a state that never was.
    fn half_applied(&self, query: &Query, found: Vec<(Key, Item)>) -> Vec<(Key, Item)> {
        let applying = self.applying.lock().unwrap();
        let here = |key: &Key| key.partition == query.partition && key.sort >= query.from && key.sort < query.to;
        let mut of = applying.iter().filter(|before| before.keys().any(here));
        let (Some(before), None, false) = (of.next(), of.next(), query.reverse || query.limit < found.len()) else {
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

    fn fails(&self, one_in: u32) -> bool {
        !self.inner.fails() && self.shared.one_in(one_in)
    }

    // What must hold of every transaction that would commit.
    async fn inspect(&self, writes: &[Write]) {
        let dump = self.inner.dump();
        if !writes.iter().all(|write| engine::memory::holds(write.condition(), dump.get(write.key()))) {
            return;
        }
        let workspaces: BTreeSet<&str> =
            writes.iter().filter_map(|write| write.key().partition.strip_prefix("ws#")?.split('#').next()).collect();
        if workspaces.len() > 1 {
            self.findings.add("tenant-walls", format!("one transaction writes to {workspaces:?}"));
        }
        for write in writes {
            let key = write.key();
            let event = key.sort.starts_with("e#");
            if event && (dump.contains_key(key) || !matches!(write, Write::Put { .. })) {
                self.findings.add("append-only", format!("{} is written again", key.sort));
            }
            let Write::Put { item, .. } = write else { continue };
            let Some(entry) = event.then(|| serde_json::from_slice::<Entry>(&item.body).ok()).flatten() else {
                continue;
            };
            if let Event::StepStarted(data) = entry.event {
                let workspace: WorkspaceId = workspaces.iter().next().unwrap().parse().unwrap();
                let frozen =
                    dump.get(&keys::settings(&workspace)).and_then(|item| item.fields.get("frozen")) == Some(&1);
                if frozen && data.purpose == Purpose::Run {
                    self.findings
                        .add("claim-is-one-transaction", format!("{} begins in a frozen workspace", data.step_id));
                }
            }
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
    async fn idle(&self, _: &ExecutionId, ms: u64) {
        self.0.sleep(ms.min(50)).await;
    }
}

/// What a tool was asked and did.
#[derive(Default)]
pub struct Done {
    /// By operation and idempotency key: how often it took effect.
    pub effects: BTreeMap<(String, String), u32>,
    /// Keys whose tool refused with 4xx: known to have had no effect.
    pub refused: BTreeSet<String>,
    answers: HashMap<String, Value>,
    pub calls: u64,
}

/// Tools that are slow, fail, and lose answers.
pub struct SimTools {
    pub shared: Arc<Shared>,
    pub done: Arc<Mutex<Done>>,
    pub findings: Arc<Findings>,
    pub table: Arc<FaultTable>,
    pub engine: OnceLock<Weak<Engine>>,
}

#[async_trait]
impl Tools for SimTools {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        let header = |name: &str| {
            call.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let Binding::Http { url, .. } = &call.binding else { return ToolAnswer::Forbidden("binding".into()) };
        let operation = url.trim_start_matches("http://tool/").to_owned();
        let (key, warrant) = (header("idempotency-key"), header("countersign-warrant"));
        self.done.lock().unwrap().calls += 1;
        self.claimed(&operation, &warrant, &call.body);
        let input: Value = serde_json::from_slice(&call.body).unwrap();
        self.shared.yield_some().await;
        if self.shared.one_in(25) {
            return ToolAnswer::Unreached("simulated: refused connection".into());
        }
        if self.shared.one_in(25) {
            return ToolAnswer::Lost("simulated: lost on the way there".into());
        }
        if self.shared.one_in(8) {
            self.shared.sleep(1 + self.shared.pick(20_000) as u64).await;
        }
        if self.shared.one_in(40) {
            self.done.lock().unwrap().refused.insert(key);
            return ToolAnswer::Answered { status: 422, body: b"{}".to_vec() };
        }
        if self.shared.one_in(20) && operation != "probe" {
            self.call_back(operation, key, input, header("countersign-callback"), warrant);
            return ToolAnswer::Answered { status: 202, body: Vec::new() };
        }
        let output = perform(&self.done, &operation, &key, &input);
        self.shared.yield_some().await;
        if self.shared.one_in(15) {
            return ToolAnswer::Lost("simulated: lost on the way back".into());
        }
        if self.shared.one_in(40) {
            return ToolAnswer::Answered { status: 503, body: Vec::new() };
        }
        ToolAnswer::Answered { status: 200, body: output.to_string().into_bytes() }
    }
}

impl SimTools {
    // INVARIANT no-effect-without-plan: the claim that this call belongs to is in the table before the call.
    fn claimed(&self, operation: &str, carried: &str, input: &[u8]) {
        let now = self.shared.now().ms() / 1_000;
        // Skill and operations have one name here.
        let name = format!("tool/{operation}");
        let expected = Expected { audience: "http://tool", operation: &name, input, now };
        let claims = match verify(carried, &ring().key_set(), &expected) {
            Ok(claims) => claims,
            Err(error) => return self.findings.add("no-effect-without-plan", format!("{operation}: {error}")),
        };
        let partition = keys::execution(&claims.ws.parse().unwrap(), &claims.exe.parse().unwrap());
        let started = self.table.inner.dump().into_iter().any(|(key, item)| {
            key.partition == partition
                && key.sort.starts_with("e#")
                && serde_json::from_slice::<Entry>(&item.body).is_ok_and(|entry| match entry.event {
                    Event::StepStarted(data) => {
                        data.step_id.as_str() == claims.step
                            && data.attempt == claims.att
                            && data.input_digest.as_str() == claims.inp
                    }
                    _ => false,
                })
        });
        if !started {
            self.findings.add("no-effect-without-plan", format!("{operation} of {} was not claimed", claims.step));
        }
    }

    fn call_back(&self, operation: String, key: String, input: Value, callback: String, warrant: String) {
        let (shared, done, engine) = (self.shared.clone(), self.done.clone(), self.engine.get().unwrap().clone());
        let job = async move {
            shared.sleep(1 + shared.pick(200_000) as u64).await;
            let output = perform(&done, &operation, &key, &input);
            let parts: Vec<&str> = callback.split('/').collect();
            let (id, step) = (parts[parts.len() - 4].parse().unwrap(), parts[parts.len() - 2].parse().unwrap());
            // A tool repeats its callback until it is taken, and sometimes after.
            for _ in 0..20 {
                let Some(engine) = engine.upgrade() else { return };
                let answer = match engine.callback_claims(&id, &step, Some(&warrant)).await {
                    Ok(claims) => engine.callback(&id, &step, &claims, json!({ "output": output })).await,
                    Err(problem) => Err(problem),
                };
                let taken = answer.is_ok() || answer.is_err_and(|problem| problem.status < 500);
                if taken && !shared.one_in(5) {
                    return;
                }
                shared.sleep(1_000).await;
            }
        };
        self.shared.spawn(Box::pin(job), Mortal::No, None);
    }
}

fn perform(done: &Mutex<Done>, operation: &str, key: &str, input: &Value) -> Value {
    let mut done = done.lock().unwrap();
    if operation == "probe" {
        let wanted = input["idempotencyKey"].as_str().unwrap_or_default().trim_start_matches("sha256:").to_owned();
        return match done.answers.get(&format!("paid {wanted}")) {
            Some(output) => json!({ "found": true, "output": output }),
            None => json!({ "found": false }),
        };
    }
    if operation == "read" {
        return json!({ "id": format!("c-{}", input["n"]), "secret": "S3CRET-OUT" });
    }
    let stored = format!("{operation} {key}");
    let honours = operation != "pay" && operation != "paid";
    if honours && let Some(answer) = done.answers.get(&stored) {
        return answer.clone();
    }
    *done.effects.entry((operation.to_owned(), key.to_owned())).or_default() += 1;
    let output = json!({ "id": format!("{operation}-{}", &key[..8]) });
    done.answers.insert(stored, output.clone());
    output
}

/// The state machine: drivers as jobs, tokens as flags.
pub struct SimSignals {
    pub shared: Arc<Shared>,
    pub engine: OnceLock<Weak<Engine>>,
    tokens: Mutex<HashMap<String, (bool, Option<Waker>)>>,
    live: Arc<Mutex<HashMap<ExecutionId, u32>>>,
    own: OnceLock<Weak<Self>>,
}

impl SimSignals {
    pub fn new(shared: Arc<Shared>) -> Arc<Self> {
        let signals = Arc::new(Self {
            shared,
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
        self.shared.spawn(Box::pin(job), Mortal::Yes, Some(on_end));
    }

    // What infra/execution.asl.json says, in Rust.
    async fn walk(&self, workspace: WorkspaceId, id: ExecutionId) {
        let engine = || self.engine.get().and_then(Weak::upgrade).unwrap();
        for _ in 0..200 {
            match engine().compile_task(&workspace, &id).await {
                Ok(true) => break,
                Ok(false) => return,
                Err(_) => self.shared.sleep(1_000).await,
            }
        }
        for _ in 0..200 {
            match engine().verify_task(&workspace, &id).await {
                Ok("advance") => break,
                Ok(_) => return,
                Err(_) => self.shared.sleep(1_000).await,
            }
        }
        for _ in 0..400 {
            let budget = 1_000 + self.shared.pick(60_000) as i64;
            let next = match engine().advance(&workspace, &id, budget).await {
                Ok(next) => next,
                Err(_) => {
                    self.shared.sleep(1_000).await;
                    continue;
                }
            };
            match next.next {
                engine::NextStep::Continue => {}
                engine::NextStep::Wait => self.shared.sleep(next.seconds as u64 * 1_000).await,
                engine::NextStep::Done | engine::NextStep::Failed | engine::NextStep::Handover => return,
                engine::NextStep::Blocked => {
                    let token = format!("{id}-{}", self.shared.pick(usize::MAX));
                    self.tokens.lock().unwrap().insert(token.clone(), (false, None));
                    let wait = engine::WaitRequest { token: &token, seen: next.version, seconds: next.seconds };
                    let registered = engine().register_wait(&workspace, &id, wait).await;
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
    async fn start(&self, workspace: &WorkspaceId, id: &ExecutionId, _: &str) -> Result<(), Fault> {
        self.shared.yield_some().await;
        if self.shared.one_in(30) {
            return Err(Fault::Unavailable("simulated: not started".into()));
        }
        self.drive(workspace, id);
        if self.shared.one_in(20) {
            self.drive(workspace, id); // delivered twice
        }
        Ok(())
    }
    async fn succeed(&self, token: &str) -> Result<Signalled, Fault> {
        self.shared.yield_some().await;
        if self.shared.one_in(30) {
            return Err(Fault::Unavailable("simulated: signal lost".into()));
        }
        let mut tokens = self.tokens.lock().unwrap();
        let Some(entry) = tokens.get_mut(token) else { return Ok(Signalled::Gone) };
        entry.0 = true;
        entry.1.take().into_iter().for_each(Waker::wake);
        Ok(Signalled::Delivered)
    }
}

pub fn blobs() -> Arc<dyn Blobs> {
    Arc::new(MemoryBlobs::default())
}

/// The digest of zeros, for approvals of nothing.
pub fn zero() -> Digest {
    Digest::zero()
}
