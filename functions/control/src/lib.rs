//! Control: start, cancel, pause, resume, retry, abort, resolve; and the callbacks of tools.

use axum::{
    body::Body,
    extract::{Path, State},
    routing::{get, post},
};
use contracts::{Code, ExecutionId, Issue, Problem, StepId};
use edge::{Routes, Trace, bearer, from_body, respond, serve};
use engine::{Engine, Steer};
use serde_json::Value;
use std::sync::Arc;

/// Its routes.
pub fn routes() -> Routes {
    let routes = Routes::new()
        .route("/v1/executions/{executionId}/steps/{stepId}/callback", post(callback))
        .route("/.well-known/jwks.json", get(jwks));
    let routes =
        serve(
            routes,
            "execution.start",
            |engine, caller, request| async move { engine.start(&caller, request).await },
        );
    let routes =
        serve(
            routes,
            "execution.cancel",
            |engine, caller, request| async move { engine.cancel(&caller, request).await },
        );
    let routes = serve(routes, "execution.pause", |engine, caller, request| async move {
        engine.steer(&caller, request, Steer::Pause).await
    });
    let routes = serve(routes, "execution.resume", |engine, caller, request| async move {
        engine.steer(&caller, request, Steer::Resume).await
    });
    let routes = serve(routes, "execution.abort", |engine, caller, request| async move {
        engine.steer(&caller, request, Steer::Abort).await
    });
    let routes =
        serve(
            routes,
            "execution.retry",
            |engine, caller, request| async move { engine.retry(&caller, request).await },
        );
    serve(
        routes,
        "execution.resolve",
        |engine, caller, request| async move { engine.resolve(&caller, request).await },
    )
}

// The public keys that verify warrants, for tools.
async fn jwks(State(engine): State<Arc<Engine>>, headers: axum::http::HeaderMap) -> axum::response::Response {
    respond(engine.jwks().await, 200, &Trace::of(&headers, &engine), "jwks")
}

// Not an operation of the contract: the other end of a tool call, with the call's warrant as its credential.
async fn callback(
    State(engine): State<Arc<Engine>>,
    Path((id, step)): Path<(String, String)>,
    headers: axum::http::HeaderMap,
    body: Body,
) -> axum::response::Response {
    let trace = Trace::of(&headers, &engine);
    let answer = async {
        let unknown =
            |_| Problem::new(Code::NotFound, "there is no such step").issue(Issue::new("", "check the URL"));
        let id: ExecutionId = id.parse().map_err(unknown)?;
        let step: StepId = step.parse().map_err(unknown)?;
        let claims = engine.callback_claims(&id, &step, bearer(&headers)).await?;
        let body = Value::Object(from_body(&headers, body).await?);
        engine.callback(&id, &step, &claims, body).await
    };
    respond(answer.await, 200, &trace, "callback")
}
