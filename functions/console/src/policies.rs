//! The policy set in force, and what a candidate in shadow would have changed.

use crate::page::Page;
use askama::Template;
use contracts::{endpoint, governance::EmptyQuery, query::BacktestChange};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Moment, Tag};
use std::sync::Arc;

/// Differences that one page shows.
const CHANGES_SHOWN: usize = 60;
/// Characters of a policy set that are shown: the command line shows all.
const TEXT_CHARACTERS: usize = 16_000;
/// Columns of one of its lines.
const LINE_COLUMNS: usize = 400;

/// A verdict that would be another.
pub(crate) struct Change {
    pub(crate) execution: String,
    pub(crate) step: String,
    pub(crate) was: Tag,
    pub(crate) would: Tag,
    pub(crate) reasons: String,
    pub(crate) at: Option<Moment>,
}

impl Change {
    pub(crate) fn of(change: &BacktestChange, at: Option<Moment>) -> Self {
        Self {
            execution: change.execution_id.to_string(),
            step: change.step_id.to_string(),
            was: Tag::verdict(&change.was.to_string()),
            would: Tag::verdict(&change.would.to_string()),
            reasons: pages::shown(&change.reasons.join("; ")),
            at,
        }
    }
}

#[derive(Template)]
#[template(path = "policies.html")]
struct PoliciesPage<'p> {
    base: &'p str,
    version: String,
    digest: String,
    activated: Moment,
    by: String,
    note: Option<String>,
    text: String,
    cut: bool,
    history: usize,
    shadow: Option<String>,
    changes: Vec<Change>,
    more: bool,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let page = Page::new(&engine, &visit)?;
    let set = engine.policies.policy_sets(page.caller, EmptyQuery {}).await?;
    let shadow = engine.policies.shadow(page.caller, EmptyQuery {}).await?;
    let (text, cut) = lines(&set.policies, visit.rows(TEXT_CHARACTERS));
    let shown = visit.rows(CHANGES_SHOWN);
    let changes = shadow.changed.iter().take(shown);
    let content = Html::of(&PoliciesPage {
        base: &visit.base,
        version: pages::shown(&set.policy_version),
        digest: set.digest.to_string(),
        activated: page.moment(set.activated_at),
        by: pages::quoted(&set.activated_by),
        note: set.note.as_deref().map(pages::quoted),
        text,
        cut,
        history: set.history.len(),
        shadow: shadow.digest.as_ref().map(ToString::to_string),
        changes: changes.map(|one| Change::of(&one.change, Some(page.moment(one.at)))).collect(),
        more: shadow.changed.len() > shown,
    });
    page.reply(("Policies", const { endpoint::page("console.policies") }), None, content)
}

// A text line by line, each escaped; and whether something was cut off.
fn lines(text: &str, characters: usize) -> (String, bool) {
    let mut shown = String::new();
    for line in text.lines() {
        if shown.len() > characters {
            return (shown, true);
        }
        shown += &pages::cut(line, LINE_COLUMNS);
        shown.push('\n');
    }
    (shown, false)
}
