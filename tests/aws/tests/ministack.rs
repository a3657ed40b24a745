//! The template on ministack, which enforces what LocalStack does not: authorizers and roles.

use countersign_aws_tests::{Cloud, Kind, STACK, Stack};
use countersign_it::{Client, TestServer, install_body};
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn the_door_and_the_roles() {
    let stack = Arc::new(Stack::deploy(Cloud::start(Kind::Ministack), &[]).await);
    // Where ministack asks for other permissions than AWS: to send a batch, AWS asks for
    // `sqs:SendMessage` and knows no other; a task's token belongs to its state machine, whose ARN
    // AWS compares (aws/aws-cdk#8486), ministack none; and it does not know what a data key is
    // asked for (`kms:EncryptionContext`), which the template's statements name.
    let queue = stack.output("StageQueueUrl").rsplit('/').next().unwrap();
    let queue = format!("arn:aws:sqs:eu-central-1:000000000000:{queue}");
    for (function, action, resource) in [
        ("relay", "sqs:SendMessageBatch", queue.as_str()),
        ("approve", "states:SendTaskSuccess", "*"),
        ("advance", "states:SendTaskSuccess", "*"),
        ("skill", "states:SendTaskSuccess", "*"),
        ("sweep", "states:SendTaskSuccess", "*"),
        ("access", "kms:GenerateDataKey", "*"),
        ("submit", "kms:GenerateDataKey", "*"),
        ("compile", "kms:GenerateDataKey", "*"),
        ("control", "kms:GenerateDataKey", "*"),
        ("advance", "kms:*", "*"),
        ("deliver", "kms:Decrypt", "*"),
    ] {
        let role = role(&stack, function);
        let statement = json!([{ "Effect": "Allow", "Action": action, "Resource": resource }]);
        let policy = json!({ "Version": "2012-10-17", "Statement": statement }).to_string();
        let name = role.rsplit('/').next().unwrap();
        let called = action.replace(':', "-").replace('*', "all");
        let args = [
            "iam",
            "put-role-policy",
            "--role-name",
            name,
            "--policy-name",
            &called,
            "--policy-document",
        ];
        stack.cloud.aws(&[args.as_slice(), &[&policy]].concat());
    }

    // The door: nobody without a key, no key without the grant of the route; open routes are open.
    let server = TestServer::on(stack.clone(), "acme").await;
    let anonymous =
        countersign_it::http().get(format!("{}/v1/executions", server.url())).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert_eq!(Client::new(&server.url(), "csk_0000").get("/v1/executions").await.0, 401);
    let (status, answer) = server.agent.get("/v1/keys").await;
    assert_eq!(status, 403, "{answer}");
    assert!(
        answer.get("code").is_none(),
        "it was the gateway that refused, not the function: {answer}"
    );
    assert_eq!(server.approver.get("/v1/skills").await.0, 200);
    assert_eq!(Client::new(&server.url(), "").get("/healthz").await.0, 200);
    let reader = json!({ "actor": { "kind": "agent", "id": "reader" },
        "grants": ["control-plane.execution.read"] });
    let (_, key) = server.approver.post("/v1/keys", &reader).await;
    let reader = Client::new(&server.url(), key["apiKey"].as_str().unwrap());
    assert_eq!(reader.get("/v1/executions").await.0, 200);
    assert_eq!(reader.post("/v1/intents", &json!({ "text": "x", "mode": "manual" })).await.0, 403);

    // The roles suffice: a whole run with an approval, and its events in the queue.
    let steps = json!([{ "id": "c", "use": "crm/customer.find", "with": { "email": "a@x.org" } },
        { "id": "p", "use": "payments/payout.create",
            "with": { "account": "DE02", "amount": 5, "currency": "EUR" }, "after": ["c"] }]);
    let id = server.submit(steps).await;
    server.until(&id, "blocked").await;
    server.approve(&id).await;
    server.until(&id, "completed").await;
    server.proven(&id).await;

    // And are needed: `skill` in the role of `query` may read but not write.
    let other = role(&stack, "query");
    let own = role(&stack, "skill");
    let mut manifest = server.tools.manifests().unwrap().remove(0);
    manifest["skill"]["key"] = json!("crm2");
    wear(&stack, "skill", &other);
    let (status, answer) = server.approver.post("/v1/skills", &install_body(&manifest)).await;
    assert_eq!(
        (status, &answer["code"]),
        (500, &json!("INTERNAL_ERROR")),
        "a function outside its role is refused"
    );
    let group = format!("/aws/lambda/{STACK}-skill");
    let log =
        stack.cloud.aws(&["logs", "filter-log-events", "--log-group-name", &group]).to_string();
    assert!(
        log.contains("AccessDenied") && log.contains("dynamodb:"),
        "by the cloud, and the log says so: {log}"
    );
    wear(&stack, "skill", &own);
    let (status, answer) = server.approver.post("/v1/skills", &install_body(&manifest)).await;
    assert_eq!(status, 201, "nothing was installed before: {answer}");
    // `authorize` sees keys and nothing else.
    wear(&stack, "query", &role(&stack, "authorize"));
    let (status, answer) = server.agent.get("/v1/executions").await;
    assert_eq!((status, &answer["code"]), (500, &json!("INTERNAL_ERROR")));
    wear(&stack, "query", &other);
    assert_eq!(server.agent.get("/v1/executions").await.0, 200);
}

fn role(stack: &Stack, function: &str) -> String {
    let name = format!("{STACK}-{function}");
    let found: Value =
        stack.cloud.aws(&["lambda", "get-function-configuration", "--function-name", &name]);
    found["Role"].as_str().unwrap().to_owned()
}

fn wear(stack: &Stack, function: &str, role: &str) {
    let name = format!("{STACK}-{function}");
    stack.cloud.aws(&[
        "lambda",
        "update-function-configuration",
        "--function-name",
        &name,
        "--role",
        role,
    ]);
    // A process keeps the credentials it was started with.
    stack.end(function);
}
