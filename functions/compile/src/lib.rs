//! Compile: turns a draft into a plan, on request and as the state machine's first task.

use contracts::{Problem, endpoint::named};
use edge::Routes;
use engine::Engine;
use serde_json::{Value, json};

/// Its routes.
pub fn routes() -> Routes {
    Routes::new().serve(const { named("plan.compile") }, |engine, caller, request| async move {
        engine.plans.compile(&caller, request).await
    })
}

/// Its task: `{"workspaceId", "executionId"}` → the same with `next`: `verify` or `done`, and how
/// many `steps` the plan has.
pub async fn task(engine: &Engine, payload: &Value) -> Result<Value, Problem> {
    let (workspace, id) = &engine::execution_of(payload)?;
    let steps = engine.plans.compile_task(workspace, id).await?;
    let next = if steps.is_some() { "verify" } else { "done" };
    Ok(json!({ "workspaceId": workspace, "executionId": id, "next": next, "steps": steps }))
}
