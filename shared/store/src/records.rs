//! The bodies of stored items: heads of executions, what waits to be published, kept answers.

use crate::Stream;
use contracts::{
    Digest, ExecutionId, StepId, Timestamp, WorkspaceId, event::ActorKind, verdict::RiskTier,
    view::ViewMoney,
};
use cs_core::{
    execution::{Execution, ballot::Excluded, waiting::Waiting},
    trace,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who may claim and settle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    pub owner: String,
    pub expires_at: Timestamp,
}

/// A state machine that waits. Its token is honoured until `wait_until`, and not a moment longer: a
/// machine can end without a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredWait {
    pub token: String,
    pub wait_until: Timestamp,
}

/// The head of an execution: its state without the steps, the end of its chain, and what is no
/// evidence.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadRecord {
    pub execution: Execution,
    pub chain: trace::Head,
    /// The fence: grows with every new owner.
    pub epoch: u64,
    pub lease: Option<Lease>,
    /// The state machine that waits, if one said so.
    #[serde(default)]
    pub wait: Option<RegisteredWait>,
    /// Steps written with this version of the head.
    #[serde(default)]
    pub touched: Vec<StepId>,
    /// Approvals written with this version of the head, by their place.
    #[serde(default)]
    pub touched_approvals: Vec<usize>,
    /// Since when an approval has been asked for that nobody has decided.
    #[serde(default)]
    pub asked_since: Option<Timestamp>,
    /// How often driving was started; names each start.
    pub drives: u32,
    pub traceparent: Option<String>,
    /// Beginning of the text, for listings.
    pub title: String,
}

/// A [`HeadRecord`] on its way into the store.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeadView<'h> {
    pub(crate) execution: &'h Execution,
    pub(crate) chain: &'h trace::Head,
    pub(crate) epoch: u64,
    pub(crate) lease: Option<&'h Lease>,
    pub(crate) wait: Option<&'h RegisteredWait>,
    pub(crate) touched: Vec<&'h StepId>,
    pub(crate) touched_approvals: Vec<usize>,
    pub(crate) asked_since: Option<Timestamp>,
    pub(crate) drives: u32,
    pub(crate) traceparent: Option<&'h str>,
    pub(crate) title: &'h str,
}

/// An execution that waits for people, as small as the inbox shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeopleRecord {
    pub execution_id: ExecutionId,
    /// Beginning of the intent's text.
    pub text: String,
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_kind: Option<ActorKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_tier: Option<RiskTier>,
    /// Money and recipients that the plan touches, as far as they are known before it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub money: Vec<ViewMoney>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u64>,
    /// Whose decisions do not count, and why.
    pub excluded: Excluded,
    pub waiting: Vec<Waiting>,
}

/// What is not yet sent of one commit of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxRecord {
    pub workspace: WorkspaceId,
    pub stream: Stream,
    pub from_seq: u64,
    pub to_seq: u64,
    /// When it was committed.
    #[serde(default)]
    pub at: Timestamp,
    /// The stream ends with them, for now: its head goes into the transparency log.
    #[serde(default)]
    pub ends: bool,
}

/// An answer kept for repetitions of its command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdempotencyRecord {
    pub request: Digest,
    pub response: Value,
}
