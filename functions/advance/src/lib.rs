//! Advance: runs what can run, registers waits, finishes. Three tasks of the state machine.

use contracts::{Code, Problem};
use engine::Engine;
use serde_json::{Value, json};
use std::sync::Arc;

/// Its tasks, by `task` of the payload: `run`, `await`, `finish`. `budget_ms`: how long one `run` may go on.
pub async fn task(engine: &Arc<Engine>, payload: &Value, budget_ms: i64) -> Result<Value, Problem> {
    let (workspace, id) = &engine::execution_of(payload)?;
    let text = |key: &str| payload.get(key).and_then(Value::as_str);
    match text("task") {
        Some("run") => {
            let next = engine.advance(workspace, id, budget_ms).await?;
            Ok(json!({ "workspaceId": workspace, "executionId": id,
                "next": next.next, "seconds": next.seconds, "version": next.version }))
        }
        Some("await") => {
            let (token, version) = (text("token"), payload.get("version").and_then(Value::as_u64));
            let (Some(token), Some(version)) = (token, version) else {
                return Err(Problem::new(Code::BadRequest, "`await` needs `token` and `version`"));
            };
            engine.register_wait(workspace, id, token, version).await?;
            Ok(Value::Null)
        }
        // The last commit sealed the trace; there is nothing left to do, and saying so is safe to repeat.
        Some("finish") => Ok(json!({ "workspaceId": workspace, "executionId": id, "next": "done" })),
        other => Err(Problem::new(Code::BadRequest, format!("there is no task {other:?}"))),
    }
}
