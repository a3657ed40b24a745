//! The Amazon States Language, as much of it as the committed state machine uses. Anything else is
//! refused when the file is loaded, so that what runs here is what is deployed.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Deepest payload template.
const TEMPLATE_DEPTH_MAX: usize = 8;

/// A state machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Machine {
    #[serde(default)]
    pub comment: String,
    pub start_at: String,
    pub states: BTreeMap<String, State>,
}

/// A state.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "Type", deny_unknown_fields)]
pub enum State {
    Task(Box<Task>),
    #[serde(rename_all = "PascalCase")]
    Choice {
        choices: Vec<Rule>,
        default: String,
    },
    #[serde(rename_all = "PascalCase")]
    Wait {
        seconds_path: String,
        next: String,
    },
    Succeed {},
}

/// A call of a function.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Task {
    pub resource: Resource,
    pub parameters: Parameters,
    /// `$.Payload`, or absent.
    #[serde(default)]
    pub output_path: Option<String>,
    /// `null`: the input goes on. Absent: the result does.
    #[serde(default, deserialize_with = "present")]
    pub result_path: Option<Option<String>>,
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    #[serde(default)]
    pub timeout_seconds_path: Option<String>,
    #[serde(default)]
    pub retry: Vec<Retrier>,
    #[serde(default)]
    pub catch: Vec<Catcher>,
    pub next: String,
}

fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// The two integrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Resource {
    #[serde(rename = "arn:aws:states:::lambda:invoke")]
    Invoke,
    #[serde(rename = "arn:aws:states:::lambda:invoke.waitForTaskToken")]
    InvokeAndWait,
}

/// What a function is called with.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Parameters {
    /// A substitution, `${NameFunction}`.
    pub function_name: String,
    pub payload: Value,
}

/// One rule of a choice.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Rule {
    pub variable: String,
    pub string_equals: String,
    pub next: String,
}

/// When to try again.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Retrier {
    pub error_equals: Vec<String>,
    pub interval_seconds: u64,
    pub max_attempts: u32,
    pub backoff_rate: f64,
    pub max_delay_seconds: u64,
    pub jitter_strategy: Jitter,
}

/// How a delay is drawn: those that fail together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Jitter {
    /// Between nothing and the delay.
    #[serde(rename = "FULL")]
    Full,
}

impl Retrier {
    /// The delay before the attempt that follows `count` retries, in seconds. `draw` is from 0 to
    /// 1.
    pub fn delay_seconds(&self, count: u32, draw: f64) -> f64 {
        let factor = self.backoff_rate.powi(i32::try_from(count).unwrap_or(i32::MAX));
        let most = (self.interval_seconds as f64 * factor).min(self.max_delay_seconds as f64);
        match self.jitter_strategy {
            Jitter::Full => most * draw.clamp(0.0, 1.0),
        }
    }
}

/// Whether one of the names of a retrier or catcher takes an error. `States.ALL` takes every one,
/// `States.TaskFailed` every one but a time-out; but for them, names are compared.
pub fn takes(names: &[String], error: &str) -> bool {
    names.iter().any(|name| match name.as_str() {
        "States.ALL" => true,
        "States.TaskFailed" => !TIMEOUTS.contains(&error),
        name => name == error,
    })
}

/// What a wait that is over is called: the second is AWS's name for one without a heartbeat.
const TIMEOUTS: [&str; 2] = ["States.Timeout", "States.HeartbeatTimeout"];

/// Where to go after an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Catcher {
    pub error_equals: Vec<String>,
    #[serde(default, deserialize_with = "present")]
    pub result_path: Option<Option<String>>,
    pub next: String,
}

/// Why a file is not a machine that can be walked.
#[derive(Debug, thiserror::Error)]
pub enum AslError {
    #[error("the state machine cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("state `{from}` goes to `{to}`, which does not exist")]
    Dangling { from: String, to: String },
    #[error("state `{0}` is never reached")]
    Unreached(String),
    #[error("state `{state}`: {what}")]
    Unsupported { state: String, what: String },
}

impl Machine {
    /// Reads and checks a machine.
    pub fn parse(text: &str) -> Result<Self, AslError> {
        let machine: Self = contracts::json::decode(text.as_bytes())?;
        let mut reached = BTreeSet::new();
        let mut open = vec![("StartAt".to_owned(), machine.start_at.clone())];
        while let Some((from, name)) = open.pop() {
            let Some(state) = machine.states.get(&name) else {
                return Err(AslError::Dangling { from, to: name });
            };
            if !reached.insert(name.clone()) {
                continue;
            }
            check(&name, state)?;
            open.extend(targets(state).into_iter().map(|to| (name.clone(), to.to_owned())));
        }
        match machine.states.keys().find(|name| !reached.contains(*name)) {
            Some(name) => Err(AslError::Unreached(name.clone())),
            None => Ok(machine),
        }
    }
}

fn targets(state: &State) -> Vec<&str> {
    match state {
        State::Task(task) => {
            task.catch.iter().map(|catch| catch.next.as_str()).chain([task.next.as_str()]).collect()
        }
        State::Choice { choices, default } => {
            choices.iter().map(|rule| rule.next.as_str()).chain([default.as_str()]).collect()
        }
        State::Wait { next, .. } => vec![next],
        State::Succeed {} => Vec::new(),
    }
}

fn check(name: &str, state: &State) -> Result<(), AslError> {
    let refuse =
        |what: &str| Err(AslError::Unsupported { state: name.to_owned(), what: what.to_owned() });
    let path = |path: &str| {
        path.strip_prefix("$.")
            .is_some_and(|rest| !rest.is_empty() && !rest.contains(['[', '*', '?']))
    };
    match state {
        State::Task(task) => {
            if task.output_path.as_deref().is_some_and(|path| path != "$.Payload") {
                return refuse("only `$.Payload` is known as OutputPath");
            }
            let null_only = |path: &Option<Option<String>>| !matches!(path, Some(Some(_)));
            if !null_only(&task.result_path)
                || !task.catch.iter().all(|catch| null_only(&catch.result_path))
            {
                return refuse("only null is known as ResultPath");
            }
            if task.timeout_seconds_path.as_deref().is_some_and(|text| !path(text)) {
                return refuse("TimeoutSecondsPath is a plain reference path");
            }
            if !task.parameters.function_name.starts_with("${") {
                return refuse("FunctionName is a substitution");
            }
            template(name, &task.parameters.payload, 0)
        }
        State::Choice { choices, .. } if !choices.iter().all(|rule| path(&rule.variable)) => {
            refuse("Variable is a plain reference path")
        }
        State::Wait { seconds_path, .. } if !path(seconds_path) => {
            refuse("SecondsPath is a plain reference path")
        }
        State::Choice { .. } | State::Wait { .. } | State::Succeed {} => Ok(()),
    }
}

fn template(name: &str, value: &Value, depth: usize) -> Result<(), AslError> {
    let refuse = |what: String| Err(AslError::Unsupported { state: name.to_owned(), what });
    if depth > TEMPLATE_DEPTH_MAX {
        return refuse("the payload is nested too deep".into());
    }
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, inner)| {
            if !key.ends_with(".$") {
                return template(name, inner, depth + 1);
            }
            match inner.as_str() {
                Some("$$.Task.Token") => Ok(()),
                Some(path) if path.starts_with("$.") && !path.contains(['(', '[', '*']) => Ok(()),
                _ => refuse(format!("`{key}` takes a plain reference path or `$$.Task.Token`")),
            }
        }),
        Value::Array(_) => refuse("arrays in payloads are not known".into()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// The value at a plain reference path.
pub fn look<'v>(input: &'v Value, path: &str) -> Option<&'v Value> {
    path.strip_prefix("$.")?.split('.').try_fold(input, |value, name| value.get(name))
}

/// A payload with its references filled in; `None` where one is missing.
pub fn fill(template: &Value, input: &Value, token: &str) -> Option<Value> {
    let Value::Object(map) = template else { return Some(template.clone()) };
    let mut filled = Map::new();
    for (key, inner) in map {
        match key.strip_suffix(".$") {
            Some(name) => {
                let path = inner.as_str()?;
                let value = if path == "$$.Task.Token" {
                    Value::from(token)
                } else {
                    look(input, path)?.clone()
                };
                filled.insert(name.to_owned(), value);
            }
            None => {
                filled.insert(key.clone(), fill(inner, input, token)?);
            }
        }
    }
    Some(Value::Object(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../../infra/execution.asl.json");

    #[test]
    fn the_committed_machine_is_walkable() {
        let machine = Machine::parse(COMMITTED).unwrap();
        assert_eq!(machine.start_at, "Compile");
        assert!(machine.states.len() <= 14, "a few transitions each");
    }

    #[test]
    fn anything_else_is_refused_at_load() {
        let refused = |from: &str, to: &str| {
            Machine::parse(&COMMITTED.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(refused("\"Type\": \"Succeed\"", "\"Type\": \"Parallel\"").contains("Parallel"));
        assert!(refused("\"Next\": \"IsCompiled\"", "\"Next\": \"Nowhere\"").contains("Nowhere"));
        assert!(
            refused("\"TimeoutSeconds\": 60,", "\"HeartbeatSeconds\": 60,")
                .contains("HeartbeatSeconds")
        );
        assert!(refused("\"StringEquals\"", "\"StringMatches\"").contains("StringMatches"));
        assert!(
            refused("\"$.workspaceId\"", "\"States.Format('x')\"").contains("plain reference path")
        );
        assert!(
            refused("\"StartAt\": \"Compile\"", "\"StartAt\": \"Verify\"")
                .contains("never reached")
        );
    }

    #[test]
    fn payloads_are_filled() {
        let template = serde_json::json!({
            "task": "await", "a.$": "$.x.y", "token.$": "$$.Task.Token", "n": { "b.$": "$.z" }
        });
        let input = serde_json::json!({"x":{"y":1},"z":"w"});
        let wanted = serde_json::json!({"a":1,"n":{"b":"w"},"task":"await","token":"t"});
        assert_eq!(fill(&template, &input, "t").unwrap(), wanted);
        assert_eq!(fill(&template, &serde_json::json!({}), "t"), None);
    }
}
