//! One stream's turn at one target: what is behind its cursor is sent, in order.

use crate::{
    Deliverer, SendError, TIMEOUT_MS, busy,
    cursor::{Cursor, Place, StoredCursor, report_parked},
    wanted,
};
use contracts::{Timestamp, WorkspaceId, event::Entry};
use countersign_store::{PortError, Stream};
use engine::{Target, cloud_event};

/// Entries that are read at once.
const PAGE: usize = 100;
/// How long who sends from a cursor has it for himself, in milliseconds; renewed while he sends. If
/// he ends without a word, it is tried again after so long.
const CLAIM_MS: i64 = 30_000;

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Everything was sent.
    Done,
    Failed,
    /// Somebody else has it, it is a dead letter, or the time was over.
    Left,
}

/// A cursor that is claimed.
struct Claim<'a> {
    place: Place<'a>,
    stored: StoredCursor,
    cursor: Cursor,
    /// When it was due, and whether a failure counts as one of its tries.
    due_at: Timestamp,
    counts: bool,
    known_health: crate::health::Health,
}

impl Claim<'_> {
    // Puts what was reached; others may only have seen that there is more. False: it is not ours
    // any more.
    async fn put(&mut self, next: &Cursor) -> Result<bool, PortError> {
        let mut tries = self.place.store.tries();
        loop {
            tries.next().await.map_err(busy)?;
            let wanted = Cursor { known: self.cursor.known, ..next.clone() };
            if let Some(stored) = self.place.put(&self.stored, wanted.clone()).await? {
                (self.stored, self.cursor) = (stored, wanted);
                return Ok(true);
            }
            if !self.read_again().await? {
                return Ok(false);
            }
        }
    }

    // Whether it is still ours.
    async fn read_again(&mut self) -> Result<bool, PortError> {
        let claimed = self.stored.value.as_ref().and_then(|cursor| cursor.claimed_until);
        let stored = self.place.read().await?;
        let Some(cursor) = stored.value.clone().filter(|now| now.claimed_until == claimed) else {
            return Ok(false);
        };
        self.cursor.known = cursor.known;
        self.stored = stored;
        Ok(true)
    }
}

impl Deliverer {
    /// Sends what is behind a stream's cursor, until `until`.
    pub(crate) async fn serve(
        &self,
        workspace: &WorkspaceId,
        target: &Target,
        stream: &Stream,
        until: Timestamp,
    ) -> Result<Turn, PortError> {
        let Some(mut claim) = self.claim(workspace, target, stream).await? else {
            return Ok(Turn::Left);
        };
        let mut progress = false;
        loop {
            let between = claim.cursor.sent + 1..=claim.cursor.known;
            let entries = self.store().entries(workspace, stream, between, PAGE).await?;
            if entries.is_empty() && claim.cursor.sent < claim.cursor.known {
                tracing::error!(workspace_id = %workspace, %stream, "events to deliver are gone");
                claim.cursor.sent = claim.cursor.known;
            }
            for entry in entries {
                if self.engine.now() >= until {
                    return self.give_back(claim).await;
                }
                if let Err(error) = self.send_entry(&mut claim, target, entry).await? {
                    return self.fail(claim, &error, progress).await;
                }
                progress = true;
            }
            if claim.cursor.sent < claim.cursor.known {
                continue;
            }
            if claim.place.delete(&claim.stored).await? {
                return Ok(Turn::Done);
            }
            // There is more, or it is somebody else's now.
            if !claim.read_again().await? {
                return Ok(Turn::Left);
            }
        }
    }

    async fn claim<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        target: &'a Target,
        stream: &'a Stream,
    ) -> Result<Option<Claim<'a>>, PortError> {
        let place = self.place(workspace, &target.subscription.id, stream);
        let stored = place.read().await?;
        let now = self.engine.now();
        let free = |cursor: &Cursor| cursor.parked_at.is_none() && !cursor.claimed(now);
        let Some(before) = stored.value.clone().filter(free) else { return Ok(None) };
        let until = now.plus_ms(CLAIM_MS);
        let claimed = Cursor { claimed_until: Some(until), due_at: until, ..before.clone() };
        let Some(stored) = place.put(&stored, claimed.clone()).await? else { return Ok(None) };
        let known_health = self.health(workspace, &target.subscription.id).await?.value;
        Ok(Some(Claim {
            place,
            stored,
            cursor: claimed,
            due_at: before.due_at,
            counts: before.due_at <= now,
            known_health,
        }))
    }

    async fn send_entry(
        &self,
        claim: &mut Claim<'_>,
        target: &Target,
        entry: Entry,
    ) -> Result<Result<(), SendError>, PortError> {
        let event = cloud_event(claim.place.workspace, claim.place.stream, entry);
        if wanted(target, &event) {
            let now = self.engine.now();
            let enough = now.plus_ms(i64::try_from(TIMEOUT_MS).unwrap_or(CLAIM_MS) * 3 / 2);
            if claim.cursor.claimed_until.is_none_or(|until| until < enough) {
                let until = now.plus_ms(CLAIM_MS);
                let renewed =
                    Cursor { claimed_until: Some(until), due_at: until, ..claim.cursor.clone() };
                if !claim.put(&renewed).await? {
                    return Err(PortError::Unavailable("another delivers this stream".into()));
                }
            }
            if let Err(error) = self.channel(target).send(target, &event, TIMEOUT_MS).await {
                return Ok(Err(error));
            }
            let place = (claim.place.workspace, claim.place.target);
            self.note_success(place, &claim.known_health).await?;
            claim.known_health = self.health(place.0, place.1).await?.value;
        }
        claim.cursor.sent = event.sequence;
        Ok(Ok(()))
    }

    async fn give_back(&self, mut claim: Claim<'_>) -> Result<Turn, PortError> {
        let due_at = claim.due_at;
        let free = Cursor { claimed_until: None, due_at, ..claim.cursor.clone() };
        claim.put(&free).await?;
        Ok(Turn::Left)
    }

    async fn fail(
        &self,
        mut claim: Claim<'_>,
        error: &SendError,
        progress: bool,
    ) -> Result<Turn, PortError> {
        let now = self.engine.now();
        self.note_failure((claim.place.workspace, claim.place.target), claim.place.stream, error)
            .await?;
        let mut failed = claim.cursor.clone();
        if progress {
            failed.tries = 0;
        }
        let counts = claim.counts || progress || matches!(error, SendError::Gone(_));
        if counts {
            failed.fail(error, now, self.store().fresh_version());
        } else {
            // A probe before its time: its own tries and back-off are as they were.
            failed.claimed_until = None;
            failed.tried_at = now;
            failed.due_at = claim.due_at;
        }
        if claim.put(&failed).await? {
            report_parked(&claim.place, &claim.stored.value);
        }
        Ok(Turn::Failed)
    }
}
