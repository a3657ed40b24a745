//! Blast radius: writes, money and recipients of a call, as far as its input is known; and what of
//! a budget it exceeds.

use super::measure::{self, Measured};
use crate::schema::within;
use contracts::{
    draft::Budget,
    manifest::{Money, Operation},
    plan::{PlanStep, Radius, RadiusKind},
    verdict::Effect,
};
use serde_json::Value;

/// The radius of a call whose input is known but for some places; `open` where it depends on them.
pub(super) fn of_draft(input: &Value, later: &[&String], spec: &Operation) -> Radius {
    of_input(input, spec, |pointer: &str| later.iter().any(|place| touches(pointer, place)))
}

/// The radius of a planned call with its actual input.
pub fn resolved(input: &Value, spec: &Operation, planned: &PlanStep) -> Radius {
    Radius { data_classes: planned.radius.data_classes.clone(), ..of_input(input, spec, |_| false) }
}

/// Whether a value that is put at one pointer is part of what another points to, or the other way
/// round.
pub(super) fn touches(pointer: &str, other: &str) -> bool {
    within(pointer, other) || within(other, pointer)
}

fn of_input(input: &Value, spec: &Operation, waits: impl Fn(&str) -> bool) -> Radius {
    let declared = spec.blast_radius.as_ref();
    let default = u64::from(spec.effect != Effect::Read);
    let mut radius = Radius {
        writes: declared.and_then(|radius| radius.writes).unwrap_or(default),
        ..Radius::default()
    };
    if let Some(money) = declared.and_then(|radius| radius.money.as_ref()) {
        match money_of(input, money, &waits) {
            Measured::Known((currency, amount)) => {
                radius.money.insert(currency, amount);
            }
            Measured::Later => radius.open = true,
            Measured::Unmeasured => {
                radius.unmeasured.insert(RadiusKind::Money);
            }
        }
    }
    if let Some(pointer) = declared.and_then(|radius| radius.recipients.as_ref()) {
        let found = look(input, pointer, &waits);
        match found {
            Measured::Known(value) => match measure::recipients(value) {
                Some(count) => radius.recipients = count,
                None => {
                    radius.unmeasured.insert(RadiusKind::Recipients);
                }
            },
            Measured::Later => radius.open = true,
            Measured::Unmeasured => {
                radius.unmeasured.insert(RadiusKind::Recipients);
            }
        }
    }
    radius
}

fn money_of(
    input: &Value,
    money: &Money,
    waits: &impl Fn(&str) -> bool,
) -> Measured<(String, u64)> {
    let amount = look(input, &money.amount, waits);
    let code = match measure::stated_currency(money) {
        Some(code) => Measured::Known(code),
        None => match look(input, &money.currency, waits) {
            Measured::Known(value) => value.as_str().map_or(Measured::Unmeasured, Measured::Known),
            Measured::Later => Measured::Later,
            Measured::Unmeasured => Measured::Unmeasured,
        },
    };
    match (amount, code) {
        (Measured::Known(amount), Measured::Known(code)) => {
            measure::money(amount, code, money.unit).map_or(Measured::Unmeasured, Measured::Known)
        }
        (Measured::Later, _) | (_, Measured::Later) => Measured::Later,
        (Measured::Unmeasured, _) | (_, Measured::Unmeasured) => Measured::Unmeasured,
    }
}

fn look<'v>(input: &'v Value, pointer: &str, waits: &impl Fn(&str) -> bool) -> Measured<&'v Value> {
    if waits(pointer) {
        return Measured::Later;
    }
    input.pointer(pointer).map_or(Measured::Unmeasured, Measured::Known)
}

/// Adds one radius to another. A sum that is too large to count is unmeasured.
pub(super) fn add(total: &mut Radius, more: &Radius) {
    total.writes = total.writes.saturating_add(more.writes);
    total.open |= more.open;
    total.data_classes.extend(more.data_classes.iter().cloned());
    total.unmeasured.extend(&more.unmeasured);
    match total.recipients.checked_add(more.recipients) {
        Some(sum) => total.recipients = sum,
        None => {
            total.unmeasured.insert(RadiusKind::Recipients);
        }
    }
    for (currency, amount) in &more.money {
        let sum = total.money.entry(currency.clone()).or_default();
        match sum.checked_add(*amount) {
            Some(both) => *sum = both,
            None => {
                *sum = u64::MAX;
                total.unmeasured.insert(RadiusKind::Money);
            }
        }
    }
}

/// The first limit that is exceeded.
pub(super) struct ExceededLimit {
    pub(super) kind: String,
    /// `None`: more than can be counted.
    pub(super) needs: Option<u64>,
    pub(super) limit: u64,
}

impl std::fmt::Display for ExceededLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.needs {
            Some(needs) => write!(f, "{}: {needs} of {}", self.kind, self.limit),
            None => write!(f, "{}: what cannot be measured exceeds every limit", self.kind),
        }
    }
}

/// The first part of a budget that `total` exceeds. With a money budget, a currency it does not
/// name has none. INVARIANT (unmeasured-is-not-small).
pub(super) fn excess(total: &Radius, budget: &Budget) -> Option<ExceededLimit> {
    let over = |kind: &str, needs: u64, limit: Option<u64>| {
        limit.filter(|limit| needs > *limit).map(|limit| ExceededLimit {
            kind: kind.to_owned(),
            needs: Some(needs),
            limit,
        })
    };
    let unmeasured = |kind: RadiusKind, limited: bool| {
        let exceeds = limited && total.unmeasured.contains(&kind);
        exceeds.then(|| ExceededLimit { kind: kind.to_string(), needs: None, limit: 0 })
    };
    over("writes", total.writes, budget.writes)
        .or_else(|| over("recipients", total.recipients, budget.recipients))
        .or_else(|| unmeasured(RadiusKind::Recipients, budget.recipients.is_some()))
        .or_else(|| unmeasured(RadiusKind::Money, budget.money.is_some()))
        .or_else(|| {
            let limits = budget.money.as_ref()?;
            total.money.iter().find_map(|(currency, needs)| {
                let limit = limits.get(currency).copied().unwrap_or(0);
                over(&format!("money/{currency}"), *needs, Some(limit))
            })
        })
        .or_else(|| {
            let allowed = budget.data_classes.as_ref()?;
            let class = total.data_classes.iter().find(|class| !allowed.contains(*class))?;
            Some(ExceededLimit { kind: format!("dataClasses/{class}"), needs: Some(1), limit: 0 })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::manifest::{BlastRadius, MoneyUnit};
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn spec(unit: MoneyUnit) -> Operation {
        let money = Money { amount: "/amount".into(), currency: "/currency".into(), unit };
        Operation {
            blast_radius: Some(BlastRadius { money: Some(money), ..BlastRadius::default() }),
            ..serde_json::from_value(
                json!({ "key": "pay", "title": "pay", "inputSchema": {}, "outputSchema": {},
                "effect": "idempotent", "riskTier": "low", "timeoutSeconds": 1,
                "binding": { "kind": "http", "url": "https://tool.example" } }),
            )
            .unwrap()
        }
    }

    // An input, its unit, and what it truly moves: minor units of a currency, or what nobody can
    // say.
    fn input() -> impl Strategy<Value = (Value, MoneyUnit, Option<(&'static str, u64)>)> {
        let code = proptest::sample::select(vec!["EUR", "JPY", "KWD"]);
        let written = proptest::sample::select(vec![0_u8, 1, 2]);
        let known =
            (code, 0_u64..400, written, any::<bool>()).prop_map(|(code, units, written, lower)| {
                let shown = if lower { code.to_lowercase() } else { code.to_owned() };
                let major = crate::currency::major(units, code).unwrap();
                let (amount, unit) = match written {
                    0 => (json!(units), MoneyUnit::Minor),
                    1 => (json!(major), MoneyUnit::Major),
                    _ => (json!(major.parse::<f64>().unwrap()), MoneyUnit::Major),
                };
                (json!({ "amount": amount, "currency": shown }), unit, Some((code, units)))
            });
        let amounts = vec![
            json!(-5),
            json!(null),
            json!(0.0001),
            json!("1e2"),
            json!(true),
            json!([1]),
            json!(1e300),
        ];
        let wrong =
            (proptest::sample::select(amounts), any::<bool>()).prop_map(|(amount, major)| {
                let unit = if major { MoneyUnit::Major } else { MoneyUnit::Minor };
                (json!({ "amount": amount, "currency": "EUR" }), unit, None)
            });
        let lacking = proptest::sample::select(vec![
            json!({}),
            json!({ "amount": 1 }),
            json!({ "currency": "EUR" }),
            json!({ "amount": 1, "currency": "XBT" }),
            json!({ "amount": 1, "currency": ["EUR"] }),
        ]);
        prop_oneof![4 => known, 1 => wrong, 1 => lacking.prop_map(|input| (input, MoneyUnit::Minor,
            None))]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        // INVARIANT (unmeasured-is-not-small): no sequence of amounts, units and currencies moves
        // more than the limits.
        #[test]
        fn spending_never_exceeds_its_limits(calls in proptest::collection::vec(input(), 0..20),
            limit in 0_u64..1_000) {
            let limits = BTreeMap::from([("EUR".to_owned(), limit), ("KWD".to_owned(), limit / 2)]);
            let budget = Budget { money: Some(limits.clone()), ..Budget::default() };
            let (mut spent, mut moved) = (Radius::default(), BTreeMap::<&str, u64>::new());
            for (input, unit, truth) in calls {
                let mut total = spent.clone();
                add(&mut total, &of_input(&input, &spec(unit), |_| false));
                if excess(&total, &budget).is_some() {
                    continue;
                }
                let (code, units) = truth.expect("what cannot be measured is within no limit");
                *moved.entry(code).or_default() += units;
                spent = total;
            }
            for (code, sum) in moved {
                prop_assert!(sum <= limits.get(code).copied().unwrap_or(0), "{code}: {sum}");
            }
        }
    }
}
