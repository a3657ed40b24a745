//! Usage of meters: reserved in the transaction of the claim, given back where a call is known to
//! have had no effect.
//!
//! A meter's usage by one actor, operation or workspace is one item: buckets of a twenty-fourth of
//! a window that moves on. Two claims that reserve of it at once are told apart by its version: the
//! later one looks again, so that what is within the limit for each alone is never beyond it for
//! both.

use crate::{CommitError, Key, Record, Store, Write, keys};
use contracts::{
    StepId, Timestamp,
    event::{ExecutionEvent, Reserved, Resolution},
};
use cs_core::execution::{Execution, StepStatus};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Parts in which usage leaves a window.
const BUCKETS: i64 = 24;

/// What one actor, operation or workspace used of a meter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRecord {
    pub of: String,
    /// Start of each bucket, in milliseconds, and what was used in it.
    buckets: BTreeMap<i64, u64>,
}

impl UsageRecord {
    fn width(window_seconds: u64) -> i64 {
        (window_seconds as i64 * 1_000 / BUCKETS).max(1)
    }

    // A bucket counts as long as any of it lies in the window.
    /// What was used of the window that ends now.
    ///
    pub fn used(&self, window_seconds: u64, now: Timestamp) -> u64 {
        let (width, window) = (Self::width(window_seconds), window_seconds as i64 * 1_000);
        self.buckets
            .iter()
            .filter(|(start, _)| **start + width > now.ms() - window)
            .fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    // The first moment from `now` on at which so much is used at most. A bucket that is only looked
    // at moves nobody.
    pub fn room_at(&self, window_seconds: u64, now: Timestamp, most: u64) -> Timestamp {
        let (width, window) = (Self::width(window_seconds), window_seconds as i64 * 1_000);
        let gone = self.buckets.keys().map(|start| Timestamp::from_ms(start + width + window));
        let room = |at: &Timestamp| *at > now && self.used(window_seconds, *at) <= most;
        gone.filter(room).min().unwrap_or(now)
    }

    pub fn add(&mut self, reserved: &Reserved, at: Timestamp) {
        let width = Self::width(reserved.window_seconds);
        let gone = at.ms() - reserved.window_seconds as i64 * 1_000 - width;
        self.buckets.retain(|start, _| *start > gone);
        let bucket = self.buckets.entry(at.ms().div_euclid(width) * width).or_default();
        *bucket = bucket.saturating_add(reserved.amount);
    }

    pub fn give_back(&mut self, reserved: &Reserved, at: Timestamp) {
        let width = Self::width(reserved.window_seconds);
        if let Some(bucket) = self.buckets.get_mut(&(at.ms().div_euclid(width) * width)) {
            *bucket = bucket.saturating_sub(reserved.amount);
        }
    }
}

impl Store {
    /// The writes that reserve and give back what the events of a commit say. `seen`: versions on
    /// which it was decided; another one is a conflict.
    pub(crate) async fn usage_writes(
        &self,
        before: &Execution,
        events: &[ExecutionEvent],
        seen: &HashMap<Key, u64>,
    ) -> Result<Vec<Write>, CommitError> {
        let mut changed: BTreeMap<Key, Record<UsageRecord>> = BTreeMap::new();
        for (step, taken) in movements(before, events) {
            let (reserved, at) = match &taken {
                Taken::Reserved(reserved, at) | Taken::GivenBack(reserved, at) => (reserved, *at),
            };
            tracing::trace!(%step, meters = reserved.len(), "usage moves");
            for one in reserved.iter() {
                let key = keys::usage(&before.workspace, &one.meter, &one.of);
                if !changed.contains_key(&key) {
                    let stored: Record<UsageRecord> = self.record(&key).await?;
                    if seen.get(&key).is_some_and(|version| *version != stored.version) {
                        return Err(CommitError::Conflict);
                    }
                    changed.insert(key.clone(), stored);
                }
                let Some(Record { value, .. }) = changed.get_mut(&key) else {
                    continue;
                };
                value.of.clone_from(&one.of);
                match taken {
                    Taken::Reserved(..) => value.add(one, at),
                    Taken::GivenBack(..) => value.give_back(one, at),
                }
            }
        }
        let writes = changed.into_iter().map(|(key, record)| record.replace(key, &record.value));
        Ok(writes.collect::<Result<_, _>>()?)
    }
}

enum Taken<'e> {
    Reserved(&'e [Reserved], Timestamp),
    GivenBack(&'e [Reserved], Timestamp),
}

// What the events reserve, and what they give back of what was reserved before them.
fn movements<'e>(
    before: &'e Execution,
    events: &'e [ExecutionEvent],
) -> impl Iterator<Item = (&'e StepId, Taken<'e>)> {
    let given_back = |id: &'e StepId| {
        let reservation = before.step(id)?.reservation.as_ref()?;
        Some((id, Taken::GivenBack(reservation.meters.as_slice(), reservation.at)))
    };
    let in_doubt =
        |id: &StepId| before.step(id).is_some_and(|step| step.state == StepStatus::InDoubt);
    events.iter().filter_map(move |event| match event {
        ExecutionEvent::StepStarted(data) if !data.reserved.is_empty() => {
            Some((&data.step_id, Taken::Reserved(data.reserved.as_slice(), data.started_at)))
        }
        ExecutionEvent::StepFailed(data) if data.budget_refunded => given_back(&data.step_id),
        // Of a step that could not be undone nothing is given back: it has had its effect.
        ExecutionEvent::StepResolved(data)
            if data.outcome == Resolution::Failed && in_doubt(&data.step_id) =>
        {
            given_back(&data.step_id)
        }
        _ => None,
    })
}

/// How many usage items a commit of these events would touch.
pub fn usage_items(before: &Execution, events: &[ExecutionEvent]) -> usize {
    let keys = movements(before, events).flat_map(|(_, taken)| match taken {
        Taken::Reserved(reserved, _) | Taken::GivenBack(reserved, _) => reserved,
    });
    keys.map(|one| (one.meter.as_str(), one.of.as_str())).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_leaves_a_window_that_moves_on() {
        let one =
            |amount| Reserved { meter: "m".into(), of: String::new(), amount, window_seconds: 240 };
        let at = |seconds: i64| Timestamp::from_ms(1_000_000_000_000 + seconds * 1_000);
        let mut record = UsageRecord::default();
        record.add(&one(5), at(0));
        record.add(&one(7), at(100));
        assert_eq!(record.used(240, at(100)), 12);
        assert_eq!(
            record.used(240, at(240)),
            12,
            "a bucket counts as long as any of it lies in the window"
        );
        assert_eq!(record.used(240, at(255)), 7);
        assert_eq!(record.used(240, at(400)), 0);
        record.give_back(&one(7), at(100));
        assert_eq!(record.used(240, at(255)), 0);
        record.add(&one(1), at(1_000));
        assert_eq!(record.buckets.len(), 1, "what left every window is forgotten");
    }
}
