//! Attacks on the real process: its folder read, its disk full, its end asked for twice.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds what it does not expect ends there"
)]

use local::demo_tools::{Behaviour, DemoTools};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

const BIN: &str = env!("CARGO_BIN_EXE_countersign");

struct Process {
    child: Child,
    ready: Value,
    log: PathBuf,
}

impl Process {
    // In a shell that first does something: a mask, a trap.
    fn start(data: &Path, first: &str) -> Self {
        let log = data.with_extension("log");
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "{first}; exec \"$0\" dev --json --new-keys --listen 127.0.0.1:0 --data \"$1\""
            ))
            .args([Path::new(BIN), data])
            .env("RUST_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(fs::File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { child, ready, log }
    }

    fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end: {}", fs::read_to_string(&self.log).unwrap());
    }

    fn agent(&self) -> Client {
        Client::new(self, "apiKey")
    }
    fn person(&self) -> Client {
        Client::new(self, "approverKey")
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
    url: String,
    key: String,
}

impl Client {
    fn new(process: &Process, key: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(40)).build().unwrap();
        let text = |name: &str| process.ready[name].as_str().unwrap().to_owned();
        Self { http, url: text("url"), key: text(key) }
    }
    // None: no answer came.
    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let mut request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
        request = request.bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.ok()?;
        Some((response.status().as_u16(), response.json().await.ok()?))
    }
    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.send("GET", path, None).await.unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }
    async fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send("POST", path, Some(body)).await.unwrap();
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }
    async fn submit(&self, steps: Value) -> String {
        let answer = self
            .post("/v1/intents", &json!({ "text": "do it", "draft": { "steps": steps } }))
            .await;
        answer["executionId"].as_str().unwrap().to_owned()
    }
}

async fn equip(process: &Process) -> DemoTools {
    let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    tools.trust(process.ready["url"].as_str().unwrap());
    let person = process.person();
    person.post("/v1/trust", &json!({ "trust": local::demo_tools::trust_policy() })).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = contracts::Timestamp::from_ms(now.as_millis() as i64);
    for manifest in tools.manifests().unwrap() {
        let body =
            serde_json::to_value(local::demo_tools::signed(&manifest, now).unwrap()).unwrap();
        person.post("/v1/skills", &body).await;
    }
    tools
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

fn each_file(folder: &Path, mut look: impl FnMut(&Path)) {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        assert_eq!(
            fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700,
            "{}",
            folder.display()
        );
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
                continue;
            }
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o777,
                0o600,
                "{}",
                entry.path().display()
            );
            look(&entry.path());
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Whoever copies the folder and the log of a process that was started under umask 000 and logs
/// everything, running, killed and ended. Right: no sensitive value, no key, no secret lies there
/// in clear, not in the journal either; all of it is 0600.
#[test]
fn attack_the_folder_and_the_log_are_read() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut process = Process::start(&data, "umask 000");
        let tools = equip(&process).await;
        let (agent, person) = (process.agent(), process.person());
        let card = "4929-SENSITIVE-7f3a9c1e55d2";
        let mut secrets = vec![card.to_owned(), agent.key.clone(), person.key.clone()];
        let hook = person.post("/v1/webhooks", &json!({ "url": "http://127.0.0.1:9/hook" })).await;
        secrets.push(hook["secret"].as_str().unwrap().to_owned());
        let id = hook["id"].as_str().or(hook["subscription"]["id"].as_str()).unwrap();
        let rotated = person.post(&format!("/v1/webhooks/{id}/secret/rotate"), &json!({})).await;
        secrets.push(rotated["secret"].as_str().unwrap().to_owned());
        let rotated = person.post("/v1/tools/secret/rotate", &json!({})).await;
        secrets.push(rotated["secret"].as_str().unwrap().to_owned());
        let key = json!({ "actor": { "kind": "agent", "id": "another" }, "grants": [] });
        secrets.push(person.post("/v1/keys", &key).await["apiKey"].as_str().unwrap().to_owned());
        let refund = json!([{ "id": "refund", "use": "payments/refund.create",
            "with": { "customer": "cus_ada", "amount": 4200, "currency": "EUR", "card": card } }]);
        // Once in all its life, once to a failure that quotes it, once refused for its form.
        tools.behave("payments/refund.create", Behaviour::Fail { status: 400 });
        for _ in 0..2 {
            let id = agent.submit(refund.clone()).await;
            let path = format!("/v1/executions/{id}?waitSeconds=20");
            let view = agent.get(&path).await["execution"].clone();
            let body = json!({ "bindingDigest": view["bindingDigest"],
                "viewDigest": view["viewDigest"] });
            person.post(&format!("/v1/executions/{id}/approve"), &body).await;
            agent.get(&format!("/v1/executions/{id}?waitSeconds=20")).await;
        }
        assert_eq!(tools.effects("payments/refund.create").len(), 1);
        let wrong = json!({ "text": "x", "draft": { "steps": [{
            "id": "r", "use": "payments/refund.create",
            "with": { "customer": 7, "amount": "x", "card": { "of": [card] } } }] } });
        agent.send("POST", "/v1/intents", Some(&wrong)).await.unwrap();
        let search = |when: &str| {
            let mut seen = 0;
            each_file(&data, |file| {
                let mut bytes = fs::read(file).unwrap();
                // A journal is made in its full size.
                bytes
                    .truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
                for secret in &secrets {
                    assert!(!holds(&bytes, secret), "{when}: {secret} in {}", file.display());
                    // Without what names its kind, as raw bytes would be found too.
                    let bare = secret.trim_start_matches("csk_").trim_start_matches("whsec_");
                    assert!(!holds(&bytes, bare), "{when}: {secret} in {}", file.display());
                }
                seen += 1;
            });
            let log = fs::read(folder.path().join("data.log")).unwrap();
            for secret in &secrets {
                assert!(!holds(&log, secret), "{when}: {secret} in the log");
            }
            println!("{when}: {seen} files, a log of {} bytes", log.len());
            assert!(seen > 5 && log.len() > 100);
        };
        search("running");
        process.signal("-KILL");
        process.ended();
        search("killed");
        let mut process = Process::start(&data, "umask 000");
        process.signal("-TERM");
        assert!(process.ended().success());
        search("ended");
    });
}

/// SIGTERM, again, and SIGINT, while a tool hangs and a caller polls. Right: one drain, which ends
/// in time and says that all is well; the caller gets an answer or an end; the next start takes up
/// what hung, and the tool sees one effect.
#[test]
fn attack_an_end_that_is_asked_for_again_and_again() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut process = Process::start(&data, ":");
        let tools = equip(&process).await;
        let agent = process.agent();
        tools.behave("mail/message.send", Behaviour::Slow { ms: 25_000 });
        let mail = json!([{ "id": "m", "use": "mail/message.send", "with": { "to": ["a@x.org"],
            "subject": "s", "body": "b" } }]);
        let id = agent.submit(mail).await;
        let begun = Instant::now();
        while tools.calls() == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (poller, polled) = (agent.clone(), format!("/v1/executions/{id}?waitSeconds=25"));
        let poll = tokio::spawn(async move { poller.send("GET", &polled, None).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        for signal in ["-TERM", "-TERM", "-INT", "-TERM"] {
            process.signal(signal);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let status = process.ended();
        println!("it ended after {:?}: {status}", begun.elapsed());
        assert!(status.success(), "{status}");
        let polled = poll.await.unwrap();
        let stopping =
            |(status, answer): &(u16, Value)| *status == 503 && answer["retryable"] == true;
        assert!(
            polled.as_ref().is_none_or(|polled| polled.0 < 500 || stopping(polled)),
            "{polled:?}"
        );
        let process = Process::start(&data, ":");
        tools.trust(process.ready["url"].as_str().unwrap());
        let agent = process.agent();
        let begun = Instant::now();
        loop {
            let view =
                agent.get(&format!("/v1/executions/{id}?waitSeconds=5")).await["execution"].clone();
            if view["status"] == "completed" {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{view}");
        }
        assert_eq!(tools.effects("mail/message.send").values().copied().collect::<Vec<_>>(), [1]);
    });
}

/// The disk is full in the middle of a load (a file may not grow any more). Right: what is
/// acknowledged is there at the next start; the process does not live on as one that answers every
/// command with an error, but ends and says why.
#[test]
fn attack_the_disk_is_full() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        // Else the signal ends it, which is no answer of its own.
        let mut process = Process::start(&data, "trap '' XFSZ");
        let agent = process.agent();
        let (mut acknowledged, mut refused) = (Vec::new(), 0);
        for number in 0..2_000 {
            if number == 50 {
                let pid = process.child.id().to_string();
                let limited = Command::new("prlimit")
                    .args(["--pid", &pid, "--fsize=4096:"])
                    .status()
                    .unwrap();
                assert!(limited.success());
            }
            let body =
                json!({ "text": format!("{number} {}", "x".repeat(1_000)), "mode": "manual" });
            match agent.send("POST", "/v1/intents", Some(&body)).await {
                Some((202, answer)) => {
                    acknowledged.push(answer["executionId"].as_str().unwrap().to_owned())
                }
                Some(_) => refused += 1,
                None => break,
            }
        }
        assert!(acknowledged.len() >= 50, "{}", acknowledged.len());
        let status = process.ended();
        let log = fs::read_to_string(&process.log).unwrap();
        println!("{} acknowledged, {refused} refused, then {status}", acknowledged.len());
        assert!(status.code().is_some_and(|code| code != 0), "{status}");
        assert!(
            log.contains("the data folder cannot be written"),
            "{}",
            &log[log.len().saturating_sub(2_000)..]
        );
        let process = Process::start(&data, ":");
        for id in &acknowledged {
            process.person().get(&format!("/v1/executions/{id}")).await;
        }
        process.agent().submit(json!([])).await;
    });
}
