//! Control: start, cancel, pause, resume, retry, abort, resolve; and the callbacks of tools.

use contracts::{
    Problem,
    command::ExecutionSteeredAnswer,
    endpoint::{named, page},
};
use edge::{Received, Routes, bearer, from_body};
use engine::{Engine, Steer};
use serde_json::Value;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .serve(const { named("execution.start") }, |engine, caller, request| async move {
            engine.controls.start(&caller, request).await
        })
        .serve(const { named("execution.cancel") }, |engine, caller, request| async move {
            engine.controls.cancel(&caller, request).await
        })
        .serve(const { named("execution.pause") }, |engine, caller, request| async move {
            engine.controls.steer(&caller, request, Steer::Pause).await
        })
        .serve(const { named("execution.resume") }, |engine, caller, request| async move {
            engine.controls.steer(&caller, request, Steer::Resume).await
        })
        .serve(const { named("execution.abort") }, |engine, caller, request| async move {
            engine.controls.steer(&caller, request, Steer::Abort).await
        })
        .serve(const { named("execution.retry") }, |engine, caller, request| async move {
            engine.controls.retry(&caller, request).await
        })
        .serve(const { named("execution.resolve") }, |engine, caller, request| async move {
            engine.controls.resolve(&caller, request).await
        })
        .act(
            const { named("console.cancel") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.controls.cancel(&caller, request).await
            },
        )
        .act(
            const { named("console.pause") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.controls.steer(&caller, request, Steer::Pause).await
            },
        )
        .act(
            const { named("console.resume") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.controls.steer(&caller, request, Steer::Resume).await
            },
        )
        .act(
            const { named("console.abort") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.controls.steer(&caller, request, Steer::Abort).await
            },
        )
        .act(
            const { named("console.retry") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.controls.retry(&caller, request).await
            },
        )
        .act(
            const { named("console.resolve") },
            const { page("console.execution") },
            |engine, caller, request| async move {
                engine.controls.resolve(&caller, request).await
            },
        )
        .answer(const { named("warrant.keys") }, |engine, _| async move { engine.jwks().await })
        .answer(const { named("step.callback") }, |engine, received| async move {
            callback(&engine, received).await
        })
}

// The other end of a tool call, with the call's warrant as its credential, which is looked at
// before the body is.
async fn callback(engine: &Engine, received: Received) -> Result<ExecutionSteeredAnswer, Problem> {
    let (id, step) = (received.named("executionId")?, received.named("stepId")?);
    let claims = engine.controls.callback_claims(&id, &step, bearer(&received.headers)).await?;
    let body = Value::Object(from_body(&received.headers, received.body).await?);
    engine.controls.callback(&id, &step, &claims, body).await
}
