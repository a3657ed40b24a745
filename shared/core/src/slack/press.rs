//! What a press on a button, or the dialogue behind it, says. Nothing of it is believed before the
//! signature over the raw request holds.

use super::{APPROVE, REASON, REJECT, Subject};
use crate::channel::{ChannelError, Document, fields};
use serde::{Deserialize, Serialize};

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    pub channel: String,
    pub ts: String,
}

/// Who pressed, and about what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pressed {
    pub subject: Subject,
    /// The message with the button.
    pub place: Place,
    pub team_id: String,
    pub user_id: String,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Press {
    Approve(Pressed),
    /// The dialogue for the reason is to be opened.
    AskReason {
        pressed: Pressed,
        trigger_id: String,
    },
    Reject {
        pressed: Pressed,
        reason: String,
    },
}

/// The hidden part of the dialogue.
#[derive(Deserialize)]
struct Hidden {
    subject: Subject,
    place: Place,
}

/// Reads the form that Slack sends.
pub fn press(body: &[u8]) -> Result<Press, ChannelError> {
    let form = fields(body)?;
    let payload = form.get("payload").ok_or(ChannelError::Malformed("payload"))?;
    let document = Document::parse(payload.as_bytes())?;
    // Without a team a user id is nobody's; and who is of another team is not the one of this.
    let team_id = document.id("/team/id")?;
    let user_id = document.id("/user/id")?;
    if document.id_if_any("/user/team_id")?.is_some_and(|own| own != team_id) {
        return Err(ChannelError::Malformed("/user/team_id"));
    }
    match document.str("/type") {
        Some("block_actions") => {
            let subject = document.str("/actions/0/value").unwrap_or_default();
            let subject = contracts::json::decode::<Subject>(subject.as_bytes());
            let subject = subject.map_err(|_| ChannelError::Malformed("/actions/0/value"))?;
            let place = Place {
                channel: document.id("/channel/id")?,
                ts: document.id("/container/message_ts")?,
            };
            let pressed = Pressed { subject, place, team_id, user_id };
            match document.str("/actions/0/action_id") {
                Some(APPROVE) => Ok(Press::Approve(pressed)),
                Some(REJECT) => {
                    Ok(Press::AskReason { pressed, trigger_id: document.id("/trigger_id")? })
                }
                _ => Err(ChannelError::Malformed("/actions/0/action_id")),
            }
        }
        Some("view_submission") if document.is("/view/callback_id", REJECT) => {
            let hidden = document.str("/view/private_metadata").unwrap_or_default();
            let hidden = contracts::json::decode::<Hidden>(hidden.as_bytes());
            let Hidden { subject, place } =
                hidden.map_err(|_| ChannelError::Malformed("/view/private_metadata"))?;
            let reason = document.str(&format!("/view/state/values/{REASON}/{REASON}/value"));
            let reason = reason.unwrap_or_default().to_owned();
            let pressed = Pressed { subject, place, team_id, user_id };
            Ok(Press::Reject { pressed, reason })
        }
        _ => Err(ChannelError::Malformed("/type")),
    }
}
