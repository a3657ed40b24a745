//! An engine with persons, whose mails are kept, and a browser for its links.

use axum::{Router, body::Body};
use contracts::{
    ExecutionId,
    directory::{Group, Person, PutGroup, PutPerson},
    event::ActorKind,
    id::ApprovalId,
};
use countersign_deliver::Deliverer;
use countersign_it::fixture::{Customers, EngineFixture};
use countersign_store::{Item, Key, memory::MemoryTable};
use engine::{Caller, actor, ports::Tools};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use mail_parser::MessageParser;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};
use tower::ServiceExt as _;

/// Where the engine is.
pub(super) const HERE: &str = "http://127.0.0.1:7411";
pub(super) const ADA: &str = "ada@example.com";
pub(super) const BOB: &str = "bob@example.com";

pub(super) struct PeopleFixture {
    pub(super) engine: EngineFixture,
    pub(super) table: Arc<MemoryTable>,
    pub(super) deliverer: Deliverer,
    /// A person who keeps the directory.
    pub(super) root: Caller,
}

/// An answer to a browser.
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) response: Response<()>,
}

impl Page {
    /// The value of a hidden field.
    pub(super) fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let from = self.text.find(&mark).unwrap_or_else(|| panic!("{name}: {}", self.text));
        let rest = &self.text[from + mark.len()..];
        rest[..rest.find('"').unwrap()].to_owned()
    }
    pub(super) fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A form's fields.
pub(super) fn fields(page: &Page, decision: &str, reason: &str) -> Vec<(String, String)> {
    let own = |name: &str| (name.to_owned(), page.field(name));
    vec![
        own("nonce"),
        own("view"),
        ("decision".to_owned(), decision.to_owned()),
        ("reason".to_owned(), reason.to_owned()),
    ]
}

impl PeopleFixture {
    /// Ada and Bob are the persons of a workspace.
    pub(super) async fn new() -> Self {
        Self::with_tools(Arc::new(Customers)).await
    }

    /// The same, with tools of the test's own.
    pub(super) async fn with_tools(tools: Arc<dyn Tools>) -> Self {
        let table = Arc::new(MemoryTable::default());
        let engine = EngineFixture::with_tools(table.clone(), tools).await;
        let root = Caller { actor: actor(ActorKind::Human, "root"), ..engine.agent.clone() };
        let deliverer = Deliverer::new(engine.engine.clone());
        let fixture = Self { engine, table, deliverer, root };
        fixture.person("ada", Some(ADA)).await;
        fixture.person("bob", Some(BOB)).await;
        fixture.relay().await;
        fixture
    }

    pub(super) async fn person(&self, id: &str, mail: Option<&str>) {
        self.person_with(id, mail, false).await;
    }

    /// Adds a person, or changes one; `digest`: who wants requests gathered.
    pub(super) async fn person_with(&self, id: &str, mail: Option<&str>, digest: bool) {
        let person = Person {
            id: id.into(),
            name: None,
            mail: mail.map(str::to_owned),
            slack: None,
            oidc: None,
            aliases: Default::default(),
            digest,
            delegate: None,
        };
        let request = PutPerson { person, reason: None };
        self.engine.engine.access.put_person(&self.root, request).await.unwrap();
    }

    pub(super) async fn group(&self, group: Group) {
        let request = PutGroup { group, reason: None };
        self.engine.engine.access.put_group(&self.root, request).await.unwrap();
    }

    /// What is stored of a request asks for one person of this group, as if a policy had said so.
    pub(super) fn ask_group(&self, id: &ExecutionId, group: &str) {
        let key = countersign_store::keys::approval(&self.root.workspace, id, 0);
        self.table.tamper(&key, |item| {
            let body = String::from_utf8(item.body.clone()).unwrap();
            let (before, after) = (r#""group":"approvers""#, format!(r#""group":"{group}""#));
            assert!(body.contains(before), "{body}");
            item.body = body.replace(before, &after).into_bytes();
        });
    }

    /// What is stored of a request asks for two persons, as if a policy had said so.
    pub(super) fn ask_two(&self, id: &ExecutionId) {
        let key = countersign_store::keys::approval(&self.root.workspace, id, 0);
        self.table.tamper(&key, |item| {
            let body = String::from_utf8(item.body.clone()).unwrap();
            let (before, after) = (r#""count":1"#, r#""count":2"#);
            assert!(body.contains(before), "{body}");
            item.body = body.replace(before, after).into_bytes();
        });
    }

    /// What is stored of a request asks for one person of each group.
    pub(super) fn ask_groups(&self, id: &ExecutionId, groups: &[&str]) {
        let key = countersign_store::keys::approval(&self.root.workspace, id, 0);
        let one = |group: &&str| format!(r#"{{"count":1,"group":"{group}"}}"#);
        let wanted = groups.iter().map(one).collect::<Vec<_>>().join(",");
        self.table.tamper(&key, |item| {
            let body = String::from_utf8(item.body.clone()).unwrap();
            let start = body.find(r#""requirement":["#).unwrap() + r#""requirement":["#.len();
            let end = start + body[start..].find(']').unwrap();
            item.body = format!("{}{wanted}{}", &body[..start], &body[end..]).into_bytes();
        });
    }

    /// A refund that waits for people.
    pub(super) async fn ask(&self) -> (ExecutionId, ApprovalId) {
        let with = json!({ "customer": "cus_ada", "amount": 4200, "currency": "EUR" });
        let steps = json!([{ "id": "refund", "use": "payments/refund.create", "with": with }]);
        let id = self.engine.submit(steps).await;
        self.engine.drive(&id).await;
        let loaded = self.engine.engine.store().load(&self.root.workspace, &id).await.unwrap();
        (id, loaded.state.approvals.last().unwrap().id.clone())
    }

    /// What the relay does.
    pub(super) async fn relay(&self) {
        let engine = &self.engine.engine;
        for (workspace, stream) in engine.store().outbox().await.unwrap() {
            let (sent, outcome) = engine.relay.publish(&workspace, &stream, &self.deliverer).await;
            outcome.unwrap();
            engine.store().sent(&sent).await.unwrap();
        }
    }

    /// Moves the clock to what is due next, and does it. By how much it was moved.
    pub(super) async fn wait(&self) -> Option<i64> {
        let next = self.deliverer.next_due().await.unwrap()?;
        let ms = (next.ms() - self.engine.engine.now().ms()).max(0);
        self.engine.clock.pass(ms);
        self.deliverer.due(1_000).await.unwrap();
        Some(ms)
    }

    /// Subjects of the mails to an address.
    pub(super) fn subjects(&self, to: &str) -> Vec<String> {
        let mails = self.engine.mails.sent().into_iter();
        let own = mails.filter(|mail| mail.to.as_str() == to);
        own.map(|mail| {
            let parsed = MessageParser::default().parse(&mail.message).unwrap();
            parsed.subject().unwrap().to_owned()
        })
        .collect()
    }

    /// The path of the link in the last mail to an address.
    pub(super) fn link(&self, to: &str) -> String {
        let mails = self.engine.mails.sent();
        let mail = mails.iter().rfind(|mail| mail.to.as_str() == to).unwrap();
        let parsed = MessageParser::default().parse(&mail.message).unwrap();
        let text = parsed.body_text(0).unwrap();
        let url = text.split_whitespace().find(|word| word.starts_with(HERE)).unwrap();
        assert!(parsed.body_html(0).unwrap().contains(url), "both parts have the link");
        url.strip_prefix(HERE).unwrap().to_owned()
    }

    /// Everything that is stored.
    pub(super) fn stored(&self) -> BTreeMap<Key, Item> {
        self.table.dump()
    }

    fn router(&self) -> Router {
        fn_approve::routes().into_router().with_state(self.engine.engine.clone())
    }

    pub(super) async fn request(&self, request: Request<Body>) -> Page {
        let response = self.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Page {
            status: parts.status.as_u16(),
            text: String::from_utf8(bytes.to_vec()).unwrap(),
            response: Response::from_parts(parts, ()),
        }
    }

    pub(super) async fn open(&self, method: &str, path: &str) -> Page {
        let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:7411");
        self.request(request.body(Body::empty()).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> Page {
        self.open("GET", path).await
    }

    /// Asks for a page with a cookie.
    pub(super) async fn get_with(&self, path: &str, cookie: &str) -> Page {
        let request = Request::builder().uri(path).header("host", "127.0.0.1:7411");
        self.request(request.header("cookie", cookie).body(Body::empty()).unwrap()).await
    }

    /// Sends a form as a browser does from a page of ours.
    pub(super) async fn post(&self, path: &str, fields: &[(String, String)]) -> Page {
        self.post_from(path, fields, Some("null"), "same-origin").await
    }

    pub(super) async fn post_from(
        &self,
        path: &str,
        fields: &[(String, String)],
        origin: Option<&str>,
        site: &str,
    ) -> Page {
        let escape =
            |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        let mut request = Request::builder()
            .method("POST")
            .uri(path)
            .header("host", "127.0.0.1:7411")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", site);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        self.request(request.body(Body::from(pairs.join("&"))).unwrap()).await
    }

    /// Events of a trace that say so.
    pub(super) async fn count(&self, id: &ExecutionId, kind: &str) -> usize {
        let stream = countersign_store::Stream::Trace(id.clone());
        let store = self.engine.engine.store();
        let entries = store.entries(&self.root.workspace, &stream, 1..=10_000, 10_000).await;
        let entries = entries.unwrap().into_iter();
        entries.filter(|entry| entry.event.key() == format!("controlPlane.{kind}")).count()
    }
}
