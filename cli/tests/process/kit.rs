//! A process, whoever calls it over HTTP, and the command line.

use local::demo_tools::DemoTools;
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

pub const BIN: &str = env!("CARGO_BIN_EXE_countersign");
/// A folder for configuration that is not there.
const NO_PROFILES: &str = "/nonexistent";

pub struct Process {
    child: Child,
    pub ready: Value,
}

impl Process {
    pub fn start(data: &Path) -> Self {
        Self::start_at(data, "127.0.0.1:0")
    }
    pub fn start_at(data: &Path, listen: &str) -> Self {
        Self::start_by(Command::new(BIN), data, listen)
    }
    pub fn start_by(program: Command, data: &Path, listen: &str) -> Self {
        Self::start_with(program, data, listen, &["--new-keys"])
    }
    pub fn start_with(program: Command, data: &Path, listen: &str, more: &[&str]) -> Self {
        Self::logging_to(Stdio::null(), program, (data, listen), more)
    }
    pub fn logging_to(
        log: Stdio,
        mut program: Command,
        (data, listen): (&Path, &str),
        more: &[&str],
    ) -> Self {
        let mut child = program
            .args(["dev", "--json", "--listen", listen, "--data"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { child, ready }
    }
    pub fn url(&self) -> String {
        self.ready["url"].as_str().unwrap().to_owned()
    }
    pub fn key(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap().to_owned()
    }
    // SIGKILL.
    pub fn killed(self) {
        drop(self);
    }
    // SIGTERM: it ends by itself, soon, and says that all is well.
    pub fn terminated(mut self) {
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
pub struct Client {
    http: reqwest::Client,
    pub url: Arc<RwLock<String>>,
    key: String,
}

impl Client {
    pub fn new(process: &Process, key: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { http, url: Arc::new(RwLock::new(process.url())), key: process.key(key) }
    }
    // The same control plane, as the person who approves and governs.
    pub fn person(&self, process: &Process) -> Self {
        Self { key: process.key("approverKey"), ..self.clone() }
    }
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
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
    pub async fn get(&self, path: &str) -> Option<(u16, Value)> {
        self.send("GET", path, None, None).await
    }
}

pub async fn trust(process: &Process, tools: &DemoTools) {
    tools.trust(&process.url());
    let person = Client::new(process, "approverKey");
    let body = json!({ "trust": local::demo_tools::trust_policy() });
    assert_eq!(person.send("POST", "/v1/trust", None, Some(&body)).await.unwrap().0, 200);
}

pub async fn install(client: &Client, manifest: &Value) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = contracts::Timestamp::from_ms(now.as_millis() as i64);
    let body = serde_json::to_value(local::demo_tools::signed(manifest, now).unwrap()).unwrap();
    let (status, answer) = client.send("POST", "/v1/skills", None, Some(&body)).await.unwrap();
    assert_eq!(status, 201, "{answer}");
}

// A till whose charges are not idempotent and cannot be asked about: a lost answer is in doubt.
pub fn till(tools: &DemoTools) -> Value {
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

pub fn draft(kind: u64) -> Value {
    let mail = |id: &str, after: Value| {
        json!({ "id": id, "use": "mail/message.send", "after": after,
        "with": { "to": ["a@x.org"], "subject": "s", "body": "b" } })
    };
    match kind % 3 {
        0 => {
            json!({ "steps": [mail("a", json!([])), mail("b", json!(["a"])), mail("c",
                json!(["b"])), mail("d", json!(["b"]))] })
        }
        1 => {
            let with = json!({ "account": "x", "amount": 1, "currency": "EUR" });
            let charge = json!({ "id": "charge", "use": "till/charge.make", "with": with });
            json!({ "steps": [charge, mail("after", json!(["charge"]))] })
        }
        _ => {
            json!({ "steps": [{ "id": "who", "use": "crm/customer.find", "with": {
                "email": "ada@x.org" } },
            { "id": "tell", "use": "mail/message.send", "with": { "to": ["a@x.org"],
                "subject": "s", "body": { "$from": "who", "path": "/name" } } }] })
        }
    }
}

pub fn cli(process: &Process, args: &[&str]) -> (i32, String) {
    cli_as(process, "apiKey", Path::new("."), args)
}

pub fn cli_as(process: &Process, key: &str, folder: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(BIN)
        .args(args)
        .current_dir(folder)
        .env("COUNTERSIGN_URL", process.url())
        .env("COUNTERSIGN_API_KEY", process.key(key))
        .env_remove("COUNTERSIGN_PROFILE")
        .env("XDG_CONFIG_HOME", NO_PROFILES)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

// Rows of a terminal: nothing in them acts, and none is too wide for 80 columns.
pub fn assert_fits_a_terminal(text: &str) {
    use cs_core::text::{is_hidden, width};
    for line in text.split('\n') {
        assert!(!line.chars().any(is_hidden), "{line:?} in {text}");
        assert!(width(line) <= 80, "{} columns: {line:?} in {text}", width(line));
    }
}
