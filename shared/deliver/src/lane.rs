//! One target's share of what is due. Lanes run beside one another and know nothing of each other.

use crate::{
    Deliverer, SendError,
    cursor::{Cursor, delete, report_parked},
    people::{DIGESTS, REMINDERS},
    serve::Turn,
};
use contracts::{Timestamp, WorkspaceId};
use countersign_store::{Item, Key, PortError, Query, Stream, Write, decode, keys};
use engine::Target;
use futures_util::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};

/// Streams that are sent to one target at once.
const STREAMS_AT_ONCE: usize = 8;
/// Cursors that are read at once.
const PAGE: usize = 100;
/// How long who probes a target has it for himself, in milliseconds.
const PROBE_MS: i64 = 30_000;

/// What of one target is due.
pub(crate) struct Lane {
    pub(crate) workspace: WorkspaceId,
    /// Id of its subscription.
    pub(crate) target: String,
    /// The target itself is to be looked at.
    pub(crate) look: Vec<Timestamp>,
    pub(crate) streams: Vec<(Timestamp, Stream)>,
}

impl Deliverer {
    /// Does what is due of one target, until `until`.
    pub(crate) async fn run_lane(&self, lane: &Lane, until: Timestamp) -> Result<(), PortError> {
        let Lane { workspace, target: id, look, streams } = lane;
        if id == REMINDERS {
            return self.run_reminders(lane, until).await;
        }
        if id == DIGESTS {
            return self.run_digests(lane).await;
        }
        let targets = self.engine.subscriptions.targets(workspace).await?;
        let Some(target) = targets.iter().find(|target| target.subscription.id == *id) else {
            return self.forget_target(lane).await;
        };
        if !look.is_empty() {
            self.look_at(workspace, target, look, until).await?;
        }
        let mut turns: Vec<BoxFuture<'_, Result<(), PortError>>> = Vec::new();
        for (at, stream) in streams {
            turns.push(Box::pin(self.turn(lane, target, (*at, stream), until)));
        }
        stream::iter(turns).buffer_unordered(STREAMS_AT_ONCE).try_collect().await
    }

    async fn turn(
        &self,
        lane: &Lane,
        target: &Target,
        (at, stream): (Timestamp, &Stream),
        until: Timestamp,
    ) -> Result<(), PortError> {
        let place = self.place(&lane.workspace, &lane.target, stream);
        let stored = place.read().await?;
        let now = self.engine.now();
        let Some(cursor) = stored.value.as_ref().filter(|cursor| cursor.due_at == at) else {
            return place.not_due(at).await;
        };
        if cursor.parked_at.is_some() {
            // A dead letter that nobody wanted in all that time.
            return place.delete(&stored).await.map(|_| ());
        }
        if now >= until {
            return Ok(());
        }
        if self.health(&lane.workspace, &lane.target).await?.value.is_down() {
            let mut failed = cursor.clone();
            let why = SendError::Unreached(cursor.failure.clone());
            failed.fail(&why, now, self.store().fresh_version());
            if let Some(stored) = place.put(&stored, failed).await? {
                report_parked(&place, &stored.value);
            }
            return Ok(());
        }
        self.serve(&lane.workspace, target, stream, until).await.map(|_| ())
    }

    // Probes a target that is down, and sends what waits to one that came back.
    async fn look_at(
        &self,
        workspace: &WorkspaceId,
        target: &Target,
        look: &[Timestamp],
        until: Timestamp,
    ) -> Result<(), PortError> {
        let id = &target.subscription.id;
        let stored = self.health(workspace, id).await?;
        for at in look.iter().filter(|at| stored.value.look_at != Some(**at)) {
            self.store().write(vec![delete(keys::due(workspace, id, None, *at))]).await?;
        }
        let now = self.engine.now();
        if stored.value.look_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        if stored.value.is_down() {
            let mut probing = stored.value.clone();
            (probing.probing, probing.look_at) = (true, Some(now.plus_ms(PROBE_MS)));
            if !self.put_health(workspace, id, &stored, &probing).await? {
                return Ok(());
            }
            if self.probe(workspace, target, until).await? == Turn::Left {
                // Nothing waits that it could be tried with: the next event says how it is.
                return self.change_health((workspace, id), |health| health.clear()).await;
            }
        }
        let health = self.health(workspace, id).await?.value;
        let Some(since) = health.up_since else { return Ok(()) };
        if self.send_waiting(workspace, target, since, until).await? {
            let done = |health: &mut crate::health::Health| {
                if health.up_since == Some(since) {
                    (health.up_since, health.look_at) = (None, None);
                }
            };
            self.change_health((workspace, id), done).await?;
        }
        Ok(())
    }

    // The stream that was not tried for the longest time is.
    async fn probe(
        &self,
        workspace: &WorkspaceId,
        target: &Target,
        until: Timestamp,
    ) -> Result<Turn, PortError> {
        let query = Query::prefix(keys::cursors(workspace, &target.subscription.id), "", PAGE);
        let now = self.engine.now();
        let mut waiting: Vec<(Timestamp, Stream)> = Vec::new();
        for (key, item) in self.store().query(&query).await? {
            if let Some((stream, cursor)) = read_cursor(&key, &item)
                && cursor.parked_at.is_none()
                && !cursor.claimed(now)
            {
                waiting.push((cursor.tried_at, stream));
            }
        }
        match waiting.into_iter().min() {
            Some((_, stream)) => self.serve(workspace, target, &stream, until).await,
            None => Ok(Turn::Left),
        }
    }

    // What failed before a target came back. Whether all of it was tried.
    async fn send_waiting(
        &self,
        workspace: &WorkspaceId,
        target: &Target,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<bool, PortError> {
        let id = &target.subscription.id;
        let mut next = Some(Query::prefix(keys::cursors(workspace, id), "", PAGE));
        while let Some(query) = next {
            let down = self.health(workspace, id).await?.value.is_down();
            if down || self.engine.now() >= until {
                return Ok(false);
            }
            let items = self.store().query(&query).await?;
            let mut turns: Vec<BoxFuture<'_, Result<Turn, PortError>>> = Vec::new();
            for (stream, cursor) in items.iter().filter_map(|(key, item)| read_cursor(key, item)) {
                if cursor.parked_at.is_none() && cursor.tried_at <= since {
                    turns.push(Box::pin(async move {
                        self.serve(workspace, target, &stream, until).await
                    }));
                }
            }
            let turns = stream::iter(turns).buffer_unordered(STREAMS_AT_ONCE);
            turns.try_for_each(|_| async { Ok(()) }).await?;
            next = query.behind(&items);
        }
        Ok(true)
    }

    // A target that is there no more: nothing of it is left.
    async fn forget_target(&self, lane: &Lane) -> Result<(), PortError> {
        let (workspace, id) = (&lane.workspace, &lane.target);
        loop {
            // Two writes for each, in one transaction.
            let query = Query::prefix(keys::cursors(workspace, id), "", PAGE / 2);
            let items = self.store().query(&query).await?;
            if items.is_empty() {
                break;
            }
            let mut writes = Vec::new();
            for (key, item) in &items {
                if let Some((stream, cursor)) = read_cursor(key, item) {
                    writes.push(delete(keys::due(workspace, id, Some(&stream), cursor.due_at)));
                }
                writes.push(delete(key.clone()));
            }
            self.store().write(writes).await?;
        }
        let health = self.health(workspace, id).await?.value;
        let looks = lane.look.iter().copied().chain(health.look_at);
        let looks: std::collections::BTreeSet<Timestamp> = looks.collect();
        let mut writes: Vec<Write> =
            looks.into_iter().map(|at| delete(keys::due(workspace, id, None, at))).collect();
        writes.push(delete(keys::target(workspace, id)));
        self.store().write(writes).await?;
        for (at, stream) in &lane.streams {
            self.place(workspace, id, stream).not_due(*at).await?;
        }
        Ok(())
    }
}

/// A cursor that is at hand, and its stream. What cannot be read is said, and hides no other.
pub(crate) fn read_cursor(key: &Key, item: &Item) -> Option<(Stream, Cursor)> {
    let stream = key.sort.parse().ok()?;
    match decode::<Option<Cursor>>(key, &item.body) {
        Ok(cursor) => Some((stream, cursor?)),
        Err(fault) => {
            tracing::error!(%fault, "a cursor cannot be read");
            None
        }
    }
}
