//! Channels: how words of people outside come in, and how they are answered.

use crate::{Digest, Open, Timestamp, WorkspaceId, command::PlaybookCall, draft::Draft};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Who carries the words.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    Slack,
    Github,
    Telegram,
    /// WhatsApp by Meta's Cloud API.
    Whatsapp,
    /// WhatsApp by Twilio.
    Twilio,
}

impl Provider {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Slack, Self::Github, Self::Telegram, Self::Whatsapp, Self::Twilio];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Github => "github",
            Self::Telegram => "telegram",
            Self::Whatsapp => "whatsapp",
            Self::Twilio => "twilio",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No provider has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a provider of messages")]
pub struct UnknownProviderError;

impl std::str::FromStr for Provider {
    type Err = UnknownProviderError;
    fn from_str(text: &str) -> Result<Self, UnknownProviderError> {
        let found = Self::ALL.into_iter().find(|provider| provider.as_str() == text);
        found.ok_or(UnknownProviderError)
    }
}

/// What came in, the same for every provider. Everybody in it is named by an id that the provider
/// gave; what people call themselves is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InboundEvent {
    pub workspace_id: WorkspaceId,
    pub provider_key: Provider,
    /// The provider's id of the event: the same one sent again has the same.
    pub external_event_id: String,
    /// As the provider names it.
    pub event_type: String,
    pub occurred_at: Timestamp,
    pub thread: Thread,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<InboundMessage>,
    pub metadata: InboundMetadata,
}

/// Where something was said, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    pub external_thread_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_channel_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_user_id: Option<String>,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InboundMessage {
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_message_id: Option<String>,
}

/// What else is known of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InboundMetadata {
    /// Whose it is at the provider: see [`ChannelSource::team`].
    pub team: String,
    /// The team of who said it, where the provider says that it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_team: Option<String>,
}

/// From where a channel takes messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelSource {
    /// Slack: the team's id. GitHub: the owner of the repository. Telegram: the chat's id, or `*`
    /// for any chat with the bot. WhatsApp: the id of the business account. Twilio: the account's
    /// SID.
    pub team: String,
    /// Slack: channel ids. GitHub: `owner/repository`. WhatsApp: phone number ids. Twilio: own
    /// numbers, `whatsapp:+...`. Empty: all of the team's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub channels: BTreeSet<String>,
}

/// A part of a message that a playbook is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MessagePart {
    Text,
    UserId,
    ThreadId,
    ChannelId,
    MessageId,
}

/// What a message becomes. The first rule of a channel that fits decides; where none fits, nothing
/// is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelRule {
    /// A regular expression that is looked for in the text, without look-around. Absent: every
    /// message fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// A playbook is called. Of `playbook`, `draft` and neither: with neither, the text is
    /// submitted, and somebody compiles a draft for it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<PlaybookCall>,
    /// Inputs of the playbook that come from the message, by their name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, MessagePart>,
    /// This draft is submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
}

/// controlPlane.channel.put: adds a channel or replaces it. People only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutChannel {
    /// Lower-case letters, digits and `-`; at most 40. Its executions name it.
    pub channel_key: String,
    pub provider: Provider,
    /// What the provider signs with: Slack's signing secret, the secret of GitHub's webhook,
    /// Telegram's secret token, Meta's app secret, Twilio's auth token. Never shown again. Absent:
    /// as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<String>,
    /// What is sent is sent with: a bot token, a personal access token, an access token. Never
    /// shown again. Twilio needs none. Absent: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What Meta asks with whether the address is ours (`hub.verify_token`). Never shown again.
    /// Absent: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_token: Option<String>,
    /// Where the provider's API is, without a slash at the end; absent: its public one. With
    /// another address `token` is given anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    /// At least one.
    pub sources: Vec<ChannelSource>,
    /// The provider's id of the account that answers; what it says is ignored. GitHub needs it
    /// where `reply` is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_user_id: Option<String>,
    /// What messages become. Empty: nothing comes in, the channel only sends.
    #[serde(default)]
    pub rules: Vec<ChannelRule>,
    /// Who asked is told in the thread what came of it.
    #[serde(default)]
    pub reply: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A channel: everything but its secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelView {
    pub channel_key: String,
    pub provider: Open<Provider>,
    /// Where the provider sends to.
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    pub sources: Vec<ChannelSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_user_id: Option<String>,
    pub rules: Vec<ChannelRule>,
    pub reply: bool,
    /// The actor as whom it submits, an agent.
    pub actor_id: String,
    /// Which secrets it has: `signingSecret`, `token`, `verifyToken`.
    pub secrets: BTreeSet<String>,
    /// Digest of all of this: it stands in the workspace log.
    pub digest: Digest,
    pub updated_at: Timestamp,
}

/// controlPlane.channel.list
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListChannels {}

/// The channels of a workspace, by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelList {
    pub items: Vec<ChannelView>,
}

/// controlPlane.channel.remove
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveChannel {
    pub channel_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A channel has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelRemoved {
    pub removed: String,
}

/// What came in is kept; it is worked on after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelAcknowledged {
    /// Where the provider asked whether the address is ours: what it asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
}

/// What Meta asks with whether the address is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelChallenge {
    pub provider: Provider,
    /// The workspace and the channel's key, with a dot in between.
    #[serde(rename = "channelKey")]
    pub channel_key: String,
    #[serde(rename = "hub.mode")]
    pub mode: String,
    #[serde(rename = "hub.verify_token")]
    pub verify_token: String,
    #[serde(rename = "hub.challenge")]
    pub challenge: String,
}
