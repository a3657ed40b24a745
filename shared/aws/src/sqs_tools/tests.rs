//! What is sent to a queue, and what its answers mean.

use super::*;
use crate::{
    Aws,
    fake_service::{Canned, answering, call, hanging_up, nobody},
};
use serde_json::{Value, json};

const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/notes";

fn binding(queue_url: &str) -> Binding {
    Binding::Sqs { queue_url: queue_url.into() }
}

async fn asked(url: &str, call: ToolCall) -> ToolAnswer {
    Aws::at(url, "eu-central-1").sqs_tools().call(call).await
}

// What is sent, and with which authorization.
async fn sent(call: ToolCall) -> (Value, String) {
    let body = json!({ "MessageId": "m-1", "MD5OfMessageBody": "ignored" }).to_string();
    let (url, requests) =
        answering(Canned { status: 200, body: body.into(), ..Canned::default() }).await;
    let answer = asked(&url, call).await;
    assert_eq!(answer, ToolAnswer::Queued { message_id: "m-1".into() });
    let taken = requests.lock().unwrap().pop().unwrap();
    let authorization = taken.headers["authorization"].to_str().unwrap().to_owned();
    (serde_json::from_slice(&taken.body).unwrap(), authorization)
}

#[tokio::test]
async fn the_input_is_the_body_and_the_headers_are_attributes() {
    let (message, authorization) = sent(call(binding(QUEUE))).await;
    assert_eq!(message["QueueUrl"], QUEUE);
    assert_eq!(message["MessageBody"], r#"{"note":"hi"}"#);
    let attributes = message["MessageAttributes"].as_object().unwrap();
    assert_eq!(attributes.len(), 8);
    assert_eq!(attributes["idempotency-key"], json!({ "DataType": "String", "StringValue": "k1" }));
    assert_eq!(attributes["countersign-warrant"]["StringValue"], "e30.eyJleGUiOiJleGVfNyJ9.c2ln");
    assert!(message.get("MessageGroupId").is_none() && message.get("DelaySeconds").is_none());
    assert!(authorization.contains("/eu-west-1/sqs/aws4_request"), "{authorization}");
    let (_, authorization) = sent(call(binding("http://127.0.0.1:4566/000000000000/notes"))).await;
    assert!(authorization.contains("/eu-central-1/sqs/aws4_request"), "{authorization}");
}

#[tokio::test]
async fn a_fifo_queue_has_a_group_for_each_execution_and_one_message_for_each_call() {
    let queue = format!("{QUEUE}.fifo");
    let (answered, _) = sent(call(binding(&queue))).await;
    assert_eq!(answered["MessageGroupId"], "exe_7");
    assert_eq!(answered["MessageDeduplicationId"], "k1.2", "its worker answers this attempt");
    let mut receipt = call(binding(&queue));
    receipt.headers.retain(|(name, _)| *name != "countersign-callback");
    let (receipt, _) = sent(receipt).await;
    assert_eq!(receipt["MessageDeduplicationId"], "k1", "every attempt is the same message");
    let mut without = call(binding(&queue));
    without.headers.retain(|(name, _)| *name != "countersign-warrant");
    assert_eq!(sent(without).await.0["MessageGroupId"], "k1");
}

async fn refused(status: u16, kind: &str) -> ToolAnswer {
    let body = json!({ "__type": format!("com.amazonaws.sqs#{kind}"), "message": "no" });
    let (url, requests) =
        answering(Canned { status, body: body.to_string().into(), ..Canned::default() }).await;
    let answer = asked(&url, call(binding(QUEUE))).await;
    assert_eq!(requests.lock().unwrap().len(), 1, "a call is sent once");
    answer
}

#[tokio::test]
async fn what_a_queue_refuses_is_not_in_it_and_what_fails_may_be() {
    for kind in ["QueueDoesNotExist", "InvalidMessageContents", "AccessDeniedException"] {
        let ToolAnswer::Failed(report) = refused(400, kind).await else { panic!("{kind}") };
        assert_eq!((report.code.as_str(), report.said), ("QUEUE_REFUSED", vec!["no".to_owned()]));
        assert!(report.fact.contains("SQS answered 400"), "{}", report.fact);
    }
    for (status, kind) in [(400, "RequestThrottled"), (400, "ThrottlingException"), (429, "Any")] {
        let answer = refused(status, kind).await;
        assert!(matches!(&answer, ToolAnswer::Unreached(why) if why.contains(kind)), "{answer:?}");
    }
    let ToolAnswer::Unknown(report) = refused(500, "InternalFailure").await else { panic!() };
    assert_eq!(report.code, "TOOL_500");
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_lost_answer_and_one_that_never_was_is_not() {
    let answer = asked(&hanging_up().await, call(binding(QUEUE))).await;
    assert!(matches!(&answer, ToolAnswer::Unknown(report) if report.code == "TOOL_LOST"));
    let answer = asked(&nobody().await, call(binding(QUEUE))).await;
    assert!(matches!(&answer, ToolAnswer::Unreached(_)), "{answer:?}");
}

#[tokio::test]
async fn what_is_too_large_is_told() {
    let (url, requests) = answering(Canned { status: 200, ..Canned::default() }).await;
    let mut large = call(binding(QUEUE));
    large.body = vec![b' '; MESSAGE_BYTES_MAX - 100];
    let mut many = call(binding(QUEUE));
    many.headers.extend([("a", String::new()), ("b", String::new()), ("c", String::new())]);
    for call in [large, many] {
        let answer = asked(&url, call).await;
        assert!(matches!(&answer, ToolAnswer::Failed(report) if report.code == "CALL_TOO_LARGE"));
    }
    assert!(requests.lock().unwrap().is_empty(), "nothing of it was sent");
}
