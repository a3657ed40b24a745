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
    query::{BacktestPolicy, ExplainPolicy},
};
use edge::page::{Form, Reply, Visit};
use engine::{Answer, Engine};
use pages::Html;
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;
/// Days that a backtest looks back.
const BACKTEST_DAYS: i64 = 30;
/// Differences that one page shows.
const CHANGES_SHOWN: usize = 60;
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
    changes: Vec<Change>,
    truncated: bool,
}

/// What was sent, and what came of it.
#[derive(Default)]
struct Outcome<'f> {
    text: &'f str,
    draft: &'f str,
    policies: &'f str,
    refused: Option<Refused>,
    verdict: Option<Html>,
    tested: Option<Tested>,
}

fn reply(engine: &Engine, visit: &Visit, outcome: Outcome<'_>) -> Answer<Reply> {
    let page = Page::new(engine, visit)?;
    let echo = |text: &'_ str| text.chars().count() <= ECHO_CHARACTERS_MAX;
    let content = Html::of(&SimulatorPage {
        base: &visit.base,
        simulate: page.form(const { named("console.simulate") }, &[], "draft"),
        backtest: page.form(const { named("console.backtest") }, &[], "policies"),
        text: if echo(outcome.text) { outcome.text } else { "" },
        draft: if echo(outcome.draft) { outcome.draft } else { "" },
        policies: if echo(outcome.policies) { outcome.policies } else { "" },
        refused: outcome.refused,
        verdict: outcome.verdict,
        tested: outcome.tested,
    });
    page.reply(("Simulator", const { endpoint::page("console.simulator") }), None, content)
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    reply(&engine, &visit, Outcome::default())
}

pub(crate) async fn simulate(engine: Arc<Engine>, visit: Visit, form: Form) -> Answer<Reply> {
    let (text, draft) = (
        form.text("text").unwrap_or_default().to_owned(),
        form.text("draft").unwrap_or_default().to_owned(),
    );
    let explained = explain(&engine, &visit, &text, &draft).await;
    let mut outcome = Outcome { text: &text, draft: &draft, ..Outcome::default() };
    match explained {
        Ok(part) => {
            outcome.verdict = Some(Html::of(&part).map_err(|error| {
                let message = format!("the page cannot be written: {error}");
                Problem::new(Code::InternalError, message)
            })?);
        }
        Err(problem) => outcome.refused = Some(refusal(problem)?),
    }
    reply(&engine, &visit, outcome)
}

async fn explain(engine: &Engine, visit: &Visit, text: &str, draft: &str) -> Answer<VerdictPart> {
    let draft: Draft = json::typed(json::parse(draft.as_bytes())?)?;
    let request = ExplainPolicy {
        execution_id: None,
        step_id: None,
        draft: Some(draft),
        verdict_digest: None,
        text: Some(text.to_owned()).filter(|text| !text.is_empty()),
    };
    let explanation = engine.queries.explain(visit.caller()?, request).await?;
    Ok(VerdictPart::of(&explanation, visit))
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
        Ok(tested) => {
            let changes = tested.changed.iter().take(CHANGES_SHOWN);
            outcome.tested = Some(Tested {
                evaluated: tested.evaluated,
                changed: tested.changed.len(),
                changes: changes.map(|change| Change::of(change, None)).collect(),
                truncated: tested.truncated || tested.changed.len() > CHANGES_SHOWN,
            });
        }
        Err(problem) => outcome.refused = Some(refusal(problem)?),
    }
    reply(&engine, &visit, outcome)
}

// What the person can mend is shown beside the form; everything else is a page of its own.
fn refusal(problem: Problem) -> Answer<Refused> {
    match problem.code {
        Code::ValidationFailed | Code::BadRequest => {
            let shown =
                |issue: &Issue| (pages::shown(&issue.pointer), pages::shown(&issue.message));
            Ok(Refused {
                detail: pages::shown(&problem.detail),
                issues: problem.issues.iter().map(shown).collect(),
            })
        }
        _ => Err(problem),
    }
}
