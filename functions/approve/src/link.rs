//! The page of an approval link: what is asked, and two forms. Looking changes nothing; there is no
//! script, and nothing on it comes from anywhere else.

use askama::Template;
use contracts::{
    Code, Issue, Open, Problem, Timestamp,
    approval::{Decision, EditView, VoteView},
    endpoint::{named, page},
    limits::TEXT_BYTES_MAX,
    plan::Plan,
    query::{ExecutionStatus, StepView},
    status::ApprovalStatus,
};
use edge::{
    Routes,
    page::{Form, Place, Reply, Visit},
};
use engine::{Answer, Engine, LinkDecision, LinkRefusal, LinkView, OpenedLink};
use pages::{Frame, Html, Moment, Node, Tag, frame, picture, quoted, shown};
use std::{collections::BTreeMap, sync::Arc};

/// Status of a link that is of no use any more.
const GONE: u16 = 410;

/// Its routes.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .page(const { page("link") }, |engine, visit| async move { look(&engine, &visit).await })
        .form(const { named("link.decide") }, |engine, visit, form| async move {
            decide(&engine, &visit, &form).await
        })
}

async fn look(engine: &Arc<Engine>, visit: &Visit) -> Answer<Reply> {
    match opened(engine, visit).await? {
        Ok(link) => show(engine, visit, &link).await,
        Err(reply) => Ok(reply),
    }
}

async fn decide(engine: &Arc<Engine>, visit: &Visit, form: &Form) -> Answer<Reply> {
    let link = match opened(engine, visit).await? {
        Ok(link) => link,
        Err(reply) => return Ok(reply),
    };
    let decided = match decision(form) {
        Ok(decision) => engine.links.decide(&link, decision).await,
        Err(problem) => Err(problem),
    };
    match decided {
        // The page says what came of it: now, and whenever it is looked at again.
        Ok(()) => Ok(Reply::go(Place::of(const { page("link") }, visit))),
        Err(problem) if problem.status >= 500 => Err(problem),
        Err(problem) => refused(visit, &problem),
    }
}

// Who comes by the token of the path; or the page that says why nobody does.
async fn opened(engine: &Engine, visit: &Visit) -> Answer<Result<OpenedLink, Reply>> {
    let token: String = visit.named("token")?;
    match engine.links.open(&token).await? {
        Ok(link) => Ok(Ok(link.with_second_factor(visit.second_factor()))),
        Err(refusal) => Ok(Err(useless(visit, refusal)?)),
    }
}

fn decision(form: &Form) -> Answer<LinkDecision> {
    let invalid = |name: &str, message: &str| {
        let issue = Issue::new(format!("/{name}"), message);
        Problem::new(Code::ValidationFailed, "the form is not valid").issue(issue)
    };
    let decision = match form.text("decision") {
        Some("approve") => Decision::Approve,
        Some("reject") => Decision::Reject,
        _ => return Err(invalid("decision", "`approve` or `reject`")),
    };
    let view = form.text("view").and_then(|view| view.parse().ok());
    let nonce = form.text("nonce").map(str::to_owned);
    Ok(LinkDecision {
        view_digest: view.ok_or_else(|| invalid("view", "the page's own"))?,
        nonce: nonce.ok_or_else(|| invalid("nonce", "the page's own"))?,
        decision,
        reason: form.text("reason").map(str::to_owned),
    })
}

/// What somebody said.
struct Said {
    who: String,
    what: Tag,
    at: Moment,
    reason: Option<String>,
}

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage<'p> {
    title: String,
    person: String,
    requester: String,
    text: String,
    status: Tag,
    execution: &'p str,
    /// Until when it can be decided; absent: it is.
    until: Option<Moment>,
    needs: Vec<String>,
    lines: Vec<String>,
    /// Who changed the plan before, and what of it.
    edited: Option<(Said, Vec<String>)>,
    picture: Option<Html>,
    votes: Vec<Said>,
    comments: Vec<Said>,
    /// What the forms carry; absent: there is nothing to decide here.
    form: Option<Ask<'p>>,
    /// The person signs in once more before.
    confirm: Option<Confirm<'p>>,
    /// Why not, and what can be done.
    closed: Vec<String>,
    reason_bytes_max: usize,
}

struct Confirm<'p> {
    action: String,
    csrf: &'p str,
    token: String,
}

struct Ask<'p> {
    nonce: &'p str,
    view: String,
}

async fn show(engine: &Engine, visit: &Visit, link: &OpenedLink) -> Answer<Reply> {
    let view = match engine.links.look(link).await {
        Ok(view) => view,
        // Of a workspace or an execution that is not there any more.
        Err(problem) if problem.code == Code::NotFound => {
            let title = "There is nothing here any more";
            let why = ["What the link was about is not stored any more.".to_owned()];
            return explain(visit, title, &why).map(|reply| reply.with_status(GONE));
        }
        Err(problem) => return Err(problem),
    };
    let (claims, now, asked) = (link.claims(), engine.now(), &view.asked);
    let approval = &asked.approval;
    let mine = approval.votes.iter().find(|vote| vote.actor_id == claims.person_id);
    let closed = closed(&view, mine, now);
    let shows = !view.lines.is_empty();
    let open = asked.mine && shows;
    let factor = open && asked.needs_second_factor;
    let confirm = Confirm {
        action: format!("{}{}", visit.base, const { named("console.second-factor") }.path),
        csrf: &visit.csrf,
        token: visit.named("token")?,
    };
    let page = LinkPage {
        title: title(&view, mine, open),
        person: shown(&claims.person_id),
        requester: shown(&view.requester),
        text: quoted(&asked.text),
        status: Tag::of(&approval.status.to_string()),
        execution: asked.execution_id.as_str(),
        until: (approval.status == ApprovalStatus::Requested)
            .then(|| Moment::of(approval.expires_at, now)),
        needs: approval
            .missing
            .iter()
            .map(|wanted| format!("{} of {}", wanted.count, shown(&wanted.group)))
            .collect(),
        lines: view.lines.clone(),
        edited: asked.edit.as_ref().map(|edit| edited(edit, now)),
        picture: view
            .plan
            .as_ref()
            .and_then(Open::known)
            .map(|plan| drawn(plan, &view.steps))
            .transpose()?
            .flatten(),
        votes: approval.votes.iter().map(|vote| said(vote, now)).collect(),
        comments: approval
            .comments
            .iter()
            .map(|comment| Said {
                who: shown(&comment.actor_id),
                what: Tag::new(pages::Tone::Quiet, "says"),
                at: Moment::of(comment.at, now),
                reason: Some(quoted(&comment.text)),
            })
            .collect(),
        confirm: factor.then_some(confirm),
        form: (open && !factor)
            .then(|| Ask { nonce: &view.nonce, view: approval.view_digest.to_string() }),
        closed: if open { Vec::new() } else { closed },
        reason_bytes_max: TEXT_BYTES_MAX,
    };
    let content = Html::of(&page).map_err(unshown)?;
    framed(visit, &page.title, &content).map(Reply::page)
}

fn edited(edit: &EditView, now: Timestamp) -> (Said, Vec<String>) {
    let said = Said {
        who: shown(&edit.actor_id),
        what: Tag::new(pages::Tone::Quiet, "changed"),
        at: Moment::of(edit.at, now),
        reason: Some(quoted(&edit.reason)),
    };
    (said, edit.changes.iter().map(|change| shown(&change.to_string())).collect())
}

fn title(view: &LinkView, mine: Option<&VoteView>, open: bool) -> String {
    let said = mine.and_then(|vote| vote.decision.known().copied());
    let title = match (open, said) {
        (true, _) => "Approve or reject",
        (false, Some(Decision::Approve)) => "You approved",
        (false, Some(Decision::Reject)) => "You rejected",
        (false, None) => match view.asked.approval.status.known() {
            Some(ApprovalStatus::Expired) => "The time is over",
            Some(ApprovalStatus::Voided) => "What was asked has changed",
            Some(ApprovalStatus::Granted | ApprovalStatus::Rejected) => "It is decided",
            _ => "You cannot decide here",
        },
    };
    title.to_owned()
}

// Why there is nothing to decide, and what can be done about it.
fn closed(view: &LinkView, mine: Option<&VoteView>, now: Timestamp) -> Vec<String> {
    let approval = &view.asked.approval;
    let ended = view.asked.execution_status == ExecutionStatus::Cancelled;
    let mut said: Vec<String> = Vec::new();
    if let Some(vote) = mine {
        said.push(format!(
            "Your decision was taken at {} UTC; sending the form again changes nothing.",
            pages::exact(vote.at)
        ));
    }
    said.extend(match approval.status.known() {
        Some(ApprovalStatus::Granted) => Some("The request is granted.".to_owned()),
        Some(ApprovalStatus::Rejected) => Some("The request is rejected.".to_owned()),
        Some(ApprovalStatus::Expired) => Some(
            "Nobody decided in time, so that nothing was done. Whoever asked can ask again.".into(),
        ),
        Some(ApprovalStatus::Voided) => Some(
            "The plan, the policy, a skill or the input is another since you were asked, so that \
             this request is void. If people are still needed, you are asked anew."
                .into(),
        ),
        _ if ended => Some("The execution was cancelled.".to_owned()),
        _ if approval.expires_at <= now => Some("The time for it is over.".to_owned()),
        _ if mine.is_some() => Some("It still waits for others.".to_owned()),
        _ => view.asked.why_not.as_deref().map(|why| format!("{}.", shown(why))),
    });
    if said.is_empty() {
        said.push("It cannot be shown as it was bound, and so nobody can decide on it.".into());
    }
    said
}

fn said(vote: &VoteView, now: Timestamp) -> Said {
    Said {
        who: shown(&vote.actor_id),
        what: Tag::of(match vote.decision.known() {
            Some(Decision::Approve) => "approved",
            Some(Decision::Reject) => "rejected",
            None => "voted",
        }),
        at: Moment::of(vote.at, now),
        reason: vote.reason.as_deref().map(quoted),
    }
}

fn drawn(plan: &Plan, steps: &[StepView]) -> Answer<Option<Html>> {
    let states: BTreeMap<&str, String> =
        steps.iter().map(|step| (step.step_id.as_str(), step.status.to_string())).collect();
    let position = |id: &contracts::StepId| plan.steps.iter().position(|step| step.id == *id);
    let nodes: Vec<Node<'_>> = plan
        .steps
        .iter()
        .map(|step| Node {
            id: step.id.as_str(),
            operation: &step.call.operation,
            state: states.get(step.id.as_str()).map_or("pending", String::as_str),
            after: step.after.iter().filter_map(position).collect(),
        })
        .collect();
    picture(&nodes).map_err(unshown)
}

#[derive(Template)]
#[template(path = "link_closed.html")]
struct ClosedPage<'p> {
    title: &'p str,
    said: &'p [String],
}

fn explain(visit: &Visit, title: &str, said: &[String]) -> Answer<Reply> {
    let content = Html::of(&ClosedPage { title, said }).map_err(unshown)?;
    framed(visit, title, &content).map(Reply::page)
}

// A link that opens nothing: why, and what to do.
fn useless(visit: &Visit, refusal: LinkRefusal) -> Answer<Reply> {
    let said = [sentence(&refusal.to_string()), refusal.advice().to_owned()];
    Ok(explain(visit, "This link opens nothing", &said)?.with_status(GONE))
}

// A decision that was refused.
fn refused(visit: &Visit, problem: &Problem) -> Answer<Reply> {
    let title = match problem.code {
        Code::BindingStale => "What was asked has changed",
        Code::ApprovalExpired => "The time is over",
        Code::ApprovalAlreadyDecided => "It is decided already",
        _ => "Nothing was decided",
    };
    let issues = problem.issues.iter().map(|issue| sentence(&shown(&issue.message)));
    let mut said = vec![sentence(&shown(&problem.detail))];
    said.extend(issues);
    said.push(
        "Nothing was changed. Open the link of the mail again: it shows how it is now.".into(),
    );
    said.dedup();
    Ok(explain(visit, title, &said)?.with_status(problem.status))
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

fn framed(visit: &Visit, title: &str, content: &Html) -> Answer<Html> {
    let around = Frame { base: &visit.base, title, nav: None, notice: None, live: None };
    frame(&around, content).map_err(unshown)
}

fn unshown(error: askama::Error) -> Problem {
    Problem::new(Code::InternalError, format!("the page cannot be shown: {error}"))
}
