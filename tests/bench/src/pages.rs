//! Pages of the console at few and at many executions: time to the first byte, and size. The same
//! node, the same pages, one run, so that what grows with executions is seen on any machine.

use crate::{Row, chain, percentile};
use client::Client;
use contracts::{
    ExecutionId, command::SubmitIntent, governance::SetTrust, limits::GET_WAIT_SECONDS_MAX,
    operation as op, query::GetExecution,
};
use cs_core::canonical::digest_bytes;
use engine::{Credential, Engine};
use futures_util::{StreamExt as _, stream};
use local::demo_tools::{self, DemoTools};
use serde_json::{Value, json};
use std::{net::Ipv4Addr, sync::Arc, time::Instant};

/// Executions at the first look.
const FEW: usize = 10;
/// One in so many waits for people.
const ONE_WAITS_IN: usize = 10;
/// Submitted at once.
const CONCURRENT: usize = 32;
/// Looks at each page.
const LOOKS: usize = 15;
/// Most bytes of a page.
const PAGE_BYTES_MAX: f64 = 50_000.0;
/// Most milliseconds to the first byte.
const FIRST_BYTE_MS_MAX: f64 = 50.0;

/// Looks at every page at ten executions and at so many.
pub async fn run(rows: &mut Vec<Row>, many: usize) {
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let tools = DemoTools::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let node = chain::start(folder.path()).await;
    let identity = node.identity(&"bench".parse().unwrap()).await.unwrap();
    let agent = Client::new(&node.url(), &identity.agent_key).unwrap();
    let approver = agent.with_key(&identity.approver_key);
    tools.trust(&node.url());
    let trust =
        SetTrust { trust: demo_tools::trust_policy(), expected_version: None, reason: None };
    approver.call(&op::TRUST_SET, &trust).await.unwrap();
    for manifest in tools.manifests().unwrap() {
        let signed = demo_tools::signed(&manifest, node.engine().now()).unwrap();
        approver.call(&op::SKILL_INSTALL, &signed).await.unwrap();
    }
    let visitor = Visitor::sign_in(node.engine(), &node.url(), &identity.approver_key).await;
    let (waits, ran) = submit(&agent, 0..FEW).await;
    let few = visitor.look(&waits, &ran).await;
    submit(&agent, FEW..many).await;
    let last = visitor.look(&waits, &ran).await;
    for (before, after) in few.into_iter().zip(last) {
        let name = |what: &str, count: usize| format!("{}, {count} executions: {what}", after.page);
        rows.push(Row::new(name("first byte p50", FEW), before.first_byte_ms, "ms"));
        let first = Row::new(name("first byte p50", many), after.first_byte_ms, "ms");
        rows.push(first.at_most(FIRST_BYTE_MS_MAX));
        let size = Row::new(name("size", many), after.bytes, "bytes");
        rows.push(size.at_most(PAGE_BYTES_MAX));
    }
}

// Plans that run on their own, and some that wait for people: one of each kind is given back.
async fn submit(agent: &Client, which: std::ops::Range<usize>) -> (ExecutionId, ExecutionId) {
    let all = stream::iter(which.clone()).map(|index| {
        let waits = index.is_multiple_of(ONE_WAITS_IN);
        async move { (waits, execute(agent, index, waits).await) }
    });
    let ids: Vec<(bool, ExecutionId)> = all.buffer_unordered(CONCURRENT).collect().await;
    let one = |kind: bool| ids.iter().find(|(waits, _)| *waits == kind).unwrap().1.clone();
    (one(true), one(false))
}

async fn execute(agent: &Client, index: usize, waits: bool) -> ExecutionId {
    let find = json!({ "id": "customer", "use": "crm/customer.find@^1",
        "with": { "email": format!("customer{index}@example.com") } });
    let refund = json!({ "id": "refund", "use": "payments/refund.create@^2", "after": ["customer"],
        "with": { "customer": "cus_ada", "amount": 4_200 + index, "currency": "EUR" } });
    let steps: Vec<Value> = if waits { vec![find, refund] } else { vec![find] };
    let draft = contracts::json::typed(json!({ "steps": steps })).unwrap();
    let intent =
        SubmitIntent { draft: Some(draft), ..SubmitIntent::new(format!("Customer {index}")) };
    let id = agent.submit(&intent).await.unwrap().into_inner().execution_id;
    let until_idle = GetExecution {
        execution_id: id.clone(),
        wait_seconds: Some(GET_WAIT_SECONDS_MAX),
        include_plan: false,
        include_view: Some(false),
    };
    agent.call(&op::EXECUTION_GET, &until_idle).await.unwrap();
    id
}

/// What was seen of a page.
struct Seen {
    page: String,
    first_byte_ms: f64,
    bytes: f64,
}

/// A person who has signed in.
struct Visitor {
    http: reqwest::Client,
    url: String,
    cookie: String,
}

impl Visitor {
    async fn sign_in(engine: &Arc<Engine>, url: &str, key: &str) -> Self {
        let opened = engine.sessions.open(Credential::Key(key.to_owned())).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().unwrap();
        let address = digest_bytes(engine.config().public_url.as_bytes());
        let name = format!("countersign-session-{}", &address.hex()[..8]);
        let cookie = format!("{name}={}", opened.token);
        Self { http, url: url.to_owned(), cookie }
    }

    async fn look(&self, waits: &ExecutionId, ran: &ExecutionId) -> Vec<Seen> {
        let mut pages: Vec<(String, String)> = [
            "",
            "/inbox",
            "/inbox?mine=false",
            "/executions",
            "/executions?status=blocked",
            "/executions?status=failed",
            "/skills",
            "/policies",
            "/policies/simulator",
            "/budgets",
            "/freezes",
            "/people",
            "/mandates",
            "/subscriptions",
            "/log",
        ]
        .map(|page| (format!("/console{page}"), format!("/console{page}")))
        .into();
        for (what, id) in [("that waits", waits), ("that ran", ran)] {
            for show in ["", "?show=verdict", "?show=trace", "?show=outputs"] {
                let path = format!("/console/executions/{id}{show}");
                pages.push((format!("/console/executions/<one {what}>{show}"), path));
            }
        }
        let mut seen = Vec::new();
        for (page, path) in pages {
            let (mut samples, mut bytes) = (Vec::new(), 0);
            for _ in 0..LOOKS {
                let (ms, size) = self.open(&path).await;
                samples.push(ms);
                bytes = size;
            }
            let first_byte_ms = percentile(&mut samples, 0.5);
            seen.push(Seen { page, first_byte_ms, bytes: bytes as f64 });
        }
        seen
    }

    // Milliseconds to the first byte, and the page's bytes.
    async fn open(&self, path: &str) -> (f64, usize) {
        let request = self.http.get(format!("{}{path}", self.url)).header("cookie", &self.cookie);
        let started = Instant::now();
        let answer = request.send().await.unwrap();
        let ms = started.elapsed().as_secs_f64() * 1e3;
        assert_eq!(answer.status(), 200, "{path}");
        (ms, answer.bytes().await.unwrap().len())
    }
}
