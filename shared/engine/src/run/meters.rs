//! Usage of meters: counted over a window that moves on, reserved in the transaction of the claim,
//! given back where a call is known to have had no effect.
//!
//! A meter's usage by one actor, operation or workspace is one item: buckets of a twenty-fourth of
//! the window. Two claims that reserve of it at once are told apart by its version: the later one
//! looks again, so that what is within the limit for each alone is never beyond it for both.

use crate::{Base, govern::limits::Governance};
use contracts::{
    Timestamp, WorkspaceId,
    event::{BlockReason, Reserved},
    governance::{Measure, Meter, MeterScope, Usage},
    plan::{Radius, RadiusKind},
};
use countersign_store::{Key, PortError, Query, Record, UsageRecord, keys};
use policy::Metered;
use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry};
use std::sync::Arc;

/// Usage records listed of one meter.
const LISTED_MAX: usize = 500;
/// Usage items that one commit touches: further claims wait for the next.
pub(crate) const ITEMS_MAX: usize = 8;

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

/// Usage without what a step itself holds: its own reservation is no reason against its next
/// attempt.
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

/// What a worker knows of usage while it claims: read once a batch, and what the batch itself
/// reserves.
#[derive(Default)]
pub(crate) struct Metering {
    read: HashMap<Key, Record<UsageRecord>>,
    /// The first moment at which a meter without room has some.
    room_at: Option<Timestamp>,
}

impl Metering {
    /// Counts what a claim of this batch reserves.
    pub(crate) fn take(&mut self, workspace: &WorkspaceId, reserved: &[Reserved], at: Timestamp) {
        for one in reserved {
            let key = keys::usage(workspace, &one.meter, &one.of);
            self.read.entry(key).or_default().value.add(one, at);
        }
    }

    /// The first moment at which what was refused for want of room fits; nothing where nothing was.
    pub(crate) fn take_room_at(&mut self) -> Option<Timestamp> {
        self.room_at.take()
    }

    /// Versions that were read: a commit that finds others decides again.
    pub(crate) fn versions(&self) -> HashMap<Key, u64> {
        self.read.iter().map(|(key, record)| (key.clone(), record.version)).collect()
    }
}

/// What is used of meters.
pub struct Meters {
    pub(crate) base: Arc<Base>,
}

impl Meters {
    /// What was used of every meter, as a verdict on steps of these operations sees it.
    pub(crate) async fn metered(
        &self,
        workspace: &WorkspaceId,
        governance: &Governance,
        operations: impl IntoIterator<Item = &str>,
        actor: &str,
        metering: &mut Metering,
    ) -> Result<Vec<Metered>, PortError> {
        let now = self.base.now();
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
                let amount = self.record(key, metering).await?.used(meter.window_seconds, now);
                used.insert(of.to_owned(), amount);
            }
            found.push(Metered { meter: meter.id.clone(), scope: meter.scope, used });
        }
        Ok(found)
    }

    /// Usage as it is stored, with what this batch reserves.
    pub(crate) async fn record<'m>(
        &self,
        key: Key,
        metering: &'m mut Metering,
    ) -> Result<&'m UsageRecord, PortError> {
        Ok(match metering.read.entry(key) {
            Entry::Occupied(known) => &known.into_mut().value,
            Entry::Vacant(unknown) => {
                let stored = self.base.store.record(unknown.key()).await?;
                &unknown.insert(stored).value
            }
        })
    }

    /// Reserves what a call will use of the meters that count it, on top of what the batch reserved
    /// before. `Err`: what would be exceeded, and whether time alone may help.
    pub(crate) fn reserve(
        &self,
        workspace: &WorkspaceId,
        governance: &Governance,
        (operation, actor): (&str, &str),
        spend: &Radius,
        metering: &mut Metering,
    ) -> Result<Vec<Reserved>, (BlockReason, String)> {
        let now = self.base.now();
        let mut reserved = Vec::new();
        for meter in governance.meters(operation) {
            let amount = amount(&meter.measure, spend);
            // INVARIANT (unmeasured-is-not-small).
            if let Some(kind) = unmeasured(&meter.measure, spend).filter(|_| meter.limit.is_some())
            {
                let message =
                    format!("{}: {kind} that cannot be measured exceeds every limit", meter.id);
                return Err((BlockReason::BudgetExceeded, message));
            }
            let of = of(meter.scope, operation, actor);
            let key = keys::usage(workspace, &meter.id, of);
            let used = metering
                .read
                .get(&key)
                .map_or(0, |record| record.value.used(meter.window_seconds, now));
            if let Some(limit) = meter.limit.filter(|limit| used.saturating_add(amount) > *limit) {
                let message = format!(
                    "{}: {used} used and {amount} more of {limit} within {} s",
                    meter.id, meter.window_seconds
                );
                // More than the whole limit: no time will do, people must.
                let alone = amount > limit;
                if let Some(record) = metering.read.get(&key).filter(|_| !alone) {
                    let at = record.value.room_at(meter.window_seconds, now, limit - amount);
                    metering.room_at = metering.room_at.into_iter().chain([at]).min();
                }
                return Err((
                    if alone { BlockReason::BudgetExceeded } else { BlockReason::UsageExceeded },
                    message,
                ));
            }
            if amount > 0 {
                let (meter, window_seconds) = (meter.id.clone(), meter.window_seconds);
                reserved.push(Reserved { meter, of: of.to_owned(), amount, window_seconds });
            }
        }
        metering.take(workspace, &reserved, now);
        Ok(reserved)
    }

    /// What is used now, by whom.
    pub(crate) async fn usage(
        &self,
        workspace: &WorkspaceId,
        meters: &[Meter],
    ) -> Result<Vec<Usage>, PortError> {
        let now = self.base.now();
        let mut found = Vec::new();
        for meter in meters {
            let (partition, prefix) = keys::usage_of(workspace, &meter.id);
            for (key, item) in
                self.base.store.query(&Query::prefix(partition, &prefix, LISTED_MAX)).await?
            {
                let record: UsageRecord = countersign_store::decode(&key, &item.body)?;
                let used = record.used(meter.window_seconds, now);
                if used > 0 {
                    found.push(Usage {
                        meter: meter.id.clone(),
                        of: record.of,
                        used,
                        limit: meter.limit,
                    });
                }
            }
        }
        Ok(found)
    }
}
