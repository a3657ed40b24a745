//! Who is told of what happens, and what did not arrive.

use crate::page::{Page, Sending};
use askama::Template;
use contracts::{
    endpoint,
    endpoint::named,
    subscription::{ListSubscriptions, SubscriptionStatus, TargetState},
};
use countersign_deliver::Deliverer;
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Moment, Tag};
use std::sync::Arc;

/// Dead letters of one subscription that are shown.
const LETTERS_SHOWN: usize = 20;

struct Letter {
    subject: String,
    execution: bool,
    sequence: u64,
    since: Moment,
    until: Moment,
    message: String,
}

struct Target {
    id: String,
    url: String,
    types: String,
    state: Tag,
    last_success: Option<Moment>,
    failure: Option<(Moment, String)>,
    waiting: u64,
    dead: u64,
    letters: Vec<Letter>,
    test: Option<Sending>,
    redeliver: Option<Sending>,
}

#[derive(Template)]
#[template(path = "subscriptions.html")]
struct SubscriptionsPage<'p> {
    base: &'p str,
    targets: Vec<Target>,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let page = Page::new(&engine, &visit)?;
    let deliverer = Deliverer::new(engine.clone());
    let list = deliverer.list(page.caller, ListSubscriptions {}).await?;
    let targets = list.items.iter().map(|one| target(&page, one)).collect();
    let content = Html::of(&SubscriptionsPage { base: &visit.base, targets });
    let here = const { endpoint::page("console.subscriptions") };
    page.reply(("Subscriptions", here), None, content)
}

fn target(page: &Page<'_>, one: &SubscriptionStatus) -> Target {
    let id = [("webhookId", one.subscription.id.as_str())];
    let part = &one.subscription.id;
    let word = match one.state {
        TargetState::Working => "working",
        TargetState::Failing => "failing",
        TargetState::Down => "down",
    };
    let letters = one.dead_letters.iter().take(LETTERS_SHOWN).map(|letter| Letter {
        subject: pages::shown(&letter.subject),
        execution: letter.subject.starts_with("exe_"),
        sequence: letter.sequence,
        since: page.moment(letter.since),
        until: page.moment(letter.until),
        message: pages::quoted(&letter.message),
    });
    let redeliver = (one.dead > 0)
        .then(|| page.form(const { named("console.subscription.redeliver") }, &id, part));
    let types = &one.subscription.types;
    Target {
        id: pages::shown(&one.subscription.id),
        url: pages::quoted(&one.subscription.url),
        types: if types.is_empty() {
            "every event".into()
        } else {
            pages::shown(&types.join(", "))
        },
        state: Tag::of(word),
        last_success: one.last_success_at.map(|at| page.moment(at)),
        failure: one
            .last_failure
            .as_ref()
            .map(|failure| (page.moment(failure.at), pages::quoted(&failure.message))),
        waiting: one.waiting,
        dead: one.dead,
        letters: letters.collect(),
        test: page.form(const { named("console.subscription.test") }, &id, part),
        redeliver: redeliver.flatten(),
    }
}
