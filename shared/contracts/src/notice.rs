//! Who was told of what waits for people.

use crate::{Open, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of telling somebody.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum NoticeState {
    /// It was taken for the person.
    Sent,
    /// It was not taken yet, and is tried again.
    Waiting,
    /// It waits for the person's next digest.
    Gathered,
    /// It will not be taken.
    Failed,
    /// The directory knows no address of the person.
    NoAddress,
}

/// A person who is asked, and whether they were told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoticeView {
    pub person_id: String,
    pub state: Open<NoticeState>,
    /// By which way: `mail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    pub at: Timestamp,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminded_at: Option<Timestamp>,
}
