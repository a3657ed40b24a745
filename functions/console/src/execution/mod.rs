//! One execution. What is asked of people comes first; then the plan, its steps and what happened.
//! The trace, the outputs and the verdict are views of their own, so that no page grows with all of
//! them.

mod asks;
mod outputs;
mod steps;
pub(crate) mod trace;
pub(crate) mod verdict;

use crate::page::{Page, Sending};
use askama::Template;
use asks::{Ask, Decided, Doubt};
use contracts::{
    ExecutionId, Issue, Open,
    draft::OnFailure,
    endpoint::{named, page},
    query::{ExecutionView, GetExecution},
    status::{ExecutionStatus, StepStatus},
};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Moment, Tag};
use std::sync::Arc;
use steps::Step;

/// Codes of what was ended by people.
const ABORTED: &str = "ABORTED";
const REJECTED: &str = "APPROVAL_REJECTED";
/// Events of the timeline beside the plan.
const TIMELINE_EVENTS: usize = 30;

/// What is shown of an execution below its head.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Plan,
    Verdict,
    Trace,
    Outputs,
}

impl Show {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Plan, "", "Plan"),
        (Self::Verdict, "verdict", "Verdict"),
        (Self::Trace, "trace", "Trace"),
        (Self::Outputs, "outputs", "Outputs"),
    ];

    fn of(word: Option<&str>) -> Self {
        let found = Self::ALL.iter().find(|(_, name, _)| Some(*name) == word);
        found.map_or(Self::Plan, |(show, _, _)| *show)
    }
}

struct Tab {
    address: String,
    title: &'static str,
    here: bool,
}

#[derive(Template)]
#[template(path = "execution.html")]
struct ExecutionPage<'p> {
    id: String,
    text: String,
    status: Tag,
    risk: Option<Tag>,
    verdict: Option<Tag>,
    actor: String,
    subject: Option<String>,
    created: Moment,
    updated: Moment,
    /// How long it took, once it has ended.
    took: Option<String>,
    reasons: Vec<String>,
    asks: Vec<Ask>,
    doubts: Vec<Doubt>,
    decided: Vec<Decided>,
    controls: Controls,
    tabs: Vec<Tab>,
    body: &'p Html,
}

/// What may be done with the execution as a whole now.
#[derive(Default)]
struct Controls {
    pause: Option<Sending>,
    resume: Option<Sending>,
    retry: Option<Sending>,
    cancel: Option<Sending>,
    abort: Option<Sending>,
}

impl Controls {
    fn any(&self) -> bool {
        let all = [&self.pause, &self.resume, &self.retry, &self.cancel, &self.abort];
        all.into_iter().any(Option::is_some)
    }
}

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPart {
    picture: Option<Html>,
    steps: Vec<Step>,
    timeline: Vec<trace::Happening>,
    earlier: bool,
    trace: String,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let here = const { page("console.execution") };
    let id: ExecutionId = visit.named("executionId")?;
    let page = Page::new(&engine, &visit)?;
    let show = Show::of(visit.query("show"));
    let request = GetExecution {
        execution_id: id.clone(),
        wait_seconds: None,
        include_plan: true,
        // What is asked is read request by request, with whose it is to decide.
        include_view: Some(false),
    };
    let view = engine.queries.get(page.caller, request).await?.execution;
    let own = format!("{}{}", visit.base, here.path.replace("{executionId}", id.as_str()));
    let address = |name: &str| match name {
        "" => own.clone(),
        name => format!("{own}?show={name}"),
    };
    let body = match show {
        Show::Plan => plan(&engine, &page, &view, address("trace")).await?,
        Show::Verdict => verdict::part(&engine, &page, &id).await?,
        Show::Trace => trace::part(&engine, &page, &id, &own).await?,
        Show::Outputs => outputs::part(&engine, &page, &id).await?,
    };
    let tabs = Show::ALL.map(|(tab, name, title)| Tab {
        address: address(name),
        title,
        here: tab == show,
    });
    let subject = view.on_behalf_of.as_deref().map(pages::quoted);
    let content = Html::of(&ExecutionPage {
        id: id.to_string(),
        text: pages::quoted(&view.text),
        status: Tag::of(&view.status.to_string()),
        risk: view.risk_tier.as_ref().map(|tier| Tag::risk(&tier.to_string())),
        verdict: view.verdict.as_ref().map(|verdict| Tag::of(&verdict.to_string())),
        actor: pages::quoted(&view.actor_id),
        subject,
        created: page.moment(view.created_at),
        updated: page.moment(view.updated_at),
        took: has_ended(&view).then(|| pages::took(view.updated_at.ms() - view.created_at.ms())),
        reasons: view.reasons.iter().map(|issue| pages::shown(&issue.message)).collect(),
        asks: match show {
            Show::Plan => asks::asks(&engine, &page, &view).await?,
            Show::Verdict | Show::Trace | Show::Outputs => Vec::new(),
        },
        doubts: asks::doubts(&page, &view),
        decided: match show {
            Show::Plan => asks::decided(&page, &view),
            Show::Verdict | Show::Trace | Show::Outputs => Vec::new(),
        },
        controls: controls(&page, &view),
        tabs: tabs.into(),
        body: &body,
    });
    let live = format!("of={id}");
    page.reply(("Execution", here), Some(&live), content)
}

async fn plan(
    engine: &Engine,
    page: &Page<'_>,
    view: &ExecutionView,
    trace: String,
) -> Answer<Html> {
    let mut timeline =
        trace::happenings(engine, page, (&view.execution_id, view.created_at)).await?;
    let shown = page.visit.rows(TIMELINE_EVENTS);
    let earlier = timeline.len() > shown;
    timeline.drain(..timeline.len().saturating_sub(shown));
    let picture = match page.visit.is_crowded() {
        false => steps::picture(view).map_err(|error| unwritten(&error))?,
        true => None,
    };
    let steps = steps::steps(page, view);
    Html::of(&PlanPart { picture, steps, timeline, earlier, trace })
        .map_err(|error| unwritten(&error))
}

fn controls(page: &Page<'_>, view: &ExecutionView) -> Controls {
    use ExecutionStatus as S;
    let id = view.execution_id.as_str();
    let form = |endpoint| page.form(endpoint, &[("executionId", id)], "whole");
    let pause = || form(const { named("console.pause") });
    let resume = || form(const { named("console.resume") });
    let retry = || form(const { named("console.retry") });
    let cancel = || form(const { named("console.cancel") });
    let abort = || form(const { named("console.abort") });
    match view.status.known() {
        Some(S::Received | S::Compiled | S::Verified) => {
            Controls { cancel: cancel(), ..Controls::default() }
        }
        Some(S::Running | S::Blocked) => {
            Controls { pause: pause(), cancel: cancel(), abort: abort(), ..Controls::default() }
        }
        Some(S::Paused) => {
            Controls { resume: resume(), cancel: cancel(), abort: abort(), ..Controls::default() }
        }
        Some(S::Cancelling) => Controls { abort: abort(), ..Controls::default() },
        Some(S::Failed) if !for_good(view) => Controls { retry: retry(), ..Controls::default() },
        Some(S::Failed | S::Rejected | S::Completed | S::Cancelled) | None => Controls::default(),
    }
}

fn has_ended(view: &ExecutionView) -> bool {
    use ExecutionStatus as S;
    matches!(view.status.known(), Some(S::Completed | S::Failed | S::Rejected | S::Cancelled))
}

// What people ended, and what was undone, is not tried again: it is submitted anew.
fn for_good(view: &ExecutionView) -> bool {
    let plan = view.plan.as_ref().and_then(Open::known);
    let ended = |issue: &Issue| matches!(issue.code.as_deref(), Some(ABORTED | REJECTED));
    plan.is_some_and(|plan| plan.on_failure == OnFailure::Compensate)
        || view.reasons.iter().any(ended)
        || !view.steps.iter().any(|step| step.status == StepStatus::Failed)
}

// A page that cannot be written is a fault of ours.
fn unwritten(error: &askama::Error) -> contracts::Problem {
    let message = format!("the page cannot be written: {error}");
    contracts::Problem::new(contracts::Code::InternalError, message)
}
