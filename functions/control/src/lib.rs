//! Control: start, cancel, pause, resume, retry, abort, resolve; and the callbacks of tools.

use contracts::{Problem, command::ExecutionSteeredAnswer, endpoint::named};
use edge::{Received, Routes, bearer, from_body};
use engine::{Engine, Steer};
use serde_json::Value;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .serve(const { named("execution.start") }, |engine, caller, request| async move {
            engine.start(&caller, request).await
        })
        .serve(const { named("execution.cancel") }, |engine, caller, request| async move {
            engine.cancel(&caller, request).await
        })
        .serve(const { named("execution.pause") }, |engine, caller, request| async move {
            engine.steer(&caller, request, Steer::Pause).await
        })
        .serve(const { named("execution.resume") }, |engine, caller, request| async move {
            engine.steer(&caller, request, Steer::Resume).await
        })
        .serve(const { named("execution.abort") }, |engine, caller, request| async move {
            engine.steer(&caller, request, Steer::Abort).await
        })
        .serve(const { named("execution.retry") }, |engine, caller, request| async move {
            engine.retry(&caller, request).await
        })
        .serve(const { named("execution.resolve") }, |engine, caller, request| async move {
            engine.resolve(&caller, request).await
        })
        .answer(const { named("warrant.keys") }, |engine, _| async move { engine.jwks().await })
        .answer(const { named("step.callback") }, |engine, received| async move { callback(&engine, received).await })
}

// The other end of a tool call, with the call's warrant as its credential, which is looked at before the body is.
async fn callback(engine: &Engine, received: Received) -> Result<ExecutionSteeredAnswer, Problem> {
    let (id, step) = (received.named("executionId")?, received.named("stepId")?);
    let claims = engine.callback_claims(&id, &step, bearer(&received.headers)).await?;
    let body = Value::Object(from_body(&received.headers, received.body).await?);
    engine.callback(&id, &step, &claims, body).await
}
