//! What is due again of deliveries: at its moment, and once a minute as on AWS.

use countersign_deliver::Deliverer;
use engine::Engine;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::Notify;

/// Longest time between two looks.
const LOOK: Duration = Duration::from_secs(60);
/// Shortest time between two looks: deliveries fail in quick succession.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest run, in milliseconds.
const BUDGET_MS: i64 = 30_000;

/// Runs until the engine is gone. `due`: something may be due earlier than was thought.
pub(crate) async fn run(engine: Weak<Engine>, due: Arc<Notify>) {
    loop {
        let Some(engine) = engine.upgrade() else { return };
        let wait = match Deliverer::new(engine.clone()).next_due().await {
            Ok(Some(at)) if at <= engine.now() => {
                if let Err(problem) = fn_deliver::due(&engine, BUDGET_MS).await {
                    tracing::warn!(%problem, "deliveries wait");
                }
                Duration::ZERO
            }
            Ok(Some(at)) => u64::try_from(at.ms() - engine.now().ms())
                .map_or(Duration::ZERO, Duration::from_millis)
                .min(LOOK),
            Ok(None) => LOOK,
            Err(fault) => {
                tracing::warn!(%fault, "it cannot be said what is due");
                LOOK
            }
        };
        drop(engine);
        let _ = tokio::time::timeout(wait, due.notified()).await;
        tokio::time::sleep(PAUSE).await;
    }
}
