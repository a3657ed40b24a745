//! Rules that can never match, or whose conditions say nothing: found before a set is activated.
//!
//! Cedar's validator knows types, not values: `context.tier == "enormous"` is well typed and never
//! true, so a `forbid` with it forbids nothing. What a request can hold of closed scales and
//! bounded numbers is known here, and a policy's conditions are tried on every combination of what
//! they look at. What is not known counts as either.

mod domain;
mod expression;
#[cfg(test)]
mod tests;

use cedar_policy::Policy;
use domain::{Assignment, Variable};
use expression::{Truth, evaluate};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Combinations that the conditions of one policy are tried on. Beyond, only its single comparisons
/// are looked at.
const COMBINATIONS_MAX: usize = 20_000;
/// Expressions evaluated for one set.
const EVALUATIONS_MAX: usize = 5_000_000;

/// Names that exist in a workspace and that policies compare with.
#[derive(Clone, Copy, Debug, Default)]
pub struct KnownNames<'n> {
    /// Labels that the installed operations declare.
    pub labels: Option<&'n BTreeSet<String>>,
    /// Phrases that raise the risk of an intent.
    pub signals: Option<&'n BTreeSet<String>>,
}

/// The check of one set, with what is left of its work.
pub(crate) struct Check<'n> {
    names: KnownNames<'n>,
    left: usize,
}

impl<'n> Check<'n> {
    pub(crate) fn new(names: KnownNames<'n>) -> Self {
        Self { names, left: EVALUATIONS_MAX }
    }

    /// What is wrong with the conditions of a policy.
    pub(crate) fn policy(&mut self, policy: &Policy) -> Vec<String> {
        let Ok(json) = policy.to_json() else {
            return Vec::new();
        };
        let conditions =
            json.get("conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let bodies = || conditions.iter().filter_map(|condition| condition.get("body"));
        let mut wrong = BTreeSet::new();
        for body in bodies() {
            expression::comparisons(body, &mut |comparison| {
                wrong.extend(comparison.fault(self.names));
            });
        }
        if wrong.is_empty() && self.never(conditions) {
            wrong.insert("its conditions can never all hold, whatever is asked".to_owned());
        }
        wrong.into_iter().collect()
    }

    // Whether no combination of what the conditions look at lets all of them hold.
    fn never(&mut self, conditions: &[Value]) -> bool {
        if conditions.is_empty() {
            return false;
        }
        let mut variables: BTreeSet<Variable> = BTreeSet::new();
        let mut integers: BTreeSet<i64> = BTreeSet::new();
        let mut size = 0;
        for condition in conditions {
            size += expression::collect(condition, &mut variables, &mut integers);
        }
        let domains: Vec<(Variable, Vec<Value>)> = variables
            .into_iter()
            .map(|variable| {
                let values = variable.domain().representatives(&integers);
                (variable, values)
            })
            .collect();
        let combinations = domains.iter().try_fold(1_usize, |product, (_, values)| {
            product.checked_mul(values.len()).filter(|product| *product <= COMBINATIONS_MAX)
        });
        let Some(combinations) = combinations else { return false };
        for combination in 0..combinations {
            self.left = self.left.saturating_sub(size);
            if self.left == 0 {
                return false;
            }
            if holds(conditions, &assignment(&domains, combination)) != Truth::No {
                return false;
            }
        }
        true
    }
}

// The n-th combination.
fn assignment(domains: &[(Variable, Vec<Value>)], mut number: usize) -> Assignment {
    let mut found = BTreeMap::new();
    for (variable, values) in domains {
        if let Some(value) = values.get(number % values.len().max(1)) {
            found.insert(variable.clone(), value.clone());
        }
        number /= values.len().max(1);
    }
    found
}

fn holds(conditions: &[Value], assignment: &Assignment) -> Truth {
    conditions.iter().fold(Truth::Yes, |all, condition| {
        let Some(body) = condition.get("body") else {
            return all.and(Truth::Unknown);
        };
        let truth = evaluate(body, assignment).truth();
        let unless = condition.get("kind").and_then(Value::as_str) == Some("unless");
        all.and(if unless { truth.not() } else { truth })
    })
}
