//! Advance: runs what can run, registers waits, hands over, finishes. Four tasks of the state
//! machine.

use contracts::{Code, Problem};
use engine::{Engine, WaitRequest};
use serde_json::{Value, json};
use std::sync::Arc;

/// Its tasks, by `task` of the payload: `run`, `await`, `handover`, `finish`. `budget_ms`: how long
/// one `run` may go on.
pub async fn task(engine: &Arc<Engine>, payload: &Value, budget_ms: i64) -> Result<Value, Problem> {
    let (workspace, id) = &engine::execution_of(payload)?;
    let text = |key: &str| payload.get(key).and_then(Value::as_str);
    let number = |key: &str| payload.get(key).and_then(Value::as_u64);
    match text("task") {
        Some("run") => {
            let rounds = number("rounds").unwrap_or(0) + 1;
            let next = engine.runs.advance(workspace, id, budget_ms).await?.in_round(rounds);
            Ok(json!({ "workspaceId": workspace, "executionId": id, "rounds": rounds,
                "next": next.next, "seconds": next.seconds, "version": next.version }))
        }
        Some("await") => {
            let (Some(token), Some(seen), Some(seconds)) =
                (text("token"), number("version"), number("seconds"))
            else {
                return Err(Problem::new(
                    Code::BadRequest,
                    "`await` needs `token`, `version` and `seconds`",
                ));
            };
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX / 1_000_000);
            engine.waker.register_wait(workspace, id, WaitRequest { token, seen, seconds }).await?;
            Ok(Value::Null)
        }
        // A machine's history ends: the next one goes on where this one was.
        Some("handover") => {
            let Some(version) = number("version") else {
                return Err(Problem::new(Code::BadRequest, "`handover` needs `version`"));
            };
            engine.runs.hand_over(workspace, id, version).await?;
            Ok(json!({ "workspaceId": workspace, "executionId": id, "next": "done" }))
        }
        // The last commit sealed the trace; there is nothing left to do, and saying so is safe to
        // repeat.
        Some("finish") => {
            Ok(json!({ "workspaceId": workspace, "executionId": id, "next": "done" }))
        }
        other => Err(Problem::new(Code::BadRequest, format!("there is no task {other:?}"))),
    }
}
