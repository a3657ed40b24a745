//! The glue of every function: one event in, one answer out. HTTP events go through the very routes
//! of the embedded server; all else is the function's task.

use crate::{ConfigError, Host, telemetry};
use axum::{Router, body::Body};
use contracts::{Code, Problem};
use edge::Routes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request};
use http_body_util::BodyExt as _;
use lambda_http::{RequestExt as _, request::RequestContext};
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tower::ServiceExt as _;
use tracing::Instrument as _;

/// Why a function ends.
pub type Error = lambda_runtime::Error;

/// What a function does with an event that is not HTTP. `i64`: milliseconds until Lambda ends it.
pub type Task = fn(Arc<Host>, Value, i64) -> BoxFuture<'static, Result<Value, Problem>>;

/// A refusal or fault by its code, so that a state machine's `Retry` and `Catch` can name it.
struct Failure(Problem);

impl From<Failure> for Diagnostic {
    fn from(Failure(problem): Failure) -> Self {
        Self { error_type: problem.code.as_str().to_owned(), error_message: problem.detail }
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.code.as_str())
    }
}

/// Tells HTTP events from others.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "httpMethod")]
    method: Option<String>,
    /// A request authorizer's event names a method too, and has this.
    #[serde(rename = "methodArn")]
    arn: Option<String>,
}

impl Kind {
    // By the event's own fields: what a caller sends is deeper inside and decides nothing.
    fn is_http(event: &str) -> bool {
        contracts::json::decode::<Self>(event.as_bytes())
            .is_ok_and(|kind| kind.method.is_some() && kind.arn.is_none())
    }
}

/// Serves a function until Lambda ends the process: `routes` for HTTP, `task` for everything else.
pub fn serve(routes: Routes, task: Task) -> Result<(), Error> {
    run(Host::from_env, routes, task)
}

/// Serves a function whose task calls tools.
pub fn calls(task: Task) -> Result<(), Error> {
    serve_and_call(Routes::new(), task)
}

/// Serves a function that calls tools or subscribers, for HTTP too.
pub fn serve_and_call(routes: Routes, task: Task) -> Result<(), Error> {
    run(Host::calling, routes, task)
}

/// Serves a function that signs people in by the identity provider.
pub fn serve_and_sign_in(routes: Routes, task: Task) -> Result<(), Error> {
    run(Host::signing_in, routes, task)
}

fn run(host: fn() -> Result<Host, ConfigError>, routes: Routes, task: Task) -> Result<(), Error> {
    telemetry::init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let host = Arc::new(host()?);
        let router = routes.into_router().with_state(host.engine.clone());
        let handle = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
            let (host, router) = (host.clone(), router.clone());
            let span = tracing::info_span!("invocation", request_id = event.context.request_id);
            async move { invoke(host, router, task, event).await.map_err(Failure) }.instrument(span)
        });
        lambda_runtime::run(handle).await
    })
}

/// The task of a function that has none.
fn none(_: Arc<Host>, _: Value, _: i64) -> BoxFuture<'static, Result<Value, Problem>> {
    Box::pin(async {
        Err(Problem::new(Code::BadRequest, "this function takes HTTP events of API Gateway only"))
    })
}

/// Serves a function that has routes only.
pub fn http(routes: Routes) -> Result<(), Error> {
    serve(routes, none)
}

/// Serves a function that has a task only.
pub fn tasks(task: Task) -> Result<(), Error> {
    serve(Routes::new(), task)
}

/// What API Gateway makes 401 of, word for word.
pub fn unauthorized() -> Problem {
    Problem::new(Code::Unauthenticated, "Unauthorized")
}

async fn invoke(
    host: Arc<Host>,
    router: Router,
    task: Task,
    event: LambdaEvent<Box<RawValue>>,
) -> Result<Value, Problem> {
    let (payload, context) = (event.payload, event.context);
    let malformed = |error: serde_json::Error| Problem::new(Code::BadRequest, error.to_string());
    if Kind::is_http(payload.get()) {
        return answer(router, payload.get(), &context).await;
    }
    let event: Value = contracts::json::decode(payload.get().as_bytes()).map_err(malformed)?;
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (workspace, execution, started) =
        (text("workspaceId"), text("executionId"), Instant::now());
    let outcome = task(host, event, left_ms(&context)).await;
    let code = outcome.as_ref().err().map_or("OK", |problem| problem.code.as_str());
    let ms = started.elapsed().as_millis() as u64;
    match &outcome {
        Err(problem) if problem.status >= 500 => {
            tracing::error!(
                workspace_id = workspace,
                execution_id = execution,
                code,
                detail = problem.detail,
                ms,
                "failed"
            );
        }
        _ => tracing::info!(workspace_id = workspace, execution_id = execution, code, ms, "done"),
    }
    outcome
}

async fn answer(router: Router, event: &str, context: &Context) -> Result<Value, Problem> {
    let malformed =
        |error: &dyn std::fmt::Display| Problem::new(Code::BadRequest, error.to_string());
    let started = Instant::now();
    let request = lambda_http::request::from_str(event).map_err(|error| malformed(&error))?;
    let prefix = prefix(&request);
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(prefix);
    if !parts.headers.contains_key("traceparent")
        && let Some(parent) = context.xray_trace_id.as_deref().and_then(traceparent)
    {
        parts.headers.insert("traceparent", parent);
    }
    let target = format!("{} {}", parts.method, parts.uri.path());
    let request = Request::from_parts(parts, Body::from(body.to_vec()));
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| malformed(&error))?.to_bytes();
    let headers: serde_json::Map<String, Value> = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), json!(value.to_str().ok()?))))
        .collect();
    let ms = started.elapsed().as_millis() as u64;
    tracing::info!(target, status = parts.status.as_u16(), ms, "answered");
    Ok(json!({
        "statusCode": parts.status.as_u16(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
        "isBase64Encoded": false,
    }))
}

// What the whole path has before that of the route.
fn prefix(request: &lambda_http::Request) -> edge::page::Prefix {
    let whole = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.path.as_deref(),
        Some(_) | None => None,
    };
    let before = whole.and_then(|whole| whole.strip_suffix(request.uri().path()));
    edge::page::Prefix(before.unwrap_or_default().trim_end_matches('/').to_owned())
}

fn left_ms(context: &Context) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    i64::try_from(u128::from(context.deadline).saturating_sub(now)).unwrap_or(0)
}

// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1` → W3C trace context.
fn traceparent(header: &str) -> Option<HeaderValue> {
    let field = |name: &str| {
        header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let root = field("Root")?;
    let trace: String = root.strip_prefix("1-")?.chars().filter(|digit| *digit != '-').collect();
    let parent = field("Parent").unwrap_or("0000000000000001");
    let flags = if field("Sampled") == Some("1") { "01" } else { "00" };
    HeaderValue::from_str(&format!("00-{trace}-{parent}-{flags}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_cannot_make_a_task_of_a_request() {
        let request = serde_json::json!({
            "httpMethod": "GET",
            "queryStringParameters": { "methodArn": "x" },
            "headers": { "methodArn": "y" },
        });
        assert!(Kind::is_http(&request.to_string()));
        assert!(!Kind::is_http(r#"{"httpMethod":"GET","methodArn":"arn:aws:execute-api:x"}"#));
        assert!(!Kind::is_http(r#"{"task":"createWorkspace"}"#));
    }

    #[test]
    fn an_xray_header_becomes_a_trace_context() {
        let given = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let parent = traceparent(given).unwrap();
        assert_eq!(parent, "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01");
        assert_eq!(traceparent("nonsense"), None);
    }
}
