//! The overview: what waits, what runs, what failed lately; what is spent; what a shadow policy
//! would change; who was not reached.

use crate::{
    executions::Row,
    inbox::{self, Waiting},
    page::Page,
};
use askama::Template;
use contracts::{
    approval::ListApprovals,
    endpoint,
    endpoint::named,
    governance::EmptyQuery,
    query::ListExecutions,
    status::ExecutionStatus,
    subscription::{ListSubscriptions, TargetState},
};
use countersign_deliver::Deliverer;
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Bar, Html, Tag};
use std::sync::Arc;

/// Newest executions that are counted.
const COUNTED: u32 = 100;
/// Of what waits for people, as much as is counted.
const WAITING: u32 = 50;
/// Executions that are shown of each kind.
const SHOWN: usize = 6;
/// Budgets that are shown.
const METERS_SHOWN: usize = 6;

struct Spent {
    meter: String,
    of: String,
    used: u64,
    limit: u64,
    bar: Bar,
}

struct Unreached {
    target: String,
    state: Tag,
    message: String,
    dead: u64,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'p> {
    base: &'p str,
    waiting: usize,
    waiting_more: bool,
    running: usize,
    failed: usize,
    completed: usize,
    counted: usize,
    frozen: usize,
    asks: Vec<Waiting>,
    failures: Vec<Row>,
    latest: Vec<Row>,
    spent: Vec<Spent>,
    drift: Option<usize>,
    unreached: Vec<Unreached>,
    told: Option<usize>,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let page = Page::new(&engine, &visit)?;
    let request = ListExecutions { limit: Some(COUNTED), ..ListExecutions::default() };
    let list = engine.queries.list(page.caller, request).await?.items;
    let request =
        ListApprovals { mine: Some(false), limit: Some(WAITING), ..ListApprovals::default() };
    let inbox = engine.queries.inbox(page.caller, request).await?;
    let rows = visit.rows(SHOWN);
    let shown = inbox.items.get(..rows).unwrap_or(&inbox.items);
    let asks = inbox::first(&engine, &page, shown).await?;
    let count = |wanted: &[ExecutionStatus]| {
        list.iter()
            .filter(|one| one.status.known().is_some_and(|status| wanted.contains(status)))
            .count()
    };
    let failures = list.iter().filter(|one| {
        one.status == ExecutionStatus::Failed || one.status == ExecutionStatus::Rejected
    });
    let (unreached, told) = targets(&engine, &page).await?.unzip();
    let content = Html::of(&OverviewPage {
        base: &visit.base,
        waiting: inbox.items.len(),
        waiting_more: inbox.next.is_some(),
        running: count(&[
            ExecutionStatus::Received,
            ExecutionStatus::Compiled,
            ExecutionStatus::Verified,
            ExecutionStatus::Running,
            ExecutionStatus::Cancelling,
        ]),
        failed: count(&[ExecutionStatus::Failed, ExecutionStatus::Rejected]),
        completed: count(&[ExecutionStatus::Completed]),
        counted: list.len(),
        frozen: frozen(&engine, &page).await?,
        asks,
        failures: failures.take(rows).map(|one| Row::of(&page, one)).collect(),
        latest: list.iter().take(rows).map(|one| Row::of(&page, one)).collect(),
        spent: spent(&engine, &page).await?,
        drift: drift(&engine, &page).await?,
        unreached: unreached.unwrap_or_default(),
        told,
    });
    let here = const { endpoint::page("console.overview") };
    page.reply(("Overview", here), Some("of=overview"), content)
}

async fn frozen(engine: &Engine, page: &Page<'_>) -> Answer<usize> {
    if !page.may(const { named("freeze.list") }) {
        return Ok(0);
    }
    Ok(engine.limits.freezes(page.caller, EmptyQuery {}).await?.items.len())
}

// The budgets that are used most.
async fn spent(engine: &Engine, page: &Page<'_>) -> Answer<Vec<Spent>> {
    if !page.may(const { named("budget.get") }) {
        return Ok(Vec::new());
    }
    let budgets = engine.limits.budgets(page.caller, EmptyQuery {}).await?;
    let mut spent: Vec<Spent> = budgets
        .usage
        .iter()
        .filter_map(|usage| {
            let limit = usage.limit?;
            Some(Spent {
                meter: pages::shown(&usage.meter),
                of: pages::shown(&usage.of),
                used: usage.used,
                limit,
                bar: Bar::of(usage.used, limit),
            })
        })
        .collect();
    spent.sort_by_key(|one| {
        std::cmp::Reverse(one.used.saturating_mul(1_000).checked_div(one.limit))
    });
    spent.truncate(METERS_SHOWN);
    Ok(spent)
}

// Verdicts that the candidate would have changed; none without a candidate.
async fn drift(engine: &Engine, page: &Page<'_>) -> Answer<Option<usize>> {
    if !page.may(const { named("policy.shadow.get") }) {
        return Ok(None);
    }
    let shadow = engine.policies.shadow(page.caller, EmptyQuery {}).await?;
    Ok(shadow.digest.map(|_| shadow.changed.len()))
}

// Targets that did not take what they were sent, and how many there are at all.
async fn targets(engine: &Arc<Engine>, page: &Page<'_>) -> Answer<Option<(Vec<Unreached>, usize)>> {
    if !page.may(const { named("subscription.list") }) {
        return Ok(None);
    }
    let deliverer = Deliverer::new(engine.clone());
    let list = deliverer.list(page.caller, ListSubscriptions {}).await?.items;
    let ill = |state: TargetState| match state {
        TargetState::Working => None,
        TargetState::Failing => Some("failing"),
        TargetState::Down => Some("down"),
    };
    let unreached = list.iter().filter_map(|one| {
        let word = ill(one.state).or_else(|| (one.dead > 0).then_some("failing"))?;
        let message = one.last_failure.as_ref().map(|failure| pages::quoted(&failure.message));
        Some(Unreached {
            target: pages::quoted(&one.subscription.url),
            state: Tag::of(word),
            message: message.unwrap_or_default(),
            dead: one.dead,
        })
    });
    Ok(Some((unreached.collect(), list.len())))
}
