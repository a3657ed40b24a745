//! Verdicts explained, and policies tested on what happened before.

use crate::{
    Digest, ExecutionId, Open, StepId, Timestamp,
    command::StepVerdictAnswer,
    draft::Draft,
    event::{ActorKind, Purpose},
    governance::DecidingPolicy,
    verdict::{RiskTier, Verdict},
    view::Touched,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// controlPlane.policy.explain: a stored execution or step, or a hypothetical draft.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainPolicy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
    /// With `executionId`: an earlier verdict, by the `verdictDigest` of its `plan.verified`.
    /// Absent: the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict_digest: Option<Digest>,
    /// With a draft: the words it would come with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub verdict: Open<Verdict>,
    pub risk_tier: Open<RiskTier>,
    /// Of the whole stored verdict.
    pub verdict_digest: Digest,
    pub reasons: Vec<String>,
    pub policy_version: String,
    pub policy_digest: Digest,
    pub steps: Vec<StepExplanation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepExplanation {
    #[serde(flatten)]
    pub verdict: StepVerdictAnswer,
    /// Policies that decided, with reason and location.
    #[serde(default)]
    pub policies: Vec<DecidingPolicy>,
    pub errors: Vec<String>,
    /// The request that was evaluated.
    pub request: Value,
}

/// controlPlane.policy.backtest
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BacktestPolicy {
    pub policies: String,
    pub from: Timestamp,
    pub to: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backtest {
    /// Steps.
    pub evaluated: u64,
    /// At most 1,000.
    pub changed: Vec<BacktestChange>,
    /// Not everything of the window was evaluated: narrow it.
    #[serde(default)]
    pub truncated: bool,
    /// What the listed changes affect, together and by kind of change.
    #[serde(default)]
    pub impact: BacktestImpact,
}

/// What changes of verdicts affect: all of them, and those of each kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BacktestImpact {
    #[serde(flatten)]
    pub all: Affected,
    /// The strictest new verdict first.
    pub by_change: Vec<AffectedByChange>,
}

/// What changes from one verdict to another affect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AffectedByChange {
    pub was: Open<Verdict>,
    pub would: Open<Verdict>,
    #[serde(flatten)]
    pub affected: Affected,
}

/// How much is affected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Affected {
    pub executions: u64,
    pub steps: u64,
    /// Distinct actors that asked for them.
    pub actors: u64,
    /// What the plans say that these steps touch. What undoes a step counts only where the step's
    /// own verdict stays.
    pub touched: Touched,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BacktestChange {
    pub execution_id: ExecutionId,
    pub step_id: StepId,
    pub was: Open<Verdict>,
    pub would: Open<Verdict>,
    pub reasons: Vec<String>,
    /// The call beside the step's own that is meant: what undoes it, or asks about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Open<Purpose>>,
    /// `skill/operation`; absent, as what follows, in changes that were recorded without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_kind: Option<ActorKind>,
    /// What the call touches, as far as the plan says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<Touched>,
}
