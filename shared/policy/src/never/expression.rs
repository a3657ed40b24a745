//! Conditions of a policy in Cedar's JSON form: what they compare, and their truth values.
//!
//! Their depth is bounded before they are parsed (see `nesting`), and with it that of the functions
//! here.

use super::{
    KnownNames,
    domain::{Assignment, DECIMAL_ONE, Domain, Variable},
};
use cs_core::suggest::nearest;
use serde_json::Value;
use std::collections::BTreeSet;

/// Kleene's three-valued logic: an unknown condition is neither true nor false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            (Self::Yes | Self::Unknown, Self::Yes | Self::Unknown) => Self::Unknown,
        }
    }
    pub(super) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }
    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

/// A value, if it is known.
pub(super) struct Known(Option<Value>);

impl Known {
    pub(super) fn truth(&self) -> Truth {
        match &self.0 {
            Some(Value::Bool(true)) => Truth::Yes,
            Some(Value::Bool(false)) => Truth::No,
            Some(_) | None => Truth::Unknown,
        }
    }
}

impl From<Truth> for Known {
    fn from(truth: Truth) -> Self {
        Self(match truth {
            Truth::Yes => Some(true.into()),
            Truth::No => Some(false.into()),
            Truth::Unknown => None,
        })
    }
}

/// The operator of an expression and its operands.
fn parts(expression: &Value) -> Option<(&str, &Value)> {
    let (operator, operands) = expression.as_object()?.iter().next()?;
    Some((operator, operands))
}

fn operand<'e>(operands: &'e Value, name: &str) -> Option<&'e Value> {
    operands.get(name)
}

/// Both operands of a comparison, of functions and of operators alike.
fn pair(operands: &Value) -> Option<(&Value, &Value)> {
    match operands {
        Value::Array(items) => Some((items.first()?, items.get(1)?)),
        _ => Some((operands.get("left")?, operands.get("right")?)),
    }
}

fn variable(expression: &Value) -> Option<Variable> {
    let (root, path) = path(expression)?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    Variable::of(&root, &path)
}

// `context.plan.writes` as its root and its attributes.
fn path(expression: &Value) -> Option<(String, Vec<String>)> {
    let mut attributes = Vec::new();
    let mut expression = expression;
    loop {
        let (operator, operands) = parts(expression)?;
        match operator {
            "Var" => {
                attributes.reverse();
                return Some((operands.as_str()?.to_owned(), attributes));
            }
            "." => {
                attributes.push(operands.get("attr")?.as_str()?.to_owned());
                expression = operands.get("left")?;
            }
            _ => return None,
        }
    }
}

// A constant; decimals in ten-thousandths.
fn literal(expression: &Value) -> Option<Value> {
    let (operator, operands) = parts(expression)?;
    match operator {
        "Value" => (operands.is_string() || operands.is_boolean() || operands.is_i64())
            .then(|| operands.clone()),
        "neg" => literal(operands.get("arg")?)?.as_i64()?.checked_neg().map(Value::from),
        "decimal" => decimal(literal(operands.get(0)?)?.as_str()?).map(Value::from),
        _ => None,
    }
}

fn decimal(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.')?;
    let fraction = Some(fraction).filter(|fraction| fraction.len() <= 4)?;
    let whole = whole.parse::<i64>().ok()?.checked_mul(DECIMAL_ONE)?;
    let fraction = format!("{fraction:0<4}").parse::<i64>().ok()?;
    whole.checked_add(fraction)?.checked_mul(sign)
}

// The constants of a set that has nothing else.
fn literals(expression: &Value) -> Option<Vec<Value>> {
    match parts(expression)? {
        ("Set", Value::Array(items)) => items.iter().map(literal).collect(),
        _ => literal(expression).map(|value| vec![value]),
    }
}

/// How two numbers are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn of(operator: &str) -> Option<Self> {
        Some(match operator {
            "<" | "lessThan" => Self::Less,
            "<=" | "lessThanOrEqual" => Self::LessOrEqual,
            ">" | "greaterThan" => Self::Greater,
            ">=" | "greaterThanOrEqual" => Self::GreaterOrEqual,
            _ => return None,
        })
    }
    fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }
    fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// A variable beside constants.
pub(super) enum Comparison<'e> {
    Equal {
        variable: Variable,
        values: Vec<Value>,
    },
    Ordered {
        variable: Variable,
        order: Order,
        value: i64,
    },
    Like {
        variable: Variable,
        pattern: &'e [Value],
    },
    /// Members that a set of names of the workspace is looked through for.
    Names {
        set: &'static str,
        values: Vec<Value>,
    },
}

impl Comparison<'_> {
    /// Why it says nothing, if so.
    pub(super) fn fault(&self, names: KnownNames<'_>) -> Option<String> {
        match self {
            Self::Equal { variable, values } => {
                let domain = variable.domain();
                let value = values.iter().find(|value| !domain.has(value))?;
                Some(format!(
                    "`{variable}` is never `{}`: it is {domain}{}",
                    plain(value),
                    near(domain, value)
                ))
            }
            Self::Ordered { variable, order, value } => {
                let domain = variable.domain();
                let (Domain::Small(least, greatest) | Domain::Range(least, greatest)) = domain
                else {
                    return None;
                };
                let (at_least, at_greatest) =
                    (order.holds(least, *value), order.holds(greatest, *value));
                let always = if at_least { "always" } else { "never" };
                let scale =
                    if *variable == Variable::Confidence { " (in ten-thousandths)" } else { "" };
                (at_least == at_greatest).then(|| {
                    format!(
                        "a comparison of `{variable}` with {value} is {always} true: it is \
                        {domain}{scale}"
                    )
                })
            }
            Self::Like { variable, pattern } => {
                let Domain::Names(all) = variable.domain() else { return None };
                let none = !all.iter().any(|name| like(name, pattern));
                none.then(|| {
                    format!("`{variable}` is never like this: it is {}", variable.domain())
                })
            }
            Self::Names { set, values } => {
                values.iter().find_map(|value| unknown_name(set, value.as_str()?, names))
            }
        }
    }
}

/// Labels that mean something before any skill declares them.
const COMMON_LABELS: &[&str] = &["pii", "secret", "untrusted"];

// A label may be declared by a skill that comes later: only what looks like a slip is refused.
// Phrases are all known.
fn unknown_name(set: &str, name: &str, names: KnownNames<'_>) -> Option<String> {
    match set {
        "signals" => {
            let known = names.signals?;
            let near = || nearest(name, known.iter().map(String::as_str));
            (!known.contains(name))
                .then(|| format!("`{name}` is no phrase of this workspace's list{}", near()))
        }
        _ => {
            let known = names.labels?;
            if known.contains(name) || COMMON_LABELS.contains(&name) {
                return None;
            }
            let near = nearest(
                name,
                known.iter().map(String::as_str).chain(COMMON_LABELS.iter().copied()),
            );
            (!near.is_empty())
                .then(|| format!("no installed operation declares the label `{name}`{near}"))
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn near(domain: Domain, value: &Value) -> String {
    match (domain, value) {
        (Domain::Names(names), Value::String(text)) => nearest(text, names.iter().copied()),
        _ => String::new(),
    }
}

// Cedar's `like`: a pattern is texts and wildcards.
fn like(text: &str, pattern: &[Value]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return text.is_empty();
    };
    match first.get("Literal").and_then(Value::as_str) {
        Some(literal) => text.strip_prefix(literal).is_some_and(|behind| like(behind, rest)),
        None => text
            .char_indices()
            .map(|(index, _)| index)
            .chain([text.len()])
            .any(|index| text.get(index..).is_some_and(|behind| like(behind, rest))),
    }
}

/// Every comparison of a variable with constants, in any position.
pub(super) fn comparisons<'e>(expression: &'e Value, found: &mut impl FnMut(Comparison<'e>)) {
    if let Some((operator, operands)) = parts(expression)
        && let Some(comparison) = comparison(operator, operands)
    {
        found(comparison);
    }
    match expression {
        Value::Object(map) => map.values().for_each(|inner| comparisons(inner, found)),
        Value::Array(items) => items.iter().for_each(|inner| comparisons(inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn comparison<'e>(operator: &str, operands: &'e Value) -> Option<Comparison<'e>> {
    if operator == "like" {
        let variable = variable(operand(operands, "left")?)?;
        let pattern = operand(operands, "pattern")?.as_array()?;
        return Some(Comparison::Like { variable, pattern });
    }
    let (left, right) = pair(operands)?;
    match operator {
        "==" | "!=" => {
            let (variable, value) = match (variable(left), variable(right)) {
                (Some(variable), _) => (variable, literal(right)?),
                (None, Some(variable)) => (variable, literal(left)?),
                (None, None) => return None,
            };
            Some(Comparison::Equal { variable, values: vec![value] })
        }
        "contains" | "containsAny" | "containsAll" => {
            if let Some(variable) = variable(right) {
                return Some(Comparison::Equal { variable, values: literals(left)? });
            }
            let (root, path) = path(left).or_else(|| path(right))?;
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let set = match (root.as_str(), path.as_slice()) {
                ("context", ["labels" | "taint"]) => "labels",
                ("context", ["signals"]) => "signals",
                _ => return None,
            };
            let values = literals(right).or_else(|| literals(left))?;
            Some(Comparison::Names { set, values })
        }
        _ => {
            let order = Order::of(operator)?;
            let (variable, order, value) = match (variable(left), variable(right)) {
                (Some(variable), _) => (variable, order, literal(right)?),
                (None, Some(variable)) => (variable, order.flipped(), literal(left)?),
                (None, None) => return None,
            };
            Some(Comparison::Ordered { variable, order, value: value.as_i64()? })
        }
    }
}

/// The variables and the numbers of an expression; how many parts it has.
pub(super) fn collect(
    expression: &Value,
    variables: &mut BTreeSet<Variable>,
    numbers: &mut BTreeSet<i64>,
) -> usize {
    variables.extend(variable(expression));
    numbers.extend(literal(expression).and_then(|value| value.as_i64()));
    let inner: usize = match expression {
        Value::Object(map) => map.values().map(|inner| collect(inner, variables, numbers)).sum(),
        Value::Array(items) => items.iter().map(|inner| collect(inner, variables, numbers)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    inner + 1
}

/// What an expression comes to under an assignment.
pub(super) fn evaluate(expression: &Value, assignment: &Assignment) -> Known {
    Known(value(expression, assignment, false))
}

// `beside_constant`: the expression is compared with a constant. Only there is a number of a range
// known: it stands for all that compare the same.
fn value(expression: &Value, assignment: &Assignment, beside_constant: bool) -> Option<Value> {
    if let Some(constant) = literal(expression) {
        return Some(constant);
    }
    if let Some(variable) = variable(expression) {
        return match variable.domain() {
            Domain::Names(_) | Domain::Flag | Domain::Small(..) => {
                assignment.get(&variable).cloned()
            }
            Domain::Range(..) => assignment.get(&variable).filter(|_| beside_constant).cloned(),
        };
    }
    let (operator, operands) = parts(expression)?;
    let truth = |expression: &Value| evaluate(expression, assignment).truth();
    match operator {
        "!" => Known::from(truth(operands.get("arg")?).not()).0,
        "Set" => {
            let items: Option<Vec<Value>> =
                operands.as_array()?.iter().map(|item| value(item, assignment, false)).collect();
            items.map(Value::Array)
        }
        "if-then-else" => {
            let branch = |name: &str| value(operands.get(name)?, assignment, false);
            match truth(operands.get("if")?) {
                Truth::Yes => branch("then"),
                Truth::No => branch("else"),
                Truth::Unknown => {
                    branch("then").filter(|then| Some(then) == branch("else").as_ref())
                }
            }
        }
        "like" => {
            let text = value(operands.get("left")?, assignment, false)?;
            Some(like(text.as_str()?, operands.get("pattern")?.as_array()?).into())
        }
        _ => {
            let (left, right) = pair(operands)?;
            match operator {
                "&&" => Known::from(truth(left).and(truth(right))).0,
                "||" => Known::from(truth(left).or(truth(right))).0,
                _ => {
                    let left_value = value(left, assignment, literal(right).is_some())?;
                    let right_value = value(right, assignment, literal(left).is_some())?;
                    binary(operator, &left_value, &right_value)
                }
            }
        }
    }
}

fn binary(operator: &str, left: &Value, right: &Value) -> Option<Value> {
    if let Some(order) = Order::of(operator) {
        return Some(order.holds(left.as_i64()?, right.as_i64()?).into());
    }
    let numbers = || Some((left.as_i64()?, right.as_i64()?));
    match operator {
        "==" => Some((left == right).into()),
        "!=" => Some((left != right).into()),
        "contains" => Some(left.as_array()?.contains(right).into()),
        "containsAll" => {
            let all = left.as_array()?;
            Some(right.as_array()?.iter().all(|item| all.contains(item)).into())
        }
        "containsAny" => {
            let all = left.as_array()?;
            Some(right.as_array()?.iter().any(|item| all.contains(item)).into())
        }
        "+" => numbers().and_then(|(left, right)| left.checked_add(right)).map(Value::from),
        "-" => numbers().and_then(|(left, right)| left.checked_sub(right)).map(Value::from),
        "*" => numbers().and_then(|(left, right)| left.checked_mul(right)).map(Value::from),
        _ => None,
    }
}
