//! Subscriptions: where a workspace wants its stage events sent, each signed by a secret of its own.

use crate::{
    Answer, Caller, Engine, bodies, boxed, keys,
    ports::{Condition, Fault, Item, Publisher, Query, Reply, ToolAnswer, ToolCall, Write},
    relay::webhook_headers,
    secrets::{KeptSecret, origin},
};
use async_trait::async_trait;
use contracts::{
    Code, Issue, Problem, WorkspaceId,
    event::{CloudEvent, Event, SubscriptionChanged},
    manifest::Binding,
    names,
    subscription::{
        CreateSubscription, ListSubscriptions, NamedSubscription, SecretRotated, Subscription, SubscriptionCreated,
        SubscriptionList, SubscriptionRemoved,
    },
};
use cs_core::trace::Stamp;
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
const TRIES_MAX: u32 = 8;

/// A subscription as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSubscription {
    #[serde(flatten)]
    subscription: Subscription,
    secret: KeptSecret,
}

/// What one change of the subscriptions does: the event that says so, and the answer.
type Change<R> = Answer<(Event, R)>;

impl Engine {
    /// controlPlane.subscription.list
    #[boxed]
    pub async fn list_webhooks(&self, caller: &Caller, _: ListSubscriptions) -> Answer<SubscriptionList> {
        caller.require(GRANT)?;
        let stored = self.webhooks(&caller.workspace).await?.1;
        Ok(SubscriptionList { items: stored.into_iter().map(|stored| stored.subscription).collect() })
    }

    /// controlPlane.subscription.create: its secret is in the answer, and nowhere else to be read.
    #[boxed]
    pub async fn create_webhook(&self, caller: &Caller, request: CreateSubscription) -> Answer<SubscriptionCreated> {
        caller.require(GRANT)?;
        let (once, given) = self.once(caller, "subscription.create", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let stamp = caller.stamp(self.now());
        self.subscribe(&caller.workspace, &stamp, request, once.as_ref()).await
    }

    /// Subscribes a URL on the deployment's own authority. None where it is subscribed.
    pub async fn deploy_webhook(&self, workspace: &WorkspaceId, url: &str) -> Answer<Option<SubscriptionCreated>> {
        if self.webhooks(workspace).await?.1.iter().any(|stored| stored.subscription.url == url) {
            return Ok(None);
        }
        let request = CreateSubscription { url: url.to_owned(), types: Vec::new() };
        self.subscribe(workspace, &self.deployment_stamp(), request, None).await.map(Some)
    }

    async fn subscribe(
        &self,
        workspace: &WorkspaceId,
        stamp: &Stamp,
        request: CreateSubscription,
        once: Option<&crate::commit::Once>,
    ) -> Answer<SubscriptionCreated> {
        self.check_subscription(&request)?;
        let (secret, kept) = self.new_secret(&keys::webhooks(workspace)).await?;
        let id: String = self.ports.ids.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let subscription = Subscription { id, url: request.url, types: request.types, created_at: stamp.at };
        let answer = SubscriptionCreated { subscription: subscription.clone(), secret: None };
        self.change_webhooks(workspace, stamp, once, |webhooks| {
            if webhooks.len() >= WEBHOOKS_MAX {
                let message = format!("a workspace has at most {WEBHOOKS_MAX} subscriptions");
                return Err(Problem::new(Code::Conflict, message));
            }
            webhooks.push(StoredSubscription { subscription: subscription.clone(), secret: kept.clone() });
            Ok((Event::SubscriptionCreated(changed(&subscription, stamp)), answer.clone()))
        })
        .await?;
        Ok(SubscriptionCreated { secret: Some(secret), ..answer })
    }

    fn check_subscription(&self, request: &CreateSubscription) -> Answer<()> {
        let invalid = |pointer: &str, message: &str| {
            Problem::new(Code::ValidationFailed, "the subscription is not valid").issue(Issue::new(pointer, message))
        };
        let url = &request.url;
        let secure = url.starts_with("https://") || (self.config.allow_private_targets && url.starts_with("http://"));
        if !secure || url.len() > URL_BYTES_MAX {
            return Err(invalid("/url", "an https URL of at most 2048 bytes"));
        }
        // As it is stored it is called: nothing in it is passed over, and there is somebody to call.
        let plain = url.bytes().all(|byte| byte.is_ascii_graphic());
        let reaches = url::Url::parse(url).is_ok_and(|url| {
            url.username().is_empty() && url.password().is_none() && url.has_host() && url.port() != Some(0)
        });
        if !plain || !reaches {
            return Err(invalid("/url", "a URL without blanks, user name and password, with a port that exists"));
        }
        let schemas = if request.types.is_empty() { Default::default() } else { contracts::openapi::event_schemas() };
        let titles = schemas.values().filter_map(|schema| schema.get("title")?.as_str());
        // Beside events, there are schemas of what surrounds them.
        let types: BTreeSet<&str> = titles.filter(|title| title.starts_with("controlPlane.")).collect();
        match request.types.iter().enumerate().find(|(_, kind)| !types.contains(kind.as_str())) {
            Some((index, kind)) => {
                let known = types.iter().copied();
                let issue = names::unknown(&format!("/types/{index}"), "type of event", kind, known);
                Err(Problem::new(Code::ValidationFailed, "the subscription is not valid").issue(issue))
            }
            None => Ok(()),
        }
    }

    /// controlPlane.subscription.remove
    #[boxed]
    pub async fn remove_webhook(&self, caller: &Caller, request: NamedSubscription) -> Answer<SubscriptionRemoved> {
        caller.require(GRANT)?;
        let (once, given) = self.once(caller, "subscription.remove", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let stamp = caller.stamp(self.now());
        self.change_webhooks(&caller.workspace, &stamp, once.as_ref(), |webhooks| {
            let index = find(webhooks, &request.webhook_id)?;
            let removed = webhooks.remove(index).subscription;
            let event = Event::SubscriptionRemoved(changed(&removed, &stamp));
            Ok((event, SubscriptionRemoved { removed: removed.id }))
        })
        .await
    }

    /// controlPlane.subscription.secret.rotate: the secret before it signs along for a while.
    #[boxed]
    pub async fn rotate_webhook(&self, caller: &Caller, request: NamedSubscription) -> Answer<SecretRotated> {
        caller.require(GRANT)?;
        let (once, given) = self.once(caller, "subscription.secret.rotate", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let stamp = caller.stamp(self.now());
        let (secret, fresh) = self.new_secret(&keys::webhooks(&caller.workspace)).await?;
        let answer = self
            .change_webhooks(&caller.workspace, &stamp, once.as_ref(), |webhooks| {
                let index = find(webhooks, &request.webhook_id)?;
                let stored = webhooks.get_mut(index).ok_or_else(crate::busy)?;
                let overlap_until = stored.secret.rotate(fresh.clone(), stamp.at);
                let event = changed(&stored.subscription, &stamp);
                let event = SubscriptionChanged { overlap_until: Some(overlap_until), ..event };
                Ok((Event::SubscriptionSecretRotated(event), SecretRotated { secret: None, overlap_until }))
            })
            .await?;
        Ok(SecretRotated { secret: Some(secret), ..answer })
    }

    /// Looks whether anybody subscribed, so that stage events are put into the outbox.
    pub async fn find_subscriptions(&self) -> Result<(), Fault> {
        let query = Query::prefix(keys::SUBSCRIBED.to_owned(), "", 1);
        if !self.ports.table.query(&query).await?.is_empty() {
            self.begin_stage_events();
        }
        Ok(())
    }

    async fn webhooks(&self, workspace: &WorkspaceId) -> Result<(u64, Vec<StoredSubscription>), Fault> {
        let key = keys::webhooks(workspace);
        match self.ports.table.get(&key).await? {
            Some(item) => Ok((item.version, bodies::decode(&key, &item.body)?)),
            None => Ok((0, Vec::new())),
        }
    }

    // INVARIANT (authority-is-on-record): a change and its event commit together.
    async fn change_webhooks<R: Serialize + Sync>(
        &self,
        workspace: &WorkspaceId,
        stamp: &Stamp,
        once: Option<&crate::commit::Once>,
        mut change: impl FnMut(&mut Vec<StoredSubscription>) -> Change<R>,
    ) -> Answer<R> {
        for _ in 0..TRIES_MAX {
            let (version, mut webhooks) = self.webhooks(workspace).await?;
            let (event, answer) = change(&mut webhooks)?;
            let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            let item = Item { version: version + 1, ..bodies::item(1, &webhooks)? };
            let mut writes = vec![Write::Put { key: keys::webhooks(workspace), item, condition }];
            let key = keys::subscribed(workspace);
            writes.push(if webhooks.is_empty() {
                Write::Delete { key, condition: Condition::Any }
            } else {
                // Before the first commit that it is to hear of.
                self.begin_stage_events();
                Write::Put { key, item: Item { version: 1, ..Item::default() }, condition: Condition::Any }
            });
            writes.extend(self.once_write(once, &answer).await?);
            if self.journal_stamped(workspace, stamp, vec![event], writes, false).await? {
                return Ok(answer);
            }
        }
        Err(crate::busy())
    }
}

fn find(webhooks: &[StoredSubscription], id: &str) -> Answer<usize> {
    let index = webhooks.iter().position(|stored| stored.subscription.id == id);
    index.ok_or_else(|| Problem::new(Code::NotFound, "there is no such subscription in this workspace"))
}

fn changed(subscription: &Subscription, stamp: &Stamp) -> SubscriptionChanged {
    SubscriptionChanged {
        key: subscription.id.clone(),
        at: stamp.at,
        actor_id: stamp.actor.id.clone(),
        target: origin(&subscription.url),
        types: subscription.types.clone(),
        overlap_until: None,
    }
}

/// Publishes to the subscriptions of each workspace.
pub struct Webhooks<'e> {
    engine: &'e Engine,
}

/// Where events go, and what signs them.
struct Target {
    url: String,
    types: Vec<String>,
    secrets: Vec<String>,
}

impl<'e> Webhooks<'e> {
    /// To the subscriptions of each workspace.
    pub fn new(engine: &'e Engine) -> Self {
        Self { engine }
    }

    async fn targets(&self, workspace: &WorkspaceId) -> Result<Vec<Target>, Fault> {
        let (key, now) = (keys::webhooks(workspace), self.engine.now());
        let mut targets = Vec::new();
        for StoredSubscription { subscription, secret } in self.engine.webhooks(workspace).await?.1 {
            let secrets = self.engine.open_secrets(&key, &secret, now).await?;
            targets.push(Target { url: subscription.url, types: subscription.types, secrets });
        }
        Ok(targets)
    }

    async fn deliver(&self, target: &Target, event: &CloudEvent) -> Result<(), Fault> {
        let body = bodies::encode(event)?;
        let id = event.id.hex().get(..32).unwrap_or_default();
        let mut headers = vec![("content-type", "application/cloudevents+json".to_owned())];
        let signed = webhook_headers(&target.secrets, id, self.engine.now(), &body);
        headers.extend(signed.ok_or_else(|| Fault::Corrupt("the subscription has no secret".into()))?);
        let call = ToolCall {
            binding: Binding::Http { url: target.url.clone(), method: None },
            body,
            headers,
            timeout_ms: TIMEOUT_MS,
            answer_bytes_max: usize::from(u16::MAX),
            allow_private: self.engine.config().allow_private_targets,
        };
        match self.engine.ports().tools.call(call).await {
            ToolAnswer::Answered(Reply { status, .. }) | ToolAnswer::TooLarge { status }
                if (200..300).contains(&status) =>
            {
                Ok(())
            }
            ToolAnswer::Answered(Reply { status, .. }) | ToolAnswer::TooLarge { status } => {
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
        if events.is_empty() {
            return (0, Ok(()));
        }
        let targets = match self.targets(workspace).await {
            Ok(targets) => targets,
            Err(fault) => return (0, Err(fault)),
        };
        for (count, event) in events.iter().enumerate() {
            let kind = event.event.key();
            let wanted =
                |target: &&Target| target.types.is_empty() || target.types.iter().any(|wanted| wanted == kind);
            for target in targets.iter().filter(wanted) {
                if let Err(fault) = self.deliver(target, event).await {
                    return (count, Err(fault));
                }
            }
        }
        (events.len(), Ok(()))
    }
}
