//! The bodies of stored items that only use cases read. Those of executions, logs and answers are
//! in
//! the store.

use contracts::{
    Digest, Timestamp,
    command::PlaybookCall,
    event::{Actor, Metadata, SubmitMode},
};
use cs_core::plan::ParsedDraft;
use serde::{Deserialize, Serialize};

/// An execution whose steps are held until something of its workspace changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WaitingRecord {
    /// When it was noted; what was changed before is looked at after.
    pub(crate) at: Timestamp,
}

/// A change of a workspace that wakes more than it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WakingRecord {
    /// When it was; who was listed since has looked since.
    pub(crate) at: Timestamp,
    /// Where the list goes on; empty: at its beginning.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) from: String,
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
    /// Digest of the draft that came with it, parsed and sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Digest>,
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

/// Settings of a workspace.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Signs calls to tools.
    pub(crate) tool_secret: crate::govern::secrets::KeptSecret,
    pub created_at: Timestamp,
}

/// Which policy set is active. The item's version counts activations; it is small, for every claim
/// checks it.
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
