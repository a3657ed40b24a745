//! The Merkle tree over the heads of a workspace's streams: hashed as RFC 6962 says, kept in tiles
//! of 256 hashes (C2SP tlog-tiles), its size and root signed in checkpoints (C2SP
//! tlog-checkpoint).
//!
//! The mathematics is that of `tlog_tiles`, a port of Go's checksum database. It computes over
//! hashes that are at hand; which ones those must be is asked of it first ([`needed`]), so that a
//! store can read them in between.

use crate::{
    canonical::{self, CanonicalError},
    note::{self, NoteError},
    warrant::Key,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{Digest, WorkspaceId, evidence::LogLeaf};
use ed25519_dalek::VerifyingKey;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
};
use tlog_tiles::{Error, HASH_SIZE, HashReader, Tile, stored_hash_index};

pub use tlog_tiles::Hash;

/// A tile has two to the power of so many hashes.
const HEIGHT: u8 = 8;

/// The tree cannot be computed with, or a proof does not prove.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error("the tree of the transparency log cannot be read: {0}")]
    Unreadable(String),
    #[error("the proof does not lead to the root of the checkpoint")]
    Unproven,
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("a checkpoint has three lines: origin, size and root")]
    Checkpoint,
    #[error("a hash has 64 hexadecimal digits")]
    Digits,
    #[error("the entry: {0}")]
    Entry(String),
}

impl From<CanonicalError> for TreeError {
    fn from(error: CanonicalError) -> Self {
        Self::Entry(error.to_string())
    }
}

/// The hash of an entry in the tree.
pub fn leaf_hash(leaf: &LogLeaf) -> Result<Hash, TreeError> {
    Ok(tlog_tiles::record_hash(&canonical::to_bytes(leaf)?))
}

/// Where a tile is: level, 0 at the leaves, and place in it.
pub type TileAt = (u8, u64);

/// Hashes that are at hand, by their place in storage order.
#[derive(Clone, Debug, Default)]
pub struct Hashes(HashMap<u64, Hash>);

impl Hashes {
    /// Those at some places, out of tiles.
    pub fn of(places: &[u64], tiles: &BTreeMap<TileAt, Vec<u8>>) -> Result<Self, TreeError> {
        let hash = |place: &u64| {
            let tile = Tile::from_index(HEIGHT, *place);
            let at = (tile.level(), tile.level_index());
            let data = tiles.get(&at);
            let data =
                data.ok_or_else(|| TreeError::Unreadable(format!("tile {at:?} is missing")))?;
            let hash = tile.hash_at_index(data, *place);
            Ok((*place, hash.map_err(|_| TreeError::Unreadable(format!("tile {at:?} is short")))?))
        };
        places.iter().map(hash).collect::<Result<_, _>>().map(Self)
    }
}

impl HashReader for Hashes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hash = |place: &u64| self.0.get(place).copied().ok_or(Error::IndexesNotInTree);
        indexes.iter().map(hash).collect()
    }
}

// Writes down what is asked for, and answers with nothing of worth.
#[derive(Default)]
struct Asked(RefCell<Vec<u64>>);

impl HashReader for Asked {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        self.0.borrow_mut().extend(indexes);
        Ok(vec![Hash([0; HASH_SIZE]); indexes.len()])
    }
}

/// What is computed over a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Entries behind the first so many.
    Append { size: u64 },
    /// That entry `index` is in a tree of `size`.
    Inclusion { index: u64, size: u64 },
    /// That a tree of `size` begins with the one of `from`.
    Consistency { from: u64, size: u64 },
}

/// The places of the hashes that answer a question, and the tiles that they are in.
pub fn needed(question: Question) -> Result<(Vec<u64>, BTreeSet<TileAt>), TreeError> {
    let asked = Asked::default();
    match question {
        Question::Append { size } => {
            asked.0.borrow_mut().extend(subtrees(size));
            for (level, index, width) in edge(size) {
                let first = index << HEIGHT;
                let places = (first..first + width).map(|n| stored_hash_index(HEIGHT * level, n));
                asked.0.borrow_mut().extend(places);
            }
        }
        Question::Inclusion { index, size } => {
            tlog_tiles::prove_record(size, index, &asked).map_err(unreadable)?;
        }
        Question::Consistency { from, size } => {
            tlog_tiles::prove_tree(size, from, &asked).map_err(unreadable)?;
        }
    }
    let places = asked.0.into_inner();
    let tiles = places.iter().map(|place| Tile::from_index(HEIGHT, *place));
    let tiles = tiles.map(|tile| (tile.level(), tile.level_index())).collect();
    Ok((places, tiles))
}

fn unreadable(error: Error) -> TreeError {
    TreeError::Unreadable(error.to_string())
}

// The places of the roots of the largest complete subtrees, from the left.
fn subtrees(size: u64) -> Vec<u64> {
    if size == 0 { Vec::new() } else { tlog_tiles::sub_tree_index(0, size, Vec::new()) }
}

// Tiles at the right edge that have room: level, place, and how many hashes they have.
fn edge(size: u64) -> impl Iterator<Item = (u8, u64, u64)> {
    let levels = (0..).take_while(move |level| size >> (HEIGHT * level) > 0);
    levels.filter_map(move |level| {
        let count = size >> (HEIGHT * level);
        let width = count % (1 << HEIGHT);
        (width > 0).then_some((level, count >> HEIGHT, width))
    })
}

/// A tree after entries were appended.
#[derive(Clone, Debug, PartialEq)]
pub struct Grown {
    pub size: u64,
    pub root: Hash,
    /// What is to be stored, whole.
    pub tiles: BTreeMap<TileAt, Vec<u8>>,
}

/// Appends entries behind the first `size`.
pub fn append(
    size: u64,
    leaves: impl IntoIterator<Item = Hash>,
    mut hashes: Hashes,
) -> Result<Grown, TreeError> {
    let mut grown = size;
    for leaf in leaves {
        let stored = tlog_tiles::stored_hashes_for_record_hash(grown, leaf, &hashes);
        let places = stored_hash_index(0, grown)..;
        hashes.0.extend(places.zip(stored.map_err(unreadable)?));
        grown += 1;
    }
    let root = root(grown, &hashes)?;
    let tile = |tile: Tile| {
        let data = tile.read_data(&hashes).map_err(unreadable)?;
        Ok(((tile.level(), tile.level_index()), data))
    };
    let tiles = Tile::new_tiles(HEIGHT, size, grown).into_iter().map(tile);
    Ok(Grown { size: grown, root, tiles: tiles.collect::<Result<_, TreeError>>()? })
}

/// The root of the first `size` entries.
pub fn root(size: u64, hashes: &Hashes) -> Result<Hash, TreeError> {
    tlog_tiles::tree_hash(size, hashes).map_err(unreadable)
}

/// The roots of the largest complete subtrees of the first `size` entries, from the left.
pub fn subtree_roots(size: u64, hashes: &Hashes) -> Result<Vec<Hash>, TreeError> {
    hashes.read_hashes(&subtrees(size)).map_err(unreadable)
}

/// The audit path of an entry.
pub fn prove_inclusion(index: u64, size: u64, hashes: &Hashes) -> Result<Vec<Hash>, TreeError> {
    tlog_tiles::prove_record(size, index, hashes).map_err(unreadable)
}

/// The proof that a tree begins with an earlier one.
pub fn prove_consistency(from: u64, size: u64, hashes: &Hashes) -> Result<Vec<Hash>, TreeError> {
    tlog_tiles::prove_tree(size, from, hashes).map_err(unreadable)
}

/// Whether an entry is in the tree of a checkpoint.
pub fn check_inclusion(
    leaf: &LogLeaf,
    index: u64,
    path: &[String],
    checkpoint: &Checkpoint,
) -> Result<(), TreeError> {
    let path = path.iter().map(|hash| read_hash(hash)).collect::<Result<Vec<_>, _>>()?;
    let Checkpoint { size, root } = *checkpoint;
    if index >= size {
        return Err(TreeError::Unproven);
    }
    tlog_tiles::check_record(&path, size, root, index, leaf_hash(leaf)?)
        .map_err(|_| TreeError::Unproven)
}

/// Whether the tree of a checkpoint begins with an earlier one.
pub fn check_consistency(
    before: &Checkpoint,
    path: &[String],
    checkpoint: &Checkpoint,
) -> Result<(), TreeError> {
    let path = path.iter().map(|hash| read_hash(hash)).collect::<Result<Vec<_>, _>>()?;
    if before.size == 0 || before.size > checkpoint.size {
        return Err(TreeError::Unproven);
    }
    tlog_tiles::check_tree(&path, checkpoint.size, checkpoint.root, before.size, before.root)
        .map_err(|_| TreeError::Unproven)
}

/// A tree of which only the roots of the largest complete subtrees are kept: it grows, and says
/// its root. Memory is logarithmic.
#[derive(Clone, Debug, Default)]
pub struct Compact {
    size: u64,
    /// Size and root of each, from the left.
    subtrees: Vec<(u64, Hash)>,
}

impl Compact {
    /// A tree of `size` entries by the roots of its subtrees.
    pub fn new(size: u64, roots: &[String]) -> Result<Self, TreeError> {
        let sizes = (0..64).rev().map(|bit| size & (1_u64 << bit)).filter(|size| *size > 0);
        let sizes: Vec<u64> = sizes.collect();
        if sizes.len() != roots.len() {
            return Err(TreeError::Unreadable("it has not the subtrees of its size".into()));
        }
        let roots = roots.iter().map(|root| read_hash(root));
        let subtrees = sizes.into_iter().zip(roots).map(|(size, root)| Ok((size, root?)));
        Ok(Self { size, subtrees: subtrees.collect::<Result<_, TreeError>>()? })
    }

    /// Entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its largest complete subtrees, from the left.
    pub fn roots(&self) -> Vec<Hash> {
        self.subtrees.iter().map(|(_, root)| *root).collect()
    }

    /// Appends an entry.
    pub fn push(&mut self, leaf: Hash) {
        let mut last = (1, leaf);
        while let Some((size, root)) = self.subtrees.pop_if(|(size, _)| *size == last.0) {
            last = (2 * size, tlog_tiles::node_hash(root, last.1));
        }
        self.subtrees.push(last);
        self.size += 1;
    }

    /// The root of all entries.
    pub fn root(&self) -> Hash {
        let roots = self.subtrees.iter().rev().map(|(_, root)| *root);
        let root = roots.reduce(|right, left| tlog_tiles::node_hash(left, right));
        root.unwrap_or(tlog_tiles::EMPTY_HASH)
    }
}

/// Size and root of a tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checkpoint {
    pub size: u64,
    pub root: Hash,
}

/// What a workspace's log, and the key that signs for it, is called.
pub fn origin(workspace: &WorkspaceId) -> String {
    format!("countersign/{workspace}")
}

/// What the note beside a manifest of an export says. Its first line is no log's origin: neither
/// can stand for the other.
pub fn manifest_text(workspace: &WorkspaceId, number: u64, digest: &Digest) -> String {
    format!("{}/export\n{number}\n{digest}\n", origin(workspace))
}

impl Checkpoint {
    /// Signs it.
    pub fn sign(&self, workspace: &WorkspaceId, key: &Key) -> String {
        let origin = origin(workspace);
        let text = format!("{origin}\n{}\n{}\n", self.size, B64.encode(self.root.0));
        note::sign(&origin, key, &text)
    }

    /// Reads a signed one of this workspace's log.
    pub fn open(
        signed: &str,
        workspace: &WorkspaceId,
        keys: &[VerifyingKey],
    ) -> Result<Self, TreeError> {
        let origin = origin(workspace);
        let mut lines = note::open(signed, &origin, keys)?.lines();
        let (of, size, root) = (lines.next(), lines.next(), lines.next());
        if of != Some(&origin) {
            return Err(TreeError::Checkpoint);
        }
        let size = size.filter(|size| *size == "0" || !size.starts_with('0'));
        let size = size.and_then(|size| size.parse().ok()).ok_or(TreeError::Checkpoint)?;
        let root = root.and_then(|root| B64.decode(root).ok()?.try_into().ok());
        Ok(Self { size, root: Hash(root.ok_or(TreeError::Checkpoint)?) })
    }
}

/// A hash in hexadecimal digits.
pub fn hash_text(hash: &Hash) -> String {
    hex::encode(hash.0)
}

fn read_hash(text: &str) -> Result<Hash, TreeError> {
    let mut bytes = [0; HASH_SIZE];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| TreeError::Digits)?;
    Ok(Hash(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{Stream, Timestamp};

    fn leaf(seq: u64) -> LogLeaf {
        let hash = Digest::from_bytes([seq as u8; 32]);
        LogLeaf { stream: Stream::Log, seq, hash, at: Timestamp::from_ms(1_000) }
    }

    // A tree that is grown as a store grows it: by batches, out of stored tiles alone.
    #[derive(Default)]
    struct Stored {
        size: u64,
        root: Option<Hash>,
        tiles: BTreeMap<TileAt, Vec<u8>>,
    }

    impl Stored {
        fn hashes(&self, question: Question) -> Hashes {
            let (places, tiles) = needed(question).unwrap();
            let read = tiles.iter().filter_map(|at| Some((*at, self.tiles.get(at)?.clone())));
            Hashes::of(&places, &read.collect()).unwrap()
        }
        fn grow(&mut self, count: u64) {
            let leaves = (self.size..self.size + count).map(|seq| leaf_hash(&leaf(seq)).unwrap());
            let hashes = self.hashes(Question::Append { size: self.size });
            let grown = append(self.size, leaves, hashes).unwrap();
            (self.size, self.root) = (grown.size, Some(grown.root));
            self.tiles.extend(grown.tiles);
        }
    }

    // RFC 6962, 2.1, word by word.
    fn root_of(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => tlog_tiles::EMPTY_HASH,
            [one] => *one,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                tlog_tiles::node_hash(root_of(left), root_of(right))
            }
        }
    }

    #[test]
    fn a_tree_grown_out_of_tiles_has_the_root_of_its_entries() {
        let mut stored = Stored::default();
        let mut compact = Compact::default();
        for batch in [1, 1, 2, 3, 29, 30, 200, 1, 255, 256, 30, 700] {
            for seq in stored.size..stored.size + batch {
                compact.push(leaf_hash(&leaf(seq)).unwrap());
            }
            stored.grow(batch);
            let leaves: Vec<Hash> =
                (0..stored.size).map(|seq| leaf_hash(&leaf(seq)).unwrap()).collect();
            assert_eq!(stored.root, Some(root_of(&leaves)), "{}", stored.size);
            assert_eq!(stored.root, Some(compact.root()));
            let hashes = stored.hashes(Question::Append { size: stored.size });
            let roots = subtree_roots(stored.size, &hashes).unwrap();
            let roots: Vec<String> = roots.iter().map(hash_text).collect();
            let again = Compact::new(stored.size, &roots).unwrap();
            assert_eq!((again.root(), again.size()), (compact.root(), stored.size));
            assert!(Compact::new(stored.size + 1, &roots).is_err() || roots.len() == 1);
        }
    }

    #[test]
    fn proofs_out_of_tiles_prove_and_nothing_else_does() {
        let mut stored = Stored::default();
        stored.grow(300);
        let before = Checkpoint { size: 300, root: stored.root.unwrap() };
        stored.grow(410);
        let now = Checkpoint { size: 710, root: stored.root.unwrap() };
        let texts = |hashes: Vec<Hash>| hashes.iter().map(hash_text).collect::<Vec<_>>();
        for index in [0, 1, 255, 256, 511, 512, 708, 709] {
            let question = Question::Inclusion { index, size: 710 };
            let path = texts(prove_inclusion(index, 710, &stored.hashes(question)).unwrap());
            assert_eq!(check_inclusion(&leaf(index), index, &path, &now), Ok(()), "{index}");
            for (of, at, path, checkpoint) in [
                (index + 1, index, &path[..], &now),
                (index, index ^ 1, &path[..], &now),
                (index, index, &path[1..], &now),
                (index, index, &path[..], &before),
                (index, 710, &path[..], &now),
            ] {
                let proven = check_inclusion(&leaf(of), at, path, checkpoint);
                assert_eq!(proven, Err(TreeError::Unproven), "{index}");
            }
        }
        let question = Question::Consistency { from: 300, size: 710 };
        let path = texts(prove_consistency(300, 710, &stored.hashes(question)).unwrap());
        assert_eq!(check_consistency(&before, &path, &now), Ok(()));
        let fork = Checkpoint { root: leaf_hash(&leaf(1)).unwrap(), ..before };
        assert_eq!(check_consistency(&fork, &path, &now), Err(TreeError::Unproven));
        assert_eq!(check_consistency(&now, &path, &before), Err(TreeError::Unproven));
    }

    #[test]
    fn a_checkpoint_is_of_one_workspace_and_one_key() {
        let (key, workspace) = (Key::new(&[7; 32]), "acme".parse().unwrap());
        let checkpoint = Checkpoint { size: 3, root: leaf_hash(&leaf(1)).unwrap() };
        let signed = checkpoint.sign(&workspace, &key);
        let keys = [key.public()];
        assert_eq!(Checkpoint::open(&signed, &workspace, &keys), Ok(checkpoint));
        let other: WorkspaceId = "other".parse().unwrap();
        assert!(Checkpoint::open(&signed, &other, &keys).is_err());
        assert!(Checkpoint::open(&signed, &workspace, &[Key::new(&[8; 32]).public()]).is_err());
    }
}
