//! An engine with a channel of Slack, and requests as Slack signs them.

use contracts::{
    channel::PutChannel,
    event::ActorKind,
    query::{ExecutionList, ListExecutions},
};
use countersign_it::fixture::EngineFixture;
use countersign_store::{Table, memory::MemoryTable};
use engine::{Answer, Caller, ProviderRequest, actor};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

pub(super) const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
pub(super) const TEAM: &str = "T061EG9R6";

/// `v0=` and the signature of a body of Slack.
pub(super) fn slack_signature(secret: &str, seconds: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("v0:{seconds}:").as_bytes());
    mac.update(body);
    format!("v0={}", hex::encode(mac.finalize().into_bytes()))
}

/// A message in a channel of Slack, as Slack tells of it.
pub(super) fn message(event_id: &str, team: &str, channel: &str, text: &str) -> Value {
    json!({ "type": "event_callback", "team_id": team, "event_id": event_id,
        "event_time": 1_795_001_400, "event": { "type": "message", "channel": channel,
            "user": "U214", "text": text, "ts": "1795001400.000100" } })
}

/// A channel that submits what it is told, and answers nobody.
pub(super) fn support() -> Value {
    json!({ "channelKey": "support", "provider": "slack", "signingSecret": SECRET,
        "sources": [{ "team": TEAM, "channels": ["C1"] }],
        "rules": [{ "draft": { "steps": [{ "id": "a", "use": "crm/customer.find",
            "with": { "email": "a@x.org" } }] } }] })
}

pub(super) fn put_channel(value: Value) -> PutChannel {
    serde_json::from_value(value).unwrap()
}

/// An engine in memory, whose clock the test moves.
pub(super) struct ChannelFixture {
    pub(super) fixture: EngineFixture,
    pub(super) person: Caller,
}

impl ChannelFixture {
    /// With the channel `support`.
    pub(super) async fn start() -> Self {
        Self::over(Arc::new(MemoryTable::default())).await
    }

    pub(super) async fn over(table: Arc<dyn Table>) -> Self {
        let fixture = EngineFixture::new(table).await;
        let person = Caller { actor: actor(ActorKind::Human, "ada"), ..fixture.agent.clone() };
        let this = Self { fixture, person };
        this.put(support()).await.unwrap();
        this
    }

    pub(super) async fn put(&self, channel: Value) -> Answer<contracts::channel::ChannelView> {
        self.fixture.engine.channels.put(&self.person, put_channel(channel)).await
    }

    /// A request as Slack signs it now.
    pub(super) fn signed(&self, secret: &str, body: &Value) -> ProviderRequest {
        self.signed_text(secret, &body.to_string())
    }

    pub(super) fn signed_text(&self, secret: &str, body: &str) -> ProviderRequest {
        let seconds = self.fixture.engine.now().ms() / 1_000;
        let headers = BTreeMap::from([
            ("x-slack-request-timestamp".to_owned(), seconds.to_string()),
            ("x-slack-signature".to_owned(), slack_signature(secret, seconds, body.as_bytes())),
        ]);
        ProviderRequest {
            provider: contracts::channel::Provider::Slack,
            channel: "acme.support".into(),
            headers,
            query: String::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    pub(super) async fn receive(&self, request: ProviderRequest) -> Answer<Option<String>> {
        self.fixture.engine.inbound.receive(request).await
    }

    /// Works on what waits.
    pub(super) async fn work(&self) -> u64 {
        let until = self.fixture.engine.now().plus_ms(60_000);
        self.fixture.engine.inbound.work_all(until).await.unwrap()
    }

    /// Executions of the workspace.
    pub(super) async fn executions(&self) -> ExecutionList {
        let all = ListExecutions::default();
        self.fixture.engine.queries.list(&self.person, all).await.unwrap()
    }

    pub(super) async fn count(&self) -> usize {
        self.executions().await.items.len()
    }
}
