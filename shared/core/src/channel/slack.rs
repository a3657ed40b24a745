//! Slack's Events API: <https://docs.slack.dev/apis/events-api/>, signed by
//! <https://docs.slack.dev/authentication/verifying-requests-from-slack/>.

use super::{
    Address, ChannelError, Delivery, Received, SLACK_AGE_SECONDS_MAX,
    json::{Document, said},
    mac,
};
use contracts::{
    Timestamp,
    channel::{InboundEvent, InboundMessage, InboundMetadata, Provider, Thread},
};

/// Messages with one of these subtypes are a person's; of others (edits, joins, bots) none is.
const PERSONS: [&str; 2] = ["thread_broadcast", "file_share"];

/// Checks the signature of any request of Slack, and that it was made just now.
pub fn check(delivery: &Delivery<'_>, secret: &str, now: Timestamp) -> Result<(), ChannelError> {
    let timestamp = delivery.header("x-slack-request-timestamp")?;
    let signature = delivery.header("x-slack-signature")?;
    let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: i64 = timestamp.parse().ok().filter(|_| digits).ok_or(ChannelError::Signature)?;
    let message = [b"v0:", timestamp.as_bytes(), b":", delivery.body];
    mac::check_hex(("v0=", signature), secret, &message)?;
    let age = (now.ms() / 1_000).checked_sub(seconds).ok_or(ChannelError::Late)?;
    if age.checked_abs().is_none_or(|age| age > SLACK_AGE_SECONDS_MAX) {
        return Err(ChannelError::Late);
    }
    Ok(())
}

pub(super) fn receive(
    address: &Address<'_>,
    delivery: &Delivery<'_>,
    secret: &str,
    now: Timestamp,
) -> Result<Received, ChannelError> {
    check(delivery, secret, now)?;
    let document = Document::parse(delivery.body)?;
    match document.str("/type") {
        Some("url_verification") => Ok(Received::Challenge(document.id("/challenge")?)),
        Some("event_callback") => {
            Ok(Received::Events(event(address, &document)?.into_iter().collect()))
        }
        Some(_) => Ok(Received::Events(Vec::new())),
        None => Err(ChannelError::Malformed("/type")),
    }
}

fn event(address: &Address<'_>, document: &Document) -> Result<Option<InboundEvent>, ChannelError> {
    // Looked at before anything else: without a team a user id is nobody's.
    let team = document.id("/team_id")?;
    let kind = document.id("/event/type")?;
    let subtype = document.str("/event/subtype");
    let persons = subtype.is_none_or(|subtype| PERSONS.contains(&subtype));
    let user = document.id_if_any("/event/user")?;
    let own = user.as_deref().is_some_and(|user| Some(user) == address.own_user_id);
    let words = matches!(kind.as_str(), "message" | "app_mention");
    if !words || !persons || own || document.has("/event/bot_id") || user.is_none() {
        return Ok(None);
    }
    let Some(text) = said(document.str("/event/text").unwrap_or_default().to_owned())? else {
        return Ok(None);
    };
    let message = document.id("/event/ts")?;
    // In a channel that teams share, who speaks may be of another one.
    let user_team = match document.id_if_any("/event/user_team")? {
        None => document.id_if_any("/event/team")?,
        known => known,
    };
    Ok(Some(InboundEvent {
        workspace_id: address.workspace.clone(),
        provider_key: Provider::Slack,
        external_event_id: document.id("/event_id")?,
        event_type: kind,
        occurred_at: document.seconds("/event_time")?,
        thread: Thread {
            external_thread_id: document
                .id_if_any("/event/thread_ts")?
                .unwrap_or_else(|| message.clone()),
            external_channel_id: Some(document.id("/event/channel")?),
            external_user_id: user,
        },
        message: Some(InboundMessage { text, external_message_id: Some(message) }),
        metadata: InboundMetadata { user_team: user_team.filter(|other| *other != team), team },
    }))
}
