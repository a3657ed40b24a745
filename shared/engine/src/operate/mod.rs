//! What keeps everything moving: waking, sweeping, the way out of the outbox, metrics.

pub(crate) mod metrics;
pub(crate) mod notices;
pub(crate) mod receipts;
pub(crate) mod relay;
pub(crate) mod slack;
pub(crate) mod sweep;
pub(crate) mod wake;
