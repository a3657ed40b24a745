//! Sweep: on a schedule, what a failure left lying is taken up again.

use contracts::Problem;
use engine::{Engine, ports::Publisher};
use serde_json::{Value, json};

/// Sweeps for at most about `budget_ms`.
pub async fn handle(
    engine: &Engine,
    publisher: &dyn Publisher,
    budget_ms: i64,
) -> Result<Value, Problem> {
    let swept = engine.sweep.sweep(Some(publisher), budget_ms).await?;
    tracing::info!(
        target: "metric",
        OpenExecutions = swept.open,
        StuckExecutions = swept.driven + swept.failed,
        OutboxAgeMs = swept.outbox_age_ms,
        ApprovalAgeMs = swept.approval_age_ms,
        // Signs of life: of this function, and of the relay, which leaves nothing to it.
        SweepRuns = 1_u64,
        RelayBehind = swept.published,
        ReceiptsRequeued = swept.requeued,
        "swept"
    );
    Ok(json!({ "open": swept.open, "driven": swept.driven, "published": swept.published,
        "failed": swept.failed, "requeued": swept.requeued, "cut": swept.cut }))
}
