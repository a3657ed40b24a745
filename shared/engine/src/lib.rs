//! Ports and use cases. Every handler reads: load, decide, commit; the decisions themselves are in
//! `core`.
//!
//! **Architecture invariant:** no runtime, transport or vendor is named here. What the engine needs
//! of the world is in [`ports`]; it runs under tokio, in a Lambda, and under the simulator's
//! scheduler alike.

mod base;
mod caller;
mod decide;
mod evidence;
mod govern;
mod intents;
mod operate;
mod parts;
pub mod ports;
mod records;
mod run;

use base::Base;
pub use caller::{Caller, actor, agent_grants, approver_grants};
pub use contracts::access::ApiKey;
pub use countersign_store::Answer;
pub use cs_core::channel::HEADERS as PROVIDER_HEADERS;
pub use decide::approve::Approvals;
pub use decide::control::Controls;
pub use decide::links::{LinkDecision, LinkRefusal, LinkView, Links, OpenedLink};
pub use decide::presses::Presses;
pub use decide::update::Updates;
pub use evidence::bundle::Bundles;
pub use evidence::export::Exported;
pub use evidence::export::Exports;
pub use evidence::queries::Queries;
pub use evidence::receipt::Receipts;
pub use evidence::replay::Replays;
pub use evidence::transparency::Transparency;
pub use evidence::views::Views;
pub use govern::access::Access;
pub use govern::channels::Channels;
use govern::in_force::Caches;
pub use govern::in_force::InForce;
pub use govern::in_force::Snapshot;
pub use govern::limits::Governance;
pub use govern::limits::Limits;
pub use govern::mandates::Mandates;
pub use govern::names::Names;
pub use govern::policies::Policies;
pub use govern::sessions::{Credential, Session, SessionOpened, Sessions};
pub use govern::sign_in::{Arrived, Departure, Returned, SignIns};
pub use govern::skills::SkillRecord;
pub use govern::skills::Skills;
pub use govern::subscriptions::Subscriptions;
pub use govern::subscriptions::{GRANT as WEBHOOKS_GRANT, Target};
pub use govern::trust::Trust;
pub use intents::compile::Compiling;
pub use intents::compile::Plans;
pub use intents::inbound::{Inbound, ProviderRequest};
pub use intents::submit::Intents;
pub use intents::verify::Verdicts;
pub use operate::notices::{
    Addressee, Asked, AskedApproval, Notices, Told, ToldRecord, stopped_name,
};
pub use operate::relay::Relay;
pub use operate::relay::{cloud_event, webhook_headers};
pub use operate::slack::{SentMessage, Slack, SlackApp, SlackError};
pub use operate::sweep::Sweep;
pub use operate::sweep::Swept;
pub use operate::wake::WaitRequest;
pub use operate::wake::Waker;
use parts::Parts;
pub use records::{ActivePolicy, PolicyRecord, Settings};
pub use run::advance::Runs;
pub use run::advance::{Next, ROUNDS_MAX, Step as NextStep};
pub use run::call::ToolCalls;
pub use run::gate::Gate;
pub use run::meters::Meters;
pub use run::values::Values;
pub use run::vault::FixedVaultKey;
pub use run::vault::Vault;

// The future of a use case is compiled here, once, and not again in each function that awaits it.
use async_recursion::async_recursion as boxed;
use contracts::{Code, Problem, RunId, capability::Capability, manifest::BindingKind};
use countersign_store::{Blobs, Clock, Ids, Notifier, Store, Table};
use ports::{Archive, IdentityProvider, Mailer, Orchestrator, Signer, Tools, VaultKeys};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a deployment decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tools on loopback and private addresses are allowed.
    pub allow_private_targets: bool,
    pub capabilities: Vec<Capability>,
    /// How tools are called here: other operations are not installed.
    pub bindings: BTreeSet<BindingKind>,
    /// Where tools that answered 202 call back, without a slash at the end.
    pub public_url: String,
    /// The issuer of the identity provider that signs people in; none: they have keys.
    pub issuer: Option<String>,
    /// Life of a lease, renewed by each commit, in milliseconds.
    pub lease_ms: i64,
    /// A lease of another process is void: this one is the only one on its store.
    pub exclusive: bool,
    /// Somebody reads the outbox: stage events are put there.
    pub stage_events: bool,
    /// Longest time one tool call may take here, in milliseconds; what needs longer answers 202 and
    /// calls back.
    pub call_ms_max: u64,
    /// Longest wait inside `advance` before it hands the wait to the state machine, in
    /// milliseconds.
    pub inline_wait_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow_private_targets: false,
            capabilities: vec![
                Capability::Core,
                Capability::Approval,
                Capability::Audit,
                Capability::SkillRegistry,
                Capability::ChannelRuntime,
            ],
            bindings: [BindingKind::Http, BindingKind::Mcp].into(),
            public_url: String::new(),
            issuer: None,
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
    /// With `blobs` the store's, and nobody else's.
    pub table: Arc<dyn Table>,
    pub blobs: Arc<dyn Blobs>,
    pub tools: Arc<dyn Tools>,
    pub orchestrator: Arc<dyn Orchestrator>,
    pub notifier: Arc<dyn Notifier>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub signer: Arc<dyn Signer>,
    pub vault_keys: Arc<dyn VaultKeys>,
    pub mailer: Arc<dyn Mailer>,
    pub identity: Arc<dyn IdentityProvider>,
    /// Where exports are kept.
    pub archive: Arc<dyn Archive>,
}

/// The use cases, by service. Each is a small struct over the store; they know one another in one
/// direction only.
pub struct Engine {
    base: Arc<Base>,
    pub intents: Arc<Intents>,
    pub channels: Arc<Channels>,
    pub inbound: Arc<Inbound>,
    pub presses: Arc<Presses>,
    pub slack: Arc<Slack>,
    pub plans: Arc<Plans>,
    pub verdicts: Arc<Verdicts>,
    pub runs: Arc<Runs>,
    pub controls: Arc<Controls>,
    pub approvals: Arc<Approvals>,
    pub access: Arc<Access>,
    pub sessions: Arc<Sessions>,
    pub sign_ins: Arc<SignIns>,
    pub skills: Arc<Skills>,
    pub policies: Arc<Policies>,
    pub trust: Arc<Trust>,
    pub limits: Arc<Limits>,
    pub mandates: Arc<Mandates>,
    pub subscriptions: Arc<Subscriptions>,
    pub links: Arc<Links>,
    pub notices: Arc<Notices>,
    pub queries: Arc<Queries>,
    pub replays: Arc<Replays>,
    pub exports: Arc<Exports>,
    pub transparency: Arc<Transparency>,
    pub bundles: Arc<Bundles>,
    pub receipts: Arc<Receipts>,
    pub sweep: Arc<Sweep>,
    pub relay: Arc<Relay>,
    pub waker: Arc<Waker>,
    pub in_force: Arc<InForce>,
}

impl Engine {
    /// An engine.
    pub fn new(ports: Ports, config: Config) -> Self {
        let parts = &Parts::new(ports, config);
        let (skills, queries) = (Arc::new(Skills::new(parts)), Arc::new(Queries::new(parts)));
        let transparency = Arc::new(Transparency::new(parts));
        let relay = Arc::new(Relay::new(parts, transparency.clone()));
        let access = Arc::new(Access::new(parts));
        let (channels, intents) = (Arc::new(Channels::new(parts)), Arc::new(Intents::new(parts)));
        let slack = Arc::new(Slack::new(parts, channels.clone()));
        let approvals = Arc::new(Approvals::new(parts));
        let asks = (channels.clone(), slack.clone());
        let presses = Arc::new(Presses::new(parts, approvals.clone(), asks));
        let sessions = Arc::new(Sessions::new(parts, access.clone()));
        let links = Links::new(parts, queries.clone(), approvals.clone());
        Self {
            base: parts.base.clone(),
            inbound: Arc::new(Inbound::new(
                parts,
                (channels.clone(), presses.clone()),
                intents.clone(),
            )),
            presses,
            slack,
            channels,
            intents,
            plans: parts.plans.clone(),
            verdicts: parts.verdicts.clone(),
            runs: Arc::new(Runs::new(parts)),
            controls: Arc::new(Controls::new(parts)),
            approvals,
            links: Arc::new(links),
            notices: Arc::new(Notices::new(parts)),
            sign_ins: Arc::new(SignIns::new(parts, (access.clone(), sessions.clone()))),
            sessions,
            access,
            trust: Arc::new(Trust::new(parts, skills.clone())),
            skills,
            policies: Arc::new(Policies::new(parts)),
            limits: Arc::new(Limits::new(parts)),
            mandates: parts.mandates.clone(),
            subscriptions: Arc::new(Subscriptions::new(parts)),
            replays: Arc::new(Replays::new(parts, queries.clone())),
            bundles: Arc::new(Bundles::new(parts, (queries.clone(), transparency.clone()))),
            receipts: Arc::new(Receipts::new(parts, (queries.clone(), transparency.clone()))),
            queries,
            exports: Arc::new(Exports::new(parts, transparency.clone())),
            transparency,
            sweep: Arc::new(Sweep::new(parts, relay.clone())),
            relay,
            waker: parts.waker.clone(),
            in_force: parts.in_force.clone(),
        }
    }
    /// Where everything is kept.
    pub fn store(&self) -> &Store {
        &self.base.store
    }
    /// Nothing new is begun from now on: a worker ends with what it has in flight.
    pub fn drain(&self) {
        self.base.drain();
    }
    /// The deployment's decisions.
    pub fn config(&self) -> &Config {
        &self.base.config
    }
    /// The ports.
    pub fn ports(&self) -> &Ports {
        &self.base.ports
    }
    /// The public keys that verify warrants (JWK set).
    #[boxed]
    pub async fn jwks(&self) -> Answer<serde_json::Value> {
        Ok(self.base.ports.signer.ring().await?.jwks())
    }
    /// This moment.
    pub fn now(&self) -> contracts::Timestamp {
        self.base.now()
    }
}

/// The execution that a task's payload names: `{"workspaceId", "executionId"}`.
pub fn execution_of(
    payload: &serde_json::Value,
) -> Answer<(contracts::WorkspaceId, contracts::ExecutionId)> {
    let text = |key: &str| payload.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let malformed = |_| Problem::new(Code::BadRequest, "the payload names no execution");
    Ok((
        text("workspaceId").parse().map_err(malformed)?,
        text("executionId").parse().map_err(malformed)?,
    ))
}

/// A refusal of the aggregate as a problem.
pub(crate) fn refused(refusal: cs_core::execution::decide::Refusal) -> Problem {
    Problem::new(refusal.code, refusal.message)
}

/// A value that has no canonical form cannot come from a checked document.
pub(crate) fn not_canonical(error: cs_core::canonical::CanonicalError) -> Problem {
    Problem::new(Code::BadRequest, error.to_string())
}

pub use decide::control::Steer;

/// The run, once there is one.
pub(crate) fn run_of(state: &cs_core::execution::Execution) -> Option<RunId> {
    state.run.as_ref().map(|run| run.run_id.clone())
}

/// The status on the wire.
pub(crate) fn status(
    state: &cs_core::execution::Execution,
) -> contracts::Open<contracts::query::ExecutionStatus> {
    contracts::Open::word(state.status.as_str())
}

/// Names one start of the state machine.
pub(crate) fn drive_name(id: &contracts::ExecutionId, drives: u32) -> String {
    format!("{id}-{drives}")
}
