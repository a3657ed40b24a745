//! Approval links: how they are ended before their time.

use crate::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// controlPlane.link.revoke: every link of a person that was made before now ends. A person may end
/// their own; those of others a person with the grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeLinks {
    pub person_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Links have ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinksRevoked {
    pub person_id: String,
    /// Links from before are none.
    pub revoked_at: Timestamp,
}
