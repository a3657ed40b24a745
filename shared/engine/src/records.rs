//! The bodies of stored items.

use crate::Stream;
use contracts::{
    Digest, StepId, Timestamp, WorkspaceId,
    command::PlaybookCall,
    event::{Actor, Metadata, SubmitMode},
};
use cs_core::{execution::Execution, plan::ParsedDraft, trace};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who may claim and settle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    pub owner: String,
    pub expires_at: Timestamp,
}

/// A state machine that waits. Its token is honoured until `wait_until`, and not a moment longer: a machine can end
/// without a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredWait {
    pub token: String,
    pub wait_until: Timestamp,
}

/// An execution whose steps are held until something of its workspace changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WaitingRecord {
    /// When it was noted; what was changed before is looked at after.
    pub(crate) at: Timestamp,
}

/// The head of an execution: its state without the steps, the end of its chain, and what is no evidence.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadRecord {
    pub execution: Execution,
    pub chain: trace::Head,
    /// The fence: grows with every new owner.
    pub epoch: u64,
    pub lease: Option<Lease>,
    /// The state machine that waits, if one said so.
    #[serde(default)]
    pub wait: Option<RegisteredWait>,
    /// Steps written with this version of the head.
    #[serde(default)]
    pub touched: Vec<StepId>,
    /// Approvals written with this version of the head, by their place.
    #[serde(default)]
    pub touched_approvals: Vec<usize>,
    /// Since when an approval has been asked for that nobody has decided.
    #[serde(default)]
    pub asked_since: Option<Timestamp>,
    /// How often driving was started; names each start.
    pub drives: u32,
    pub traceparent: Option<String>,
    /// Beginning of the text, for listings.
    pub title: String,
}

/// A [`HeadRecord`] on its way into the store.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeadView<'h> {
    pub(crate) execution: &'h Execution,
    pub(crate) chain: &'h trace::Head,
    pub(crate) epoch: u64,
    pub(crate) lease: Option<&'h Lease>,
    pub(crate) wait: Option<&'h RegisteredWait>,
    pub(crate) touched: Vec<&'h StepId>,
    pub(crate) touched_approvals: Vec<usize>,
    pub(crate) asked_since: Option<Timestamp>,
    pub(crate) drives: u32,
    pub(crate) traceparent: Option<&'h str>,
    pub(crate) title: &'h str,
}

/// The intent as it came, sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentRecord {
    pub text: String,
    pub mode: SubmitMode,
    pub actor: Actor,
    /// The API key that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Whom the actor acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    pub grants: std::collections::BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<PlaybookCall>,
}

/// The phrases of a workspace that raise the risk of an intent. The item's version counts changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RiskPhrasesRecord {
    pub phrases: Vec<contracts::governance::RiskPhrase>,
}

/// The draft that was compiled: parsed and sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DraftRecord {
    pub draft: ParsedDraft,
}

/// What is not yet sent of one commit of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxRecord {
    pub workspace: WorkspaceId,
    pub stream: Stream,
    pub from_seq: u64,
    pub to_seq: u64,
    /// When it was committed.
    #[serde(default)]
    pub at: Timestamp,
}

/// An answer kept for repetitions of its command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnceRecord {
    pub request: Digest,
    pub response: Value,
}

/// Settings of a workspace.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Signs calls to tools.
    pub(crate) tool_secret: crate::secrets::KeptSecret,
    pub created_at: Timestamp,
}

/// Which policy set is active. The item's version counts activations; it is small, for every claim checks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActivePolicy {
    pub digest: Digest,
}

/// A policy set, by its digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRecord {
    pub text: String,
    pub digest: Digest,
    pub activated_at: Timestamp,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
