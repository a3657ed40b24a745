//! Calls to Slack's Web API (<https://docs.slack.dev/apis/web-api/>) over the client that calls
//! tools, and what is remembered of the messages that were sent.

use crate::{
    Base, Channels, Parts,
    ports::{ToolAnswer, ToolCall},
};
use contracts::{
    WorkspaceId,
    channel::Provider,
    limits::{APPROVAL_LIFE_MS_MAX, MESSAGE_BYTES_MAX},
    manifest::Binding,
    text::clip,
};
use countersign_store::{Item, PortError, Query, Record, Write, encode, keys, keys::SentTo};
use cs_core::slack::Place;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Where Slack's API is.
const API: &str = "https://slack.com/api";
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Messages of one request that are remembered.
const MESSAGES_MAX: usize = 200;
/// What Slack will say again, whatever it is asked anew.
const FINAL: [&str; 14] = [
    "account_inactive",
    "cannot_dm_bot",
    "channel_not_found",
    "ekm_access_denied",
    "invalid_auth",
    "invalid_blocks",
    "is_archived",
    "missing_scope",
    "msg_too_long",
    "not_authed",
    "not_in_channel",
    "token_expired",
    "token_revoked",
    "user_not_found",
];

/// A workspace's app of Slack: where, and as whom it is called.
#[derive(Clone)]
pub struct SlackApp {
    api_url: String,
    token: String,
}

/// Why Slack did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlackError {
    #[error("Slack was not reached: {0}")]
    Unreached(String),
    /// It did not, or did not say that it did.
    #[error("Slack did not take it: {code}")]
    Refused { code: String, retry_after_ms: Option<i64> },
    /// It never will.
    #[error("Slack refuses it: {0}")]
    Final(String),
}

/// What is remembered of a message that asks for a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentMessage {
    /// Where it is; absent while it is being sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// It says what became of the request.
    #[serde(default)]
    pub ended: bool,
    /// How often it was tried.
    #[serde(default)]
    pub tries: u32,
    /// Somebody sends it until then, in milliseconds since 1970.
    #[serde(default)]
    pub claimed_until_ms: i64,
}

/// Slack.
pub struct Slack {
    base: Arc<Base>,
    channels: Arc<Channels>,
}

impl Slack {
    pub(crate) fn new(parts: &Parts, channels: Arc<Channels>) -> Self {
        Self { base: parts.base.clone(), channels }
    }

    /// The app of a channel. None: there is no such channel of Slack, or it has no token.
    pub async fn app(
        &self,
        workspace: &WorkspaceId,
        channel_key: &str,
    ) -> Result<Option<SlackApp>, PortError> {
        let opened = self.channels.open(workspace, channel_key).await?;
        let opened = opened.filter(|(stored, secrets)| {
            stored.provider == Provider::Slack && !secrets.token.is_empty()
        });
        Ok(opened.map(|(stored, secrets)| SlackApp {
            api_url: stored.api_url.unwrap_or_else(|| API.to_owned()),
            token: secrets.token,
        }))
    }

    /// Calls a method once.
    pub async fn call<T: Serialize>(
        &self,
        app: &SlackApp,
        (method, timeout_ms): (&str, u64),
        arguments: &T,
    ) -> Result<Value, SlackError> {
        let refused = |code: String| SlackError::Refused { code, retry_after_ms: None };
        let body = encode(arguments).map_err(|fault| refused(fault.to_string()))?;
        let call = ToolCall {
            binding: Binding::Http { url: format!("{}/{method}", app.api_url), method: None },
            body,
            headers: vec![
                ("content-type", "application/json; charset=utf-8".to_owned()),
                ("authorization", format!("Bearer {}", app.token)),
            ],
            timeout_ms,
            answer_bytes_max: ANSWER_BYTES_MAX,
            allow_private: self.base.config.allow_private_targets,
        };
        match self.base.ports.tools.call(call).await {
            ToolAnswer::Output(bytes) => answered(&bytes),
            ToolAnswer::Unreached(why) => Err(SlackError::Unreached(clip(why, MESSAGE_BYTES_MAX))),
            ToolAnswer::Failed(report) | ToolAnswer::Unknown(report) => Err(SlackError::Refused {
                retry_after_ms: report.retry_after_seconds.map(|after| i64::from(after) * 1_000),
                code: report.code,
            }),
            ToolAnswer::Unusable(report) => Err(refused(report.code)),
            ToolAnswer::Accepted | ToolAnswer::Queued { .. } => {
                Err(refused("accepted_without_an_answer".into()))
            }
        }
    }

    /// The messages about one request, or about one event, by the rest of their keys.
    pub async fn messages(
        &self,
        workspace: &WorkspaceId,
        subject: &str,
        about: &str,
    ) -> Result<Vec<(SentTo, Record<SentMessage>)>, PortError> {
        let (partition, prefix) = keys::sent_of(workspace, subject, about);
        let items = self.base.store.query(&Query::prefix(partition, &prefix, MESSAGES_MAX)).await?;
        let read = |(key, item): (countersign_store::Key, Item)| {
            let value = countersign_store::decode(&key, &item.body)?;
            let to = keys::sent_to(&key.sort)
                .ok_or_else(|| PortError::Corrupt("a remembered message is of nobody".into()))?;
            Ok((to, Record { version: item.version, value }))
        };
        items.into_iter().map(read).collect()
    }

    /// What is remembered of a message.
    pub async fn message(
        &self,
        workspace: &WorkspaceId,
        (subject, about): (&str, &str),
        to: &SentTo,
    ) -> Result<Record<SentMessage>, PortError> {
        self.base.store.record(&keys::sent(workspace, subject, about, to)).await
    }

    /// Remembers a message, if nobody was faster: the record as it is then.
    pub async fn remember(
        &self,
        workspace: &WorkspaceId,
        (subject, about, to): (&str, &str, &SentTo),
        record: &Record<SentMessage>,
        message: SentMessage,
    ) -> Result<Option<Record<SentMessage>>, PortError> {
        let key = keys::sent(workspace, subject, about, to);
        let mut write = record.replace(key, &message)?;
        if let Write::Put { item, .. } = &mut write {
            // No request is open for longer.
            let kept_ms = self.base.now().ms() + 2 * APPROVAL_LIFE_MS_MAX;
            item.expires_at = Some(kept_ms / 1_000);
        }
        let written = self.base.store.write(vec![write]).await?;
        Ok(written.then_some(Record { version: record.version + 1, value: message }))
    }
}

// Slack answers 200 and says in the body whether it did.
fn answered(bytes: &[u8]) -> Result<Value, SlackError> {
    let unread = || SlackError::Refused { code: "unreadable_answer".into(), retry_after_ms: None };
    let answer: Value = contracts::json::decode(bytes).map_err(|_| unread())?;
    if answer.get("ok") == Some(&Value::Bool(true)) {
        return Ok(answer);
    }
    let code = answer.get("error").and_then(Value::as_str).ok_or_else(unread)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if code.len() > 64 || !code.bytes().all(plain) {
        return Err(unread());
    }
    match FINAL.contains(&code) {
        true => Err(SlackError::Final(code.to_owned())),
        false => Err(SlackError::Refused { code: code.to_owned(), retry_after_ms: None }),
    }
}
