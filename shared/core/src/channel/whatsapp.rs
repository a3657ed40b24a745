//! WhatsApp by Meta's Cloud API:
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components>, signed by
//! <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>.

use super::{
    Address, ChannelError, Delivery, Received,
    json::{Document, said},
    mac,
};
use contracts::channel::{InboundEvent, InboundMessage, InboundMetadata, Provider, Thread};
use std::collections::BTreeMap;

/// Where the words of a message are, by its type.
const WORDS: [&str; 5] = [
    "/text/body",
    "/button/text",
    "/interactive/button_reply/title",
    "/interactive/list_reply/title",
    "/image/caption",
];

/// Meta asks whether the address is ours.
pub(super) fn challenge(
    query: &BTreeMap<String, String>,
    verify_token: &str,
) -> Result<u64, ChannelError> {
    let field = |name: &'static str| query.get(name).ok_or(ChannelError::Missing(name));
    if verify_token.is_empty() {
        return Err(ChannelError::Signature);
    }
    mac::check_token(field("hub.verify_token")?, verify_token)?;
    if field("hub.mode")? != "subscribe" {
        return Err(ChannelError::Malformed("hub.mode"));
    }
    // "An int you must pass back": its digits are the answer.
    let asked = field("hub.challenge")?;
    let number: Option<u64> = asked.parse().ok();
    let number = number.filter(|number| number.to_string() == *asked);
    number.ok_or(ChannelError::Malformed("hub.challenge"))
}

pub(super) fn receive(
    address: &Address<'_>,
    delivery: &Delivery<'_>,
    secret: &str,
) -> Result<Received, ChannelError> {
    let signature = delivery.header("x-hub-signature-256")?;
    mac::check_hex(("sha256=", signature), secret, &[delivery.body])?;
    let document = Document::parse(delivery.body)?;
    if !document.is("/object", "whatsapp_business_account") {
        return Ok(Received::Events(Vec::new()));
    }
    let mut events = Vec::new();
    for entry in document.parts("/entry") {
        let team = entry.id("/id")?;
        for change in entry.parts("/changes") {
            // What we send comes back as `statuses` and as another field.
            if !change.is("/field", "messages") {
                continue;
            }
            for message in change.parts("/value/messages") {
                let number = change.id("/value/metadata/phone_number_id")?;
                events.extend(event(address, (&team, number), &message)?);
            }
        }
    }
    Ok(Received::Events(events))
}

fn event(
    address: &Address<'_>,
    (team, number): (&str, String),
    message: &Document,
) -> Result<Option<InboundEvent>, ChannelError> {
    let user = message.id("/from")?;
    let text = WORDS.iter().find_map(|pointer| message.str(pointer)).unwrap_or_default();
    let Some(text) = said(text.to_owned())? else { return Ok(None) };
    if Some(user.as_str()) == address.own_user_id {
        return Ok(None);
    }
    let id = message.id("/id")?;
    Ok(Some(InboundEvent {
        workspace_id: address.workspace.clone(),
        provider_key: Provider::Whatsapp,
        external_event_id: id.clone(),
        event_type: message.id("/type")?,
        occurred_at: message.seconds("/timestamp")?,
        thread: Thread {
            external_thread_id: message.id_if_any("/group_id")?.unwrap_or_else(|| user.clone()),
            external_channel_id: Some(number),
            external_user_id: Some(user),
        },
        message: Some(InboundMessage { text, external_message_id: Some(id) }),
        metadata: InboundMetadata { team: team.to_owned(), user_team: None },
    }))
}
