//! A 10-step chain of HTTP no-op steps, submit to completed, every acknowledged commit synced;
//! load, control plane and tool in one process.

use crate::{Row, percentile};
use client::Client;
use contracts::{
    ExecutionId,
    command::SubmitIntent,
    draft::Draft,
    governance::SetTrust,
    limits::GET_WAIT_SECONDS_MAX,
    operation as op,
    query::{ExecutionStatus, GetExecution},
};
use local::{Node, Options, demo_tools::DemoTools};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    net::Ipv4Addr,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const STEPS: usize = 10;

/// A node over a folder, on a free port.
pub async fn start(folder: &std::path::Path) -> Node {
    let options = Options {
        data: folder.into(),
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        allow_private_targets: true,
        new_warrant_key: false,
        subscriber: None,
        public_url: None,
        mail: Default::default(),
        identity: Default::default(),
    };
    Node::start(options).await.unwrap()
}

/// Serves until killed; prints a line when it is ready.
pub async fn serve() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = start(folder.path()).await;
    node.identity(&"bench".parse().unwrap()).await.unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    node.serve().await;
}

pub(crate) fn memory_mib(pid: &str, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN)
        / 1024.0
}

/// Memory of an idle server.
pub fn at_rest(rows: &mut Vec<Row>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--serve")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    rows.push(Row::new("API memory at rest", memory_mib(&child.id().to_string(), "VmRSS"), "MiB"));
    child.kill().unwrap();
    child.wait().unwrap();
}

struct Bench {
    agent: Client,
    count: AtomicU64,
}

impl Bench {
    // No two executions have the same inputs.
    async fn execute(&self, draft: &Draft) -> ExecutionId {
        let mut draft = draft.clone();
        for step in &mut draft.steps {
            step.with.insert("n".into(), self.count.fetch_add(1, Ordering::Relaxed).into());
        }
        let intent = SubmitIntent { draft: Some(draft), ..SubmitIntent::new("chain") };
        let id = self.agent.submit(&intent).await.unwrap().into_inner().execution_id;
        let view = self.agent.call(&op::EXECUTION_GET, &waiting(&id)).await.unwrap();
        assert_eq!(view.execution.status, ExecutionStatus::Completed, "{:?}", *view);
        id
    }
}

fn waiting(id: &ExecutionId) -> GetExecution {
    GetExecution {
        execution_id: id.clone(),
        wait_seconds: Some(GET_WAIT_SECONDS_MAX),
        include_plan: false,
        include_view: None,
    }
}

pub async fn run(rows: &mut Vec<Row>, quick: bool) {
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let tools = DemoTools::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let node = start(folder.path()).await;
    let identity = node.identity(&"bench".parse().unwrap()).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().unwrap();
    let agent = Client::new(&node.url(), &identity.agent_key).unwrap();
    let approver = agent.with_key(&identity.approver_key);
    let bench = Arc::new(Bench { agent, count: AtomicU64::default() });
    install(&node, &tools, &approver).await;
    let draft = Arc::new(draft());

    let sync = fdatasync_ms(folder.path());
    let call = loopback_ms(&http, &tools.url()).await;
    rows.push(Row::new("the machine's fdatasync after a 4 KiB append, p50", sync, "ms"));
    rows.push(Row::new("a bare loopback HTTP call, p50", call, "ms"));
    for (concurrent, count) in [(1, 300), (16, 2_000), (64, 6_000)] {
        let count = if quick { count / 10 } else { count };
        // Warm, then measured.
        load(&bench, &draft, concurrent, concurrent * 4).await;
        let stats = node.table().stats();
        let read = || (stats.commits.load(Ordering::SeqCst), stats.syncs.load(Ordering::SeqCst));
        let (before, started) = (read(), Instant::now());
        let (mut samples, last) = load(&bench, &draft, concurrent, count).await;
        let seconds = started.elapsed().as_secs_f64();
        let after = read();
        let commits = commits_of(&node, &last.unwrap()).await as f64;
        let name = |what: &str| format!("chain of {STEPS}, {concurrent} concurrent: {what}");
        let rate = Row::new(name("executions"), count as f64 / seconds, "/s");
        rows.push(if concurrent == 64 { rate.at_least(600.0) } else { rate });
        let p50 = percentile(&mut samples, 0.5);
        let p50_row = Row::new(name("p50"), p50, "ms");
        if concurrent == 1 {
            let bound = 1.5 * (commits * sync + STEPS as f64 * call);
            rows.push(p50_row.at_most((bound * 1e3).round() / 1e3));
            rows.push(
                Row::new(
                    name("p50 against commits × fdatasync + 10 calls"),
                    p50 / (commits * sync + STEPS as f64 * call),
                    "×",
                )
                .at_most(1.5),
            );
        } else {
            rows.push(p50_row);
        }
        rows.push(Row::new(name("p99"), percentile(&mut samples, 0.99), "ms"));
        let commit_row = Row::new(name("commits of one execution"), commits, "");
        rows.push(if concurrent == 1 { commit_row.at_most(13.0) } else { commit_row });
        rows.push(Row::new(
            name("fdatasyncs per execution"),
            (after.1 - before.1) as f64 / count as f64,
            "",
        ));
        rows.push(Row::new(
            name("all commits per execution, the relay's too"),
            (after.0 - before.0) as f64 / count as f64,
            "",
        ));
        let peak = Row::new(
            name("peak memory, load and tool included"),
            memory_mib("self", "VmHWM"),
            "MiB",
        );
        rows.push(if concurrent == 64 { peak.at_most(150.0) } else { peak });
    }
}

// The skill of the one operation that does nothing.
async fn install(node: &Node, tools: &DemoTools, approver: &Client) {
    let object = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let manifest = json!({ "schemaVersion": "1.0.0",
        "skill": { "key": "bench", "version": "1.0.0" },
        "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
            "artifact": { "digest": format!("sha256:{}", "0".repeat(64)) },
        "operations": [{ "key": "noop", "title": "Nothing", "inputSchema": object,
            "outputSchema": object, "effect": "idempotent",
            "riskTier": "low", "timeoutSeconds": 10,
                "binding": { "kind": "http", "url": format!("{}/bench/noop", tools.url()) } }] });
    tools.trust(&node.url());
    let trust = local::demo_tools::trust_policy();
    let trust = SetTrust { trust, expected_version: None, reason: None };
    approver.call(&op::TRUST_SET, &trust).await.unwrap();
    let install = local::demo_tools::signed(&manifest, node.engine().now()).unwrap();
    approver.call(&op::SKILL_INSTALL, &install).await.unwrap();
}

// Steps, each after the one before.
fn draft() -> Draft {
    let steps: Vec<Value> = (0..STEPS)
        .map(|n| {
            let after: Vec<String> = if n == 0 { vec![] } else { vec![format!("s{}", n - 1)] };
            json!({ "id": format!("s{n}"), "use": "bench/noop", "with": { "n": n },
                "after": after })
        })
        .collect();
    serde_json::from_value(json!({ "steps": steps })).unwrap()
}

// The head's version counts an execution's commits.
async fn commits_of(node: &Node, id: &ExecutionId) -> u64 {
    use countersign_store::Table as _;
    let key = countersign_store::keys::head(&"bench".parse().unwrap(), id);
    node.table().get(&key).await.unwrap().unwrap().version
}

async fn load(
    bench: &Arc<Bench>,
    draft: &Arc<Draft>,
    concurrent: usize,
    count: usize,
) -> (Vec<f64>, Option<ExecutionId>) {
    let left = Arc::new(AtomicUsize::new(count));
    let workers: Vec<_> = (0..concurrent)
        .map(|_| {
            let (bench, draft, left) = (bench.clone(), draft.clone(), left.clone());
            tokio::spawn(async move {
                let (mut samples, mut last) = (Vec::new(), None);
                while left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok()
                {
                    let started = Instant::now();
                    last = Some(bench.execute(&draft).await);
                    samples.push(started.elapsed().as_secs_f64() * 1e3);
                }
                (samples, last)
            })
        })
        .collect();
    let (mut samples, mut last) = (Vec::new(), None);
    for worker in workers {
        let (own, id) = worker.await.unwrap();
        samples.extend(own);
        last = id.or(last);
    }
    (samples, last)
}

fn fdatasync_ms(folder: &std::path::Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("fdatasync")).unwrap();
    let block = [7_u8; 4096];
    let mut samples: Vec<f64> = (0..300)
        .map(|_| {
            file.write_all(&block).unwrap();
            let started = Instant::now();
            file.sync_data().unwrap();
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    percentile(&mut samples, 0.5)
}

async fn loopback_ms(http: &reqwest::Client, url: &str) -> f64 {
    let mut samples = Vec::new();
    for n in 0..500 {
        let started = Instant::now();
        let answer =
            http.post(format!("{url}/bench/noop")).json(&json!({ "n": n })).send().await.unwrap();
        answer.bytes().await.unwrap();
        samples.push(started.elapsed().as_secs_f64() * 1e3);
    }
    percentile(&mut samples, 0.5)
}
