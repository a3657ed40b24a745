//! An answer out: JSON or a problem, with the trace context of its request.

use axum::{body::Body, response::Response};
use contracts::{Code, Problem};
use engine::{Answer, Engine};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

/// Encodes an answer.
pub fn respond<R: Serialize>(
    answer: Answer<R>,
    success: u16,
    trace: &Trace,
    operation: &str,
) -> Response {
    let unwritten = |error: serde_json::Error| {
        Problem::new(Code::InternalError, format!("the answer cannot be written: {error}"))
    };
    let (status, kind, body) =
        match answer.and_then(|value| serde_json::to_vec(&value).map_err(unwritten)) {
            Ok(body) => (success, "application/json", body),
            Err(problem) => refusal(problem, trace, operation),
        };
    response(status, kind, body, trace)
}

/// Answers with a problem before any operation is known.
pub fn refuse(engine: &Engine, problem: Problem) -> Response {
    respond::<()>(Err(problem), 200, &Trace::of(&HeaderMap::new(), engine), "server")
}

/// Done, and nothing to say.
pub(crate) fn nothing(trace: &Trace) -> Response {
    let mut response = response(204, "", Vec::new(), trace);
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

fn refusal(mut problem: Problem, trace: &Trace, operation: &str) -> (u16, &'static str, Vec<u8>) {
    problem.trace_id = trace.id().to_owned();
    if problem.status >= 500 {
        tracing::error!(operation, code = %problem.code, detail = problem.detail,
            trace_id = trace.id(), "failed");
    } else {
        tracing::debug!(operation, code = %problem.code, detail = problem.detail, "refused");
    }
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    (problem.status, "application/problem+json", body)
}

fn response(status: u16, kind: &'static str, body: Vec<u8>, trace: &Trace) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(parent) = HeaderValue::from_str(&trace.parent) {
        headers.insert("traceparent", parent);
    }
    response
}

/// Version, trace, span and flags.
const TRACEPARENT_PARTS: usize = 4;

/// The trace context of a request (W3C), made up where none came.
pub struct Trace {
    parent: String,
}

impl Trace {
    /// Reads `traceparent`; one that is malformed is replaced.
    pub fn of(headers: &HeaderMap, engine: &Engine) -> Self {
        let given = headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .filter(|text| is_traceparent(text));
        let parent = given.map_or_else(
            || {
                let hex = |bytes: &[u8]| {
                    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
                };
                let secret = engine.ports().ids.secret();
                let (trace, rest) = secret.split_at(16);
                format!("00-{}-{}-01", hex(trace), hex(rest.get(..8).unwrap_or_default()))
            },
            str::to_owned,
        );
        Self { parent }
    }
    /// `traceparent` as it is handed on.
    pub(crate) fn parent(&self) -> &str {
        &self.parent
    }

    /// The trace id: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        self.parent.split('-').nth(1).unwrap_or_default()
    }
}

/// Whether a text is a `traceparent` of the version that is understood.
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(TRACEPARENT_PARTS + 1, '-').collect();
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    matches!(parts.as_slice(), ["00", trace, span, flags]
        if hex(trace, 32) && hex(span, 16) && hex(flags, 2)
            && trace.bytes().any(|b| b != b'0') && span.bytes().any(|b| b != b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[tokio::test]
    async fn an_answer_that_cannot_be_written_is_a_problem() {
        let trace =
            Trace { parent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01".into() };
        let unwritable = BTreeMap::from([((1, 2), "a key that is no text")]);
        let response = respond(Ok(unwritable), 200, &trace, "test");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let problem: Problem = serde_json::from_slice(
            &axum::body::to_bytes(response.into_body(), 4_096).await.unwrap(),
        )
        .unwrap();
        assert_eq!((problem.code, problem.trace_id.as_str()), (Code::InternalError, trace.id()));
    }
}
