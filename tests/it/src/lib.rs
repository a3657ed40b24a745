//! What the integration tests share: a node on a temporary folder, its tools, and a client.

use local::{Identity, Node, Options, demo_tools::DemoTools};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};

/// A whole control plane with example skills installed.
pub struct House {
    pub node: Node,
    pub tools: DemoTools,
    pub agent: Client,
    pub approver: Client,
    pub identity: Identity,
    // Goes away last.
    _folder: tempfile::TempDir,
}

/// A free port of this machine.
pub fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

impl House {
    /// Starts everything.
    pub async fn start() -> Self {
        Self::with_subscriber(None).await
    }

    /// Starts everything, with stage events sent to a URL.
    pub async fn with_subscriber(subscriber: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tools = DemoTools::start(anywhere()).await.unwrap();
        let options = Options { data: folder.path().into(), listen: anywhere(), development: true, subscriber };
        let node = Node::start(options).await.unwrap();
        let identity = node.identity(&"acme".parse().unwrap()).await.unwrap();
        let agent = Client::new(&node.url(), &identity.agent_key);
        let approver = Client::new(&node.url(), &identity.approver_key);
        let house = Self { node, tools, agent, approver, identity, _folder: folder };
        for manifest in house.tools.manifests().unwrap() {
            house.install(&house.agent, &manifest).await;
        }
        house
    }

    /// Installs a bare manifest.
    pub async fn install(&self, client: &Client, manifest: &Value) {
        let (status, answer) = client.post("/v1/skills", &install_body(manifest)).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Submits a draft; the execution's id.
    pub async fn submit(&self, steps: Value) -> String {
        let (status, answer) =
            self.agent.post("/v1/intents", &json!({ "text": "do it", "draft": { "steps": steps } })).await;
        assert_eq!(status, 202, "{answer}");
        answer["executionId"].as_str().unwrap().to_owned()
    }

    /// An execution, once nothing of it moves on its own.
    pub async fn settled(&self, id: &str) -> Value {
        let (status, answer) = self.agent.get(&format!("/v1/executions/{id}?waitSeconds=20")).await;
        assert_eq!(status, 200, "{answer}");
        answer["execution"].clone()
    }

    /// An execution once it has a status; panics after a while.
    pub async fn until(&self, id: &str, wanted: &str) -> Value {
        for _ in 0..400 {
            let (_, answer) = self.agent.get(&format!("/v1/executions/{id}")).await;
            if answer["execution"]["status"] == wanted {
                return answer["execution"].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("{id} never became {wanted}: {}", self.agent.get(&format!("/v1/executions/{id}")).await.1);
    }

    /// Approves the whole plan by what is shown now.
    pub async fn approve(&self, id: &str) {
        let view = self.settled(id).await;
        let body = json!({ "bindingDigest": view["bindingDigest"] });
        let (status, answer) = self.approver.post(&format!("/v1/executions/{id}/approve"), &body).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// The chain verifies and the execution replays.
    pub async fn proven(&self, id: &str) {
        let (_, replay) = self.agent.get(&format!("/v1/executions/{id}/replay")).await;
        assert_eq!(replay["matches"], true, "{replay}");
    }

    /// Types of a trace's events, without `controlPlane.`.
    pub async fn events(&self, id: &str) -> Vec<String> {
        let (_, trace) = self.agent.get(&format!("/v1/executions/{id}/trace")).await;
        let entries = trace["entries"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry["type"].as_str().unwrap().trim_start_matches("controlPlane.").to_owned())
            .collect()
    }
}

/// The request that installs a bare manifest.
pub fn install_body(manifest: &Value) -> Value {
    json!({ "skillKey": manifest["skill"]["key"], "version": manifest["skill"]["version"],
        "artifactDigest": manifest["artifact"]["digest"], "manifest": manifest })
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
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, url: url.to_owned(), key: key.to_owned() }
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
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))))
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
        self.send(self.request("POST", path).header("content-type", "application/json").body(body)).await
    }
}
