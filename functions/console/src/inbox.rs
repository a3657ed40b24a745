//! What waits for people: the highest risk first, within a risk the oldest. What is the reader's
//! to decide can be ticked, to be decided on together.

use crate::{executions::touches, page::Page};
use askama::Template;
use contracts::{
    approval::{InboxItem, ListApprovals, WaitKind},
    endpoint,
    endpoint::named,
    event::Requirement,
    limits::VOTES_AT_ONCE_MAX,
    notice::{NoticeState, NoticeView},
};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Moment, Pick, Tag};
use std::sync::Arc;

/// Entries on one page.
const ROWS: u32 = 50;
/// Characters of an intent that an entry has room for.
const TEXT_COLUMNS: usize = 100;

/// One thing that waits.
pub(crate) struct Waiting {
    pub(crate) execution: String,
    pub(crate) text: String,
    pub(crate) kind: &'static str,
    pub(crate) step: Option<String>,
    pub(crate) risk: Option<Tag>,
    pub(crate) actor: String,
    pub(crate) touches: String,
    pub(crate) missing: String,
    pub(crate) message: Option<String>,
    pub(crate) since: Moment,
    pub(crate) expires: Option<Moment>,
    pub(crate) mine: bool,
    pub(crate) why_not: Option<String>,
    /// Name of its checkbox, where it can be decided on together with others.
    pub(crate) pick: Option<String>,
    /// Whom nobody told of it, and why.
    pub(crate) unreached: Vec<String>,
}

impl Waiting {
    pub(crate) fn of(page: &Page<'_>, item: &InboxItem) -> Self {
        let kind = match item.kind.known() {
            Some(WaitKind::Approval) => "approval",
            Some(WaitKind::InDoubt) => "in doubt",
            Some(WaitKind::Held) => "held",
            Some(WaitKind::Review) => "to be reviewed",
            None => "waits",
        };
        let subject = item.on_behalf_of.as_deref();
        let subject = subject.map(|id| format!(" for {}", pages::shown(id))).unwrap_or_default();
        Self {
            execution: item.execution_id.to_string(),
            text: pages::cell(&item.text, TEXT_COLUMNS),
            kind,
            step: item.step_id.as_ref().map(ToString::to_string),
            risk: item.risk_tier.as_ref().map(|tier| Tag::risk(&tier.to_string())),
            actor: pages::shown(&item.actor_id) + &subject,
            touches: touches(&item.money, item.recipients),
            missing: missing(&item.missing),
            message: item.message.as_deref().map(pages::quoted),
            since: page.moment(item.since),
            expires: item.expires_at.map(|at| page.moment(at)),
            mine: item.mine,
            why_not: item.why_not.as_deref().map(pages::shown),
            pick: None,
            unreached: Vec::new(),
        }
    }

    // The same, to be ticked.
    fn ticked(self, item: &InboxItem) -> Self {
        let approval = item.approval_id.as_ref().filter(|_| item.kind == WaitKind::Approval);
        let pick = approval.filter(|_| item.mine).map(|approval| Pick {
            execution: item.execution_id.clone(),
            approval: approval.clone(),
        });
        Self { pick: pick.map(|pick| pick.to_string()), ..self }
    }
}

/// Whose voices are missing, in words.
pub(crate) fn missing(requirements: &[Requirement]) -> String {
    let wanted =
        requirements.iter().map(|one| format!("{} of {}", one.count, pages::shown(&one.group)));
    wanted.collect::<Vec<_>>().join(", ")
}

struct Filter {
    address: String,
    title: &'static str,
    here: bool,
}

/// A choice of a filter: what is sent, and its words.
type Choice = (&'static str, &'static str);

const KINDS: [Choice; 4] = [
    ("approval", "Approvals"),
    ("in_doubt", "In doubt"),
    ("held", "Held"),
    ("review", "To be reviewed"),
];

const RISKS: [Choice; 3] = [("high", "High risk"), ("medium", "Medium risk"), ("low", "Low risk")];

/// The first of what waits for anybody, as rows with whom nobody told of it.
pub(crate) async fn first(
    engine: &Engine,
    page: &Page<'_>,
    items: &[InboxItem],
) -> Answer<Vec<Waiting>> {
    let mut rows = Vec::new();
    for item in items {
        let missed = engine.notices.unreached(&page.caller.workspace, item).await?;
        let mut row = Waiting::of(page, item);
        row.unreached = missed.into_iter().flatten().map(|one| untold(&one)).collect();
        rows.push(row);
    }
    Ok(rows)
}

/// Why a person was not told, in words.
pub(crate) fn untold(notice: &NoticeView) -> String {
    let person = pages::shown(&notice.person_id);
    let message = notice.message.as_deref().map(|why| format!(": {}", pages::quoted(why)));
    let why = message.unwrap_or_default();
    match notice.state.known() {
        Some(NoticeState::NoAddress) => {
            format!("{person} is not told: the directory has no address")
        }
        Some(NoticeState::Waiting) => format!("{person} is not told yet{why}"),
        _ => format!("{person} was not told{why}"),
    }
}

#[derive(Template)]
#[template(path = "inbox.html")]
struct InboxPage<'p> {
    base: &'p str,
    rows: Vec<Waiting>,
    filters: Vec<Filter>,
    /// Whether all is shown, or only what is the reader's.
    all: bool,
    kinds: &'p [Choice],
    risks: &'p [Choice],
    kind: &'p str,
    risk: &'p str,
    group: &'p str,
    next: Option<String>,
    /// Where those that are ticked are looked at; absent: there are no two to tick.
    several: Option<String>,
    most: usize,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let here = const { endpoint::page("console.inbox") };
    let page = Page::new(&engine, &visit)?;
    let all = visit.query("mine") == Some("false");
    let mut request: ListApprovals = visit.request(here, &["done", "mine"])?;
    request.mine = Some(!all);
    request.limit = Some(visit.rows(ROWS));
    let list = engine.queries.inbox(page.caller, request).await?;
    let own = format!("{}{}", visit.base, here.path);
    let everybody = format!("{own}?mine=false");
    let kept = ["kind", "riskTier", "group"].into_iter();
    let kept = kept.filter_map(|name| Some((name, visit.query(name)?)));
    let kept: String =
        kept.map(|(name, value)| format!("&{name}={}", edge::page::escaped(value))).collect();
    let next = list
        .next
        .map(|cursor| format!("{own}?mine={}{kept}&cursor={}", !all, edge::page::escaped(&cursor)));
    let rows = list.items.iter().map(|item| Waiting::of(&page, item).ticked(item));
    let mut rows: Vec<Waiting> = rows.collect();
    let ticked = rows.iter().filter(|row| row.pick.is_some()).count();
    let several = (ticked > 1 && page.may(const { named("console.decide") }))
        .then(|| format!("{}{}", visit.base, const { named("console.several") }.path));
    if several.is_none() {
        rows.iter_mut().for_each(|row| row.pick = None);
    }
    let filters = vec![
        Filter { address: own, title: "For me", here: !all },
        Filter { address: everybody, title: "For anybody", here: all },
    ];
    let content = Html::of(&InboxPage {
        base: &visit.base,
        rows,
        filters,
        all,
        kinds: &KINDS,
        risks: &RISKS,
        kind: visit.query("kind").unwrap_or_default(),
        risk: visit.query("riskTier").unwrap_or_default(),
        group: visit.query("group").unwrap_or_default(),
        next,
        several,
        most: VOTES_AT_ONCE_MAX,
    });
    page.reply(("Inbox", here), Some("of=inbox"), content)
}
