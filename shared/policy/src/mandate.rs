//! The condition of a mandate: Cedar, by the same door and within the same bounds as a policy set.
//!
//! A condition stands for one policy, which permits one operation where the condition holds. What
//! makes it another policy, or more than one, is refused; an error in it is a no (INVARIANT
//! fail-closed).

use crate::{
    policy_set::{CompiledPolicySet, PolicySetError, parse},
    request::{AuthzRequest, uid},
    schema,
};
use cedar_policy::{ActionConstraint, Effect, PrincipalConstraint, ResourceConstraint};
use contracts::{Issue, governance::Meter, limits::MANDATE_WHEN_BYTES_MAX};
use cs_core::skill::Registry;
use serde_json::Value;
use std::collections::BTreeSet;

/// Why a condition is none.
#[derive(Debug, thiserror::Error)]
pub enum ConditionError {
    #[error("a condition has at most {MANDATE_WHEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("a condition is what stands in `when {{ … }}` of one policy, and no more")]
    NotOne,
    #[error("the condition cannot be read: {0}")]
    Policy(#[from] PolicySetError),
}

/// A condition over calls of one operation, ready to decide.
pub struct MandateCondition(CompiledPolicySet);

// The policy that a condition stands for.
fn policy_text(operation: &str, when: Option<&str>) -> String {
    let when = when.map(|when| format!(" when {{\n{when}\n}}")).unwrap_or_default();
    format!("permit (principal, action == Action::\"{operation}\", resource){when};")
}

// What is written into a condition ends neither it nor its policy.
fn checked_text(operation: &str, when: Option<&str>) -> Result<String, ConditionError> {
    if when.is_some_and(|when| when.len() > MANDATE_WHEN_BYTES_MAX) {
        return Err(ConditionError::TooLong);
    }
    let text = policy_text(operation, when);
    let policies = parse(&text)?;
    let mut all = policies.policies();
    let (Some(policy), None) = (all.next(), all.next()) else {
        return Err(ConditionError::NotOne);
    };
    let action = uid("Action", operation).map_err(|_| ConditionError::NotOne)?;
    let own = policy.effect() == Effect::Permit
        && policy.principal_constraint() == PrincipalConstraint::Any
        && policy.resource_constraint() == ResourceConstraint::Any
        && policy.action_constraint() == ActionConstraint::Eq(action)
        && policy.annotations().next().is_none();
    if own { Ok(text) } else { Err(ConditionError::NotOne) }
}

/// What is wrong with a condition, strictly validated as a policy is. Empty: nothing.
pub fn validate_condition(
    (operation, when): (&str, Option<&str>),
    registry: &Registry,
    meters: &[Meter],
    signals: &BTreeSet<String>,
) -> Vec<Issue> {
    match checked_text(operation, when) {
        Ok(text) => schema::validate_with(&text, registry, meters, Some(signals))
            .into_iter()
            .map(|issue| Issue { pointer: "/when".into(), ..issue })
            .collect(),
        Err(error) => vec![Issue::coded("POLICY_INVALID", "/when", error.to_string())],
    }
}

impl MandateCondition {
    /// The condition of a mandate for an operation of the registry; None: any input.
    pub fn new(
        operation: &str,
        when: Option<&str>,
        registry: &Registry,
    ) -> Result<Self, ConditionError> {
        let text = checked_text(operation, when)?;
        Ok(Self(CompiledPolicySet::new(&text, "0", registry)?))
    }

    /// Whether it holds for a call, by the request that policies were asked; an error is a no.
    pub fn holds(&self, request: &Value) -> bool {
        serde_json::from_value::<AuthzRequest>(request.clone())
            .is_ok_and(|request| self.0.authorize(&request).permitted)
    }
}

/// Whether policies see all of an input: no value of it is null or a number that Cedar has no type
/// for, which would be missing for them.
pub fn is_plain(input: &Value) -> bool {
    match input {
        Value::Null => false,
        Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.is_i64(),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(map) => map.values().all(is_plain),
    }
}

#[cfg(test)]
mod tests;
