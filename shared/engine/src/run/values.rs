//! The input of a call: wires and conditions resolved on the outputs of other steps, sensitive
//! values sealed for the evidence and opened for the call. And the outputs themselves.

use crate::{
    Answer, Base, InForce, Snapshot, Vault, run::gate::Prepared, run::vault, run::words::Words,
};
use contracts::{
    Code, Digest, ExecutionId, Problem, StepId, WorkspaceId,
    event::{BlockReason, Purpose},
    plan::{Call, PlanStep},
};
use countersign_store::{Write, keys};
use cs_core::{
    canonical,
    execution::Execution,
    plan::wiring::{self, Input, InputError},
    schema::within,
    seal::{self, Opened, Sealed, Secrets},
    skill::CompiledOperation,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// What is known of an execution's outputs, and of its draft's sealed literals, while it advances.
#[derive(Default)]
pub(crate) struct Outputs {
    values: HashMap<StepId, Arc<Opened>>,
    literals: Option<Arc<Secrets>>,
}

impl Outputs {
    pub(crate) fn put(&mut self, step: StepId, value: Arc<Opened>) {
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
    /// The input as the evidence holds it. The same for the same plan and outputs.
    pub(crate) sealed: Sealed,
    /// The input with its sensitive values.
    pub(crate) opened: Value,
    /// What evidence takes of the tool's words.
    pub(crate) words: Words,
}

/// A call with its input, or why there is none.
pub(crate) type Resolution = Result<Box<Resolved>, Prepared>;

/// An output on its way into the store.
pub(crate) struct StoredOutput {
    pub(crate) digest: Digest,
    pub(crate) writes: Vec<Write>,
    pub(crate) opened: Opened,
}

/// Inputs and outputs of steps, sealed and opened.
pub struct Values {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) vault: Arc<Vault>,
}

impl Values {
    /// The compiled operation of a planned call, from the very skill the plan pinned. INVARIANT
    /// (no-effect-without-plan).
    pub(crate) fn pinned(
        &self,
        state: &Execution,
        call: &Call,
        snapshot: &Snapshot,
    ) -> Answer<Arc<CompiledOperation>> {
        let gone = || {
            Problem::new(
                Code::Conflict,
                format!("the skill of `{}` is not installed", call.operation),
            )
        };
        let pin =
            state.plan().and_then(|plan| plan.plan().skills.get(call.skill)).ok_or_else(gone)?;
        let installed = snapshot.skill(&pin.key, &pin.version).ok_or_else(gone)?;
        let skill = &installed.skill;
        if *skill.digest() != pin.manifest_digest {
            return Err(gone());
        }
        let name = call.operation.split_once('/').map_or("", |(_, name)| name);
        skill.operation(name).cloned().ok_or_else(gone)
    }

    /// The operation of a step.
    pub(crate) async fn operation_of(
        &self,
        state: &Execution,
        step: &StepId,
    ) -> Answer<Arc<CompiledOperation>> {
        let snapshot = self.in_force.snapshot(&state.workspace).await?;
        let planned = state.index_of(step).and_then(|index| state.planned(index));
        let planned = planned.ok_or_else(|| {
            Problem::new(Code::NotFound, format!("the plan has no step `{step}`"))
        })?;
        self.pinned(state, &planned.call, &snapshot)
    }

    /// Seals an output: what stores it, and what the next steps take.
    pub(crate) async fn store_output(
        &self,
        (workspace, id): (&WorkspaceId, &ExecutionId),
        step: &StepId,
        operation: &CompiledOperation,
        output: Value,
    ) -> Answer<StoredOutput> {
        let places = operation.output.sensitive_in(&output);
        let (sealed, secrets) =
            seal::seal(output, &places, &mut |_| self.base.salt()).map_err(crate::not_canonical)?;
        let mut writes =
            vec![self.base.store.body_write(keys::output(workspace, id, step), &sealed).await?];
        let name = vault::output_name(step);
        writes.extend(self.vault.keep_secrets((workspace, id), &name, &secrets).await?);
        let digest = sealed.digest().map_err(crate::not_canonical)?;
        let opened = sealed.open(&secrets).map_err(crate::not_canonical)?;
        Ok(StoredOutput { digest, writes, opened })
    }

    // The output of a step, opened wholly.
    async fn output(&self, state: &Execution, step: &StepId, outputs: &mut Outputs) -> Answer<()> {
        if outputs.values.contains_key(step) {
            return Ok(());
        }
        let Some(wanted) = state.step(step).and_then(|step| step.output.clone()) else {
            return Ok(());
        };
        let key = keys::output(&state.workspace, &state.id, step);
        let Some(sealed) = self.base.store.body::<Sealed>(&key).await? else {
            return Ok(());
        };
        if sealed.digest().map_err(crate::not_canonical)? != wanted {
            let message = format!("the stored output of `{step}` is not the one in the trace");
            return Err(Problem { retryable: false, ..Problem::new(Code::InternalError, message) });
        }
        let secrets = if sealed.seals.is_empty() {
            Secrets::new()
        } else {
            self.vault.secrets((&state.workspace, &state.id), &vault::output_name(step)).await?
        };
        let opened = sealed.open(&secrets).map_err(crate::not_canonical)?;
        outputs.put(step.clone(), Arc::new(opened));
        Ok(())
    }

    // The sealed literals of the draft, where a step has any.
    async fn literals(
        &self,
        state: &Execution,
        planned: &PlanStep,
        outputs: &mut Outputs,
    ) -> Answer<Arc<Secrets>> {
        if planned.seals.is_empty() && planned.when_seals.is_empty() {
            return Ok(Arc::default());
        }
        if let Some(literals) = &outputs.literals {
            return Ok(literals.clone());
        }
        let literals =
            Arc::new(self.vault.secrets((&state.workspace, &state.id), vault::DRAFT).await?);
        outputs.literals = Some(literals.clone());
        Ok(literals)
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
        let own_operation = match self.pinned(state, &planned.call, snapshot) {
            Ok(operation) => operation,
            Err(problem) => {
                return Ok(Err(Prepared::Block {
                    reason: BlockReason::SkillDisabled,
                    message: Some(problem.detail),
                }));
            }
        };
        let literals = self.literals(state, planned, outputs).await?;
        let from = planned
            .wires
            .iter()
            .map(|wire| &wire.from)
            .chain(planned.when.iter().map(|when| &when.from));
        for step in from.chain((purpose == Purpose::Compensate).then_some(&planned.id)) {
            self.output(state, step, outputs).await?;
        }
        let at = |id: &StepId| outputs.values.get(id).map(Arc::as_ref);
        if let Some(when) = &planned.when
            && purpose == Purpose::Run
        {
            match wiring::holds(planned, &literals, at(&when.from)) {
                Ok(true) => {}
                Ok(false) => {
                    let why =
                        format!("the condition on `{}` {} does not hold", when.from, when.path);
                    return Ok(Err(Prepared::Skip(why)));
                }
                Err(missing) => return Ok(Err(missing_input(&missing))),
            }
        }
        let input = match wiring::resolve(planned, &literals, at) {
            Ok(input) => input,
            Err(missing) => return Ok(Err(missing_input(&missing))),
        };
        let called = match purpose {
            Purpose::Run => Ok((planned.call.clone(), input)),
            Purpose::Probe => probe_call(state, planned),
            Purpose::Compensate => compensation(planned, input, at(&planned.id)),
        };
        let (call, input) = match called {
            Ok(called) => called,
            Err(prepared) => return Ok(Err(prepared)),
        };
        let operation = match purpose {
            Purpose::Run => own_operation.clone(),
            Purpose::Probe | Purpose::Compensate => self.pinned(state, &call, snapshot)?,
        };
        if let Some(message) = misfit(&operation, &input) {
            return Ok(Err(Prepared::Refuse { code: "INPUT_INVALID", message }));
        }
        let words = self.words_of(state, planned, snapshot);
        let sealed = seal_input(state, (planned, purpose), &operation, &input)?;
        let opened = input.value;
        Ok(Ok(Box::new(Resolved { call, operation, own_operation, sealed, opened, words })))
    }
}

fn not_declared() -> Prepared {
    let message = "the operation declares no such call".into();
    Prepared::Refuse { code: "NOT_DECLARED", message }
}

// A probe is asked about the key of the call whose outcome is not known.
fn probe_call(state: &Execution, planned: &PlanStep) -> Result<(Call, Input), Prepared> {
    let probe = planned.probe.as_ref().ok_or_else(not_declared)?;
    let key = state.idempotency_key(&planned.id, "");
    let input = Input { value: json!({ "idempotencyKey": key }), ..Input::default() };
    Ok((probe.call.clone(), input))
}

// What undoes a step takes its input from that of the step and its output.
fn compensation(
    planned: &PlanStep,
    input: Input,
    output: Option<&Opened>,
) -> Result<(Call, Input), Prepared> {
    let undo = planned.compensate.as_ref().ok_or_else(not_declared)?;
    let salts = input.sensitive.iter();
    let salts = salts.map(|(pointer, salts)| (pointer.clone(), salts.concat())).collect();
    let own = Opened { value: input.value, salts, ..Opened::default() };
    let input = wiring::compensation_input(&undo.input, &own, output)
        .map_err(|missing| missing_input(&missing))?;
    // What is not there is not left out: a call with less than it was to have is another call.
    match undo.input.iter().find(|(field, _)| input.value.get(field).is_none()) {
        None => Ok((undo.call.clone(), input)),
        Some((field, pointer)) => {
            let id = &planned.id;
            let message = format!("there is no `{pointer}` of `{id}` for the input's `{field}`");
            Err(Prepared::Refuse { code: "INPUT_MISSING", message })
        }
    }
}

// Below a sensitive place that came along a wire not even the names of members are told.
fn misfit(operation: &CompiledOperation, input: &Input) -> Option<String> {
    let issues = operation.input.issues(&input.value, &BTreeSet::new(), "/input");
    let issue = issues.first()?;
    let at = issue.pointer.strip_prefix("/input").unwrap_or_default();
    Some(match input.sensitive.keys().find(|pointer| within(at, pointer)) {
        Some(pointer) => {
            format!("/input{pointer}: the sensitive value that came there does not fit")
        }
        None => format!("{}: {}", issue.pointer, issue.message),
    })
}

fn missing_input(missing: &InputError) -> Prepared {
    match missing {
        InputError::Value(wire) => {
            let message = format!(
                "the output of `{}` has no `{}` for the input's `{}`",
                wire.from, wire.path, wire.to
            );
            Prepared::Refuse { code: "INPUT_MISSING", message }
        }
        InputError::Redacted => {
            let message = "a sensitive value was redacted before the call".to_owned();
            Prepared::Refuse { code: "SEALED_VALUE_GONE", message }
        }
    }
}

/// An input as evidence holds it: sealed where its schema says so and where a sensitive value came
/// along a wire. Salts are made from those of what came in, so that the same input has the same
/// digest whenever it is looked at: an approval names it. A value whose source was not sealed
/// stands in clear where it came from, and its salt hides nothing.
fn seal_input(
    state: &Execution,
    (planned, purpose): (&PlanStep, Purpose),
    operation: &CompiledOperation,
    input: &Input,
) -> Answer<Sealed> {
    let mut places = operation.input.sensitive_in(&input.value);
    places.extend(input.sensitive.keys().cloned());
    let purpose = format!("{purpose:?}");
    let mut salt = |place: &str| {
        let carried = input.sensitive.iter();
        let carried = carried.filter(|(other, _)| within(other, place) || within(place, other));
        let salts = carried.flat_map(|(_, salts)| salts.iter().map(String::as_bytes));
        let context =
            ["countersign/salt/1", state.id.as_str(), planned.id.as_str(), &purpose, place];
        let parts: Vec<&[u8]> = context.iter().map(|part| part.as_bytes()).chain(salts).collect();
        canonical::digest_parts(&parts).hex().chars().take(32).collect()
    };
    let sealed =
        seal::seal(input.value.clone(), &places, &mut salt).map_err(crate::not_canonical)?;
    Ok(sealed.0)
}
