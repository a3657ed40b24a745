//! What steps gave, as callers see it: sealed as evidence holds it, and no more than an answer has
//! room for.

use crate::{Answer, Caller, Queries, boxed};
use contracts::{
    Code, Digest, Problem, StepId,
    limits::TRACE_PAYLOADS_BYTES_MAX,
    names,
    query::{ExecutionOutput, GetOutput},
};
use countersign_store::{Loaded, keys};
use cs_core::seal::Sealed;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Outputs of steps.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) outputs: Map<String, Value>,
    /// Empty places and their commitments.
    pub(crate) seals: BTreeMap<String, BTreeMap<String, Digest>>,
    /// Those that there is no room for.
    pub(crate) omitted: Vec<StepId>,
}

impl Queries {
    /// The outputs of some steps. INVARIANT (bounded-work): an answer has room for so much, and
    /// says what it has not.
    pub(crate) async fn outputs(
        &self,
        loaded: &Loaded,
        wanted: impl Fn(&StepId) -> bool + Send + Sync,
    ) -> Answer<Shown> {
        let state = &loaded.state;
        let (mut shown, mut room) = (Shown::default(), TRACE_PAYLOADS_BYTES_MAX);
        let partition = keys::execution(&state.workspace, &state.id);
        let read = self.base.store.each_body(partition, keys::OUTPUT, |name, output: Sealed| {
            let step = name.parse().ok().and_then(|id| state.step(&id));
            let Some(step) = step.filter(|step| step.output.is_some() && wanted(&step.id)) else {
                return Ok(true);
            };
            // What is shown as the trace's is what the trace names.
            if output.digest().ok() != step.output {
                let message = format!("the stored output of `{name}` is not the one in the trace");
                return Err(Problem {
                    retryable: false,
                    ..Problem::new(Code::InternalError, message)
                });
            }
            let size = serde_json::to_vec(&output.value).map_or(usize::MAX, |bytes| bytes.len());
            let Some(left) = room.checked_sub(size) else { return Ok(false) };
            room = left;
            shown.outputs.insert(name.to_owned(), output.value);
            if !output.seals.is_empty() {
                shown.seals.insert(name.to_owned(), output.seals);
            }
            Ok(true)
        });
        read.await?;
        let given = state.steps.iter().filter(|step| step.output.is_some() && wanted(&step.id));
        let left_out =
            given.map(|step| step.id.clone()).filter(|id| !shown.outputs.contains_key(id.as_str()));
        shown.omitted = left_out.collect();
        Ok(shown)
    }

    /// The output of a step, or of those that no other comes after.
    #[boxed]
    pub async fn execution_output(
        &self,
        caller: &Caller,
        request: GetOutput,
    ) -> Answer<ExecutionOutput> {
        caller.require("control-plane.execution.read")?;
        let loaded = self.updates.load_for(caller, &request.execution_id).await?;
        let state = &loaded.state;
        if let Some(id) = &request.step_id {
            let known = state.steps.iter().map(|step| step.id.as_str());
            let Some(step) = state.step(id) else {
                let issue = names::unknown("/stepId", "step", id.as_str(), known);
                return Err(Problem::new(Code::NotFound, "there is no such step").issue(issue));
            };
            if step.output.is_none() {
                let message = format!("step `{id}` is {} and has no output", step.state.as_str());
                return Err(Problem::new(Code::Conflict, message));
            }
        }
        let planned = state.plan().map(|plan| plan.plan().steps.as_slice()).unwrap_or_default();
        let followed: BTreeSet<&StepId> = planned.iter().flat_map(|step| &step.after).collect();
        let wanted = |step: &StepId| match &request.step_id {
            Some(id) => step == id,
            None => !followed.contains(step),
        };
        let shown = self.outputs(&loaded, wanted).await?;
        Ok(ExecutionOutput {
            execution_id: state.id.clone(),
            status: crate::status(state),
            outputs: shown.outputs,
            seals: shown.seals,
            omitted: shown.omitted,
        })
    }
}
