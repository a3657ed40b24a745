//! A control plane in this process with its demo tools: what pages are shown of.

use client::Client;
use contracts::{
    ExecutionId,
    access::CreateKey,
    command::{ActivatePolicy, SubmitIntent},
    directory::{Group, Person, PutGroup, PutPerson},
    governance::SetTrust,
    grant, operation as op,
    query::ExecutionView,
};
use countersign_store::Clock as _;
use cs_core::link::{Claims, LinkKey};
use host::SystemClock;
use local::{
    Identity, Node, Options,
    demo_tools::{self, DemoTools},
    identity::IdentityOptions,
    mail::{FOLDER, KeptMail, MailFolder},
};
use mail_parser::MessageParser;
use serde_json::{Value, json};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long an execution may take until it moves no more on its own.
const SETTLED: Duration = Duration::from_secs(20);

/// It, who uses it, and its data.
pub struct World {
    pub node: Node,
    pub tools: DemoTools,
    pub identity: Identity,
    pub agent: Client,
    pub approver: Client,
    pub data: TempDir,
}

impl World {
    /// With the demo's skills installed.
    pub async fn start() -> Self {
        Self::with_identity(Default::default()).await
    }

    /// The same, where people sign in by an identity provider.
    pub async fn with_identity(identity: IdentityOptions) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let data = tempfile::tempdir().unwrap();
        let tools = DemoTools::start(any).await.unwrap();
        let options = Options {
            data: data.path().join("data"),
            listen: any,
            allow_private_targets: true,
            new_warrant_key: false,
            subscriber: None,
            public_url: None,
            mail: Default::default(),
            identity,
        };
        let node = Node::start(options).await.unwrap();
        let identity = node.identity(&"default".parse().unwrap()).await.unwrap();
        let agent = Client::new(&node.url(), &identity.agent_key).unwrap();
        let approver = agent.with_key(&identity.approver_key);
        tools.trust(&node.url());
        let trust =
            SetTrust { trust: demo_tools::trust_policy(), expected_version: None, reason: None };
        approver.call(&op::TRUST_SET, &trust).await.unwrap();
        for manifest in tools.manifests().unwrap() {
            let signed = demo_tools::signed(&manifest, SystemClock.now()).unwrap();
            approver.call(&op::SKILL_INSTALL, &signed).await.unwrap();
        }
        Self { node, tools, identity, agent, approver, data }
    }

    /// The URL of a page.
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.node.url())
    }

    /// Submits a draft as the agent, and waits until it moves no more on its own.
    pub async fn submit(&self, text: &str, draft: Value) -> ExecutionView {
        let draft = contracts::json::typed(draft).unwrap();
        let intent = SubmitIntent { draft: Some(draft), ..SubmitIntent::new(text) };
        let id = self.agent.submit(&intent).await.unwrap().into_inner().execution_id;
        self.settled(&id).await
    }

    /// An execution once nothing of it moves.
    pub async fn settled(&self, id: &ExecutionId) -> ExecutionView {
        self.agent.settled(id, SETTLED).await.unwrap().into_inner()
    }

    /// Policies beside the baseline.
    pub async fn activate(&self, own: &str) {
        let policies = format!("{}\n{own}", policy::BASELINE);
        let request =
            ActivatePolicy { policies, note: None, dry_run: false, backtest_days: Some(0) };
        self.approver.call(&op::POLICY_ACTIVATE, &request).await.unwrap();
    }

    /// The link of the latest mail to an address about an execution, waited for.
    pub async fn link(&self, address: &str) -> String {
        let folder = self.data.path().join("data").join(FOLDER);
        let until = Instant::now() + SETTLED;
        loop {
            let mails = MailFolder::list(&folder).unwrap();
            let found = mails.iter().rev().find_map(|mail| link_of(mail, address));
            if let Some(link) = found {
                return link;
            }
            assert!(Instant::now() < until, "no mail to {address}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A link like another one, whose time is over.
    pub async fn expired(&self, link: &str) -> String {
        let (base, token) = link.rsplit_once('/').unwrap();
        let key = LinkKey::of(self.node.engine().ports().signer.ring().await.unwrap().as_ref());
        let claims = key.verify(token, &self.node.url(), SystemClock.now()).unwrap();
        let claims = Claims { expires_at: claims.issued_at.plus_ms(1), ..claims };
        format!("{base}/{}", key.mint(&claims).unwrap())
    }

    /// A person of the directory with a key: the key.
    pub async fn person(&self, id: &str, group: &str) -> String {
        let person = Person {
            id: id.into(),
            name: None,
            mail: Some(format!("{id}@example.com")),
            slack: None,
            oidc: None,
            aliases: Default::default(),
            delegate: None,
            digest: Default::default(),
        };
        self.approver.call(&op::PERSON_PUT, &PutPerson { person, reason: None }).await.unwrap();
        let group = Group {
            name: group.into(),
            members: [id.to_owned()].into(),
            escalate: None,
            remind_after_seconds: None,
            claim: None,
        };
        self.approver.call(&op::GROUP_PUT, &PutGroup { group, reason: None }).await.unwrap();
        let key = CreateKey {
            actor: None,
            person: Some(id.into()),
            grants: grant::known(),
            expires_at: None,
        };
        let made = self.approver.call(&op::KEY_CREATE, &key).await.unwrap();
        made.into_inner().api_key.unwrap()
    }
}

/// The link of a mail.
fn link_of(mail: &KeptMail, address: &str) -> Option<String> {
    let message = fs::read(&mail.path).unwrap();
    let message = MessageParser::default().parse(&message).unwrap();
    let to = message.to().and_then(|to| to.first()).and_then(|to| to.address());
    let text = message.body_text(0).unwrap();
    let link = text.split_whitespace().find(|word| word.contains("/a/"))?;
    (to == Some(address)).then(|| link.to_owned())
}

/// A refund of a customer who is known: people are asked once.
pub fn known_refund(amount: u64) -> Value {
    json!({ "steps": [
        { "id": "customer", "use": "crm/customer.find@^1", "with": { "email": "ada@example.com" } },
        { "id": "refund", "use": "payments/refund.create@^2", "after": ["customer"],
          "with": { "customer": "cus_ada", "amount": amount, "currency": "EUR" } },
    ] })
}

/// A refund with a mail after it: high risk, so that people decide.
pub fn refund(amount: u64) -> Value {
    json!({
        "steps": [
            { "id": "customer", "use": "crm/customer.find@^1",
              "with": { "email": "ada@example.com" } },
            { "id": "refund", "use": "payments/refund.create@^2",
              "with": { "customer": { "$from": "customer", "path": "/id" }, "amount": amount,
                        "currency": "EUR", "card": "4111-1111-1111-1111" } },
            { "id": "tell", "use": "mail/message.send@^1",
              "with": { "to": ["ada@example.com"], "subject": "Your refund",
                        "body": { "$from": "refund", "path": "/refundId" } } },
        ],
        "budget": { "writes": 3, "money": { "EUR": 5000 } },
    })
}

/// Two lookups: low risk, runs on its own.
pub fn lookup() -> Value {
    json!({ "steps": [
        { "id": "ada", "use": "crm/customer.find@^1", "with": { "email": "ada@example.com" } },
        { "id": "bob", "use": "crm/customer.find@^1", "with": { "email": "bob@example.com" } },
    ] })
}
