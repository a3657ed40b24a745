//! Ways to a target.

use async_trait::async_trait;
use contracts::event::CloudEvent;
use engine::Target;

/// Why an event was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nobody is there: whatever else would be sent now fails as well.
    #[error("{0}")]
    Unreached(String),
    /// It did not take it, or did not say that it did. `retry_after_ms`: it asks to be left alone
    /// for so long.
    #[error("{message}")]
    Refused { message: String, retry_after_ms: Option<i64> },
    /// It will never take it: trying again is of no use.
    #[error("{0}")]
    Gone(String),
}

/// A way to a target: a webhook, or mail.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Sends one event once, and waits for at most so long.
    async fn send(
        &self,
        target: &Target,
        event: &CloudEvent,
        timeout_ms: u64,
    ) -> Result<(), SendError>;
}
