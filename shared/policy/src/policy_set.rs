//! A policy set, parsed once and indexed by action: Cedar scans linearly, so it is given only the
//! policies that may apply.

use crate::{
    annotations, local_time,
    nesting::{self, TooDeepError},
    request::{AuthzRequest, uid},
    source,
};
use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Decision, Effect, Entities, EntityUid,
    Policy, PolicyId, PolicySet,
};
use contracts::{
    Digest, Timestamp,
    governance::DecidingPolicy,
    limits::{POLICY_BYTES_MAX, POLICY_RULES_MAX},
};
use cs_core::{canonical, skill::Registry};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    str::FromStr as _,
    sync::{Arc, Mutex, PoisonError},
};

/// A policy set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicySetError {
    #[error("a policy set has at most {POLICY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("a policy set has at most {POLICY_RULES_MAX} policies")]
    TooMany,
    #[error(transparent)]
    TooDeep(#[from] TooDeepError),
    #[error("the policy set cannot be read: {0}")]
    Syntax(String),
    #[error("the policy set has templates, which are not supported: write the policies out")]
    Templates,
    #[error(transparent)]
    TimeZone(#[from] local_time::TimeZoneError),
}

/// Reads a policy text: the only way to Cedar's parser, whose stack and work are bounded here
/// (INVARIANT bounded-work).
pub(crate) fn parse(text: &str) -> Result<PolicySet, PolicySetError> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(PolicySetError::TooLarge);
    }
    nesting::check_nesting(text)?;
    let policies =
        PolicySet::from_str(text).map_err(|error| PolicySetError::Syntax(error.to_string()))?;
    if policies.templates().next().is_some() {
        return Err(PolicySetError::Templates);
    }
    if policies.num_of_policies() > POLICY_RULES_MAX {
        return Err(PolicySetError::TooMany);
    }
    Ok(policies)
}

/// Answers cached per generation, and the longest cached request, in bytes.
const KEPT_MAX: usize = 1_024;
const KEPT_BYTES_MAX: usize = 1_024;
/// Permits that a default deny names.
const UNMATCHED_MAX: usize = 5;

/// A policy set ready to decide.
pub struct CompiledPolicySet {
    version: String,
    digest: Digest,
    #[cfg_attr(not(test), expect(dead_code, reason = "what the slices are proven equal to"))]
    full: PolicySet,
    /// In which its policies read the hour and the weekday.
    zone: jiff::tz::TimeZone,
    /// The annotations of each policy, read once.
    notes: HashMap<PolicyId, Note>,
    /// For every known action, what may apply to it. An action that is not here is unknown.
    slices: HashMap<String, Arc<PolicySet>>,
    authorizer: Authorizer,
    /// Recent answers by request: a claim mostly repeats the requests of its plan's verification.
    given: Kept<Answer>,
    /// Entities by what they depend on.
    entities: Kept<Entities>,
}

/// A cache of recent results by the bytes of their input, in two generations.
struct Kept<T>(Mutex<[HashMap<Vec<u8>, Arc<T>>; 2]>);

impl<T> Kept<T> {
    fn get_or<E>(
        &self,
        of: Option<Vec<u8>>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let Some(of) = of.filter(|of| of.len() <= KEPT_BYTES_MAX) else {
            return make().map(Arc::new);
        };
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept().iter().find_map(|kept| kept.get(&of)) {
            return Ok(found.clone());
        }
        let made = Arc::new(make()?);
        let [young, old] = &mut *kept();
        if young.len() >= KEPT_MAX {
            *old = std::mem::take(young);
        }
        young.insert(of, made.clone());
        Ok(made)
    }
}

struct Note {
    name: String,
    reason: String,
    expires_ms: Option<i64>,
    approvers: BTreeMap<String, u32>,
    mandate: bool,
    effect: Effect,
    described: DecidingPolicy,
}

/// Cedar's answer to one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) permitted: bool,
    /// Names of the policies that decided, sorted.
    pub(crate) determining: BTreeSet<String>,
    /// `@reason` of those.
    pub(crate) reasons: BTreeSet<String>,
    /// `@expires` of those, in milliseconds; the shortest.
    pub(crate) expires_ms: Option<i64>,
    /// `@approvers` of those: of each group the most.
    pub(crate) approvers: BTreeMap<String, u32>,
    /// Among those, a permit with `@mandate("allowed")`, and a forbid without it.
    pub(crate) mandate_allowed: bool,
    pub(crate) mandate_refused: bool,
    /// If no policy decided: permits that apply but whose conditions do not hold.
    pub(crate) unmatched: BTreeSet<String>,
    pub(crate) errors: BTreeSet<String>,
}

impl CompiledPolicySet {
    /// Parses and indexes a set for the operations of a registry.
    pub fn new(
        text: &str,
        version: impl Into<String>,
        registry: &Registry,
    ) -> Result<Self, PolicySetError> {
        let full = parse(text)?;
        let zone = local_time::declared(text)?;
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
            let distinct =
                policies.into_iter().filter(|policy| seen.insert(policy.id().clone())).cloned();
            PolicySet::from_policies(distinct)
                .map_err(|error| PolicySetError::Syntax(error.to_string()))
        };
        let general = Arc::new(set(everywhere.clone())?);
        let mut slices = HashMap::new();
        for skill in registry.skills() {
            let key = &skill.manifest().skill.key;
            for name in skill.operations().keys() {
                let action = format!("{key}/{name}");
                let own = [uid("Action", &action), uid("Action", key)];
                let mut specific: Vec<&Policy> = own
                    .into_iter()
                    .flatten()
                    .filter_map(|uid| by_action.get(&uid))
                    .flatten()
                    .copied()
                    .collect();
                let slice = if specific.is_empty() {
                    general.clone()
                } else {
                    specific.extend(&everywhere);
                    Arc::new(set(specific)?)
                };
                slices.insert(action, slice);
            }
        }
        let locations = source::locations(text);
        let notes = full
            .policies()
            .map(|policy| (policy.id().clone(), note(policy, source::of(&locations, policy.id()))))
            .collect();
        let digest = canonical::digest_bytes(text.as_bytes());
        let (given, entities) = (Kept(Mutex::default()), Kept(Mutex::default()));
        let authorizer = Authorizer::new();
        Ok(Self {
            version: version.into(),
            digest,
            full,
            zone,
            notes,
            slices,
            authorizer,
            given,
            entities,
        })
    }

    /// Version of the set.
    pub fn version(&self) -> &str {
        &self.version
    }
    /// SHA-256 of its text.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Hour and weekday of a moment, as its policies read them.
    pub(crate) fn hour_and_weekday(&self, at: Timestamp) -> (u8, &'static str) {
        local_time::hour_and_weekday(at, &self.zone)
    }

    /// The policy of a name, with its reason and location.
    pub fn describe(&self, name: &str) -> Option<&DecidingPolicy> {
        self.notes.values().find(|note| note.name == name).map(|note| &note.described)
    }

    /// Whom `@approvers` asks for, with the policy that does.
    pub fn approvers(&self) -> impl Iterator<Item = (&DecidingPolicy, &str, u32)> {
        self.notes.values().flat_map(|note| {
            let groups = note.approvers.iter();
            groups.map(|(group, count)| (&note.described, group.as_str(), *count))
        })
    }

    /// Decides by the slice of the action.
    pub(crate) fn authorize(&self, request: &AuthzRequest) -> Arc<Answer> {
        let Some(slice) = self.slices.get(&request.action) else {
            return Arc::new(Answer::denied(format!("unknown action `{}`", request.action)));
        };
        let Ok(answer) = self.given.get_or(serde_json::to_vec(request).ok(), || {
            Ok::<_, Infallible>(self.authorize_with(slice, request))
        });
        answer
    }

    /// Decides by the whole set: slower, with the same result.
    #[cfg(test)]
    pub(crate) fn authorize_full(&self, request: &AuthzRequest) -> Answer {
        if self.slices.contains_key(&request.action) {
            self.authorize_with(&self.full, request)
        } else {
            Answer::denied(format!("unknown action `{}`", request.action))
        }
    }

    fn authorize_with(&self, policies: &PolicySet, request: &AuthzRequest) -> Answer {
        let entities = self.entities.get_or(request.about(), || request.entities());
        let (query, entities) = match request.to_cedar().and_then(|query| Ok((query, entities?))) {
            Ok(found) => found,
            Err(error) => return Answer::denied(error.to_string()),
        };
        let response = self.authorizer.is_authorized(&query, policies, &entities);
        let errors: BTreeSet<String> =
            response.diagnostics().errors().map(|error| self.explain(error)).collect();
        let mut answer = Answer {
            // INVARIANT (fail-closed): Cedar skips an erroring `forbid`; we deny on any error.
            permitted: response.decision() == Decision::Allow && errors.is_empty(),
            errors,
            ..Answer::default()
        };
        for note in response.diagnostics().reason().filter_map(|id| self.notes.get(id)) {
            answer.determining.insert(note.name.clone());
            answer.reasons.insert(note.reason.clone());
            match note.effect {
                Effect::Permit => answer.mandate_allowed |= note.mandate,
                Effect::Forbid => answer.mandate_refused |= !note.mandate,
            }
            answer.expires_ms = answer.expires_ms.into_iter().chain(note.expires_ms).min();
            for (group, count) in &note.approvers {
                let most = answer.approvers.entry(group.clone()).or_default();
                *most = (*most).max(*count);
            }
        }
        if answer.determining.is_empty() && !answer.permitted {
            let permits = policies.policies().filter_map(|policy| self.notes.get(policy.id()));
            let permits = permits.filter(|note| note.effect == Effect::Permit);
            answer.unmatched = permits.map(|note| note.name.clone()).take(UNMATCHED_MAX).collect();
        }
        answer
    }
}

impl CompiledPolicySet {
    // Cedar names a policy by its position; people know it by its `@id`.
    fn explain(&self, error: &AuthorizationError) -> String {
        let AuthorizationError::PolicyEvaluationError(inner) = error;
        let name =
            self.notes.get(inner.policy_id()).map(|note| note.name.as_str()).unwrap_or_default();
        format!("`{name}`: {inner}")
    }
}

impl Answer {
    fn denied(error: String) -> Self {
        Self { errors: BTreeSet::from([error]), ..Self::default() }
    }
}

/// `@id`, else the position.
pub(crate) fn name_of(policy: &Policy) -> String {
    policy.annotation("id").map_or_else(|| policy.id().to_string(), str::to_owned)
}

fn note(policy: &Policy, location: Option<&source::Location>) -> Note {
    let name = name_of(policy);
    let effect = policy.effect();
    let described = DecidingPolicy {
        id: name.clone(),
        reason: policy.annotation("reason").map(str::to_owned),
        effect: match effect {
            Effect::Permit => "permit".into(),
            Effect::Forbid => "forbid".into(),
        },
        expires: policy.annotation("expires").map(str::to_owned),
        approvers: policy.annotation("approvers").map(str::to_owned),
        file: location.and_then(|location| location.file.clone()),
        line: location.map_or(0, |location| location.line),
    };
    let reason = described.reason.clone().unwrap_or_else(|| name.clone());
    let expires_ms = policy.annotation("expires").and_then(annotations::expires_ms);
    let approvers =
        policy.annotation("approvers").and_then(annotations::approvers).unwrap_or_default();
    let mandate = policy.annotation("mandate").is_some_and(annotations::mandate);
    Note { name, reason, expires_ms, approvers, mandate, effect, described }
}
