//! Evidence: what leaves the control plane to be checked elsewhere.

use crate::{
    Digest, ExecutionId, StepId, Stream, Timestamp, WorkspaceId,
    event::{CloudEvent, Purpose},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// An entry of a workspace's transparency log: where a stream of events ended. Its record in the
/// Merkle tree is its canonical JSON (RFC 8785).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLeaf {
    pub stream: Stream,
    /// Sequence number of the stream's last event.
    pub seq: u64,
    /// Its hash, which covers all events before it.
    pub hash: Digest,
    /// Its time.
    pub at: Timestamp,
}

/// What one export of a workspace took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub workspace_id: WorkspaceId,
    /// 1 for the first of the workspace; no gaps.
    pub number: u64,
    /// Digest of the manifest before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// Up to when the manifest before this one took what had come.
    pub from: Timestamp,
    /// Up to when this one did. Before `from` where the clock went back in between.
    pub to: Timestamp,
    pub files: Vec<Part>,
    /// What the events of `files` speak of: intents, plans, verdicts, views, policy sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Documents>,
    /// Streams that cannot be read or do not verify, and why: they are in no file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broken: BTreeMap<Stream, String>,
    /// Events whose time is hours behind `to`: a clock had jumped ahead.
    #[serde(default, skip_serializing_if = "crate::is_zero")]
    pub ahead: u64,
    /// How far the transparency log is. In the last manifest of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogPart>,
}

/// A file of events: lines of JSON, each a CloudEvent, compressed by gzip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    pub name: String,
    /// Of the compressed bytes.
    pub digest: Digest,
    pub bytes: u64,
    pub events: u64,
    /// The streams in it, and the hash of each one's last event.
    pub heads: BTreeMap<Stream, Digest>,
    /// Which events of each.
    pub segments: BTreeMap<Stream, Range>,
}

/// Events of one stream that follow one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub from: u64,
    pub to: u64,
    /// Hash of the event before the first: the head of the segment before this one.
    pub prev: Digest,
}

/// A file of documents: lines of JSON, each a [`Document`], compressed by gzip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Documents {
    pub name: String,
    /// Of the compressed bytes.
    pub digest: Digest,
    pub bytes: u64,
    pub documents: u64,
}

/// What an event names by its digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    pub kind: DocumentKind,
    /// SHA-256 of the body: of its canonical JSON, or of the text itself where it is a text.
    pub digest: Digest,
    /// Sensitive values are left out; their places have commitments.
    pub body: Value,
}

/// What a document is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum DocumentKind {
    Intent,
    Plan,
    Verdict,
    /// What people were shown before they decided.
    View,
    /// The text of a policy set.
    Policy,
}

/// The entries that a transparency log got since the manifest before, and its signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogPart {
    /// A signed note (C2SP tlog-checkpoint).
    pub checkpoint: String,
    pub size: u64,
    /// Entries that earlier manifests have.
    pub from: u64,
    /// The roots of the largest complete subtrees of those, from the left, in hexadecimal digits:
    /// with them and the new entries the root of the checkpoint can be computed.
    pub subtrees: Vec<String>,
    /// The new entries: lines of JSON, each a [`LogLeaf`], compressed by gzip. None where there
    /// are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Documents>,
}

/// One execution with the proof that it stands in the log of its workspace, without any other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// [`BUNDLE_FORMAT`].
    pub format: String,
    pub workspace_id: WorkspaceId,
    /// The whole trace, in order.
    pub events: Vec<CloudEvent>,
    /// What the events name by digest, as far as it is kept.
    pub documents: Vec<Document>,
    pub proof: LogProof,
}

/// What the format of a bundle is called.
pub const BUNDLE_FORMAT: &str = "countersign/evidence/1";

/// That an entry stands in a transparency log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogProof {
    pub leaf: LogLeaf,
    /// Its place, 0 for the first.
    pub index: u64,
    /// The audit path (RFC 6962, 2.1.1), in hexadecimal digits.
    pub path: Vec<String>,
    /// The signed note with the size and root that the path leads to.
    pub checkpoint: String,
}

/// controlPlane.evidence.checkpoint
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetCheckpoint {
    /// Proves that the log begins with that of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_size: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointAnswer {
    /// Entries of the log.
    pub size: u64,
    /// A signed note (C2SP tlog-checkpoint): origin, size, root. Its key is in
    /// `/.well-known/jwks.json`.
    pub checkpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
}

/// That a log begins with an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Consistency {
    pub from_size: u64,
    /// The consistency proof (RFC 6962, 2.1.2), in hexadecimal digits.
    pub path: Vec<String>,
}

/// controlPlane.evidence.proof
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetProof {
    /// None: of the workspace log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
    /// Of the last head up to this sequence number; none: of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// controlPlane.evidence.export
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportWorkspace {}

/// What one call exported of a workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceExported {
    /// Exports that were written.
    pub manifests: u64,
    pub events: u64,
    /// Streams that cannot be read or do not verify.
    pub broken: u64,
    /// Time was over before everything was exported: call again.
    pub left: bool,
    /// Number of the last export of the workspace.
    pub number: u64,
}

/// controlPlane.evidence.receipt
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetReceipt {
    pub execution_id: ExecutionId,
    pub step_id: StepId,
}

/// The receipt of a step, and where the end of its execution stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedReceipt {
    /// A compact JWS (RFC 7515) with EdDSA, `typ` `receipt+jwt`: its claims are a [`Receipt`].
    pub receipt: String,
    /// That the end of the execution stands in the transparency log. None as long as it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<LogProof>,
}

/// What a receipt says: which call was made for a step, with what, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// `countersign`
    pub iss: String,
    /// Workspace.
    pub ws: WorkspaceId,
    /// Execution.
    pub exe: ExecutionId,
    pub step: StepId,
    /// 1 for the first.
    pub attempt: u32,
    /// Operation, `skill/operation`.
    pub op: String,
    /// What the call was for.
    pub purpose: Purpose,
    /// Digest of the input, sensitive values as commitments.
    pub inp: Digest,
    /// Digest of the output, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<Digest>,
    pub outcome: ReceiptOutcome,
    /// When that was known.
    pub at: Timestamp,
    /// Hash of the event that says so.
    pub evt: Digest,
    /// Its sequence number in the execution's trace.
    pub seq: u64,
    /// Digest of the plan.
    pub plan: Digest,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReceiptOutcome {
    Completed,
    Failed,
    /// It failed, and a call of it may have had its effect: nobody learnt what became of it.
    Unanswered,
    /// It was undone.
    Compensated,
}
