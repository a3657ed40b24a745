//! What a request can hold: the closed scales and bounded numbers that policies look at.

use crate::local_time::WEEKDAYS;
use contracts::limits::PLAN_STEPS_MAX;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A value for each variable.
pub(super) type Assignment = BTreeMap<Variable, Value>;

/// An attribute of a request whose values are known beforehand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Variable {
    Mode,
    Tier,
    Effect,
    Weekday,
    Hour,
    Kind,
    Open,
    Unmeasured,
    Writes,
    Steps,
    Recipients,
    /// Of a meter.
    Usage(String),
    /// In ten-thousandths.
    Confidence,
}

/// The values of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    Names(&'static [&'static str]),
    Flag,
    /// From the least to the greatest, each of them tried.
    Small(i64, i64),
    /// From the least to the greatest, known only where compared with a number.
    Range(i64, i64),
}

/// Ten-thousandths of 1: Cedar's decimals have four digits.
pub(super) const DECIMAL_ONE: i64 = 10_000;

impl Variable {
    /// The variable of a path of attributes.
    pub(super) fn of(root: &str, path: &[&str]) -> Option<Self> {
        Some(match (root, path) {
            ("context", ["mode"]) => Self::Mode,
            ("context", ["tier"]) => Self::Tier,
            ("context", ["effect"]) => Self::Effect,
            ("context", ["weekday"]) => Self::Weekday,
            ("context", ["hour"]) => Self::Hour,
            ("context", ["confidence"]) => Self::Confidence,
            ("principal", ["kind"]) => Self::Kind,
            ("context", ["plan", "open"]) => Self::Open,
            ("context", ["plan", "unmeasured"]) => Self::Unmeasured,
            ("context", ["plan", "writes"]) => Self::Writes,
            ("context", ["plan", "steps"]) => Self::Steps,
            ("context", ["plan", "recipients"]) => Self::Recipients,
            ("context", ["usage", meter]) => Self::Usage((*meter).to_owned()),
            _ => return None,
        })
    }

    pub(super) fn domain(&self) -> Domain {
        match self {
            Self::Mode => Domain::Names(&["assist", "autonomous"]),
            Self::Tier => Domain::Names(&["low", "medium", "high", "blocked"]),
            Self::Effect => Domain::Names(&["read", "idempotent", "non_idempotent"]),
            Self::Weekday => Domain::Names(WEEKDAYS),
            Self::Kind => Domain::Names(&["human", "service", "agent", "tool"]),
            Self::Open | Self::Unmeasured => Domain::Flag,
            Self::Hour => Domain::Small(0, 23),
            Self::Steps => Domain::Range(1, PLAN_STEPS_MAX as i64),
            Self::Writes | Self::Recipients | Self::Usage(_) => Domain::Range(0, i64::MAX),
            Self::Confidence => Domain::Range(0, DECIMAL_ONE),
        }
    }
}

impl std::fmt::Display for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mode => "context.mode",
            Self::Tier => "context.tier",
            Self::Effect => "context.effect",
            Self::Weekday => "context.weekday",
            Self::Hour => "context.hour",
            Self::Kind => "principal.kind",
            Self::Open => "context.plan.open",
            Self::Unmeasured => "context.plan.unmeasured",
            Self::Writes => "context.plan.writes",
            Self::Steps => "context.plan.steps",
            Self::Recipients => "context.plan.recipients",
            Self::Usage(meter) => return write!(f, "context.usage.{meter}"),
            Self::Confidence => "context.confidence",
        })
    }
}

impl Domain {
    /// Values that stand for all: between two numbers that are compared with, every number is as
    /// good as any other.
    pub(super) fn representatives(self, compared: &BTreeSet<i64>) -> Vec<Value> {
        match self {
            Self::Names(names) => names.iter().map(|name| (*name).into()).collect(),
            Self::Flag => vec![false.into(), true.into()],
            Self::Small(least, greatest) => (least..=greatest).map(Value::from).collect(),
            Self::Range(least, greatest) => {
                let around =
                    compared.iter().flat_map(|n| [n.saturating_sub(1), *n, n.saturating_add(1)]);
                let all: BTreeSet<i64> = around.chain([least, greatest]).collect();
                all.into_iter()
                    .filter(|n| (least..=greatest).contains(n))
                    .map(Value::from)
                    .collect()
            }
        }
    }

    /// Whether the domain has a value.
    pub(super) fn has(self, value: &Value) -> bool {
        match self {
            Self::Names(names) => value.as_str().is_some_and(|text| names.contains(&text)),
            Self::Flag => value.is_boolean(),
            Self::Small(least, greatest) | Self::Range(least, greatest) => {
                value.as_i64().is_some_and(|number| (least..=greatest).contains(&number))
            }
        }
    }
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Names(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                f.write_str(&names.join(", "))
            }
            Self::Flag => f.write_str("`true`, `false`"),
            Self::Range(least, i64::MAX) => write!(f, "{least} or more"),
            Self::Small(least, greatest) | Self::Range(least, greatest) => {
                write!(f, "{least} to {greatest}")
            }
        }
    }
}
