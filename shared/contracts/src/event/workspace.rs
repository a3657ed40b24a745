//! What happens to a workspace: its skills, policies, keys and subscriptions.

use crate::{Digest, Timestamp, event::Actor, id::InstallationId, problem::Issue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillInstalled {
    pub installation_id: InstallationId,
    pub skill_key: String,
    pub version: String,
    pub installed_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    pub manifest_digest: Digest,
    pub actor_id: String,
    pub verified: bool,
    /// A person let a version come that is below the highest that ever was installed: the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade_from: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillRejected {
    pub skill_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub rejected_at: Timestamp,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<Digest>,
    pub issues: Vec<Issue>,
    pub actor_id: String,
    /// Attempts of this actor before this one that were too many to be recorded, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillEnabled {
    pub key: String,
    /// Absent: the skill as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub at: Timestamp,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillDisabled {
    pub key: String,
    /// Absent: every version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub at: Timestamp,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyActivated {
    pub key: String,
    pub version: String,
    pub digest: Digest,
    pub at: Timestamp,
    pub actor_id: String,
}

/// Trust, freezes, budgets or the shadow policy set of a workspace were changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GovernanceChanged {
    /// `trust`, `freezes`, `budgets` or `shadow`.
    pub key: String,
    /// Digest of what is in force now.
    pub digest: Digest,
    pub at: Timestamp,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceExported {
    pub key: String,
    pub digest: Digest,
    pub at: Timestamp,
    pub actor_id: String,
}

/// A workspace was made, with the baseline policy set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceCreated {
    pub key: String,
    pub at: Timestamp,
    pub actor_id: String,
    /// The policy set that is active in it.
    pub policy_digest: Digest,
}

/// An API key was made or revoked. Its secret is nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyChanged {
    /// Names the key without telling it.
    pub key: String,
    pub at: Timestamp,
    /// Who made or revoked it.
    pub actor_id: String,
    /// Whom it authenticates.
    pub holder: Actor,
    /// What its holder may do.
    pub grants: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A subscription to stage events was made, ended or given another secret. The secret is nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionChanged {
    /// The subscription.
    pub key: String,
    pub at: Timestamp,
    pub actor_id: String,
    /// Scheme, host and port of where its events go.
    pub target: String,
    /// Types of events it wants; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Until when the secret before this one signs as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_until: Option<Timestamp>,
}

/// The secret that signs calls to tools became another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolSecretRotated {
    pub key: String,
    pub at: Timestamp,
    pub actor_id: String,
    /// Until when the secret before this one signs as well.
    pub overlap_until: Timestamp,
}
