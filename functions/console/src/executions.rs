//! Executions, the newest first, by status and actor.

use crate::page::Page;
use askama::Template;
use contracts::{
    endpoint::page,
    query::{ExecutionSummary, ListExecutions},
    status::ExecutionStatus,
    view::ViewMoney,
};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Moment, Tag};
use std::sync::Arc;

/// Executions on one page.
const ROWS: u32 = 50;
/// Characters of an intent that a row has room for.
const TEXT_COLUMNS: usize = 100;

/// An execution in a table.
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) status: Tag,
    pub(crate) risk: Option<Tag>,
    pub(crate) actor: String,
    pub(crate) touches: String,
    pub(crate) updated: Moment,
}

impl Row {
    pub(crate) fn of(page: &Page<'_>, summary: &ExecutionSummary) -> Self {
        Self {
            id: summary.execution_id.to_string(),
            text: pages::cell(&summary.text, TEXT_COLUMNS),
            status: Tag::of(&summary.status.to_string()),
            risk: summary.risk_tier.as_ref().map(|tier| Tag::risk(&tier.to_string())),
            actor: pages::shown(&summary.actor_id),
            touches: touches(&summary.money, summary.recipients),
            updated: page.moment(summary.updated_at),
        }
    }
}

/// Money and recipients, in words.
pub(crate) fn touches(money: &[ViewMoney], recipients: Option<u64>) -> String {
    let money = money.iter().map(pages::amount);
    let recipients = recipients.filter(|count| *count > 0).map(|count| match count {
        1 => "1 recipient".to_owned(),
        count => format!("{count} recipients"),
    });
    money.chain(recipients).collect::<Vec<_>>().join(", ")
}

#[derive(Template)]
#[template(path = "executions.html")]
struct ExecutionsPage<'p> {
    base: &'p str,
    rows: Vec<Row>,
    statuses: Vec<&'static str>,
    status: &'p str,
    actor: &'p str,
    first: Option<String>,
    next: Option<String>,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let here = const { page("console.executions") };
    let page = Page::new(&engine, &visit)?;
    let mut request: ListExecutions = visit.request(here, &["done"])?;
    request.limit = Some(visit.rows(ROWS));
    let (status, actor) = (visit.query("status"), visit.query("actorId"));
    let cursor = request.cursor.is_some();
    let list = engine.queries.list(page.caller, request).await?;
    let address = |cursor: Option<&str>| {
        let mut query = String::new();
        let given = [("status", status), ("actorId", actor), ("cursor", cursor)];
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            let mark = if query.is_empty() { '?' } else { '&' };
            query += &format!("{mark}{name}={}", edge::page::escaped(value));
        }
        format!("{}{}{query}", visit.base, here.path)
    };
    let content = Html::of(&ExecutionsPage {
        base: &visit.base,
        rows: list.items.iter().map(|summary| Row::of(&page, summary)).collect(),
        statuses: ExecutionStatus::ALL.map(ExecutionStatus::as_str).to_vec(),
        status: status.unwrap_or_default(),
        actor: actor.unwrap_or_default(),
        first: cursor.then(|| address(None)),
        next: list.next.as_deref().map(|next| address(Some(next))),
    });
    let live = (!cursor).then_some("of=executions");
    page.reply(("Executions", here), live, content)
}
