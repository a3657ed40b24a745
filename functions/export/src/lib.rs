//! Export: on a schedule, the traces of every full hour into the archive.

use contracts::Problem;
use engine::{Engine, ports::Archive};
use serde_json::{Value, json};

/// Exports what is not exported yet, for at most about `budget_ms`.
pub async fn handle(engine: &Engine, archive: &dyn Archive, budget_ms: i64) -> Result<Value, Problem> {
    let exported = engine.export(archive, budget_ms).await?;
    tracing::info!(
        target: "metric",
        ExportedTraces = exported.traces,
        BrokenTraces = exported.broken,
        ExportHoursLeft = exported.left,
        ExportRuns = 1_u64,
        "exported"
    );
    Ok(json!({ "hours": exported.hours, "traces": exported.traces, "events": exported.events,
        "broken": exported.broken, "left": exported.left }))
}
