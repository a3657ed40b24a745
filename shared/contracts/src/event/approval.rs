//! What happens to requests for approval.

use crate::{Digest, ExecutionId, StepId, Timestamp, approval::Decision, id::ApprovalId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// People are asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequested {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub approval_id: ApprovalId,
    pub binding_digest: Digest,
    /// Digest of what people are shown; the binding covers it.
    pub view_digest: Digest,
    pub at: Timestamp,
    pub expires_at: Timestamp,
    /// Groups that must each give so many voices.
    pub requirement: Vec<Requirement>,
    /// Actors whose voices do not count.
    pub excludes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whom some steps of a plan ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepsRequirement {
    /// Groups that must each give so many voices.
    pub requirement: Vec<Requirement>,
    /// The steps: a bit for each step of the plan, in its order, as hexadecimal digits.
    pub step_mask: String,
}

/// So many voices of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    pub group: String,
    pub count: u32,
}

/// A request was granted, rejected, voided, or has expired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalDecided {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub approval_id: ApprovalId,
    pub binding_digest: Digest,
    /// Digest of what was shown to those who decide.
    pub view_digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// How the actor was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A person said yes or no. The request is decided once its requirement is met, or by the first no.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalVoted {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub approval_id: ApprovalId,
    pub binding_digest: Digest,
    /// Digest of what the person saw.
    pub view_digest: Digest,
    /// The person.
    pub actor_id: String,
    pub decision: Decision,
    /// Groups of the requirement for which the voice counts at that moment.
    pub groups: Vec<String>,
    /// Of those, whose places in a group the person uses, where they are not the person's own
    /// alone: a place that two use is one voice.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<String, BTreeSet<String>>,
    /// Who said in the directory that the person is known by what the vote came by, if it was
    /// another: they have no voice beside it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub identity_makers: BTreeSet<String>,
    /// How the person was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A person took a vote back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalWithdrawn {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub approval_id: ApprovalId,
    /// The person whose vote it was.
    pub actor_id: String,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Somebody said something about a request, or, of one that was overridden, that it was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalNoted {
    pub execution_id: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    pub approval_id: ApprovalId,
    pub actor_id: String,
    pub at: Timestamp,
    pub text: String,
}
