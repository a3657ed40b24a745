//! Mandates: standing approvals, given by a person for one operation within limits.

use crate::{Timestamp, draft::Budget};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// controlPlane.mandate.create: people only. A person's approval, given beforehand: it lets through
/// what this person could approve alone. What is of high risk only where the policy that asks says
/// `@mandate("allowed")`, and nothing that is tainted or cannot be measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateMandate {
    /// The one operation it is for: `skill/operation`.
    pub operation: String,
    /// A Cedar condition over the call, as in `when { … }` of a policy, at most 4 KiB. It holds for
    /// no input that has values it cannot see: sealed ones, nulls, decimal numbers. Absent: any
    /// input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Only what this actor asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// What all its calls together may touch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Most calls: 1 to 10,000.
    pub count: u32,
    /// In the future, at most 90 days.
    pub expires_at: Timestamp,
    pub reason: String,
}

/// A standing approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mandate {
    pub id: String,
    pub operation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    pub count: u32,
    pub expires_at: Timestamp,
    pub reason: String,
    /// The person who gave it.
    pub made_by: String,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
}

/// A mandate and what it let through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MandateView {
    #[serde(flatten)]
    pub mandate: Mandate,
    /// Whether it counts now; else why not.
    pub active: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Calls that consumed it and are not known to have had no effect, and what they touched.
    pub used: u32,
    #[serde(default)]
    pub spent: crate::plan::Radius,
    /// The latest of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<MandateUse>,
}

/// A call that a mandate let through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MandateUse {
    pub execution_id: crate::ExecutionId,
    pub step_id: crate::StepId,
    pub at: Timestamp,
    #[serde(default)]
    pub spend: crate::plan::Radius,
}

/// controlPlane.mandate.list
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListMandates {
    /// Those as well that ended.
    #[serde(default)]
    pub include_ended: bool,
}

/// Mandates of a workspace, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MandateList {
    pub items: Vec<MandateView>,
}

/// controlPlane.mandate.revoke
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeMandate {
    pub mandate_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
