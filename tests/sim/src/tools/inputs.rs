//! What a tool finds in its call: a claim, measured amounts, and values that fit.

use super::*;
use contracts::event::ExecutionEvent;

/// The idempotency key of a call, as the contract makes it.
pub(crate) fn own_key(execution: &ExecutionId, plan: &str, step: &str, purpose: Purpose) -> String {
    let mut parts = vec![execution.as_str().as_bytes(), plan.as_bytes(), step.as_bytes()];
    let suffix = plans::suffix(purpose);
    if !suffix.is_empty() {
        parts.push(suffix.as_bytes());
    }
    canonical::digest_parts(&parts).hex().to_owned()
}

pub(super) fn at(values: Option<&Vec<Value>>, path: &str) -> Vec<Value> {
    values.into_iter().flatten().filter_map(|value| value.pointer(path).cloned()).collect()
}

fn candidates(done: &Done, execution: &ExecutionId, from: &str, path: &str) -> Vec<Value> {
    at(done.said.get(&(execution.clone(), from.to_owned())), path)
}

// Whether a tool got what a draft says. Only here are a draft's words read, and only in the draft.
pub(super) fn fits(drafted: &Value, got: &Value, said: &dyn Fn(&str, &str) -> Vec<Value>) -> bool {
    match (drafted, got) {
        (Value::Object(map), _) if map.contains_key("$literal") => equal(&map["$literal"], got),
        (Value::Object(map), _) if map.contains_key("$from") => {
            let path = map.get("path").and_then(Value::as_str).unwrap_or_default();
            said(map["$from"].as_str().unwrap_or_default(), path).iter().any(|one| equal(one, got))
        }
        (Value::Object(map), Value::Object(other)) => {
            map.len() == other.len()
                && map.iter().all(|(key, value)| {
                    other.get(key).is_some_and(|other| fits(value, other, said))
                })
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

impl SimTools {
    // The claim that this call belongs to is in the table before the call, with its purpose,
    // attempt and input.
    pub(super) fn claimed(
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
            let expected = Expected {
                audience: "http://tool",
                operation: &name,
                input: body,
                now: now / 1_000,
            };
            verify(carried, &ring().key_set(), &expected)
        });
        let mut refused = None;
        let claims: Option<Claims> =
            verified.filter_map(|outcome| outcome.map_err(|why| refused = Some(why)).ok()).next();
        self.invariants().check("no-effect-without-plan", claims.is_some(), || {
            format!("{}: {refused:?}", operation.name)
        });
        let claims = claims?;
        let execution: ExecutionId = claims.exe.parse().ok()?;
        let purpose = [Purpose::Run, Purpose::Probe, Purpose::Compensate]
            .into_iter()
            .find(|purpose| *key == *own_key(&execution, &claims.plan, &claims.step, *purpose));
        self.invariants().check("no-effect-without-plan", purpose.is_some(), || {
            format!("{} of {} with a key of no call of it", operation.name, claims.step)
        });
        let purpose = purpose?;
        let partition = keys::execution(&self.watch.workspace, &execution);
        let started = range(self.table.inner.as_ref(), partition, keys::EVENT).into_iter().any(
            |(_, item)| {
                serde_json::from_slice::<Entry>(&item.body).is_ok_and(|entry| match entry.event {
                    Event::Execution(ExecutionEvent::StepStarted(data)) => {
                        data.step_id.as_str() == claims.step
                            && data.attempt == claims.att
                            && data.purpose == purpose
                            && data.input_digest.as_str() == claims.inp
                    }
                    _ => false,
                })
            },
        );
        let ours = claims.ws == self.watch.workspace.as_str();
        self.invariants().check("tenant-walls", ours, || format!("a call of {}", claims.ws));
        self.invariants().check("one-gate", started, || {
            format!(
                "the {} of {} was called without a claim of its own",
                purpose.as_str(),
                claims.step
            )
        });
        let drafted = self.watch.called(&execution, &claims.step, purpose);
        let named = drafted.is_some_and(|drafted| drafted.name == operation.name);
        self.invariants().check("no-effect-without-plan", named, || {
            format!(
                "{execution}: the {} of {} calls {}",
                purpose.as_str(),
                claims.step,
                operation.name
            )
        });
        *self.done.lock().unwrap().called.entry(execution.clone()).or_default() += 1;
        (started && named).then_some(Asking {
            of: (execution, claims.step),
            purpose,
            operation,
            key,
            input,
        })
    }

    // What cannot be counted is never called where there is a limit, and never without people where
    // there is none.
    pub(super) fn measured(&self, asking: &Asking) {
        let Some(unit) = asking.operation.money else { return };
        let moves = amounts::moves(&asking.input, unit == "major");
        let limits = self.limits.get().copied().unwrap_or_default();
        let budget = self.watch.asked(&asking.of.0).map(|asked| asked.draft["budget"].clone());
        let budget: Budget =
            budget.and_then(|budget| serde_json::from_value(budget).ok()).unwrap_or_default();
        let limited = [
            moves.money.is_none()
                && (budget.money.is_some()
                    || limits.meter_money.is_some()
                    || limits.plan_money.is_some()),
            moves.recipients.is_none()
                && (budget.recipients.is_some() || limits.meter_recipients.is_some()),
        ];
        let what = || format!("{:?}: {} of {}", asking.of, asking.purpose.as_str(), asking.input);
        self.invariants().check("unmeasured-is-not-small", limited == [false, false], || {
            format!("within a limit: {}", what())
        });
        if moves.money.is_none() || moves.recipients.is_none() {
            let partition = keys::execution(&self.watch.workspace, &asking.of.0);
            let asked = range(self.table.inner.as_ref(), partition, keys::EVENT).into_iter().any(
                |(_, item)| {
                    serde_json::from_slice::<Entry>(&item.body).is_ok_and(|entry| {
                        match entry.event {
                            Event::Execution(ExecutionEvent::StepStarted(data)) => {
                                data.step_id.as_str() == asking.of.1 && data.approval_id.is_some()
                            }
                            _ => false,
                        }
                    })
                },
            );
            self.invariants().check("unmeasured-is-not-small", asked, || {
                format!("nobody was asked: {}", what())
            });
            if asked {
                self.invariants().storm("unmeasured: asked where there is none");
            }
        }
    }

    // What a tool gets is what was drafted, with what other tools said put in as they said it.
    pub(super) fn fits(&self, asking: &Asking) {
        let Asking { of, purpose, operation, input, .. } = asking;
        let mut done = self.done.lock().unwrap();
        let drafted = self.watch.drafted(&of.0, &of.1).unwrap_or_default();
        let (fits, carried) = match purpose {
            Purpose::Run => {
                let fits = fits(&drafted["with"], input, &|from, path| {
                    candidates(&done, &of.0, from, path)
                });
                (fits, drafted["with"].get("from").is_some())
            }
            Purpose::Probe => {
                let wanted = self.watch.asked(&of.0).is_some();
                let key = input["idempotencyKey"].as_str().unwrap_or_default();
                (
                    wanted
                        && input.as_object().is_some_and(|map| map.len() == 1)
                        && key.starts_with("sha256:"),
                    false,
                )
            }
            Purpose::Compensate => {
                let fields = drafted["use"]
                    .as_str()
                    .and_then(|name| plans::operation(name).undo)
                    .map_or(&[][..], |undo| undo.1);
                let same = |field: &str, pointer: &str| {
                    let given =
                        match (pointer.strip_prefix("/input"), pointer.strip_prefix("/output")) {
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
        self.invariants().check("data-is-never-control", fits, || {
            format!("{of:?}: the {} of {} got {input}", purpose.as_str(), operation.name)
        });
        if carried && looks_like_ours(input) {
            self.invariants().storm(match purpose {
                Purpose::Compensate => "marker: passed on to an undo",
                Purpose::Run | Purpose::Probe => "marker: passed on to another tool",
            });
        }
        if *purpose == Purpose::Run {
            done.heard.entry(of.clone()).or_default().push(input.clone());
        }
    }
}
