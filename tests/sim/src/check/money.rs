//! Budgets and meters: what was spent and reserved, per plan and over time.

use super::*;
use contracts::event::ExecutionEvent;

// What was spent against what might be, by the events and by the tools' own count.
pub(super) fn budgets(world: &World, id: &ExecutionId, entries: &[Entry]) {
    let asked = world.watch.asked(id).unwrap();
    let budget: Budget = serde_json::from_value(asked.draft["budget"].clone()).unwrap_or_default();
    if let Some(most) = budget.writes {
        // What a claim reserved counts until it is known to have had no effect.
        let mut holds: BTreeMap<(&str, Purpose), u64> = BTreeMap::new();
        let mut spent = 0;
        for entry in entries {
            match &entry.event {
                Event::Execution(ExecutionEvent::StepStarted(data)) if data.spend.writes > 0 => {
                    holds.insert((data.step_id.as_str(), data.purpose), data.spend.writes);
                }
                Event::Execution(ExecutionEvent::StepFailed(data)) if data.budget_refunded => {
                    holds.remove(&(data.step_id.as_str(), Purpose::Run));
                }
                Event::Execution(ExecutionEvent::StepResolved(data))
                    if data.outcome == Resolution::Failed =>
                {
                    holds.remove(&(data.step_id.as_str(), Purpose::Run));
                }
                _ => {}
            }
            spent = spent.max(holds.values().sum::<u64>());
        }
        world.invariants.check("claim-is-one-transaction", spent <= most, || {
            format!("{id}: spent {spent} of {most} writes")
        });
    }
    let done = world.done.lock().unwrap();
    let mut moved: BTreeMap<String, u128> = BTreeMap::new();
    let mut recipients = 0;
    for one in done.moved.values().filter(|one| one.of.0 == *id) {
        let Moves { money, recipients: to } = &one.moves;
        money
            .iter()
            .for_each(|(currency, units)| *moved.entry(currency.clone()).or_default() += units);
        recipients += to.unwrap_or(0);
    }
    for (currency, units) in moved {
        let own = budget.money.as_ref().map(|money| money.get(&currency).copied().unwrap_or(0));
        let whole = world
            .limits
            .plan_money
            .map(|most| if currency == "EUR" || currency == "USD" { most } else { 0 });
        for most in [own, whole].into_iter().flatten() {
            world.invariants.check("unmeasured-is-not-small", units <= u128::from(most), || {
                format!("{id}: the tools moved {units} of {most} {currency}")
            });
        }
    }
    if let Some(most) = budget.recipients {
        world.invariants.check("unmeasured-is-not-small", recipients <= most, || {
            format!("{id}: the tools wrote to {recipients} of {most}")
        });
    }
}

// Within no window more was reserved, and not given back before, than the meter allows. Where the
// clock was set, a window is not what it was: `money_over_time` looks at those.
pub(super) fn metered(world: &World, dump: &Dump) {
    if world.shared.jumps() > 0 {
        return;
    }
    let mut claims: Vec<(i64, i64, u64)> = Vec::new();
    for id in world.executions.lock().unwrap().iter() {
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        for item in partition(dump, &keys::execution(&world.workspace, id), keys::EVENT) {
            let entry: Entry = serde_json::from_slice(&item.body).unwrap();
            let back = match &entry.event {
                Event::Execution(ExecutionEvent::StepStarted(data)) => {
                    for one in data.reserved.iter().filter(|one| one.meter == "writes") {
                        if data.purpose == Purpose::Run {
                            open.insert(data.step_id.to_string(), claims.len());
                        }
                        claims.push((entry.at.ms(), i64::MAX, one.amount));
                    }
                    None
                }
                Event::Execution(ExecutionEvent::StepFailed(data)) if data.budget_refunded => {
                    Some(&data.step_id)
                }
                Event::Execution(ExecutionEvent::StepResolved(data))
                    if data.outcome == Resolution::Failed =>
                {
                    Some(&data.step_id)
                }
                _ => None,
            };
            if let Some(claim) =
                back.and_then(|id| open.remove(id.as_str())).and_then(|at| claims.get_mut(at))
            {
                claim.1 = entry.at.ms();
            }
        }
    }
    let window = METER_SECONDS as i64 * 1_000;
    for (at, _, _) in &claims {
        let counts = |(then, back, _): &&(i64, i64, u64)| {
            *then <= *at && *then > *at - window && *back > *at
        };
        let sum: u64 = claims.iter().filter(counts).map(|(_, _, amount)| amount).sum();
        world.invariants.check("claim-is-one-transaction", sum <= METER_LIMIT, || {
            format!("{sum} of {METER_LIMIT} writes within a window")
        });
    }
}

// Within no window in which nobody set the clock did the tools move more than the meters allow, by
// their own count.
pub(super) fn money_over_time(world: &World) {
    let claims = world.watch.claims.lock().unwrap();
    let done = world.done.lock().unwrap();
    let mut counted: Vec<(i64, usize, u128, u64)> = Vec::new();
    for (index, claim) in claims.iter().enumerate().filter(|(_, claim)| claim.reserved) {
        let of = (claim.execution.clone(), claim.step.clone());
        let again = claims.iter().skip(index + 1).any(|later| {
            later.reserved
                && later.execution == of.0
                && later.step == of.1
                && later.purpose == claim.purpose
        });
        let moved = done.moved.values().find(|one| one.of == of && one.purpose == claim.purpose);
        // What was claimed anew had no effect before.
        let Some(moved) = moved.filter(|_| !again) else { continue };
        let euros = moved
            .moves
            .money
            .iter()
            .filter(|(currency, _)| currency == "EUR")
            .map(|(_, units)| *units)
            .sum();
        counted.push((claim.passed, claim.jumps, euros, moved.moves.recipients.unwrap_or(0)));
    }
    let window = METER_SECONDS as i64 * 1_000;
    for (index, (at, jumps, ..)) in counted.iter().enumerate() {
        let before = counted.iter().take(index + 1);
        let within: Vec<_> =
            before.filter(|(then, set, ..)| set == jumps && *then > at - window).collect();
        let euros: u128 = within.iter().map(|one| one.2).sum();
        let recipients: u64 = within.iter().map(|one| one.3).sum();
        let most = (world.limits.meter_money, world.limits.meter_recipients);
        let holds = most.0.is_none_or(|most| euros <= u128::from(most))
            && most.1.is_none_or(|most| recipients <= most);
        world.invariants.check("unmeasured-is-not-small", holds, || {
            format!("the tools moved {euros} cents, to {recipients}, within a window: {most:?}")
        });
    }
}
