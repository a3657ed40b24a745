//! Where it is kept who was told of what waits, and which links count.

use super::{SUBSCRIBED, key, own};
use crate::Key;
use contracts::{ExecutionId, WorkspaceId};

/// Since when links of persons count no more.
pub fn links(workspace: &WorkspaceId) -> Key {
    key(own(workspace), "links")
}
/// Partition of what people were told of an execution.
pub fn told_partition(workspace: &WorkspaceId, id: &ExecutionId) -> String {
    format!("ws#{workspace}#told#{id}")
}
/// What they were told of one thing: a request by its id, a step.
pub fn told(workspace: &WorkspaceId, id: &ExecutionId, what: &str) -> Key {
    key(told_partition(workspace, id), what)
}
/// What waits for the digests of a workspace's persons.
pub fn digests(workspace: &WorkspaceId) -> Key {
    key(format!("ws#{workspace}#told#digests"), "all")
}
/// A workspace that has people to be told, among those.
pub fn told_people(workspace: &WorkspaceId) -> Key {
    key(SUBSCRIBED.into(), format!("people#{workspace}"))
}
