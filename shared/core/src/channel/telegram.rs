//! Telegram's bots: <https://core.telegram.org/bots/api#setwebhook>. The secret token is sent as it
//! is, so that only its transport protects it.

use super::{
    Address, ChannelError, Delivery, Received,
    json::{Document, said},
    mac,
};
use contracts::channel::{InboundEvent, InboundMessage, InboundMetadata, Provider, Thread};

pub(super) fn receive(
    address: &Address<'_>,
    delivery: &Delivery<'_>,
    secret: &str,
) -> Result<Received, ChannelError> {
    mac::check_token(delivery.header("x-telegram-bot-api-secret-token")?, secret)?;
    let document = Document::parse(delivery.body)?;
    let id = document.id("/update_id")?;
    Ok(Received::Events(event(address, id, &document)?.into_iter().collect()))
}

fn event(
    address: &Address<'_>,
    id: String,
    document: &Document,
) -> Result<Option<InboundEvent>, ChannelError> {
    // Edited messages and posts of channels have other names.
    if !document.has("/message") {
        return Ok(None);
    }
    let by_bot = document.get("/message/from/is_bot").is_none_or(|bot| *bot != false);
    if by_bot || document.has("/message/via_bot") {
        return Ok(None);
    }
    let user = document.id("/message/from/id")?;
    let text = document.str("/message/text").or_else(|| document.str("/message/caption"));
    let Some(text) = said(text.unwrap_or_default().to_owned())? else { return Ok(None) };
    if Some(user.as_str()) == address.own_user_id {
        return Ok(None);
    }
    let chat = document.id("/message/chat/id")?;
    let topic = document.id_if_any("/message/message_thread_id")?;
    Ok(Some(InboundEvent {
        workspace_id: address.workspace.clone(),
        provider_key: Provider::Telegram,
        external_event_id: id,
        event_type: "message".to_owned(),
        occurred_at: document.seconds("/message/date")?,
        thread: Thread {
            external_thread_id: topic.unwrap_or_else(|| chat.clone()),
            external_channel_id: Some(chat.clone()),
            external_user_id: Some(user),
        },
        message: Some(InboundMessage {
            text,
            external_message_id: Some(document.id("/message/message_id")?),
        }),
        metadata: InboundMetadata { team: chat, user_team: None },
    }))
}
