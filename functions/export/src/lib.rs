//! Export: on a schedule, everything that came before the last full hour into the archive; when
//! asked, what one workspace has, and receipts of steps, which the same key signs.

use contracts::{Problem, endpoint::named};
use edge::Routes;
use engine::Engine;
use serde_json::{Value, json};

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .serve(const { named("evidence.export") }, |engine, caller, request| async move {
            engine.exports.export_workspace(&caller, request).await
        })
        .serve(const { named("evidence.receipt") }, |engine, caller, request| async move {
            engine.receipts.receipt(&caller, request).await
        })
}

/// Exports what is not exported yet, for at most about `budget_ms`: `{"task": "exportNow"}` without
/// awaiting the end of the hour.
pub async fn task(engine: &Engine, payload: &Value, budget_ms: i64) -> Result<Value, Problem> {
    let archive = engine.ports().archive.as_ref();
    let exported = match payload.get("task").and_then(Value::as_str) {
        Some("exportNow") => engine.exports.export_until(archive, engine.now(), budget_ms).await?,
        _ => engine.exports.export(archive, budget_ms).await?,
    };
    tracing::info!(
        target: "metric",
        ExportedTraces = exported.traces,
        BrokenTraces = exported.broken,
        ExportsLeft = exported.left,
        ExportClockBackMs = exported.clock_back_ms,
        ExportEventsAhead = exported.ahead,
        ExportRuns = 1_u64,
        "exported"
    );
    Ok(json!({ "manifests": exported.manifests, "traces": exported.traces,
            "events": exported.events,
        "broken": exported.broken, "left": exported.left }))
}
