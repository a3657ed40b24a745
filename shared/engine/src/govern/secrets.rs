//! Secrets that sign what Countersign sends, by Standard Webhooks: of each subscription, and of the
//! calls to tools.
//!
//! Each is shown once, when it is made. What is stored is encrypted under the deployment's data
//! key, which lies outside the table, and is bound to where it lies. A secret that was rotated
//! signs along until its overlap ends: what is sent carries both signatures.

use crate::{Access, Answer, Caller, Vault, boxed, records::Settings, run::vault::Wrapped};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{
    Timestamp,
    event::{ToolSecretRotated, WorkspaceEvent},
    subscription::{RotateToolSecret, SecretRotated},
};
use countersign_store::{Change, Key, PortError, Record, keys};
use serde::{Deserialize, Serialize};

/// Grant that rotates the secret of tool calls.
const GRANT: &str = "control-plane.tools";
/// How long a secret that was rotated signs along, in milliseconds: a day.
const OVERLAP_MS: i64 = 24 * 3_600_000;

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

impl Vault {
    /// A new secret: as it is shown, and as it is kept under a key of the table.
    pub(crate) async fn new_secret(&self, place: &Key) -> Result<(String, KeptSecret), PortError> {
        let secret = format!("whsec_{}", B64.encode(self.base.ports.ids.secret()));
        let current = self.wrap(place, secret.as_bytes()).await?;
        Ok((secret, KeptSecret { current, previous: None }))
    }

    /// The secrets that sign now: the current one, then the one before it while their overlap
    /// lasts.
    pub(crate) async fn open_secrets(
        &self,
        place: &Key,
        kept: &KeptSecret,
        now: Timestamp,
    ) -> Result<Vec<String>, PortError> {
        let previous = kept
            .previous
            .as_ref()
            .filter(|previous| now < previous.until)
            .map(|previous| &previous.secret);
        let mut secrets = Vec::new();
        for wrapped in std::iter::once(&kept.current).chain(previous) {
            let plain = self.unwrap(place, wrapped).await?;
            secrets.push(
                String::from_utf8(plain)
                    .map_err(|_| PortError::Corrupt("a secret is no text".into()))?,
            );
        }
        Ok(secrets)
    }

    /// The secrets that sign calls to a workspace's tools.
    pub(crate) async fn tool_secrets(
        &self,
        workspace: &contracts::WorkspaceId,
    ) -> Answer<Vec<String>> {
        let settings = self.in_force.settings(workspace).await?;
        Ok(self
            .open_secrets(&keys::settings(workspace), &settings.tool_secret, self.base.now())
            .await?)
    }
}

impl Access {
    /// controlPlane.tool.secret.rotate: a person learns the secret that signs calls to tools, which
    /// becomes another.
    #[boxed]
    pub async fn rotate_tool_secret(
        &self,
        caller: &Caller,
        request: RotateToolSecret,
    ) -> Answer<SecretRotated> {
        caller.require_person(GRANT)?;
        let (key, author) = (keys::settings(&caller.workspace), caller.author(self.base.now()));
        let (secret, fresh) = self.vault.new_secret(&key).await?;
        let changed = self.base.store.change(&author, ("tool.secret.rotate", &request), || {
            Box::pin(async {
                let item = self.base.store.get(&key).await?.ok_or_else(countersign_store::busy)?;
                let settings: Settings = countersign_store::decode(&key, &item.body)?;
                let mut stored = Record { version: item.version, value: settings };
                let at = self.base.now();
                let overlap_until = stored.value.tool_secret.rotate(fresh.clone(), at);
                let event = WorkspaceEvent::ToolSecretRotated(ToolSecretRotated {
                    key: "tools".into(),
                    at,
                    actor_id: caller.actor.id.clone(),
                    overlap_until,
                });
                let write = stored.replace(key.clone(), &stored.value)?;
                let answer = SecretRotated { secret: None, overlap_until };
                Ok(Change::new(answer, event, vec![write]))
            })
        });
        let changed = changed.await?;
        Ok(changed.once(|answer| SecretRotated { secret: Some(secret), ..answer }))
    }
}
