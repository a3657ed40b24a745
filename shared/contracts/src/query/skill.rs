//! Skills and capabilities.

use crate::{Digest, Open, Timestamp, status::SkillStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// controlPlane.skill.list
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListSkills {
    #[serde(default)]
    pub include_disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillList {
    pub items: Vec<SkillView>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillView {
    pub skill_key: String,
    pub version: String,
    /// `enabled`, `disabled` or `revoked`.
    pub status: Open<SkillStatus>,
    pub verified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_at: Option<Timestamp>,
    /// When its signature ends; it is not used after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    pub operations: Vec<String>,
    pub playbooks: Vec<String>,
}

/// controlPlane.skill.verify: installs nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillVerified {
    pub verified: bool,
    pub signature_verified: bool,
    pub publisher_trusted: bool,
    pub compatibility_verified: bool,
    pub manifest_digest: Digest,
    pub issues: Vec<crate::Issue>,
    pub verified_at: Timestamp,
}

/// No fields: `GET /v1/capabilities`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetCapabilities {}
