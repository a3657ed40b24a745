//! One authorization request: as data, so that it can be stored, shown and evaluated again; and as
//! Cedar reads it.

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    str::FromStr as _,
    sync::LazyLock,
};

/// The authorization request for one step in one mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuthzRequest {
    pub(crate) principal: Principal,
    /// `skill/operation`.
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) context: RequestContext,
}

/// The principal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Principal {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) grants: BTreeSet<String>,
}

/// The context record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestContext {
    pub(crate) mode: String,
    pub(crate) tier: String,
    pub(crate) effect: String,
    /// 0 to 23, in the time zone of the policy set.
    pub(crate) hour: u8,
    /// `monday` to `sunday`, there.
    pub(crate) weekday: String,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) taint: BTreeSet<String>,
    pub(crate) signals: BTreeSet<String>,
    /// Pointers into the input whose values are not known yet.
    pub(crate) unresolved: BTreeSet<String>,
    pub(crate) input: Value,
    pub(crate) plan: PlanSize,
    /// By meter: what the step's actor, operation or workspace used of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) usage: BTreeMap<String, i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    /// Basis points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confidence_bps: Option<u32>,
}

/// The plan's blast radius.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanSize {
    pub(crate) writes: i64,
    pub(crate) steps: i64,
    pub(crate) recipients: i64,
    /// Sums of minor units by currency.
    pub(crate) money: BTreeMap<String, i64>,
    pub(crate) open: bool,
    /// Some of it cannot be counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unmeasured: bool,
}

/// A request that Cedar does not accept.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be evaluated: {0}")]
pub(crate) struct RequestError(String);

fn request_error(error: impl std::fmt::Display) -> RequestError {
    RequestError(error.to_string())
}

/// `Kind::"id"`, whatever characters the id has.
pub(crate) fn uid(kind: &str, id: &str) -> Result<EntityUid, RequestError> {
    // The three kinds of every request are parsed once.
    static KINDS: LazyLock<[(&str, Option<EntityTypeName>); 3]> = LazyLock::new(|| {
        ["Actor", "Action", "Target"].map(|kind| (kind, EntityTypeName::from_str(kind).ok()))
    });
    let known = KINDS.iter().find(|(name, _)| *name == kind).and_then(|(_, kind)| kind.clone());
    let kind = known.ok_or_else(|| RequestError(format!("`{kind}` is no kind of entity")))?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

impl AuthzRequest {
    /// The request.
    pub(crate) fn to_cedar(&self) -> Result<Request, RequestError> {
        let principal = uid("Actor", &self.principal.id)?;
        let action = uid("Action", &self.action)?;
        let resource = uid("Target", &self.resource)?;
        Request::new(principal, action, resource, self.context.to_cedar()?, None)
            .map_err(request_error)
    }

    /// The key of the entities in the cache.
    pub(crate) fn about(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(&(&self.principal, &self.action)).ok()
    }

    /// The entities of the request.
    pub(crate) fn entities(&self) -> Result<Entities, RequestError> {
        let skill = self.action.split('/').next().unwrap_or_default();
        let attributes = HashMap::from([
            ("kind".to_owned(), text(&self.principal.kind)),
            ("grants".to_owned(), texts(&self.principal.grants)),
        ]);
        let actor = Entity::new(uid("Actor", &self.principal.id)?, attributes, HashSet::new())
            .map_err(request_error)?;
        let operation = Entity::new_no_attrs(
            uid("Action", &self.action)?,
            HashSet::from([uid("Action", skill)?]),
        );
        Entities::from_entities([actor, operation], None).map_err(request_error)
    }
}

impl RequestContext {
    fn to_cedar(&self) -> Result<Context, RequestError> {
        let record = |pairs: BTreeMap<String, RestrictedExpression>| {
            RestrictedExpression::new_record(pairs).map_err(request_error)
        };
        let long = RestrictedExpression::new_long;
        let money = self.plan.money.iter().map(|(code, sum)| (code.clone(), long(*sum))).collect();
        let currencies = self.plan.money.keys().map(|code| text(code));
        let plan = record(BTreeMap::from([
            ("writes".to_owned(), long(self.plan.writes)),
            ("steps".to_owned(), long(self.plan.steps)),
            ("recipients".to_owned(), long(self.plan.recipients)),
            ("money".to_owned(), record(money)?),
            ("currencies".to_owned(), RestrictedExpression::new_set(currencies)),
            ("open".to_owned(), RestrictedExpression::new_bool(self.plan.open)),
            ("unmeasured".to_owned(), RestrictedExpression::new_bool(self.plan.unmeasured)),
        ]))?;
        let usage =
            record(self.usage.iter().map(|(meter, used)| (meter.clone(), long(*used))).collect())?;
        let input = match expression(&self.input)? {
            Some(expression) => expression,
            None => record(BTreeMap::new())?,
        };
        let mut pairs = vec![
            ("mode".to_owned(), text(&self.mode)),
            ("tier".to_owned(), text(&self.tier)),
            ("effect".to_owned(), text(&self.effect)),
            ("hour".to_owned(), long(i64::from(self.hour))),
            ("weekday".to_owned(), text(&self.weekday)),
            ("labels".to_owned(), texts(&self.labels)),
            ("taint".to_owned(), texts(&self.taint)),
            ("signals".to_owned(), texts(&self.signals)),
            ("unresolved".to_owned(), texts(&self.unresolved)),
            ("input".to_owned(), input),
            ("plan".to_owned(), plan),
            ("usage".to_owned(), usage),
        ];
        if let Some(channel) = &self.channel {
            pairs.push(("channel".to_owned(), text(channel)));
        }
        if let Some(bps) = self.confidence_bps {
            let decimal = format!("{}.{:04}", bps / 10_000, bps % 10_000);
            pairs.push(("confidence".to_owned(), RestrictedExpression::new_decimal(decimal)));
        }
        Context::from_pairs(pairs).map_err(request_error)
    }
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn texts(values: &BTreeSet<String>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.iter().map(|value| text(value)))
}

// A JSON value as Cedar has it. Built as expressions, never as Cedar JSON, whose escapes
// (`__entity`, `__extn`) an input could abuse. Floats and nulls have no place in policies; sealed
// values are not in the input at all.
fn expression(value: &Value) -> Result<Option<RestrictedExpression>, RequestError> {
    Ok(match value {
        Value::Null => None,
        Value::Bool(value) => Some(RestrictedExpression::new_bool(*value)),
        Value::Number(number) => number.as_i64().map(RestrictedExpression::new_long),
        Value::String(value) => Some(text(value)),
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(expression).collect();
            Some(RestrictedExpression::new_set(items?.into_iter().flatten()))
        }
        Value::Object(map) => {
            let mut pairs = BTreeMap::new();
            for (key, inner) in map {
                if let Some(inner) = expression(inner)? {
                    pairs.insert(key.clone(), inner);
                }
            }
            Some(RestrictedExpression::new_record(pairs).map_err(request_error)?)
        }
    })
}
