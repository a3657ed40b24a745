//! Subscriptions to stage events, and the secrets that sign what Countersign sends (Standard
//! Webhooks).

use crate::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// controlPlane.subscription.create
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateSubscription {
    /// An https URL (under the development flag http as well), `mailto:` and one mail address, or
    /// `slack:`, the key of a channel, `/` and the id of a channel of Slack or `@people`.
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
    /// Of a webhook: `whsec_` and base64, shown in this answer only, so that a repetition of the
    /// command has none. Mails are not signed.
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
    pub items: Vec<SubscriptionStatus>,
}

/// How the target of a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TargetState {
    /// Nothing failed since the last success.
    Working,
    /// Some deliveries failed; others are still sent.
    Failing,
    /// It is not called but to see whether it is back.
    Down,
}

/// A subscription, and how its deliveries are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionStatus {
    #[serde(flatten)]
    pub subscription: Subscription,
    pub state: TargetState,
    /// To about a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<DeliveryFailure>,
    /// Streams (executions, and the log) of which something waits to be sent again.
    pub waiting: u64,
    /// Streams that were given up: dead letters.
    pub dead: u64,
    /// There are more than were counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead_letters: Vec<DeadLetter>,
}

/// A delivery that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryFailure {
    pub at: Timestamp,
    pub message: String,
}

/// A stream that was given up for one target. What comes later of it waits behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// An execution; `log` for the workspace log.
    pub subject: String,
    /// The first event that was not delivered.
    pub sequence: u64,
    pub since: Timestamp,
    /// Until then it can be redelivered.
    pub until: Timestamp,
    pub message: String,
}

/// controlPlane.subscription.remove, controlPlane.subscription.secret.rotate and
/// controlPlane.subscription.test
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

/// What came of a test event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionTested {
    pub delivered: bool,
    /// The test event's id, as the subscriber gets it.
    pub event_id: String,
    /// Why it was not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// controlPlane.subscription.redeliver
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedeliverSubscription {
    pub webhook_id: String,
    /// An execution, or `log`; none: all dead letters of the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// Dead letters are sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionRedelivered {
    /// Streams that are tried again from now on.
    pub redelivered: u64,
    /// Of those, how many were delivered in full by this answer.
    pub delivered: u64,
    /// There are more dead letters than one command takes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// controlPlane.tool.secret.rotate
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotateToolSecret {}

/// A secret became another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRotated {
    /// The new one, `whsec_` and base64: shown in this answer only, so that a repetition of the
    /// command has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Until then what is sent carries two signatures: by the new secret, and by the one before it.
    pub overlap_until: Timestamp,
}
