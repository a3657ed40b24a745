//! What a workspace lets happen: whom it trusts, what is frozen, how much may be used, which
//! policies hold.

use crate::{
    Digest, Issue, Open, Timestamp, draft::Budget, query::BacktestChange, verdict::RiskTier,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Whose skills a workspace installs. An empty policy trusts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustPolicy {
    #[serde(default)]
    pub trusted_publishers: Vec<TrustedPublisher>,
    /// Digests of manifests and artifacts that are never installed and, where they are, no longer
    /// used.
    #[serde(default)]
    pub revoked_digests: Vec<Digest>,
    /// Skill key → lowest version (semantic) that may be installed and used.
    #[serde(default)]
    pub minimum_versions: BTreeMap<String, String>,
}

/// A publisher and the keys pinned for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustedPublisher {
    pub id: String,
    pub keys: Vec<TrustedKey>,
    /// Where its skills may be built: a provenance is one of these, or below one of these. Empty:
    /// nowhere.
    pub provenance_prefixes: Vec<String>,
}

/// A pinned key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustedKey {
    pub key_id: String,
    /// Ed25519, base64 of 32 bytes.
    pub public_key: String,
}

/// controlPlane.trust.set
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetTrust {
    /// The whole policy; replaces the one in force.
    pub trust: TrustPolicy,
    /// Refused with 412 unless this version is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The trust policy in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustAnswer {
    /// 0: none was ever set.
    pub version: u64,
    pub digest: Digest,
    pub trust: Open<TrustPolicy>,
    /// After a change: installed skills that are no longer used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<RevokedSkill>,
    /// Steps of open executions that pin one of those and had not started: they will not.
    #[serde(default)]
    pub voided_steps: u32,
    /// There were more open executions than were counted.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub voided_steps_partial: bool,
    /// What was accepted although nothing matches it yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Issue>,
}

/// A skill that a change of trust takes out of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedSkill {
    pub skill_key: String,
    pub version: String,
    pub reason: String,
}

/// No fields: `GET /v1/trust`, `/v1/freezes`, `/v1/budgets`, `/v1/policies`, `/v1/policies/shadow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmptyQuery {}

/// What a freeze stops.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum FreezeScope {
    /// Every step.
    Workspace,
    /// Steps of a skill, by its key.
    Skill,
    /// Steps of an operation, `skill/operation`.
    Operation,
    /// Steps of what an actor submitted, by its id.
    Actor,
}

/// A freeze: no step it covers begins, until it is lifted. What is in flight ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    pub scope: FreezeScope,
    /// Absent for the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub since: Timestamp,
    pub actor_id: String,
}

/// controlPlane.freeze.set
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetFreeze {
    pub scope: FreezeScope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// True freezes, false lifts.
    pub frozen: bool,
    /// Freeze what does not exist (yet); the answer warns of it.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub force: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The freezes in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Freezes {
    pub items: Vec<Open<Freeze>>,
    /// What was accepted although nothing matches it yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Issue>,
}

/// Whose usage a meter counts apart.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum MeterScope {
    /// All of the workspace together.
    Workspace,
    /// Each actor that submits.
    Actor,
    /// Each operation.
    Operation,
}

/// What a meter counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum Measure {
    /// Steps.
    Steps,
    /// Writes, by blast radius.
    Writes,
    Recipients,
    /// Money of one currency (ISO 4217, in capitals), in minor units.
    Money {
        currency: String,
    },
}

/// A counter of usage over a window that moves on, and what it may reach. What is in flight counts;
/// a call that is known to have had no effect is given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Meter {
    /// Lower-case letter, then letters and digits; policies read it as `context.usage.<id>`.
    pub id: String,
    pub scope: MeterScope,
    pub measure: Measure,
    /// 60 to 2,678,400 (31 days). Usage leaves the window in twenty-fourths of it.
    pub window_seconds: u64,
    /// Most within the window. Absent: only counted, for policies to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only steps of these operations (`skill/operation`) or skills. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
}

/// What a workspace lets be touched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budgets {
    /// By any one plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Budget>,
    /// Over windows of time.
    #[serde(default)]
    pub meters: Vec<Meter>,
}

/// controlPlane.budget.set
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetBudgets {
    /// All of them; replaces those in force. Usage so far stays with a meter of the same id.
    pub budgets: Budgets,
    /// Take meters of operations and skills that do not exist (yet); the answer warns of them.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub force: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The budgets in force, and what is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetsAnswer {
    pub budgets: Open<Budgets>,
    pub usage: Vec<Usage>,
    /// What was accepted although nothing matches it yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Issue>,
}

/// What is used of a meter within its window, in flight included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub meter: String,
    /// Whose: nothing for the workspace, an actor's id, or an operation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub of: String,
    pub used: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// controlPlane.policy.shadow
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShadowPolicy {
    /// Cedar text of the candidate. Absent: no candidate any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A candidate set that is evaluated beside the active one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shadow {
    /// Absent: there is no candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Verdicts that would have been others, the latest first; at most 200.
    pub changed: Vec<ShadowChange>,
}

/// A verdict that the candidate would have changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShadowChange {
    pub at: Timestamp,
    #[serde(flatten)]
    pub change: BacktestChange,
}

/// The active policy set and those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicySets {
    pub policy_version: String,
    pub digest: Digest,
    /// Cedar text.
    pub policies: String,
    pub activated_at: Timestamp,
    pub activated_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Digest of the candidate that runs in shadow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Digest>,
    /// Digests of every set that was ever active.
    pub history: Vec<Digest>,
    /// The Cedar schema (JSON) that sets are validated against: of the installed operations and the
    /// meters.
    pub schema: Value,
}

/// A policy that decided, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecidingPolicy {
    /// `@id`, else its position.
    pub id: String,
    /// `@reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `permit` or `forbid`.
    pub effect: String,
    /// `@expires`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// `@approvers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<String>,
    /// From a line `// file: <name>` above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// 1 for the first line of the file, or of the set.
    pub line: u32,
}

/// A phrase whose presence in an intent raises its risk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RiskPhrase {
    /// What it raises the risk to: `medium`, `high` or `blocked`.
    pub tier: RiskTier,
    /// Words in their order; `*` stands for up to three of any kind. Spelling, case and look-alikes
    /// do not matter.
    pub phrase: String,
}

/// controlPlane.signals.set
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetSignals {
    /// All of them; replaces those in force. Absent: those of the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phrases: Option<Vec<RiskPhrase>>,
    /// Refused with 412 unless this version is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The phrases in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignalsAnswer {
    /// 0: none were ever set; those of the contract are in force.
    pub version: u64,
    pub phrases: Open<Vec<RiskPhrase>>,
}
