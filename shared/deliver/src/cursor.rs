//! Cursors: how far a stream was sent to a target that failed. Each stands once among what is due,
//! at the moment at which it is looked at next: to try again, or to forget it.

use crate::{Deliverer, SendError, backoff_ms};
use contracts::{
    Timestamp, WorkspaceId,
    limits::{DEAD_LETTER_MS, DELIVERY_BACKOFF_MS_MAX, DELIVERY_TRIES_MAX},
};
use countersign_store::{
    Condition, Item, Key, PortError, Record, Store, Stream, Write, item, keys,
};
use serde::{Deserialize, Serialize};

/// Where one target is in one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cursor {
    /// Up to here everything was sent, or was not wanted.
    pub(crate) sent: u64,
    /// Up to here everything was published.
    pub(crate) known: u64,
    /// Tries of the event behind `sent`.
    pub(crate) tries: u32,
    pub(crate) tried_at: Timestamp,
    /// When it is looked at next.
    pub(crate) due_at: Timestamp,
    /// Somebody sends from it until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claimed_until: Option<Timestamp>,
    /// It is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parked_at: Option<Timestamp>,
    /// Why the last try failed.
    pub(crate) failure: String,
}

impl Cursor {
    /// Behind what was sent, before the first try of what comes next.
    pub(crate) fn new(sent: u64, known: u64, now: Timestamp) -> Self {
        Self {
            sent,
            known,
            tries: 0,
            tried_at: now,
            due_at: now,
            claimed_until: None,
            parked_at: None,
            failure: String::new(),
        }
    }

    /// Whether somebody sends from it.
    pub(crate) fn claimed(&self, now: Timestamp) -> bool {
        self.claimed_until.is_some_and(|until| until > now)
    }

    /// One more try failed: when the next one is due, or that there is none.
    pub(crate) fn fail(&mut self, error: &SendError, now: Timestamp, draw: u64) {
        self.tries += 1;
        self.tried_at = now;
        self.claimed_until = None;
        self.failure = error.to_string();
        if matches!(error, SendError::Gone(_)) || self.tries >= DELIVERY_TRIES_MAX {
            self.parked_at = Some(now);
            self.due_at = now.plus_ms(DEAD_LETTER_MS);
            return;
        }
        let asked = match error {
            SendError::Refused { retry_after_ms, .. } => retry_after_ms.unwrap_or_default(),
            SendError::Unreached(_) | SendError::Gone(_) => 0,
        };
        let wait = backoff_ms(self.tries, draw).max(asked.min(DELIVERY_BACKOFF_MS_MAX));
        self.due_at = now.plus_ms(wait);
    }
}

/// A cursor as it was read; none: the stream was sent in full.
pub(crate) type StoredCursor = Record<Option<Cursor>>;

/// Which cursor.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) store: &'a Store,
    pub(crate) workspace: &'a WorkspaceId,
    /// Id of its subscription.
    pub(crate) target: &'a str,
    pub(crate) stream: &'a Stream,
}

impl Place<'_> {
    fn key(&self) -> Key {
        keys::cursor(self.workspace, self.target, self.stream)
    }

    fn due(&self, at: Timestamp) -> Key {
        keys::due(self.workspace, self.target, Some(self.stream), at)
    }

    pub(crate) async fn read(&self) -> Result<StoredCursor, PortError> {
        self.store.record(&self.key()).await
    }

    /// Puts a cursor in the place of what was read. None: somebody else was faster.
    pub(crate) async fn put(
        &self,
        stored: &StoredCursor,
        cursor: Cursor,
    ) -> Result<Option<StoredCursor>, PortError> {
        // One that was deleted and made anew is another.
        let version =
            if stored.version == 0 { self.store.fresh_version() } else { stored.version + 1 };
        let before = stored.value.as_ref().map(|cursor| cursor.due_at);
        let mut writes = vec![Write::Put {
            key: self.key(),
            item: item(version, &cursor)?,
            condition: stored.unchanged(),
        }];
        if before != Some(cursor.due_at) {
            writes.extend(before.map(|at| delete(self.due(at))));
            writes.push(mark(self.due(cursor.due_at)));
        }
        let written = self.store.write(writes).await?;
        Ok(written.then_some(Record { version, value: Some(cursor) }))
    }

    /// Deletes it, if it is still as it was read.
    pub(crate) async fn delete(&self, stored: &StoredCursor) -> Result<bool, PortError> {
        let condition = stored.unchanged();
        let mut writes = vec![Write::Delete { key: self.key(), condition }];
        writes.extend(stored.value.iter().map(|cursor| delete(self.due(cursor.due_at))));
        self.store.write(writes).await
    }

    /// Removes from what is due what is not, or is there no more.
    pub(crate) async fn not_due(&self, at: Timestamp) -> Result<(), PortError> {
        self.store.write(vec![delete(self.due(at))]).await.map(|_| ())
    }
}

/// A write that puts a key onto a list.
pub(crate) fn mark(key: Key) -> Write {
    let item = Item { version: 1, ..Item::default() };
    Write::Put { key, item, condition: Condition::Any }
}

/// A write that takes it off.
pub(crate) fn delete(key: Key) -> Write {
    Write::Delete { key, condition: Condition::Any }
}

impl Deliverer {
    pub(crate) fn place<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        target: &'a str,
        stream: &'a Stream,
    ) -> Place<'a> {
        Place { store: self.store(), workspace, target, stream }
    }
}

/// Says that a stream was given up, once.
pub(crate) fn report_parked(place: &Place<'_>, cursor: &Option<Cursor>) {
    if let Some(cursor) = cursor.as_ref().filter(|cursor| cursor.parked_at.is_some()) {
        tracing::info!(target: "metric", DeadLetters = 1_u64, "a dead letter");
        tracing::warn!(
            workspace_id = %place.workspace, target_id = place.target, stream = %place.stream,
            why = cursor.failure, "stage events are given up until they are redelivered"
        );
    }
}
