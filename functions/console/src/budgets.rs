//! Budgets, and what is used of them within their windows.

use crate::page::Page;
use askama::Template;
use contracts::{
    endpoint,
    governance::{EmptyQuery, Measure, Meter, MeterScope},
};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Bar, Html};
use std::sync::Arc;

/// Usages of one meter that are shown, the largest first.
const USAGES_SHOWN: usize = 12;

struct Used {
    of: String,
    used: u64,
    limit: Option<u64>,
    bar: Option<Bar>,
}

struct Meters {
    id: String,
    what: String,
    limit: Option<u64>,
    used: Vec<Used>,
    more: usize,
}

#[derive(Template)]
#[template(path = "budgets.html")]
struct BudgetsPage {
    plan: Vec<(String, String)>,
    meters: Vec<Meters>,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let page = Page::new(&engine, &visit)?;
    let answer = engine.limits.budgets(page.caller, EmptyQuery {}).await?;
    let budgets = answer.budgets.known().cloned().unwrap_or_default();
    let mut plan = Vec::new();
    if let Some(limits) = &budgets.plan {
        plan.extend(limits.writes.map(|most| ("Writes".to_owned(), most.to_string())));
        plan.extend(limits.recipients.map(|most| ("Recipients".to_owned(), most.to_string())));
        for (currency, most) in limits.money.iter().flatten() {
            plan.push((format!("{} (minor units)", pages::shown(currency)), most.to_string()));
        }
    }
    let meters = budgets.meters.iter().map(|meter| {
        let own = answer.usage.iter().filter(|usage| usage.meter == meter.id);
        let mut used: Vec<Used> = own
            .map(|usage| Used {
                of: pages::shown(&usage.of),
                used: usage.used,
                limit: usage.limit,
                bar: usage.limit.map(|limit| Bar::of(usage.used, limit)),
            })
            .collect();
        used.sort_by_key(|one| std::cmp::Reverse(one.used));
        let more = used.len().saturating_sub(USAGES_SHOWN);
        used.truncate(USAGES_SHOWN);
        Meters { id: pages::shown(&meter.id), what: words(meter), limit: meter.limit, used, more }
    });
    let content = Html::of(&BudgetsPage { plan, meters: meters.collect() });
    page.reply(("Budgets", const { endpoint::page("console.budgets") }), None, content)
}

fn words(meter: &Meter) -> String {
    let what = match &meter.measure {
        Measure::Steps => "steps".to_owned(),
        Measure::Writes => "writes".to_owned(),
        Measure::Recipients => "recipients".to_owned(),
        Measure::Money { currency } => format!("{} in minor units", pages::shown(currency)),
    };
    let whose = match meter.scope {
        MeterScope::Workspace => "of the workspace",
        MeterScope::Actor => "of each actor",
        MeterScope::Operation => "of each operation",
    };
    let window = match meter.window_seconds {
        hours if hours % 3_600 == 0 => format!("{} h", hours / 3_600),
        minutes if minutes % 60 == 0 => format!("{} min", minutes / 60),
        seconds => format!("{seconds} s"),
    };
    let only = match meter.only.as_slice() {
        [] => String::new(),
        some => format!(", only {}", pages::shown(&some.join(", "))),
    };
    format!("{what} {whose} within {window}{only}")
}
