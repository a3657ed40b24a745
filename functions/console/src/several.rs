//! Several requests at once: what each is about, and one form that decides on all of them or on
//! none. Each names the digest of what is shown of it here.

use crate::{
    inbox::missing,
    page::{Page, Sending},
};
use askama::Template;
use contracts::{
    Code,
    approval::{ApprovalAnswer, GetApproval},
    endpoint,
    endpoint::named,
    limits::{TEXT_BYTES_MAX, VOTES_AT_ONCE_MAX},
};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Moment, Pick};
use std::sync::Arc;

/// Bytes of what is decided on that one page has room for.
const VIEWS_BYTES_MAX: usize = 24_000;

/// Characters of an intent that a title has room for.
const TITLE_COLUMNS: usize = 120;

/// A request that was ticked.
struct Ticked {
    execution: String,
    title: String,
    missing: String,
    expires: Moment,
    /// What is decided on, as every channel shows it.
    view: Vec<String>,
    /// Its field and what was seen; absent: it is not decided on here.
    field: Option<(String, String)>,
    why_not: Option<String>,
}

#[derive(Template)]
#[template(path = "several.html")]
struct SeveralPage<'p> {
    base: &'p str,
    requests: Vec<Ticked>,
    decidable: usize,
    /// Ticked beyond what is decided on together.
    beyond: usize,
    form: Option<Sending>,
    reason_bytes_max: usize,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let here = const { endpoint::page("console.several") };
    let page = Page::new(&engine, &visit)?;
    let picks: Vec<Pick> = visit.query_names().filter_map(Pick::parse).collect();
    let (mut requests, mut room) = (Vec::new(), visit.rows(VIEWS_BYTES_MAX));
    for pick in picks.iter().take(VOTES_AT_ONCE_MAX) {
        let request = GetApproval {
            execution_id: pick.execution.clone(),
            approval_id: pick.approval.clone(),
        };
        match engine.queries.approval(page.caller, request).await {
            Ok(answer) => requests.push(ticked(&page, pick, &answer, &mut room)),
            // Somebody made the address up, or it is of another workspace.
            Err(problem) if problem.code == Code::NotFound => {}
            Err(problem) => return Err(problem),
        }
    }
    let decidable = requests.iter().filter(|one| one.field.is_some()).count();
    let form = page.form(const { named("console.decide") }, &[], "several");
    let content = Html::of(&SeveralPage {
        base: &visit.base,
        decidable,
        beyond: picks.len().saturating_sub(VOTES_AT_ONCE_MAX),
        form: form.filter(|_| decidable > 0),
        requests,
        reason_bytes_max: TEXT_BYTES_MAX,
    });
    page.reply(("Several requests", here), None, content)
}

// INVARIANT (seen-is-signed): what has no room here is not decided on here.
fn ticked(page: &Page<'_>, pick: &Pick, answer: &ApprovalAnswer, room: &mut usize) -> Ticked {
    let approval = &answer.approval;
    let bytes: usize = approval.lines.iter().map(String::len).sum();
    let fits = bytes <= *room && !approval.lines.is_empty();
    let view = if fits { approval.lines.clone() } else { Vec::new() };
    *room -= if fits { bytes } else { 0 };
    let why_not = match (&answer.why_not, fits) {
        (Some(why), _) => Some(pages::shown(why)),
        (None, false) => Some("it is too long for this page; decide on it on its own".to_owned()),
        (None, true) => None,
    };
    let step = approval.step_id.as_ref().map(|step| format!(", step {step}")).unwrap_or_default();
    Ticked {
        execution: answer.execution_id.to_string(),
        title: pages::cell(&answer.text, TITLE_COLUMNS) + &step,
        missing: missing(&approval.missing),
        expires: page.moment(approval.expires_at),
        view,
        field: why_not.is_none().then(|| (pick.to_string(), approval.view_digest.to_string())),
        why_not,
    }
}
