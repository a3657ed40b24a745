//! controlPlane.evidence.receipt: which call was made for a step, with what, and what became of it,
//! in one signed line.

use crate::{Answer, Base, Caller, Parts, Queries, Transparency, Updates, boxed};
use contracts::{
    Code, Digest, Problem, StepId,
    event::{Entry, ExecutionEvent, PlanCompiled, Purpose, Resolution, StepStarted},
    evidence::{GetReceipt, Receipt, ReceiptOutcome, SignedReceipt},
    plan::Plan,
};
use countersign_store::{Loaded, PortError, Stream};
use cs_core::{receipt, warrant::ISSUER};
use std::sync::Arc;

/// Signs receipts of steps.
pub struct Receipts {
    pub(crate) base: Arc<Base>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) transparency: Arc<Transparency>,
}

/// What became of a step, and which call it came of.
struct Ended<'e> {
    started: &'e StepStarted,
    plan: &'e Digest,
    entry: &'e Entry,
    outcome: ReceiptOutcome,
    output: Option<&'e Digest>,
}

impl Receipts {
    pub(crate) fn new(
        parts: &Parts,
        (queries, transparency): (Arc<Queries>, Arc<Transparency>),
    ) -> Self {
        let (base, updates) = (parts.base.clone(), parts.updates.clone());
        Self { base, updates, queries, transparency }
    }

    /// The receipt of what became of a step last. It has digests, and no value.
    #[boxed]
    pub async fn receipt(&self, caller: &Caller, request: GetReceipt) -> Answer<SignedReceipt> {
        caller.require("control-plane.audit")?;
        let loaded = self.updates.load_for(caller, &request.execution_id).await?;
        let entries = self.queries.entries(&loaded, 1).await?.into_iter();
        let entries = entries.map(serde_json::from_value::<Entry>).collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| PortError::Corrupt(error.to_string()))?;
        let step = &request.step_id;
        let Some(ended) = ended(&entries, step) else {
            let message = format!("no call of step `{step}` has ended");
            return Err(Problem::new(Code::NotFound, message));
        };
        let receipt = self.claims(&loaded, step, &ended)?;
        let ring = self.base.ports.signer.ring().await?;
        let receipt = receipt::sign(&receipt, ring.current())
            .map_err(|error| PortError::Corrupt(error.to_string()))?;
        let (workspace, stream) = (&caller.workspace, Stream::Trace(request.execution_id));
        let proof = match loaded.state.status.ended() {
            false => None,
            true => match self.transparency.prove(workspace, &stream, loaded.chain.seq).await {
                Ok(proof) if proof.leaf.seq >= ended.entry.seq => Some(proof),
                // Its end comes into the log a moment later.
                Ok(_) => None,
                Err(problem) if problem.code == Code::NotFound => None,
                Err(problem) => return Err(problem),
            },
        };
        Ok(SignedReceipt { receipt, proof })
    }

    fn claims(&self, loaded: &Loaded, step: &StepId, ended: &Ended<'_>) -> Answer<Receipt> {
        let state = &loaded.state;
        let plan = state.plan().filter(|plan| plan.digest() == ended.plan);
        let op = plan.and_then(|plan| operation(plan.plan(), step, ended.started.purpose));
        let op = op.ok_or_else(|| {
            let message = format!("the plan of the call of `{step}` is not the one in force");
            Problem::new(Code::NotFound, message)
        })?;
        Ok(Receipt {
            iss: ISSUER.into(),
            ws: state.workspace.clone(),
            exe: state.id.clone(),
            step: step.clone(),
            attempt: ended.started.attempt,
            op: op.to_owned(),
            purpose: ended.started.purpose,
            inp: ended.started.input_digest.clone(),
            out: ended.output.cloned(),
            outcome: ended.outcome,
            at: ended.entry.at,
            evt: ended.entry.hash.clone(),
            seq: ended.entry.seq,
            plan: ended.plan.clone(),
        })
    }
}

// INVARIANT (fail-closed): a call that ended in doubt has no outcome, and no receipt, until people
// say what became of it.
fn ended<'e>(entries: &'e [Entry], step: &StepId) -> Option<Ended<'e>> {
    let (mut plan, mut started, mut ended) = (None, None, None);
    for entry in entries {
        let Some(event) = entry.event.execution() else { continue };
        if let ExecutionEvent::PlanCompiled(PlanCompiled { plan_digest, .. }) = event {
            plan = Some(plan_digest);
        }
        if event.step_id() != Some(step) {
            continue;
        }
        let (outcome, output) = match event {
            ExecutionEvent::StepStarted(data) => {
                started = Some(data);
                // What is being undone ended before.
                if data.purpose != Purpose::Compensate {
                    ended = None;
                }
                continue;
            }
            ExecutionEvent::StepCompleted(data) => {
                (ReceiptOutcome::Completed, Some(&data.output_digest))
            }
            ExecutionEvent::StepFailed(data) if data.unanswered => {
                (ReceiptOutcome::Unanswered, None)
            }
            ExecutionEvent::StepFailed(_) => (ReceiptOutcome::Failed, None),
            ExecutionEvent::StepCompensated(_) => (ReceiptOutcome::Compensated, None),
            ExecutionEvent::StepResolved(data) => match data.outcome {
                Resolution::Completed => (ReceiptOutcome::Completed, data.output_digest.as_ref()),
                Resolution::Failed => (ReceiptOutcome::Failed, None),
                Resolution::Retry => continue,
            },
            _ => continue,
        };
        if let (Some(plan), Some(started)) = (plan, started) {
            ended = Some(Ended { started, plan, entry, outcome, output });
        }
    }
    ended
}

fn operation<'p>(plan: &'p Plan, step: &StepId, purpose: Purpose) -> Option<&'p str> {
    let step = plan.steps.iter().find(|planned| planned.id == *step)?;
    let call = match purpose {
        Purpose::Run => &step.call,
        Purpose::Probe => &step.probe.as_ref()?.call,
        Purpose::Compensate => &step.compensate.as_ref()?.call,
    };
    Some(&call.operation)
}
