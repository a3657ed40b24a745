//! What only a deployed stack has: queues, schedules, functions that die.

mod operations;
pub mod people;
pub mod tools;

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::evidence::Manifest;
use countersign_aws_tests::{STACK, Stack, binaries, root};
use countersign_it::{TestServer, anywhere};
use countersign_store::keys;
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac as _};
use local::demo_tools::Behaviour;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{process::Command, time::sleep};

/// Every check by its name, in the order in which they must come.
pub fn all(stack: &Arc<Stack>) -> Vec<(&'static str, BoxFuture<'static, ()>)> {
    vec![
        (
            "the machine is valid, and ten steps take few transitions",
            Box::pin(transitions(stack.clone())),
        ),
        ("the command line against the endpoint", Box::pin(command_line(stack.clone()))),
        ("tools behind Lambda and SQS", Box::pin(tools::functions_and_queues(stack.clone()))),
        ("stage events are in the queue, in order", Box::pin(stage_events(stack.clone()))),
        ("stage events reach a webhook, signed", Box::pin(webhooks(stack.clone()))),
        (
            "a refund from the mail by two groups, and one under a mandate",
            Box::pin(people::from_the_mail(stack.clone())),
        ),
        ("the schedule exports", Box::pin(export(stack.clone()))),
        ("a function that is killed in the middle of a step", Box::pin(killed(stack.clone()))),
        ("one public stage", Box::pin(operations::one_stage(stack.clone()))),
        (
            "machines that are stopped, and approvals after it",
            Box::pin(operations::stopped(stack.clone())),
        ),
        ("every alarm is delivered", Box::pin(operations::alarms(stack.clone()))),
        ("what a schedule fails at is told", Box::pin(operations::dead_letters(stack.clone()))),
    ]
}

fn find(id: String, after: &[String]) -> Value {
    json!({ "id": id, "use": "crm/customer.find", "with": { "email": "a@x.org" }, "after": after })
}

async fn transitions(stack: Arc<Stack>) {
    let definition = root().join("infra/execution.asl.json");
    let file = format!("file://{}", definition.display());
    let validated = stack.cloud.aws(&[
        "stepfunctions",
        "validate-state-machine-definition",
        "--definition",
        &file,
    ]);
    assert_eq!(validated["result"], "OK", "{validated}");

    let server = TestServer::on(stack.clone(), "ten").await;
    let steps: Vec<Value> = (0..10)
        .map(|n| {
            find(
                format!("s{n}"),
                &(n > 0).then(|| format!("s{}", n - 1)).into_iter().collect::<Vec<_>>(),
            )
        })
        .collect();
    let id = server.submit(json!(steps)).await;
    server.until(&id, "completed").await;
    let arn = stack.output("StateMachineArn").replace(":stateMachine:", ":execution:")
        + &format!(":{id}-0");
    let mut history = Value::Null;
    for _ in 0..100 {
        history =
            stack.cloud.aws(&["stepfunctions", "get-execution-history", "--execution-arn", &arn]);
        if history["events"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["type"] == "ExecutionSucceeded")
        {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let events = history["events"].as_array().unwrap();
    // AWS counts each state that is entered, and the start.
    let entered = events
        .iter()
        .filter(|event| event["type"].as_str().unwrap().ends_with("StateEntered"))
        .count();
    eprintln!("    an autonomous plan of 10 steps: {} transitions", entered + 1);
    assert!(entered < 12, "{history}");
}

async fn command_line(stack: Arc<Stack>) {
    let server = TestServer::on(stack, "cli").await;
    let draft = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(draft.path(), json!({ "steps": [find("c".into(), &[])] }).to_string()).unwrap();
    let run = |arguments: Vec<String>| {
        let mut command = Command::new(binaries().join("countersign"));
        command
            .args(arguments)
            .arg("--endpoint")
            .arg(server.url())
            .env("COUNTERSIGN_API_KEY", &server.identity.agent_key);
        async move { command.output().await.unwrap() }
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut arguments = words("submit hello --watch --draft");
    arguments.push(draft.path().display().to_string());
    let done = run(arguments).await;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && text.contains("completed"), "{done:?}");
    let listed = run(words("list --json")).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let id = listed["items"][0]["executionId"].as_str().unwrap().to_owned();
    let verified = run(words(&format!("trace {id} --verify"))).await;
    assert!(verified.status.success(), "{verified:?}");
    let refused = run(words("get exe_00000000000000000000000000000000")).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

async fn stage_events(stack: Arc<Stack>) {
    let server = TestServer::on(stack.clone(), "events").await;
    let id = server.submit(json!([find("a".into(), &[]), find("b".into(), &["a".into()])])).await;
    server.until(&id, "completed").await;
    let (_, trace) = server.agent.get(&format!("/v1/executions/{id}/trace")).await;
    let hashes: Vec<String> = trace["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["hash"].as_str().unwrap().to_owned())
        .collect();

    // Everything that the scenarios before left is in the queue too.
    let (client, url) = (stack.clients().sqs(), stack.output("StageQueueUrl"));
    let mut seen: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    let mut empty = 0;
    while empty < 3 || seen.get(&id).map_or(0, Vec::len) < hashes.len() {
        assert!(empty < 60, "the events of {id} do not come: {:?}", seen.get(&id));
        let got = client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .wait_time_seconds(1)
            .send()
            .await;
        let messages = got.unwrap().messages.unwrap_or_default();
        if messages.is_empty() {
            empty += 1;
        }
        for message in messages {
            let event: Value = serde_json::from_str(message.body().unwrap()).unwrap();
            // Each workspace has a log: its chain is known by its source too.
            let [source, subject] = ["source", "subject"].map(|name| event[name].as_str().unwrap());
            let chain =
                if subject == id { subject.to_owned() } else { format!("{source} {subject}") };
            let of = seen.entry(chain).or_default();
            of.push((
                event["sequence"].as_u64().unwrap(),
                event["id"].as_str().unwrap().to_owned(),
            ));
            let handle = message.receipt_handle().unwrap();
            client.delete_message().queue_url(url).receipt_handle(handle).send().await.unwrap();
        }
    }
    let count: usize = seen.values().map(Vec::len).sum();
    eprintln!("    {count} events of {} chains", seen.len());
    for (chain, events) in &seen {
        let sequences: Vec<u64> = events.iter().map(|(sequence, _)| *sequence).collect();
        let whole: Vec<u64> = (1..=sequences.len() as u64).collect();
        assert_eq!(sequences, whole, "{chain}: every event once, in order");
    }
    assert_eq!(seen[&id].iter().map(|(_, hash)| hash.clone()).collect::<Vec<_>>(), hashes);
}

// From now on stage events are delivered, and not left to the test that reads the queue.
fn deliver(stack: &Stack) {
    let name = format!("{STACK}-deliver");
    let mappings =
        stack.cloud.aws(&["lambda", "list-event-source-mappings", "--function-name", &name]);
    let mapping = mappings["EventSourceMappings"][0]["UUID"].as_str().unwrap();
    stack.cloud.aws(&["lambda", "update-event-source-mapping", "--uuid", mapping, "--enabled"]);
}

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

async fn webhooks(stack: Arc<Stack>) {
    let received = Received::default();
    let receive = |State(received): State<Received>, headers: HeaderMap, body: Bytes| async move {
        received.lock().unwrap().push((headers, body));
    };
    let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(receive)).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    deliver(&stack);
    let server = TestServer::on(stack.clone(), "hooks").await;
    let grants = json!({ "actor": { "kind": "service", "id": "ops" },
        "grants": ["control-plane.webhooks"] });
    let (_, key) = server.approver.post("/v1/keys", &grants).await;
    let operator = countersign_it::Client::new(&server.url(), key["apiKey"].as_str().unwrap());
    assert_eq!(
        server.agent.post("/v1/webhooks", &json!({ "url": url })).await.0,
        403,
        "an agent may not"
    );
    let (status, problem) = operator.post("/v1/webhooks", &json!({ "url": "ftp://x" })).await;
    assert_eq!((status, &problem["issues"][0]["pointer"]), (422, &json!("/url")), "{problem}");
    let types = ["controlPlane.intent.received", "controlPlane.execution.completed"];
    let (status, hook) =
        operator.post("/v1/webhooks", &json!({ "url": url, "types": types })).await;
    assert_eq!(status, 201, "{hook}");
    let id = server.submit(json!([find("a".into(), &[])])).await;
    for _ in 0..600 {
        if received.lock().unwrap().len() >= 2 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    // The secret is the workspace's own; no route tells it.
    let secret = B64.decode(hook["secret"].as_str().unwrap().trim_start_matches("whsec_")).unwrap();
    let received = received.lock().unwrap().clone();
    let mut kinds = Vec::new();
    for (headers, body) in &received {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap();
        mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
        mac.update(body);
        assert_eq!(
            header("webhook-signature"),
            format!("v1,{}", B64.encode(mac.finalize().into_bytes()))
        );
        let event: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(event["subject"], json!(id), "another workspace's events go elsewhere");
        kinds.push(event["type"].as_str().unwrap().to_owned());
    }
    kinds.dedup();
    assert_eq!(kinds, types, "only what was asked for, in order");
    let path = format!("/v1/webhooks/{}/remove", hook["id"].as_str().unwrap());
    assert_eq!(operator.post(&path, &json!({})).await.0, 200);
    assert_eq!(operator.get("/v1/webhooks").await.1["items"], json!([]));
}

// What has happened is exported when the hour is over, or at once where somebody asks for it; what
// is in the bucket verifies by the command that people use, and so does the evidence of one
// execution.
async fn export(stack: Arc<Stack>) {
    let server = TestServer::on(stack.clone(), "export").await;
    let id = server.submit(json!([find("a".into(), &[])])).await;
    server.until(&id, "completed").await;
    let (_, trace) = server.agent.get(&format!("/v1/executions/{id}/trace")).await;
    let (_, bundle) = until_logged(&server, &format!("/v1/executions/{id}/evidence")).await;
    let before = contracts::Timestamp::from_ms(now_ms());
    let (status, exported) = server.approver.post("/v1/exports", &json!({})).await;
    assert_eq!((status, &exported["broken"], &exported["left"]), (200, &json!(0), &json!(false)));
    let numbers = 1..=exported["number"].as_u64().unwrap();
    let bucket = stack.clients().bucket(stack.output("ExportBucketName"));
    let folder = tempfile::tempdir().unwrap();
    let mut heads = Vec::new();
    for number in numbers {
        let mut found = None;
        // The hour may be over in between.
        for at in [before, contracts::Timestamp::from_ms(now_ms())] {
            let hour = at.ms().div_euclid(keys::HOUR_MS).rem_euclid(24);
            let name = format!("export/{}/{hour:02}/{number:06}", at.day());
            let Some(manifest) = bucket.object(&format!("{name}/manifest.json")).await.unwrap()
            else {
                continue;
            };
            found = Some(serde_json::from_slice::<Manifest>(&manifest).unwrap());
            let local = folder.path().join(number.to_string());
            fs::create_dir(&local).unwrap();
            for file in [
                "manifest.json",
                "manifest.note",
                "events.ndjson.gz",
                "documents.ndjson.gz",
                "log.ndjson.gz",
            ] {
                if let Some(bytes) = bucket.object(&format!("{name}/{file}")).await.unwrap() {
                    fs::write(local.join(file), bytes).unwrap();
                }
            }
            break;
        }
        let manifest = found.expect("it is there when the call returns");
        heads.extend(manifest.files.into_iter().map(|part| json!(part.heads)));
    }
    let end = &trace["head"]["hash"];
    assert!(heads.iter().any(|heads| heads[id.to_string()] == *end), "{heads:?}");
    assert!(heads.iter().any(|heads| heads["log"].is_string()), "the workspace log, too");
    let (_, keys) = server.agent.get("/.well-known/jwks.json").await;
    let file = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        fs::write(&path, value.to_string()).unwrap();
        path
    };
    let (keys, bundle) = (file("keys.json", &keys), file("bundle.json", &bundle["bundle"]));
    for path in [folder.path(), &bundle] {
        let verify = std::process::Command::new(binaries().join("countersign"))
            .arg("verify")
            .args([path, "--keys".as_ref(), &keys])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verify.stdout);
        assert!(verify.status.success() && said.contains("complete and untouched"), "{said}");
    }
}

// An execution stands in the log seconds after it ended.
async fn until_logged(server: &TestServer, path: &str) -> (u16, Value) {
    for _ in 0..200 {
        let answer = server.approver.post(path, &json!({})).await;
        if answer.0 == 200 {
            return answer;
        }
        assert_eq!(answer.0, 404, "{}", answer.1);
        sleep(Duration::from_millis(100)).await;
    }
    panic!("its end did not come into the log");
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

// The lease of a worker that died runs out; then the next one repeats the call with the same key.
async fn killed(stack: Arc<Stack>) {
    let server = TestServer::on(stack.clone(), "killed").await;
    server.tools.behave("mail/message.send", Behaviour::Slow { ms: 10_000 });
    let id = server
        .submit(json!([{ "id": "m", "use": "mail/message.send",
            "with": { "to": ["a@x.org"], "subject": "s", "body": "b" } }]))
        .await;
    for _ in 0..400 {
        if server.tools.calls() == 1 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.tools.calls(), 1, "the step is on its way");
    assert!(stack.end("advance") > 0);
    let view = server.until(&id, "completed").await;
    assert_eq!(view["steps"][0]["attempt"], 2, "{view}");
    let effects = server.tools.effects("mail/message.send");
    assert_eq!(effects.values().copied().collect::<Vec<_>>(), [1], "asked twice, done once");
    server.proven(&id).await;
}
