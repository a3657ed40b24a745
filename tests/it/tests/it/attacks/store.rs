//! Attacks on what is stored: files cut, changed and filled with nothing, folders that are
//! another's, two at once.

use countersign_it::{Client, anywhere};
use countersign_store::{Condition, Item, Table as _, Write};
use local::{EmbeddedTable, Identity, Node, Options, demo_tools::DemoTools};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

fn options(data: &Path) -> Options {
    Options {
        data: data.into(),
        listen: anywhere(),
        allow_private_targets: true,
        new_warrant_key: false,
        subscriber: None,
        public_url: None,
        mail: Default::default(),
        identity: Default::default(),
    }
}

// A node on a folder, with the example tools.
struct FolderNode {
    node: Node,
    tools: DemoTools,
    agent: Client,
    approver: Client,
}

impl FolderNode {
    async fn new(data: &Path) -> Self {
        let node = Node::start(options(data)).await.unwrap();
        let tools = DemoTools::start(anywhere()).await.unwrap();
        let identity: Identity = node.identity(&"acme".parse().unwrap()).await.unwrap();
        let (agent, approver) = (
            Client::new(&node.url(), &identity.agent_key),
            Client::new(&node.url(), &identity.approver_key),
        );
        tools.trust(&node.url());
        let trust = json!({ "trust": local::demo_tools::trust_policy() });
        assert_eq!(approver.post("/v1/trust", &trust).await.0, 200);
        for manifest in tools.manifests().unwrap() {
            let body = countersign_it::install_body(&manifest);
            assert_eq!(approver.post("/v1/skills", &body).await.0, 201);
        }
        Self { node, tools, agent, approver }
    }

    async fn completed(&self) -> String {
        let steps =
            json!([{ "id": "a", "use": "crm/customer.find", "with": { "email": "a@x.org" } }]);
        let (status, answer) = self
            .agent
            .post("/v1/intents", &json!({ "text": "x", "draft": { "steps": steps } }))
            .await;
        assert_eq!(status, 202, "{answer}");
        let id = answer["executionId"].as_str().unwrap().to_owned();
        let (_, answer) = self.agent.get(&format!("/v1/executions/{id}?waitSeconds=25")).await;
        assert_eq!(answer["execution"]["status"], "completed", "{answer}");
        id
    }

    // Ends it, and waits until its folder is free.
    async fn stopped(mut self) {
        self.node.drain(Duration::from_secs(5)).await;
        drop(self);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut open, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path())
            } else {
                files.push(entry.path())
            }
        }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

/// The journal is cut at the end, as by a crash of the machine, and in the middle. Right: what is
/// whole is there and verifies, or the start fails with an error that names the folder; never a
/// process that answers with half of a trace.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_journal_that_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = FolderNode::new(&data).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(node.completed().await);
    }
    let (agent, _tools) = (node.agent.clone(), &node.tools);
    let key = http_key(&agent);
    node.stopped().await;
    let journals: Vec<PathBuf> = files(&data.join("table"))
        .into_iter()
        .filter(|file| file.extension().is_some_and(|end| end == "jnl"))
        .collect();
    assert!(!journals.is_empty(), "{:?}", files(&data.join("table")));
    for (number, cut) in [1_u64, 100, 5_000, 40_000].into_iter().enumerate() {
        let other = folder.path().join(format!("cut-{number}"));
        copy(&data, &other);
        let journal = other
            .join("table")
            .join(journals.last().unwrap().strip_prefix(data.join("table")).unwrap());
        let bytes = fs::read(&journal).unwrap();
        // What is written of it: a journal is made in its full size.
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
        fs::File::options()
            .write(true)
            .open(&journal)
            .unwrap()
            .set_len(written.saturating_sub(cut))
            .unwrap();
        match Node::start(options(&other)).await {
            Err(error) => {
                println!("cut by {cut}: {error}");
                assert!(error.to_string().contains("cut-"), "the folder is not named: {error}");
            }
            Ok(node) => {
                let agent = Client::new(&node.url(), &key);
                for id in &ids {
                    let (status, answer) = agent.get(&format!("/v1/executions/{id}/replay")).await;
                    let gone = status == 404 || status == 401;
                    assert!(
                        gone || (status == 200 && answer["matches"] == true),
                        "cut by {cut}: {status} {answer}"
                    );
                    println!("cut by {cut}: {status}");
                }
            }
        }
    }
}

// The key that a client sends.
fn http_key(client: &Client) -> String {
    let request = client.request("GET", "/").build().unwrap();
    request.headers()["authorization"].to_str().unwrap().trim_start_matches("Bearer ").to_owned()
}

/// One stored item of each kind is filled with rubbish. Right: requests that need it fail, closed
/// and without quoting it; everything else goes on, and kill switches above all.
#[tokio::test(flavor = "multi_thread")]
async fn attack_one_stored_item_is_rubbish() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = FolderNode::new(&data).await;
    let (bad, good) = (node.completed().await, node.completed().await);
    let workspace = "acme".parse().unwrap();
    let table = node.node.table().clone();
    let rubbish = |key: &countersign_store::Key, version: u64| Write::Put {
        key: key.clone(),
        item: Item { version, body: b"RUBBISH{".to_vec(), ..Item::default() },
        condition: Condition::Any,
    };
    let bad_id = bad.parse().unwrap();
    for key in [
        countersign_store::keys::head(&workspace, &bad_id),
        countersign_store::keys::event(&workspace, &bad_id, 2),
        countersign_store::keys::body(&workspace, &bad_id, "plan"),
        countersign_store::keys::output(&workspace, &bad_id, &"a".parse().unwrap()),
        countersign_store::keys::settings(&workspace),
        countersign_store::keys::policy_active(&workspace),
        countersign_store::keys::trust(&workspace),
        countersign_store::keys::governance(&workspace),
        countersign_store::keys::journal_head(&workspace),
        countersign_store::keys::freezes(&workspace),
    ] {
        let before = table.get(&key).await.unwrap();
        let version = before.as_ref().map_or(1, |item| item.version);
        table.transact(vec![rubbish(&key, version)]).await.unwrap();
        let mut seen = Vec::new();
        for path in ["", "/trace?includePayloads=true", "/replay"] {
            for id in [&bad, &good] {
                let (status, answer) =
                    node.approver.get(&format!("/v1/executions/{id}{path}")).await;
                assert!(
                    !answer.to_string().contains("RUBBISH") || !path.is_empty(),
                    "{key:?}: {answer}"
                );
                let whole = status == 200 && (path != "/replay" || answer["matches"] == true);
                assert!(
                    id == &bad || whole,
                    "{key:?}: another execution: {path} {status} {answer}"
                );
                seen.push(status);
            }
        }
        // What can be run without the item runs; what needs it does not run without it.
        let steps =
            json!([{ "id": "a", "use": "crm/customer.find", "with": { "email": "a@x.org" } }]);
        let calls = node.tools.calls();
        let (status, answer) = node
            .agent
            .post("/v1/intents", &json!({ "text": "x", "draft": { "steps": steps } }))
            .await;
        let submitted = status;
        if let Some(id) = answer["executionId"].as_str() {
            node.agent.get(&format!("/v1/executions/{id}?waitSeconds=1")).await;
        }
        let called = node.tools.calls() - calls;
        let is_own =
            key.partition.ends_with("#own") && key != countersign_store::keys::trust(&workspace);
        assert!(!(is_own && called > 0), "{key:?}: a tool was called under rubbish");
        let freeze = json!({ "scope": "skill", "key": "mail", "frozen": true });
        let frozen = node.approver.post("/v1/freezes", &freeze).await.0;
        let is_freezes = key == countersign_store::keys::freezes(&workspace);
        assert!(frozen == 200 || is_freezes, "{key:?}: a freeze: {frozen}");
        assert_eq!(node.agent.get("/healthz").await.0, 200);
        println!(
            "{:30} reads {seen:?} submit {submitted} called {called} freeze {frozen}",
            key.sort
        );
        let back = match before {
            Some(item) => Write::Put { key: key.clone(), item, condition: Condition::Any },
            None => Write::Delete { key: key.clone(), condition: Condition::Any },
        };
        table.transact(vec![back]).await.unwrap();
        node.approver
            .post("/v1/freezes", &json!({ "scope": "skill", "key": "mail", "frozen": false }))
            .await;
    }
}

/// A second process on the folder of a running one. Right: it does not start, says why, and the
/// first goes on.
#[tokio::test(flavor = "multi_thread")]
async fn attack_two_nodes_on_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let node = FolderNode::new(folder.path()).await;
    let before = node.completed().await;
    for _ in 0..3 {
        let error = Node::start(options(folder.path())).await.err().expect("a second one started");
        assert!(error.to_string().contains("another process"), "{error}");
    }
    assert!(EmbeddedTable::open(&folder.path().join("table")).is_err());
    node.completed().await;
    let (_, replay) = node.agent.get(&format!("/v1/executions/{before}/replay")).await;
    assert_eq!(replay["matches"], true, "{replay}");
}

/// The data folder is given as somebody's project or home, or as a link to one. Right: files that
/// are not Countersign's keep their modes; the start fails and says so.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_folder_that_is_somebody_elses() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    fs::create_dir_all(project.join("bin")).unwrap();
    for (name, mode) in [("bin/run.sh", 0o755), ("notes.txt", 0o644)] {
        fs::write(project.join(name), "x").unwrap();
        fs::set_permissions(project.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    fs::set_permissions(&project, PermissionsExt::from_mode(0o755)).unwrap();
    let link = folder.path().join("link");
    symlink(&project, &link).unwrap();
    for data in [&project, &link] {
        let error =
            Node::start(options(data)).await.err().expect("it took a folder that is not its own");
        assert!(error.to_string().contains("not a data folder"), "{error}");
    }
    let mode = |name: &str| fs::metadata(project.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        [mode("bin/run.sh"), mode("notes.txt"), mode("bin"), mode("")],
        [0o755, 0o644, 0o755, 0o755]
    );
    assert_eq!(fs::read_dir(&project).unwrap().count(), 2, "it wrote into it");
    // An own one that is reached by a link is one; within it a link leads nowhere.
    let own = folder.path().join("own");
    drop(Node::start(options(&own)).await.unwrap());
    fs::set_permissions(&own, PermissionsExt::from_mode(0o755)).unwrap();
    symlink(project.join("bin"), own.join("elsewhere")).unwrap();
    let second = folder.path().join("second");
    symlink(&own, &second).unwrap();
    drop(opened(&second).await);
    assert_eq!([mode("bin/run.sh"), mode("bin")], [0o755, 0o755], "a link was followed");
    assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
}

/// Blobs are cut, swapped between executions and replaced by links while the process is down.
/// Right: the digest is checked; nothing of another execution and no other file is given out, and
/// other executions are whole.
#[tokio::test(flavor = "multi_thread")]
async fn attack_blobs_that_are_cut_swapped_and_linked() {
    let folder = tempfile::tempdir().unwrap();
    let node = FolderNode::new(folder.path()).await;
    let big = |mark: &str| {
        let steps: Vec<Value> = (0..400)
            .map(|n| {
                json!({ "id": format!("s{n}"), "use": "crm/customer.find",
                "with": { "email": format!("{mark}{n}@x.org") } })
            })
            .collect();
        json!({ "text": mark, "mode": "manual", "draft": { "steps": steps } })
    };
    let mut ids = Vec::new();
    for mark in ["SECRETONE", "SECRETTWO"] {
        let (status, answer) = node.agent.post("/v1/intents", &big(mark)).await;
        assert_eq!(status, 202, "{answer}");
        ids.push(answer["executionId"].as_str().unwrap().to_owned());
    }
    let blobs = files(&folder.path().join("blobs"));
    let of = |id: &str| -> Vec<&PathBuf> {
        blobs.iter().filter(|file| file.to_string_lossy().contains(id)).collect()
    };
    let [one, two] = [of(&ids[0]), of(&ids[1])];
    assert!(!one.is_empty() && one.len() == two.len(), "{blobs:?}");
    let key = http_key(&node.agent);
    node.stopped().await;
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    for way in ["cut", "swapped", "linked", "emptied", "removed"] {
        let kept: Vec<Vec<u8>> = one.iter().map(|file| fs::read(file).unwrap()).collect();
        for (file, other) in one.iter().zip(&two) {
            match way {
                "cut" => fs::write(file, &fs::read(file).unwrap()[..100]).unwrap(),
                "swapped" => fs::write(file, fs::read(other).unwrap()).unwrap(),
                "emptied" => fs::write(file, b"").unwrap(),
                _ => fs::remove_file(file).unwrap(),
            }
            if way == "linked" {
                std::os::unix::fs::symlink("/etc/passwd", file).unwrap();
            }
        }
        let mut node = opened(folder.path()).await;
        let agent = Client::new(&node.url(), &key);
        for path in ["?includePlan=true", "/replay", "/trace?includePayloads=true"] {
            let (status, answer) = agent.get(&format!("/v1/executions/{}{path}", ids[0])).await;
            let text = answer.to_string();
            println!("{way:8} {path:28} {status} {}", answer["detail"]);
            assert!(!text.contains("SECRETTWO"), "{way} {path}: another execution's");
            assert!(
                !passwd.lines().any(|line| line.len() > 20 && text.contains(line)),
                "{way} {path}: a file"
            );
            // A trace is in the table; what it says of the plan is its digest.
            let honest = status >= 500 || answer["matches"] == false || path.starts_with("/trace");
            assert!(honest, "{way} {path}: {status} {}", &text[..text.len().min(300)]);
        }
        let (status, other) =
            agent.get(&format!("/v1/executions/{}?includePlan=true", ids[1])).await;
        assert!(status == 200 && other["execution"]["plan"].is_object(), "{way}: {status} {other}");
        node.drain(Duration::from_secs(5)).await;
        drop(node);
        for (file, bytes) in one.iter().zip(kept) {
            let _ = fs::remove_file(file);
            fs::write(file, bytes).unwrap();
        }
    }
}

// A node on a folder, as soon as whoever had it before has let go.
async fn opened(data: &Path) -> Node {
    let mut node = Node::start(options(data)).await;
    for _ in 0..100 {
        if node.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        node = Node::start(options(data)).await;
    }
    node.unwrap()
}
