//! Each answer of Lambda, and what it means.

use super::*;
use crate::{
    Aws,
    fake_service::{Canned, answering, call, hanging_up, nobody},
};

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:notes:live";

fn binding() -> Binding {
    Binding::Lambda { function_arn: ARN.into() }
}

async fn asked(url: &str) -> ToolAnswer {
    Aws::at(url, "eu-central-1").lambda_tools().call(call(binding())).await
}

async fn answered(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> ToolAnswer {
    let (url, requests) =
        answering(Canned { status, headers: headers.to_vec(), body: body.into() }).await;
    let answer = asked(&url).await;
    assert_eq!(requests.lock().unwrap().len(), 1, "a call is sent once");
    answer
}

#[tokio::test]
async fn the_input_is_the_event_and_the_headers_are_in_the_context() {
    let (url, requests) =
        answering(Canned { status: 200, body: b"{\"id\":1}".to_vec(), ..Canned::default() }).await;
    assert_eq!(asked(&url).await, ToolAnswer::Output(b"{\"id\":1}".to_vec()));
    let taken = requests.lock().unwrap().pop().unwrap();
    assert_eq!(
        taken.uri.path(),
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Anotes\
         %3Alive/invocations"
    );
    assert_eq!(taken.body.as_ref(), br#"{"note":"hi"}"#);
    assert_eq!(taken.headers["x-amz-invocation-type"], "RequestResponse");
    let authorization = taken.headers["authorization"].to_str().unwrap();
    assert!(authorization.contains("/eu-west-1/lambda/aws4_request"), "{authorization}");
    assert!(authorization.contains("x-amz-client-context"), "{authorization}");
    let context = B64.decode(&taken.headers["x-amz-client-context"]).unwrap();
    let context: serde_json::Value = json::parse(&context).unwrap();
    let custom = &context["custom"];
    assert_eq!(custom["idempotency-key"], "k1");
    assert_eq!(custom["countersign-warrant"], "e30.eyJleGUiOiJleGVfNyJ9.c2ln");
    assert_eq!(custom["countersign-callback"], "https://control.example/callback");
    assert_eq!(custom.as_object().unwrap().len(), 7);
}

#[tokio::test]
async fn a_function_that_fails_leaves_the_outcome_open_unless_it_refused() {
    let failed = [("x-amz-function-error", "Unhandled")];
    for (body, said) in [
        (
            r#"{"errorType":"KeyError","errorMessage":"'id'","stackTrace":[]}"#,
            vec!["KeyError", "'id'"],
        ),
        (r#"{"errorType":"Sandbox.Timedout"}"#, vec!["Sandbox.Timedout"]),
        ("not JSON", vec![]),
        (r#"{"errorType":"ConnectionRefusedError"}"#, vec!["ConnectionRefusedError"]),
    ] {
        let ToolAnswer::Unknown(report) = answered(200, &failed, body).await else {
            panic!("{body}");
        };
        assert_eq!((report.code.as_str(), report.said), ("FUNCTION_ERROR", strings(&said)));
    }
    for kind in ["Refused", "RefusedException", "com.acme.RefusedException"] {
        let body = format!(r#"{{"errorType":"{kind}","errorMessage":"no such note"}}"#);
        let ToolAnswer::Failed(report) = answered(200, &failed, &body).await else {
            panic!("{kind}");
        };
        let said = strings(&[kind, "no such note"]);
        assert_eq!((report.code.as_str(), report.said), ("FUNCTION_REFUSED", said));
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn what_prevents_an_invocation_is_no_outcome_of_the_function() {
    for (status, kind) in [
        (429, "TooManyRequestsException"),
        (409, "ResourceConflictException"),
        (408, "SnapStartTimeoutException"),
    ] {
        let answer = answered(status, &[("x-amzn-errortype", kind)], "{}").await;
        let ToolAnswer::Unreached(why) = answer else { panic!("{answer:?}") };
        assert!(why.contains(kind), "{why}");
    }
    let headers = [("x-amzn-errortype", "ResourceNotFoundException:http://internal")];
    let body = r#"{"Type":"User","Message":"Function not found"}"#;
    let ToolAnswer::Failed(report) = answered(404, &headers, body).await else { panic!() };
    assert_eq!(report.code, "FUNCTION_NOT_INVOKED");
    assert!(report.fact.ends_with("Lambda answered 404 ResourceNotFoundException"), "{report:?}");
    assert_eq!(report.said, ["Function not found"]);
    for (status, code) in [(500, "TOOL_500"), (502, "TOOL_502"), (410, "TOOL_410")] {
        let answer = answered(status, &[], "{}").await;
        let ToolAnswer::Unknown(report) = answer else { panic!("{answer:?}") };
        assert_eq!(report.code, code);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_lost_answer_and_one_that_never_was_is_not() {
    let answer = asked(&hanging_up().await).await;
    assert!(matches!(&answer, ToolAnswer::Unknown(report) if report.code == "TOOL_LOST"));
    let answer = asked(&nobody().await).await;
    assert!(matches!(&answer, ToolAnswer::Unreached(_)), "{answer:?}");
}

#[tokio::test]
async fn what_is_too_large_is_told() {
    let large = "x".repeat(1_001);
    assert_eq!(answered(200, &[], &large).await, ToolAnswer::too_large(1_000));
    let failed = [("x-amz-function-error", "Unhandled")];
    let answer = answered(200, &failed, &large).await;
    assert!(matches!(&answer, ToolAnswer::Unknown(report) if report.code == "FUNCTION_ERROR"));

    let (url, requests) = answering(Canned { status: 200, ..Canned::default() }).await;
    let tools = Aws::at(&url, "eu-central-1").lambda_tools();
    let mut with_many_secrets = call(binding());
    with_many_secrets.headers.push(("webhook-signature", "v1,".repeat(900)));
    let mut with_much_input = call(binding());
    with_much_input.body = vec![b' '; EVENT_BYTES_MAX + 1];
    for call in [with_many_secrets, with_much_input] {
        let answer = tools.call(call).await;
        assert!(matches!(&answer, ToolAnswer::Failed(report) if report.code == "CALL_TOO_LARGE"));
    }
    assert!(requests.lock().unwrap().is_empty(), "nothing of it was sent");
}
