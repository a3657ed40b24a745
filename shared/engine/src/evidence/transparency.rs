//! The transparency log: heads of streams into a Merkle tree, checkpoints and proofs out of it.
//!
//! INVARIANT (append-only): who has a checkpoint can see that a later one only appends, and who
//! has an execution's evidence that nothing of it was changed since, even by those who can write
//! the whole table.

use crate::{Answer, Base, Caller, Parts, Updates, boxed};
use contracts::{
    Code, Issue, Problem, WorkspaceId,
    evidence::{CheckpointAnswer, Consistency, GetCheckpoint, GetProof, LogLeaf, LogProof},
};
use countersign_store::{Notary, PortError, Stream, TreeHead};
use cs_core::{
    transparency::{self as tree, Checkpoint, Question, hash_text},
    warrant::{Ring, VerifyingKey},
};
use futures_util::lock::Mutex;
use std::sync::Arc;

/// The logs of workspaces.
pub struct Transparency {
    pub(crate) base: Arc<Base>,
    pub(crate) updates: Arc<Updates>,
    /// In one process one after the other: who comes second mostly finds nothing left to do.
    turn: Mutex<()>,
}

impl Transparency {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self { base: parts.base.clone(), updates: parts.updates.clone(), turn: Mutex::new(()) }
    }

    /// Takes the heads that wait into the tree of a workspace, and signs its checkpoint.
    #[boxed]
    pub async fn append(&self, workspace: &WorkspaceId) -> Result<u64, PortError> {
        let ring = self.base.ports.signer.ring().await?;
        let keys = ring.key_set().public_keys().copied().collect();
        let notary = RingNotary { workspace, ring, keys };
        let _turn = self.turn.lock().await;
        self.base.store.append_leaves(workspace, &notary).await
    }

    /// Does so wherever some wait: who should have has failed. Gives the count of logs that cannot
    /// be appended to.
    pub async fn append_waiting(&self) -> Result<u64, PortError> {
        let mut failed = 0;
        for workspace in self.base.store.unlogged_workspaces().await? {
            // One that cannot be read keeps no other waiting.
            if let Err(fault) = self.append(&workspace).await {
                tracing::error!(%workspace, %fault, "a transparency log cannot be appended to");
                failed += 1;
            }
        }
        Ok(failed)
    }

    /// controlPlane.evidence.checkpoint: how far the log is, signed; that it begins with an earlier
    /// size, proven.
    #[boxed]
    pub async fn checkpoint(
        &self,
        caller: &Caller,
        request: GetCheckpoint,
    ) -> Answer<CheckpointAnswer> {
        caller.require_whole("control-plane.audit")?;
        let head = self.base.store.tree_head(&caller.workspace).await?;
        if head.size == 0 {
            let message = "the transparency log of this workspace is empty: no execution has ended";
            return Err(Problem::new(Code::NotFound, message));
        }
        let consistency = match request.from_size {
            None => None,
            Some(from) => Some(self.consistency(&caller.workspace, from, head.size).await?),
        };
        let TreeHead { size, checkpoint } = head;
        Ok(CheckpointAnswer { size, checkpoint, consistency })
    }

    async fn consistency(
        &self,
        workspace: &WorkspaceId,
        from: u64,
        size: u64,
    ) -> Answer<Consistency> {
        if from == 0 || from > size {
            let issue = Issue::new("/fromSize", format!("from 1 to {size}, the size of the log"));
            return Err(Problem::new(Code::ValidationFailed, "the log never had that size yet")
                .issue(issue));
        }
        let question = Question::Consistency { from, size };
        let hashes = self.base.store.tree_hashes(workspace, question).await?;
        let path = tree::prove_consistency(from, size, &hashes).map_err(unreadable)?;
        Ok(Consistency { from_size: from, path: path.iter().map(hash_text).collect() })
    }

    /// controlPlane.evidence.proof: that the head of an execution, or of the workspace log, stands
    /// in the transparency log.
    #[boxed]
    pub async fn proof(&self, caller: &Caller, request: GetProof) -> Answer<LogProof> {
        let stream = match request.execution_id {
            Some(id) => {
                caller.require("control-plane.audit")?;
                self.updates.load_for(caller, &id).await?;
                Stream::Trace(id)
            }
            None => {
                caller.require_whole("control-plane.audit")?;
                Stream::Log
            }
        };
        let up_to = request.seq.unwrap_or(u64::from(u32::MAX));
        self.prove(&caller.workspace, &stream, up_to).await
    }

    /// The proof of the last head of a stream, up to a sequence number.
    pub(crate) async fn prove(
        &self,
        workspace: &WorkspaceId,
        stream: &Stream,
        up_to: u64,
    ) -> Answer<LogProof> {
        let store = &self.base.store;
        // The place first: the head that is read then has it.
        let index = store.tree_place(workspace, stream, up_to).await?;
        let index = index.ok_or_else(|| not_there(stream))?;
        let TreeHead { size, checkpoint } = store.tree_head(workspace).await?;
        let leaf = store.tree_leaves(workspace, index, 1).await?.into_iter().next();
        let leaf: LogLeaf = leaf.ok_or_else(|| {
            PortError::Corrupt(format!("entry {index} of the transparency log is missing"))
        })?;
        let question = Question::Inclusion { index, size };
        let hashes = store.tree_hashes(workspace, question).await?;
        let path = tree::prove_inclusion(index, size, &hashes).map_err(unreadable)?;
        Ok(LogProof { leaf, index, path: path.iter().map(hash_text).collect(), checkpoint })
    }
}

/// Signs with the deployment's key.
struct RingNotary<'n> {
    workspace: &'n WorkspaceId,
    ring: Arc<Ring>,
    keys: Vec<VerifyingKey>,
}

impl Notary for RingNotary<'_> {
    fn check(&self, signed: &str, checkpoint: &Checkpoint) -> Result<(), PortError> {
        match Checkpoint::open(signed, self.workspace, &self.keys) {
            Ok(stored) if stored == *checkpoint => Ok(()),
            Ok(_) => Err(PortError::Corrupt(
                "the stored tree is not the one that its checkpoint was signed for".into(),
            )),
            Err(error) => Err(PortError::Corrupt(format!("the stored checkpoint: {error}"))),
        }
    }
    fn sign(&self, checkpoint: &Checkpoint) -> String {
        checkpoint.sign(self.workspace, self.ring.current())
    }
}

pub(crate) fn not_there(stream: &Stream) -> Problem {
    let message = format!("no head of {stream} stands in the transparency log");
    let advice = "an execution is there seconds after it ended, the workspace log after a change";
    Problem::new(Code::NotFound, message).issue(Issue::new("", advice))
}

fn unreadable(error: tree::TreeError) -> Problem {
    PortError::Corrupt(error.to_string()).into()
}
