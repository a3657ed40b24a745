//! Subscriptions to stage events, and the secrets that sign what Countersign sends (Standard Webhooks).

use crate::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// controlPlane.subscription.create
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateSubscription {
    /// https; under the development flag http as well.
    pub url: String,
    /// Event types it wants, `controlPlane.` and key; none: all.
    #[serde(default)]
    pub types: Vec<String>,
}

/// A subscription: everything but its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    pub id: String,
    pub url: String,
    #[serde(default)]
    pub types: Vec<String>,
    pub created_at: Timestamp,
}

/// A new subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionCreated {
    #[serde(flatten)]
    pub subscription: Subscription,
    /// `whsec_` and base64: shown in this answer only, so that a repetition of the command has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// controlPlane.subscription.list
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListSubscriptions {}

/// The subscriptions of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionList {
    pub items: Vec<Subscription>,
}

/// controlPlane.subscription.remove and controlPlane.subscription.secret.rotate
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedSubscription {
    pub webhook_id: String,
}

/// A subscription has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionRemoved {
    pub removed: String,
}

/// controlPlane.tool.secret.rotate
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotateToolSecret {}

/// A secret became another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRotated {
    /// The new one, `whsec_` and base64: shown in this answer only, so that a repetition of the command has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Until then what is sent carries two signatures: by the new secret, and by the one before it.
    pub overlap_until: Timestamp,
}
