//! The machine's clock and randomness.

use async_trait::async_trait;
use contracts::Timestamp;
use countersign_store::{Clock, Ids};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
    async fn sleep(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// The machine's randomness; identifiers are UUIDs of version 7, so that a store keeps neighbours
/// in time together.
#[derive(Debug, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn id(&self) -> [u8; 16] {
        uuid::Uuid::now_v7().into_bytes()
    }
    fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        if let Err(error) = getrandom::fill(&mut bytes) {
            // INVARIANT (fail-closed): no key, salt or nonce without randomness.
            tracing::error!(%error, "the machine gives no randomness");
            std::process::abort();
        }
        bytes
    }
}
