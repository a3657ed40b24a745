//! API keys and who decides: who may call, what with, and whose voice counts.

use crate::{Timestamp, WorkspaceId, event::Actor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// controlPlane.key.create
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateKey {
    /// Whose key it is. The id is made canonical: NFC, lower case; white space, control and
    /// invisible characters are refused. Two texts that become the same id are the same actor.
    /// Absent where `person` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// A person of the directory, whose key it is: who holds it acts as this person, and it ends
    /// with the person. People only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Each exists, and the maker's own grants cover it.
    pub grants: BTreeSet<String>,
    /// In the future. Absent: it holds until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A new key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyCreated {
    pub key: ApiKey,
    /// The secret: shown in this answer and stored nowhere, so that a repetition of the command has
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}

/// A key: everything but its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Names the key without telling it.
    pub id: String,
    pub workspace: WorkspaceId,
    pub actor: Actor,
    pub grants: BTreeSet<String>,
    pub created_at: Timestamp,
    /// Who made it: that actor does not decide on what this key asks. Absent: the deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<KeyMaker>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// It is bound to the person of its actor's id, who was added to the directory then: once that
    /// person is removed it is void, also if another one comes under the same id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_since: Option<Timestamp>,
}

/// Who made a key, and with which key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyMaker {
    pub actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Ids of who made that key, of who made the maker's key, and so on up to the deployment.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub above: BTreeSet<String>,
}

impl KeyMaker {
    /// Everybody in whose hands the key was.
    pub fn ids(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.actor.id).chain(&self.above)
    }
}

/// controlPlane.key.list
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListKeys {
    /// 1 to 200; default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Keys of a workspace, by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyList {
    pub items: Vec<ApiKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// controlPlane.key.revoke
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeKey {
    pub key_id: String,
}

/// controlPlane.deciders.set
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetDeciders {
    /// Services whose decisions count like those of people; replaces those in force.
    pub services: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Who decides beside people: approves, rejects, resolves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deciders {
    /// Ids of services. Empty: only people decide.
    pub services: BTreeSet<String>,
}
