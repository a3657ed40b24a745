//! Usage of meters: counted over a window that moves on, reserved in the transaction of the claim, given back where a
//! call is known to have had no effect.
//!
//! A meter's usage by one actor, operation or workspace is one item: buckets of a twenty-fourth of the window. Two
//! claims that reserve of it at once are told apart by its version: the later one looks again, so that what is within
//! the limit for each alone is never beyond it for both.

use crate::{
    Engine, bodies,
    commit::CommitError,
    governance::Governance,
    keys,
    ports::{Condition, Fault, Key, Query, Write},
};
use contracts::{
    StepId, Timestamp, WorkspaceId,
    event::{BlockReason, Event, Reserved, Resolution},
    governance::{Measure, Meter, MeterScope, Usage},
    plan::{Radius, RadiusKind},
};
use cs_core::execution::{Execution, StepState};
use policy::Metered;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Parts in which usage leaves a window.
const BUCKETS: i64 = 24;
/// Usage records listed of one meter.
const LISTED_MAX: usize = 500;
/// Usage items that one commit touches: further claims wait for the next.
pub(crate) const ITEMS_MAX: usize = 12;

/// What one actor, operation or workspace used of a meter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageRecord {
    of: String,
    /// Start of each bucket, in milliseconds, and what was used in it.
    buckets: BTreeMap<i64, u64>,
}

impl UsageRecord {
    fn width(window_seconds: u64) -> i64 {
        (window_seconds as i64 * 1_000 / BUCKETS).max(1)
    }

    // A bucket counts as long as any of it lies in the window.
    fn used(&self, window_seconds: u64, now: Timestamp) -> u64 {
        let (width, window) = (Self::width(window_seconds), window_seconds as i64 * 1_000);
        self.buckets
            .iter()
            .filter(|(start, _)| **start + width > now.ms() - window)
            .fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    // The first moment from `now` on at which so much is used at most. A bucket that is only looked at moves nobody.
    fn room_at(&self, window_seconds: u64, now: Timestamp, most: u64) -> Timestamp {
        let (width, window) = (Self::width(window_seconds), window_seconds as i64 * 1_000);
        let gone = self.buckets.keys().map(|start| Timestamp::from_ms(start + width + window));
        let room = |at: &Timestamp| *at > now && self.used(window_seconds, *at) <= most;
        gone.filter(room).min().unwrap_or(now)
    }

    fn add(&mut self, reserved: &Reserved, at: Timestamp) {
        let width = Self::width(reserved.window_seconds);
        let gone = at.ms() - reserved.window_seconds as i64 * 1_000 - width;
        self.buckets.retain(|start, _| *start > gone);
        let bucket = self.buckets.entry(at.ms().div_euclid(width) * width).or_default();
        *bucket = bucket.saturating_add(reserved.amount);
    }

    fn give_back(&mut self, reserved: &Reserved, at: Timestamp) {
        let width = Self::width(reserved.window_seconds);
        if let Some(bucket) = self.buckets.get_mut(&(at.ms().div_euclid(width) * width)) {
            *bucket = bucket.saturating_sub(reserved.amount);
        }
    }
}

fn amount(measure: &Measure, spend: &Radius) -> u64 {
    match measure {
        Measure::Steps => 1,
        Measure::Writes => spend.writes,
        Measure::Recipients => spend.recipients,
        Measure::Money { currency } => spend.money.get(currency).copied().unwrap_or(0),
    }
}

// What of the spending the measure counts and cannot: of whichever currency.
fn unmeasured(measure: &Measure, spend: &Radius) -> Option<RadiusKind> {
    let kind = match measure {
        Measure::Steps | Measure::Writes => return None,
        Measure::Recipients => RadiusKind::Recipients,
        Measure::Money { .. } => RadiusKind::Money,
    };
    spend.unmeasured.contains(&kind).then_some(kind)
}

fn of<'t>(scope: MeterScope, operation: &'t str, actor: &'t str) -> &'t str {
    match scope {
        MeterScope::Workspace => "",
        MeterScope::Actor => actor,
        MeterScope::Operation => operation,
    }
}

/// Usage without what a step itself holds: its own reservation is no reason against its next attempt.
pub(crate) fn without(mut usage: Vec<Metered>, own: &[Reserved]) -> Vec<Metered> {
    for one in own {
        for metered in usage.iter_mut().filter(|metered| metered.meter == one.meter) {
            if let Some(used) = metered.used.get_mut(&one.of) {
                *used = used.saturating_sub(one.amount);
            }
        }
    }
    usage
}

/// What a worker knows of usage while it claims: read once a batch, and what the batch itself reserves.
#[derive(Default)]
pub(crate) struct Metering {
    read: HashMap<Key, (u64, UsageRecord)>,
    /// The first moment at which a meter without room has some.
    room_at: Option<Timestamp>,
}

impl Metering {
    /// The first moment at which what was refused for want of room fits; nothing where nothing was.
    pub(crate) fn take_room_at(&mut self) -> Option<Timestamp> {
        self.room_at.take()
    }

    /// Versions that were read: a commit that finds others decides again.
    pub(crate) fn versions(&self) -> HashMap<Key, u64> {
        self.read.iter().map(|(key, (version, _))| (key.clone(), *version)).collect()
    }
}

impl Engine {
    async fn usage_record(&self, key: &Key) -> Result<(u64, UsageRecord), Fault> {
        Ok(match self.ports.table.get(key).await? {
            Some(item) => (item.version, bodies::decode(key, &item.body)?),
            None => (0, UsageRecord::default()),
        })
    }

    /// What was used of every meter, as a verdict on steps of these operations sees it.
    pub(crate) async fn metered(
        &self,
        workspace: &WorkspaceId,
        governance: &Governance,
        operations: impl IntoIterator<Item = &str>,
        actor: &str,
        metering: &mut Metering,
    ) -> Result<Vec<Metered>, Fault> {
        let now = self.now();
        let operations: BTreeSet<&str> = operations.into_iter().collect();
        let mut found = Vec::new();
        for meter in &governance.budgets.meters {
            let mut used = BTreeMap::new();
            for operation in &operations {
                let of = of(meter.scope, operation, actor);
                if used.contains_key(of) {
                    continue;
                }
                let key = keys::usage(workspace, &meter.id, of);
                if !metering.read.contains_key(&key) {
                    metering.read.insert(key.clone(), self.usage_record(&key).await?);
                }
                let amount = metering.read.get(&key).map_or(0, |(_, record)| record.used(meter.window_seconds, now));
                used.insert(of.to_owned(), amount);
            }
            found.push(Metered { meter: meter.id.clone(), scope: meter.scope, used });
        }
        Ok(found)
    }

    /// Reserves what a call will use of the meters that count it, on top of what the batch reserved before. `Err`: what
    /// would be exceeded, and whether time alone may help.
    pub(crate) fn reserve(
        &self,
        workspace: &WorkspaceId,
        governance: &Governance,
        (operation, actor): (&str, &str),
        spend: &Radius,
        metering: &mut Metering,
    ) -> Result<Vec<Reserved>, (BlockReason, String)> {
        let now = self.now();
        let mut reserved = Vec::new();
        for meter in governance.meters(operation) {
            let amount = amount(&meter.measure, spend);
            // INVARIANT (unmeasured-is-not-small).
            if let Some(kind) = unmeasured(&meter.measure, spend).filter(|_| meter.limit.is_some()) {
                let message = format!("{}: {kind} that cannot be measured exceeds every limit", meter.id);
                return Err((BlockReason::BudgetExceeded, message));
            }
            let of = of(meter.scope, operation, actor);
            let key = keys::usage(workspace, &meter.id, of);
            let used = metering.read.get(&key).map_or(0, |(_, record)| record.used(meter.window_seconds, now));
            if let Some(limit) = meter.limit.filter(|limit| used.saturating_add(amount) > *limit) {
                let message = format!(
                    "{}: {used} used and {amount} more of {limit} within {} s",
                    meter.id, meter.window_seconds
                );
                // More than the whole limit: no time will do, people must.
                let alone = amount > limit;
                if let Some((_, record)) = metering.read.get(&key).filter(|_| !alone) {
                    let at = record.room_at(meter.window_seconds, now, limit - amount);
                    metering.room_at = metering.room_at.into_iter().chain([at]).min();
                }
                return Err((if alone { BlockReason::BudgetExceeded } else { BlockReason::UsageExceeded }, message));
            }
            if amount > 0 {
                let (meter, window_seconds) = (meter.id.clone(), meter.window_seconds);
                reserved.push(Reserved { meter, of: of.to_owned(), amount, window_seconds });
            }
        }
        for one in &reserved {
            let key = keys::usage(workspace, &one.meter, &one.of);
            metering.read.entry(key).or_default().1.add(one, now);
        }
        Ok(reserved)
    }

    /// The writes that reserve and give back what the events of a commit say. `seen`: versions on which it was decided;
    /// another one is a conflict.
    pub(crate) async fn usage_writes(
        &self,
        before: &Execution,
        events: &[Event],
        seen: &HashMap<Key, u64>,
    ) -> Result<Vec<Write>, CommitError> {
        let mut changed: BTreeMap<Key, (u64, UsageRecord)> = BTreeMap::new();
        for (step, taken) in movements(before, events) {
            let (reserved, at) = match &taken {
                Taken::Reserved(reserved, at) | Taken::GivenBack(reserved, at) => (reserved, *at),
            };
            tracing::trace!(%step, meters = reserved.len(), "usage moves");
            for one in reserved.iter() {
                let key = keys::usage(&before.workspace, &one.meter, &one.of);
                if !changed.contains_key(&key) {
                    let stored = self.usage_record(&key).await.map_err(CommitError::Fault)?;
                    if seen.get(&key).is_some_and(|version| *version != stored.0) {
                        return Err(CommitError::Conflict);
                    }
                    changed.insert(key.clone(), stored);
                }
                let Some((_, record)) = changed.get_mut(&key) else {
                    continue;
                };
                record.of.clone_from(&one.of);
                match taken {
                    Taken::Reserved(..) => record.add(one, at),
                    Taken::GivenBack(..) => record.give_back(one, at),
                }
            }
        }
        let mut writes = Vec::new();
        for (key, (version, record)) in changed {
            let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            let item = bodies::item(version + 1, &record).map_err(CommitError::Fault)?;
            writes.push(Write::Put { key, item, condition });
        }
        Ok(writes)
    }

    /// What is used now, by whom.
    pub(crate) async fn usage(&self, workspace: &WorkspaceId, meters: &[Meter]) -> Result<Vec<Usage>, Fault> {
        let now = self.now();
        let mut found = Vec::new();
        for meter in meters {
            let (partition, prefix) = keys::usage_of(workspace, &meter.id);
            for (key, item) in self.ports.table.query(&Query::prefix(partition, &prefix, LISTED_MAX)).await? {
                let record: UsageRecord = bodies::decode(&key, &item.body)?;
                let used = record.used(meter.window_seconds, now);
                if used > 0 {
                    found.push(Usage { meter: meter.id.clone(), of: record.of, used, limit: meter.limit });
                }
            }
        }
        Ok(found)
    }
}

enum Taken<'e> {
    Reserved(&'e [Reserved], Timestamp),
    GivenBack(&'e [Reserved], Timestamp),
}

// What the events reserve, and what they give back of what was reserved before them.
fn movements<'e>(before: &'e Execution, events: &'e [Event]) -> impl Iterator<Item = (&'e StepId, Taken<'e>)> {
    let given_back = |id: &'e StepId| {
        let hold = before.step(id)?.hold.as_ref()?;
        Some((id, Taken::GivenBack(hold.meters.as_slice(), hold.at)))
    };
    let in_doubt = |id: &StepId| before.step(id).is_some_and(|step| step.state == StepState::InDoubt);
    events.iter().filter_map(move |event| match event {
        Event::StepStarted(data) if !data.reserved.is_empty() => {
            Some((&data.step_id, Taken::Reserved(data.reserved.as_slice(), data.started_at)))
        }
        Event::StepFailed(data) if data.released => given_back(&data.step_id),
        // Of a step that could not be undone nothing is given back: it has had its effect.
        Event::StepResolved(data) if data.outcome == Resolution::Failed && in_doubt(&data.step_id) => {
            given_back(&data.step_id)
        }
        _ => None,
    })
}

/// How many usage items a commit of these events would touch.
pub(crate) fn touched(before: &Execution, events: &[Event]) -> usize {
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
        let one = |amount| Reserved { meter: "m".into(), of: String::new(), amount, window_seconds: 240 };
        let at = |seconds: i64| Timestamp::from_ms(1_000_000_000_000 + seconds * 1_000);
        let mut record = UsageRecord::default();
        record.add(&one(5), at(0));
        record.add(&one(7), at(100));
        assert_eq!(record.used(240, at(100)), 12);
        assert_eq!(record.used(240, at(240)), 12, "a bucket counts as long as any of it lies in the window");
        assert_eq!(record.used(240, at(255)), 7);
        assert_eq!(record.used(240, at(400)), 0);
        record.give_back(&one(7), at(100));
        assert_eq!(record.used(240, at(255)), 0);
        record.add(&one(1), at(1_000));
        assert_eq!(record.buckets.len(), 1, "what left every window is forgotten");
    }
}
