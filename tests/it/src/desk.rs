//! An engine by hand: its clock is set, its state machine is the test.

use async_trait::async_trait;
use contracts::{ExecutionId, Timestamp, WorkspaceId, command::SubmitIntent, event::ActorKind, governance::SetTrust};
use cs_core::warrant;
use engine::{
    Caller, Config, Engine, NextStep, Ports,
    access::{actor, agent_grants, approver_grants},
    memory::{FixedVaultKey, MemoryBlobs},
    ports::{Clock, Fault, Notifier, Orchestrator, Reply, Signalled, Table, ToolAnswer, ToolCall, Tools},
};
use host::SystemIds;
use local::demo_tools;
use serde_json::{Value, json};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering},
};

/// A clock that moves when it is told to.
pub struct HandClock(AtomicI64);

impl HandClock {
    /// At half past some hour.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_795_001_400_000)))
    }
    /// Moves it on.
    pub fn pass(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
    async fn sleep(&self, ms: u64) {
        self.pass(ms as i64);
        tokio::task::yield_now().await;
    }
}

/// Starts that were asked for, by their names. While `lost`, they come to nothing.
#[derive(Default)]
pub struct Started {
    pub names: Mutex<Vec<String>>,
    pub lost: Mutex<bool>,
}

#[async_trait]
impl Orchestrator for Started {
    async fn start(&self, _: &WorkspaceId, _: &ExecutionId, name: &str) -> Result<(), Fault> {
        if *self.lost.lock().unwrap() {
            return Err(Fault::Unavailable("lost".into()));
        }
        self.names.lock().unwrap().push(name.to_owned());
        Ok(())
    }
    async fn succeed(&self, _: &str) -> Result<Signalled, Fault> {
        Ok(Signalled::Delivered)
    }
}

struct Nobody;

#[async_trait]
impl Notifier for Nobody {
    fn committed(&self, _: &WorkspaceId, _: &ExecutionId, _: bool) {}
    async fn idle(&self, _: &ExecutionId, _: u64) {}
}

struct Customers;

#[async_trait]
impl Tools for Customers {
    async fn call(&self, _: ToolCall) -> ToolAnswer {
        let body = json!({ "id": "c1", "name": "ada", "email": "ada@x.org", "active": true, "notes": "" });
        ToolAnswer::Answered(Reply::new(200, body.to_string()))
    }
}

/// An engine with the crm and payments skills installed.
pub struct Desk {
    pub engine: Arc<Engine>,
    pub clock: Arc<HandClock>,
    pub signals: Arc<Started>,
    pub agent: Caller,
}

impl Desk {
    /// Over a table.
    pub async fn new(table: Arc<dyn Table>) -> Self {
        let (clock, signals) = (HandClock::new(), Arc::new(Started::default()));
        let (engine, agent) = by_hand(table, clock.clone(), signals.clone()).await;
        Self { engine, clock, signals, agent }
    }

    /// Submits a draft's steps.
    pub async fn submit(&self, steps: Value) -> ExecutionId {
        let request = json!({ "text": "do it", "draft": { "steps": steps } });
        let request: SubmitIntent = serde_json::from_value(request).unwrap();
        self.engine.submit(&self.agent, request).await.unwrap().execution_id
    }

    /// Does what the state machine does, once each.
    pub async fn drive(&self, id: &ExecutionId) -> NextStep {
        let workspace = &self.agent.workspace;
        self.engine.compile_task(workspace, id).await.unwrap();
        self.engine.verify_task(workspace, id).await.unwrap();
        self.engine.advance(workspace, id, 60_000).await.unwrap().next
    }
}

/// An engine over a table, a clock and an orchestrator, with the crm and payments skills installed; and a caller who may
/// do everything.
pub async fn by_hand(
    table: Arc<dyn Table>,
    clock: Arc<HandClock>,
    orchestrator: Arc<dyn Orchestrator>,
) -> (Arc<Engine>, Caller) {
    let ports = Ports {
        table,
        blobs: Arc::new(MemoryBlobs::default()),
        tools: Arc::new(Customers),
        orchestrator,
        notifier: Arc::new(Nobody),
        clock,
        ids: Arc::new(SystemIds),
        signer: Arc::new(Arc::new(warrant::Ring::new(warrant::Key::new(&[7; 32])))),
        vault_keys: Arc::new(FixedVaultKey([3; 32])),
    };
    let config = Config { allow_private_targets: true, ..Config::default() };
    let engine = Arc::new(Engine::new(ports, config));
    let workspace: WorkspaceId = "acme".parse().unwrap();
    engine.create_workspace(&workspace).await.unwrap();
    let mut grants = agent_grants();
    grants.extend(approver_grants());
    let agent = Caller {
        workspace,
        actor: actor(ActorKind::Agent, "agent"),
        grants,
        key_id: None,
        key_made_by: None,
        channel: "test".into(),
        traceparent: None,
        idempotency_key: None,
    };
    let trust = SetTrust { trust: demo_tools::trust_policy(), expected_version: None, reason: None };
    engine.set_trust(&agent, trust).await.unwrap();
    for text in
        [include_str!("../../../examples/skills/crm.json"), include_str!("../../../examples/skills/payments.json")]
    {
        let manifest: Value = serde_json::from_str(text).unwrap();
        let request = demo_tools::signed(&manifest, engine.now()).unwrap();
        engine.install_skill(&agent, request).await.unwrap();
    }
    (engine, agent)
}
