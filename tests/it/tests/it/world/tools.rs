//! What tools answer.

use super::kit::{ScriptedAnswer, WireServer};
use serde_json::{Value, json};

fn retried() -> Value {
    json!({ "retry": { "maxAttempts": 2, "backoffSeconds": 1, "maxBackoffSeconds": 1 } })
}

fn message(execution: &Value) -> String {
    execution["steps"][0].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_answers_retry_after_is_waited_for() {
    let wire = WireServer::start(&[("busy", retried())]).await;
    wire.says(
        "busy",
        [ScriptedAnswer::new(503, "").header("retry-after", "3"), ScriptedAnswer::new(200, "{}")],
    );
    assert_eq!(wire.run("busy").await["status"], "completed");
    let calls = wire.calls("busy");
    assert!((calls[1].at - calls[0].at).as_secs_f64() >= 3.0 && calls.len() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_answers_retry_after_is_bounded_by_the_time_out() {
    let wire = WireServer::start(&[("busy", retried())]).await;
    let date = "Fri, 31 Dec 2100 23:59:59 GMT";
    wire.says(
        "busy",
        [ScriptedAnswer::new(429, "").header("retry-after", date), ScriptedAnswer::new(200, "{}")],
    );
    assert_eq!(wire.run("busy").await["status"], "completed");
    let calls = wire.calls("busy");
    let waited = (calls[1].at - calls[0].at).as_secs_f64();
    assert!((5.0..9.0).contains(&waited), "{waited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_answers_too_large_end_at_once_and_people_see_it() {
    let more = |effect: &str| {
        let mut more = retried();
        more["effect"] = json!(effect);
        more
    };
    let wire = WireServer::start(&[
        ("writes", more("idempotent")),
        ("reads", more("read")),
        ("refuses", more("read")),
    ])
    .await;
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    wire.says("writes", [ScriptedAnswer::new(200, large.clone())]);
    wire.says("reads", [ScriptedAnswer::new(200, large.clone())]);
    wire.says("refuses", [ScriptedAnswer::new(404, large)]);
    let id = wire.server.submit(json!([{ "id": "a", "use": "wire/writes", "with": {} }])).await;
    let execution = wire.server.until(&id, "blocked").await;
    assert_eq!(execution["steps"][0]["status"], "in_doubt", "{execution}");
    assert!(execution["steps"][0].to_string().contains("OUTPUT_TOO_LARGE"), "{execution}");
    assert_eq!(wire.calls("writes").len(), 1);
    let said = json!({ "stepId": "a", "outcome": "completed", "evidence": { "seen": true } });
    let (status, answer) =
        wire.server.approver.post(&format!("/v1/executions/{id}/resolve"), &said).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(wire.server.settled(&id).await["status"], "completed");
    // A read has no effect to see to.
    assert!(message(&wire.run("reads").await).contains("OUTPUT_TOO_LARGE"));
    // How much is said beside a refusal does not matter.
    assert!(message(&wire.run("refuses").await).contains("TOOL_404"));
    assert_eq!((wire.calls("reads").len(), wire.calls("refuses").len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_answers_with_a_byte_order_mark_are_read() {
    let schema = json!({ "outputSchema": { "type": "object", "required": ["a"] } });
    let wire = WireServer::start(&[("marked", schema)]).await;
    wire.says("marked", [ScriptedAnswer::new(200, "\u{feff}{\"a\":1}")]);
    assert_eq!(wire.run("marked").await["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_answers_code_and_message_are_kept() {
    let wire = WireServer::start(&[("says", json!({}))]).await;
    for (body, code) in [
        (json!({ "code": "OUT_OF_STOCK", "message": "only 40 left" }), "OUT_OF_STOCK"),
        (json!({ "error": { "code": "OUT_OF_STOCK", "message": "only 40 left" } }), "OUT_OF_STOCK"),
        (json!({ "code": "OUT_OF_STOCK", "title": "only 40 left" }), "OUT_OF_STOCK"),
        (json!({ "error": "only 40 left" }), "TOOL_409"),
        (json!({ "detail": "only 40 left" }), "TOOL_409"),
    ] {
        wire.says("says", [ScriptedAnswer::new(409, body.to_string())]);
        let message = message(&wire.run("says").await);
        assert!(message.contains("only 40 left") && message.contains(code), "{body}: {message}");
    }
    wire.says(
        "says",
        [ScriptedAnswer::new(409, json!({ "message": "m".repeat(5_000) }).to_string())],
    );
    assert!(message(&wire.run("says").await).len() < 900, "clipped");
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_answers_a_call_back_before_the_202_is_read_is_taken() {
    let schema = json!({ "effect": "non_idempotent",
        "outputSchema": { "type": "object", "required": ["a"] } });
    let wire = WireServer::start(&[("soon", schema)]).await;
    let result = json!({ "output": { "a": 1 } });
    wire.says("soon", [ScriptedAnswer::new(202, "").after_calling_back(result)]);
    let execution = wire.run("soon").await;
    assert_eq!(
        (execution["status"].as_str(), wire.called_back().await),
        (Some("completed"), 200),
        "{execution}"
    );
    assert_eq!(wire.calls("soon").len(), 1);
    wire.server.proven(execution["executionId"].as_str().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_beyond_2_to_the_53_are_kept_exactly_and_wired_as_they_came() {
    let ids = json!({ "effect": "non_idempotent", "outputSchema": { "type": "object",
        "properties": { "id": { "type": "integer" } }, "required": ["id"] } });
    let takes = json!({ "inputSchema": { "type": "object",
        "properties": { "id": { "type": "integer" } } } });
    let wire = WireServer::start(&[("gives", ids), ("takes", takes)]).await;
    for id in
        ["1541815603606036480", "9007199254740993", "18446744073709551615", "-9223372036854775808"]
    {
        wire.says("gives", [ScriptedAnswer::new(200, format!("{{\"id\":{id}}}"))]);
        wire.says("takes", [ScriptedAnswer::new(200, "{}")]);
        let steps = json!([
            { "id": "a", "use": "wire/gives", "with": {} },
            { "id": "b", "use": "wire/takes", "with": { "id": { "$from": "a", "path": "/id" } } },
        ]);
        let execution = wire.server.submit(steps).await;
        let settled = wire.server.settled(&execution).await;
        assert_eq!(settled["status"], "completed", "{settled}");
        assert_eq!(wire.calls("takes")[0].body, format!("{{\"id\":{id}}}"));
        wire.server.proven(&execution).await;
    }
}
