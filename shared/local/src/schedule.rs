//! What EventBridge does on AWS: sweeps every minute, exports every hour.

use crate::EmbeddedTable;
use countersign_deliver::Deliverer;
use engine::Engine;
use serde_json::Value;
use std::{sync::Weak, time::Duration};

/// Between two rounds. The first comes after as long: a start drives every open execution itself.
const ROUND: Duration = Duration::from_secs(60);
/// Between two looks for ends of streams that are in no transparency log.
const LOG_ROUND: Duration = Duration::from_millis(500);
/// Longest sweep and longest export of a round, in milliseconds.
const BUDGET_MS: i64 = 30_000;
/// Rounds between two looks for sensitive values that had their time.
const FORGET_ROUNDS: u32 = 60;

/// Sweeps until the engine is gone.
pub(crate) async fn sweep(engine: Weak<Engine>) {
    loop {
        tokio::time::sleep(ROUND).await;
        let Some(engine) = engine.upgrade() else { return };
        let deliverer = Deliverer::new(engine.clone());
        if let Err(problem) = fn_sweep::handle(&engine, &deliverer, BUDGET_MS).await {
            tracing::warn!(%problem, "the sweep was cut short");
        }
    }
}

/// Exports until the engine is gone. Looks at one item unless an hour is over.
pub(crate) async fn export(engine: Weak<Engine>) {
    loop {
        tokio::time::sleep(ROUND).await;
        let Some(engine) = engine.upgrade() else { return };
        if let Err(problem) = fn_export::task(&engine, &Value::Null, BUDGET_MS).await {
            tracing::warn!(%problem, "the export was cut short");
        }
    }
}

/// Takes ends of streams into the transparency logs, until the engine is gone. On AWS the relay
/// does, which is told of them; here nobody may want stage events.
pub(crate) async fn log(engine: Weak<Engine>) {
    loop {
        tokio::time::sleep(LOG_ROUND).await;
        let Some(engine) = engine.upgrade() else { return };
        if let Err(fault) = engine.transparency.append_waiting().await {
            tracing::warn!(%fault, "ends of streams wait for the transparency log");
        }
    }
}

/// Removes what had its time, as DynamoDB does on its own, until the engine is gone.
pub(crate) async fn forget(engine: Weak<Engine>, table: Weak<EmbeddedTable>) {
    for round in 0_u32.. {
        tokio::time::sleep(ROUND).await;
        let (Some(engine), Some(table)) = (engine.upgrade(), table.upgrade()) else { return };
        if round % FORGET_ROUNDS != 0 {
            continue;
        }
        for prefix in [countersign_store::keys::VAULT, countersign_store::keys::RECEIPT] {
            if let Err(fault) = table.forget(prefix, engine.now().ms() / 1_000).await {
                tracing::warn!(%fault, "what had its time was not removed");
            }
        }
    }
}
