//! One run: a workspace, a few executions, people who decide, and the end of it all.

use crate::{
    check,
    exec::{Mortal, Shared, execute},
    ports::*,
};
use contracts::{
    ExecutionId, WorkspaceId,
    command::*,
    draft::Draft,
    event::{ActorKind, Resolution},
    governance::*,
    manifest::Manifest,
    query::{ApprovalView, ExecutionView, GetExecution},
};
use cs_core::publisher::Publisher;
use engine::{
    Caller, Config, Engine, Ports, Steer,
    access::{actor, agent_grants, approver_grants},
    keys,
    memory::{FixedVaultKey, MemoryTable},
    ports::{Condition, Item, Table as _, Write},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::Ordering},
};

/// Simulated time after which no more faults happen.
const STORMY_MS: i64 = 20 * 60_000;
const POLLS_MAX: usize = 400_000;
const DEATH_ONE_IN: u32 = 400;
/// Writes that the workspace may make within a window.
pub(crate) const METER_LIMIT: u64 = 6;
pub(crate) const METER_SECONDS: u64 = 60;

/// What came of a seed.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub violations: Vec<String>,
    pub executions: usize,
    pub commits: u64,
    pub calls: u64,
    pub statuses: Vec<String>,
}

pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: Arc<FaultTable>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) signals: Arc<SimSignals>,
    pub(crate) done: Arc<Mutex<Done>>,
    pub(crate) findings: Arc<Findings>,
    pub(crate) workspace: WorkspaceId,
    pub(crate) executions: Mutex<BTreeSet<ExecutionId>>,
    /// Steps that a person said to try again although their outcome was not known.
    pub(crate) retried: Mutex<BTreeSet<(ExecutionId, String)>>,
    submitted: Mutex<usize>,
}

/// Runs one seed on the table in memory.
pub fn run(seed: u64) -> Outcome {
    run_on(seed, |_| Arc::new(MemoryTable::default()))
}

/// Runs one seed on a store.
pub fn run_on(seed: u64, store: impl FnOnce(&Arc<Shared>) -> Arc<dyn Store>) -> Outcome {
    let shared = Shared::new(seed);
    let findings = Arc::new(Findings::default());
    let table = Arc::new(FaultTable {
        inner: store(&shared),
        shared: shared.clone(),
        findings: findings.clone(),
        commits: Mutex::default(),
        applying: Mutex::default(),
    });
    let done: Arc<Mutex<Done>> = Arc::default();
    let tools = Arc::new(SimTools {
        shared: shared.clone(),
        done: done.clone(),
        findings: findings.clone(),
        table: table.clone(),
        engine: Default::default(),
    });
    let signals = SimSignals::new(shared.clone());
    let ports = Ports {
        table: table.clone(),
        blobs: blobs(),
        tools: tools.clone(),
        orchestrator: signals.clone(),
        notifier: Arc::new(SimNotifier(shared.clone())),
        clock: Arc::new(SimClock(shared.clone())),
        ids: Arc::new(SimIds(shared.clone())),
        signer: Arc::new(Arc::new(ring())),
        vault_keys: Arc::new(FixedVaultKey([3; 32])),
    };
    let config = Config { allow_private_targets: true, ..Config::default() };
    let engine = Arc::new(Engine::new(ports, config));
    let _ = tools.engine.set(Arc::downgrade(&engine));
    let _ = signals.engine.set(Arc::downgrade(&engine));
    let workspace: WorkspaceId = "acme".parse().unwrap();
    let world = Arc::new(World {
        shared: shared.clone(),
        table,
        engine,
        signals,
        done,
        findings,
        workspace,
        executions: Mutex::default(),
        retried: Mutex::default(),
        submitted: Mutex::default(),
    });
    let count = 1 + shared.pick(3);
    spawn(&world, setup(world.clone(), count));
    let start = shared.now().ms();
    let (watch, all) = (world.clone(), count);
    let polls = execute(&shared, POLLS_MAX, DEATH_ONE_IN, move || {
        if watch.shared.now().ms() - start > STORMY_MS {
            watch.shared.calm.store(true, Ordering::SeqCst);
        }
        watch.finished(all)
    });
    shared.calm.store(true, Ordering::SeqCst);
    if !world.finished(count) {
        let why = if polls == POLLS_MAX { "it never ends" } else { "nobody goes on" };
        world.findings.add("progress", format!("{why}: {:?}", check::statuses(&world)));
    }
    check::all(&world);
    let executions = world.executions.lock().unwrap().len();
    let commits = *world.table.commits.lock().unwrap();
    let calls = world.done.lock().unwrap().calls;
    Outcome { seed, violations: world.findings.take(), executions, commits, calls, statuses: check::statuses(&world) }
}

fn spawn(world: &World, job: impl Future<Output = ()> + Send + 'static) {
    world.shared.spawn(Box::pin(job), Mortal::No, None);
}

pub(crate) fn caller(world: &World, kind: ActorKind, id: &str, key: Option<String>) -> Caller {
    let grants = if kind == ActorKind::Human { approver_grants() } else { agent_grants() };
    let mut grants = grants;
    grants.extend(agent_grants());
    Caller {
        workspace: world.workspace.clone(),
        actor: actor(kind, id),
        grants,
        key_id: None,
        key_made_by: None,
        channel: "sim".into(),
        traceparent: None,
        idempotency_key: key,
    }
}

impl World {
    fn finished(&self, count: usize) -> bool {
        *self.submitted.lock().unwrap() == count
            && check::statuses(self)
                .iter()
                .all(|status| matches!(status.as_str(), "completed" | "failed" | "cancelled" | "rejected"))
    }
}

async fn setup(world: Arc<World>, count: usize) {
    while world.engine.create_workspace(&world.workspace).await.is_err() {}
    hurry(&world).await;
    let publisher = Publisher::from_secret(&[9; 32]);
    let person = caller(&world, ActorKind::Human, "person", Some("trust".into()));
    let trusted = TrustedPublisher {
        id: "sim".into(),
        keys: vec![publisher.pinned()],
        provenance_prefixes: vec!["sim".into()],
    };
    let trust = TrustPolicy { trusted_publishers: vec![trusted], ..TrustPolicy::default() };
    let trust = SetTrust { trust, expected_version: None, reason: None };
    while let Err(problem) = world.engine.set_trust(&person, trust.clone()).await {
        assert!(problem.status >= 500 || problem.retryable, "{problem:?}");
    }
    let manifest: Manifest = serde_json::from_value(manifest()).unwrap();
    let now = world.engine.now();
    let request = publisher.sign(manifest, b"", now.plus_ms(-1_000), now.plus_ms(400 * 86_400_000)).unwrap();
    while let Err(problem) = world.engine.install_skill(&person, request.clone()).await {
        assert!(problem.status >= 500 || problem.retryable, "{problem:?}");
    }
    let meter = Meter {
        id: "writes".into(),
        scope: MeterScope::Workspace,
        measure: Measure::Writes,
        window_seconds: METER_SECONDS,
        limit: Some(METER_LIMIT),
        only: Vec::new(),
    };
    let budgets = SetBudgets { budgets: Budgets { plan: None, meters: vec![meter] }, force: false, reason: None };
    while let Err(problem) = world.engine.set_budgets(&person, budgets.clone()).await {
        assert!(problem.status >= 500 || problem.retryable, "{problem:?}");
    }
    for index in 0..count {
        spawn(&world, submit(world.clone(), index));
    }
    spawn(&world, sweep(world.clone()));
    spawn(&world, freezer(world.clone()));
}

// The baseline with approvals that live so shortly that some expire.
async fn hurry(world: &World) {
    let text = policy::BASELINE.replace("@id(\"baseline.assist\")", "@id(\"baseline.assist\") @expires(\"40s\")");
    let record = engine::PolicyRecord {
        digest: cs_core::canonical::digest_bytes(text.as_bytes()),
        text,
        activated_at: world.shared.now(),
        actor_id: "sim".into(),
        note: None,
    };
    let put =
        |key, body| Write::Put { key, item: Item { version: 1, body, ..Item::default() }, condition: Condition::Any };
    let active = engine::ActivePolicy { digest: record.digest.clone() };
    let writes = vec![
        put(keys::policy_active(&world.workspace), serde_json::to_vec(&active).unwrap()),
        put(keys::policy(&world.workspace, &record.digest), serde_json::to_vec(&record).unwrap()),
    ];
    while world.table.transact(writes.clone()).await.is_err() {}
}

async fn submit(world: Arc<World>, index: usize) {
    let agent = caller(&world, ActorKind::Agent, "agent", Some(format!("submit-{index}")));
    let draft: Draft = serde_json::from_value(draft(&world.shared)).unwrap();
    let request = SubmitIntent {
        text: "do the work".into(),
        draft: Some(draft),
        playbook: None,
        mode: Default::default(),
        channel_key: None,
        metadata: None,
        trace_id: None,
        workspace_id: None,
        on_behalf_of: None,
    };
    // INVARIANT same-command-twice: repeated until it answers, and once more.
    let mut answers = Vec::new();
    while answers.len() < 2 {
        match world.engine.submit(&agent, request.clone()).await {
            Ok(answer) => answers.push(answer),
            Err(problem) => assert!(problem.status >= 500 || problem.retryable, "{problem:?}"),
        }
        world.shared.sleep(100).await;
    }
    if answers[0] != answers[1] {
        world.findings.add("same-command-twice", "a repeated submit answered otherwise");
    }
    let id = answers[0].execution_id.clone();
    world.executions.lock().unwrap().insert(id.clone());
    *world.submitted.lock().unwrap() += 1;
    spawn(&world, people(world.clone(), id));
}

// Executions whose driver died are driven again; now and then one that has a driver, too.
async fn sweep(world: Arc<World>) {
    loop {
        world.shared.sleep(20_000).await;
        if let Ok(open) = world.engine.open_executions().await {
            for (workspace, id) in open {
                if world.signals.live(&id) == 0 || world.shared.one_in(20) {
                    world.signals.drive(&workspace, &id);
                }
            }
        }
    }
}

async fn freezer(world: Arc<World>) {
    loop {
        world.shared.sleep(1 + world.shared.pick(200_000) as u64).await;
        let (scope, key) = match world.shared.pick(4) {
            0 => (FreezeScope::Workspace, None),
            1 => (FreezeScope::Skill, Some("tool".to_owned())),
            2 => (FreezeScope::Operation, Some("tool/put".to_owned())),
            _ => (FreezeScope::Actor, Some("agent".to_owned())),
        };
        let person = caller(&world, ActorKind::Human, "operator", None);
        // Whatever is frozen is thawed in time.
        for frozen in [true, false] {
            let request = SetFreeze { scope, key: key.clone(), frozen, force: true, reason: None };
            while world.engine.set_freeze(&person, request.clone()).await.is_err() {
                world.shared.sleep(1_000).await;
            }
            world.shared.sleep(1 + world.shared.pick(60_000) as u64).await;
        }
    }
}

async fn people(world: Arc<World>, id: ExecutionId) {
    loop {
        let pause = if world.shared.is_calm() { 5_000 } else { 1 + world.shared.pick(60_000) as u64 };
        world.shared.sleep(pause).await;
        let person = caller(&world, ActorKind::Human, "grace", None);
        let request =
            GetExecution { execution_id: id.clone(), wait_seconds: None, include_plan: false, include_view: None };
        let Ok(answer) = world.engine.get(&person, request).await else { continue };
        let view = answer.execution;
        if matches!(view.status.as_str(), "completed" | "rejected" | "cancelled") {
            return;
        }
        if view.status == "failed" {
            if !world.shared.one_in(2) {
                return;
            }
            let request = RetryExecution { execution_id: id.clone(), reason: None, step_id: None };
            let _ = world.engine.retry(&person, request).await;
            continue;
        }
        act(&world, &person, &id, &view).await;
    }
}

async fn act(world: &World, person: &Caller, id: &ExecutionId, view: &ExecutionView) {
    let engine = &world.engine;
    let steer = || SteerExecution { execution_id: id.clone(), reason: None };
    if view.status == "paused" {
        let _ = engine.steer(person, steer(), Steer::Resume).await;
        return;
    }
    if world.shared.one_in(25) {
        let _ = engine.steer(person, steer(), Steer::Pause).await;
        return;
    }
    if world.shared.one_in(40) {
        let compensate = world.shared.one_in(2);
        let _ = engine.cancel(person, CancelExecution { execution_id: id.clone(), reason: None, compensate }).await;
        return;
    }
    if world.shared.one_in(80) {
        let _ = engine.steer(person, steer(), Steer::Abort).await;
        return;
    }
    for step in view.steps.iter().filter(|step| matches!(step.status.as_str(), "in_doubt" | "stuck")) {
        resolve(world, person, id, step.step_id.as_str(), view).await;
    }
    let open: Vec<_> = view.approvals.iter().filter(|approval| approval.status == "requested").collect();
    if !open.is_empty() && !world.shared.one_in(4) {
        for approval in open {
            if approval.view.is_none() {
                world.findings.add("seen-is-signed", "an open approval shows nothing");
            }
            decide(world, person, id, approval).await;
        }
    } else if view.status == "blocked" {
        let expired = view.steps.iter().any(|step| {
            step.waits_for.is_some_and(|reason| reason == contracts::event::BlockReason::ApprovalExpired)
        });
        let over = view
            .steps
            .iter()
            .any(|step| step.waits_for.is_some_and(|reason| reason == contracts::event::BlockReason::BudgetExceeded));
        if expired {
            let request = RetryExecution { execution_id: id.clone(), reason: None, step_id: None };
            let _ = engine.retry(person, request).await;
        } else if over {
            let request = CancelExecution { execution_id: id.clone(), reason: None, compensate: false };
            let _ = engine.cancel(person, request).await;
        }
    }
}

// A person decides on one open request, mostly on what is shown.
async fn decide(world: &World, person: &Caller, id: &ExecutionId, approval: &ApprovalView) {
    let engine = &world.engine;
    if world.shared.one_in(15) {
        let request = RejectExecution {
            execution_id: id.clone(),
            step_id: approval.step_id.clone(),
            view_digest: Some(approval.view_digest.clone()),
            reason: "no".into(),
        };
        let _ = engine.reject(person, request).await;
        return;
    }
    let stale = world.shared.one_in(10);
    let binding_digest = if stale { zero() } else { approval.binding_digest.clone() };
    let unseen = world.shared.one_in(10);
    let view_digest = if unseen { zero() } else { approval.view_digest.clone() };
    let wrong = stale || unseen;
    {
        let own = caller(world, ActorKind::Service, "agent", None);
        let request = ApproveExecution {
            execution_id: id.clone(),
            step_id: approval.step_id.clone(),
            binding_digest,
            view_digest: Some(view_digest),
            note: None,
        };
        if engine.approve(&own, request.clone()).await.is_ok() {
            world.findings.add("approval-binds-digest", "the requester approved");
        }
        if engine.approve(person, request.clone()).await.is_ok() && wrong {
            world.findings.add("approval-binds-digest", "a wrong digest was approved");
        }
        if engine.approve(person, request).await.is_ok() && !wrong && world.shared.is_calm() {
            world.findings.add("same-command-twice", "approved twice");
        }
    }
}

// A person looks at the tool's own books and says what became of the call.
async fn resolve(world: &World, person: &Caller, id: &ExecutionId, step: &str, view: &ExecutionView) {
    let state = view.steps.iter().find(|view| view.step_id.as_str() == step).unwrap();
    let key = cs_core::canonical::digest_parts(&[
        id.as_str().as_bytes(),
        view.plan_digest.as_ref().unwrap().as_str().as_bytes(),
        step.as_bytes(),
    ]);
    let happened = world.done.lock().unwrap().effects.iter().any(|((_, effect), _)| effect == key.hex());
    let stuck = state.status == "stuck";
    // What would undo it exceeds the plan's budget, and will each time.
    let over = state.waits_for == Some(contracts::event::BlockReason::BudgetExceeded);
    let (outcome, evidence) = match (stuck, happened) {
        (true, _) if over => (Resolution::Failed, None),
        (true, _) => (Resolution::Retry, None),
        (false, true) => (Resolution::Completed, Some(json!({ "id": "by hand" }))),
        (false, false) if world.shared.one_in(2) => (Resolution::Retry, None),
        (false, false) => (Resolution::Failed, None),
    };
    if outcome == Resolution::Retry && !stuck {
        world.retried.lock().unwrap().insert((id.clone(), step.to_owned()));
    }
    let request = ResolveStep { execution_id: id.clone(), step_id: step.parse().unwrap(), outcome, evidence };
    let _ = world.engine.resolve(person, request).await;
}

fn manifest() -> Value {
    let object = |properties: Value, required: Value| json!({ "type": "object", "properties": properties, "required": required });
    let any = object(json!({ "n": {}, "from": {}, "card": { "type": "string", "x-sensitive": true } }), json!([]));
    let out = object(json!({ "id": { "type": "string" } }), json!(["id"]));
    let operation = |key: &str, effect: &str, tier: &str, output: &Value| {
        json!({ "key": key, "title": key, "inputSchema": any, "outputSchema": output, "effect": effect,
            "riskTier": tier, "timeoutSeconds": 30, "binding": { "kind": "http", "url": format!("http://tool/{key}") },
            "labels": { "accepts": [] }, "retry": { "maxAttempts": if effect == "non_idempotent" { 1 } else { 6 },
            "backoffSeconds": 1, "maxBackoffSeconds": 8 } })
    };
    let secret = object(
        json!({ "id": { "type": "string" }, "secret": { "type": "string", "x-sensitive": true } }),
        json!(["id"]),
    );
    let mut put = operation("put", "idempotent", "low", &out);
    put["compensate"] = json!({ "operation": "unput", "input": { "from": "/output/id" } });
    let mut paid = operation("paid", "non_idempotent", "low", &out);
    paid["probe"] = "probe".into();
    let mut probe = operation(
        "probe",
        "read",
        "low",
        &object(json!({ "found": { "type": "boolean" }, "output": {} }), json!(["found"])),
    );
    probe["inputSchema"] = object(json!({ "idempotencyKey": { "type": "string" } }), json!(["idempotencyKey"]));
    json!({ "schemaVersion": "1.0.0", "skill": { "key": "tool", "version": "1.0.0" },
        "publisher": { "id": "sim", "provenance": "sim" }, "artifact": { "digest": zero() },
        "operations": [
            operation("read", "read", "low", &secret), put, operation("unput", "idempotent", "low", &out),
            operation("pay", "non_idempotent", "low", &out), paid, probe,
            operation("grave", "idempotent", "high", &out), operation("medium", "idempotent", "medium", &out),
        ] })
}

fn draft(shared: &Shared) -> Value {
    let count = 1 + shared.pick(9);
    let mut steps: Vec<Value> = Vec::new();
    for index in 0..count {
        let operation = ["read", "read", "put", "put", "pay", "paid", "grave", "medium"][shared.pick(8)];
        let mut with = json!({ "n": index, "card": format!("S3CRET-{index}") });
        let mut step = json!({ "id": format!("s{index}"), "use": format!("tool/{operation}") });
        if index > 0 && shared.pick(3) > 0 {
            let from = format!("s{}", shared.pick(index));
            if shared.pick(2) == 0 {
                with["from"] = json!({ "$from": from, "path": "/id" });
            } else {
                step["after"] = json!([from]);
            }
            if shared.pick(6) == 0 {
                step["when"] = json!({ "$from": from, "path": "/id", "exists": shared.pick(3) > 0 });
            }
        }
        step["with"] = with;
        steps.push(step);
    }
    let mut draft = json!({ "steps": steps });
    if shared.pick(3) == 0 {
        draft["onFailure"] = "compensate".into();
    }
    if shared.pick(4) == 0 {
        draft["budget"] = json!({ "writes": count });
    }
    draft
}
