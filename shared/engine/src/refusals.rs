//! Refused attempts in the workspace log: recorded in full up to a number an actor and time, then counted.
//!
//! INVARIANT (bounded-work): a flood of refused attempts grows the log by a bounded amount a day, and what one actor does
//! contends with no other's. INVARIANT (authority-is-on-record): how many were not recorded singly stands in the next
//! one that is.

use crate::{
    Answer, Caller, Engine, bodies, keys,
    ports::{Condition, NotCommitted, Write},
};
use contracts::{
    Timestamp,
    event::{Event, SkillRejected},
    limits::{REFUSALS_RECORDED_A_DAY_MAX, REFUSALS_RECORDED_A_MINUTE_MAX},
};
use serde::{Deserialize, Serialize};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
/// Tries of counting against other attempts of the same actor.
const TRIES_MAX: u32 = 8;

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

impl Engine {
    /// Records a refused attempt, or counts it where its actor was refused too often.
    pub(crate) async fn record_refusal(&self, caller: &Caller, rejected: SkillRejected) -> Answer<()> {
        let key = keys::refusals(&caller.workspace, &caller.actor);
        for _ in 0..TRIES_MAX {
            let stored = self.ports.table.get(&key).await?;
            let (version, refusals) = match &stored {
                Some(item) => (item.version, bodies::decode::<Refusals>(&key, &item.body)?),
                None => (0, Refusals::default()),
            };
            let mut refusals = refusals.at(self.now());
            let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            if !refusals.room() {
                refusals.unrecorded += 1;
                let item = bodies::item(version + 1, &refusals)?;
                let write = Write::Put { key: key.clone(), item, condition };
                match self.ports.table.transact(vec![write]).await {
                    Ok(()) => return Ok(()),
                    Err(NotCommitted::Condition(_)) => continue,
                    Err(NotCommitted::Fault(fault)) => return Err(fault.into()),
                }
            }
            let unrecorded = Some(std::mem::take(&mut refusals.unrecorded)).filter(|count| *count > 0);
            refusals.in_minute += 1;
            refusals.in_day += 1;
            let event = Event::SkillRejected(SkillRejected { unrecorded, ..rejected.clone() });
            let item = bodies::item(version + 1, &refusals)?;
            let write = Write::Put { key: key.clone(), item, condition };
            if self.journal(caller, vec![event], vec![write], false).await? {
                return Ok(());
            }
        }
        // So many at once are a flood by one actor: the count is a lower bound.
        tracing::warn!(workspace_id = %caller.workspace, "a refused attempt was not counted");
        Ok(())
    }
}
