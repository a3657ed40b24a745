//! How a target is, and its breaker.
//!
//! A target is *down* when nobody is there, when it asks to be left alone, or when so many streams
//! failed in a row and none succeeded: then it is called by one probe at a time, and every stream
//! waits without being sent. One stream that fails alone takes nothing from the others.

use crate::{
    Deliverer, SendError, backoff_ms, busy,
    cursor::{delete, mark},
};
use contracts::{Timestamp, WorkspaceId, limits::DELIVERY_BACKOFF_MS_MAX};
use countersign_store::{Key, PortError, Record, Stream, Write, item, keys};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Streams that failed in a row until the target is down.
const DOWN_AFTER: usize = 3;
/// Longest time between two probes, in milliseconds: who comes back is seen soon.
const PROBE_MS_MAX: i64 = 15_000;
/// How exactly the time of the last success is kept, in milliseconds.
const SUCCESS_MS: i64 = 60_000;

/// What is known of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Health {
    pub(crate) succeeded_at: Option<Timestamp>,
    pub(crate) failed_at: Option<Timestamp>,
    pub(crate) failure: String,
    /// Streams that failed since the last success, at most [`DOWN_AFTER`].
    pub(crate) failing: BTreeSet<Stream>,
    /// Failed calls since it is down; 0: it is not.
    pub(crate) down: u32,
    /// Somebody is calling it to see whether it is back.
    pub(crate) probing: bool,
    /// It came back then, and what failed before has not been sent yet.
    pub(crate) up_since: Option<Timestamp>,
    /// When it is looked at next: to probe it, or to send what waits.
    pub(crate) look_at: Option<Timestamp>,
}

impl Health {
    /// Whether it is called by probes only.
    pub(crate) fn is_down(&self) -> bool {
        self.down > 0
    }

    fn fail(&mut self, stream: &Stream, error: &SendError, now: Timestamp, draw: u64) {
        self.failed_at = Some(now);
        self.failure = error.to_string();
        if self.failing.len() < DOWN_AFTER {
            self.failing.insert(stream.clone());
        }
        let asked = match error {
            SendError::Unreached(_) => Some(0),
            SendError::Refused { retry_after_ms, .. } => *retry_after_ms,
            // Of one stream's turn: others may be wanted.
            SendError::Gone(_) => None,
        };
        let waits = self.is_down() && !self.probing && self.look_at.is_some_and(|at| at > now);
        if waits && asked.unwrap_or_default() == 0 {
            // A call that was under way when it went down.
            return;
        }
        self.probing = false;
        if asked.is_some() || self.failing.len() >= DOWN_AFTER || self.is_down() {
            self.down = self.down.saturating_add(1);
            let wait = backoff_ms(self.down, draw).min(PROBE_MS_MAX);
            let asked = asked.unwrap_or_default().min(DELIVERY_BACKOFF_MS_MAX);
            self.up_since = None;
            self.look_at = Some(now.plus_ms(wait.max(asked)));
        }
    }

    fn succeed(&mut self, now: Timestamp) {
        self.succeeded_at = Some(now);
        self.probing = false;
        self.failing.clear();
        if self.is_down() {
            self.down = 0;
            self.up_since = Some(now);
            self.look_at = Some(now);
        }
    }

    /// Nothing is known against it any more.
    pub(crate) fn clear(&mut self) {
        (self.down, self.probing, self.up_since, self.look_at) = (0, false, None, None);
        self.failing.clear();
    }
}

impl Deliverer {
    pub(crate) async fn health(
        &self,
        workspace: &WorkspaceId,
        target: &str,
    ) -> Result<Record<Health>, PortError> {
        self.store().record(&keys::target(workspace, target)).await
    }

    /// A call failed.
    pub(crate) async fn note_failure(
        &self,
        (workspace, target): (&WorkspaceId, &str),
        stream: &Stream,
        error: &SendError,
    ) -> Result<(), PortError> {
        let draw = self.store().fresh_version();
        self.change_health((workspace, target), |health| {
            health.fail(stream, error, self.engine.now(), draw);
        })
        .await
    }

    /// A call succeeded.
    pub(crate) async fn note_success(
        &self,
        (workspace, target): (&WorkspaceId, &str),
        known: &Health,
    ) -> Result<(), PortError> {
        let now = self.engine.now();
        let recent = known.succeeded_at.is_some_and(|at| at.plus_ms(SUCCESS_MS) > now);
        if recent && known.failing.is_empty() && !known.is_down() {
            return Ok(());
        }
        self.change_health((workspace, target), |health| health.succeed(now)).await
    }

    /// Changes what is known of a target, and when it is looked at.
    pub(crate) async fn change_health(
        &self,
        (workspace, target): (&WorkspaceId, &str),
        change: impl Fn(&mut Health),
    ) -> Result<(), PortError> {
        let mut tries = self.store().tries();
        loop {
            tries.next().await.map_err(busy)?;
            let stored = self.health(workspace, target).await?;
            let mut health = stored.value.clone();
            change(&mut health);
            if health == stored.value
                || self.put_health(workspace, target, &stored, &health).await?
            {
                return Ok(());
            }
        }
    }

    /// Puts what is known in the place of what was read. False: somebody else was faster.
    pub(crate) async fn put_health(
        &self,
        workspace: &WorkspaceId,
        target: &str,
        stored: &Record<Health>,
        health: &Health,
    ) -> Result<bool, PortError> {
        let due = |at: Timestamp| -> Key { keys::due(workspace, target, None, at) };
        let mut writes = vec![Write::Put {
            key: keys::target(workspace, target),
            item: item(stored.version + 1, health)?,
            condition: stored.unchanged(),
        }];
        if health.look_at != stored.value.look_at {
            writes.extend(stored.value.look_at.map(|at| delete(due(at))));
            writes.extend(health.look_at.map(|at| mark(due(at))));
        }
        self.store().write(writes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn stream(digit: char) -> Stream {
        format!("exe_{}", digit.to_string().repeat(32)).parse().unwrap()
    }

    fn refused() -> SendError {
        SendError::Refused { message: "it answered 500".into(), retry_after_ms: None }
    }

    #[test]
    fn one_stream_that_fails_alone_does_not_take_the_target_down() {
        let mut health = Health::default();
        for ms in 0..100 {
            health.fail(&stream('a'), &refused(), at(ms), 0);
        }
        assert!(!health.is_down() && health.look_at.is_none());
        health.fail(&stream('b'), &refused(), at(200), 0);
        health.succeed(at(201));
        health.fail(&stream('c'), &refused(), at(202), 0);
        health.fail(&stream('a'), &refused(), at(203), 0);
        assert!(!health.is_down(), "a success in between begins anew");
        health.fail(&stream('b'), &refused(), at(204), 200);
        assert_eq!((health.down, health.look_at), (1, Some(at(1_204))));
    }

    #[test]
    fn probes_come_in_steps_and_calls_that_were_under_way_are_none() {
        let mut health = Health::default();
        let unreached = SendError::Unreached("refused".into());
        health.fail(&stream('a'), &unreached, at(0), 200);
        assert_eq!(health.look_at, Some(at(1_000)), "nobody is there: at once");
        health.fail(&stream('b'), &refused(), at(10), 200);
        assert_eq!((health.down, health.look_at), (1, Some(at(1_000))));
        for (down, wait) in [(2, 2_000), (3, 4_000), (4, 8_000), (5, 15_000), (6, 15_000)] {
            let now = health.look_at.unwrap();
            health.fail(&stream('a'), &refused(), now, 200);
            assert_eq!((health.down, health.look_at), (down, Some(now.plus_ms(wait))));
        }
        health.succeed(at(99_000));
        assert!(!health.is_down() && health.failing.is_empty());
        assert_eq!((health.up_since, health.look_at), (Some(at(99_000)), Some(at(99_000))));
    }

    #[test]
    fn who_asks_to_be_left_alone_is_left_alone_for_at_most_an_hour() {
        let asks = |ms| SendError::Refused { message: String::new(), retry_after_ms: Some(ms) };
        let mut health = Health::default();
        health.fail(&stream('a'), &asks(120_000), at(0), 200);
        assert_eq!(health.look_at, Some(at(120_000)));
        health.fail(&stream('a'), &asks(i64::MAX), at(0), 200);
        assert_eq!(health.look_at, Some(at(DELIVERY_BACKOFF_MS_MAX)));
    }
}
