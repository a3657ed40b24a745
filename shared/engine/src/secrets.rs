//! Secrets that sign what Countersign sends, by Standard Webhooks: of each subscription, and of the calls to tools.
//!
//! Each is shown once, when it is made. What is stored is encrypted under the deployment's data key, which lies outside
//! the table, and is bound to where it lies. A secret that was rotated signs along until its overlap ends: what is sent
//! carries both signatures.

use crate::{
    Answer, Caller, Engine, bodies, boxed, keys,
    ports::{Condition, Fault, Key, Write},
    records::Settings,
    vault::Wrapped,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{
    Timestamp,
    event::{Event, ToolSecretRotated},
    subscription::{RotateToolSecret, SecretRotated},
};
use serde::{Deserialize, Serialize};

/// Grant that rotates the secret of tool calls.
const GRANT: &str = "control-plane.tools";
/// How long a secret that was rotated signs along, in milliseconds: a day.
const OVERLAP_MS: i64 = 24 * 3_600_000;
const TRIES_MAX: u32 = 8;

/// A secret as stored, and the one before it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeptSecret {
    current: Wrapped,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Previous>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Previous {
    secret: Wrapped,
    until: Timestamp,
}

impl KeptSecret {
    /// Puts another one in its place. Says until when the one before it signs along.
    pub(crate) fn rotate(&mut self, fresh: Self, now: Timestamp) -> Timestamp {
        let until = now.plus_ms(OVERLAP_MS);
        let secret = std::mem::replace(&mut self.current, fresh.current);
        self.previous = Some(Previous { secret, until });
        until
    }
}

impl Engine {
    /// A new secret: as it is shown, and as it is kept under a key of the table.
    pub(crate) async fn new_secret(&self, place: &Key) -> Result<(String, KeptSecret), Fault> {
        let secret = format!("whsec_{}", B64.encode(self.ports.ids.secret()));
        let current = self.wrap(place, secret.as_bytes()).await?;
        Ok((secret, KeptSecret { current, previous: None }))
    }

    /// The secrets that sign now: the current one, then the one before it while their overlap lasts.
    pub(crate) async fn open_secrets(
        &self,
        place: &Key,
        kept: &KeptSecret,
        now: Timestamp,
    ) -> Result<Vec<String>, Fault> {
        let previous =
            kept.previous.as_ref().filter(|previous| now < previous.until).map(|previous| &previous.secret);
        let mut secrets = Vec::new();
        for wrapped in std::iter::once(&kept.current).chain(previous) {
            let plain = self.unwrap(place, wrapped).await?;
            secrets.push(String::from_utf8(plain).map_err(|_| Fault::Corrupt("a secret is no text".into()))?);
        }
        Ok(secrets)
    }

    /// The secrets that sign calls to a workspace's tools.
    pub(crate) async fn tool_secrets(&self, workspace: &contracts::WorkspaceId) -> Answer<Vec<String>> {
        let settings = self.settings(workspace).await?;
        Ok(self.open_secrets(&keys::settings(workspace), &settings.tool_secret, self.now()).await?)
    }

    /// controlPlane.tool.secret.rotate: a person learns the secret that signs calls to tools, which becomes another.
    #[boxed]
    pub async fn rotate_tool_secret(&self, caller: &Caller, request: RotateToolSecret) -> Answer<SecretRotated> {
        caller.require_person(GRANT)?;
        let (once, given) = self.once(caller, "tool.secret.rotate", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let (key, stamp) = (keys::settings(&caller.workspace), caller.stamp(self.now()));
        let (secret, fresh) = self.new_secret(&key).await?;
        for _ in 0..TRIES_MAX {
            let item = self.ports.table.get(&key).await?.ok_or_else(crate::busy)?;
            let mut settings: Settings = bodies::decode(&key, &item.body)?;
            let overlap_until = settings.tool_secret.rotate(fresh.clone(), stamp.at);
            let answer = SecretRotated { secret: None, overlap_until };
            let event = Event::ToolSecretRotated(ToolSecretRotated {
                key: "tools".into(),
                at: stamp.at,
                actor_id: stamp.actor.id.clone(),
                overlap_until,
            });
            let mut writes = vec![Write::Put {
                key: key.clone(),
                item: bodies::item(item.version + 1, &settings)?,
                condition: Condition::VersionIs(item.version),
            }];
            writes.extend(self.once_write(once.as_ref(), &answer).await?);
            if self.journal(caller, vec![event], writes, false).await? {
                return Ok(SecretRotated { secret: Some(secret), ..answer });
            }
        }
        Err(crate::busy())
    }
}

/// Scheme, host and port of a URL: what evidence says of it.
pub(crate) fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}
