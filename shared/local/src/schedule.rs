//! What EventBridge does on AWS: sweeps every minute, exports every hour.

use crate::FileArchive;
use engine::{Engine, Webhooks, ports::Publisher};
use std::{sync::Weak, time::Duration};

/// Between two rounds. The first comes after as long: a start drives every open execution itself.
const ROUND: Duration = Duration::from_secs(60);
/// Longest sweep and longest export of a round, in milliseconds.
const BUDGET_MS: i64 = 30_000;

/// Runs until the engine is gone.
pub(crate) async fn run(engine: Weak<Engine>, subscriber: Option<String>, archive: FileArchive) {
    loop {
        tokio::time::sleep(ROUND).await;
        let Some(engine) = engine.upgrade() else { return };
        let publisher = subscriber.as_ref().map(|url| Webhooks::to(&engine, url));
        let publisher = publisher.as_ref().map(|publisher| publisher as &dyn Publisher);
        if let Err(fault) = engine.sweep(publisher, BUDGET_MS).await {
            tracing::warn!(%fault, "the sweep was cut short");
        }
        // Looks at one item unless an hour is over.
        if let Err(fault) = engine.export(&archive, BUDGET_MS).await {
            tracing::warn!(%fault, "the export was cut short");
        }
    }
}
