//! An engine without a server: the test sets its clock and drives its executions.

use async_trait::async_trait;
use contracts::{
    ExecutionId, Timestamp, WorkspaceId, command::SubmitIntent, event::ActorKind,
    governance::SetTrust,
};
use countersign_store::{Clock, Notifier, PortError, Table, memory::MemoryBlobs};
use cs_core::{mail::MailAddress, warrant};
use engine::{
    Caller, Config, Engine, FixedVaultKey, NextStep, Ports, actor, agent_grants, approver_grants,
    ports::{
        IdentityProvider, Mail, MailError, Mailer, Orchestrator, ProviderError, ProviderIdentity,
        SignInBegun, SignInReturned, Signalled, ToolAnswer, ToolCall, Tools,
    },
};
use host::SystemIds;
use local::demo_tools;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

/// A clock that the test moves.
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

/// Records requested starts by their names. While `lost` is set, they fail.
#[derive(Default)]
pub struct Started {
    pub names: Mutex<Vec<String>>,
    pub lost: Mutex<bool>,
}

#[async_trait]
impl Orchestrator for Started {
    async fn start(&self, _: &WorkspaceId, _: &ExecutionId, name: &str) -> Result<(), PortError> {
        if *self.lost.lock().unwrap() {
            return Err(PortError::Unavailable("lost".into()));
        }
        self.names.lock().unwrap().push(name.to_owned());
        Ok(())
    }
    async fn succeed(&self, _: &str) -> Result<Signalled, PortError> {
        Ok(Signalled::Delivered)
    }
}

struct SilentNotifier;

#[async_trait]
impl Notifier for SilentNotifier {
    fn committed(&self, _: &WorkspaceId, _: &ExecutionId, _: bool) {}
    async fn wait_until_idle(&self, _: &ExecutionId, _: u64) {}
}

/// The example tools: everybody is Ada.
pub struct Customers;

#[async_trait]
impl Tools for Customers {
    async fn call(&self, _: ToolCall) -> ToolAnswer {
        let body =
            json!({ "id": "c1", "name": "ada", "email": "ada@x.org", "active": true, "notes": "" });
        ToolAnswer::Output(body.to_string().into_bytes())
    }
}

/// A mail server: what it took, and what it says instead.
pub struct Mails {
    from: MailAddress,
    sent: Mutex<Vec<Mail>>,
    /// To whom mails are not taken, and why.
    refused: Mutex<BTreeMap<MailAddress, MailError>>,
}

impl Default for Mails {
    fn default() -> Self {
        let from = "countersign@example.com".parse().unwrap();
        Self { from, sent: Mutex::default(), refused: Mutex::default() }
    }
}

impl Mails {
    /// What was taken.
    pub fn sent(&self) -> Vec<Mail> {
        self.sent.lock().unwrap().clone()
    }
    /// From now on nothing is taken for this address, or everything again.
    pub fn refuse(&self, to: &str, error: Option<MailError>) {
        let (to, mut refused) = (to.parse().unwrap(), self.refused.lock().unwrap());
        match error {
            Some(error) => _ = refused.insert(to, error),
            None => _ = refused.remove(&to),
        }
    }
}

#[async_trait]
impl Mailer for Mails {
    fn sender(&self) -> Option<&MailAddress> {
        Some(&self.from)
    }
    async fn send(&self, mail: Mail) -> Result<(), MailError> {
        if let Some(error) = self.refused.lock().unwrap().get(&mail.to) {
            return Err(error.clone());
        }
        self.sent.lock().unwrap().push(mail);
        Ok(())
    }
}

/// Where the engine says that it is.
pub const PUBLIC_URL: &str = "http://127.0.0.1:7411";
/// Whose codes the engine's provider believes.
pub const ISSUER: &str = "https://id.example";

/// A provider that believes each code: it is the subject.
pub struct TrustedCodes;

#[async_trait]
impl IdentityProvider for TrustedCodes {
    async fn begin(&self, begun: SignInBegun) -> Result<String, ProviderError> {
        Ok(format!("{ISSUER}/authorize?state={}", begun.state))
    }
    async fn finish(&self, returned: SignInReturned) -> Result<ProviderIdentity, ProviderError> {
        let (issuer, subject) = (ISSUER.to_owned(), returned.code);
        Ok(ProviderIdentity { issuer, subject, name: None, groups: Default::default() })
    }
}

/// An engine with the crm and payments skills installed.
pub struct EngineFixture {
    pub engine: Arc<Engine>,
    pub clock: Arc<HandClock>,
    pub signals: Arc<Started>,
    pub mails: Arc<Mails>,
    pub agent: Caller,
}

impl EngineFixture {
    /// Over a table.
    pub async fn new(table: Arc<dyn Table>) -> Self {
        Self::with_tools(table, Arc::new(Customers)).await
    }

    /// Over a table, with tools of its own.
    pub async fn with_tools(table: Arc<dyn Table>, tools: Arc<dyn Tools>) -> Self {
        let (clock, signals) = (HandClock::new(), Arc::new(Started::default()));
        let mails = Arc::new(Mails::default());
        let (engine, agent) =
            by_hand(table, clock.clone(), signals.clone(), tools, mails.clone()).await;
        Self { engine, clock, signals, mails, agent }
    }

    /// Submits a draft's steps.
    pub async fn submit(&self, steps: Value) -> ExecutionId {
        let request = json!({ "text": "do it", "draft": { "steps": steps } });
        let request: SubmitIntent = serde_json::from_value(request).unwrap();
        self.engine.intents.submit(&self.agent, request).await.unwrap().execution_id
    }

    /// Does what the state machine does, once each.
    pub async fn drive(&self, id: &ExecutionId) -> NextStep {
        let workspace = &self.agent.workspace;
        self.engine.plans.compile_task(workspace, id).await.unwrap();
        self.engine.verdicts.verify_task(workspace, id).await.unwrap();
        self.engine.runs.advance(workspace, id, 60_000).await.unwrap().next
    }
}

/// An engine over a table, a clock and an orchestrator, with the crm and payments skills installed;
/// and a caller who may do everything.
pub async fn by_hand(
    table: Arc<dyn Table>,
    clock: Arc<HandClock>,
    orchestrator: Arc<dyn Orchestrator>,
    tools: Arc<dyn Tools>,
    mailer: Arc<dyn Mailer>,
) -> (Arc<Engine>, Caller) {
    let ports = Ports {
        table,
        blobs: Arc::new(MemoryBlobs::default()),
        tools,
        orchestrator,
        notifier: Arc::new(SilentNotifier),
        clock,
        ids: Arc::new(SystemIds),
        signer: Arc::new(Arc::new(warrant::Ring::new(warrant::Key::new(&[7; 32])))),
        vault_keys: Arc::new(FixedVaultKey([3; 32])),
        mailer,
        identity: Arc::new(TrustedCodes),
        archive: Arc::new(crate::archive::MemoryArchive::default()),
    };
    let public_url = PUBLIC_URL.to_owned();
    let config = Config {
        allow_private_targets: true,
        public_url,
        issuer: Some(ISSUER.into()),
        ..Config::default()
    };
    let engine = Arc::new(Engine::new(ports, config));
    let workspace: WorkspaceId = "acme".parse().unwrap();
    engine.access.create_workspace(&workspace).await.unwrap();
    let mut grants = agent_grants();
    grants.extend(approver_grants());
    let agent = Caller {
        workspace,
        actor: actor(ActorKind::Agent, "agent"),
        grants,
        only: None,
        key_id: None,
        key_made_by: None,
        channel: "test".into(),
        second_factor: None,
        traceparent: None,
        idempotency_key: None,
    };
    let trust =
        SetTrust { trust: demo_tools::trust_policy(), expected_version: None, reason: None };
    engine.trust.set_trust(&agent, trust).await.unwrap();
    for text in [
        include_str!("../../../examples/skills/crm.json"),
        include_str!("../../../examples/skills/payments.json"),
    ] {
        let manifest: Value = serde_json::from_str(text).unwrap();
        let request = demo_tools::signed(&manifest, engine.now()).unwrap();
        engine.skills.install_skill(&agent, request).await.unwrap();
    }
    (engine, agent)
}
