//! What the integration tests share: a control plane, a workspace of it with its tools, and
//! clients; the scenarios that run on every control plane; and the contract of every table.

pub mod archive;
pub mod budget;
pub mod fixture;
pub mod machines;
mod normal;
pub mod openid;
pub mod scenarios;
pub mod smtp;
pub mod table;
pub mod venv;

use async_trait::async_trait;
use contracts::{Timestamp, governance::TrustPolicy};
use local::{
    Identity, Node, Options,
    demo_tools::{self, DemoTools},
    identity::IdentityOptions,
    mail::MailOptions,
};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

/// A control plane that workspaces can be made on.
#[async_trait]
pub trait ControlPlane: Send + Sync {
    /// Its URL, without a slash at the end.
    fn url(&self) -> String;
    /// Makes a workspace with two keys.
    async fn workspace(&self, name: &str) -> Identity;
    /// The node, if it is in this process.
    fn embedded(&self) -> Option<&Node> {
        None
    }
    /// Its data folder, if it is in this process.
    fn folder(&self) -> Option<&Path> {
        None
    }
}

/// A node on a temporary folder.
struct Embedded {
    node: Node,
    // Dropped last.
    folder: tempfile::TempDir,
}

#[async_trait]
impl ControlPlane for Embedded {
    fn url(&self) -> String {
        self.node.url()
    }
    async fn workspace(&self, name: &str) -> Identity {
        self.node.identity(&name.parse().unwrap()).await.unwrap()
    }
    fn embedded(&self) -> Option<&Node> {
        Some(&self.node)
    }
    fn folder(&self) -> Option<&Path> {
        Some(self.folder.path())
    }
}

/// A workspace of a control plane with example skills installed, and their tools.
pub struct TestServer {
    plane: Arc<dyn ControlPlane>,
    pub tools: DemoTools,
    pub agent: Client,
    pub approver: Client,
    pub identity: Identity,
}

/// A free port of this machine.
pub fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

impl TestServer {
    /// On a node of its own.
    pub async fn start() -> Self {
        Self::with_subscriber(None).await
    }

    /// On a node of its own, with stage events sent to a URL.
    pub async fn with_subscriber(subscriber: Option<String>) -> Self {
        Self::with(subscriber, MailOptions::default(), Default::default()).await
    }

    /// On a node of its own where people sign in by an identity provider.
    pub async fn with_identity(identity: IdentityOptions) -> Self {
        Self::with(None, MailOptions::default(), identity).await
    }

    /// On a node of its own that sends mails by this server.
    pub async fn with_mail(smtp_url: &str) -> Self {
        let from = Some("countersign@example.com".to_owned());
        Self::with(
            None,
            MailOptions { smtp_url: Some(smtp_url.to_owned()), from },
            Default::default(),
        )
        .await
    }

    async fn with(
        subscriber: Option<String>,
        mail: MailOptions,
        identity: IdentityOptions,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            data: folder.path().into(),
            listen: anywhere(),
            allow_private_targets: true,
            new_warrant_key: false,
            subscriber,
            public_url: None,
            mail,
            identity,
        };
        let node = Node::start(options).await.unwrap();
        Self::on(Arc::new(Embedded { node, folder }), "acme").await
    }

    /// In a new workspace of a control plane.
    pub async fn on(plane: Arc<dyn ControlPlane>, workspace: &str) -> Self {
        let tools = DemoTools::start(anywhere()).await.unwrap();
        let identity = plane.workspace(workspace).await;
        let agent = Client::new(&plane.url(), &identity.agent_key);
        let approver = Client::new(&plane.url(), &identity.approver_key);
        let server = Self { plane, tools, agent, approver, identity };
        server.tools.trust(&server.url());
        server.trust(&demo_tools::trust_policy()).await;
        for manifest in server.tools.manifests().unwrap() {
            server.install(&server.approver, &manifest).await;
        }
        server
    }

    /// The control plane's URL.
    pub fn url(&self) -> String {
        self.plane.url()
    }

    /// Another key of the agent, with which it may do more than with that of `dev`.
    pub async fn agent_and_more(&self) -> Client {
        let grants: Vec<String> =
            ["plan.compile", "execution.pause", "execution.resume", "execution.retry"]
                .iter()
                .map(|grant| format!("control-plane.{grant}"))
                .chain(engine::agent_grants())
                .collect();
        let body = json!({ "actor": { "kind": "agent", "id": "dev-agent" }, "grants": grants });
        let (status, answer) = self.approver.post("/v1/keys", &body).await;
        assert_eq!(status, 201, "{answer}");
        Client::new(&self.url(), answer["apiKey"].as_str().unwrap())
    }

    /// A server in another workspace of the same control plane.
    pub async fn neighbour(&self) -> Self {
        Self::on(self.plane.clone(), &format!("{}-neighbour", self.identity.workspace)).await
    }

    /// Another workspace beside this one.
    pub async fn another(&self) -> Identity {
        self.plane.workspace(&format!("{}-other", self.identity.workspace)).await
    }

    /// The node, if it is in this process.
    pub fn embedded(&self) -> Option<&Node> {
        self.plane.embedded()
    }

    /// The data folder of the node in this process.
    pub fn folder(&self) -> &Path {
        self.plane.folder().unwrap()
    }

    /// The node in this process.
    pub fn node(&self) -> &Node {
        self.embedded().unwrap()
    }

    /// The traces of every execution of the workspace, oldest first, without what differs between
    /// two runs of the same.
    pub async fn traces(&self) -> Vec<Vec<String>> {
        let (status, list) = self.approver.get("/v1/executions?limit=200").await;
        assert_eq!(status, 200, "{list}");
        let items = list["items"].as_array().unwrap().iter();
        let mut ids: Vec<&str> = items.map(|item| item["executionId"].as_str().unwrap()).collect();
        ids.sort_unstable();
        let mut traces = Vec::new();
        for id in ids {
            let (status, trace) = self.approver.get(&format!("/v1/executions/{id}/trace")).await;
            assert_eq!(status, 200, "{trace}");
            traces.push(normal::normal(trace["entries"].as_array().unwrap()));
        }
        traces
    }

    /// Sets the trust policy of the workspace.
    pub async fn trust(&self, trust: &TrustPolicy) -> Value {
        let (status, answer) = self.approver.post("/v1/trust", &json!({ "trust": trust })).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Signs a manifest and installs it.
    pub async fn install(&self, client: &Client, manifest: &Value) {
        let (status, answer) = client.post("/v1/skills", &install_body(manifest)).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Submits a draft; the execution's id.
    pub async fn submit(&self, steps: Value) -> String {
        let (status, answer) = self
            .agent
            .post("/v1/intents", &json!({ "text": "do it", "draft": { "steps": steps } }))
            .await;
        assert_eq!(status, 202, "{answer}");
        answer["executionId"].as_str().unwrap().to_owned()
    }

    /// An execution, once nothing of it moves on its own.
    pub async fn settled(&self, id: &str) -> Value {
        let (status, answer) =
            self.approver.get(&format!("/v1/executions/{id}?waitSeconds=20")).await;
        assert_eq!(status, 200, "{answer}");
        answer["execution"].clone()
    }

    /// An execution once it has a status; panics after a while.
    pub async fn until(&self, id: &str, wanted: &str) -> Value {
        for _ in 0..2_400 {
            let (_, answer) = self.approver.get(&format!("/v1/executions/{id}")).await;
            if answer["execution"]["status"] == wanted {
                return answer["execution"].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!(
            "{id} never became {wanted}: {}",
            self.approver.get(&format!("/v1/executions/{id}")).await.1
        );
    }

    /// Approves what is asked now: the whole plan, and each step that asks with its actual input.
    pub async fn approve(&self, id: &str) {
        let view = self.settled(id).await;
        let open = |approval: &&Value| approval["status"] == "requested";
        for approval in view["approvals"].as_array().unwrap().iter().filter(open) {
            let mut body = json!({ "bindingDigest": approval["bindingDigest"] });
            if approval["stepId"].is_string() {
                body["stepId"] = approval["stepId"].clone();
            }
            let (status, answer) =
                self.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
            assert_eq!(status, 200, "{answer}");
        }
    }

    /// The chain verifies and the execution replays.
    pub async fn proven(&self, id: &str) {
        let (_, replay) = self.approver.get(&format!("/v1/executions/{id}/replay")).await;
        assert_eq!(replay["matches"], true, "{replay}");
    }

    /// Types of a trace's events, without `controlPlane.`.
    pub async fn events(&self, id: &str) -> Vec<String> {
        let (_, trace) = self.approver.get(&format!("/v1/executions/{id}/trace")).await;
        let entries = trace["entries"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| {
                entry["type"].as_str().unwrap().trim_start_matches("controlPlane.").to_owned()
            })
            .collect()
    }
}

/// The request that installs a manifest, signed by the examples' publisher.
pub fn install_body(manifest: &Value) -> Value {
    serde_json::to_value(demo_tools::signed(manifest, now()).unwrap()).unwrap()
}

/// This moment.
pub fn now() -> Timestamp {
    use countersign_store::Clock as _;
    host::SystemClock.now()
}

/// What a deployment at an address calls a cookie, in the clear.
pub fn cookie(stem: &str, public_url: &str) -> String {
    let digest = cs_core::canonical::digest_bytes(public_url.as_bytes());
    format!("countersign-{stem}-{}", digest.hex().get(..8).unwrap())
}

/// An HTTP client that follows nothing and asks no proxy.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// An HTTP client with a key.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Client {
    /// A client of a control plane.
    pub fn new(url: &str, key: &str) -> Self {
        Self { http: http(), url: url.to_owned(), key: key.to_owned() }
    }
    /// The same client with other headers: a request to be completed.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key)
    }
    /// Sends a request; its status and its JSON.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        (
            status,
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))),
        )
    }
    /// GET.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.request("GET", path)).await
    }
    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.request("POST", path).json(body)).await
    }
    /// POST with an idempotency key.
    pub async fn keyed(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        self.send(self.request("POST", path).header("idempotency-key", key).json(body)).await
    }
    /// POST of raw bytes.
    pub async fn raw(&self, path: &str, body: Vec<u8>) -> (u16, Value) {
        self.send(self.request("POST", path).header("content-type", "application/json").body(body))
            .await
    }
}
