//! What is asked of subscriptions' deliveries: how they are, a test, the dead letters once more.

use crate::{Deliverer, TIMEOUT_MS, busy, cursor::Cursor, lane::read_cursor, serve::Turn};
use async_recursion::async_recursion as boxed;
use contracts::{
    Code, Issue, Problem, Timestamp, WorkspaceId,
    event::{CloudEvent, SubscriptionChanged, WorkspaceEvent},
    limits::{
        DEAD_LETTER_MS, DEAD_LETTERS_LISTED_MAX, DELIVERIES_COUNTED_MAX, REDELIVERED_AT_ONCE_MAX,
    },
    subscription::{
        DeadLetter, DeliveryFailure, ListSubscriptions, NamedSubscription, RedeliverSubscription,
        Subscription, SubscriptionList, SubscriptionRedelivered, SubscriptionStatus,
        SubscriptionTested, TargetState,
    },
};
use countersign_store::{Change, PortError, Query, Stream, keys};
use cs_core::canonical;
use engine::{Answer, Caller, Target, WEBHOOKS_GRANT};
use futures_util::{StreamExt as _, future::BoxFuture, stream};

/// How long an answer waits for what is redelivered, in milliseconds.
const REDELIVER_MS: i64 = 10_000;
/// Streams that are redelivered at once.
const STREAMS_AT_ONCE: usize = 8;
/// Subject of test events. No execution has such an id.
const TEST: &str = "test";

impl Deliverer {
    /// controlPlane.subscription.list
    #[boxed]
    pub async fn list(&self, caller: &Caller, _: ListSubscriptions) -> Answer<SubscriptionList> {
        caller.require(WEBHOOKS_GRANT)?;
        let mut items = Vec::new();
        let people = self.engine.subscriptions.people(&caller.workspace).await?;
        let own = self.engine.subscriptions.of(&caller.workspace).await?;
        for subscription in own.into_iter().chain(people.map(|target| target.subscription)) {
            items.push(self.status(&caller.workspace, subscription).await?);
        }
        Ok(SubscriptionList { items })
    }

    async fn status(
        &self,
        workspace: &WorkspaceId,
        subscription: Subscription,
    ) -> Result<SubscriptionStatus, PortError> {
        let health = self.health(workspace, &subscription.id).await?.value;
        let cursors = keys::cursors(workspace, &subscription.id);
        let items = self.store().query(&Query::prefix(cursors, "", DELIVERIES_COUNTED_MAX)).await?;
        let (mut waiting, mut dead, mut dead_letters) = (0, 0, Vec::new());
        for (stream, cursor) in items.iter().filter_map(|(key, item)| read_cursor(key, item)) {
            let Some(since) = cursor.parked_at else {
                waiting += 1;
                continue;
            };
            dead += 1;
            if dead_letters.len() < DEAD_LETTERS_LISTED_MAX {
                dead_letters.push(DeadLetter {
                    subject: stream.to_string(),
                    sequence: cursor.sent + 1,
                    since,
                    until: since.plus_ms(DEAD_LETTER_MS),
                    message: cursor.failure,
                });
            }
        }
        let state = match (health.is_down(), health.failing.is_empty()) {
            (true, _) => TargetState::Down,
            (false, false) => TargetState::Failing,
            (false, true) => TargetState::Working,
        };
        let message = health.failure;
        Ok(SubscriptionStatus {
            subscription,
            state,
            last_success_at: health.succeeded_at,
            last_failure: health.failed_at.map(|at| DeliveryFailure { at, message }),
            waiting,
            dead,
            partial: items.len() >= DELIVERIES_COUNTED_MAX,
            dead_letters,
        })
    }

    async fn target(&self, workspace: &WorkspaceId, id: &str) -> Answer<Target> {
        let targets = self.engine.subscriptions.targets(workspace).await?;
        targets.into_iter().find(|target| target.subscription.id == id).ok_or_else(|| {
            Problem::new(Code::NotFound, "there is no such subscription in this workspace")
        })
    }

    /// controlPlane.subscription.test: one signed event, now, to this target alone. It says nothing
    /// about the target to anybody else.
    #[boxed]
    pub async fn test(
        &self,
        caller: &Caller,
        request: NamedSubscription,
    ) -> Answer<SubscriptionTested> {
        caller.require(WEBHOOKS_GRANT)?;
        let author = caller.author(self.engine.now());
        let tested = self.store().change(&author, ("subscription.test", &request), || {
            Box::pin(async {
                let target = self.target(&caller.workspace, &request.webhook_id).await?;
                let event = test_event(caller, &target, self.engine.now())?;
                let sent = self.channel(&target).send(&target, &event, TIMEOUT_MS).await;
                Ok(Change::none(SubscriptionTested {
                    delivered: sent.is_ok(),
                    event_id: event.id.to_string(),
                    message: sent.err().map(|error| error.to_string()),
                }))
            })
        });
        Ok(tested.await?.answer())
    }

    /// controlPlane.subscription.redeliver: dead letters are tried again, from now on as if for the
    /// first time.
    #[boxed]
    pub async fn redeliver(
        &self,
        caller: &Caller,
        request: RedeliverSubscription,
    ) -> Answer<SubscriptionRedelivered> {
        caller.require(WEBHOOKS_GRANT)?;
        let author = caller.author(self.engine.now());
        let done = self.store().change(&author, ("subscription.redeliver", &request), || {
            Box::pin(async {
                let target = self.target(&caller.workspace, &request.webhook_id).await?;
                let answer = self.redeliver_to(&caller.workspace, &target, &request).await?;
                Ok(Change::none(answer))
            })
        });
        Ok(done.await?.answer())
    }

    async fn redeliver_to(
        &self,
        workspace: &WorkspaceId,
        target: &Target,
        request: &RedeliverSubscription,
    ) -> Answer<SubscriptionRedelivered> {
        let (streams, more) = match &request.subject {
            Some(subject) => {
                let stream = subject.parse().map_err(|_| {
                    let message = "an execution's id, or `log`";
                    Problem::new(Code::ValidationFailed, "the request is not valid")
                        .issue(Issue::new("/subject", message))
                })?;
                (vec![stream], false)
            }
            None => self.dead_streams(workspace, &target.subscription.id).await?,
        };
        let id = &target.subscription.id;
        let mut revived = Vec::new();
        for stream in streams {
            if self.revive(workspace, id, &stream).await? {
                revived.push(stream);
            }
        }
        if revived.is_empty() {
            return Ok(SubscriptionRedelivered { redelivered: 0, delivered: 0, more });
        }
        // Somebody says that it is back.
        self.change_health((workspace, id), |health| health.clear()).await?;
        let until = self.engine.now().plus_ms(REDELIVER_MS);
        let mut turns: Vec<BoxFuture<'_, Result<Turn, PortError>>> = Vec::new();
        for stream in &revived {
            turns.push(Box::pin(self.serve(workspace, target, stream, until)));
        }
        let turns: Vec<_> = stream::iter(turns).buffer_unordered(STREAMS_AT_ONCE).collect().await;
        let delivered = turns.iter().filter(|turn| matches!(turn, Ok(Turn::Done))).count();
        Ok(SubscriptionRedelivered {
            redelivered: revived.len() as u64,
            delivered: delivered as u64,
            more,
        })
    }

    // Those that are dead, and whether there are more.
    async fn dead_streams(
        &self,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<(Vec<Stream>, bool), PortError> {
        let mut dead = Vec::new();
        let mut next =
            Some(Query::prefix(keys::cursors(workspace, id), "", DELIVERIES_COUNTED_MAX));
        while let Some(query) = next {
            let items = self.store().query(&query).await?;
            for (stream, cursor) in items.iter().filter_map(|(key, item)| read_cursor(key, item)) {
                if cursor.parked_at.is_none() {
                    continue;
                }
                if dead.len() >= REDELIVERED_AT_ONCE_MAX {
                    return Ok((dead, true));
                }
                dead.push(stream);
            }
            next = query.behind(&items);
        }
        Ok((dead, false))
    }

    // A dead letter is due now. False: it is none.
    async fn revive(
        &self,
        workspace: &WorkspaceId,
        id: &str,
        stream: &Stream,
    ) -> Result<bool, PortError> {
        let place = self.place(workspace, id, stream);
        let mut tries = self.store().tries();
        loop {
            tries.next().await.map_err(busy)?;
            let stored = place.read().await?;
            let dead = stored.value.as_ref().filter(|cursor| cursor.parked_at.is_some());
            let Some(cursor) = dead else { return Ok(false) };
            let fresh = Cursor::new(cursor.sent, cursor.known, self.engine.now());
            let fresh = Cursor { failure: cursor.failure.clone(), ..fresh };
            if place.put(&stored, fresh).await?.is_some() {
                return Ok(true);
            }
        }
    }
}

fn test_event(caller: &Caller, target: &Target, now: Timestamp) -> Answer<CloudEvent> {
    let Subscription { id, types, .. } = &target.subscription;
    let event = WorkspaceEvent::SubscriptionTested(SubscriptionChanged {
        key: id.clone(),
        at: now,
        actor_id: caller.actor.id.clone(),
        target: target.destination.origin(),
        types: types.clone(),
        overlap_until: None,
    });
    let digest = canonical::digest(&(&caller.workspace, &event))
        .map_err(|error| Problem::new(Code::InternalError, error.to_string()))?;
    Ok(CloudEvent {
        specversion: "1.0".into(),
        id: digest,
        source: format!("countersign/{}", caller.workspace),
        subject: TEST.into(),
        event: event.into(),
        time: now,
        datacontenttype: "application/json".into(),
        sequence: 1,
        actor: caller.actor.id.clone(),
        actorkind: Some(caller.actor.kind),
        keyid: caller.key_id.clone(),
        onbehalfof: None,
        channel: Some(caller.channel.clone()),
        traceparent: caller.traceparent.clone(),
        extensions: Default::default(),
    })
}
