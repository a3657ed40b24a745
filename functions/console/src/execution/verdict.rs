//! Why the plan was judged as it was: by step, the reasons and the rules that decided.

use super::unwritten;
use crate::page::Page;
use askama::Template;
use contracts::{
    Code, ExecutionId,
    event::Purpose,
    query::{ExplainPolicy, Explanation},
};
use edge::page::Visit;
use engine::{Answer, Engine};
use pages::{Html, Tag};

/// Steps that one page shows.
const STEPS_SHOWN: usize = 60;

/// A step's verdict.
pub(crate) struct Judged {
    step: String,
    verdict: Tag,
    risk: Tag,
    reasons: Vec<String>,
    rules: Vec<String>,
    errors: Vec<String>,
}

/// An explanation as it is shown, of an execution or of a draft.
#[derive(Template)]
#[template(path = "verdict.html")]
pub(crate) struct VerdictPart {
    verdict: Tag,
    risk: Tag,
    policy_version: String,
    policy_digest: String,
    reasons: Vec<String>,
    steps: Vec<Judged>,
    omitted: usize,
}

impl VerdictPart {
    pub(crate) fn of(explanation: &Explanation, visit: &Visit) -> Self {
        let shown = visit.rows(STEPS_SHOWN);
        let steps = explanation.steps.iter().take(shown).map(|step| {
            let rules = step.policies.iter().map(|policy| {
                let reason = policy.reason.as_deref().map(pages::quoted).unwrap_or_default();
                let file = policy.file.as_deref().map(pages::shown);
                let place = file.map_or_else(
                    || format!("line {}", policy.line),
                    |file| format!("{file}:{}", policy.line),
                );
                let (effect, id) = (pages::shown(&policy.effect), pages::shown(&policy.id));
                format!("{effect} {id}, {place} {reason}")
            });
            let purpose = match step.verdict.purpose {
                Purpose::Run => "",
                Purpose::Compensate => ", undoing",
                Purpose::Probe => ", looking up",
            };
            Judged {
                step: format!("{}{purpose}", step.verdict.step_id),
                verdict: Tag::of(&step.verdict.verdict.to_string()),
                risk: Tag::risk(&step.verdict.risk_tier.to_string()),
                reasons: step.verdict.reasons.iter().map(|text| pages::shown(text)).collect(),
                rules: rules.collect(),
                errors: step.errors.iter().map(|text| pages::shown(text)).collect(),
            }
        });
        Self {
            verdict: Tag::of(&explanation.verdict.to_string()),
            risk: Tag::risk(&explanation.risk_tier.to_string()),
            policy_version: pages::shown(&explanation.policy_version),
            policy_digest: explanation.policy_digest.to_string(),
            reasons: explanation.reasons.iter().map(|text| pages::shown(text)).collect(),
            steps: steps.collect(),
            omitted: explanation.steps.len().saturating_sub(shown),
        }
    }
}

/// The verdict on an execution; one that was not verified has none yet.
pub(super) async fn part(engine: &Engine, page: &Page<'_>, id: &ExecutionId) -> Answer<Html> {
    let request = ExplainPolicy {
        execution_id: Some(id.clone()),
        step_id: None,
        draft: None,
        verdict_digest: None,
        text: None,
    };
    match engine.queries.explain(page.caller, request).await {
        Ok(explanation) => {
            Html::of(&VerdictPart::of(&explanation, page.visit)).map_err(|error| unwritten(&error))
        }
        Err(problem) if problem.code == Code::Conflict => {
            Html::of(&NoVerdict {}).map_err(|error| unwritten(&error))
        }
        Err(problem) => Err(problem),
    }
}

#[derive(Template)]
#[template(source = "<p class=\"empty\">The plan has not been verified.</p>", ext = "html")]
struct NoVerdict {}
