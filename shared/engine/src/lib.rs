//! Ports and use cases. Every handler reads: load, decide, commit; the decisions themselves are in `core`.
//!
//! **Architecture invariant:** no runtime, transport or vendor is named here. What the engine needs of the world is in
//! [`ports`]; it runs under tokio, in a Lambda, and under the simulator's scheduler alike.

pub mod access;
mod advance;
mod approve;
mod bodies;
mod caches;
mod call;
mod commit;
mod compile;
mod control;
mod deciders;
mod export;
mod export_work;
mod form;
mod freezes;
mod gate;
mod governance;
mod input;
pub mod keys;
mod log;
mod measure;
pub mod memory;
mod outputs;
mod policies;
pub mod ports;
mod query;
mod records;
mod refusals;
mod relay;
mod replay;
mod requester;
mod secrets;
mod signals;
mod skills;
mod stream;
mod submit;
mod sweep;
mod switches;
mod trust;
mod usage;
mod vault;
mod verify;
mod view;
mod wake;
mod webhooks;
mod words;

pub use access::Caller;
pub use advance::{Next, ROUNDS_MAX, Step as NextStep};
pub use caches::Snapshot;
pub use compile::Compiling;
pub use contracts::access::ApiKey;
pub use export::{Exported, Manifest, Part, Range};
pub use governance::Governance;
pub use records::{ActivePolicy, HeadRecord, OutboxRecord, PolicyRecord, RegisteredWait, Settings};
pub use relay::{cloud_event, webhook_headers};
pub use skills::SkillRecord;
pub use stream::{Stream, StreamError};
pub use sweep::Swept;
pub use wake::WaitRequest;
pub use webhooks::Webhooks;

// The future of a use case is compiled here, once, and not again in each function that awaits it.
use async_recursion::async_recursion as boxed;
use contracts::{Code, Problem, capability::Capability};
use ports::{Blobs, Clock, Fault, Ids, Notifier, Orchestrator, Signer, Table, Tools, VaultKeys};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What a deployment decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tools on loopback and private addresses are allowed.
    pub allow_private_targets: bool,
    pub capabilities: Vec<Capability>,
    /// Where tools that answered 202 call back, without a slash at the end.
    pub public_url: String,
    /// Life of a lease, renewed by each commit, in milliseconds.
    pub lease_ms: i64,
    /// A lease of another process is void: this one is the only one on its store.
    pub exclusive: bool,
    /// Somebody reads the outbox: stage events are put there.
    pub stage_events: bool,
    /// Longest time one tool call may take here, in milliseconds; what needs longer answers 202 and calls back.
    pub call_ms_max: u64,
    /// Longest wait inside `advance` before it hands the wait to the state machine, in milliseconds.
    pub inline_wait_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow_private_targets: false,
            capabilities: vec![Capability::Core, Capability::Approval, Capability::Audit, Capability::SkillRegistry],
            public_url: String::new(),
            lease_ms: 30_000,
            exclusive: false,
            stage_events: true,
            call_ms_max: 900_000,
            inline_wait_ms: 1_000,
        }
    }
}

/// What the engine needs of the world.
#[derive(Clone)]
pub struct Ports {
    pub table: Arc<dyn Table>,
    pub blobs: Arc<dyn Blobs>,
    pub tools: Arc<dyn Tools>,
    pub orchestrator: Arc<dyn Orchestrator>,
    pub notifier: Arc<dyn Notifier>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub signer: Arc<dyn Signer>,
    pub vault_keys: Arc<dyn VaultKeys>,
}

/// The use cases.
pub struct Engine {
    ports: Ports,
    config: Config,
    caches: caches::Caches,
    /// Names this process among owners of leases.
    process: String,
    draining: AtomicBool,
    /// Somebody reads the outbox.
    stage_events: AtomicBool,
}

impl Engine {
    /// An engine.
    pub fn new(ports: Ports, config: Config) -> Self {
        let process = hex::encode(ports.ids.id());
        let caches = caches::Caches::default();
        let stage_events = AtomicBool::new(config.stage_events);
        Self { ports, config, caches, process, draining: AtomicBool::new(false), stage_events }
    }
    /// Nothing new is begun from now on: a worker ends with what it has in flight.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }
    /// Whether stage events are put into the outbox: somebody reads it.
    pub fn stage_events(&self) -> bool {
        self.stage_events.load(Ordering::SeqCst)
    }
    pub(crate) fn begin_stage_events(&self) {
        self.stage_events.store(true, Ordering::SeqCst);
    }
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
    /// The deployment's decisions.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// The ports.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }
    /// The public keys that verify warrants (JWK set).
    #[boxed]
    pub async fn jwks(&self) -> Answer<serde_json::Value> {
        Ok(self.ports.signer.ring().await?.jwks())
    }
    /// A fresh salt: 16 random bytes, hexadecimal.
    pub(crate) fn salt(&self) -> String {
        self.ports.ids.secret().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
    /// This moment.
    pub fn now(&self) -> contracts::Timestamp {
        self.ports.clock.now()
    }
}

/// A use case's answer: what was asked for, or a problem.
pub type Answer<T> = Result<T, Problem>;

impl From<Fault> for Problem {
    // What failed inside is for the log; the caller learns that it may try again.
    fn from(fault: Fault) -> Self {
        tracing::error!(%fault, "fault");
        match fault {
            Fault::Unavailable(_) => Problem::new(Code::InternalError, "the service failed; try again"),
            Fault::TooLarge(_) => {
                let mut problem = Problem::new(Code::InternalError, "what would be stored is too large");
                problem.retryable = false;
                problem
            }
            Fault::Corrupt(_) => {
                let mut problem = Problem::new(Code::InternalError, "a stored record cannot be read");
                problem.retryable = false;
                problem
            }
        }
    }
}

/// The execution that a task's payload names: `{"workspaceId", "executionId"}`.
pub fn execution_of(payload: &serde_json::Value) -> Answer<(contracts::WorkspaceId, contracts::ExecutionId)> {
    let text = |key: &str| payload.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let malformed = |_| Problem::new(Code::BadRequest, "the payload names no execution");
    Ok((text("workspaceId").parse().map_err(malformed)?, text("executionId").parse().map_err(malformed)?))
}

/// A refusal of the aggregate as a problem.
pub(crate) fn refused(refusal: cs_core::execution::decide::Refusal) -> Problem {
    Problem::new(refusal.code, refusal.message)
}

/// Others were faster, again and again.
pub(crate) fn busy() -> Problem {
    Problem { retryable: true, ..Problem::new(Code::Conflict, "too many others change this; try again") }
}

/// A value that has no canonical form cannot come from a checked document.
pub(crate) fn not_canonical(error: cs_core::canonical::NotCanonical) -> Problem {
    Problem::new(Code::BadRequest, error.to_string())
}

pub use control::Steer;
