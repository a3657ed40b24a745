//! WhatsApp by Twilio: a form, <https://www.twilio.com/docs/messaging/guides/webhook-request>,
//! signed by <https://www.twilio.com/docs/usage/security#validating-requests>.

use super::{
    Address, ChannelError, Delivery, Received, fields,
    json::{external_id, said},
    mac,
};
use contracts::{
    Timestamp,
    channel::{InboundEvent, InboundMessage, InboundMetadata, Provider, Thread},
};
use std::collections::BTreeMap;

/// The parts of WhatsApp's numbers before the number.
const WHATSAPP: &str = "whatsapp:";

pub(super) fn receive(
    address: &Address<'_>,
    delivery: &Delivery<'_>,
    secret: &str,
    now: Timestamp,
) -> Result<Received, ChannelError> {
    let signature = delivery.header("x-twilio-signature")?;
    let fields = fields(delivery.body)?;
    mac::check_sha1(signature, secret, signed(delivery.url, &fields).as_bytes())?;
    Ok(Received::Events(event(address, &fields, now)?.into_iter().collect()))
}

// The URL, and the fields by name, without anything in between.
fn signed(url: &str, fields: &BTreeMap<String, String>) -> String {
    fields.iter().fold(url.to_owned(), |text, (name, value)| text + name + value)
}

fn event(
    address: &Address<'_>,
    fields: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<Option<InboundEvent>, ChannelError> {
    let field = |name: &'static str| {
        let value = fields.get(name).ok_or(ChannelError::Malformed(name))?;
        external_id(value.clone())
    };
    // What became of our own messages comes with a status.
    let inbound = fields.get("SmsStatus").is_none_or(|status| status == "received")
        && !fields.contains_key("MessageStatus");
    let user = field("From")?;
    if !inbound || !user.starts_with(WHATSAPP) || Some(user.as_str()) == address.own_user_id {
        return Ok(None);
    }
    let Some(text) = said(fields.get("Body").cloned().unwrap_or_default())? else {
        return Ok(None);
    };
    let id = field("MessageSid")?;
    Ok(Some(InboundEvent {
        workspace_id: address.workspace.clone(),
        provider_key: Provider::Twilio,
        external_event_id: id.clone(),
        event_type: "message".to_owned(),
        // Twilio does not say when.
        occurred_at: now,
        thread: Thread {
            external_thread_id: user.clone(),
            external_channel_id: Some(field("To")?),
            external_user_id: Some(user),
        },
        message: Some(InboundMessage { text, external_message_id: Some(id) }),
        metadata: InboundMetadata { team: field("AccountSid")?, user_team: None },
    }))
}
