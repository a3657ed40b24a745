//! Where deliveries of stage events are stored.

use super::{WORK_SHARDS, key, shard};
use crate::{Key, Stream};
use contracts::{Timestamp, WorkspaceId};

/// Partition of how the targets of a workspace's stage events are.
pub fn targets(workspace: &WorkspaceId) -> String {
    format!("ws#{workspace}#target")
}
/// A target among those, by the id of its subscription.
pub fn target(workspace: &WorkspaceId, id: &str) -> Key {
    key(targets(workspace), id)
}
/// Partition of the streams that wait for a target.
pub fn cursors(workspace: &WorkspaceId, target: &str) -> String {
    format!("ws#{workspace}#cursor#{target}")
}
/// A stream among those.
pub fn cursor(workspace: &WorkspaceId, target: &str, stream: &Stream) -> Key {
    key(cursors(workspace, target), stream.to_string())
}
/// Partition of deliveries in the order in which they are due.
pub fn due_partition(shard: u8) -> String {
    format!("due#{shard}")
}
/// A stream's delivery among those, or without a stream the target itself. All of one target are in
/// one partition.
pub fn due(workspace: &WorkspaceId, target: &str, stream: Option<&Stream>, at: Timestamp) -> Key {
    let stream = stream.map(Stream::to_string).unwrap_or_default();
    let sort = format!("{}#{workspace}#{target}#{stream}", due_sort(at));
    key(due_partition(shard(target, WORK_SHARDS)), sort)
}
/// What the sort keys of deliveries begin with that are due then.
pub fn due_sort(at: Timestamp) -> String {
    format!("{:013}", at.ms())
}
/// When, whose, which target and which stream, of such a sort key.
pub fn due_of(sort: &str) -> Option<(Timestamp, WorkspaceId, String, Option<Stream>)> {
    let mut words = sort.split('#');
    let at = Timestamp::from_ms(words.next()?.parse().ok()?);
    let (workspace, target) = (words.next()?.parse().ok()?, words.next()?.to_owned());
    let stream = match words.next()? {
        "" => None,
        name => Some(name.parse().ok()?),
    };
    Some((at, workspace, target, stream))
}
