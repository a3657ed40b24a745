//! The real process: killed at random moments under load and started again; its traces tampered with; its output read.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds what it does not expect ends there"
)]

use local::demo_tools::{Behaviour, DemoTools};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const BIN: &str = env!("CARGO_BIN_EXE_countersign");

struct Process {
    child: Child,
    ready: Value,
}

impl Process {
    fn start(data: &Path) -> Self {
        Self::start_at(data, "127.0.0.1:0")
    }
    fn start_at(data: &Path, listen: &str) -> Self {
        Self::start_by(Command::new(BIN), data, listen)
    }
    fn start_by(program: Command, data: &Path, listen: &str) -> Self {
        Self::start_with(program, data, listen, &["--new-keys"])
    }
    fn start_with(mut program: Command, data: &Path, listen: &str, more: &[&str]) -> Self {
        let mut child = program
            .args(["dev", "--json", "--listen", listen, "--data"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { child, ready }
    }
    fn url(&self) -> String {
        self.ready["url"].as_str().unwrap().to_owned()
    }
    fn key(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap().to_owned()
    }
    // SIGKILL.
    fn killed(self) {
        drop(self);
    }
    // SIGTERM: it ends by itself, soon, and says that all is well.
    fn terminated(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // SIGKILL
        let _ = self.child.wait();
    }
}

#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: Arc<RwLock<String>>,
    key: String,
}

impl Client {
    fn new(process: &Process, key: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { http, url: Arc::new(RwLock::new(process.url())), key: process.key(key) }
    }
    // The same control plane, as the person who approves and governs.
    fn person(&self, process: &Process) -> Self {
        Self { key: process.key("approverKey"), ..self.clone() }
    }
    async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Option<(u16, Value)> {
        let url = format!("{}{path}", self.url.read().unwrap());
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(&self.key);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.ok()?))
    }
    async fn get(&self, path: &str) -> Option<(u16, Value)> {
        self.send("GET", path, None, None).await
    }
}

async fn trust(process: &Process, tools: &DemoTools) {
    tools.trust(&process.url());
    let person = Client::new(process, "approverKey");
    let body = json!({ "trust": local::demo_tools::trust_policy() });
    assert_eq!(person.send("POST", "/v1/trust", None, Some(&body)).await.unwrap().0, 200);
}

async fn install(client: &Client, manifest: &Value) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = contracts::Timestamp::from_ms(now.as_millis() as i64);
    let body = serde_json::to_value(local::demo_tools::signed(manifest, now).unwrap()).unwrap();
    let (status, answer) = client.send("POST", "/v1/skills", None, Some(&body)).await.unwrap();
    assert_eq!(status, 201, "{answer}");
}

// A till whose charges are not idempotent and cannot be asked about: a lost answer is in doubt.
fn till(tools: &DemoTools) -> Value {
    let mut manifest = tools.manifests().unwrap().remove(1);
    manifest["skill"]["key"] = json!("till");
    manifest["playbooks"] = json!([]);
    let mut charge = manifest["operations"][2].clone();
    charge.as_object_mut().unwrap().remove("probe");
    charge["key"] = json!("charge.make");
    charge["riskTier"] = json!("low");
    charge["binding"]["url"] = json!(format!("{}/payments/payout.create", tools.url()));
    manifest["operations"] = json!([charge]);
    manifest
}

fn draft(kind: u64) -> Value {
    let mail = |id: &str, after: Value| {
        json!({ "id": id, "use": "mail/message.send", "after": after,
        "with": { "to": ["a@x.org"], "subject": "s", "body": "b" } })
    };
    match kind % 3 {
        0 => {
            json!({ "steps": [mail("a", json!([])), mail("b", json!(["a"])), mail("c", json!(["b"])), mail("d", json!(["b"]))] })
        }
        1 => {
            json!({ "steps": [{ "id": "charge", "use": "till/charge.make", "with": { "account": "x", "amount": 1, "currency": "EUR" } }, mail("after", json!(["charge"]))] })
        }
        _ => json!({ "steps": [{ "id": "who", "use": "crm/customer.find", "with": { "email": "ada@x.org" } },
            { "id": "tell", "use": "mail/message.send", "with": { "to": ["a@x.org"], "subject": "s", "body": { "$from": "who", "path": "/name" } } }] }),
    }
}

#[test]
fn killed_at_random_it_loses_nothing_and_repeats_nothing() {
    let crashes: u32 = std::env::var("CRASHES").map_or(5, |count| count.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(stopped_again_and_again(crashes, Process::killed));
}

// SIGTERM under load: what is in flight ends, the process says so by its status, and nothing is lost.
#[test]
fn terminated_under_load_it_drains_and_loses_nothing() {
    let stops: u32 = std::env::var("TERMINATIONS").map_or(3, |count| count.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(stopped_again_and_again(stops, Process::terminated));
}

// The data folder is its owner's, whatever the umask was, and no secret lies in it in clear.
#[test]
fn nobody_else_reads_the_data_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let left = data.join("blobs/left");
    std::fs::create_dir_all(data.join("blobs")).unwrap();
    std::fs::write(&left, "by an earlier version").unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&left, PermissionsExt::from_mode(0o644)).unwrap();
    let process = Process::start(&data);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let secrets = runtime.block_on(async {
        let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        trust(&process, &tools).await;
        let person = Client::new(&process, "approverKey");
        let body = json!({ "url": "https://audit.example.com/hook" });
        let hook = person.send("POST", "/v1/webhooks", None, Some(&body)).await.unwrap().1;
        let rotated = person.send("POST", "/v1/tools/secret/rotate", None, Some(&json!({}))).await.unwrap().1;
        for manifest in tools.manifests().unwrap() {
            install(&person, &manifest).await;
        }
        // A value that the operation's schema marks as sensitive, kept until people decide.
        let card = "4111-1111-1111-1111";
        let body = json!({ "text": "Refund Ada", "draft": { "steps": [{ "id": "refund", "use": "payments/refund.create",
            "with": { "customer": "cus_ada", "amount": 4200, "currency": "EUR", "card": card } }] } });
        let answer = Client::new(&process, "apiKey").send("POST", "/v1/intents", None, Some(&body)).await.unwrap();
        let path = format!("/v1/executions/{}?waitSeconds=10", answer.1["executionId"].as_str().unwrap());
        assert_eq!(person.get(&path).await.unwrap().1["execution"]["status"], "blocked");
        let told = |answer: &Value| answer["secret"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        [told(&hook), told(&rotated), card.to_owned()]
    });
    process.terminated();
    let (mut open, mut files) = (vec![data], 0);
    while let Some(folder) = open.pop() {
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
                continue;
            }
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
            let bytes = std::fs::read(entry.path()).unwrap();
            for secret in &secrets {
                let clear = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!clear, "a secret in clear in {}", entry.path().display());
            }
            files += 1;
        }
    }
    assert!(files > 3, "{files} files");
}

// Sample (bounded-work): 1,024 connections that send nothing, to a process that has fewer descriptors.
#[test]
fn silent_connections_leave_descriptors_for_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 700 && exec \"$0\" \"$@\"", BIN]);
    let process = Process::start_by(limited, folder.path(), "127.0.0.1:0");
    let address = process.url().trim_start_matches("http://").parse().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    let silent: Vec<_> = (0..1_024).map(|_| connect()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::new(&process, "apiKey");
        let answer = client.get("/healthz").await.map(|(status, _)| status);
        assert_eq!(answer, Some(200), "beside {} silent connections", silent.len());
        assert_eq!(client.get("/v1/executions").await.unwrap().0, 200);
    });
}

async fn stopped_again_and_again(crashes: u32, stop_process: fn(Process)) {
    let folder = tempfile::tempdir().unwrap();
    let tools = Arc::new(DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap());
    let mut process = Process::start(folder.path());
    let client = Client::new(&process, "apiKey");
    let person = client.person(&process);
    trust(&process, &tools).await;
    tools.alias("till/charge.make", "payments/payout.create");
    for manifest in tools.manifests().unwrap().iter().chain([&till(&tools)]) {
        install(&person, manifest).await;
    }
    let acknowledged: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..6)
        .map(|_| {
            let (client, acknowledged, stop, count, tools) =
                (client.clone(), acknowledged.clone(), stop.clone(), count.clone(), tools.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    match number % 7 {
                        1 => tools.behave("payments/payout.create", Behaviour::Slow { ms: 40 }),
                        3 => tools.behave("mail/message.send", Behaviour::Slow { ms: 60 }),
                        _ => {}
                    }
                    let key = format!("load-{number}");
                    let body = json!({ "text": "load", "draft": draft(number) });
                    // The same key until it is acknowledged: whatever the crash swallowed, it is one execution.
                    loop {
                        if let Some((202, answer)) = client.send("POST", "/v1/intents", Some(&key), Some(&body)).await
                        {
                            acknowledged
                                .lock()
                                .unwrap()
                                .insert(key, answer["executionId"].as_str().unwrap().to_owned());
                            break;
                        }
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
            })
        })
        .collect();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..crashes {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        tokio::time::sleep(Duration::from_millis(80 + seed % 700)).await;
        let address = process.url().trim_start_matches("http://").to_owned();
        stop_process(process);
        // Where tools look for the keys that sign warrants.
        process = Process::start_at(folder.path(), &address);
        *client.url.write().unwrap() = process.url();
    }
    stop.store(true, Ordering::SeqCst);
    for job in load {
        job.await.unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > 20, "{} executions under load", acknowledged.len());
    let mut doubts = 0;
    for id in acknowledged.values() {
        doubts += u32::from(end(&client, &person, &tools, id).await);
    }
    for (key, effects) in tools.effects("mail/message.send") {
        assert_eq!(effects, 1, "mail {key}");
    }
    for (key, effects) in tools.effects("payments/payout.create") {
        assert_eq!(effects, 1, "a charge was silently repeated: {key}");
    }
    for (number, id) in acknowledged.values().enumerate() {
        // Replay checks the chain too; the command line's own check of it, on a few.
        let (_, replay) = client.get(&format!("/v1/executions/{id}/replay")).await.unwrap();
        assert_eq!(replay["matches"], true, "{id}: {replay}");
        if number < 10 {
            let (code, text) = cli(&process, &["trace", id, "--verify"]);
            assert!(code == 0, "{text}");
        }
    }
    println!("{crashes} crashes, {} executions, {doubts} in doubt", acknowledged.len());
}

// Brings an execution to its end as a person would: what is in doubt is looked up in the tool's books. Whether it was.
async fn end(client: &Client, person: &Client, tools: &DemoTools, id: &str) -> bool {
    let started = Instant::now();
    let mut doubt = false;
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "{id} does not end");
        let Some((status, answer)) = client.get(&format!("/v1/executions/{id}?waitSeconds=5")).await else {
            continue;
        };
        assert_eq!(status, 200, "an acknowledged command was lost: {answer}");
        let view = &answer["execution"];
        match view["status"].as_str().unwrap() {
            "completed" => return doubt,
            "blocked" => {
                let step = view["steps"].as_array().unwrap().iter().find(|step| step["status"] == "in_doubt");
                let step = step.unwrap_or_else(|| panic!("{view}"));
                assert_eq!(step["operation"], "till/charge.make", "only a non-idempotent call can be in doubt");
                doubt = true;
                let effects: u32 = tools.effects("payments/payout.create").values().sum();
                let parts = [id, view["planDigest"].as_str().unwrap(), step["stepId"].as_str().unwrap()];
                let key = cs_core::canonical::digest_parts(&parts.map(str::as_bytes));
                let happened = tools.effects("payments/payout.create").contains_key(key.hex());
                let body = if happened {
                    json!({ "stepId": "charge", "outcome": "completed", "evidence": { "payoutId": "by hand" } })
                } else {
                    json!({ "stepId": "charge", "outcome": "retry" })
                };
                let answer = person.send("POST", &format!("/v1/executions/{id}/resolve"), None, Some(&body)).await;
                assert!(answer.is_some_and(|(status, _)| status == 200 || status == 409), "{effects} charges");
            }
            other => assert!(
                other == "running" || other == "compiled" || other == "verified" || other == "received",
                "{view}"
            ),
        }
    }
}

fn cli(process: &Process, args: &[&str]) -> (i32, String) {
    cli_as(process, "apiKey", Path::new("."), args)
}

fn cli_as(process: &Process, key: &str, folder: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(BIN)
        .args(args)
        .current_dir(folder)
        .env("COUNTERSIGN_ENDPOINT", process.url())
        .env("COUNTERSIGN_API_KEY", process.key(key))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn the_demo_proves_what_it_says() {
    let output = Command::new(BIN).args(["demo", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let proven: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(proven["proven"].as_array().unwrap().len() >= 12, "{proven}");
    assert!(proven["milliseconds"].as_u64().unwrap() < 10_000, "{proven}");
}

#[test]
fn the_command_line_tells_clearly_and_exits_rightly() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let (code, text) = cli(&process, &["list"]);
    assert!(code == 0 && text.contains("execution"), "{text}");
    let (code, text) = cli(&process, &["get", &format!("exe_{}", "0".repeat(32))]);
    assert!(code == 1 && text.contains("NOT_FOUND"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours where there is no terminal");
    assert_eq!(cli(&process, &["frobnicate"]).0, 2);
    let (code, text) = cli(&process, &["--endpoint", "http://127.0.0.1:9", "list"]);
    assert!(code == 3 && text.contains("countersign dev"), "{text}");
    let (code, text) = cli(&process, &["keys", "create", "grace", "--kind", "human"]);
    assert!(code == 1 && text.contains("FORBIDDEN"), "an agent makes no keys: {text}");
    let person = ["keys", "create", "grace", "--kind", "human", "--json"];
    let (code, text) = cli_as(&process, "approverKey", folder.path(), &person);
    assert!(code == 0 && text.contains("csk_"), "{text}");
    let (code, text) = cli(&process, &["capabilities", "--json"]);
    assert!(code == 0 && serde_json::from_str::<Value>(&text).is_ok(), "{text}");
}

#[test]
fn exit_codes_say_what_became_of_a_draft_and_problems_are_json() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let draft = folder.path().join("draft.json");
    let steps = json!({ "steps": [{ "id": "a", "use": "no/such.operation", "with": {} }] });
    std::fs::write(&draft, steps.to_string()).unwrap();
    let submit = ["submit", "x", "--draft", draft.to_str().unwrap()];
    let (code, text) = cli(&process, &submit);
    assert!(code == 1 && text.contains("rejected") && text.contains("UNKNOWN_SKILL"), "{code} {text}");
    let (code, text) = cli(&process, &[&submit[..], &["--json"]].concat());
    let view: Value = serde_json::from_str(&text).unwrap();
    assert!(code == 1 && view["status"] == "rejected" && view["reasons"][0]["code"].is_string(), "{text}");
    let (code, text) = cli(&process, &["get", &format!("exe_{}", "0".repeat(32)), "--json"]);
    let problem: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(code == 1 && problem["code"] == "NOT_FOUND", "{text}");
    let (code, text) = cli(&process, &["--endpoint", "http://127.0.0.1:9", "list", "--json"]);
    let problem: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(code == 3 && problem["code"] == "UNREACHABLE", "{text}");
}

#[test]
fn keys_are_made_once_unless_somebody_asks() {
    let folder = tempfile::tempdir().unwrap();
    let start = |more: &[&str]| Process::start_with(Command::new(BIN), folder.path(), "127.0.0.1:0", more);
    let first = start(&[]).ready.clone();
    assert!(first["apiKey"].is_string() && first["approverKey"].is_string(), "{first}");
    let second = start(&[]).ready.clone();
    assert!(second["apiKey"].is_null() && second["url"].is_string(), "{second}");
    let third = start(&["--new-keys"]).ready.clone();
    assert!(third["apiKey"].is_string() && third["apiKey"] != first["apiKey"], "{third}");
}

#[test]
fn keys_that_sign_are_of_the_form_that_every_program_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        let output = Command::new(BIN).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["keys", "generate", "--out", &file("own.key")]);
    let pem = std::fs::read_to_string(file("own.key")).unwrap();
    // PKCS#8 version 1 (RFC 8410): the one form that OpenSSL, Node and Python read.
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(body.starts_with("MC4CAQAwBQYDK2Vw") && body.len() == 64, "{pem}");
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(file("own.key.pub")).unwrap()).unwrap();
    for form in ["own.key", "own.key.pub"] {
        let shown: Value = serde_json::from_str(&run(&["keys", "public", &file(form)])).unwrap();
        assert_eq!(shown, stored, "{form}");
    }
    // The example of RFC 8410, private and public.
    let private = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
    let public = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
    std::fs::write(file("rfc.key"), format!("-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n"))
        .unwrap();
    std::fs::write(file("rfc.pem"), format!("-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n"))
        .unwrap();
    let shown = run(&["keys", "public", &file("rfc.key")]);
    assert!(shown.contains("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="), "{shown}");
    assert_eq!(shown, run(&["keys", "public", &file("rfc.pem")]));
    // It is trusted as it is.
    let process = Process::start(&folder.path().join("data"));
    let add = ["trust", "add", "acme", "--public", &file("rfc.pem"), "--provenance", "ci/", "--json"];
    let (code, text) = cli_as(&process, "approverKey", folder.path(), &add);
    assert!(code == 0 && text.contains("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="), "{text}");
}

#[test]
fn one_changed_byte_of_one_stored_event_is_named() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let mut process = Process::start(folder.path());
        let client = Client::new(&process, "apiKey");
        trust(&process, &tools).await;
        for manifest in tools.manifests().unwrap() {
            install(&client.person(&process), &manifest).await;
        }
        let body = json!({ "text": "x", "draft": draft(2) });
        let (_, answer) = client.send("POST", "/v1/intents", None, Some(&body)).await.unwrap();
        let id = answer["executionId"].as_str().unwrap().to_owned();
        client.get(&format!("/v1/executions/{id}?waitSeconds=10")).await.unwrap();
        assert_eq!(cli(&process, &["trace", &id, "--verify"]).0, 0);
        drop(process);
        {
            // One letter of the fifth event, in the store itself.
            use engine::ports::{Condition, Table as _, Write};
            let table = local::EmbeddedTable::open(&folder.path().join("table")).unwrap();
            let key = engine::keys::event(&"default".parse().unwrap(), &id.parse().unwrap(), 5);
            let mut item = table.get(&key).await.unwrap().unwrap();
            let text = String::from_utf8(item.body).unwrap();
            assert!(text.contains("\"attempt\":1"), "{text}");
            item.body = text.replace("\"attempt\":1", "\"attempt\":2").into_bytes();
            table.transact(vec![Write::Put { key, item, condition: Condition::Any }]).await.unwrap();
            drop(table);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        process = Process::start(folder.path());
        let (code, text) = cli(&process, &["trace", &id, "--verify"]);
        assert!(code == 1 && text.contains("event 5 was changed"), "{text}");
        let (code, text) = cli(&process, &["replay", &id]);
        assert!(code == 1 && text.contains("chain"), "{text}");
    });
}

// The README's walk: from nothing to a skill that somebody trusted signed, under a policy of one's own.
#[test]
fn from_skill_init_to_a_policy_that_denies() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let desk = folder.path().join("desk");
        std::fs::create_dir(&desk).unwrap();
        let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let process = Process::start(&folder.path().join("data"));
        tools.trust(&process.url());
        let run = |key: &str, code: i32, args: &[&str]| {
            let (found, text) = cli_as(&process, key, &desk, args);
            assert_eq!(found, code, "{args:?}: {text}");
            text
        };
        let (agent, person) = ("apiKey", "approverKey");
        run(agent, 0, &["skill", "init", "notes", "--publisher", "acme"]);
        run(agent, 2, &["skill", "init", "notes"]); // nothing is overwritten
        let manifest = std::fs::read_to_string(desk.join("notes/skill.json")).unwrap();
        std::fs::write(desk.join("notes/skill.json"), manifest.replace("http://127.0.0.1:7412", &tools.url())).unwrap();
        run(agent, 0, &["keys", "generate", "--out", "acme.key"]);
        run(agent, 2, &["keys", "generate", "--out", "acme.key"]);
        run(agent, 0, &["skill", "sign", "notes", "--with", "acme.key"]);
        let bundle = "notes-0.1.0.skill.json";
        assert!(run(person, 1, &["skill", "verify", bundle]).contains("PUBLISHER_UNTRUSTED"));
        assert!(run(person, 1, &["skill", "install", bundle]).contains("PUBLISHER_UNTRUSTED"));
        let trust = ["trust", "add", "acme", "--public", "acme.key.pub", "--provenance", "local/acme"];
        assert!(run(agent, 1, &trust).contains("FORBIDDEN"), "an agent trusts nobody");
        run(person, 0, &trust);
        run(person, 0, &["skill", "verify", bundle]);
        assert!(run(agent, 1, &["skill", "install", bundle]).contains("FORBIDDEN"), "an agent installs nothing");
        run(person, 0, &["skill", "install", bundle]);
        assert!(run(person, 0, &["skill", "list"]).contains("note.add"));
        let draft = r#"{"steps":[{"id":"note","use":"notes/note.add","with":{"text":"hello"}}]}"#;
        std::fs::write(desk.join("draft.json"), draft).unwrap();
        assert!(run(agent, 0, &["submit", "Take a note", "--draft", "draft.json", "--watch"]).contains("completed"));
        std::fs::write(desk.join("baseline.cedar"), run(agent, 0, &["policy", "template", "baseline"])).unwrap();
        let own = "@id(\"no-notes\")\nforbid (principal, action == Action::\"notes/note.add\", resource)\nwhen { principal.kind == \"agent\" };\n";
        std::fs::write(desk.join("own.cedar"), own).unwrap();
        let tested = run(person, 0, &["policy", "backtest", "baseline.cedar", "own.cedar"]);
        assert!(tested.contains("autonomous → blocked"), "{tested}");
        let activated = run(person, 0, &["policy", "activate", "baseline.cedar", "own.cedar"]);
        assert!(activated.contains("version 2 is active") && activated.contains("autonomous → blocked"), "{activated}");
        assert!(run(agent, 1, &["submit", "Take a note", "--draft", "draft.json", "--watch"]).contains("rejected"));
        let why = run(agent, 0, &["explain", "--draft", "draft.json"]);
        assert!(why.contains("forbid no-notes own.cedar:1"), "{why}");
        assert_eq!(tools.effects("notes/note.add").len(), 1);
        assert!(run(person, 0, &["freeze", "set", "skill", "notes", "--reason", "incident 7"]).contains("incident 7"));
        assert!(run(person, 0, &["freeze", "lift", "skill", "notes"]).contains("nothing is frozen"));
        assert!(run(person, 0, &["trust", "remove", "acme"]).contains("revoked notes 0.1.0"));
        assert!(run(person, 0, &["skill", "list", "--all"]).contains("revoked"));
        assert_eq!(run(agent, 0, &["policy", "template"]).lines().count(), policy::TEMPLATES.len() + 1);
    });
}

// Rows of a terminal: nothing in them acts, and none is too wide for 80 columns.
fn assert_fits_a_terminal(text: &str) {
    use cs_core::text::{is_hidden, width};
    for line in text.split('\n') {
        assert!(!line.chars().any(is_hidden), "{line:?} in {text}");
        assert!(width(line) <= 80, "{} columns: {line:?} in {text}", width(line));
    }
}

// Samples: an intent's words move the cursor and forge rows on a terminal; approve signs whatever is current.
#[test]
fn what_is_seen_is_signed_at_the_command_line() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let process = Process::start(folder.path());
        let client = Client::new(&process, "apiKey");
        trust(&process, &tools).await;
        for manifest in tools.manifests().unwrap() {
            install(&client.person(&process), &manifest).await;
        }
        let hostile = format!("Refund\u{1b}[2J\u{1b}[1A\r\n\u{202e}exe_{}  completed\u{9b}0m {}", "0".repeat(32), "x ".repeat(90));
        let body = json!({ "text": hostile, "draft": { "steps": [{ "id": "refund", "use": "payments/refund.create",
            "with": { "customer": "cus\u{1b}[31m_ada", "amount": 4200, "currency": "EUR", "card": "4111-1111" } }] } });
        let (status, answer) = client.send("POST", "/v1/intents", None, Some(&body)).await.unwrap();
        assert_eq!(status, 202, "{answer}");
        let id = answer["executionId"].as_str().unwrap().to_owned();
        client.get(&format!("/v1/executions/{id}?waitSeconds=10")).await.unwrap();
        for args in [vec!["get", &id], vec!["list"], vec!["watch", &id], vec!["trace", &id], vec!["explain", &id]] {
            let (code, text) = cli(&process, &args);
            // It waits for people: not done.
            assert_eq!(code, i32::from(args[0] == "watch"), "{args:?}: {text}");
            assert_fits_a_terminal(&text);
            assert!(!text.contains("4111"), "{args:?}: {text}");
        }
        for args in [["get", &id], ["watch", &id]] {
            let (_, text) = cli(&process, &args);
            for says in ["42.00 EUR (4200 minor units)", "cus\\u{1b}[31m_ada", "baseline.assist", "digest sha256:"] {
                assert!(text.contains(says), "{args:?}, {says}: {text}");
            }
        }
        assert!(cli(&process, &["list"]).1.contains("42.00 EUR"));
        let (_, text) = cli(&process, &["get", &id, "--json"]);
        let execution: Value = serde_json::from_str(&text).unwrap();
        assert!(!text.trim_end().chars().any(cs_core::text::is_hidden), "JSON on a terminal acts on nothing: {text}");
        assert_eq!(execution["approvals"][0]["view"]["goal"]["text"], hostile.as_str(), "and is the same value");
        let digest = execution["viewDigest"].as_str().unwrap();
        // Without a terminal there is nobody to ask: the view that was seen must be named.
        let (code, text) = cli_as(&process, "approverKey", folder.path(), &["approve", &id]);
        assert!(code == 2 && text.contains("--digest") && text.contains("42.00 EUR"), "{text}");
        assert_fits_a_terminal(&text);
        let other = format!("sha256:{}", "0".repeat(64));
        let (code, text) = cli_as(&process, "approverKey", folder.path(), &["approve", &id, "--digest", &other]);
        assert!(code == 1 && text.contains("BINDING_STALE"), "{text}");
        assert_eq!(tools.effects("payments/refund.create").len(), 0);
        let (code, text) = cli_as(&process, "approverKey", folder.path(), &["approve", &id, "--digest", digest]);
        assert!(code == 0 && text.contains("42.00 EUR"), "{text}");
        let (code, text) = cli(&process, &["watch", &id]);
        assert!(code == 0 && text.contains("completed"), "{text}");
        assert_eq!(tools.effects("payments/refund.create").len(), 1);
    });
}
