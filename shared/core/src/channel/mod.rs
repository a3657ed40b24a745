//! Inbound channels: what a provider sends is verified over its raw bytes and normalised.
//!
//! INVARIANT (identity-from-transport): everybody is named by the ids that the provider gives, and
//! only in what it signed; what people call themselves is never read. INVARIANT (fail-closed): a
//! header that is missing, a signature that does not fit and a document of another form are errors.

mod github;
mod json;
mod mac;
mod reply;
mod rules;
mod slack;
mod telegram;
mod twilio;
mod whatsapp;

#[cfg(test)]
mod tests;

pub(crate) use json::Document;
pub use reply::{Origin, Outbound, Sender, is_taken, reply};
pub use rules::{RuleError, check_rules, chosen, fill};
pub use slack::check as check_slack;

use contracts::{
    Timestamp, WorkspaceId,
    channel::{ChannelSource, InboundEvent, Provider},
    limits::{CHANNEL_EVENTS_MAX, CHANNEL_FIELDS_MAX},
};
use std::collections::BTreeMap;

/// Headers that tell who sent a request, in lower case.
pub const HEADERS: [&str; 8] = [
    "content-type",
    "x-github-delivery",
    "x-github-event",
    "x-hub-signature-256",
    "x-slack-request-timestamp",
    "x-slack-signature",
    "x-telegram-bot-api-secret-token",
    "x-twilio-signature",
];

/// A request of a provider as it came.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'r> {
    /// Those of [`HEADERS`] that it has, by name in lower case.
    pub headers: &'r BTreeMap<String, String>,
    /// The raw body.
    pub body: &'r [u8],
    /// Where the provider was told to send it, in full.
    pub url: &'r str,
}

impl<'r> Delivery<'r> {
    pub(crate) fn header(&self, name: &'static str) -> Result<&'r str, ChannelError> {
        self.headers.get(name).map(String::as_str).ok_or(ChannelError::Missing(name))
    }
}

/// Whose channel it is that a request is for.
#[derive(Clone, Copy, Debug)]
pub struct Address<'r> {
    pub workspace: &'r WorkspaceId,
    pub provider: Provider,
    /// The provider's id of the account that answers.
    pub own_user_id: Option<&'r str>,
}

/// What a provider sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It asks whether the address is ours, and wants this back.
    Challenge(String),
    /// What people said, without what bots or we ourselves said; none: nothing for us.
    Events(Vec<InboundEvent>),
}

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    #[error("the header `{0}` is missing")]
    Missing(&'static str),
    #[error("the signature does not fit")]
    Signature,
    #[error("the request was signed more than {SLACK_AGE_SECONDS_MAX} seconds ago, or will be")]
    Late,
    #[error("the document is not of the provider's form: {0}")]
    Malformed(&'static str),
    #[error("the message is longer than {} bytes", contracts::limits::TEXT_BYTES_MAX)]
    TooLong,
    #[error("more than {CHANNEL_EVENTS_MAX} messages at once")]
    TooMany,
}

impl ChannelError {
    /// Whether it was not shown that the provider sent it.
    pub const fn is_unauthenticated(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Signature | Self::Late => true,
            Self::Malformed(_) | Self::TooLong | Self::TooMany => false,
        }
    }
}

/// How old a signed request of Slack may be, in seconds, and how far in the future.
pub const SLACK_AGE_SECONDS_MAX: i64 = 300;

/// Verifies what a provider sent, and normalises it.
pub fn receive(
    address: &Address<'_>,
    delivery: &Delivery<'_>,
    secret: &str,
    now: Timestamp,
) -> Result<Received, ChannelError> {
    // A secret of no bytes would be everybody's.
    if secret.is_empty() {
        return Err(ChannelError::Signature);
    }
    let received = match address.provider {
        Provider::Slack => slack::receive(address, delivery, secret, now),
        Provider::Github => github::receive(address, delivery, secret),
        Provider::Telegram => telegram::receive(address, delivery, secret),
        Provider::Whatsapp => whatsapp::receive(address, delivery, secret),
        Provider::Twilio => twilio::receive(address, delivery, secret, now),
    }?;
    match &received {
        Received::Events(events) if events.len() > CHANNEL_EVENTS_MAX => Err(ChannelError::TooMany),
        Received::Events(_) | Received::Challenge(_) => Ok(received),
    }
}

/// Answers a provider that asks by GET whether the address is ours (Meta's `hub.challenge`).
pub fn challenge(query: &str, verify_token: &str) -> Result<u64, ChannelError> {
    whatsapp::challenge(&fields(query.as_bytes())?, verify_token)
}

/// Whether an event comes from one of the sources of a channel.
pub fn is_from(event: &InboundEvent, sources: &[ChannelSource]) -> bool {
    let any_chat = |source: &ChannelSource| {
        event.provider_key == Provider::Telegram && source.team == "*" && source.channels.is_empty()
    };
    let channel = event.thread.external_channel_id.as_deref().unwrap_or_default();
    sources.iter().any(|source| {
        any_chat(source)
            || (source.team == event.metadata.team
                && (source.channels.is_empty() || source.channels.contains(channel)))
    })
}

/// The fields of a form or a query; refused where one stands there twice.
pub(crate) fn fields(text: &[u8]) -> Result<BTreeMap<String, String>, ChannelError> {
    let mut fields = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(text) {
        if fields.len() >= CHANNEL_FIELDS_MAX {
            return Err(ChannelError::Malformed("too many fields"));
        }
        if fields.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(ChannelError::Malformed("a field stands there twice"));
        }
    }
    Ok(fields)
}
