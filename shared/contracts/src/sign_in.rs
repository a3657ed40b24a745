//! How people sign in by the deployment's identity provider, and what a decision needs beside.

use crate::Open;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// controlPlane.sign-in.set: replaces the rules in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetSignIn {
    pub rules: SignInRules,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The rules of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignInRules {
    /// Which decisions need that the person signs in once more, for this very request.
    #[serde(default)]
    pub second_factor: SecondFactor,
}

/// Which decisions need a second factor.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SecondFactor {
    /// None does.
    #[default]
    None,
    /// Those on requests of high risk.
    HighRisk,
}

/// The rules in force, and who signs people in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignInView {
    pub second_factor: Open<SecondFactor>,
    /// The issuer of the deployment's identity provider; absent: none is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}
