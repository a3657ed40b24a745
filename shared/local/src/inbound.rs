//! What came in through channels is worked on at once, as the table's stream starts it on AWS.

use engine::Engine;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::Notify;

/// Longest time between two looks.
const LOOK: Duration = Duration::from_secs(60);
/// Longest run, in milliseconds.
const BUDGET_MS: i64 = 30_000;

/// Runs until the engine is gone.
pub(crate) async fn run(engine: Weak<Engine>, inbound: Arc<Notify>) {
    loop {
        let Some(running) = engine.upgrade() else { return };
        let until = running.now().plus_ms(BUDGET_MS);
        if let Err(fault) = running.inbound.work_all(until).await {
            tracing::warn!(%fault, "what came in waits");
        }
        drop(running);
        let _ = tokio::time::timeout(LOOK, inbound.notified()).await;
    }
}
