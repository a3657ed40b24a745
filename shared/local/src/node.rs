//! A node: everything in one process.

use crate::{
    EmbeddedTable, FileArchive, FileBlobs, FileVaultKey, LocalNotifier,
    asl::Machine,
    assembly,
    compute::Compute,
    identity::{self, IdentityOptions, IdentitySetupError},
    keyring::KeyFiles,
    mail::{self, MailOptions, MailSetupError},
    private::private_folder,
    schedule,
    server::Server,
    walker::Walker,
};
use contracts::{Problem, WorkspaceId};
use countersign_tools::Dispatch;
use engine::{Answer, Config, Engine, Ports, ports::Orchestrator as _};
use host::{SystemClock, SystemIds};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, runtime::Handle};

/// What was asked for is answered within so long, even where calls took all the time.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
const MACHINE: &str = include_str!("../../../infra/execution.asl.json");

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of all data.
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Tools on loopback and private addresses are allowed.
    pub allow_private_targets: bool,
    /// Make a new key that signs warrants: published at once, signing ten minutes later.
    pub new_warrant_key: bool,
    /// Where stage events are sent.
    pub subscriber: Option<String>,
    /// Where tools reach it to call back; else where it listens.
    pub public_url: Option<String>,
    pub mail: MailOptions,
    pub identity: IdentityOptions,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data folder `{0}` cannot be used: {1}")]
    Folder(PathBuf, std::io::Error),
    #[error("the data in `{0}` cannot be opened: {1}; is another process using it?")]
    Table(PathBuf, fjall::Error),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error("{0}")]
    Mail(#[from] MailSetupError),
    #[error("{0}")]
    Identity(#[from] IdentitySetupError),
    #[error("threads cannot be started: {0}")]
    Threads(std::io::Error),
    #[error("the state machine: {0}")]
    Machine(#[from] crate::asl::AslError),
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("{0}")]
    Problem(#[from] Problem),
}

/// A running node.
pub struct Node {
    engine: Arc<Engine>,
    table: Arc<EmbeddedTable>,
    walker: Arc<Walker>,
    compute: Arc<Compute>,
    subscriber: Option<String>,
    address: SocketAddr,
    server: Arc<Server>,
    task: tokio::task::JoinHandle<()>,
}

/// Keys of a workspace: one for an agent backend, one for a person who approves.
#[derive(Clone, Debug)]
pub struct Identity {
    pub workspace: WorkspaceId,
    pub agent_key: String,
    pub approver_key: String,
    /// What signs the events that the node's subscriber gets, where it was made just now.
    pub subscriber_secret: Option<String>,
}

impl Node {
    /// Opens the data, drives every open execution again, and serves.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let folder = |error| StartError::Folder(options.data.clone(), error);
        private_folder(&options.data).map_err(folder)?;
        let table = EmbeddedTable::open(&options.data.join("table"))
            .map_err(|error| StartError::Table(options.data.clone(), error))?;
        let table = Arc::new(table);
        let blobs = FileBlobs::open(&options.data.join("blobs")).map_err(folder)?;
        let signer = KeyFiles::open(&options.data, options.new_warrant_key).map_err(folder)?;
        let vault_keys = FileVaultKey::open(&options.data).map_err(folder)?;
        let compute = Compute::new().map_err(StartError::Threads)?;
        let listener = listen(options.listen, compute.front())
            .map_err(|error| StartError::Listen(options.listen, error))?;
        let address =
            listener.local_addr().map_err(|error| StartError::Listen(options.listen, error))?;
        let (notifier, committed) = LocalNotifier::new();
        let inbound = notifier.inbound();
        let walker = Walker::new(Machine::parse(MACHINE)?, compute.clone());
        let allow_private = options.allow_private_targets;
        let (issuer, identity) = identity::provider(&options.identity, allow_private)?;
        let ports = Ports {
            table: table.clone(),
            blobs: Arc::new(blobs),
            tools: Arc::new(Dispatch::new()?),
            orchestrator: walker.clone(),
            notifier: Arc::new(notifier),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            signer: Arc::new(signer),
            vault_keys: Arc::new(vault_keys),
            mailer: mail::mailer(&options.mail, &options.data)?,
            identity,
            archive: Arc::new(FileArchive::open(&options.data.join("exports")).map_err(folder)?),
        };
        let config = Config {
            allow_private_targets: allow_private,
            issuer,
            public_url: options.public_url.unwrap_or_else(|| reached_at(address)),
            exclusive: true,
            stage_events: options.subscriber.is_some(),
            ..Config::default()
        };
        let engine = Arc::new(Engine::new(ports, config));
        walker.attach(&engine);
        engine.subscriptions.find_subscriptions().await.map_err(Problem::from)?;
        assembly::begin(&compute, assembly::Parts::new(&engine, (committed, inbound)));
        compute.begin(schedule::log(Arc::downgrade(&engine)));
        compute.begin(schedule::forget(Arc::downgrade(&engine), Arc::downgrade(&table)));
        let open = engine.store().open_executions().await.map_err(Problem::from)?;
        if !open.is_empty() {
            tracing::info!(count = open.len(), "driving open executions again");
        }
        for (workspace, id) in open {
            walker.start(&workspace, &id, &format!("{id}-restart")).await.map_err(Problem::from)?;
        }
        let router = assembly::routes().into_router().with_state(engine.clone());
        let server = Server::new(router, compute.clone(), &engine);
        let task = compute.front().spawn(server.clone().run(listener));
        Ok(Self {
            engine,
            table,
            walker,
            compute,
            address,
            server,
            task,
            subscriber: options.subscriber,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
    /// Its engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
    /// Its table.
    pub fn table(&self) -> &Arc<EmbeddedTable> {
        &self.table
    }

    /// Makes a workspace, if it is not there, and two new keys for it.
    pub async fn identity(&self, workspace: &WorkspaceId) -> Answer<Identity> {
        let (agent_key, approver_key) =
            fn_access::create_workspace(&self.engine, workspace).await?;
        let subscriber_secret = self.subscribe(workspace).await?;
        Ok(Identity { workspace: workspace.clone(), agent_key, approver_key, subscriber_secret })
    }

    /// Subscribes the URL that the node was started with to the events of a workspace: its secret,
    /// where it was not subscribed before.
    pub async fn subscribe(&self, workspace: &WorkspaceId) -> Answer<Option<String>> {
        let Some(url) = &self.subscriber else { return Ok(None) };
        Ok(self
            .engine
            .subscriptions
            .deploy_webhook(workspace, url)
            .await?
            .and_then(|created| created.secret))
    }

    /// Begins no call any more, ends what is in flight, accepts no more connections and answers
    /// what was asked for, for at most about so long. What is not done by then is taken up at the
    /// next start.
    pub async fn drain(&mut self, within: Duration) {
        let began = Instant::now();
        self.engine.drain();
        tracing::info!(
            seconds_max = within.as_secs(),
            "stopping: nothing more is called; waits for calls in flight"
        );
        // Tools whose calls are in flight may still ask for the keys that sign warrants: the server
        // stops last.
        if tokio::time::timeout(within, self.walker.drain()).await.is_err() {
            tracing::warn!("calls are still in flight; the next start takes them up");
        }
        self.task.abort();
        self.server.drain(within.saturating_sub(began.elapsed()).max(LAST_ANSWERS)).await;
    }

    /// Serves until the server stops, or the store takes no writes any more. Says why.
    pub async fn serve(&mut self) -> String {
        tokio::select! {
            _ = &mut self.task => "the server stopped".into(),
            why = self.table.broken() => {
                format!("the data folder cannot be written: {why}. What was acknowledged is there \
                    at the next start")
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
        self.compute.end();
    }
}

// An address that stands for all of this machine's is none to call: this machine itself is.
fn reached_at(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let own = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(own);
    }
    format!("http://{address}")
}

// A listener whose connections are served by these threads.
fn listen(address: SocketAddr, threads: &Handle) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let _entered = threads.enter();
    TcpListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use super::reached_at;

    #[test]
    fn an_address_of_all_is_called_by_one_of_them() {
        for (listens, reached) in [
            ("0.0.0.0:7411", "http://127.0.0.1:7411"),
            ("[::]:7411", "http://[::1]:7411"),
            ("10.0.0.7:80", "http://10.0.0.7:80"),
        ] {
            assert_eq!(reached_at(listens.parse().unwrap()), reached);
        }
    }
}
