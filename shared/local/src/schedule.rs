//! What EventBridge does on AWS: sweeps every minute, exports every hour.

use crate::{EmbeddedTable, FileArchive};
use engine::{Engine, Webhooks, ports::Publisher};
use std::{sync::Weak, time::Duration};

/// Between two rounds. The first comes after as long: a start drives every open execution itself.
const ROUND: Duration = Duration::from_secs(60);
/// Longest sweep and longest export of a round, in milliseconds.
const BUDGET_MS: i64 = 30_000;

/// Rounds between two looks for sensitive values that had their time.
const FORGET_ROUNDS: u32 = 60;

/// Runs until the engine is gone.
pub(crate) async fn run(engine: Weak<Engine>, table: Weak<EmbeddedTable>, archive: FileArchive) {
    for round in 0_u32.. {
        tokio::time::sleep(ROUND).await;
        let Some(engine) = engine.upgrade() else { return };
        let publisher = Webhooks::new(&engine);
        let publisher: Option<&dyn Publisher> = engine.stage_events().then_some(&publisher as &dyn Publisher);
        if let Err(fault) = engine.sweep(publisher, BUDGET_MS).await {
            tracing::warn!(%fault, "the sweep was cut short");
        }
        if round % FORGET_ROUNDS == 0
            && let Some(table) = table.upgrade()
            && let Err(fault) = table.forget(engine::keys::VAULT, engine.now().ms() / 1_000).await
        {
            tracing::warn!(%fault, "what had its time was not removed");
        }
        // Looks at one item unless an hour is over.
        if let Err(fault) = engine.export(&archive, BUDGET_MS).await {
            tracing::warn!(%fault, "the export was cut short");
        }
    }
}
