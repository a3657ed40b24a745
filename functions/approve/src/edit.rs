//! The form that changes values of a plan: one field for each literal, filled as the page showed
//! it. What was not touched is not sent on, and a text that was emptied is the empty text.

use contracts::{
    Code, Issue, Problem, StepId,
    approval::{EditPlan, GetApproval, LITERAL_FIELD, Literal},
    endpoint::{named, page},
    json,
};
use edge::page::{Form, Place, Reply, Visit};
use engine::{Answer, Engine};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) async fn edit(engine: Arc<Engine>, visit: Visit, form: Form) -> Answer<Reply> {
    let mut caller = visit.caller()?.clone();
    caller.idempotency_key = form.once.clone();
    let asked = GetApproval {
        execution_id: visit.named("executionId")?,
        approval_id: visit.named("approvalId")?,
    };
    let shown = engine.queries.approval(&caller, asked.clone()).await?;
    let view = form.text("viewDigest").and_then(|digest| digest.parse().ok());
    let request = EditPlan {
        execution_id: asked.execution_id,
        approval_id: asked.approval_id,
        view_digest: view.ok_or_else(|| invalid("/viewDigest", "the page's own"))?,
        literals: changed(&shown.literals, &form)?,
        reason: form.text("reason").unwrap_or_default().to_owned(),
    };
    engine.approvals.edit(&caller, request).await?;
    let place = Place::of(const { page("console.execution") }, &visit);
    Ok(Reply::go(place.done(const { named("console.edit") })))
}

// A text stays a text; anything else is JSON. INVARIANT (seen-is-signed): fields are named by step
// and pointer, so that each means what the page showed.
fn changed(literals: &[Literal], form: &Form) -> Answer<BTreeMap<StepId, BTreeMap<String, Value>>> {
    let mut changed: BTreeMap<StepId, BTreeMap<String, Value>> = BTreeMap::new();
    let known: BTreeSet<String> = literals.iter().map(Literal::field).collect();
    let shown = form.fields.keys().filter(|name| name.starts_with(LITERAL_FIELD));
    if let Some(gone) = shown.into_iter().find(|name| !known.contains(*name)) {
        let message = "its step has begun since the page was made: look again";
        return Err(invalid(&format!("/{gone}"), message));
    }
    for literal in literals {
        let name = literal.field();
        let Some(text) = form.sent(&name) else { continue };
        let value = match &literal.value {
            Value::String(_) => Value::String(text.to_owned()),
            _ => json::parse(text.as_bytes()).map_err(|_| {
                let kind = "a number, `true`, `false` or `null`, as it was";
                invalid(&format!("/{name}"), kind)
            })?,
        };
        if value != literal.value {
            let step = changed.entry(literal.step_id.clone()).or_default();
            step.insert(literal.pointer.clone(), value);
        }
    }
    Ok(changed)
}

fn invalid(pointer: &str, message: &str) -> Problem {
    Problem::new(Code::ValidationFailed, "the form is not valid")
        .issue(Issue::new(pointer, message))
}
