//! The input of a call: wires and conditions resolved on the outputs of other steps, sensitive values sealed for the
//! evidence and opened for the call. And the outputs themselves.

use crate::{Answer, Engine, Snapshot, gate::Prepared, keys, ports::Write};
use contracts::{
    Code, Digest, Problem, StepId,
    event::{BlockReason, Purpose},
    plan::{Call, PlanStep},
};
use cs_core::{
    canonical,
    execution::Execution,
    plan::wiring,
    seal::{self, Secret},
    skill::CompiledOperation,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

#[derive(Default)]
pub(crate) struct Outputs {
    values: HashMap<StepId, Arc<Value>>,
}

impl Outputs {
    pub(crate) fn put(&mut self, step: StepId, value: Arc<Value>) {
        self.values.insert(step, value);
    }
}

/// A call with its input.
pub(crate) struct Resolved {
    pub(crate) call: Call,
    /// What is called.
    pub(crate) operation: Arc<CompiledOperation>,
    /// The step's own operation.
    pub(crate) own_operation: Arc<CompiledOperation>,
    /// The input as the evidence holds it.
    pub(crate) sealed: Value,
    /// The input with its sensitive values.
    pub(crate) opened: Value,
    /// Sealed values that the input added.
    pub(crate) writes: Vec<Write>,
}

/// A call with its input, or why there is none.
pub(crate) type Resolution = Result<Box<Resolved>, Prepared>;

impl Engine {
    /// The compiled operation of a planned call, from the very skill the plan pinned. INVARIANT (no-effect-without-plan).
    pub(crate) fn pinned(
        &self,
        state: &Execution,
        call: &Call,
        snapshot: &Snapshot,
    ) -> Answer<Arc<CompiledOperation>> {
        let gone = || Problem::new(Code::Conflict, format!("the skill of `{}` is not installed", call.operation));
        let pin = state.plan().and_then(|plan| plan.plan().skills.get(call.skill)).ok_or_else(gone)?;
        let installed = snapshot.skill(&pin.key, &pin.version).ok_or_else(gone)?;
        let skill = &installed.skill;
        if *skill.digest() != pin.manifest_digest {
            return Err(gone());
        }
        let name = call.operation.split_once('/').map_or("", |(_, name)| name);
        skill.operation(name).cloned().ok_or_else(gone)
    }

    /// The operation of a step.
    pub(crate) async fn operation_of(&self, state: &Execution, step: &StepId) -> Answer<Arc<CompiledOperation>> {
        let snapshot = self.snapshot(&state.workspace).await?;
        let planned = state.place(step).and_then(|place| state.planned(place));
        let planned =
            planned.ok_or_else(|| Problem::new(Code::NotFound, format!("the plan has no step `{step}`")))?;
        self.pinned(state, &planned.call, &snapshot)
    }

    async fn output(&self, state: &Execution, step: &StepId, outputs: &mut Outputs) -> Answer<Option<Arc<Value>>> {
        if let Some(value) = outputs.values.get(step) {
            return Ok(Some(value.clone()));
        }
        let Some(wanted) = state.step(step).and_then(|step| step.output.clone()) else {
            return Ok(None);
        };
        let key = keys::output(&state.workspace, &state.id, step);
        let Some(value) = self.get_body::<Value>(&key).await? else {
            return Ok(None);
        };
        if canonical::digest(&value).map_err(crate::not_canonical)? != wanted {
            let message = format!("the stored output of `{step}` is not the one in the trace");
            return Err(Problem { retryable: false, ..Problem::new(Code::InternalError, message) });
        }
        let value = Arc::new(value);
        outputs.put(step.clone(), value.clone());
        Ok(Some(value))
    }

    async fn vault(&self, state: &Execution, value: &Value, found: &mut HashMap<Digest, Value>) -> Answer<()> {
        let mut wanted = BTreeSet::new();
        collect_sealed(value, &mut wanted);
        for commitment in wanted {
            if found.contains_key(&commitment) {
                continue;
            }
            let key = keys::vault(&state.workspace, &state.id, &commitment);
            if let Some(secret) = self.get_body::<Secret>(&key).await? {
                found.insert(commitment, secret.value);
            }
        }
        Ok(())
    }

    /// Resolves the input of a step's own call, of its probe or of its compensation.
    pub(crate) async fn resolve_input(
        &self,
        state: &Execution,
        planned: &PlanStep,
        purpose: Purpose,
        snapshot: &Snapshot,
        outputs: &mut Outputs,
    ) -> Answer<Resolution> {
        let refuse = |code: &'static str, message: String| Ok(Err(Prepared::Refuse { code, message }));
        let own_operation = match self.pinned(state, &planned.call, snapshot) {
            Ok(operation) => operation,
            Err(problem) => {
                return Ok(Err(Prepared::Block {
                    reason: BlockReason::SkillDisabled,
                    message: Some(problem.detail),
                }));
            }
        };
        for wire in planned.wires.iter().map(|wire| &wire.from).chain(planned.when.iter().map(|when| &when.from)) {
            self.output(state, wire, outputs).await?;
        }
        let at = |id: &StepId| outputs.values.get(id).map(Arc::as_ref);
        if let Some(when) = &planned.when
            && purpose == Purpose::Run
            && !wiring::holds(when, at(&when.from))
        {
            return Ok(Err(Prepared::Skip(format!("the condition on `{}` {} does not hold", when.from, when.path))));
        }
        let mut input = match wiring::resolve(planned, at) {
            Ok(input) => input,
            Err(wire) => {
                let message =
                    format!("the output of `{}` has no `{}` for the input's `{}`", wire.from, wire.path, wire.to);
                return refuse("INPUT_MISSING", message);
            }
        };
        let (call, operation) = match (purpose, &planned.probe, &planned.compensate) {
            (Purpose::Run, _, _) => (planned.call.clone(), own_operation.clone()),
            (Purpose::Probe, Some(probe), _) => {
                let key = state.idempotency_key(&planned.id, "");
                input = json!({ "idempotencyKey": key });
                (probe.clone(), self.pinned(state, probe, snapshot)?)
            }
            (Purpose::Compensate, _, Some(undo)) => {
                let output = self.output(state, &planned.id, outputs).await?;
                let both = json!({ "input": input, "output": output.as_deref() });
                let fields = undo.input.iter();
                input = fields
                    .filter_map(|(field, pointer)| Some((field.clone(), both.pointer(pointer)?.clone())))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
                (undo.call.clone(), self.pinned(state, &undo.call, snapshot)?)
            }
            (Purpose::Probe | Purpose::Compensate, _, _) => {
                return refuse("NOT_DECLARED", "the operation declares no such call".into());
            }
        };
        let mut salt = || self.salt();
        let mut known: HashMap<Digest, Value> = HashMap::new();
        let mut writes = Vec::new();
        for secret in seal::seal(&mut input, &operation.input, &mut salt).map_err(crate::not_canonical)? {
            known.insert(secret.commitment.clone(), secret.value.clone());
            let key = keys::vault(&state.workspace, &state.id, &secret.commitment);
            writes.push(self.put_body(key, &secret).await?);
        }
        self.vault(state, &input, &mut known).await?;
        let Some(opened) = seal::open(&input, &|commitment| known.get(commitment).cloned()) else {
            return refuse("SEALED_VALUE_GONE", "a sensitive value was redacted before the call".into());
        };
        if !operation.input.accepts(&opened) {
            let issues = operation.input.issues(&opened, &BTreeSet::new(), "/input");
            let what = issues.first().map(|issue| format!("{}: {}", issue.pointer, issue.message));
            return refuse("INPUT_INVALID", what.unwrap_or_default());
        }
        Ok(Ok(Box::new(Resolved { call, operation, own_operation, sealed: input, opened, writes })))
    }
}

fn collect_sealed(value: &Value, into: &mut BTreeSet<Digest>) {
    if let Some(commitment) = seal::sealed(value) {
        into.insert(commitment);
        return;
    }
    match value {
        Value::Object(map) => map.values().for_each(|inner| collect_sealed(inner, into)),
        Value::Array(items) => items.iter().for_each(|item| collect_sealed(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
