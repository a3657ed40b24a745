//! Subscriptions: where a workspace wants its stage events sent, signed by Standard Webhooks.

use crate::{
    Answer, Caller, Engine, bodies, keys,
    ports::{Condition, Fault, Item, NotCommitted, Publisher, ToolAnswer, ToolCall, Write},
    relay::webhook_headers,
};
use async_trait::async_trait;
use contracts::{Code, Issue, Problem, Timestamp, WorkspaceId, event::CloudEvent, manifest::Binding, names};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Grant that subscribes.
const GRANT: &str = "control-plane.webhooks";
/// Subscriptions of one workspace.
const WEBHOOKS_MAX: usize = 10;
/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;
/// Longest wait for a subscriber, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    pub id: String,
    pub url: String,
    /// Event types it wants, `controlPlane.` and key; empty: all.
    #[serde(default)]
    pub types: Vec<String>,
    pub created_at: Timestamp,
}

/// What is to be subscribed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewWebhook {
    pub url: String,
    #[serde(default)]
    pub types: Vec<String>,
}

impl Engine {
    /// The subscriptions of the caller's workspace.
    pub async fn list_webhooks(&self, caller: &Caller) -> Answer<Vec<Webhook>> {
        caller.require(GRANT)?;
        Ok(self.webhooks(&caller.workspace).await?.1)
    }

    /// Subscribes a URL.
    pub async fn create_webhook(&self, caller: &Caller, new: NewWebhook) -> Answer<Webhook> {
        caller.require(GRANT)?;
        let invalid = |pointer: &str, message: &str| {
            Problem::new(Code::ValidationFailed, "the subscription is not valid").issue(Issue::new(pointer, message))
        };
        let secure =
            new.url.starts_with("https://") || (self.config.allow_private_targets && new.url.starts_with("http://"));
        if !secure || new.url.len() > URL_BYTES_MAX {
            return Err(invalid("/url", "an https URL of at most 2048 bytes"));
        }
        let schemas = if new.types.is_empty() { Default::default() } else { contracts::openapi::event_schemas() };
        let titles = schemas.values().filter_map(|schema| schema.get("title")?.as_str());
        // Beside events, there are schemas of what surrounds them.
        let types: BTreeSet<&str> = titles.filter(|title| title.starts_with("controlPlane.")).collect();
        if let Some((index, kind)) = new.types.iter().enumerate().find(|(_, kind)| !types.contains(kind.as_str())) {
            let known = types.iter().copied();
            let issue = names::unknown(&format!("/types/{index}"), "type of event", kind, known);
            return Err(Problem::new(Code::ValidationFailed, "the subscription is not valid").issue(issue));
        }
        let id: String = self.ports.ids.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let webhook = Webhook { id, url: new.url, types: new.types, created_at: self.now() };
        let created = webhook.clone();
        self.change(&caller.workspace, move |webhooks| {
            if webhooks.len() >= WEBHOOKS_MAX {
                return Err(Problem::new(
                    Code::Conflict,
                    format!("a workspace has at most {WEBHOOKS_MAX} subscriptions"),
                ));
            }
            webhooks.push(created.clone());
            Ok(())
        })
        .await?;
        Ok(webhook)
    }

    /// Ends a subscription.
    pub async fn remove_webhook(&self, caller: &Caller, id: &str) -> Answer<()> {
        caller.require(GRANT)?;
        self.change(&caller.workspace, |webhooks| {
            let before = webhooks.len();
            webhooks.retain(|webhook| webhook.id != id);
            if webhooks.len() == before {
                return Err(Problem::new(Code::NotFound, format!("there is no subscription `{id}`")));
            }
            Ok(())
        })
        .await
    }

    async fn webhooks(&self, workspace: &WorkspaceId) -> Result<(u64, Vec<Webhook>), Fault> {
        let key = keys::webhooks(workspace);
        match self.ports.table.get(&key).await? {
            Some(item) => Ok((item.version, bodies::decode(&key, &item.body)?)),
            None => Ok((0, Vec::new())),
        }
    }

    async fn change(&self, workspace: &WorkspaceId, change: impl Fn(&mut Vec<Webhook>) -> Answer<()>) -> Answer<()> {
        for _ in 0..4 {
            let (version, mut webhooks) = self.webhooks(workspace).await?;
            change(&mut webhooks)?;
            let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            let item = Item { version: version + 1, ..bodies::item(1, &webhooks)? };
            let write = Write::Put { key: keys::webhooks(workspace), item, condition };
            match self.ports.table.transact(vec![write]).await {
                Ok(()) => return Ok(()),
                Err(NotCommitted::Condition(_)) => {}
                Err(NotCommitted::Fault(fault)) => return Err(fault.into()),
            }
        }
        Err(Problem::new(Code::Conflict, "the subscriptions are being changed; try again"))
    }
}

/// Publishes to the subscriptions of each workspace, or to one fixed URL.
pub struct Webhooks<'e> {
    engine: &'e Engine,
    fixed: Option<&'e str>,
}

impl<'e> Webhooks<'e> {
    /// To the subscriptions of each workspace.
    pub fn new(engine: &'e Engine) -> Self {
        Self { engine, fixed: None }
    }
    /// To one URL whatever the workspace.
    pub fn to(engine: &'e Engine, url: &'e str) -> Self {
        Self { engine, fixed: Some(url) }
    }

    async fn deliver(&self, secret: &str, url: &str, event: &CloudEvent) -> Result<(), Fault> {
        let body = bodies::encode(event)?;
        let id = event.id.hex().get(..32).unwrap_or_default();
        let mut headers = vec![("content-type", "application/cloudevents+json".to_owned())];
        let signed = webhook_headers(secret, id, self.engine.now(), &body);
        headers.extend(signed.ok_or_else(|| Fault::Corrupt("the workspace has no webhook secret".into()))?);
        let call = ToolCall {
            binding: Binding::Http { url: url.to_owned(), method: None },
            body,
            headers,
            timeout_ms: TIMEOUT_MS,
            answer_bytes_max: usize::from(u16::MAX),
            allow_private: self.engine.config().allow_private_targets,
        };
        match self.engine.ports().tools.call(call).await {
            ToolAnswer::Answered { status, .. } | ToolAnswer::TooLarge { status } if (200..300).contains(&status) => {
                Ok(())
            }
            ToolAnswer::Answered { status, .. } | ToolAnswer::TooLarge { status } => {
                Err(Fault::Unavailable(format!("the subscriber answered {status}")))
            }
            ToolAnswer::Unreached(why) | ToolAnswer::Lost(why) | ToolAnswer::Forbidden(why) => {
                Err(Fault::Unavailable(why))
            }
        }
    }
}

#[async_trait]
impl Publisher for Webhooks<'_> {
    async fn publish(&self, workspace: &WorkspaceId, events: &[CloudEvent]) -> (usize, Result<(), Fault>) {
        let targets = async {
            let secret = self
                .engine
                .settings(workspace)
                .await
                .map_err(|problem| Fault::Unavailable(problem.detail))?
                .webhook_secret;
            let targets = match self.fixed {
                Some(url) => vec![(url.to_owned(), Vec::new())],
                None => {
                    self.engine.webhooks(workspace).await?.1.into_iter().map(|hook| (hook.url, hook.types)).collect()
                }
            };
            Ok((secret, targets))
        };
        let (secret, targets): (String, Vec<(String, Vec<String>)>) = match targets.await {
            Ok(targets) => targets,
            Err(fault) => return (0, Err(fault)),
        };
        for (count, event) in events.iter().enumerate() {
            let kind = event.event.key();
            for (url, types) in &targets {
                if !(types.is_empty() || types.iter().any(|wanted| wanted == kind)) {
                    continue;
                }
                if let Err(fault) = self.deliver(&secret, url, event).await {
                    return (count, Err(fault));
                }
            }
        }
        (events.len(), Ok(()))
    }
}
