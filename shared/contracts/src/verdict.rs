//! Verdicts, risk tiers and effect classes: the closed scales.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a step or plan may run. Ordered: the worst is the greatest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// On its own.
    Autonomous,
    /// Once people approved.
    Assist,
    /// Not at all.
    Blocked,
}

/// How much can go wrong. Ordered.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum RiskTier {
    Low,
    Medium,
    High,
    Blocked,
}

/// What a repetition of the call would do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes nothing; may be repeated.
    Read,
    /// Changes something once per idempotency key; may be repeated with the same key.
    Idempotent,
    /// Each call counts: a lost outcome is `in_doubt`.
    NonIdempotent,
}

/// How an execution runs: `assist` puts every step before a human.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum RunMode {
    /// As the verdicts say.
    Autonomous,
    /// Every step waits for approval.
    Assist,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Autonomous => "autonomous",
            Self::Assist => "assist",
            Self::Blocked => "blocked",
        })
    }
}

impl std::fmt::Display for RiskTier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Blocked => "blocked",
        })
    }
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::NonIdempotent => "non_idempotent",
        })
    }
}
