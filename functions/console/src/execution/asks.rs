//! What people are asked: approvals that are open, with what is decided on, and calls that are in
//! doubt; and what was decided, by whom.

use crate::{
    inbox::{missing, untold},
    page::{Page, Sending},
};
use contracts::{
    approval::{ApprovalAnswer, CommentView, EditView, GetApproval, Literal, VoteView},
    endpoint::named,
    limits::NAME_BYTES_MAX,
    notice::{NoticeState, NoticeView},
    query::{ApprovalView, ExecutionView},
    status::{ApprovalStatus, StepStatus},
};
use engine::{Answer, Engine};
use pages::{Moment, Tag};
use serde_json::Value;

/// Requests that one page shows, the first first.
const ASKS_SHOWN: usize = 8;
/// Bytes of what is decided on that one page has room for.
const VIEWS_BYTES_MAX: usize = 20_000;
/// Requests that are not open any more, the latest.
const DECIDED_SHOWN: usize = 8;
/// What people said of one request that a page has room for, the latest.
const SAID_SHOWN: usize = 12;
/// Characters of what one person said.
const SAID_COLUMNS: usize = 400;
/// Persons who were told, or not, that a page has room for.
const TOLD_SHOWN: usize = 8;

/// Values that one form changes.
const FIELDS_SHOWN: usize = 40;

/// An approval that is asked for.
pub(super) struct Ask {
    pub(super) title: String,
    /// What is decided on, as every channel shows it.
    pub(super) view: Vec<String>,
    pub(super) step: Option<String>,
    pub(super) binding: String,
    pub(super) seen: String,
    pub(super) missing: String,
    pub(super) since: Moment,
    pub(super) expires: Moment,
    pub(super) votes: Vec<Said>,
    pub(super) comments: Vec<Said>,
    pub(super) edit: Option<Edit>,
    /// What may be changed, as the form of it sends them.
    pub(super) literals: Vec<Field>,
    pub(super) change: Option<Sending>,
    pub(super) why_not: Option<String>,
    /// Who was told of it, and who was not and why.
    pub(super) told: Vec<String>,
    /// The ids of execution and request, and the form that leads to the provider: before deciding.
    pub(super) confirm: Option<(String, String, Sending)>,
    pub(super) approve: Option<Sending>,
    pub(super) reject: Option<Sending>,
    pub(super) alone: Option<Sending>,
    pub(super) withdraw: Option<Sending>,
    pub(super) comment: Option<Sending>,
}

/// What a person changed of the plan before.
pub(super) struct Edit {
    pub(super) who: String,
    pub(super) at: Moment,
    pub(super) reason: String,
    pub(super) changes: Vec<String>,
}

/// A value that may be changed.
pub(super) struct Field {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) label: String,
    pub(super) value: String,
}

/// What somebody said of it.
pub(super) struct Said {
    pub(super) who: String,
    pub(super) at: Moment,
    pub(super) decision: Option<Tag>,
    pub(super) channel: String,
    pub(super) text: String,
}

/// A request that is not open any more.
pub(super) struct Decided {
    pub(super) title: String,
    pub(super) state: Tag,
    pub(super) said: Vec<Said>,
    /// Who approved alone, when, and who has looked at it.
    pub(super) alone: Option<(String, Moment, Option<String>)>,
    pub(super) review: Option<Sending>,
}

/// A call whose outcome is not known.
pub(super) struct Doubt {
    pub(super) step: String,
    pub(super) message: String,
    pub(super) resolve: Option<Sending>,
}

pub(super) async fn asks(
    engine: &Engine,
    page: &Page<'_>,
    view: &ExecutionView,
) -> Answer<Vec<Ask>> {
    let open = view.approvals.iter().filter(|ask| ask.status == ApprovalStatus::Requested);
    let (mut asks, mut room) = (Vec::new(), page.visit.rows(VIEWS_BYTES_MAX));
    for (index, approval) in open.take(ASKS_SHOWN).enumerate() {
        // Whether the caller may decide it is the engine's to say.
        let request = GetApproval {
            execution_id: view.execution_id.clone(),
            approval_id: approval.approval_id.clone(),
        };
        let answer = engine.queries.approval(page.caller, request).await?;
        let bytes: usize = answer.approval.lines.iter().map(String::len).sum();
        // The first is shown, whatever its length; others as far as there is room.
        if bytes > room && index > 0 {
            break;
        }
        room = room.saturating_sub(bytes);
        asks.push(ask(page, &answer, index));
    }
    Ok(asks)
}

fn title(approval: &ApprovalView) -> (String, &'static str) {
    match &approval.step_id {
        Some(step) => (format!("Step {step}"), " asks for approval"),
        None => ("The plan".to_owned(), " asks for approval"),
    }
}

fn ask(page: &Page<'_>, answer: &ApprovalAnswer, index: usize) -> Ask {
    let approval = &answer.approval;
    let (execution, id) = (answer.execution_id.as_str(), approval.approval_id.as_str());
    let form = |endpoint| {
        let parameters = [("executionId", execution), ("approvalId", id)];
        page.form(endpoint, &parameters, &format!("ask{index}"))
    };
    let (what, asks) = title(approval);
    let own = approval.votes.iter().any(|vote| vote.actor_id == page.caller.actor.id);
    // Whoever could grant it by one voice needs no break-glass.
    let voices: u32 = approval.missing.iter().map(|one| one.count).sum();
    let suffices = answer.mine && voices <= 1;
    let confirms = answer.needs_second_factor;
    let decides = |form: Option<Sending>| form.filter(|_| answer.mine && !confirms);
    let alone = form(const { named("console.override") }).filter(|_| !suffices);
    let decides_somehow = answer.mine || alone.is_some();
    let confirm = form(const { named("console.second-factor") });
    let confirm = confirm.filter(|_| confirms && decides_somehow);
    Ask {
        title: what + asks,
        view: approval.lines.clone(),
        step: approval.step_id.as_ref().map(ToString::to_string),
        binding: approval.binding_digest.to_string(),
        seen: approval.view_digest.to_string(),
        missing: missing(&approval.missing),
        since: page.moment(approval.requested_at),
        expires: page.moment(approval.expires_at),
        votes: latest(page, &approval.votes).iter().map(|vote| voted(page, vote)).collect(),
        comments: latest(page, &approval.comments).iter().map(|one| commented(page, one)).collect(),
        edit: answer.edit.as_ref().map(|edit| edited(page, edit)),
        literals: fields(&answer.literals, page.visit.rows(FIELDS_SHOWN)),
        change: decides(form(const { named("console.edit") }))
            .filter(|_| !answer.literals.is_empty()),
        why_not: answer.why_not.as_deref().map(pages::shown),
        told: answer.notices.iter().take(TOLD_SHOWN).map(|one| told(page, one)).collect(),
        confirm: confirm.map(|form| (execution.to_owned(), id.to_owned(), form)),
        approve: decides(form(const { named("console.approve") })),
        reject: decides(form(const { named("console.reject") })),
        alone: alone.filter(|_| !confirms),
        withdraw: form(const { named("console.withdraw") }).filter(|_| own),
        comment: form(const { named("console.comment") }),
    }
}

fn edited(page: &Page<'_>, edit: &EditView) -> Edit {
    Edit {
        who: pages::quoted(&edit.actor_id),
        at: page.moment(edit.at),
        reason: pages::quoted(&edit.reason),
        changes: edit.changes.iter().map(|change| pages::shown(&change.to_string())).collect(),
    }
}

// Values that a field of one line can hold as they are.
fn fields(literals: &[Literal], most: usize) -> Vec<Field> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let field = |(index, literal): (usize, &Literal)| Field {
        index,
        name: literal.field(),
        label: pages::shown(&format!("{} {}", literal.step_id, literal.pointer)),
        value: text(&literal.value),
    };
    let plain = |field: &Field| {
        field.name.len() <= NAME_BYTES_MAX && !field.value.chars().any(char::is_control)
    };
    let all = literals.iter().enumerate().map(field);
    all.filter(plain).take(most).collect()
}

fn latest<'a, T>(page: &Page<'_>, all: &'a [T]) -> &'a [T] {
    let shown = page.visit.rows(SAID_SHOWN);
    all.get(all.len().saturating_sub(shown)..).unwrap_or_default()
}

fn told(page: &Page<'_>, notice: &NoticeView) -> String {
    let person = pages::shown(&notice.person_id);
    match notice.state.known() {
        Some(NoticeState::Sent) => {
            let by = notice.channel.as_deref().map(pages::shown).unwrap_or_default();
            format!("{person} was told by {by} {}", pages::ago(notice.at, page.now))
        }
        Some(NoticeState::Gathered) => format!("{person} is told in a digest"),
        _ => untold(notice),
    }
}

/// What was decided of an execution, the latest first.
pub(super) fn decided(page: &Page<'_>, view: &ExecutionView) -> Vec<Decided> {
    let closed = view.approvals.iter().rev();
    let closed = closed.filter(|one| one.status != ApprovalStatus::Requested);
    closed
        .take(page.visit.rows(DECIDED_SHOWN))
        .enumerate()
        .map(|(index, one)| of(page, view, one, index))
        .collect()
}

fn of(page: &Page<'_>, view: &ExecutionView, approval: &ApprovalView, index: usize) -> Decided {
    let parameters = [
        ("executionId", view.execution_id.as_str()),
        ("approvalId", approval.approval_id.as_str()),
    ];
    let alone = approval.overridden.as_ref();
    // Another person looks at it.
    let open = alone.filter(|one| one.reviewed_by.is_none() && one.by != page.caller.actor.id);
    let review = const { named("console.review") };
    let review = open.and_then(|_| page.form(review, &parameters, &format!("review{index}")));
    let votes = latest(page, &approval.votes).iter().map(|vote| voted(page, vote));
    let comments = latest(page, &approval.comments).iter().map(|comment| commented(page, comment));
    Decided {
        title: title(approval).0,
        state: Tag::of(&approval.status.to_string()),
        said: votes.chain(comments).collect(),
        alone: alone.map(|one| {
            let reviewer = one.reviewed_by.as_deref().map(pages::quoted);
            (pages::quoted(&one.by), page.moment(one.at), reviewer)
        }),
        review,
    }
}

fn voted(page: &Page<'_>, vote: &VoteView) -> Said {
    Said {
        who: pages::quoted(&vote.actor_id),
        at: page.moment(vote.at),
        decision: Some(Tag::of(&vote.decision.to_string())),
        channel: vote.channel.as_deref().map(pages::shown).unwrap_or_default(),
        text: vote.reason.as_deref().map(said).unwrap_or_default(),
    }
}

fn commented(page: &Page<'_>, comment: &CommentView) -> Said {
    Said {
        who: pages::quoted(&comment.actor_id),
        at: page.moment(comment.at),
        decision: None,
        channel: String::new(),
        text: said(&comment.text),
    }
}

fn said(text: &str) -> String {
    pages::cell(text, SAID_COLUMNS)
}

pub(super) fn doubts(page: &Page<'_>, view: &ExecutionView) -> Vec<Doubt> {
    let id = [("executionId", view.execution_id.as_str())];
    let in_doubt = |status: &StepStatus| matches!(status, StepStatus::InDoubt | StepStatus::Stuck);
    let steps = view.steps.iter().filter(|step| step.status.known().is_some_and(in_doubt));
    steps
        .map(|step| Doubt {
            step: step.step_id.to_string(),
            message: step.message.as_deref().map(pages::quoted).unwrap_or_default(),
            resolve: page.form(const { named("console.resolve") }, &id, step.step_id.as_str()),
        })
        .collect()
}
