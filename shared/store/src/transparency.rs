//! The transparency log of a workspace: a Merkle tree over the heads of its streams.
//!
//! Who ends an execution, or chains the workspace log, puts the head onto a list in the same
//! transaction; [`Store::append_leaves`] takes it from there into the tree. INVARIANT
//! (append-only): one transaction takes entries off the list, stores them with the tiles that they
//! change, and replaces the tree's head under compare-and-set: an entry stands in the tree once,
//! at a place without gaps, whoever appends.

use crate::{Condition, Key, PortError, Query, Record, Store, Write, decode, item, keys};
use contracts::{Stream, WorkspaceId, evidence::LogLeaf, limits::LEAVES_AT_ONCE_MAX};
use cs_core::transparency::{
    self as tree, Checkpoint, Hashes, Question, TileAt, TreeError, leaf_hash,
};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Transactions that one call tries, its own and those that somebody else was faster with.
const APPEND_TRIES_MAX: u32 = 200;

/// How far a tree is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TreeHead {
    pub size: u64,
    /// The signed checkpoint; empty for an empty tree.
    pub checkpoint: String,
}

/// A tile: hashes one behind the other, as hexadecimal digits.
#[derive(Serialize, Deserialize)]
struct TileRecord {
    hashes: String,
}

/// What a chain's end is listed as, in the transaction that makes it the end.
pub(crate) fn leaf_write(workspace: &WorkspaceId, leaf: &LogLeaf) -> Result<Write, PortError> {
    let key = keys::unlogged(workspace, &leaf.stream, leaf.seq);
    Ok(Write::Put { key, item: item(1, leaf)?, condition: Condition::NotExists })
}

/// Who signs checkpoints.
pub trait Notary: Send + Sync {
    /// Whether a checkpoint was signed here for this size and root: what is stored grows only from
    /// what it was.
    fn check(&self, signed: &str, checkpoint: &Checkpoint) -> Result<(), PortError>;
    /// Signs one.
    fn sign(&self, checkpoint: &Checkpoint) -> String;
}

impl Store {
    /// How far the tree of a workspace is.
    pub async fn tree_head(&self, workspace: &WorkspaceId) -> Result<TreeHead, PortError> {
        Ok(self.record::<TreeHead>(&keys::tree_head(workspace)).await?.value)
    }

    /// Workspaces with heads that are in no tree yet.
    pub async fn unlogged_workspaces(&self) -> Result<BTreeSet<WorkspaceId>, PortError> {
        let mut found = BTreeSet::new();
        for shard in 0..keys::WORK_SHARDS {
            let mut next =
                Some(Query::prefix(keys::unlogged_partition(shard), "", crate::outbox::PAGE));
            while let Some(query) = next {
                let items = self.query(&query).await?;
                let owners = items.iter().filter_map(|(key, _)| keys::stream_owner(&key.sort));
                found.extend(owners.map(|(workspace, _)| workspace));
                next = query.behind(&items);
            }
        }
        Ok(found)
    }

    /// Takes every head that waits into the tree. Gives how many were taken.
    pub async fn append_leaves(
        &self,
        workspace: &WorkspaceId,
        notary: &dyn Notary,
    ) -> Result<u64, PortError> {
        let mut appended = 0;
        for _ in 0..APPEND_TRIES_MAX {
            match self.append_some(workspace, notary).await? {
                Some(0) => return Ok(appended),
                Some(count) => appended += count,
                None => {}
            }
        }
        Err(PortError::Unavailable("the transparency log is being appended to".into()))
    }

    // One transaction's worth. None: somebody else was faster.
    async fn append_some(
        &self,
        workspace: &WorkspaceId,
        notary: &dyn Notary,
    ) -> Result<Option<u64>, PortError> {
        let waiting = self.unlogged(workspace).await?;
        if waiting.is_empty() {
            return Ok(Some(0));
        }
        let head_key = keys::tree_head(workspace);
        let head: Record<TreeHead> = self.record(&head_key).await?;
        let size = head.value.size;
        let hashes = self.tree_hashes(workspace, Question::Append { size }).await?;
        if size > 0 {
            let root = tree::root(size, &hashes).map_err(corrupt)?;
            notary.check(&head.value.checkpoint, &Checkpoint { size, root })?;
        }
        let leaves = waiting.iter().map(|(_, leaf)| leaf_hash(leaf));
        let leaves: Vec<_> = leaves.collect::<Result<_, _>>().map_err(corrupt)?;
        let grown = tree::append(size, leaves, hashes).map_err(corrupt)?;
        let put = |key, item, condition| Write::Put { key, item, condition };
        let mut writes = Vec::new();
        for (index, (key, leaf)) in (size..).zip(&waiting) {
            let place = keys::tree_place(workspace, &leaf.stream, leaf.seq);
            writes.push(put(
                keys::tree_leaf(workspace, index),
                item(1, leaf)?,
                Condition::NotExists,
            ));
            writes.push(put(place, item(1, &index)?, Condition::NotExists));
            writes.push(Write::Delete { key: key.clone(), condition: Condition::Exists });
        }
        for (at, data) in &grown.tiles {
            let record = TileRecord { hashes: hex::encode(data) };
            writes.push(put(keys::tree_tile(workspace, *at), item(1, &record)?, Condition::Any));
        }
        let checkpoint = Checkpoint { size: grown.size, root: grown.root };
        let new = TreeHead { size: grown.size, checkpoint: notary.sign(&checkpoint) };
        writes.push(head.replace(head_key, &new)?);
        Ok(self.write(writes).await?.then_some(waiting.len() as u64))
    }

    // The first heads that wait.
    async fn unlogged(&self, workspace: &WorkspaceId) -> Result<Vec<(Key, LogLeaf)>, PortError> {
        let (partition, prefix) = keys::unlogged_of(workspace);
        let items = self.query(&Query::prefix(partition, &prefix, LEAVES_AT_ONCE_MAX)).await?;
        let leaf = |(key, item): (Key, crate::Item)| {
            let leaf = decode(&key, &item.body)?;
            Ok((key, leaf))
        };
        items.into_iter().map(leaf).collect()
    }

    /// The hashes that answer a question about a tree.
    pub async fn tree_hashes(
        &self,
        workspace: &WorkspaceId,
        question: Question,
    ) -> Result<Hashes, PortError> {
        let (places, tiles) = tree::needed(question).map_err(corrupt)?;
        let tiles = tiles.into_iter().map(async |at: TileAt| {
            let key = keys::tree_tile(workspace, at);
            let item = self.get(&key).await?;
            let item = item.ok_or_else(|| PortError::Corrupt(format!("tile {at:?} is missing")))?;
            let record: TileRecord = decode(&key, &item.body)?;
            let data = hex::decode(&record.hashes);
            Ok((at, data.map_err(|_| PortError::Corrupt(format!("tile {at:?} is no tile")))?))
        });
        let tiles: Vec<(TileAt, Vec<u8>)> = try_join_all(tiles).await?;
        Hashes::of(&places, &BTreeMap::from_iter(tiles)).map_err(corrupt)
    }

    /// Where in the tree the last head of a stream up to a sequence number is.
    pub async fn tree_place(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        up_to: u64,
    ) -> Result<Option<u64>, PortError> {
        let last = keys::tree_place(workspace, stream, up_to);
        let query = Query {
            from: keys::tree_places(stream),
            to: format!("{}~", last.sort),
            partition: last.partition,
            limit: 1,
            reverse: true,
        };
        let items = self.query(&query).await?;
        items.first().map(|(key, item)| decode(key, &item.body)).transpose()
    }

    /// So many entries of a tree from a place on, fewer at its end.
    pub async fn tree_leaves(
        &self,
        workspace: &WorkspaceId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogLeaf>, PortError> {
        let first = keys::tree_leaf(workspace, from);
        let to = keys::tree_leaf(workspace, from.saturating_add(limit as u64)).sort;
        let query =
            Query { partition: first.partition, from: first.sort, to, limit, reverse: false };
        let items = self.query(&query).await?;
        items.iter().map(|(key, item)| decode(key, &item.body)).collect()
    }
}

fn corrupt(error: TreeError) -> PortError {
    PortError::Corrupt(error.to_string())
}
