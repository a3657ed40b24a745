//! What is measured of use cases: events of target `metric`, as those of the store.

/// How long one tool call took.
pub(crate) fn call(ms: i64) {
    tracing::info!(target: "metric", StepMs = ms, "called");
}
