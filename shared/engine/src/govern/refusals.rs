//! Refused attempts in the workspace log: recorded in full up to a number an actor and time, then
//! counted.
//!
//! INVARIANT (bounded-work): a flood of refused attempts grows the log by a bounded amount a day,
//! and what one actor does contends with no other's. INVARIANT (authority-is-on-record): how many
//! were not recorded singly stands in the next one that is.

use crate::{Answer, Base, Caller, Skills};
use contracts::{
    Timestamp,
    event::{SkillRejected, WorkspaceEvent},
    limits::{REFUSALS_RECORDED_A_DAY_MAX, REFUSALS_RECORDED_A_MINUTE_MAX},
};
use countersign_store::{Author, Change, Record, keys};
use serde::{Deserialize, Serialize};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// What one actor was refused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusals {
    minute: i64,
    day: i64,
    /// Recorded in this minute and on this day.
    in_minute: u64,
    in_day: u64,
    /// Not recorded since the last that was.
    unrecorded: u64,
}

impl Refusals {
    fn at(mut self, now: Timestamp) -> Self {
        let (minute, day) = (now.ms().div_euclid(MINUTE_MS), now.ms().div_euclid(DAY_MS));
        if minute != self.minute {
            (self.minute, self.in_minute) = (minute, 0);
        }
        if day != self.day {
            (self.day, self.in_day) = (day, 0);
        }
        self
    }

    fn room(&self) -> bool {
        self.in_minute < REFUSALS_RECORDED_A_MINUTE_MAX && self.in_day < REFUSALS_RECORDED_A_DAY_MAX
    }
}

impl Skills {
    /// Records a refused attempt, or counts it where its actor was refused too often.
    pub(crate) async fn record_refusal(
        &self,
        caller: &Caller,
        rejected: SkillRejected,
    ) -> Answer<()> {
        let author = caller.author(self.base.now());
        let event = |unrecorded| {
            WorkspaceEvent::SkillRejected(SkillRejected { unrecorded, ..rejected.clone() })
        };
        self.base.record_refusal(&author, event).await
    }
}

impl Base {
    /// Records what somebody was refused, or counts it where they were refused too often. `event`
    /// is told how many were not recorded before it.
    pub(crate) async fn record_refusal(
        &self,
        author: &Author,
        event: impl Fn(Option<u64>) -> WorkspaceEvent,
    ) -> Answer<()> {
        let key = keys::refusals(&author.workspace, &author.stamp.actor);
        let mut tries = self.store.tries();
        while tries.next().await.is_ok() {
            let stored: Record<Refusals> = self.store.record(&key).await?;
            let mut refusals = stored.value.clone().at(self.now());
            let mut change = Change::none(());
            if refusals.room() {
                let unrecorded = std::mem::take(&mut refusals.unrecorded);
                refusals.in_minute += 1;
                refusals.in_day += 1;
                change.events.push(event(Some(unrecorded).filter(|count| *count > 0)));
            } else {
                refusals.unrecorded += 1;
            }
            change.writes.push(stored.replace(key.clone(), &refusals)?);
            if self.store.try_change(author, change, None).await?.is_some() {
                return Ok(());
            }
        }
        // So many at once are a flood by one actor: the count is a lower bound.
        tracing::warn!(workspace_id = %author.workspace, "a refused attempt is not counted");
        Ok(())
    }
}
