//! The form that decides on several requests at once: all of them, or none. Where one stands in the
//! way, the page says which and why, and leads to the others.

use askama::Template;
use contracts::{
    Code, Issue, Problem,
    approval::{Decision, Vote, VoteApprovals},
    endpoint::{named, page},
    limits::VOTES_AT_ONCE_MAX,
};
use edge::{
    Routes,
    page::{Form, Place, Reply, Visit},
};
use engine::{Answer, Engine};
use pages::{Frame, Html, Pick, frame, shown};
use std::sync::Arc;

/// Its routes.
pub(crate) fn routes() -> Routes {
    Routes::new().form(const { named("console.decide") }, |engine, visit, form| async move {
        decide(&engine, &visit, form).await
    })
}

async fn decide(engine: &Arc<Engine>, visit: &Visit, form: Form) -> Answer<Reply> {
    let mut caller = visit.caller()?.clone();
    caller.idempotency_key = form.once.clone();
    let (picks, votes) = votes(&form)?;
    match engine.approvals.vote(&caller, VoteApprovals { approvals: votes }).await {
        Ok(_) => {
            let inbox = Place::of(const { page("console.inbox") }, visit);
            Ok(Reply::go(inbox.done(const { named("console.decide") })))
        }
        Err(problem) if problem.status >= 500 => Err(problem),
        Err(problem) => refused(visit, &picks, &problem),
    }
}

// What the form says of each request: what was seen of it, and the decision on all of them.
fn votes(form: &Form) -> Answer<(Vec<Pick>, Vec<Vote>)> {
    let invalid = |name: &str, message: &str| {
        let issue = Issue::new(format!("/{name}"), message);
        Problem::new(Code::ValidationFailed, "the form is not valid").issue(issue)
    };
    let decision = match form.text("decision") {
        Some("approve") => Decision::Approve,
        Some("reject") => Decision::Reject,
        Some(_) | None => return Err(invalid("decision", "`approve` or `reject`")),
    };
    let (mut picks, mut votes) = (Vec::new(), Vec::new());
    for name in form.fields.keys().filter(|name| !["decision", "reason"].contains(&name.as_str())) {
        let pick = Pick::parse(name).ok_or_else(|| invalid(name, "there is no such field"))?;
        let seen = form.text(name).and_then(|digest| digest.parse().ok());
        votes.push(Vote {
            execution_id: pick.execution.clone(),
            approval_id: pick.approval.clone(),
            view_digest: seen.ok_or_else(|| invalid(name, "the page's own"))?,
            decision,
            reason: form.text("reason").map(str::to_owned),
        });
        picks.push(pick);
    }
    Ok((picks, votes))
}

/// A request of the form, and what stands in its way.
struct Told {
    execution: String,
    why: Option<String>,
}

#[derive(Template)]
#[template(path = "several_refused.html")]
struct RefusedPage<'p> {
    base: &'p str,
    /// What was refused, where it is of none of them.
    detail: Option<String>,
    requests: Vec<Told>,
    /// The address of those that nothing stands in the way of.
    others: Option<String>,
}

// INVARIANT (approval-binds-digest): nothing was decided. Which of them stood in the way is named
// by where it stands in the command.
fn refused(visit: &Visit, picks: &[Pick], problem: &Problem) -> Answer<Reply> {
    let why = |index: usize| {
        let own = format!("/approvals/{index}");
        let below = format!("{own}/");
        let mut issues = problem.issues.iter();
        let found =
            issues.find(|issue| issue.pointer == own || issue.pointer.starts_with(&below))?;
        Some(shown(&found.message))
    };
    let requests: Vec<Told> = picks
        .iter()
        .take(VOTES_AT_ONCE_MAX)
        .enumerate()
        .map(|(index, pick)| Told { execution: pick.execution.to_string(), why: why(index) })
        .collect();
    let mut free = picks.iter().zip(&requests).filter(|(_, told)| told.why.is_none()).peekable();
    let some = free.peek().is_some() && requests.iter().any(|told| told.why.is_some());
    let others = some.then(|| {
        let names: Vec<String> = free.map(|(pick, _)| format!("{pick}=1")).collect();
        format!("{}{}?{}", visit.base, const { page("console.several") }.path, names.join("&"))
    });
    let named = requests.iter().any(|told| told.why.is_some());
    let content = Html::of(&RefusedPage {
        base: &visit.base,
        detail: (!named).then(|| shown(&problem.detail)),
        requests,
        others,
    });
    let title = "Nothing was decided";
    let around = Frame { base: &visit.base, title, nav: None, notice: None, live: None };
    let reply = Reply::rendered(content.and_then(|content| frame(&around, &content)))?;
    Ok(reply.with_status(problem.status))
}
