//! What comes in through channels: verified, claimed once, acknowledged, worked on after.
//!
//! An intent is submitted, and a decision made, under the id of its receipt, so that doing it twice
//! has one effect (INVARIANT same-command-twice).

use crate::{
    Answer, Base, Caller, Channels, InForce, Intents, Parts, Presses, agent_grants, boxed,
    govern::channels::{ChannelSecrets, ORIGIN, StoredChannel},
    intents::receipts::{Claimed, Outcome, Receipts, Work},
};
use contracts::{
    Code, Digest, Problem, Timestamp, WorkspaceId,
    channel::{InboundEvent, InboundMetadata, Provider},
    command::SubmitIntent,
    event::SubmitMode,
    limits::RECEIPT_TRIES_MAX,
};
use countersign_store::{PortError, Query, keys};
use cs_core::{
    canonical,
    channel::{self, Address, ChannelError, Delivery, Received},
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// Notes of one shard that are read at once.
const PAGE: usize = 100;

/// A request of a provider, as the edge read it.
#[derive(Clone, Debug)]
pub struct ProviderRequest {
    pub provider: Provider,
    /// The workspace and its channel's key, with a dot in between.
    pub channel: String,
    /// Those of [`channel::HEADERS`] that it has.
    pub headers: BTreeMap<String, String>,
    /// The query, as it stands in the URL.
    pub query: String,
    pub body: Vec<u8>,
}

/// Receives what people outside say.
pub struct Inbound {
    base: Arc<Base>,
    in_force: Arc<InForce>,
    channels: Arc<Channels>,
    intents: Arc<Intents>,
    presses: Arc<Presses>,
    receipts: Receipts,
}

impl Inbound {
    pub(crate) fn new(
        parts: &Parts,
        (channels, presses): (Arc<Channels>, Arc<Presses>),
        intents: Arc<Intents>,
    ) -> Self {
        let (base, in_force) = (parts.base.clone(), parts.in_force.clone());
        let receipts = Receipts { base: base.clone() };
        Self { base, in_force, channels, intents, presses, receipts }
    }

    /// Takes what a provider sent. The challenge, where it asks whether the address is ours.
    #[boxed]
    pub async fn receive(&self, request: ProviderRequest) -> Answer<Option<String>> {
        let (workspace, stored, secrets) = self.addressed(&request).await?;
        let url = self.channels.url(&workspace, stored.provider, &stored.channel_key);
        let url = if request.query.is_empty() { url } else { format!("{url}?{}", request.query) };
        let delivery = Delivery { headers: &request.headers, body: &request.body, url: &url };
        let address = Address {
            workspace: &workspace,
            provider: stored.provider,
            own_user_id: stored.own_user_id.as_deref(),
        };
        let now = self.base.now();
        let received = channel::receive(&address, &delivery, &secrets.signing_secret, now);
        let events = match received.map_err(|error| refused(&request, &error))? {
            Received::Challenge(challenge) => return Ok(Some(challenge)),
            Received::Events(events) => events,
        };
        for event in events {
            if !channel::is_from(&event, &stored.sources) {
                tracing::warn!(
                    workspace_id = %workspace, channel = stored.channel_key,
                    team = ?event.metadata.team, "a message from elsewhere is not taken"
                );
                continue;
            }
            self.claim(&workspace, &stored, event).await?;
        }
        Ok(None)
    }

    /// Answers a provider that asks by GET whether the address is ours.
    #[boxed]
    pub async fn challenge(&self, request: ProviderRequest) -> Answer<u64> {
        let (_, stored, secrets) = self.addressed(&request).await?;
        if stored.provider != Provider::Whatsapp {
            return Err(unknown());
        }
        let answered = channel::challenge(&request.query, &secrets.verify_token);
        answered.map_err(|error| refused(&request, &error))
    }

    // The channel that a request names. INVARIANT (tenant-walls): one that is not there is refused
    // like one whose signature does not fit.
    async fn addressed(
        &self,
        request: &ProviderRequest,
    ) -> Answer<(WorkspaceId, StoredChannel, ChannelSecrets)> {
        let (workspace, key) = request.channel.rsplit_once('.').ok_or_else(unknown)?;
        let workspace: WorkspaceId = workspace.parse().map_err(|_| unknown())?;
        let opened = self.channels.open(&workspace, key).await?;
        let opened = opened.filter(|(stored, _)| stored.provider == request.provider);
        let (stored, secrets) = opened.ok_or_else(unknown)?;
        Ok((workspace, stored, secrets))
    }

    async fn claim(
        &self,
        workspace: &WorkspaceId,
        stored: &StoredChannel,
        event: InboundEvent,
    ) -> Answer<()> {
        let person = self.person(workspace, &event).await?;
        let Some(intent) = intent(stored, &event, person)? else { return Ok(()) };
        let id = receipt_id(event.provider_key, &event.external_event_id);
        let of = (stored.channel_key.as_str(), stored.provider);
        Ok(self
            .receipts
            .take(workspace, &id, of, Work::Submit { intent: Box::new(intent) })
            .await?)
    }

    // The person of the directory who spoke: nobody decides on what he asked for himself.
    async fn person(
        &self,
        workspace: &WorkspaceId,
        event: &InboundEvent,
    ) -> Result<Option<String>, PortError> {
        let Some(user) = &event.thread.external_user_id else { return Ok(None) };
        let directory = self.in_force.directory(workspace).await?;
        let InboundMetadata { team, user_team } = &event.metadata;
        let found = match event.provider_key {
            Provider::Slack => directory.person_of_slack(user_team.as_ref().unwrap_or(team), user),
            // By an alias that says of which provider it is.
            Provider::Github | Provider::Telegram | Provider::Whatsapp | Provider::Twilio => {
                directory.person_of(&format!("{}:{user}", event.provider_key))
            }
        };
        Ok(found.map(|person| person.id.clone()))
    }

    /// Does the work of every receipt that waits, until `until`. Says how many were done.
    #[boxed]
    pub async fn work_all(&self, until: Timestamp) -> Result<u64, PortError> {
        let mut done = 0;
        for shard in 0..keys::WORK_SHARDS {
            let mut next = Some(Query::prefix(keys::inbound_partition(shard), "", PAGE));
            while let Some(query) = next {
                let items = self.base.store.query(&query).await?;
                for (key, _) in &items {
                    if self.base.now() >= until {
                        return Ok(done);
                    }
                    match self.work(&key.sort).await {
                        Ok(worked) => done += u64::from(worked),
                        Err(fault) => tracing::warn!(%fault, "what came in waits"),
                    }
                }
                next = query.behind(&items);
            }
        }
        Ok(done)
    }

    /// Does the work of a receipt by the sort key of its note. False: it is done, or somebody else
    /// does it.
    #[boxed]
    pub async fn work(&self, sort: &str) -> Result<bool, PortError> {
        let Some(claimed) = self.receipts.claim(sort).await? else { return Ok(false) };
        let worked = match &claimed.receipt.work {
            Work::Submit { intent } => self.submit(&claimed, intent).await,
            Work::Decide { pressed, person, reason } => {
                self.presses.decide(&claimed, pressed, (person, reason.as_deref())).await
            }
        };
        let outcome = match worked {
            Ok(outcome) => outcome,
            // INVARIANT (fail-closed): a fault is tried again, and not for ever.
            Err(problem) if again(&problem) && claimed.receipt.tries < RECEIPT_TRIES_MAX => {
                return Err(PortError::Unavailable(problem.detail));
            }
            Err(problem) => {
                tracing::warn!(
                    workspace_id = %claimed.workspace, channel = claimed.receipt.channel_key,
                    receipt = claimed.id.hex(), code = %problem.code, "what came in was refused"
                );
                if let Work::Decide { pressed, .. } = &claimed.receipt.work {
                    self.presses.tell_refused(pressed, &problem).await;
                }
                Outcome::Refused { code: problem.code.to_string(), message: problem.detail }
            }
        };
        self.receipts.end(claimed, outcome).await
    }

    async fn submit(&self, claimed: &Claimed, intent: &SubmitIntent) -> Answer<Outcome> {
        let Claimed { workspace, receipt, id, .. } = claimed;
        let stored = self.channels.find(workspace, &receipt.channel_key).await?;
        // INVARIANT (fail-closed): a channel that is gone has no authority left.
        let stored = stored.filter(|stored| stored.provider == receipt.provider);
        let gone = || Problem::new(Code::Forbidden, "the channel is gone");
        let stored = stored.ok_or_else(gone)?;
        let caller = Caller {
            workspace: workspace.clone(),
            actor: stored.actor(),
            grants: agent_grants(),
            only: None,
            key_id: None,
            key_made_by: Some(stored.made_by),
            channel: stored.provider.to_string(),
            second_factor: None,
            traceparent: None,
            idempotency_key: Some(id.hex().to_owned()),
        };
        let submitted = self.intents.submit(&caller, intent.clone()).await?;
        Ok(Outcome::Submitted { execution_id: submitted.execution_id })
    }
}

// What a message becomes. None: the channel has no rule that fits.
fn intent(
    stored: &StoredChannel,
    event: &InboundEvent,
    on_behalf_of: Option<String>,
) -> Answer<Option<SubmitIntent>> {
    let Some(message) = &event.message else { return Ok(None) };
    let chosen = channel::chosen(&stored.rules, &message.text)
        .map_err(|error| PortError::Corrupt(error.to_string()))?;
    let Some((rule_index, rule)) = chosen else { return Ok(None) };
    let playbook = channel::fill(rule, event);
    let mode = match (&playbook, &rule.draft) {
        (None, None) => SubmitMode::Manual,
        (Some(_), _) | (_, Some(_)) => SubmitMode::Auto,
    };
    let metadata = json!({
        "providerKey": event.provider_key,
        "eventType": event.event_type,
        "externalEventId": event.external_event_id,
        "team": event.metadata.team,
        "userTeam": event.metadata.user_team,
        "thread": event.thread,
        "externalMessageId": message.external_message_id,
        "occurredAt": event.occurred_at,
        "rule": rule_index,
    });
    Ok(Some(SubmitIntent {
        playbook,
        draft: rule.draft.clone(),
        mode,
        channel_key: Some(stored.channel_key.clone()),
        metadata: Some([(ORIGIN.to_owned(), metadata)].into_iter().collect()),
        on_behalf_of,
        ..SubmitIntent::new(message.text.clone())
    }))
}

/// Names what came in: by its provider and the provider's id of it.
fn receipt_id(provider: Provider, external_event_id: &str) -> Digest {
    let parts = [
        b"countersign/receipt/1".as_slice(),
        provider.as_str().as_bytes(),
        external_event_id.as_bytes(),
    ];
    canonical::digest_parts(&parts)
}

const fn again(problem: &Problem) -> bool {
    problem.status >= 500 || problem.retryable
}

fn unknown() -> Problem {
    Problem::new(Code::Unauthenticated, "there is no such channel, or the signature does not fit")
}

// What a stranger learns: that it was not taken. What he sent is in no log but by its kind.
fn refused(request: &ProviderRequest, error: &ChannelError) -> Problem {
    let provider = request.provider;
    tracing::warn!(%provider, why = %error, "a request of a provider is refused");
    if error.is_unauthenticated() {
        return unknown();
    }
    Problem::new(Code::BadRequest, error.to_string())
}
