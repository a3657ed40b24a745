//! The template, deployed with the real function binaries.

use crate::{
    Cloud, binaries,
    proxy::{self, Target},
    root,
};
use async_trait::async_trait;
use countersign_it::{
    ControlPlane,
    venv::{progress, run},
};
use local::Identity;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Its name.
pub const STACK: &str = "countersign-dev";

/// A deployed control plane.
pub struct Stack {
    pub cloud: Cloud,
    outputs: BTreeMap<String, String>,
    url: String,
}

impl Stack {
    /// Builds the functions as they were tested, and deploys the template. `parameters`: beyond
    /// those that a cloud on this machine needs.
    pub async fn deploy(cloud: Cloud, parameters: &[&str]) -> Self {
        build();
        let folder = cloud.folder().join("deploy");
        fs::create_dir_all(folder.join("infra")).unwrap();
        for file in ["template.yaml", "execution.asl.json"] {
            fs::copy(root().join("infra").join(file), folder.join("infra").join(file)).unwrap();
        }
        for function in functions() {
            let target = folder.join("target/lambda").join(&function);
            fs::create_dir_all(&target).unwrap();
            run(Command::new("strip")
                .arg("-s")
                .arg(binaries().join(&function))
                .arg("-o")
                .arg(target.join("bootstrap")));
        }
        let target = Target::default();
        let url = proxy::start(target.clone()).await;
        let architecture = match std::env::consts::ARCH {
            "aarch64" => "Architecture=arm64",
            _ => "Architecture=x86_64",
        };
        let public = format!("PublicUrl={url}");
        let mut args = vec![
            "deploy",
            "--template",
            "infra/template.yaml",
            "--stack-name",
            STACK,
            "--resolve-s3",
        ];
        args.extend([
            "--no-progressbar",
            "--capabilities",
            "CAPABILITY_NAMED_IAM",
            "--parameter-overrides",
        ]);
        args.extend(["Stage=dev", architecture, &public, "AllowPrivateTargets=true"]);
        // Neither cloud has web ACLs.
        args.push("RequestsPerKey=0");
        args.extend(parameters);
        progress(&format!("deploying infra/template.yaml to {:?}", cloud.kind()));
        let since = Instant::now();
        cloud.sam(&folder, &args);
        progress(&format!("deployed in {} s", since.elapsed().as_secs()));
        let described = cloud.aws(&["cloudformation", "describe-stacks", "--stack-name", STACK]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let outputs: BTreeMap<String, String> = described["Stacks"][0]["Outputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|output| (text(&output["OutputKey"]), text(&output["OutputValue"])))
            .collect();
        target.set(format!("{}/_aws/execute-api/{}/dev", cloud.url(), outputs["ApiId"])).unwrap();
        Self { cloud, outputs, url }
    }

    /// An output of the stack.
    pub fn output(&self, name: &str) -> &str {
        &self.outputs[name]
    }

    /// The SDK's clients of this cloud.
    pub fn clients(&self) -> aws::Aws {
        aws::Aws::at(&self.cloud.url(), crate::cloud::REGION)
    }

    /// The table.
    pub fn table(&self) -> aws::DynamoTable {
        let client = self.clients().dynamodb();
        let (clock, ids) =
            (std::sync::Arc::new(host::SystemClock), std::sync::Arc::new(host::SystemIds));
        aws::DynamoTable::new(client, self.output("TableName").to_owned(), clock, ids)
    }

    /// Invokes a function; its answer.
    pub fn invoke(&self, function: &str, payload: &Value) -> Value {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let out =
            self.cloud.folder().join(format!("out-{}.json", COUNT.fetch_add(1, Ordering::Relaxed)));
        let (name, payload) = (format!("{STACK}-{function}"), payload.to_string());
        self.cloud.aws(&[
            "lambda",
            "invoke",
            "--function-name",
            &name,
            "--payload",
            &payload,
            out.to_str().unwrap(),
        ]);
        serde_json::from_str(&fs::read_to_string(out).unwrap()).unwrap()
    }

    /// Ends every process of a function, in the middle of whatever it does; how many there were.
    pub fn end(&self, function: &str) -> usize {
        let processes = self.processes(function);
        for process in &processes {
            // SAFETY: a signal to a process of this value's own cloud.
            #[expect(unsafe_code, reason = "a signal")]
            let sent = unsafe { libc::kill(*process, libc::SIGKILL) };
            assert_eq!(sent, 0);
        }
        // A signal is sent before its process is gone, and the cloud would hand it another event.
        while processes.iter().any(lives) {
            thread::sleep(Duration::from_millis(2));
        }
        processes.len()
    }

    fn processes(&self, function: &str) -> Vec<i32> {
        let (name, url) =
            (format!("AWS_LAMBDA_FUNCTION_NAME={STACK}-{function}"), self.cloud.url());
        let mine = |id: &i32| {
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            variables.clone().any(|variable| variable == name)
                && variables.any(|variable| variable.contains(&url))
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(mine).collect()
    }
}

/// Whether a process cannot be waited for yet: it becomes a zombie last, after its memory and its
/// threads are gone.
fn lives(process: &i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).map_or(0, Iterator::count);
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    threads > 1 || state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Every function's name.
pub fn functions() -> Vec<String> {
    let folders = fs::read_dir(root().join("functions")).unwrap();
    let mut names: Vec<String> =
        folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

// The binaries beside this test: built with it, unless only it was asked for.
fn build() {
    progress("building the functions");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--workspace", "--locked"]).current_dir(root());
    // What Cargo tells this test of its package would have others' build scripts run again, here
    // and in the next build.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|own| name.to_string_lossy().starts_with(own))
        {
            command.env_remove(name);
        }
    }
    if binaries().ends_with("release") {
        command.arg("--release");
    }
    run(&mut command);
}

#[async_trait]
impl ControlPlane for Stack {
    fn url(&self) -> String {
        self.url.clone()
    }
    async fn workspace(&self, name: &str) -> Identity {
        let made =
            self.invoke("access", &json!({ "task": "createWorkspace", "workspaceId": name }));
        let key = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        Identity {
            workspace: name.parse().unwrap(),
            agent_key: key("agentKey"),
            approver_key: key("approverKey"),
            subscriber_secret: None,
        }
    }
}
