//! Slack for people: the messages that ask for a decision, and what a press on their buttons says.
//! Slack's forms: <https://docs.slack.dev/reference/block-kit/blocks/>,
//! <https://docs.slack.dev/reference/interaction-payloads/>.
//!
//! INVARIANT (data-is-never-control): foreign text stands in elements that Slack does not read for
//! markup (`rich_text_preformatted`, `plain_text`); where there is nothing but `text`, `&`, `<` and
//! `>` are escaped, without which there is neither a link nor a mention.

mod message;
mod press;

#[cfg(test)]
mod tests;

pub use message::{Asked, Decided, Message, asked, decided, note, reason_modal};
pub use press::{Place, Press, Pressed, press};

use contracts::{Digest, ExecutionId, WorkspaceId, id::ApprovalId};
use serde::{Deserialize, Serialize};

/// Block of the buttons, and the beginning of their actions.
const BLOCK: &str = "countersign";
/// The button that approves.
const APPROVE: &str = "countersign.approve";
/// The button that asks why not.
const REJECT: &str = "countersign.reject";
/// The field that says why not.
const REASON: &str = "reason";

/// What a button is about: its value, and the hidden part of a dialogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    pub workspace: WorkspaceId,
    /// The channel whose app sent the message.
    pub channel_key: String,
    pub execution_id: ExecutionId,
    pub approval_id: ApprovalId,
    /// Of what the message shows.
    pub view_digest: Digest,
}

/// A text as Slack shows it, character by character (<https://docs.slack.dev/messaging/
/// formatting-message-text/#escaping>).
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
