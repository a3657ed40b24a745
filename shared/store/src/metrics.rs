//! What is measured: events of target `metric`, whose numbers are metrics and whose texts are
//! dimensions. What becomes of them is the host's affair; without a listener they cost one
//! comparison.

use contracts::{
    Timestamp,
    event::{Entry, Event, ExecutionEvent},
    verdict::Verdict,
};
use cs_core::execution::{Approval, ApprovalStatus, Execution};

/// Metrics of one commit, from the state before it and after it, and its events.
pub(crate) fn commit(before: &Execution, after: &Execution, entries: &[Entry], at: Timestamp) {
    if !tracing::enabled!(target: "metric", tracing::Level::INFO) {
        return;
    }
    let retries = entries
        .iter()
        .filter(|entry| matches!(entry.event, Event::Execution(ExecutionEvent::StepRetried(_))))
        .count() as u64;
    if retries > 0 {
        tracing::info!(target: "metric", StepRetries = retries, "retries");
    }
    for approval in
        after.approvals.iter().filter(|approval| approval.state == ApprovalStatus::Granted)
    {
        let open =
            |known: &Approval| known.id == approval.id && known.state == ApprovalStatus::Requested;
        if before.approvals.iter().any(open) {
            tracing::info!(
                target: "metric", ApprovalWaitMs = at.ms() - approval.requested_at.ms(), "approved"
            );
        }
    }
    if after.status.ended() && !before.status.ended() {
        let verdict = match after.ruling.as_ref().map(|ruling| ruling.verdict) {
            Some(Verdict::Autonomous) => "autonomous",
            Some(Verdict::Assist) => "assist",
            Some(Verdict::Blocked) => "blocked",
            None => "none",
        };
        tracing::info!(
            target: "metric", Executions = 1_u64, Verdict = verdict,
            Outcome = after.status.as_str(), "ended"
        );
    }
}
