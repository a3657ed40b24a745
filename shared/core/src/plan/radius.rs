//! Blast radius: writes, money and recipients of a step, as far as its input is known.

use super::Resolved;
use contracts::{
    draft::Budget,
    manifest::Operation,
    plan::{PlanStep, Radius},
    verdict::Effect,
};
use serde_json::Value;

/// The radius of a draft step; `open` where it depends on values that come later or are sealed.
pub(super) fn of_draft(step: &Resolved<'_>, spec: &Operation) -> Radius {
    let hidden = |pointer: &str| {
        let mut places = step.wires.iter().map(|wire| &wire.to).chain(step.draft.seals.keys());
        places.any(|place| crate::schema::within(pointer, place) || crate::schema::within(place, pointer))
    };
    of_input(&step.draft.input, spec, hidden)
}

/// The radius of a planned step with its actual input.
pub fn resolved(input: &Value, spec: &Operation, planned: &PlanStep) -> Radius {
    Radius { data_classes: planned.radius.data_classes.clone(), ..of_input(input, spec, |_| false) }
}

fn of_input(input: &Value, spec: &Operation, waits: impl Fn(&str) -> bool) -> Radius {
    let declared = spec.blast_radius.as_ref();
    let default = u64::from(spec.effect != Effect::Read);
    let mut radius =
        Radius { writes: declared.and_then(|radius| radius.writes).unwrap_or(default), ..Radius::default() };
    if let Some(money) = declared.and_then(|radius| radius.money.as_ref()) {
        let amount = input.pointer(&money.amount).and_then(Value::as_u64);
        let currency = input.pointer(&money.currency).and_then(Value::as_str);
        match (amount, currency) {
            (Some(amount), Some(currency)) if !waits(&money.amount) && !waits(&money.currency) => {
                radius.money.insert(currency.to_owned(), amount);
            }
            _ => radius.open = true,
        }
    }
    if let Some(pointer) = declared.and_then(|radius| radius.recipients.as_ref()) {
        if waits(pointer) {
            radius.open = true;
        } else {
            radius.recipients = match input.pointer(pointer) {
                Some(Value::Array(many)) => many.len() as u64,
                Some(Value::Null) | None => 0,
                Some(_) => 1,
            };
        }
    }
    radius
}

/// Adds one radius to another.
pub(super) fn add(total: &mut Radius, more: &Radius) {
    total.writes = total.writes.saturating_add(more.writes);
    total.recipients = total.recipients.saturating_add(more.recipients);
    total.open |= more.open;
    total.data_classes.extend(more.data_classes.iter().cloned());
    for (currency, amount) in &more.money {
        let sum = total.money.entry(currency.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

/// What is exceeded first.
pub(super) struct Excess {
    pub(super) kind: String,
    pub(super) needs: u64,
    pub(super) limit: u64,
}

/// The first part of a budget that `total` exceeds. With a money budget, a currency it does not name has none.
pub(super) fn excess(total: &Radius, budget: &Budget) -> Option<Excess> {
    let over = |kind: &str, needs: u64, limit: Option<u64>| {
        limit.filter(|limit| needs > *limit).map(|limit| Excess { kind: kind.to_owned(), needs, limit })
    };
    over("writes", total.writes, budget.writes)
        .or_else(|| over("recipients", total.recipients, budget.recipients))
        .or_else(|| {
            if budget.money.is_empty() {
                return None;
            }
            total.money.iter().find_map(|(currency, needs)| {
                let limit = budget.money.get(currency).copied().unwrap_or(0);
                over(&format!("money/{currency}"), *needs, Some(limit))
            })
        })
        .or_else(|| {
            let allowed = budget.data_classes.as_ref()?;
            let class = total.data_classes.iter().find(|class| !allowed.contains(*class))?;
            Some(Excess { kind: format!("dataClasses/{class}"), needs: 1, limit: 0 })
        })
}
