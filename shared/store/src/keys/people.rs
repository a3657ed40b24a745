//! Where people and what they decided beforehand are stored.

use super::{body, key, list_sort, own};
use crate::Key;
use contracts::{Digest, ExecutionId, StepId, Timestamp, WorkspaceId};

/// Persons and groups.
pub fn directory(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "directory")
}
/// Services that decide like people.
pub fn deciders(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "deciders")
}
/// Standing approvals.
pub fn mandates(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "mandates")
}
/// What a claim consumed of a mandate, and on which request, by its digest.
pub fn mandate_proof(workspace: &WorkspaceId, id: &ExecutionId, digest: &Digest) -> Key {
    body(workspace, id, &format!("mandate#{}", digest.hex()))
}
/// Partition and prefix of the calls that a mandate let through, by time.
pub fn mandate_uses(workspace: &WorkspaceId, mandate: &str) -> (String, String) {
    (format!("ws#{workspace}#usage"), format!("m#{mandate}#"))
}
/// A call among those.
pub fn mandate_use(
    workspace: &WorkspaceId,
    mandate: &str,
    at: Timestamp,
    (id, step): (&ExecutionId, &StepId),
) -> Key {
    let (partition, prefix) = mandate_uses(workspace, mandate);
    key(partition, format!("{prefix}{}#{step}", list_sort(at, id.as_str())))
}
