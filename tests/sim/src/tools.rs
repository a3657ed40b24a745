//! The tools of this world: slow, failing, losing answers, and saying things that look like ours. They keep books of their
//! own, and look at everything they are sent.

use crate::{
    Shared,
    amounts::{self, Moves},
    book::Book,
    exec::Mortal,
    plans::{self, Operation, SKILL, marker},
    ports::{FaultTable, range, ring},
    watch::Watch,
};
use async_trait::async_trait;
use contracts::{
    ExecutionId,
    draft::Budget,
    event::{Entry, Event, Purpose},
    manifest::Binding,
};
use cs_core::{
    canonical,
    warrant::{Claims, Expected, verify},
};
use engine::{Engine, keys, ports::*};
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
pub(crate) type Of = (ExecutionId, String);

/// What a call moved.
#[derive(Clone)]
pub(crate) struct Moved {
    pub(crate) of: Of,
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
    pub(crate) said: HashMap<Of, Vec<Value>>,
    /// Every input of a step's own call.
    heard: HashMap<Of, Vec<Value>>,
    answers: HashMap<String, Value>,
    pub(crate) calls: u64,
    /// By execution: calls of whatever purpose.
    pub(crate) called: BTreeMap<ExecutionId, u64>,
}

pub(crate) struct SimTools {
    pub(crate) shared: Arc<Shared>,
    pub(crate) done: Arc<Mutex<Done>>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) table: Arc<FaultTable>,
    pub(crate) engine: OnceLock<Weak<Engine>>,
    pub(crate) limits: OnceLock<Limits>,
    /// Digests and commitments that an agent could read.
    pub(crate) known: Arc<Mutex<Vec<String>>>,
}

/// A call as its tool sees it.
#[derive(Clone)]
struct Asking {
    of: Of,
    purpose: Purpose,
    operation: &'static Operation,
    key: String,
    input: Value,
}

#[async_trait]
impl Tools for SimTools {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        let header = |name: &str| {
            call.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let Binding::Http { url, .. } = &call.binding else { return ToolAnswer::Forbidden("binding".into()) };
        let operation = plans::operation(url.trim_start_matches("http://tool/"));
        let (key, warrant) = (header("idempotency-key"), header("countersign-warrant"));
        self.done.lock().unwrap().calls += 1;
        let input: Value = serde_json::from_slice(&call.body).unwrap();
        let Some(asking) = self.claimed(operation, key, &warrant, &call.body, input) else {
            return ToolAnswer::Answered(Reply::new(403, b"{}".to_vec()));
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
                self.watch.book.storm("undo: its answer lost");
            }
            return ToolAnswer::Lost("simulated: lost on the way there".into());
        }
        if self.shared.one_in(8) {
            self.shared.sleep(1 + self.shared.pick(20_000) as u64).await;
        }
        if asking.operation.name == "doom" || self.shared.one_in(if undoing { 12 } else { 25 }) {
            if undoing {
                self.watch.book.storm("undo: refused by its tool");
            }
            self.done.lock().unwrap().refused.insert(asking.key);
            // It says again what it was sent, as tools do.
            let said = json!({ "code": "REFUSED", "title": format!("no: {}", asking.input) });
            return ToolAnswer::Answered(Reply::new(422, said.to_string()));
        }
        if self.shared.one_in(20) && asking.purpose != Purpose::Probe {
            if asking.purpose == Purpose::Run {
                self.call_back(asking, header("countersign-callback"), warrant);
            }
            return ToolAnswer::Answered(Reply::new(202, Vec::new()));
        }
        let output = self.perform(&asking);
        self.shared.yield_some().await;
        if self.shared.one_in(if asking.operation.probe.is_some() { 5 } else { 15 }) {
            if undoing {
                self.watch.book.storm("undo: its answer lost");
            }
            return ToolAnswer::Lost("simulated: lost on the way back".into());
        }
        if self.shared.one_in(40) {
            return ToolAnswer::Answered(Reply::new(503, Vec::new()));
        }
        ToolAnswer::Answered(Reply::new(200, output.to_string()))
    }
}

impl SimTools {
    fn book(&self) -> &Book {
        &self.watch.book
    }

    // The claim that this call belongs to is in the table before the call, with its purpose, attempt and input.
    fn claimed(
        &self,
        operation: &'static Operation,
        key: String,
        carried: &str,
        body: &[u8],
        input: Value,
    ) -> Option<Asking> {
        let name = format!("{SKILL}/{}", operation.name);
        // The clock may have been set since it was signed.
        let readings = self.shared.shown(5_000);
        let verified = readings.into_iter().map(|now| {
            let expected = Expected { audience: "http://tool", operation: &name, input: body, now: now / 1_000 };
            verify(carried, &ring().key_set(), &expected)
        });
        let mut refused = None;
        let claims: Option<Claims> =
            verified.filter_map(|outcome| outcome.map_err(|why| refused = Some(why)).ok()).next();
        self.book().hold("no-effect-without-plan", claims.is_some(), || format!("{}: {refused:?}", operation.name));
        let claims = claims?;
        let execution: ExecutionId = claims.exe.parse().ok()?;
        let purpose = [Purpose::Run, Purpose::Probe, Purpose::Compensate]
            .into_iter()
            .find(|purpose| *key == *own_key(&execution, &claims.plan, &claims.step, *purpose));
        self.book().hold("no-effect-without-plan", purpose.is_some(), || {
            format!("{} of {} with a key of no call of it", operation.name, claims.step)
        });
        let purpose = purpose?;
        let partition = keys::execution(&self.watch.workspace, &execution);
        let started = range(self.table.inner.as_ref(), partition, keys::EVENT).into_iter().any(|(_, item)| {
            serde_json::from_slice::<Entry>(&item.body).is_ok_and(|entry| match entry.event {
                Event::StepStarted(data) => {
                    data.step_id.as_str() == claims.step
                        && data.attempt == claims.att
                        && data.purpose == purpose
                        && data.input_digest.as_str() == claims.inp
                }
                _ => false,
            })
        });
        let ours = claims.ws == self.watch.workspace.as_str();
        self.book().hold("tenant-walls", ours, || format!("a call of {}", claims.ws));
        self.book().hold("one-gate", started, || {
            format!("the {} of {} was called without a claim of its own", purpose.as_str(), claims.step)
        });
        let drafted = self.watch.called(&execution, &claims.step, purpose);
        let named = drafted.is_some_and(|drafted| drafted.name == operation.name);
        self.book().hold("no-effect-without-plan", named, || {
            format!("{execution}: the {} of {} calls {}", purpose.as_str(), claims.step, operation.name)
        });
        *self.done.lock().unwrap().called.entry(execution.clone()).or_default() += 1;
        (started && named).then_some(Asking { of: (execution, claims.step), purpose, operation, key, input })
    }

    // What cannot be counted is never called where there is a limit, and never without people where there is none.
    fn measured(&self, asking: &Asking) {
        let Some(unit) = asking.operation.money else { return };
        let moves = amounts::moves(&asking.input, unit == "major");
        let limits = self.limits.get().copied().unwrap_or_default();
        let budget = self.watch.asked(&asking.of.0).map(|asked| asked.draft["budget"].clone());
        let budget: Budget = budget.and_then(|budget| serde_json::from_value(budget).ok()).unwrap_or_default();
        let limited = [
            moves.money.is_none()
                && (budget.money.is_some() || limits.meter_money.is_some() || limits.plan_money.is_some()),
            moves.recipients.is_none() && (budget.recipients.is_some() || limits.meter_recipients.is_some()),
        ];
        let what = || format!("{:?}: {} of {}", asking.of, asking.purpose.as_str(), asking.input);
        self.book()
            .hold("unmeasured-is-not-small", limited == [false, false], || format!("within a limit: {}", what()));
        if moves.money.is_none() || moves.recipients.is_none() {
            let partition = keys::execution(&self.watch.workspace, &asking.of.0);
            let asked = range(self.table.inner.as_ref(), partition, keys::EVENT).into_iter().any(|(_, item)| {
                serde_json::from_slice::<Entry>(&item.body).is_ok_and(|entry| match entry.event {
                    Event::StepStarted(data) => data.step_id.as_str() == asking.of.1 && data.approval_id.is_some(),
                    _ => false,
                })
            });
            self.book().hold("unmeasured-is-not-small", asked, || format!("nobody was asked: {}", what()));
            if asked {
                self.book().storm("unmeasured: asked where there is none");
            }
        }
    }

    // What a tool gets is what was drafted, with what other tools said put in as they said it.
    fn fits(&self, asking: &Asking) {
        let Asking { of, purpose, operation, input, .. } = asking;
        let mut done = self.done.lock().unwrap();
        let drafted = self.watch.drafted(&of.0, &of.1).unwrap_or_default();
        let (fits, carried) = match purpose {
            Purpose::Run => {
                let fits = fits(&drafted["with"], input, &|from, path| candidates(&done, &of.0, from, path));
                (fits, drafted["with"].get("from").is_some())
            }
            Purpose::Probe => {
                let wanted = self.watch.asked(&of.0).is_some();
                let key = input["idempotencyKey"].as_str().unwrap_or_default();
                (wanted && input.as_object().is_some_and(|map| map.len() == 1) && key.starts_with("sha256:"), false)
            }
            Purpose::Compensate => {
                let fields = drafted["use"]
                    .as_str()
                    .and_then(|name| plans::operation(name).undo)
                    .map_or(&[][..], |undo| undo.1);
                let same = |field: &str, pointer: &str| {
                    let given = match (pointer.strip_prefix("/input"), pointer.strip_prefix("/output")) {
                        (Some(path), _) => at(done.heard.get(of), path),
                        (_, Some(path)) => at(done.said.get(of), path),
                        _ => Vec::new(),
                    };
                    input.get(field).is_some_and(|got| given.iter().any(|one| equal(one, got)))
                };
                let all = input.as_object().is_some_and(|map| map.len() == fields.len());
                (all && fields.iter().all(|(field, pointer)| same(field, pointer)), true)
            }
        };
        self.book().hold("data-is-never-control", fits, || {
            format!("{of:?}: the {} of {} got {input}", purpose.as_str(), operation.name)
        });
        if carried && looks_like_ours(input) {
            self.book().storm(match purpose {
                Purpose::Compensate => "marker: passed on to an undo",
                Purpose::Run | Purpose::Probe => "marker: passed on to another tool",
            });
        }
        if *purpose == Purpose::Run {
            done.heard.entry(of.clone()).or_default().push(input.clone());
        }
    }

    fn call_back(&self, asking: Asking, callback: String, warrant: String) {
        let (shared, engine) = (self.shared.clone(), self.engine.get().unwrap().clone());
        let own = self.clone_for_later();
        let job = async move {
            shared.sleep(1 + shared.pick(200_000) as u64).await;
            let body = if shared.one_in(15) {
                own.done.lock().unwrap().refused.insert(asking.key.clone());
                json!({ "error": { "code": "REFUSED", "message": format!("no: {}", asking.input) } })
            } else {
                let output = own.perform(&asking);
                if looks_like_ours(&output) {
                    own.watch.book.storm("marker: in a callback");
                }
                json!({ "output": output })
            };
            let parts: Vec<&str> = callback.split('/').collect();
            let (id, step) = (parts[parts.len() - 4].parse().unwrap(), parts[parts.len() - 2].parse().unwrap());
            // A tool repeats its callback until it is taken, and sometimes after.
            for _ in 0..20 {
                let Some(engine) = engine.upgrade() else { return };
                let answer = match engine.callback_claims(&id, &step, Some(&warrant)).await {
                    Ok(claims) => engine.callback(&id, &step, &claims, body.clone()).await,
                    Err(problem) => Err(problem),
                };
                let taken = answer.is_ok() || answer.is_err_and(|problem| problem.status < 500);
                if taken && !shared.one_in(5) {
                    return;
                }
                shared.sleep(1_000).await;
            }
        };
        self.shared.spawn(Box::pin(job), Mortal::No, None);
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
            let wanted =
                input["idempotencyKey"].as_str().unwrap_or_default().trim_start_matches("sha256:").to_owned();
            return match done.answers.get(&format!("paid {wanted}")) {
                Some(output) => {
                    if looks_like_ours(output) {
                        self.book().storm("marker: in a probe's answer");
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
            return plans::quote(shared, self.book());
        }
        let known = self.known.lock().unwrap().clone();
        let mut output = json!({ "id": id, "body": "plain", "hidden": "S3CRET-OUT" });
        if shared.pick(3) == 0 {
            self.book().storm("marker: in an output");
            output["body"] = marker(shared, &known);
        }
        if shared.pick(4) == 0 {
            self.book().storm("marker: in a sensitive place");
            output["hidden"] = json!({ "$from": "s0", "v": "S3CRET-OUT", "body": marker(shared, &known) });
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
            self.book().storm("output: larger than its item");
            output["more"] = "x".repeat(70 * 1024).into();
        }
        output
    }
}

/// The idempotency key of a call, as the contract makes it.
pub(crate) fn own_key(execution: &ExecutionId, plan: &str, step: &str, purpose: Purpose) -> String {
    let mut parts = vec![execution.as_str().as_bytes(), plan.as_bytes(), step.as_bytes()];
    let suffix = plans::suffix(purpose);
    if !suffix.is_empty() {
        parts.push(suffix.as_bytes());
    }
    canonical::digest_parts(&parts).hex().to_owned()
}

fn at(values: Option<&Vec<Value>>, path: &str) -> Vec<Value> {
    values.into_iter().flatten().filter_map(|value| value.pointer(path).cloned()).collect()
}

fn candidates(done: &Done, execution: &ExecutionId, from: &str, path: &str) -> Vec<Value> {
    at(done.said.get(&(execution.clone(), from.to_owned())), path)
}

// Whether a tool got what a draft says. Only here are a draft's words read, and only in the draft.
fn fits(drafted: &Value, got: &Value, said: &dyn Fn(&str, &str) -> Vec<Value>) -> bool {
    match (drafted, got) {
        (Value::Object(map), _) if map.contains_key("$literal") => equal(&map["$literal"], got),
        (Value::Object(map), _) if map.contains_key("$from") => {
            let path = map.get("path").and_then(Value::as_str).unwrap_or_default();
            said(map["$from"].as_str().unwrap_or_default(), path).iter().any(|one| equal(one, got))
        }
        (Value::Object(map), Value::Object(other)) => {
            map.len() == other.len()
                && map.iter().all(|(key, value)| other.get(key).is_some_and(|other| fits(value, other, said)))
        }
        (Value::Null, Value::Object(other)) => other.is_empty(),
        _ => equal(drafted, got),
    }
}

// Byte for byte the same, as RFC 8785 writes them.
fn equal(one: &Value, other: &Value) -> bool {
    match (canonical::value_bytes(one), canonical::value_bytes(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Whether a value holds words of a language of ours.
pub(crate) fn looks_like_ours(value: &Value) -> bool {
    let text = value.to_string();
    ["$from", "$sealed", "$blob", "$literal", "$input", "\"seals\"", "vault#", "sha256:"]
        .iter()
        .any(|word| text.contains(word))
}
