//! A policy set, parsed once and indexed by action: Cedar scans linearly, so it is given only what may apply.

use crate::{
    place,
    request::{Ask, uid},
};
use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Decision, Effect, EntityUid, Policy, PolicyId, PolicySet,
};
use contracts::{Digest, governance::DecidingPolicy};
use cs_core::{canonical, skill::Registry};
use std::{
    collections::{BTreeSet, HashMap},
    str::FromStr as _,
    sync::Arc,
};

/// A policy set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Faulty {
    #[error("the policy set cannot be read: {0}")]
    Syntax(String),
    #[error("the policy set has templates, which are not supported")]
    Templates,
}

/// A policy set ready to decide.
pub struct Authority {
    version: String,
    digest: Digest,
    #[cfg_attr(not(test), expect(dead_code, reason = "what the slices are proven equal to"))]
    full: PolicySet,
    /// `@id`, `@reason` and `@expires` of each policy, read once.
    notes: HashMap<PolicyId, Note>,
    /// For every known action, what may apply to it. An action that is not here is unknown.
    slices: HashMap<String, Arc<PolicySet>>,
    authorizer: Authorizer,
}

struct Note {
    name: String,
    reason: String,
    expires_ms: Option<i64>,
    described: DecidingPolicy,
}

/// What Cedar says of one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) permitted: bool,
    /// Names of the policies that decided, sorted.
    pub(crate) determining: BTreeSet<String>,
    /// `@reason` of those.
    pub(crate) reasons: BTreeSet<String>,
    /// `@expires` of those, in milliseconds; the shortest.
    pub(crate) expires_ms: Option<i64>,
    pub(crate) errors: BTreeSet<String>,
}

impl Authority {
    /// Parses and indexes a set for the operations of a registry.
    pub fn new(text: &str, version: impl Into<String>, registry: &Registry) -> Result<Self, Faulty> {
        let full = PolicySet::from_str(text).map_err(|error| Faulty::Syntax(error.to_string()))?;
        if full.templates().next().is_some() {
            return Err(Faulty::Templates);
        }
        let mut everywhere: Vec<&Policy> = Vec::new();
        let mut by_action: HashMap<EntityUid, Vec<&Policy>> = HashMap::new();
        for policy in full.policies() {
            match policy.action_constraint() {
                ActionConstraint::Any => everywhere.push(policy),
                ActionConstraint::Eq(action) => by_action.entry(action).or_default().push(policy),
                ActionConstraint::In(actions) => {
                    for action in actions {
                        by_action.entry(action).or_default().push(policy);
                    }
                }
            }
        }
        let set = |policies: Vec<&Policy>| {
            let mut seen = BTreeSet::new();
            let distinct = policies.into_iter().filter(|policy| seen.insert(policy.id().clone())).cloned();
            PolicySet::from_policies(distinct).map_err(|error| Faulty::Syntax(error.to_string()))
        };
        let general = Arc::new(set(everywhere.clone())?);
        let mut slices = HashMap::new();
        for skill in registry.skills() {
            let key = &skill.manifest().skill.key;
            for name in skill.operations().keys() {
                let action = format!("{key}/{name}");
                let own = [uid("Action", &action), uid("Action", key)];
                let mut specific: Vec<&Policy> =
                    own.into_iter().flatten().filter_map(|uid| by_action.get(&uid)).flatten().copied().collect();
                let slice = if specific.is_empty() {
                    general.clone()
                } else {
                    specific.extend(&everywhere);
                    Arc::new(set(specific)?)
                };
                slices.insert(action, slice);
            }
        }
        let places = place::places(text);
        let notes = full
            .policies()
            .map(|policy| (policy.id().clone(), note(policy, place::of(&places, policy.id()))))
            .collect();
        let digest = canonical::digest_bytes(text.as_bytes());
        Ok(Self { version: version.into(), digest, full, notes, slices, authorizer: Authorizer::new() })
    }

    /// Version of the set.
    pub fn version(&self) -> &str {
        &self.version
    }
    /// SHA-256 of its text.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The policy of a name, with its reason and place.
    pub fn describe(&self, name: &str) -> Option<&DecidingPolicy> {
        self.notes.values().find(|note| note.name == name).map(|note| &note.described)
    }

    /// Decides by the slice of the action.
    pub(crate) fn ask(&self, ask: &Ask) -> Answer {
        match self.slices.get(&ask.action) {
            Some(slice) => self.ask_of(slice, ask),
            None => Answer::denied(format!("unknown action `{}`", ask.action)),
        }
    }

    /// Decides by the whole set: slower, and the same.
    #[cfg(test)]
    pub(crate) fn ask_full(&self, ask: &Ask) -> Answer {
        if self.slices.contains_key(&ask.action) {
            self.ask_of(&self.full, ask)
        } else {
            Answer::denied(format!("unknown action `{}`", ask.action))
        }
    }

    fn ask_of(&self, policies: &PolicySet, ask: &Ask) -> Answer {
        let (request, entities) = match ask.to_cedar() {
            Ok(found) => found,
            Err(error) => return Answer::denied(error.to_string()),
        };
        let response = self.authorizer.is_authorized(&request, policies, &entities);
        let errors: BTreeSet<String> = response.diagnostics().errors().map(|error| self.explain(error)).collect();
        let mut answer = Answer {
            // INVARIANT (fail-closed): Cedar skips an erroring `forbid`; we deny on any error.
            permitted: response.decision() == Decision::Allow && errors.is_empty(),
            determining: BTreeSet::new(),
            reasons: BTreeSet::new(),
            expires_ms: None,
            errors,
        };
        for note in response.diagnostics().reason().filter_map(|id| self.notes.get(id)) {
            answer.determining.insert(note.name.clone());
            answer.reasons.insert(note.reason.clone());
            answer.expires_ms = answer.expires_ms.into_iter().chain(note.expires_ms).min();
        }
        answer
    }
}

impl Authority {
    // Cedar names a policy by its position; people know it by its `@id`.
    fn explain(&self, error: &AuthorizationError) -> String {
        let AuthorizationError::PolicyEvaluationError(inner) = error;
        let name = self.notes.get(inner.policy_id()).map(|note| note.name.as_str()).unwrap_or_default();
        format!("`{name}`: {inner}")
    }
}

impl Answer {
    fn denied(error: String) -> Self {
        Self {
            permitted: false,
            determining: BTreeSet::new(),
            reasons: BTreeSet::new(),
            expires_ms: None,
            errors: BTreeSet::from([error]),
        }
    }
}

/// `@id`, else the position.
pub(crate) fn name_of(policy: &Policy) -> String {
    policy.annotation("id").map_or_else(|| policy.id().to_string(), str::to_owned)
}

fn note(policy: &Policy, place: Option<&place::Place>) -> Note {
    let name = name_of(policy);
    let effect = match policy.effect() {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    };
    let described = DecidingPolicy {
        id: name.clone(),
        reason: policy.annotation("reason").map(str::to_owned),
        effect: effect.into(),
        file: place.and_then(|place| place.file.clone()),
        line: place.map_or(0, |place| place.line),
    };
    let reason = described.reason.clone().unwrap_or_else(|| name.clone());
    Note { name, reason, expires_ms: policy.annotation("expires").and_then(duration_ms), described }
}

// `90s`, `15m`, `4h`, `2d`.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(unit).filter(|ms| *ms > 0)
}
