//! Verify: judges a plan against policy and risk rules, on request and as the state machine's
//! second task.

use contracts::{Problem, endpoint::named};
use edge::Routes;
use engine::Engine;
use serde_json::{Value, json};

/// Its routes.
pub fn routes() -> Routes {
    Routes::new().serve(const { named("plan.verify") }, |engine, caller, request| async move {
        engine.verdicts.verify(&caller, request).await
    })
}

/// Its task: `{"workspaceId", "executionId"}` → the same with `next`: `advance`, `done` or
/// `failed`, and no `rounds` so far.
pub async fn task(engine: &Engine, payload: &Value) -> Result<Value, Problem> {
    let (workspace, id) = &engine::execution_of(payload)?;
    let next = engine.verdicts.verify_task(workspace, id).await?;
    Ok(json!({ "workspaceId": workspace, "executionId": id, "next": next, "rounds": 0 }))
}
