//! The console in one process: pages, sessions and forms, as a browser sees them.

mod alone;
mod decisions;
mod edits;
mod enter;
mod foreign;
mod foreign_people;
mod forms;
mod openid;
mod second_factor;
mod sessions;
mod several;
mod sizes;

use countersign_it::{Client, TestServer, fixture::EngineFixture};
use countersign_store::memory::MemoryTable;
use engine::ports::Tools;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// A browser: cookies, and headers that say where a form comes from.
pub(crate) struct Browser {
    http: reqwest::Client,
    url: String,
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) origin: Option<String>,
    pub(crate) site: Option<&'static str>,
}

/// An answer to it.
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The fields of the first form that is sent to a path which ends so, as a person sends it.
    #[track_caller]
    pub(crate) fn form(&self, action: &str) -> Form {
        let found = self.text.split("<form").skip(1).find_map(|form| {
            let form = form.split("</form>").next().unwrap();
            let to = attribute(form, "action")?;
            to.ends_with(action).then(|| (to, form.to_owned()))
        });
        let (to, form) = found.unwrap_or_else(|| panic!("no form to {action}: {}", self.text));
        let hidden = form.split("<input").skip(1).filter(|input| input.contains("type=\"hidden\""));
        let fields = hidden.map(|input| {
            (attribute(input, "name").unwrap(), attribute(input, "value").unwrap_or_default())
        });
        Form { action: to, fields: fields.collect() }
    }
}

/// A form of a page.
#[derive(Clone)]
pub(crate) struct Form {
    pub(crate) action: String,
    pub(crate) fields: BTreeMap<String, String>,
}

impl Form {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.insert(name.to_owned(), value.to_owned());
        self
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let rest = tag.split(&format!("{name}=\"")).nth(1)?;
    let value = rest.split('"').next()?;
    Some(value.replace("&#38;", "&").replace("&#34;", "\"").replace("&#39;", "'"))
}

impl Browser {
    pub(crate) fn new(server: &TestServer) -> Self {
        Self::at(server.url())
    }

    pub(crate) fn at(url: String) -> Self {
        let origin = Some(url.clone());
        let http = countersign_it::http();
        Self { http, url, cookies: BTreeMap::new(), origin, site: Some("same-origin") }
    }

    /// One that has signed in with a key.
    pub(crate) async fn signed_in(server: &TestServer, key: &str) -> Self {
        let mut browser = Self::new(server);
        let answer = browser.sign_in(key).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        browser
    }

    pub(crate) async fn sign_in(&mut self, key: &str) -> Seen {
        let page = self.get("/console/sign-in").await;
        self.send(page.form("/console/sign-in").with("key", key)).await
    }

    /// What this deployment calls a cookie.
    pub(crate) fn named(&self, stem: &str) -> String {
        countersign_it::cookie(stem, &self.url)
    }

    pub(crate) fn session(&self) -> &str {
        self.cookies.get(&self.named("session")).map(String::as_str).unwrap_or_default()
    }

    pub(crate) async fn ask(&mut self, method: &str, path: &str) -> Seen {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url));
        self.exchange(request).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Seen {
        self.ask("GET", path).await
    }

    pub(crate) async fn send(&mut self, form: Form) -> Seen {
        let mut body = String::new();
        for (name, value) in &form.fields {
            let escape = |text: &str| edge::page::escaped(text);
            body += &format!("{}={}&", escape(name), escape(value));
        }
        let mut request = self
            .http
            .post(format!("{}{}", self.url, form.action))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        if let Some(origin) = &self.origin {
            request = request.header("origin", origin);
        }
        if let Some(site) = self.site {
            request = request.header("sec-fetch-site", site);
        }
        self.exchange(request).await
    }

    async fn exchange(&mut self, mut request: reqwest::RequestBuilder) -> Seen {
        if !self.cookies.is_empty() {
            let pairs = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
            request = request.header("cookie", pairs.collect::<Vec<_>>().join("; "));
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        for cookie in headers.get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
            let (name, value) = pair.split_once('=').unwrap();
            match value {
                "" => self.cookies.remove(name),
                value => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        let text = response.text().await.unwrap();
        Seen { status, headers, text }
    }
}

/// Pages that everybody who signed in may see, beside those of one execution.
pub(crate) const PAGES: &[&str] = &[
    "/console",
    "/console/inbox",
    "/console/inbox?mine=false",
    "/console/inbox?mine=false&kind=&riskTier=high&group=",
    "/console/inbox/several",
    "/console/executions",
    "/console/executions?status=blocked",
    "/console/executions?status=&actorId=",
    "/console/skills",
    "/console/policies",
    "/console/policies/simulator",
    "/console/budgets",
    "/console/freezes",
    "/console/people",
    "/console/mandates",
    "/console/subscriptions",
    "/console/log",
];

/// The views of one execution.
pub(crate) fn views(id: &str) -> [String; 4] {
    ["", "?show=verdict", "?show=trace", "?show=outputs"]
        .map(|show| format!("/console/executions/{id}{show}"))
}

/// A refund that waits for a person; its execution.
pub(crate) async fn refund(client: &Client, server: &TestServer, text: &str) -> String {
    let inputs = json!({ "email": "ada@example.com", "amount": 4_200, "currency": "EUR" });
    let body = json!({ "text": text, "playbook": { "key": "payments/refund", "inputs": inputs } });
    let (status, answer) = client.post("/v1/intents", &body).await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["executionId"].as_str().unwrap().to_owned();
    server.until(&id, "blocked").await;
    id
}

/// The console over a table in memory, with tools of the test's own.
pub(crate) struct InMemory {
    pub(crate) table: Arc<MemoryTable>,
    pub(crate) fixture: EngineFixture,
    pub(crate) browser: Browser,
}

impl InMemory {
    pub(crate) async fn start(tools: Arc<dyn Tools>) -> Self {
        let table = Arc::new(MemoryTable::default());
        let fixture = EngineFixture::with_tools(table.clone(), tools).await;
        let workspace = &fixture.agent.workspace;
        let (_, key) = fn_access::create_workspace(&fixture.engine, workspace).await.unwrap();
        let listener = tokio::net::TcpListener::bind(countersign_it::anywhere()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = local::routes().into_router().with_state(fixture.engine.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut browser = Browser::at(url);
        assert_eq!(browser.sign_in(&key).await.status, 303);
        Self { table, fixture, browser }
    }
}
