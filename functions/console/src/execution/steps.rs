//! The steps of a plan: as a picture, and one by one.

use crate::page::{Page, Sending};
use contracts::{
    Open,
    endpoint::named,
    event::BlockReason,
    plan::{Plan, PlanStep},
    query::{ExecutionView, StepView},
    status::{ExecutionStatus, StepStatus},
};
use pages::{Html, Moment, Node, Tag};
use std::collections::BTreeMap;

/// Steps that one page shows.
const STEPS_SHOWN: usize = 100;

/// A step as it stands.
pub(super) struct Step {
    pub(super) id: String,
    pub(super) operation: String,
    pub(super) status: Tag,
    pub(super) risk: Option<Tag>,
    pub(super) attempt: u32,
    pub(super) waits_for: Option<String>,
    pub(super) reasons: Vec<String>,
    /// Labels that are not accepted, and the way they come.
    pub(super) taint: Vec<String>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) retry_at: Option<Moment>,
    pub(super) retry: Option<Sending>,
}

fn planned(view: &ExecutionView) -> Option<&Plan> {
    view.plan.as_ref().and_then(Open::known)
}

/// The picture of the plan; none without a plan, or where it would be too large.
pub(super) fn picture(view: &ExecutionView) -> Result<Option<Html>, askama::Error> {
    let Some(plan) = planned(view) else { return Ok(None) };
    let place: BTreeMap<&str, usize> =
        plan.steps.iter().enumerate().map(|(index, step)| (step.id.as_str(), index)).collect();
    let states: BTreeMap<&str, String> =
        view.steps.iter().map(|step| (step.step_id.as_str(), step.status.to_string())).collect();
    let nodes: Vec<Node<'_>> = plan
        .steps
        .iter()
        .map(|step| Node {
            id: step.id.as_str(),
            operation: &step.call.operation,
            state: states.get(step.id.as_str()).map_or("planned", String::as_str),
            after: step.after.iter().filter_map(|id| place.get(id.as_str()).copied()).collect(),
        })
        .collect();
    pages::picture(&nodes)
}

/// The steps, those that wait for somebody or failed before others where not all have room.
pub(super) fn steps(page: &Page<'_>, view: &ExecutionView) -> Vec<Step> {
    let plan: BTreeMap<&str, &PlanStep> = planned(view)
        .map(|plan| plan.steps.iter().map(|step| (step.id.as_str(), step)).collect())
        .unwrap_or_default();
    let shown = page.visit.rows(STEPS_SHOWN);
    let quiet = |step: &StepView| {
        matches!(
            step.status.known(),
            Some(StepStatus::Pending | StepStatus::Completed | StepStatus::Skipped)
        )
    };
    let (loud, others): (Vec<&StepView>, Vec<&StepView>) =
        view.steps.iter().partition(|step| !quiet(step));
    let chosen: Vec<&StepView> = if view.steps.len() > shown {
        loud.into_iter().chain(others).take(shown).collect()
    } else {
        view.steps.iter().collect()
    };
    let ended = view.status == ExecutionStatus::Failed && !super::for_good(view);
    let step = |step: &StepView| {
        let failed = step.status == StepStatus::Failed && ended;
        // What nobody decided in time, or had no room in a budget, is asked anew.
        let unasked = step.status == StepStatus::Blocked
            && step.waits_for.as_ref().and_then(Open::known).is_some_and(|why| {
                matches!(why, BlockReason::ApprovalExpired | BlockReason::BudgetExceeded)
            });
        let id = [("executionId", view.execution_id.as_str())];
        let retry = (failed || unasked)
            .then(|| page.form(const { named("console.retry") }, &id, step.step_id.as_str()));
        Step {
            id: step.step_id.to_string(),
            operation: pages::shown(&step.operation),
            status: Tag::of(&step.status.to_string()),
            risk: step.risk_tier.as_ref().map(|tier| Tag::risk(&tier.to_string())),
            attempt: step.attempt,
            waits_for: step.waits_for.as_ref().map(|reason| pages::word(&reason.to_string())),
            reasons: step.reasons.iter().map(|reason| pages::shown(reason)).collect(),
            taint: plan.get(step.step_id.as_str()).map(|step| taint(step)).unwrap_or_default(),
            code: step.code.as_ref().map(|code| pages::shown(&code.to_string())),
            message: step.message.as_deref().map(pages::quoted),
            retry_at: step.retry_at.map(|at| page.moment(at)),
            retry: retry.flatten(),
        }
    };
    chosen.into_iter().map(step).collect()
}

fn taint(step: &PlanStep) -> Vec<String> {
    let way = |path: &[contracts::StepId]| {
        path.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ")
    };
    let all = step.taint.iter();
    all.map(|taint| format!("{} comes through {}", pages::quoted(&taint.label), way(&taint.path)))
        .collect()
}
