//! Tools behind Lambda and SQS: the code of docs/src/how-to/lambda-and-sqs.md, as two functions,
//! one
//! of which receives from a queue.

use aws_sdk_sqs::types::QueueAttributeName;
use countersign_aws_tests::{Stack, root, snippets};
use countersign_it::TestServer;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf, process, sync::Arc};
use tokio::process::Command;

/// What the stack has to name, so that it is called.
pub const PARAMETERS: [&str; 2] = [
    "ToolFunctionArns=arn:aws:lambda:eu-central-1:000000000000:function:notes-add,\
     arn:aws:lambda:eu-central-1:000000000000:function:notes-break",
    "ToolQueueArns=arn:aws:sqs:eu-central-1:000000000000:notes-index,\
     arn:aws:sqs:eu-central-1:000000000000:notes-log.fifo",
];

/// Plans that call them: what comes back, what they were sent, and what a failure means.
pub async fn functions_and_queues(stack: Arc<Stack>) {
    let server = TestServer::on(stack.clone(), "notes").await;
    let index = Queue::make(&stack, "notes-index", &[]).await;
    let fifo = [(QueueAttributeName::FifoQueue, "true")];
    let log = Queue::make(&stack, "notes-log.fifo", &fifo).await;
    let code = package(&stack);
    let plane = server.url();
    let add =
        function(&stack, "notes-add", &code, &[("HANDLER", "add"), ("CONTROL_PLANE", &plane)]);
    let wrecked = [("HANDLER", "nothing"), ("CONTROL_PLANE", plane.as_str())];
    let broken = function(&stack, "notes-break", &code, &wrecked);
    let worker = [("HANDLER", "index"), ("CONTROL_PLANE", &plane), ("QUEUE_URL", &index.url)];
    function(&stack, "notes-index", &code, &worker);
    let (arn, name) = (index.arn.as_str(), "notes-index");
    stack.cloud.aws(&[
        "lambda",
        "create-event-source-mapping",
        "--function-name",
        name,
        "--event-source-arn",
        arn,
    ]);
    let lambda = |arn: &str| json!({ "kind": "lambda", "functionArn": arn });
    let sqs = |queue: &Queue| json!({ "kind": "sqs", "queueUrl": queue.url });
    let manifest = manifest(&[
        operation("note.add", "text", json!({ "id": text() }), lambda(&add)),
        operation("note.index", "text", json!({ "words": { "type": "integer" } }), sqs(&index)),
        operation("note.log", "id", json!({ "messageId": text() }), sqs(&log)),
        operation("note.break", "text", json!({ "id": text() }), lambda(&broken)),
    ]);
    server.install(&server.approver, &manifest).await;

    let words = json!({ "text": "six words that are a note" });
    let done = server
        .submit(json!([{ "id": "add", "use": "notes/note.add", "with": words },
            { "id": "index", "use": "notes/note.index", "with": words },
            { "id": "log", "use": "notes/note.log",
                "with": { "id": { "$from": "add", "path": "/id" } } }]))
        .await;
    server.until(&done, "completed").await;
    server.proven(&done).await;
    let note = output(&server, &done, "add").await["id"].as_str().unwrap().to_owned();
    assert!(note.len() == 64, "the idempotency key of the call: {note}");
    assert_eq!(output(&server, &done, "index").await, json!({ "words": 6 }));

    // The receipt: the message that is in the queue, with what its consumer needs to trust it.
    let message = log.receive().await;
    assert_eq!(output(&server, &done, "log").await, json!({ "messageId": message.id }));
    assert_eq!(message.body, format!(r#"{{"id":"{note}"}}"#));
    assert_eq!(message.group.as_deref(), Some(done.as_str()));
    let key = &message.attributes["idempotency-key"];
    assert_eq!(message.once.as_ref(), Some(key));
    assert_ne!(*key, note, "each step has its own");
    assert!(!message.attributes.contains_key("countersign-callback"), "nobody waits for an answer");
    assert_eq!(verified(&server, &message, &log.url).await, Ok(()));
    let elsewhere = verified(&server, &message, &index.url).await.unwrap_err();
    assert!(elsewhere.contains("Audience doesn't match"), "{elsewhere}");

    // It says that it did nothing; it breaks, and nobody knows.
    let refused = fails(&server, "note.add", json!({ "text": " " })).await;
    assert_eq!(refused["code"], "FUNCTION_REFUSED", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("a note has a text"), "{refused}");
    let broke = fails(&server, "note.break", json!({ "text": "x" })).await;
    assert_eq!(broke["code"], "FUNCTION_ERROR", "{broke}");
    assert!(broke["message"].as_str().unwrap().contains("AttributeError"), "{broke}");
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn object(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().unwrap().keys().collect();
    json!({ "type": "object", "required": required, "properties": properties,
        "additionalProperties": false })
}

fn operation(key: &str, field: &str, output: Value, binding: Value) -> Value {
    json!({ "key": key, "title": key, "inputSchema": object(json!({ field: text() })),
        "outputSchema": object(output), "effect": "idempotent", "riskTier": "low",
        "timeoutSeconds": 60, "binding": binding,
        "retry": { "maxAttempts": 1, "backoffSeconds": 1, "maxBackoffSeconds": 1 } })
}

fn manifest(operations: &[Value]) -> Value {
    let nothing = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    json!({ "schemaVersion": "1.0.0", "skill": { "key": "notes", "version": "1.0.0" },
        "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
        "artifact": { "digest": nothing }, "operations": operations })
}

async fn output(server: &TestServer, id: &str, step: &str) -> Value {
    let path = format!("/v1/executions/{id}/output?stepId={step}");
    let (status, answer) = server.approver.get(&path).await;
    assert_eq!(status, 200, "{answer}");
    answer["outputs"][step].clone()
}

// What the trace says of a step that failed.
async fn fails(server: &TestServer, operation: &str, input: Value) -> Value {
    let id = server
        .submit(json!([{ "id": "a", "use": format!("notes/{operation}"), "with": input }]))
        .await;
    let view = server.until(&id, "failed").await;
    view["steps"][0].clone()
}

// Whether a consumer takes a message, by the code of the documentation; else what it says.
async fn verified(server: &TestServer, message: &Message, audience: &str) -> Result<(), String> {
    let script = "import json, sys, tool; tool.verify(sys.argv[1], json.loads(sys.argv[2]), \
        sys.argv[3], 'notes/note.log')";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tool.py"), documented()).unwrap();
    // Not blocking: the control plane's address is served by this very runtime.
    let done = Command::new(snippets().join("bin/python"))
        .args(["-c", script, &message.attributes["countersign-warrant"], &message.body, audience])
        .current_dir(folder.path())
        .env("CONTROL_PLANE", server.url())
        .output()
        .await
        .unwrap();
    let said = || String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() { Ok(()) } else { Err(said()) }
}

fn documented() -> String {
    let path = root().join("docs/src/how-to/lambda-and-sqs.md");
    let text = fs::read_to_string(path).unwrap();
    text.split("```python\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

// The code of the functions as Lambda takes it.
fn package(stack: &Stack) -> PathBuf {
    let python = snippets().join("bin/python");
    let folder = stack.cloud.folder().join("notes");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("tool.py"), documented()).unwrap();
    let own = include_str!("bootstrap.py");
    fs::write(folder.join("bootstrap"), format!("#!{}\n{own}", python.display())).unwrap();
    let script = "import os, shutil, sys; os.chmod(sys.argv[1] + '/bootstrap', 0o755); \
        shutil.make_archive(sys.argv[1], 'zip', sys.argv[1])";
    let done = process::Command::new(python).args(["-c", script]).arg(&folder).status().unwrap();
    assert!(done.success());
    folder.with_extension("zip")
}

// Makes a function; its ARN.
fn function(
    stack: &Stack,
    name: &str,
    code: &std::path::Path,
    environment: &[(&str, &str)],
) -> String {
    let variables: BTreeMap<&str, &str> = environment.iter().copied().collect();
    let environment = json!({ "Variables": variables }).to_string();
    let code = format!("fileb://{}", code.display());
    let made = stack.cloud.aws(&[
        "lambda",
        "create-function",
        "--function-name",
        name,
        "--runtime",
        "provided.al2023",
        "--handler",
        "bootstrap",
        "--role",
        "arn:aws:iam::000000000000:role/notes",
        "--timeout",
        "20",
        "--environment",
        &environment,
        "--zip-file",
        &code,
    ]);
    stack.cloud.aws(&["lambda", "wait", "function-active-v2", "--function-name", name]);
    made["FunctionArn"].as_str().unwrap().to_owned()
}

/// A queue of the test's own.
struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
    arn: String,
}

/// A message as a worker sees it.
#[derive(Debug)]
struct Message {
    id: String,
    body: String,
    attributes: BTreeMap<String, String>,
    group: Option<String>,
    once: Option<String>,
}

impl Queue {
    async fn make(stack: &Stack, name: &str, attributes: &[(QueueAttributeName, &str)]) -> Self {
        let client = stack.clients().sqs();
        let mut request = client.create_queue().queue_name(name);
        for (name, value) in attributes {
            request = request.attributes(name.clone(), *value);
        }
        let url = request.send().await.unwrap().queue_url.unwrap();
        let arn = format!("arn:aws:sqs:eu-central-1:000000000000:{name}");
        Self { client, url, arn }
    }

    async fn receive(&self) -> Message {
        let asked = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .message_attribute_names("All")
            .message_system_attribute_names("All".into())
            .wait_time_seconds(2);
        let message = asked.send().await.unwrap().messages.unwrap().remove(0);
        let system: BTreeMap<String, String> = message
            .attributes
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name.as_str().to_owned(), value))
            .collect();
        let attributes = message.message_attributes.unwrap_or_default().into_iter();
        Message {
            id: message.message_id.unwrap(),
            body: message.body.unwrap(),
            attributes: attributes
                .map(|(name, value)| (name, value.string_value.unwrap()))
                .collect(),
            group: system.get("MessageGroupId").cloned(),
            once: system.get("MessageDeduplicationId").cloned(),
        }
    }
}
