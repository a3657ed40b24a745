//! Simulated tools: slow, failing, losing answers, and answering with values that look like
//! markers. They record their effects and check every call.

mod inputs;

pub(crate) use inputs::{looks_like_ours, own_key};

use crate::{
    Shared,
    amounts::{self, Moves},
    exec::Killable,
    invariants::InvariantLog,
    plans::{self, Operation, SKILL, marker},
    ports::{FaultTable, range, ring},
    watch::Monitor,
};
use async_trait::async_trait;
use contracts::{
    ExecutionId,
    draft::Budget,
    event::{Entry, Event, Purpose},
    manifest::Binding,
};
use countersign_store::keys;
use cs_core::{
    canonical,
    warrant::{Claims, Expected, verify},
};
use engine::{Engine, ports::*};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, OnceLock, Weak},
};

/// What money the workspace lets move, by this seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// EUR within a window, in cents.
    pub meter_money: Option<u64>,
    /// Recipients within a window.
    pub meter_recipients: Option<u64>,
    /// EUR and USD, each, of any one plan, in cents.
    pub plan_money: Option<u64>,
}

/// One step of an execution.
pub(crate) type StepRef = (ExecutionId, String);

/// What a call moved.
#[derive(Clone)]
pub(crate) struct Moved {
    pub(crate) of: StepRef,
    pub(crate) purpose: Purpose,
    pub(crate) moves: Moves,
}

/// What tools were asked and did.
#[derive(Default)]
pub(crate) struct Done {
    /// By operation and idempotency key: how often it took effect.
    pub(crate) effects: BTreeMap<(String, String), u32>,
    /// Keys whose tool refused with 4xx: known to have had no effect.
    pub(crate) refused: BTreeSet<String>,
    /// By idempotency key: what an effect moved.
    pub(crate) moved: BTreeMap<String, Moved>,
    /// Everything that was ever said to be a step's output.
    pub(crate) said: HashMap<StepRef, Vec<Value>>,
    /// Every input of a step's own call.
    heard: HashMap<StepRef, Vec<Value>>,
    answers: HashMap<String, Value>,
    pub(crate) calls: u64,
    /// By execution: calls of whatever purpose.
    pub(crate) called: BTreeMap<ExecutionId, u64>,
}

impl Done {
    /// How often a call with this key took effect.
    pub(crate) fn count(&self, key: &str) -> u32 {
        let effects = self.effects.iter().filter(|((_, effect), _)| effect == key);
        effects.map(|(_, count)| *count).sum()
    }
}

pub(crate) struct SimTools {
    pub(crate) shared: Arc<Shared>,
    pub(crate) done: Arc<Mutex<Done>>,
    pub(crate) watch: Arc<Monitor>,
    pub(crate) table: Arc<FaultTable>,
    pub(crate) engine: OnceLock<Weak<Engine>>,
    pub(crate) limits: OnceLock<Limits>,
    /// Digests and commitments that an agent could read.
    pub(crate) known: Arc<Mutex<Vec<String>>>,
}

/// A call as its tool sees it.
#[derive(Clone)]
struct Asking {
    of: StepRef,
    purpose: Purpose,
    operation: &'static Operation,
    key: String,
    input: Value,
}

#[async_trait]
impl Tools for SimTools {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        let header = |name: &str| {
            call.headers
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        let Binding::Http { url, .. } = &call.binding else {
            return ToolAnswer::forbidden("binding");
        };
        let operation = plans::operation(url.trim_start_matches("http://tool/"));
        let (key, warrant) = (header("idempotency-key"), header("countersign-warrant"));
        self.done.lock().unwrap().calls += 1;
        let input: Value = serde_json::from_slice(&call.body).unwrap();
        let Some(asking) = self.claimed(operation, key, &warrant, &call.body, input) else {
            return ToolAnswer::Failed(ToolReport::new("TOOL_403", "the warrant is not right"));
        };
        self.measured(&asking);
        self.fits(&asking);
        self.shared.yield_some().await;
        let undoing = asking.purpose == Purpose::Compensate;
        if self.shared.one_in(25) {
            return ToolAnswer::Unreached("simulated: refused connection".into());
        }
        if self.shared.one_in(25) {
            if undoing {
                self.watch.invariants.storm("undo: its answer lost");
            }
            return ToolAnswer::lost("simulated: lost on the way there");
        }
        if self.shared.one_in(8) {
            self.shared.sleep(1 + self.shared.pick(20_000) as u64).await;
        }
        if asking.operation.name == "doom" || self.shared.one_in(if undoing { 12 } else { 25 }) {
            if undoing {
                self.watch.invariants.storm("undo: refused by its tool");
            }
            self.done.lock().unwrap().refused.insert(asking.key);
            // It says again what it was sent, as tools do.
            let report = ToolReport::new("TOOL_422", "the tool answered 422");
            let said = vec!["REFUSED".to_owned(), format!("no: {}", asking.input)];
            return ToolAnswer::Failed(ToolReport { said, ..report });
        }
        if self.shared.one_in(20) && asking.purpose != Purpose::Probe {
            if asking.purpose == Purpose::Run {
                self.call_back(asking, header("countersign-callback"), warrant);
            }
            return ToolAnswer::Accepted;
        }
        let output = self.perform(&asking);
        self.shared.yield_some().await;
        if self.shared.one_in(if asking.operation.probe.is_some() { 5 } else { 15 }) {
            if undoing {
                self.watch.invariants.storm("undo: its answer lost");
            }
            return ToolAnswer::lost("simulated: lost on the way back");
        }
        if self.shared.one_in(40) {
            return ToolAnswer::Unknown(ToolReport::new("TOOL_503", "the tool answered 503"));
        }
        ToolAnswer::Output(output.to_string().into_bytes())
    }
}

impl SimTools {
    fn invariants(&self) -> &InvariantLog {
        &self.watch.invariants
    }

    fn call_back(&self, asking: Asking, callback: String, warrant: String) {
        let (shared, engine) = (self.shared.clone(), self.engine.get().unwrap().clone());
        let own = self.clone_for_later();
        let job = async move {
            shared.sleep(1 + shared.pick(200_000) as u64).await;
            let body = if shared.one_in(15) {
                own.done.lock().unwrap().refused.insert(asking.key.clone());
                json!({ "error": { "code": "REFUSED",
                    "message": format!("no: {}", asking.input) } })
            } else {
                let output = own.perform(&asking);
                if looks_like_ours(&output) {
                    own.watch.invariants.storm("marker: in a callback");
                }
                json!({ "output": output })
            };
            let parts: Vec<&str> = callback.split('/').collect();
            let (id, step) =
                (parts[parts.len() - 4].parse().unwrap(), parts[parts.len() - 2].parse().unwrap());
            // A tool repeats its callback until it is taken, and sometimes after.
            for _ in 0..20 {
                let Some(engine) = engine.upgrade() else { return };
                let answer = match engine.controls.callback_claims(&id, &step, Some(&warrant)).await
                {
                    Ok(claims) => engine.controls.callback(&id, &step, &claims, body.clone()).await,
                    Err(problem) => Err(problem),
                };
                let taken = answer.is_ok() || answer.is_err_and(|problem| problem.status < 500);
                if taken && !shared.one_in(5) {
                    return;
                }
                shared.sleep(1_000).await;
            }
        };
        self.shared.spawn(Box::pin(job), Killable::No, None);
    }

    fn clone_for_later(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            done: self.done.clone(),
            watch: self.watch.clone(),
            table: self.table.clone(),
            engine: self.engine.clone(),
            limits: self.limits.clone(),
            known: self.known.clone(),
        }
    }

    fn perform(&self, asking: &Asking) -> Value {
        let Asking { of, purpose, operation, key, input } = asking;
        let mut done = self.done.lock().unwrap();
        if operation.name == "probe" {
            let wanted = input["idempotencyKey"]
                .as_str()
                .unwrap_or_default()
                .trim_start_matches("sha256:")
                .to_owned();
            return match done.answers.get(&format!("paid {wanted}")) {
                Some(output) => {
                    if looks_like_ours(output) {
                        self.invariants().storm("marker: in a probe's answer");
                    }
                    json!({ "found": true, "output": output })
                }
                None => json!({ "found": false }),
            };
        }
        if operation.effect == "read" {
            let output = self.output(operation, &format!("c-{}", input["n"]));
            done.said.entry(of.clone()).or_default().push(output.clone());
            return output;
        }
        let stored = format!("{} {key}", operation.name);
        if operation.effect == "idempotent"
            && let Some(answer) = done.answers.get(&stored)
        {
            return answer.clone();
        }
        *done.effects.entry((operation.name.to_owned(), key.clone())).or_default() += 1;
        if let Some(unit) = operation.money {
            let moves = amounts::moves(input, unit == "major");
            done.moved.insert(key.clone(), Moved { of: of.clone(), purpose: *purpose, moves });
        }
        let output = self.output(operation, &format!("{}-{}", operation.name, &key[..8]));
        if *purpose == Purpose::Run {
            done.said.entry(of.clone()).or_default().push(output.clone());
        }
        done.answers.insert(stored, output.clone());
        output
    }

    // What a tool says: an id, and whatever it likes.
    fn output(&self, operation: &Operation, id: &str) -> Value {
        let shared = &self.shared;
        if operation.name == "quote" {
            return plans::quote(shared, self.invariants());
        }
        let known = self.known.lock().unwrap().clone();
        let mut output = json!({ "id": id, "body": "plain", "hidden": "S3CRET-OUT" });
        if shared.pick(3) == 0 {
            self.invariants().storm("marker: in an output");
            output["body"] = marker(shared, &known);
        }
        if shared.pick(4) == 0 {
            self.invariants().storm("marker: in a sensitive place");
            output["hidden"] =
                json!({ "$from": "s0", "v": "S3CRET-OUT", "body": marker(shared, &known) });
        }
        if shared.pick(8) == 0 {
            // The whole of it looks like a sealed document.
            output["seals"] = json!({ "/body": known.first(), "": known.last() });
            output["value"] = Value::Null;
            output["$from"] = "s0".into();
        }
        if shared.pick(3) > 0 {
            output["ref"] = "r".into();
        }
        if shared.pick(80) == 0 {
            self.invariants().storm("output: larger than its item");
            output["more"] = "x".repeat(70 * 1024).into();
        }
        output
    }
}
