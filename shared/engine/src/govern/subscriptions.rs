//! Subscriptions: where a workspace wants its stage events sent, each signed by a secret of its
//! own.

use crate::{
    Answer, Base, Caller, InForce, Parts, Vault, boxed,
    govern::{channels::StoredChannel, secrets::KeptSecret},
};
use contracts::{
    Code, Issue, Problem, Timestamp, WorkspaceId,
    event::{SubscriptionChanged, WorkspaceEvent},
    names,
    subscription::{
        CreateSubscription, NamedSubscription, SecretRotated, Subscription, SubscriptionCreated,
        SubscriptionRemoved,
    },
};
use countersign_store::{
    Author, Change, Condition, Item, Outcome, PortError, Query, Record, Write, keys,
};
use cs_core::destination::Destination;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Grant that subscribes.
pub const GRANT: &str = "control-plane.webhooks";
/// Subscriptions of one workspace.
const WEBHOOKS_MAX: usize = 10;

/// What who asked through a channel is told of.
const REPLY_TYPES: [&str; 7] = [
    "controlPlane.plan.rejected",
    "controlPlane.approval.requested",
    "controlPlane.approval.rejected",
    "controlPlane.approval.expired",
    "controlPlane.execution.completed",
    "controlPlane.execution.failed",
    "controlPlane.execution.cancelled",
];
/// Stands for the people of a workspace among its targets. No subscription has such an id.
const PEOPLE: &str = "people";
/// What waits for people.
const PEOPLE_TYPES: [&str; 3] = [
    "controlPlane.approval.requested",
    "controlPlane.execution.step.blocked",
    "controlPlane.governance.changed",
];

/// A subscription as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSubscription {
    #[serde(flatten)]
    subscription: Subscription,
    secret: KeptSecret,
}

/// Where stage events go, and what signs them.
#[derive(Clone)]
pub struct Target {
    pub subscription: Subscription,
    pub destination: Destination,
    /// The current one, then the one before it while their overlap lasts.
    pub secrets: Vec<String>,
}

/// Where a workspace wants its stage events sent.
pub struct Subscriptions {
    pub(crate) base: Arc<Base>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) in_force: Arc<InForce>,
}

impl Subscriptions {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            vault: parts.vault.clone(),
            in_force: parts.in_force.clone(),
        }
    }

    /// The subscriptions of a workspace, without their secrets.
    pub async fn of(&self, workspace: &WorkspaceId) -> Result<Vec<Subscription>, PortError> {
        let stored = self.webhooks(workspace).await?.value;
        Ok(stored.into_iter().map(|stored| stored.subscription).collect())
    }

    /// Where the stage events of a workspace are sent, with what signs them.
    pub async fn targets(&self, workspace: &WorkspaceId) -> Result<Vec<Target>, PortError> {
        let (key, now) = (keys::webhooks(workspace), self.base.now());
        let mut targets = Vec::new();
        for StoredSubscription { subscription, secret } in self.webhooks(workspace).await?.value {
            let destination = stored_destination(&subscription)?;
            let secrets = match destination {
                Destination::Webhook { .. } => self.vault.open_secrets(&key, &secret, now).await?,
                Destination::Mail(_)
                | Destination::People
                | Destination::Slack { .. }
                | Destination::Reply { .. } => Vec::new(),
            };
            targets.push(Target { subscription, destination, secrets });
        }
        targets.extend(self.replies(workspace).await?);
        targets.extend(self.people(workspace).await?);
        Ok(targets)
    }

    // Channels that tell who asked what came of it.
    async fn replies(&self, workspace: &WorkspaceId) -> Result<Vec<Target>, PortError> {
        let stored: Record<Vec<StoredChannel>> =
            self.base.store.record(&keys::channels(workspace)).await?;
        let replying = stored.value.into_iter().filter(|channel| channel.reply);
        let target = |channel: StoredChannel| {
            let destination = Destination::Reply { channel_key: channel.channel_key.clone() };
            let subscription = Subscription {
                id: format!("reply-{}", channel.channel_key),
                url: destination.origin(),
                types: REPLY_TYPES.map(str::to_owned).into(),
                created_at: channel.updated_at,
            };
            Target { subscription, destination, secrets: Vec::new() }
        };
        Ok(replying.map(target).collect())
    }

    /// The people of a workspace as a target, once there are any.
    pub async fn people(&self, workspace: &WorkspaceId) -> Result<Option<Target>, PortError> {
        let directory = self.in_force.directory(workspace).await?;
        let subscription = Subscription {
            id: PEOPLE.to_owned(),
            url: Destination::People.origin(),
            types: PEOPLE_TYPES.map(str::to_owned).into(),
            created_at: Timestamp::from_ms(0),
        };
        let any = directory.persons().next().is_some();
        let target = Target { subscription, destination: Destination::People, secrets: Vec::new() };
        Ok(any.then_some(target))
    }

    /// controlPlane.subscription.create: its secret is in the answer, and nowhere else to be read.
    #[boxed]
    pub async fn create_webhook(
        &self,
        caller: &Caller,
        request: CreateSubscription,
    ) -> Answer<SubscriptionCreated> {
        caller.require(GRANT)?;
        let author = caller.author(self.base.now());
        self.subscribe(&author, request).await
    }

    /// Subscribes a URL on the deployment's own authority. None where it is subscribed.
    pub async fn deploy_webhook(
        &self,
        workspace: &WorkspaceId,
        url: &str,
    ) -> Answer<Option<SubscriptionCreated>> {
        let known = self.webhooks(workspace).await?.value;
        if known.iter().any(|stored| stored.subscription.url == url) {
            return Ok(None);
        }
        let request = CreateSubscription { url: url.to_owned(), types: Vec::new() };
        self.subscribe(&self.base.deployment(workspace), request).await.map(Some)
    }

    async fn subscribe(
        &self,
        author: &Author,
        request: CreateSubscription,
    ) -> Answer<SubscriptionCreated> {
        let (secret, kept) = self.vault.new_secret(&keys::webhooks(&author.workspace)).await?;
        let operation = ("subscription.create", &request);
        let changed = self.change_webhooks(author, operation, |webhooks| {
            let destination = self.check_subscription(&request)?;
            if webhooks.len() >= WEBHOOKS_MAX {
                let message = format!("a workspace has at most {WEBHOOKS_MAX} subscriptions");
                return Err(Problem::new(Code::Conflict, message));
            }
            let subscription = Subscription {
                id: self.base.store.fresh_id(),
                url: request.url.clone(),
                types: request.types.clone(),
                created_at: self.base.now(),
            };
            let event = self.changed(&subscription, &destination, author);
            let stored =
                StoredSubscription { subscription: subscription.clone(), secret: kept.clone() };
            webhooks.push(stored);
            let answer = SubscriptionCreated { subscription, secret: None };
            Ok((WorkspaceEvent::SubscriptionCreated(event), answer))
        });
        Ok(changed.await?.once(|answer| match stored_destination(&answer.subscription) {
            Ok(Destination::Webhook { .. }) => {
                SubscriptionCreated { secret: Some(secret), ..answer }
            }
            Ok(
                Destination::Mail(_)
                | Destination::People
                | Destination::Slack { .. }
                | Destination::Reply { .. },
            )
            | Err(_) => answer,
        }))
    }

    fn check_subscription(&self, request: &CreateSubscription) -> Answer<Destination> {
        let plain_http = self.base.config.allow_private_targets;
        let mailer = &self.base.ports.mailer;
        let destination = match Destination::parse(&request.url, plain_http) {
            Ok(Destination::Mail(_)) if mailer.sender().is_none() => {
                Err("this deployment sends no mail: none is set up".to_owned())
            }
            parsed => parsed,
        };
        let destination = destination.map_err(|why| {
            Problem::new(Code::ValidationFailed, "the subscription is not valid")
                .issue(Issue::new("/url", why))
        })?;
        let schemas = if request.types.is_empty() {
            Default::default()
        } else {
            contracts::openapi::event_schemas()
        };
        let titles = schemas.values().filter_map(|schema| schema.get("title")?.as_str());
        // Beside events, there are schemas of what surrounds them.
        let types: BTreeSet<&str> =
            titles.filter(|title| title.starts_with("controlPlane.")).collect();
        match request.types.iter().enumerate().find(|(_, kind)| !types.contains(kind.as_str())) {
            Some((index, kind)) => {
                let known = types.iter().copied();
                let issue =
                    names::unknown(&format!("/types/{index}"), "type of event", kind, known);
                Err(Problem::new(Code::ValidationFailed, "the subscription is not valid")
                    .issue(issue))
            }
            None => Ok(destination),
        }
    }

    /// controlPlane.subscription.remove
    #[boxed]
    pub async fn remove_webhook(
        &self,
        caller: &Caller,
        request: NamedSubscription,
    ) -> Answer<SubscriptionRemoved> {
        caller.require(GRANT)?;
        let author = caller.author(self.base.now());
        let operation = ("subscription.remove", &request);
        let changed = self.change_webhooks(&author, operation, |webhooks| {
            let index = find(webhooks, &request.webhook_id)?;
            let removed = webhooks.remove(index).subscription;
            let destination = stored_destination(&removed)?;
            let event = self.changed(&removed, &destination, &author);
            let event = WorkspaceEvent::SubscriptionRemoved(event);
            Ok((event, SubscriptionRemoved { removed: removed.id }))
        });
        Ok(changed.await?.answer())
    }

    /// controlPlane.subscription.secret.rotate: the secret before it signs along for a while.
    #[boxed]
    pub async fn rotate_webhook(
        &self,
        caller: &Caller,
        request: NamedSubscription,
    ) -> Answer<SecretRotated> {
        caller.require(GRANT)?;
        let author = caller.author(self.base.now());
        let (secret, fresh) = self.vault.new_secret(&keys::webhooks(&caller.workspace)).await?;
        let operation = ("subscription.secret.rotate", &request);
        let changed = self.change_webhooks(&author, operation, |webhooks| {
            let index = find(webhooks, &request.webhook_id)?;
            let stored = webhooks.get_mut(index).ok_or_else(countersign_store::busy)?;
            let destination = stored_destination(&stored.subscription)?;
            if !matches!(destination, Destination::Webhook { .. }) {
                let message =
                    "what goes to mail or Slack is not signed: this subscription has no secret";
                return Err(Problem::new(Code::Conflict, message));
            }
            let overlap_until = stored.secret.rotate(fresh.clone(), self.base.now());
            let event = self.changed(&stored.subscription, &destination, &author);
            let event = SubscriptionChanged { overlap_until: Some(overlap_until), ..event };
            let answer = SecretRotated { secret: None, overlap_until };
            Ok((WorkspaceEvent::SubscriptionSecretRotated(event), answer))
        });
        Ok(changed.await?.once(|answer| SecretRotated { secret: Some(secret), ..answer }))
    }

    /// Looks whether anybody subscribed, so that stage events are put into the outbox.
    pub async fn find_subscriptions(&self) -> Result<(), PortError> {
        let query = Query::prefix(keys::SUBSCRIBED.to_owned(), "", 1);
        if !self.base.store.query(&query).await?.is_empty() {
            self.base.store.begin_stage_events();
        }
        Ok(())
    }

    async fn webhooks(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Record<Vec<StoredSubscription>>, PortError> {
        self.base.store.record(&keys::webhooks(workspace)).await
    }

    async fn change_webhooks<T: Serialize, R: Serialize + DeserializeOwned>(
        &self,
        author: &Author,
        command: (&str, &T),
        change: impl Fn(&mut Vec<StoredSubscription>) -> Answer<(WorkspaceEvent, R)> + Sync,
    ) -> Answer<Outcome<R>> {
        let workspace = &author.workspace;
        self.base
            .store
            .change(author, command, || {
                Box::pin(async {
                    let stored = self.webhooks(workspace).await?;
                    let mut webhooks = stored.value.clone();
                    let (event, answer) = change(&mut webhooks)?;
                    let ended =
                        stored.value.iter().map(|stored| &stored.subscription.id).filter(|id| {
                            !webhooks.iter().any(|stored| stored.subscription.id == **id)
                        });
                    let ended: Vec<Write> = ended.map(|id| clean_up(workspace, id)).collect();
                    let key = keys::subscribed(workspace);
                    let listed = if webhooks.is_empty() {
                        Write::Delete { key, condition: Condition::Any }
                    } else {
                        // Before the first commit that it is to hear of.
                        self.base.store.begin_stage_events();
                        let item = Item { version: 1, ..Item::default() };
                        Write::Put { key, item, condition: Condition::Any }
                    };
                    let write = stored.replace(keys::webhooks(workspace), &webhooks)?;
                    let writes = [write, listed].into_iter().chain(ended).collect();
                    Ok(Change::new(answer, event, writes))
                })
            })
            .await
    }

    fn changed(
        &self,
        subscription: &Subscription,
        destination: &Destination,
        author: &Author,
    ) -> SubscriptionChanged {
        SubscriptionChanged {
            key: subscription.id.clone(),
            at: self.base.now(),
            actor_id: author.stamp.actor.id.clone(),
            target: destination.origin(),
            types: subscription.types.clone(),
            overlap_until: None,
        }
    }
}

// Whoever looks at what is due finds that the target is gone, and removes what waits for it.
fn clean_up(workspace: &WorkspaceId, id: &str) -> Write {
    let key = keys::due(workspace, id, None, Timestamp::from_ms(0));
    let item = Item { version: 1, ..Item::default() };
    Write::Put { key, item, condition: Condition::Any }
}

// INVARIANT (fail-closed): what is stored and is no destination is none.
fn stored_destination(subscription: &Subscription) -> Result<Destination, PortError> {
    Destination::parse(&subscription.url, true)
        .map_err(|why| PortError::Corrupt(format!("subscription {}: {why}", subscription.id)))
}

fn find(webhooks: &[StoredSubscription], id: &str) -> Answer<usize> {
    let index = webhooks.iter().position(|stored| stored.subscription.id == id);
    index.ok_or_else(|| {
        Problem::new(Code::NotFound, "there is no such subscription in this workspace")
    })
}
