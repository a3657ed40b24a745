//! A cloud on this machine: LocalStack, which is the more faithful, or ministack, which enforces
//! roles and authorizers.

use crate::{binaries, root};
use countersign_it::venv::{progress, run, venv};
use serde_json::Value;
use std::{
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longest wait for it to be ready.
const READY: Duration = Duration::from_secs(90);
/// Longest wait for it to end when it is asked to.
const ENDING: Duration = Duration::from_secs(15);
/// The region everything is in.
pub(crate) const REGION: &str = "eu-central-1";

/// Which cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    LocalStack,
    Ministack,
}

/// A running cloud.
pub struct Cloud {
    kind: Kind,
    process: Child,
    port: u16,
    tools: PathBuf,
    sam: PathBuf,
    folder: tempfile::TempDir,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Cloud {
    /// Starts it.
    pub fn start(kind: Kind) -> Self {
        let own = root().join("tests/aws");
        let plugin = own.join("localstack");
        // LocalStack's environment has the AWS CLI, which the tests use on both.
        let tools = venv(
            "localstack",
            &plugin.join("requirements.lock.txt"),
            std::slice::from_ref(&plugin),
        );
        let sam = venv("sam", &own.join("sam.lock.txt"), &[]);
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new("setpriv");
        // It ends with the test, however that ends.
        command.args(["--pdeathsig", "KILL"]);
        match kind {
            Kind::LocalStack => {
                command.arg("bash").arg(plugin.join("start.sh"));
                command
                    .env("VENV", &tools)
                    .env("DYNAMODB_LOCAL_BIN", binaries().join("dynamodb-local"));
                command.env("DYNAMODB_PORT", free_port().to_string()).env("PORT", port.to_string());
            }
            Kind::Ministack => {
                let ministack = venv("ministack", &own.join("ministack.lock.txt"), &[]);
                command.arg(ministack.join("bin/ministack"));
                command.env("GATEWAY_PORT", port.to_string()).env("BIND_HOST", "127.0.0.1");
                command.env("LAMBDA_EXECUTOR", "local").env("AUTH", "true");
                command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"));
            }
        }
        let log = File::create(folder.path().join("cloud.log")).unwrap();
        command.env("WORK", folder.path()).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        progress(&format!("starting {kind:?} on port {port}"));
        let process = command.spawn().unwrap();
        let cloud = Self { kind, process, port, tools, sam, folder };
        cloud.wait();
        cloud
    }

    fn wait(&self) {
        let path = match self.kind {
            Kind::LocalStack => "_localstack/health",
            Kind::Ministack => "_ministack/health",
        };
        let since = Instant::now();
        let ask = || {
            Command::new("curl")
                .args(["-sf", &format!("{}/{path}", self.url())])
                .output()
                .is_ok_and(|answer| answer.status.success())
        };
        while !ask() {
            assert!(
                since.elapsed() < READY,
                "{:?} does not become ready:\n{}",
                self.kind,
                self.log()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Which it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// Its endpoint.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
    /// A folder that goes away with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    /// What it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("cloud.log")).unwrap_or_default()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for name in
            ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"]
        {
            command.env_remove(name);
        }
        command
            .env("AWS_ENDPOINT_URL", self.url())
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_REGION", REGION);
        command
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("SAM_CLI_TELEMETRY", "0");
        command
    }

    /// Calls AWS's own command line; its answer.
    pub fn aws(&self, args: &[&str]) -> Value {
        let text =
            run(self.command(&self.tools.join("bin/aws")).args(args).args(["--output", "json"]));
        if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// Calls the SAM command line in a folder.
    pub fn sam(&self, folder: &Path, args: &[&str]) -> String {
        run(self.command(&self.sam.join("bin/sam")).args(args).current_dir(folder))
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(6_000);
            let from = (from..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(log.len());
            eprintln!("the last that {:?} said:\n{}", self.kind, &log[from..]);
        }
        let group = -(self.process.id() as i32);
        // SAFETY: a signal to the process group that this value started.
        #[expect(unsafe_code, reason = "a signal to a whole process group")]
        let kill = |signal| unsafe { libc::kill(group, signal) };
        kill(libc::SIGTERM);
        let since = Instant::now();
        while since.elapsed() < ENDING && matches!(self.process.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(100));
        }
        kill(libc::SIGKILL);
        let _ = self.process.wait();
    }
}
