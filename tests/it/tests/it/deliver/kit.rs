//! An engine whose subscribers answer what they are told to.

use async_trait::async_trait;
use contracts::{
    ExecutionId,
    manifest::Binding,
    subscription::{
        CreateSubscription, ListSubscriptions, NamedSubscription, RedeliverSubscription,
        SubscriptionRedelivered, SubscriptionStatus,
    },
};
use countersign_deliver::Deliverer;
use countersign_it::fixture::{Customers, EngineFixture};
use countersign_store::{Stream, memory::MemoryTable};
use engine::ports::{ToolAnswer, ToolCall, ToolReport, Tools};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex},
};

/// A delivery as a subscriber got it, and what it answered.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) hook: String,
    pub(super) subject: String,
    pub(super) sequence: u64,
    pub(super) id: String,
    pub(super) signature: String,
    pub(super) taken: bool,
}

/// Subscribers: what they answer, by the last word of their URL, and what they got.
#[derive(Default)]
pub(super) struct Hooks {
    /// The last one stays.
    answers: Mutex<HashMap<String, VecDeque<ToolAnswer>>>,
    silent: Mutex<BTreeSet<String>>,
    /// Subjects that are refused.
    refused: Mutex<BTreeSet<String>>,
    received: Mutex<Vec<Received>>,
}

/// An answer with a status.
pub(super) fn status(status: u16, retry_after_seconds: Option<u32>) -> ToolAnswer {
    countersign_tools::http::answer(status, b"", retry_after_seconds)
}

/// Nobody is there.
pub(super) fn unreached() -> ToolAnswer {
    ToolAnswer::Unreached("connection refused".into())
}

impl Hooks {
    pub(super) fn answer(&self, hook: &str, answers: impl IntoIterator<Item = ToolAnswer>) {
        self.answers.lock().unwrap().insert(hook.into(), answers.into_iter().collect());
    }
    pub(super) fn silence(&self, hook: &str, silent: bool) {
        let mut all = self.silent.lock().unwrap();
        if silent {
            all.insert(hook.into())
        } else {
            all.remove(hook)
        };
    }
    pub(super) fn refuse(&self, subject: &str) {
        self.refused.lock().unwrap().insert(subject.into());
    }
    pub(super) fn received(&self, hook: &str) -> Vec<Received> {
        let received = self.received.lock().unwrap();
        received.iter().filter(|one| one.hook == hook).cloned().collect()
    }
    /// Sequences of one subject that were taken, in their order.
    pub(super) fn taken(&self, hook: &str, subject: &str) -> Vec<u64> {
        let received = self.received(hook).into_iter();
        let taken = received.filter(|one| one.taken && one.subject == subject);
        taken.map(|one| one.sequence).collect()
    }
}

#[async_trait]
impl Tools for Hooks {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        let hook = match &call.binding {
            Binding::Http { url, .. } => url.strip_prefix("http://hook.example/"),
            _ => None,
        };
        let Some(hook) = hook.map(str::to_owned) else { return Customers.call(call).await };
        if self.silent.lock().unwrap().contains(&hook) {
            std::future::pending::<()>().await;
        }
        let event: Value = serde_json::from_slice(&call.body).unwrap();
        let subject = event["subject"].as_str().unwrap().to_owned();
        let answer = if self.refused.lock().unwrap().contains(&subject) {
            Some(ToolAnswer::Unknown(ToolReport::new("TOOL_500", "the tool answered 500")))
        } else {
            self.answers.lock().unwrap().get_mut(&hook).and_then(|answers| {
                if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
            })
        };
        let answer = answer.unwrap_or_else(|| status(204, None));
        let header = |name: &str| {
            let found = call.headers.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        self.received.lock().unwrap().push(Received {
            hook,
            subject,
            sequence: event["sequence"].as_u64().unwrap(),
            id: event["id"].as_str().unwrap().to_owned(),
            signature: header("webhook-signature"),
            taken: matches!(answer, ToolAnswer::Output(_)),
        });
        answer
    }
}

pub(super) struct DeliveryFixture {
    pub(super) engine: EngineFixture,
    pub(super) table: Arc<MemoryTable>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) deliverer: Deliverer,
}

/// The end of an execution: one event of its trace.
pub(super) const END: &str = "controlPlane.execution.completed";

impl DeliveryFixture {
    /// An engine whose log is delivered: what follows is what a test does.
    pub(super) async fn new() -> Self {
        let (table, hooks) = (Arc::new(MemoryTable::default()), Arc::new(Hooks::default()));
        let engine = EngineFixture::with_tools(table.clone(), hooks.clone()).await;
        let deliverer = Deliverer::new(engine.engine.clone());
        let fixture = Self { engine, table, hooks, deliverer };
        fixture.relay().await;
        fixture
    }

    /// Subscribes; its id.
    pub(super) async fn subscribe(&self, hook: &str, types: &[&str]) -> String {
        let url = format!("http://hook.example/{hook}");
        let types = types.iter().map(|kind| (*kind).to_owned()).collect();
        let request = CreateSubscription { url, types };
        let subscriptions = &self.engine.engine.subscriptions;
        let created = subscriptions.create_webhook(&self.engine.agent, request).await.unwrap();
        created.subscription.id
    }

    pub(super) async fn submit(&self) -> ExecutionId {
        let with = json!({ "email": "a@x.org" });
        self.engine.submit(json!([{ "id": "a", "use": "crm/customer.find", "with": with }])).await
    }

    /// An execution from its beginning to its end: seven events.
    pub(super) async fn run(&self) -> ExecutionId {
        let id = self.submit().await;
        self.engine.drive(&id).await;
        id
    }

    /// What the relay does: once for each stream with something in the outbox.
    pub(super) async fn relay(&self) {
        let engine = &self.engine.engine;
        for (workspace, stream) in engine.store().outbox().await.unwrap() {
            self.relay_one(&workspace, &stream).await;
        }
    }

    async fn relay_one(&self, workspace: &contracts::WorkspaceId, stream: &Stream) {
        let engine = &self.engine.engine;
        let (sent, outcome) = engine.relay.publish(workspace, stream, &self.deliverer).await;
        outcome.unwrap();
        engine.store().sent(&sent).await.unwrap();
    }

    /// What is due now, once.
    pub(super) async fn due(&self) {
        self.deliverer.due(1_000).await.unwrap();
    }

    /// The clock at the next moment at which something is due; by how much it was moved.
    pub(super) async fn wait(&self) -> Option<i64> {
        let next = self.deliverer.next_due().await.unwrap()?;
        let ms = (next.ms() - self.engine.engine.now().ms()).max(0);
        self.engine.clock.pass(ms);
        Some(ms)
    }

    pub(super) async fn list(&self) -> Vec<SubscriptionStatus> {
        self.deliverer.list(&self.engine.agent, ListSubscriptions {}).await.unwrap().items
    }

    pub(super) async fn redeliver(
        &self,
        webhook_id: &str,
        subject: Option<&str>,
    ) -> SubscriptionRedelivered {
        let subject = subject.map(str::to_owned);
        let request = RedeliverSubscription { webhook_id: webhook_id.into(), subject };
        self.deliverer.redeliver(&self.engine.agent, request).await.unwrap()
    }

    pub(super) async fn remove(&self, webhook_id: &str) {
        let request = NamedSubscription { webhook_id: webhook_id.into() };
        let subscriptions = &self.engine.engine.subscriptions;
        subscriptions.remove_webhook(&self.engine.agent, request).await.unwrap();
    }

    /// What is stored of deliveries: keys of cursors, of what is due, of targets.
    pub(super) fn stored(&self) -> [Vec<String>; 3] {
        let keys: Vec<String> = self
            .table
            .dump()
            .into_keys()
            .map(|key| format!("{} {}", key.partition, key.sort))
            .collect();
        ["#cursor#", "due#", "#target"].map(|part| {
            let mine = |key: &&String| key.split(' ').next().unwrap().contains(part);
            keys.iter().filter(mine).cloned().collect()
        })
    }
}
