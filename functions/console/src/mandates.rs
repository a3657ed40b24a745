//! Mandates: what persons let through beforehand, and what each has let through.

use crate::page::{Page, Sending};
use askama::Template;
use contracts::{
    draft::Budget,
    endpoint,
    endpoint::named,
    limits::MANDATE_COUNT_MAX,
    mandate::{ListMandates, MandateView},
};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Bar, Html, Moment, Tag, Tone};
use std::sync::Arc;

/// Mandates that are shown, the newest first.
const ROWS: usize = 50;
/// How long a mandate may be given for.
const LIVES_DAYS: [i64; 4] = [1, 7, 30, 90];
const DAY_MS: i64 = 86_400_000;
/// Uses of one mandate that are shown.
const USES_SHOWN: usize = 5;

struct Use {
    execution: String,
    step: String,
    at: Moment,
}

struct Given {
    id: String,
    operation: String,
    state: Tag,
    why_not: Option<String>,
    when: Option<String>,
    actor: Option<String>,
    budget: Option<String>,
    reason: String,
    by: String,
    created: Moment,
    expires: Moment,
    used: u32,
    count: u32,
    bar: Bar,
    uses: Vec<Use>,
    revoke: Option<Sending>,
}

#[derive(Template)]
#[template(path = "mandates.html")]
struct MandatesPage<'p> {
    base: &'p str,
    mandates: Vec<Given>,
    more: bool,
    create: Option<Sending>,
    count_max: u32,
    /// When it may end: the moment, and its words.
    lives: Vec<(String, String)>,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let page = Page::new(&engine, &visit)?;
    let request = ListMandates { include_ended: true };
    let list = engine.mandates.list(page.caller, request).await?;
    let rows = visit.rows(ROWS);
    let content = Html::of(&MandatesPage {
        base: &visit.base,
        mandates: list.items.iter().take(rows).map(|one| given(&page, one)).collect(),
        more: list.items.len() > rows,
        create: page.form(const { named("console.mandate.create") }, &[], "create"),
        count_max: MANDATE_COUNT_MAX,
        lives: LIVES_DAYS.map(|days| life(&page, days)).into(),
    });
    page.reply(("Mandates", const { endpoint::page("console.mandates") }), None, content)
}

// Moments, so that a form that is sent twice says the same twice.
fn life(page: &Page<'_>, days: i64) -> (String, String) {
    let words = if days == 1 { "a day".to_owned() } else { format!("{days} days") };
    (page.now.plus_ms(days * DAY_MS).to_string(), words)
}

fn given(page: &Page<'_>, view: &MandateView) -> Given {
    let one = &view.mandate;
    let id = [("mandateId", one.id.as_str())];
    let uses = view.uses.iter().take(USES_SHOWN).map(|used| Use {
        execution: used.execution_id.to_string(),
        step: used.step_id.to_string(),
        at: page.moment(used.at),
    });
    let state = match view.active {
        true => Tag::new(Tone::Good, "in force"),
        false => Tag::new(Tone::Quiet, "ended"),
    };
    let revoke = view
        .active
        .then(|| page.form(const { named("console.mandate.revoke") }, &id, &one.id))
        .flatten();
    Given {
        id: pages::shown(&one.id),
        operation: pages::shown(&one.operation),
        state,
        why_not: view.why_not.as_deref().map(pages::shown),
        when: one.when.as_deref().map(pages::shown),
        actor: one.requested_by.as_deref().map(pages::quoted),
        budget: one.budget.as_ref().map(words),
        reason: pages::quoted(&one.reason),
        by: pages::quoted(&one.made_by),
        created: page.moment(one.created_at),
        expires: page.moment(one.expires_at),
        used: view.used,
        count: one.count,
        bar: Bar::of(u64::from(view.used), u64::from(one.count)),
        uses: uses.collect(),
        revoke,
    }
}

fn words(budget: &Budget) -> String {
    let mut parts = Vec::new();
    parts.extend(budget.writes.map(|most| format!("{most} writes")));
    parts.extend(budget.recipients.map(|most| format!("{most} recipients")));
    for (currency, most) in budget.money.iter().flatten() {
        parts.push(format!("{most} {} in minor units", pages::shown(currency)));
    }
    if parts.is_empty() { "anything".into() } else { format!("at most {}", parts.join(", ")) }
}
