//! The simulator: how a draft that nobody submitted would be judged, and what other policies would
//! have made of what happened. Nothing is changed by either.

use crate::{
    execution::verdict::VerdictPart,
    page::{Page, Sending},
    policies::Change,
};
use askama::Template;
use contracts::{
    Code, Issue, Problem,
    draft::Draft,
    endpoint,
    endpoint::named,
    json,
    query::{Backtest, BacktestPolicy, ExplainPolicy, Explanation},
};
use edge::page::{Form, Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Impact};
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;
/// Days that a backtest looks back.
const BACKTEST_DAYS: i64 = 30;
/// Differences that one page shows.
const CHANGES_SHOWN: usize = 60;
/// What is wrong with a draft or with policies, on one page.
const ISSUES_SHOWN: usize = 60;
/// Characters of what was sent that are shown in the form again.
const ECHO_CHARACTERS_MAX: usize = 12_000;

#[derive(Template)]
#[template(path = "simulator.html")]
struct SimulatorPage<'p> {
    base: &'p str,
    simulate: Option<Sending>,
    backtest: Option<Sending>,
    text: &'p str,
    draft: &'p str,
    policies: &'p str,
    refused: Option<Refused>,
    verdict: Option<Html>,
    tested: Option<Tested>,
}

/// Why there is no answer: the draft or the policies are not valid.
struct Refused {
    detail: String,
    issues: Vec<(String, String)>,
}

struct Tested {
    evaluated: u64,
    changed: usize,
    impact: Option<Impact>,
    changes: Vec<Change>,
    truncated: bool,
}

/// What was sent, and what came of it.
#[derive(Default)]
struct Outcome<'f> {
    text: &'f str,
    draft: &'f str,
    policies: &'f str,
    refused: Option<Problem>,
    verdict: Option<Explanation>,
    tested: Option<Backtest>,
}

fn reply(engine: &Engine, visit: &Visit, outcome: &Outcome<'_>) -> Answer<Reply> {
    let page = Page::new(engine, visit)?;
    let shown = visit.rows(ECHO_CHARACTERS_MAX);
    let echo = |text: &'_ str| text.chars().count() <= shown;
    let verdict = outcome.verdict.as_ref().map(|one| Html::of(&VerdictPart::of(one, visit)));
    let verdict = verdict.transpose().map_err(|error| {
        Problem::new(Code::InternalError, format!("the page cannot be written: {error}"))
    })?;
    let content = Html::of(&SimulatorPage {
        base: &visit.base,
        simulate: page.form(const { named("console.simulate") }, &[], "draft"),
        backtest: page.form(const { named("console.backtest") }, &[], "policies"),
        text: if echo(outcome.text) { outcome.text } else { "" },
        draft: if echo(outcome.draft) { outcome.draft } else { "" },
        policies: if echo(outcome.policies) { outcome.policies } else { "" },
        refused: outcome.refused.as_ref().map(|problem| refused(problem, visit)),
        verdict,
        tested: outcome.tested.as_ref().map(|report| tested(report, visit)),
    });
    page.reply(("Simulator", const { endpoint::page("console.simulator") }), None, content)
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    reply(&engine, &visit, &Outcome::default())
}

pub(crate) async fn simulate(engine: Arc<Engine>, visit: Visit, form: Form) -> Answer<Reply> {
    let (text, draft) = (
        form.text("text").unwrap_or_default().to_owned(),
        form.text("draft").unwrap_or_default().to_owned(),
    );
    let explained = explain(&engine, &visit, &text, &draft).await;
    let mut outcome = Outcome { text: &text, draft: &draft, ..Outcome::default() };
    match explained {
        Ok(explanation) => outcome.verdict = Some(explanation),
        Err(problem) => outcome.refused = Some(mendable(problem)?),
    }
    visit.fit(|visit| reply(&engine, visit, &outcome))
}

async fn explain(engine: &Engine, visit: &Visit, text: &str, draft: &str) -> Answer<Explanation> {
    let draft: Draft = json::typed(json::parse(draft.as_bytes())?)?;
    let request = ExplainPolicy {
        execution_id: None,
        step_id: None,
        draft: Some(draft),
        verdict_digest: None,
        text: Some(text.to_owned()).filter(|text| !text.is_empty()),
    };
    engine.queries.explain(visit.caller()?, request).await
}

pub(crate) async fn backtest(engine: Arc<Engine>, visit: Visit, form: Form) -> Answer<Reply> {
    let policies = form.text("policies").unwrap_or_default().to_owned();
    let now = engine.now();
    let request = BacktestPolicy {
        policies: policies.clone(),
        from: now.plus_ms(-BACKTEST_DAYS * DAY_MS),
        to: now.plus_ms(1),
    };
    let tested = engine.policies.backtest(visit.caller()?, request).await;
    let mut outcome = Outcome { policies: &policies, ..Outcome::default() };
    match tested {
        Ok(report) => outcome.tested = Some(report),
        Err(problem) => outcome.refused = Some(mendable(problem)?),
    }
    visit.fit(|visit| reply(&engine, visit, &outcome))
}

fn tested(report: &Backtest, visit: &Visit) -> Tested {
    let shown = visit.rows(CHANGES_SHOWN);
    let changes = report.changed.iter().take(shown);
    Tested {
        evaluated: report.evaluated,
        changed: report.changed.len(),
        impact: (!report.changed.is_empty()).then(|| Impact::of(&report.impact)),
        changes: changes.map(|change| Change::of(change, None)).collect(),
        truncated: report.truncated || report.changed.len() > shown,
    }
}

// What the person can mend is shown beside the form; everything else is a page of its own.
fn mendable(problem: Problem) -> Answer<Problem> {
    match problem.code {
        Code::ValidationFailed | Code::BadRequest => Ok(problem),
        _ => Err(problem),
    }
}

fn refused(problem: &Problem, visit: &Visit) -> Refused {
    let shown = |issue: &Issue| (pages::shown(&issue.pointer), pages::shown(&issue.message));
    Refused {
        detail: pages::shown(&problem.detail),
        issues: problem.issues.iter().take(visit.rows(ISSUES_SHOWN)).map(shown).collect(),
    }
}
