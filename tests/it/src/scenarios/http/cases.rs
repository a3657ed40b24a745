//! Requests that are refused, each with its status, code and pointer.

use super::*;

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) pointer: Option<&'static str>,
}

fn case(
    name: &'static str,
    path: &'static str,
    body: impl Into<Vec<u8>>,
    status: u16,
    code: &'static str,
    pointer: Option<&'static str>,
) -> Case {
    Case { name, path, body: body.into(), status, code, pointer }
}

const INTENTS: &str = "/v1/intents";

pub(super) fn cases() -> Vec<Case> {
    let id = format!("exe_{}", "0".repeat(32));
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let approve = leak(format!("/v1/executions/{id}/approve"));
    let cancel = leak(format!("/v1/executions/{id}/cancel"));
    let digest = format!("sha256:{}", "0".repeat(64));
    let install = |manifest: Value| {
        json!({ "skillKey": "a", "version": "1.0.0", "artifactDigest": digest,
            "manifest": manifest })
        .to_string()
    };
    vec![
        case("malformed JSON", INTENTS, "{\"text\": ", 400, "BAD_REQUEST", Some("/text")),
        case("not an object", INTENTS, "[1]", 400, "BAD_REQUEST", Some("")),
        case("empty", INTENTS, "", 422, "VALIDATION_FAILED", Some("")),
        case(
            "unknown field",
            INTENTS,
            r#"{"text":"x","mode":"manual","nope":1}"#,
            422,
            "VALIDATION_FAILED",
            Some("/nope"),
        ),
        case(
            "unknown field deep inside",
            INTENTS,
            r#"{"text":"x","draft":{"steps":[{"id":"a","use":"crm/customer.find","wiht":{}}]}}"#,
            422,
            "VALIDATION_FAILED",
            Some("/draft/steps/0/wiht"),
        ),
        case("wrong type", INTENTS, r#"{"text":7}"#, 422, "VALIDATION_FAILED", Some("/text")),
        case(
            "wrong type deep inside",
            INTENTS,
            r#"{"text":"x","draft":{"steps":[{"id":"a","use":7}]}}"#,
            422,
            "VALIDATION_FAILED",
            Some("/draft/steps/0/use"),
        ),
        case(
            "bad enum",
            INTENTS,
            r#"{"text":"x","mode":"yolo"}"#,
            422,
            "VALIDATION_FAILED",
            Some("/mode"),
        ),
        case(
            "duplicate key",
            INTENTS,
            r#"{"text":"x","text":"y"}"#,
            400,
            "BAD_REQUEST",
            Some("/text"),
        ),
        case(
            "duplicate key in an input",
            INTENTS,
            r#"{"text":"x","draft":{"steps":[{"id":"a","use":"b/c","with":{"n":1,"n":2}}]}}"#,
            400,
            "BAD_REQUEST",
            Some("/draft/steps/0/with/n"),
        ),
        case(
            "a number that cannot be kept",
            INTENTS,
            r#"{"text":"x","metadata":{"n":18446744073709551616}}"#,
            400,
            "BAD_REQUEST",
            Some("/metadata/n"),
        ),
        case(
            "a number beyond a double",
            INTENTS,
            r#"{"text":"x","metadata":{"n":1e999}}"#,
            400,
            "BAD_REQUEST",
            Some("/metadata/n"),
        ),
        case(
            "invalid UTF-8",
            INTENTS,
            b"{\"text\":\"\xff\xfe\"}".to_vec(),
            400,
            "BAD_REQUEST",
            Some("/text"),
        ),
        case("lone surrogate", INTENTS, r#"{"text":"\ud800"}"#, 400, "BAD_REQUEST", Some("/text")),
        case(
            "depth bomb",
            INTENTS,
            format!(
                "{{\"text\":\"x\",\"metadata\":{}{}}}",
                "{\"a\":".repeat(5_000),
                "1".to_owned() + &"}".repeat(5_000)
            ),
            400,
            "BAD_REQUEST",
            None,
        ),
        case(
            "oversized body",
            INTENTS,
            format!("{{\"text\":\"{}\"}}", "x".repeat(1_100_000)),
            413,
            "BAD_REQUEST",
            None,
        ),
        case(
            "oversized text",
            INTENTS,
            format!("{{\"text\":\"{}\",\"mode\":\"manual\"}}", "x".repeat(17_000)),
            422,
            "VALIDATION_FAILED",
            Some("/text"),
        ),
        case(
            "blank text",
            INTENTS,
            r#"{"text":"  ","mode":"manual"}"#,
            422,
            "VALIDATION_FAILED",
            Some("/text"),
        ),
        case(
            "oversized draft",
            INTENTS,
            json!({ "text": "x",
            "draft": { "steps": [{ "id": "a", "use": "crm/customer.find",
                "with": { "email": "x".repeat(300_000) } }] } })
            .to_string(),
            422,
            "VALIDATION_FAILED",
            Some("/draft"),
        ),
        case(
            "nothing to compile",
            INTENTS,
            r#"{"text":"x"}"#,
            422,
            "VALIDATION_FAILED",
            Some("/draft"),
        ),
        case(
            "draft and playbook",
            INTENTS,
            r#"{"text":"x","draft":{"steps":[]},"playbook":{"key":"a/b"}}"#,
            422,
            "VALIDATION_FAILED",
            Some("/playbook"),
        ),
        case(
            "bad step id",
            INTENTS,
            r#"{"text":"x","draft":{"steps":[{"id":"a b","use":"crm/customer.find"}]}}"#,
            422,
            "VALIDATION_FAILED",
            Some("/draft/steps/0/id"),
        ),
        case(
            "bad trace id",
            INTENTS,
            r#"{"text":"x","mode":"manual","traceId":"zz"}"#,
            422,
            "VALIDATION_FAILED",
            Some("/traceId"),
        ),
        case("unknown execution", cancel, "{}", 404, "NOT_FOUND", None),
        case(
            "malformed execution",
            "/v1/executions/exe_1/cancel",
            "{}",
            422,
            "VALIDATION_FAILED",
            Some("/executionId"),
        ),
        case(
            "path traversal",
            "/v1/executions/..%2f..%2fetc/cancel",
            "{}",
            422,
            "VALIDATION_FAILED",
            Some("/executionId"),
        ),
        case(
            "path and body disagree",
            cancel,
            r#"{"executionId":"exe_11111111111111111111111111111111"}"#,
            422,
            "VALIDATION_FAILED",
            Some("/executionId"),
        ),
        case(
            "malformed digest",
            approve,
            r#"{"bindingDigest":"sha256:1"}"#,
            422,
            "VALIDATION_FAILED",
            Some("/bindingDigest"),
        ),
        case("approval without a digest", approve, "{}", 422, "VALIDATION_FAILED", Some("")),
        case(
            "an identity in the body",
            approve,
            format!(r#"{{"bindingDigest":"{digest}","approvedBy":"ceo"}}"#),
            403,
            "FORBIDDEN",
            Some("/approvedBy"),
        ),
        case("no such route", "/v1/nothing", "{}", 404, "NOT_FOUND", None),
        case(
            "evidence of what is not there",
            "/v1/executions/exe_00000000000000000000000000000000/evidence",
            "{}",
            404,
            "NOT_FOUND",
            None,
        ),
        case(
            "policies without the grant",
            "/v1/policies",
            r#"{"policies":""}"#,
            403,
            "FORBIDDEN",
            None,
        ),
        case("trust without the grant", "/v1/trust", r#"{"trust":{}}"#, 403, "FORBIDDEN", None),
        case(
            "freeze without the grant",
            "/v1/freezes",
            r#"{"scope":"workspace","frozen":true}"#,
            403,
            "FORBIDDEN",
            None,
        ),
        case(
            "budgets without the grant",
            "/v1/budgets",
            r#"{"budgets":{}}"#,
            403,
            "FORBIDDEN",
            None,
        ),
        case(
            "a backtest of nonsense",
            "/v1/policies/backtest",
            r#"{"policies":"permit (","from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z"}"#,
            422,
            "VALIDATION_FAILED",
            Some("/policies"),
        ),
        case("explain nothing", "/v1/policies/explain", "{}", 422, "VALIDATION_FAILED", Some("")),
        case(
            "explain a draft that is none",
            "/v1/policies/explain",
            r#"{"draft":{"steps":[]}}"#,
            422,
            "VALIDATION_FAILED",
            Some("/draft/steps"),
        ),
        case(
            "unsigned envelope form",
            "/v1/skills",
            install(json!({ "payloadType": "x" })),
            400,
            "SIGNATURE_INVALID",
            Some("/manifest"),
        ),
        case(
            "bare manifest",
            "/v1/skills",
            install(json!({})),
            400,
            "SIGNATURE_MISSING",
            Some("/manifest"),
        ),
    ]
}
