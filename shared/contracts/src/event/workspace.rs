//! What happens to a workspace: its skills, policies, keys and subscriptions.

use crate::{
    Digest, Timestamp, directory::OidcIdentity, event::Actor, id::InstallationId, problem::Issue,
};
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

/// Trust, freezes, budgets, the directory or the like of a workspace were changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GovernanceChanged {
    /// What: `trust`, `freezes`, `budgets`, `directory`, …
    pub key: String,
    /// Which of it: of the directory `person ann`, `group finance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
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

/// A subscription to stage events was made, ended, given another secret or tried out. The secret is
/// nowhere. What tries it out is sent to its target alone and stands in no log.
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

/// How somebody signed in to the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignInMethod {
    /// By an API key.
    ApiKey,
    /// By a code for one sign-in.
    Code,
    /// By the identity provider.
    Oidc,
}

/// A person signed in to the console.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionStarted {
    /// Names the session without opening it.
    pub key: String,
    pub at: Timestamp,
    pub actor_id: String,
    pub method: SignInMethod,
    pub expires_at: Timestamp,
    /// The API key whose session it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Whom the identity provider named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcIdentity>,
    /// The groups that the person has by what the identity provider said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// Somebody who proved who they are did not get into the console.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionRefused {
    pub key: String,
    pub at: Timestamp,
    /// The actor of the key, or what a person of that identity would be called.
    pub actor_id: String,
    pub method: SignInMethod,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcIdentity>,
    pub reason: String,
    /// Attempts of this actor before this one that were too many to be recorded, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<u64>,
}
