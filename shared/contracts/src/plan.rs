//! The compiled plan: data, content-addressed, the same bytes for the same draft and registry.

use crate::{
    Digest, StepId,
    draft::{Condition, OnFailure},
    manifest::Binding,
    verdict::{Effect, RiskTier},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A compiled plan. Its digest is `sha256(JCS(plan))` (RFC 8785).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Form of this document.
    pub plan_version: u32,
    /// In canonical order: topological, ties by id.
    pub steps: Vec<PlanStep>,
    /// The skills the steps pin.
    pub skills: Vec<SkillPin>,
    /// What the whole plan touches, as far as it is known before it runs.
    pub radius: Radius,
    /// The budget of the draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<crate::draft::Budget>,
    /// How sure the planner was, in basis points (10,000 = 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence_bps: Option<u32>,
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// A skill at one version, by content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillPin {
    pub key: String,
    pub version: String,
    pub manifest_digest: Digest,
    /// What its operations together may touch in this plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<crate::draft::Budget>,
}

/// One step, with everything needed to judge and to run it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    pub id: StepId,
    #[serde(flatten)]
    pub call: Call,
    /// The input; null where a value comes from another step (`wires`) or is sensitive (`seals`).
    pub input: Value,
    /// Commitments to the sensitive values of the input, by JSON pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seals: BTreeMap<String, Digest>,
    /// Every step this one waits for, by id.
    pub after: Vec<StepId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// Commitments to sensitive values that the condition compares with, by JSON pointer into
    /// `when`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when_seals: BTreeMap<String, Digest>,
    /// Where values come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wires: Vec<Wire>,
    /// What the input carries, by the flow of labels.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// Labels that reach this step and that it does not accept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taint: Vec<Taint>,
    pub risk_tier: RiskTier,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_grants: Vec<String>,
    /// JSON pointer into the input: what the step acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    pub radius: Radius,
    /// Pointers of amount, currency, recipients and target whose values come from other steps: an
    /// approval of the plan does not cover them, the step asks with its actual input.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unknown: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<PlanCompensate>,
    /// The pinned probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<PlanProbe>,
    pub retry: RetryPolicy,
}

/// One pinned operation and how to call it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// `skill/operation`.
    pub operation: String,
    /// Index into `skills`.
    pub skill: usize,
    pub effect: Effect,
    pub input_schema_digest: Digest,
    pub output_schema_digest: Digest,
    pub timeout_seconds: u32,
    pub binding: Binding,
}

/// A value of an input that comes from another step's output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wire {
    /// JSON pointer into this step's input.
    pub to: String,
    pub from: StepId,
    /// JSON pointer into that step's output.
    pub path: String,
}

/// A label that came where it is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    pub label: String,
    /// The steps it came through, the source first.
    pub path: Vec<StepId>,
    /// The operation never takes it, not even with people.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub refused: bool,
}

/// What a call beside a step's own is judged on, as the step itself is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallFacts {
    /// What its input carries, by the flow of labels.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// Labels that reach it and that it does not accept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taint: Vec<Taint>,
    pub risk_tier: RiskTier,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_grants: Vec<String>,
    /// JSON pointer into its input: what it acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    pub radius: Radius,
    /// Pointers of amount, currency, recipients and target that are known only when it is called.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unknown: BTreeSet<String>,
}

/// How to learn what became of a call whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanProbe {
    #[serde(flatten)]
    pub call: Call,
    #[serde(flatten)]
    pub facts: CallFacts,
}

/// How to undo a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanCompensate {
    #[serde(flatten)]
    pub call: Call,
    #[serde(flatten)]
    pub facts: CallFacts,
    /// Field of the input ← JSON pointer into `{"input", "output"}` of the step.
    pub input: BTreeMap<String, String>,
    /// When undoing is tried again, where that is otherwise than the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
}

/// When to try again; from the manifest, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    pub max_attempts: u32,
    pub backoff_seconds: u32,
    pub max_backoff_seconds: u32,
}

/// What a radius counts beside writes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum RadiusKind {
    Money,
    Recipients,
}

impl std::fmt::Display for RadiusKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Money => "money",
            Self::Recipients => "recipients",
        })
    }
}

/// What is touched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Radius {
    pub writes: u64,
    /// Minor units by currency (ISO 4217, in capitals).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub money: BTreeMap<String, u64>,
    #[serde(default)]
    pub recipients: u64,
    /// Labels of what goes in and comes out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub data_classes: BTreeSet<String>,
    /// Some of it depends on outputs and is known only when it runs.
    #[serde(default)]
    pub open: bool,
    /// What cannot be counted exactly. It exceeds every limit of its kind. INVARIANT
    /// (unmeasured-is-not-small).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unmeasured: BTreeSet<RadiusKind>,
}
