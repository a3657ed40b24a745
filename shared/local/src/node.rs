//! A node: everything in one process.

use crate::{
    EmbeddedTable, FileBlobs, HttpTools, LocalNotifier, SystemClock, SystemIds, asl::Machine, nodelay, relay,
    walker::Walker,
};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
    serve::ListenerExt as _,
};
use contracts::{
    Code, Problem, WorkspaceId,
    event::{Actor, ActorKind},
};
use cs_core::warrant;
use edge::{Routes, Trace, bearer, respond};
use engine::{
    Answer, ApiKey, Config, Engine, NewKey, Ports,
    access::{agent_grants, approver_grants},
    ports::{Ids as _, Signals as _},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpListener;

const MACHINE: &str = include_str!("../../../infra/execution.asl.json");
const GRANT_KEYS: &str = "control-plane.keys";

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of all data.
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Unsigned manifests and loopback tools are allowed.
    pub development: bool,
    /// Where stage events are sent.
    pub subscriber: Option<String>,
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
    #[error("the state machine: {0}")]
    Machine(#[from] crate::asl::Refused),
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("{0}")]
    Problem(#[from] Problem),
}

/// A running node.
pub struct Node {
    engine: Arc<Engine>,
    table: Arc<EmbeddedTable>,
    // The engine's signals hold it weakly through nothing else.
    _walker: Arc<Walker>,
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

/// Keys of a workspace: one for an agent backend, one for a person who approves.
#[derive(Clone, Debug)]
pub struct Identity {
    pub workspace: WorkspaceId,
    pub agent_key: String,
    pub approver_key: String,
}

impl Node {
    /// Opens the data, drives every open execution again, and serves.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let folder = |error| StartError::Folder(options.data.clone(), error);
        fs::create_dir_all(&options.data).map_err(folder)?;
        let table = EmbeddedTable::open(&options.data.join("table"))
            .map_err(|error| StartError::Table(options.data.clone(), error))?;
        let table = Arc::new(table);
        let blobs = FileBlobs::open(&options.data.join("blobs")).map_err(folder)?;
        let key = signing_key(&options.data.join("warrant.key")).map_err(folder)?;
        let listener =
            TcpListener::bind(options.listen).await.map_err(|error| StartError::Listen(options.listen, error))?;
        let address = listener.local_addr().map_err(|error| StartError::Listen(options.listen, error))?;
        let listener = listener.tap_io(nodelay);
        let (notifier, committed) = LocalNotifier::new();
        let walker = Walker::new(Machine::parse(MACHINE)?);
        let ports = Ports {
            table: table.clone(),
            blobs: Arc::new(blobs),
            tools: Arc::new(HttpTools::new()?),
            signals: walker.clone(),
            notifier: Arc::new(notifier),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
        };
        let config = Config {
            development: options.development,
            allow_private_targets: options.development,
            public_url: format!("http://{address}"),
            exclusive: true,
            stage_events: options.subscriber.is_some(),
            ..Config::default()
        };
        let engine = Arc::new(Engine::new(ports, config, key));
        walker.attach(&engine);
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(15)).build()?;
        if let Some(subscriber) = options.subscriber {
            tokio::spawn(relay::run(Arc::downgrade(&engine), committed, subscriber, client));
        }
        let open = engine.open_executions().await.map_err(Problem::from)?;
        if !open.is_empty() {
            tracing::info!(count = open.len(), "driving open executions again");
        }
        for (workspace, id) in open {
            walker.start(&workspace, &id, &format!("{id}-restart")).await.map_err(Problem::from)?;
        }
        let router = router().with_state(engine.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the server stopped");
            }
        });
        Ok(Self { engine, table, _walker: walker, address, server })
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
        self.engine.create_workspace(workspace).await?;
        let key = |kind, id: &str, grants| NewKey { actor: Actor { kind, id: id.into() }, grants, expires_at: None };
        let agent = key(ActorKind::Agent, "dev-agent", agent_grants());
        let approver = key(ActorKind::Human, "dev-approver", approver_grants());
        let (_, agent_key) = self.engine.create_key(workspace, agent).await?;
        let (_, approver_key) = self.engine.create_key(workspace, approver).await?;
        Ok(Identity { workspace: workspace.clone(), agent_key, approver_key })
    }

    /// Serves until the server stops.
    pub async fn serve(&mut self) {
        let _ = (&mut self.server).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

// 32 random bytes, readable by the owner only.
fn signing_key(path: &FilePath) -> std::io::Result<warrant::Key> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let stored = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = SystemIds.secret();
            let aside = path.with_extension("part");
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
            file.write_all(&secret)?;
            file.sync_all()?;
            fs::rename(&aside, path)?;
            secret.to_vec()
        }
        Err(error) => return Err(error),
    };
    let secret: [u8; 32] = stored
        .try_into()
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "warrant.key is not 32 bytes"))?;
    Ok(warrant::Key::new(&secret))
}

/// Every function's routes, and what belongs to this deployment only: health, public keys, API keys.
fn router() -> Routes {
    let routes = Router::new()
        .merge(fn_submit::routes())
        .merge(fn_compile::routes())
        .merge(fn_verify::routes())
        .merge(fn_control::routes())
        .merge(fn_approve::routes())
        .merge(fn_query::routes())
        .merge(fn_skill::routes())
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/.well-known/jwks.json", get(|State(engine): State<Arc<Engine>>| async move { Json(engine.jwks()) }))
        .route("/v1/keys", get(list_keys).post(create_key))
        .route("/v1/keys/{keyId}/revoke", post(revoke_key));
    edge::unknown(edge::absent(routes))
}

async fn operator(engine: &Engine, headers: &http::HeaderMap) -> Answer<WorkspaceId> {
    let caller = engine.authenticate(bearer(headers)).await?;
    caller.require(GRANT_KEYS)?;
    Ok(caller.workspace)
}

async fn list_keys(State(engine): State<Arc<Engine>>, headers: http::HeaderMap) -> Response {
    let trace = Trace::of(&headers, &engine);
    let answer = async { engine.list_keys(&operator(&engine, &headers).await?).await };
    let answer = answer.await.map(|items: Vec<ApiKey>| json!({ "items": items }));
    respond(answer, 200, &trace, "keys.list")
}

async fn create_key(State(engine): State<Arc<Engine>>, headers: http::HeaderMap, body: Body) -> Response {
    let trace = Trace::of(&headers, &engine);
    let answer = async {
        let workspace = operator(&engine, &headers).await?;
        let new: NewKey = contracts::json::typed(Value::Object(edge::from_body(&headers, body).await?))?;
        if new.actor.id.trim().is_empty() || new.actor.id.len() > contracts::limits::NAME_BYTES_MAX {
            return Err(Problem::new(Code::ValidationFailed, "an actor has an id of 1 to 128 bytes"));
        }
        let (key, secret) = engine.create_key(&workspace, new).await?;
        Ok(json!({ "key": key, "apiKey": secret }))
    };
    respond(answer.await, 201, &trace, "keys.create")
}

async fn revoke_key(State(engine): State<Arc<Engine>>, Path(id): Path<String>, headers: http::HeaderMap) -> Response {
    let trace = Trace::of(&headers, &engine);
    let answer = async { engine.revoke_key(&operator(&engine, &headers).await?, &id).await };
    respond(answer.await, 200, &trace, "keys.revoke")
}
