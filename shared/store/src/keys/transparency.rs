//! Keys of transparency logs.

use super::{WORK_SHARDS, key, shard};
use crate::{Key, Stream};
use contracts::WorkspaceId;
use cs_core::transparency::TileAt;

/// Partition of heads that are in no tree yet.
pub fn unlogged_partition(shard: u8) -> String {
    format!("export#heads#{shard}")
}
/// A stream's head among those.
pub fn unlogged(workspace: &WorkspaceId, stream: &Stream, seq: u64) -> Key {
    let (partition, prefix) = unlogged_of(workspace);
    key(partition, format!("{prefix}{stream}#{seq:010}"))
}
/// Partition and prefix of one workspace's among those.
pub fn unlogged_of(workspace: &WorkspaceId) -> (String, String) {
    let shard = shard(workspace.as_str(), WORK_SHARDS);
    (unlogged_partition(shard), format!("{workspace}#"))
}

fn tree(workspace: &WorkspaceId) -> String {
    format!("ws#{workspace}#tree")
}
/// How far the tree of a workspace is.
pub fn tree_head(workspace: &WorkspaceId) -> Key {
    key(tree(workspace), "a#head")
}
/// An entry of the tree.
pub fn tree_leaf(workspace: &WorkspaceId, index: u64) -> Key {
    key(tree(workspace), format!("l#{index:016}"))
}
/// Hashes of the tree.
pub fn tree_tile(workspace: &WorkspaceId, (level, index): TileAt) -> Key {
    key(tree(workspace), format!("t#{level}#{index:016}"))
}
/// Prefix of a stream's heads in the tree.
pub fn tree_places(stream: &Stream) -> String {
    format!("x#{stream}#")
}
/// Where in the tree a head of a stream is.
pub fn tree_place(workspace: &WorkspaceId, stream: &Stream, seq: u64) -> Key {
    key(tree(workspace), format!("{}{seq:010}", tree_places(stream)))
}
