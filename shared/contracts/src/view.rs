//! What people are shown when they decide: one document, whose digest their decision names.
//!
//! Everything in it follows from stored documents (intent, plan, verdict, policy set, manifests,
//! actual input), so that it can be made again at any time. It is bounded: what is left out is
//! counted, and the digests in it cover that too.

use crate::{
    Digest, ExecutionId, StepId,
    draft::{Budget, OnFailure},
    event::{Actor, Purpose, Requirement},
    verdict::{Effect, RiskTier, Verdict},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a decision is about. Its digest is `sha256(JCS(view))` (RFC 8785).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Form of this document.
    pub view_version: u32,
    pub execution_id: ExecutionId,
    /// The one step that is decided on, with its actual input; absent: the whole plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    /// Which of that step's calls.
    #[serde(default, skip_serializing_if = "Purpose::is_run")]
    pub purpose: Purpose,
    /// The intent's words.
    pub goal: Excerpt,
    pub requester: Requester,
    pub plan_digest: Digest,
    /// Of the stored intent.
    pub intent_digest: Digest,
    /// Of the step's actual input, sensitive values as commitments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<Digest>,
    pub policy_version: String,
    pub policy_digest: Digest,
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    /// Phrases of the intent that raised the risk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<String>,
    /// How sure the planner was, in basis points (10,000 = 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence_bps: Option<u32>,
    /// Groups that must each give so many voices; within a group distinct persons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirement: Vec<Requirement>,
    pub touches: Touched,
    /// What the plan may touch at the most, by its draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What any one plan of the workspace may touch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_budget: Option<Budget>,
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Steps of the whole plan.
    pub step_count: u32,
    /// In plan order; those that need people come before others where not all have room.
    pub steps: Vec<ViewStep>,
    /// Steps that are not shown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_steps: u32,
    /// Those of them that need people.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_steps_for_people: u32,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requester {
    pub actor: Actor,
    /// The API key that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// On whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// The channel that the words came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_key: Option<String>,
}

/// A text, up to a limit.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct Excerpt {
    pub text: String,
    /// Characters that are left out at its end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_characters: u32,
}

/// One step as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewStep {
    pub step_id: StepId,
    /// 1 for the plan's first.
    pub position: u32,
    /// The call that is decided on: the step's own, or, where one step is decided on, its
    /// compensation.
    #[serde(flatten)]
    pub call: ViewCall,
    /// Whether it runs at all depends on this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<ViewCondition>,
    /// How it would be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Box<ViewCall>>,
    /// How its outcome would be looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Box<ViewCall>>,
}

/// One call to a tool as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewCall {
    pub operation: String,
    pub title: Excerpt,
    pub effect: Effect,
    pub verdict: Verdict,
    pub risk_tier: RiskTier,
    /// What it acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Shown>,
    pub touches: Touched,
    /// To whom: the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<Shown>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_recipients: u32,
    /// The input, value by value.
    pub inputs: Vec<ViewInput>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_inputs: u32,
    /// What matters to a decision and is known only once steps before have run; the step then asks
    /// again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Unknown>,
    /// Why it is judged as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Excerpt>,
    /// Whom they ask for, of one step of a plan; absent: anybody who decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirement: Vec<Requirement>,
    /// The rules that decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ViewRule>,
    /// Labels that reach it and that it does not accept, and the way they come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taint: Vec<ViewTaint>,
}

/// A value as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Shown {
    /// The value; of a long text its beginning.
    #[serde(rename_all = "camelCase")]
    Known {
        value: Value,
        #[serde(default, skip_serializing_if = "is_zero")]
        omitted_characters: u32,
    },
    /// Sensitive: it is there, and is not shown.
    Sealed,
    /// It comes from another step's output.
    Wired { from: StepId, path: Excerpt },
}

/// One value of an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewInput {
    /// JSON pointer into the input.
    pub pointer: Excerpt,
    pub value: Shown,
}

/// How much is touched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Touched {
    pub writes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub money: Vec<ViewMoney>,
    pub recipients: u64,
    /// What could not be counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<String>,
    /// Labels of what goes in and comes out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_classes: Vec<String>,
}

/// An amount of one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewMoney {
    pub currency: String,
    /// In minor units.
    pub minor: u64,
    /// In major units, as text; absent where ISO 4217 has no such currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
}

/// What of a step matters to a decision.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Aspect {
    Target,
    Money,
    Recipients,
}

/// Something that matters and comes from another step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unknown {
    pub aspect: Aspect,
    /// JSON pointer into the input.
    pub pointer: Excerpt,
    pub from: StepId,
    /// JSON pointer into that step's output.
    pub path: Excerpt,
}

/// When a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewCondition {
    pub from: StepId,
    pub path: Excerpt,
    /// `equals`, `notEquals` or `exists`, and the value.
    pub test: Excerpt,
}

/// A rule of the policy set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewRule {
    pub id: Excerpt,
    /// `permit` or `forbid`.
    pub effect: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Excerpt>,
}

/// A label on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewTaint {
    pub label: Excerpt,
    /// The steps it came through, the source first.
    pub path: Vec<StepId>,
    /// Steps of the path that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_steps: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
