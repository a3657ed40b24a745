//! What the attacks share: keys, submissions, a tool server that answers what it is told to, and an
//! engine by hand whose store can be changed behind its back.

pub(super) use crate::common::*;
use async_trait::async_trait;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use contracts::{
    ExecutionId, WorkspaceId,
    command::SubmitIntent,
    event::ActorKind,
    governance::SetTrust,
    query::{GetTrace, ReplayTrace},
};
use countersign_it::{
    Client, TestServer, anywhere,
    fixture::{HandClock, Started},
};
use countersign_store::{
    Condition, Key, Notifier, Table, Write,
    memory::{MemoryBlobs, MemoryTable},
};
use cs_core::warrant;
use engine::{
    Caller, Config, Engine, FixedVaultKey, Ports, actor, agent_grants, approver_grants,
    ports::{NoMail, ToolAnswer, ToolCall, Tools},
};
use host::SystemIds;
use local::demo_tools;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

pub(super) fn pay(id: &str) -> Value {
    json!({ "id": id, "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } })
}

pub(super) fn find(id: &str) -> Value {
    json!({ "id": id, "use": "crm/customer.find", "with": { "email": "ada@x.org" } })
}

pub(super) fn send(id: &str) -> Value {
    json!({ "id": id, "use": "mail/message.send",
        "with": { "to": ["a@x.org"], "subject": "hi", "body": "b" } })
}

pub(super) fn code((status, answer): &(u16, Value)) -> (u16, &str) {
    (*status, answer["code"].as_str().unwrap_or_default())
}

/// A new key as a request makes it.
pub(super) async fn try_key(by: &Client, kind: &str, id: &str, names: &[&str]) -> (u16, Value) {
    by.post("/v1/keys", &json!({ "actor": { "kind": kind, "id": id }, "grants": grants(names) }))
        .await
}

/// A client with a new key.
pub(super) async fn key(
    server: &TestServer,
    by: &Client,
    kind: &str,
    id: &str,
    names: &[&str],
) -> Client {
    client(server, try_key(by, kind, id, names).await)
}

/// A client with the key that an answer holds.
pub(super) fn client(server: &TestServer, (status, answer): (u16, Value)) -> Client {
    assert_eq!(status, 201, "{answer}");
    Client::new(&server.url(), answer["apiKey"].as_str().unwrap())
}

/// A person who took no part in anything.
pub(super) async fn grace(server: &TestServer) -> Client {
    let names =
        ["approval", "execution.read", "execution.resolve", "execution.retry", "execution.cancel"];
    key(server, &server.approver, "human", "grace", &names).await
}

pub(super) async fn submit(by: &Client, body: Value) -> String {
    let (status, answer) = by.post("/v1/intents", &body).await;
    assert_eq!(status, 202, "{answer}");
    answer["executionId"].as_str().unwrap().to_owned()
}

pub(super) async fn submit_steps(by: &Client, steps: Value) -> String {
    submit(by, json!({ "text": "do it", "draft": { "steps": steps } })).await
}

/// Approves the plan, by what the approver of the server sees of it.
pub(super) async fn approve(server: &TestServer, by: &Client, id: &str) -> (u16, Value) {
    let view = server.settled(id).await;
    by.post(
        &format!("/v1/executions/{id}/approve"),
        &json!({ "bindingDigest": view["bindingDigest"] }),
    )
    .await
}

pub(super) fn step<'v>(view: &'v Value, id: &str) -> &'v Value {
    view["steps"].as_array().unwrap().iter().find(|step| step["stepId"] == id).unwrap()
}

/// An execution once a step waits for something.
pub(super) async fn waiting(server: &TestServer, id: &str, (of, reason): (&str, &str)) -> Value {
    for _ in 0..2_400 {
        let (_, answer) = server.approver.get(&format!("/v1/executions/{id}")).await;
        let view = answer["execution"].clone();
        if step(&view, of)["waitsFor"] == reason {
            return view;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{of} never waited for {reason}: {}", server.settled(id).await);
}

pub(super) async fn activate(server: &TestServer, rules: &str) -> (u16, Value) {
    let text = format!("{}\n{rules}", policy::BASELINE);
    server.approver.post("/v1/policies", &json!({ "policies": text })).await
}

pub(super) async fn freeze(server: &TestServer, scope: &str, key: &str, frozen: bool) {
    let body = json!({ "scope": scope, "key": key, "frozen": frozen });
    let (status, answer) = server.approver.post("/v1/freezes", &body).await;
    assert_eq!(status, 200, "{answer}");
}

/// A call as a tool received it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) operation: String,
    pub(super) body: Value,
    pub(super) callback: String,
    pub(super) warrant: String,
}

#[derive(Default)]
struct Recorded {
    /// By operation; the last one stays.
    answers: HashMap<String, VecDeque<(u16, Value)>>,
    received: Vec<Received>,
}

/// A tool server that answers what it is told to, and keeps what it was sent.
#[derive(Clone)]
pub(super) struct StubServer {
    url: String,
    book: Arc<Mutex<Recorded>>,
}

impl StubServer {
    pub(super) async fn start() -> Self {
        async fn call(
            State(book): State<Arc<Mutex<Recorded>>>,
            Path(name): Path<String>,
            headers: HeaderMap,
            body: Bytes,
        ) -> (StatusCode, Json<Value>) {
            let text = |name: &str| {
                headers
                    .get(name)
                    .map(|value| value.to_str().unwrap())
                    .unwrap_or_default()
                    .to_owned()
            };
            let mut book = book.lock().unwrap();
            book.received.push(Received {
                operation: name.clone(),
                body: serde_json::from_slice(&body).unwrap(),
                callback: text("countersign-callback"),
                warrant: text("countersign-warrant"),
            });
            let answers = book.answers.entry(name).or_default();
            let answer =
                if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            let (status, body) = answer.unwrap_or((200, json!({})));
            (StatusCode::from_u16(status).unwrap(), Json(body))
        }
        let book: Arc<Mutex<Recorded>> = Arc::default();
        let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/{operation}", post(call)).with_state(book.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, book }
    }

    /// What an operation answers next; the last of these stays.
    pub(super) fn answers(&self, operation: &str, status: u16, body: Value) {
        self.book
            .lock()
            .unwrap()
            .answers
            .entry(operation.into())
            .or_default()
            .push_back((status, body));
    }

    /// Forgets what was to be answered.
    pub(super) fn forget(&self) {
        self.book.lock().unwrap().answers.clear();
    }

    /// The calls of an operation.
    pub(super) fn calls(&self, operation: &str) -> Vec<Received> {
        let book = self.book.lock().unwrap();
        book.received.iter().filter(|call| call.operation == operation).cloned().collect()
    }

    /// The last call of an operation.
    pub(super) fn last(&self, operation: &str) -> Received {
        self.calls(operation).pop().unwrap_or_else(|| panic!("`{operation}` was not called"))
    }

    /// The last call of an operation, once there are so many.
    pub(super) async fn nth(&self, operation: &str, count: usize) -> Received {
        for _ in 0..2_400 {
            if self.calls(operation).len() >= count {
                return self.last(operation);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("`{operation}` was not called {count} times");
    }

    /// An operation of the skill `kit`: a read of low risk with free schemas, but for what `more`
    /// says.
    pub(super) fn operation(&self, key: &str, more: Value) -> Value {
        let mut operation = json!({ "key": key, "title": key, "effect": "read", "riskTier": "low",
            "inputSchema": { "type": "object" }, "outputSchema": { "type": "object" },
                "timeoutSeconds": 10,
            "retry": { "maxAttempts": 1, "backoffSeconds": 1, "maxBackoffSeconds": 1 },
            "binding": { "kind": "http", "url": format!("{}/{key}", self.url) } });
        for (name, value) in more.as_object().unwrap() {
            operation[name] = value.clone();
        }
        operation
    }

    /// The skill `kit` of some operations.
    pub(super) fn manifest(&self, operations: Vec<Value>) -> Value {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        json!({ "schemaVersion": "1.0.0", "skill": { "key": "kit", "version": "1.0.0" },
            "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
            "artifact": { "digest": format!("sha256:{empty}") }, "operations": operations })
    }
}

/// A server with the skill `kit`.
pub(super) async fn server_with(
    operations: impl FnOnce(&StubServer) -> Vec<Value>,
) -> (TestServer, StubServer) {
    let (server, stub) = (TestServer::start().await, StubServer::start().await);
    server.install(&server.approver, &stub.manifest(operations(&stub))).await;
    (server, stub)
}

/// Tools that answer by the last word of their URL, and keep what they were sent.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) answers: Mutex<HashMap<String, Value>>,
    /// Where it is not 200.
    pub(super) statuses: Mutex<HashMap<String, u16>>,
    pub(super) received: Mutex<Vec<(String, Value)>>,
}

#[async_trait]
impl Tools for Recorder {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        let url = serde_json::to_value(&call.binding).unwrap()["url"].as_str().unwrap().to_owned();
        let name = url.rsplit('/').next().unwrap().to_owned();
        let body = serde_json::from_slice(&call.body).unwrap();
        self.received.lock().unwrap().push((name.clone(), body));
        let answer = self.answers.lock().unwrap().get(&name).cloned().unwrap_or_else(|| json!({}));
        let status = self.statuses.lock().unwrap().get(&name).copied().unwrap_or(200);
        countersign_tools::http::answer(status, answer.to_string().as_bytes(), None)
    }
}

struct SilentNotifier;

#[async_trait]
impl Notifier for SilentNotifier {
    fn committed(&self, _: &WorkspaceId, _: &ExecutionId, _: bool) {}
    async fn wait_until_idle(&self, _: &ExecutionId, _: u64) {}
}

/// An engine without a server, with the skill `kit` and a recording tool.
pub(super) struct KitFixture {
    /// What it stores in.
    pub(super) table: Arc<MemoryTable>,
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<HandClock>,
    pub(super) tools: Arc<Recorder>,
    /// Who may do everything.
    pub(super) caller: Caller,
}

impl KitFixture {
    /// With the skill `kit`: reads of low risk, each by its key and what its manifest says more.
    pub(super) async fn new(operations: &[(&str, Value)]) -> Self {
        let table = Arc::new(MemoryTable::default());
        Self::over(table.clone(), table, operations).await
    }

    /// Over something around the table.
    pub(super) async fn over(
        around: Arc<dyn Table>,
        table: Arc<MemoryTable>,
        operations: &[(&str, Value)],
    ) -> Self {
        let (clock, tools) = (HandClock::new(), Arc::new(Recorder::default()));
        let ports = Ports {
            table: around,
            blobs: Arc::new(MemoryBlobs::default()),
            tools: tools.clone(),
            orchestrator: Arc::new(Started::default()),
            notifier: Arc::new(SilentNotifier),
            clock: clock.clone(),
            ids: Arc::new(SystemIds),
            signer: Arc::new(Arc::new(warrant::Ring::new(warrant::Key::new(&[7; 32])))),
            vault_keys: Arc::new(FixedVaultKey([3; 32])),
            mailer: Arc::new(NoMail),
            identity: Arc::new(engine::ports::NoIdentityProvider),
            archive: Arc::new(countersign_it::archive::MemoryArchive::default()),
        };
        let engine = Arc::new(Engine::new(
            ports,
            Config { allow_private_targets: true, ..Config::default() },
        ));
        let workspace: WorkspaceId = "acme".parse().unwrap();
        engine.access.create_workspace(&workspace).await.unwrap();
        let mut grants = agent_grants();
        grants.extend(approver_grants());
        let caller = Caller {
            workspace,
            actor: actor(ActorKind::Human, "root"),
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
        engine.trust.set_trust(&caller, trust).await.unwrap();
        let fixture = Self { table, engine, clock, tools, caller };
        fixture.install(operations, "1.0.0").await;
        fixture
    }

    /// Installs the skill `kit` at a version.
    pub(super) async fn install(&self, operations: &[(&str, Value)], version: &str) {
        let stub = StubServer { url: "http://tool.example".into(), book: Arc::default() };
        let operations =
            operations.iter().map(|(key, more)| stub.operation(key, more.clone())).collect();
        let mut manifest = stub.manifest(operations);
        manifest["skill"]["version"] = json!(version);
        let request = demo_tools::signed(&manifest, self.engine.now()).unwrap();
        self.engine.skills.install_skill(&self.caller, request).await.unwrap();
    }

    /// Submits steps and does what the state machine does, once each.
    pub(super) async fn run(&self, steps: Value) -> ExecutionId {
        let id = self.submit(steps).await;
        self.drive(&id).await.unwrap();
        id
    }

    pub(super) async fn submit(&self, steps: Value) -> ExecutionId {
        let request = json!({ "text": "do it", "draft": { "steps": steps } });
        let request: SubmitIntent = serde_json::from_value(request).unwrap();
        self.engine.intents.submit(&self.caller, request).await.unwrap().execution_id
    }

    pub(super) async fn drive(&self, id: &ExecutionId) -> engine::Answer<engine::Next> {
        let workspace = &self.caller.workspace;
        self.engine.plans.compile_task(workspace, id).await?;
        self.engine.verdicts.verify_task(workspace, id).await?;
        self.engine.runs.advance(workspace, id, 60_000).await
    }

    /// What replay says, as JSON.
    pub(super) async fn replay(&self, id: &ExecutionId) -> Value {
        let request = ReplayTrace { execution_id: id.clone() };
        serde_json::to_value(self.engine.replays.replay(&self.caller, request).await.unwrap())
            .unwrap()
    }

    /// The trace with its payloads.
    pub(super) async fn trace(&self, id: &ExecutionId) -> engine::Answer<Value> {
        let request = GetTrace { execution_id: id.clone(), include_payloads: true, from_seq: None };
        Ok(serde_json::to_value(self.engine.queries.trace(&self.caller, request).await?).unwrap())
    }

    /// Writes an item as it is found at another key.
    pub(super) async fn copy(&self, from: &Key, to: &Key) {
        let mut item = self.table.get(from).await.unwrap().unwrap_or_else(|| panic!("{from:?}"));
        if let Some(there) = self.table.get(to).await.unwrap() {
            item.version = there.version;
        }
        self.table
            .transact(vec![Write::Put { key: to.clone(), item, condition: Condition::Any }])
            .await
            .unwrap();
    }

    /// Deletes an item.
    pub(super) async fn delete(&self, key: &Key) {
        let write = Write::Delete { key: key.clone(), condition: Condition::Exists };
        self.table.transact(vec![write]).await.unwrap();
    }

    /// Changes the JSON of an item's body.
    pub(super) fn edit(&self, key: &Key, change: impl FnOnce(&mut Value)) {
        let mut found = false;
        self.table.tamper(key, |item| {
            found = true;
            let mut body: Value = serde_json::from_slice(&item.body).unwrap();
            change(&mut body);
            item.body = serde_json::to_vec(&body).unwrap();
        });
        assert!(found, "{key:?}");
    }
}
