//! A request in: its credential, its body or its query, each read once and in one way.

use axum::body::{Body, Bytes, HttpBody as _};
use contracts::{Code, Issue, Problem, endpoint::Parameter, json, limits::REQUEST_BYTES_MAX};
use engine::{Answer, Caller, Engine};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// A body that is too large is read up to so many bytes.
const BODY_DISCARDED_BYTES_MAX: usize = 8 * REQUEST_BYTES_MAX;

/// The credential of `Authorization: Bearer`. Two credentials are none.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = only(headers, "authorization").ok()??.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The caller behind a request's API key, with its trace context.
pub async fn authenticated(engine: &Engine, headers: &HeaderMap) -> Answer<Caller> {
    engine.access.authenticate(bearer(headers)).await
}

/// Reads a JSON object from a request's body.
pub async fn from_body(headers: &HeaderMap, body: Body) -> Answer<Map<String, Value>> {
    let kind =
        only(headers, "content-type")?.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !(kind.is_empty() || kind.eq_ignore_ascii_case("application/json")) {
        let message = format!("`Content-Type: {kind}` is not application/json");
        return Err(Problem::new(Code::BadRequest, message));
    }
    let bytes = read_body(body).await?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    match json::parse(&bytes)? {
        Value::Object(map) => Ok(map),
        _ => Err(Problem::new(Code::BadRequest, "the body is a JSON object")
            .issue(Issue::new("", "not an object"))),
    }
}

/// Reads a request's body, which is limited in size. One that is somewhat too large is read to its
/// end, and nothing kept of it: who is still sending when the connection ends reads no answer.
pub async fn read_body(body: Body) -> Answer<Bytes> {
    let too_large = || {
        let mut problem =
            Problem::new(Code::BadRequest, format!("a body of at most {REQUEST_BYTES_MAX} bytes"));
        problem.status = StatusCode::PAYLOAD_TOO_LARGE.as_u16();
        problem
    };
    // What is announced and far too large is not asked for.
    if body.size_hint().lower() > BODY_DISCARDED_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let (mut bytes, mut read) = (Vec::new(), 0_usize);
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        let frame = frame.map_err(|error| {
            if timed_out(&error) {
                let mut problem = Problem::new(Code::Timeout, "the body did not come in time");
                problem.status = StatusCode::REQUEST_TIMEOUT.as_u16();
                return problem;
            }
            Problem::new(Code::BadRequest, "the body did not come to its end")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        read = read.saturating_add(data.len());
        if read > BODY_DISCARDED_BYTES_MAX {
            return Err(too_large());
        }
        if read <= REQUEST_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
        }
    }
    if read > REQUEST_BYTES_MAX { Err(too_large()) } else { Ok(bytes.into()) }
}

fn timed_out(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if kind == Some(std::io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

// Path parameters join the body; a body that says otherwise is refused.
pub(crate) fn with_path(
    mut map: Map<String, Value>,
    path: HashMap<String, String>,
) -> Answer<Map<String, Value>> {
    for (name, value) in path {
        let value = Value::String(value);
        if map.get(&name).is_some_and(|given| *given != value) {
            let issue = Issue::new(format!("/{name}"), "the path names another");
            return Err(Problem::new(Code::ValidationFailed, "path and body disagree").issue(issue));
        }
        map.insert(name, value);
    }
    Ok(map)
}

// A command says what it wants in its body: a parameter that nobody reads is not passed over in
// silence.
pub(crate) fn refuse_query(query: &str) -> Answer<()> {
    match url::form_urlencoded::parse(query.as_bytes()).next() {
        None => Ok(()),
        Some((name, _)) => {
            let shown: String = name.chars().take(80).collect();
            let issue = Issue::coded(
                "UNKNOWN_NAME",
                "",
                format!("`?{shown}`: this operation takes its fields in its body"),
            );
            Err(Problem::new(Code::ValidationFailed, "a query parameter that does not exist")
                .issue(issue))
        }
    }
}

pub(crate) fn from_query(query: &str, typed: &[(&str, Parameter)]) -> Answer<Map<String, Value>> {
    let mut map = Map::new();
    for (name, text) in url::form_urlencoded::parse(query.as_bytes()) {
        let wrong = |kind: &str| {
            let issue = Issue::new(format!("/{name}"), format!("`{text}` is not {kind}"));
            Problem::new(Code::ValidationFailed, "a query parameter is not valid").issue(issue)
        };
        let value =
            match typed.iter().find(|(typed, _)| *typed == name).map(|(_, parameter)| parameter) {
                Some(Parameter::Flag) => {
                    Value::Bool(text.parse().map_err(|_| wrong("true or false"))?)
                }
                Some(Parameter::Number) => {
                    Value::from(text.parse::<u64>().map_err(|_| wrong("a whole number"))?)
                }
                None => Value::String(text.clone().into_owned()),
            };
        if map.insert(name.clone().into_owned(), value).is_some() {
            let issue = Issue::new(format!("/{name}"), "this parameter stands here twice");
            return Err(
                Problem::new(Code::BadRequest, "a query parameter stands here twice").issue(issue)
            );
        }
    }
    Ok(map)
}

/// The value of a header that stands there once at most: of two, a proxy might read the one and we
/// the other.
pub(crate) fn only<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Answer<Option<&'h HeaderValue>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => {
            Err(Problem::new(Code::BadRequest, format!("the header `{name}` stands there twice")))
        }
    }
}
