//! The untrusted step list that an agent's planner proposes.

use crate::StepId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A proposed plan. Order of steps and of keys carries no meaning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Draft {
    /// The steps, at most 1,000.
    pub steps: Vec<DraftStep>,
    /// What the plan may touch at the most. Exceeding it refuses the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// How sure the planner is, 0 to 1. Absent for plans that no model made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What to do with completed steps when a step fails. Default: leave them.
    #[serde(default, skip_serializing_if = "OnFailure::is_leave")]
    pub on_failure: OnFailure,
}

/// One proposed step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DraftStep {
    /// Unique in the draft.
    pub id: StepId,
    /// `skill/operation@range`, for example `payments/refund.create@^2`; the range may be left out.
    #[serde(rename = "use")]
    pub operation: String,
    /// The input. `{"$from": step, "path": pointer}` anywhere in it takes a value from an earlier
    /// step's output; `{"$literal": value}` keeps a value as it is.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub with: Map<String, Value>,
    /// Steps to wait for besides those the input names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StepId>,
    /// Runs the step only if this holds; else it is skipped, and what depends on it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

/// A condition on an earlier step's output. Exactly one of `equals`, `notEquals`, `exists`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// The step whose output is looked at.
    #[serde(rename = "$from")]
    pub from: StepId,
    /// JSON pointer into that output.
    #[serde(default)]
    pub path: String,
    /// Holds when the value there is this one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub equals: Option<Value>,
    /// Holds when the value there is another or absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub not_equals: Option<Value>,
    /// Holds when there is a value (true) or none (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

// `null` is a value to compare with, not an absent one.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What to do with completed steps when a later one fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Leave them completed.
    #[default]
    Leave,
    /// Compensate them in reverse order where their operations say how.
    Compensate,
}

impl OnFailure {
    fn is_leave(&self) -> bool {
        *self == Self::Leave
    }
}

/// What a plan may touch at the most, undoing included. A kind that is not named is not limited.
/// What cannot be measured exceeds every limit of its kind.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// Most writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<u64>,
    /// Most money per currency (ISO 4217, in capitals), in minor units. A currency that is not
    /// named may not be spent: an empty object allows none. Absent: not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<BTreeMap<String, u64>>,
    /// Most recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u64>,
    /// The classes of data (labels) that may be handled; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_classes: Option<BTreeSet<String>>,
}
