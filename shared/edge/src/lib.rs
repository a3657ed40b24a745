//! The HTTP edge, the same behind API Gateway and in the embedded server: decode, authenticate, call, encode.
//!
//! A route comes from the contract's table, so that path, method, status and capability are written once.

use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{Path, RawQuery, State},
    response::Response,
    routing::{MethodFilter, on},
};
use contracts::{
    Code, Issue, Problem, json,
    limits::REQUEST_BYTES_MAX,
    route::{Method, Parameter, ROUTES, Route, Side, find},
};
use engine::{Answer, Caller, Engine};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{collections::HashMap, future::Future, sync::Arc};

mod identity;

/// A body that is too large is read up to so many bytes.
const BODY_DISCARDED_BYTES_MAX: usize = 8 * REQUEST_BYTES_MAX;

/// Routes of a function over the engine.
pub type Routes = Router<Arc<Engine>>;

/// Adds an operation of the contract. `name` is its key without `controlPlane.`.
pub fn serve<T, R, F, Fut>(routes: Routes, name: &'static str, handle: F) -> Routes
where
    T: DeserializeOwned,
    R: Serialize,
    F: Fn(Arc<Engine>, Caller, T) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer<R>> + Send,
{
    let Some(route) = find(name) else {
        return routes;
    };
    let handler = move |State(engine): State<Arc<Engine>>,
                        Path(path): Path<HashMap<String, String>>,
                        RawQuery(query): RawQuery,
                        headers: HeaderMap,
                        body: Body| {
        let handle = handle.clone();
        async move {
            let trace = Trace::of(&headers, &engine);
            let answer = async {
                let (caller, value) = request(&engine, route, path, query, &headers, body, &trace).await?;
                let request: T = json::typed(value)?;
                handle(engine, caller, request).await
            };
            respond(answer.await, route.success, &trace, route.name)
        }
    };
    routes.route(route.path, on(filter(route.method), handler))
}

// Who asks, and for what. What is the same for every operation is compiled once.
async fn request(
    engine: &Engine,
    route: &Route,
    path: HashMap<String, String>,
    query: Option<String>,
    headers: &HeaderMap,
    body: Body,
    trace: &Trace,
) -> Answer<(Caller, Value)> {
    let caller = caller(engine, route, headers, trace).await?;
    let value = match route.method {
        Method::Get => from_query(query.as_deref().unwrap_or_default(), route.parameters)?,
        Method::Post => {
            refuse_query(query.as_deref().unwrap_or_default())?;
            from_body(headers, body).await?
        }
    };
    let value = match route.side {
        Side::Command => identity::checked(value, &caller)?,
        Side::Query => value,
    };
    Ok((caller, Value::Object(with_path(value, path)?)))
}

/// Adds every operation that is in the contract but not offered yet: each answers 404 `CAPABILITY_MISSING`.
pub fn absent(routes: Routes) -> Routes {
    ROUTES.iter().filter(|route| !route.offered).fold(routes, |routes, route| {
        let handler = move |State(engine): State<Arc<Engine>>, headers: HeaderMap| async move {
            let trace = Trace::of(&headers, &engine);
            let answer: Answer<()> = caller(&engine, route, &headers, &trace).await.map(|_| ());
            respond(answer, route.success, &trace, route.name)
        };
        routes.route(route.path, on(filter(route.method), handler))
    })
}

/// Answers what no route takes, as a problem.
pub fn unknown(routes: Routes) -> Routes {
    let refuse = |status: StatusCode, detail: &'static str| {
        move |State(engine): State<Arc<Engine>>, headers: HeaderMap| async move {
            let trace = Trace::of(&headers, &engine);
            let mut problem = Problem::new(Code::NotFound, detail);
            problem.status = status.as_u16();
            respond::<()>(Err(problem), 200, &trace, "unknown")
        }
    };
    routes
        .fallback(refuse(
            StatusCode::NOT_FOUND,
            "there is no such route; `GET /v1/capabilities` lists what is offered",
        ))
        .method_not_allowed_fallback(refuse(StatusCode::METHOD_NOT_ALLOWED, "this route takes another method"))
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
    }
}

async fn caller(engine: &Engine, route: &Route, headers: &HeaderMap, trace: &Trace) -> Answer<Caller> {
    let mut caller = engine.authenticate(bearer(headers)).await?;
    caller.traceparent = Some(trace.parent.clone());
    if route.side == Side::Command
        && let Some(key) = only(headers, "idempotency-key")?
    {
        let key = key.to_str().map_err(|_| Problem::new(Code::BadRequest, "`Idempotency-Key` is ASCII text"))?;
        caller.idempotency_key = Some(key.to_owned());
    }
    let enabled = &engine.config().capabilities;
    let needs = route.capability.requires().iter().chain([&route.capability]);
    if !route.offered || !needs.clone().all(|capability| enabled.contains(capability)) {
        let message = format!("this deployment does not offer `{}`", route.key());
        return Err(Problem::new(Code::CapabilityMissing, message));
    }
    Ok(caller)
}

/// The value of a header that stands there once at most: of two, a proxy might read the one and we the other.
fn only<'h>(headers: &'h HeaderMap, name: &'static str) -> Answer<Option<&'h HeaderValue>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Problem::new(Code::BadRequest, format!("the header `{name}` stands there twice"))),
    }
}

/// The credential of `Authorization: Bearer`. Two credentials are none.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = only(headers, "authorization").ok()??.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The caller behind a request's API key, with its trace context.
pub async fn authenticated(engine: &Engine, headers: &HeaderMap) -> Answer<Caller> {
    engine.authenticate(bearer(headers)).await
}

/// A request's body as a type that refuses what it does not know.
pub async fn body_of<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Answer<T> {
    json::typed(Value::Object(from_body(headers, body).await?))
}

/// Reads a JSON object from a request's body.
pub async fn from_body(headers: &HeaderMap, body: Body) -> Answer<Map<String, Value>> {
    let kind = only(headers, "content-type")?.and_then(|value| value.to_str().ok()).unwrap_or_default();
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
        _ => Err(Problem::new(Code::BadRequest, "the body is a JSON object").issue(Issue::new("", "not an object"))),
    }
}

/// Reads a request's body, which is limited in size. One that is somewhat too large is read to its end, and nothing kept of
/// it: who is still sending when the connection ends reads no answer.
pub async fn read_body(body: Body) -> Answer<Bytes> {
    let too_large = || {
        let mut problem = Problem::new(Code::BadRequest, format!("a body of at most {REQUEST_BYTES_MAX} bytes"));
        problem.status = StatusCode::PAYLOAD_TOO_LARGE.as_u16();
        problem
    };
    // What is announced and far too large is not asked for.
    if body.size_hint().lower() > BODY_DISCARDED_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let (mut bytes, mut read) = (Vec::new(), 0_usize);
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
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
fn with_path(mut map: Map<String, Value>, path: HashMap<String, String>) -> Answer<Map<String, Value>> {
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

// A command says what it wants in its body: a parameter that nobody reads is not passed over in silence.
fn refuse_query(query: &str) -> Answer<()> {
    match url::form_urlencoded::parse(query.as_bytes()).next() {
        None => Ok(()),
        Some((name, _)) => {
            let shown: String = name.chars().take(80).collect();
            let issue =
                Issue::coded("UNKNOWN_NAME", "", format!("`?{shown}`: this operation takes its fields in its body"));
            Err(Problem::new(Code::ValidationFailed, "a query parameter that does not exist").issue(issue))
        }
    }
}

fn from_query(query: &str, typed: &[(&str, Parameter)]) -> Answer<Map<String, Value>> {
    let mut map = Map::new();
    for (name, text) in url::form_urlencoded::parse(query.as_bytes()) {
        let wrong = |kind: &str| {
            let issue = Issue::new(format!("/{name}"), format!("`{text}` is not {kind}"));
            Problem::new(Code::ValidationFailed, "a query parameter is not valid").issue(issue)
        };
        let value = match typed.iter().find(|(typed, _)| *typed == name).map(|(_, parameter)| parameter) {
            Some(Parameter::Flag) => Value::Bool(text.parse().map_err(|_| wrong("true or false"))?),
            Some(Parameter::Number) => Value::from(text.parse::<u64>().map_err(|_| wrong("a whole number"))?),
            None => Value::String(text.clone().into_owned()),
        };
        if map.insert(name.clone().into_owned(), value).is_some() {
            let issue = Issue::new(format!("/{name}"), "this parameter stands here twice");
            return Err(Problem::new(Code::BadRequest, "a query parameter stands here twice").issue(issue));
        }
    }
    Ok(map)
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
        let given =
            headers.get("traceparent").and_then(|value| value.to_str().ok()).filter(|text| is_traceparent(text));
        let parent = given.map_or_else(
            || {
                let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                let secret = engine.ports().ids.secret();
                let (trace, rest) = secret.split_at(16);
                format!("00-{}-{}-01", hex(trace), hex(rest.get(..8).unwrap_or_default()))
            },
            str::to_owned,
        );
        Self { parent }
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
        if hex(trace, 32) && hex(span, 16) && hex(flags, 2) && trace.bytes().any(|b| b != b'0') && span.bytes().any(|b| b != b'0'))
}

/// Encodes an answer.
pub fn respond<R: Serialize>(answer: Answer<R>, success: u16, trace: &Trace, operation: &str) -> Response {
    let unwritten = |error: serde_json::Error| {
        Problem::new(Code::InternalError, format!("the answer cannot be written: {error}"))
    };
    let (status, kind, body) = match answer.and_then(|value| serde_json::to_vec(&value).map_err(unwritten)) {
        Ok(body) => (success, "application/json", body),
        Err(problem) => refusal(problem, trace, operation),
    };
    response(status, kind, body, trace)
}

/// Answers with a problem before any operation is known.
pub fn refuse(engine: &Engine, problem: Problem) -> Response {
    respond::<()>(Err(problem), 200, &Trace::of(&HeaderMap::new(), engine), "server")
}

fn refusal(mut problem: Problem, trace: &Trace, operation: &str) -> (u16, &'static str, Vec<u8>) {
    problem.trace_id = trace.id().to_owned();
    if problem.status >= 500 {
        tracing::error!(operation, code = %problem.code, detail = problem.detail, trace_id = trace.id(), "failed");
    } else {
        tracing::debug!(operation, code = %problem.code, detail = problem.detail, "refused");
    }
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    (problem.status, "application/problem+json", body)
}

fn response(status: u16, kind: &'static str, body: Vec<u8>, trace: &Trace) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(parent) = HeaderValue::from_str(&trace.parent) {
        headers.insert("traceparent", parent);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[tokio::test]
    async fn an_answer_that_cannot_be_written_is_a_problem() {
        let trace = Trace { parent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01".into() };
        let unwritable = BTreeMap::from([((1, 2), "a key that is no text")]);
        let response = respond(Ok(unwritable), 200, &trace, "test");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let problem: Problem =
            serde_json::from_slice(&axum::body::to_bytes(response.into_body(), 4_096).await.unwrap()).unwrap();
        assert_eq!((problem.code, problem.trace_id.as_str()), (Code::InternalError, trace.id()));
    }
}
