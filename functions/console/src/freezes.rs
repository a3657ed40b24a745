//! What is frozen. A freeze stops every step that has not begun, at once.

use crate::page::{Page, Sending};
use askama::Template;
use contracts::{
    endpoint,
    endpoint::named,
    governance::{EmptyQuery, FreezeScope},
};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Moment};
use std::sync::Arc;

struct Frozen {
    scope: &'static str,
    key: Option<String>,
    /// As it was set: what lifts it names it so.
    raw_key: Option<String>,
    reason: Option<String>,
    since: Moment,
    by: String,
    lift: Option<Sending>,
}

#[derive(Template)]
#[template(path = "freezes.html")]
struct FreezesPage {
    items: Vec<Frozen>,
    set: Option<Sending>,
}

fn word(scope: FreezeScope) -> &'static str {
    match scope {
        FreezeScope::Workspace => "workspace",
        FreezeScope::Skill => "skill",
        FreezeScope::Operation => "operation",
        FreezeScope::Actor => "actor",
    }
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let page = Page::new(&engine, &visit)?;
    let freezes = engine.limits.freezes(page.caller, EmptyQuery {}).await?;
    let form = |part: &str| page.form(const { named("console.freeze") }, &[], part);
    let known = freezes.items.iter().filter_map(|one| one.known());
    let items = known.enumerate().map(|(index, freeze)| Frozen {
        scope: word(freeze.scope),
        key: freeze.key.as_deref().map(pages::quoted),
        raw_key: freeze.key.clone(),
        reason: freeze.reason.as_deref().map(pages::quoted),
        since: page.moment(freeze.since),
        by: pages::shown(&freeze.actor_id),
        lift: form(&format!("lift{index}")),
    });
    let content = Html::of(&FreezesPage { items: items.collect(), set: form("set") });
    page.reply(("Freezes", const { endpoint::page("console.freezes") }), None, content)
}
