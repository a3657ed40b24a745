//! Who may call, and who decides: API keys, and services that decide like people.

use crate::page::{Page, Sending};
use askama::Template;
use contracts::{
    access::{ApiKey, ListKeys},
    directory::{Group, ListDirectory, PersonView},
    endpoint,
    endpoint::named,
    governance::EmptyQuery,
};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Moment, Tag, Tone};
use std::sync::Arc;

/// Keys on one page.
const ROWS: u32 = 40;
/// Persons, and groups, that are shown.
const PERSONS_SHOWN: usize = 60;

struct KeyRow {
    id: String,
    holder: String,
    kind: String,
    state: Tag,
    grants: String,
    maker: String,
    created: Moment,
    expires: Option<Moment>,
    own: bool,
    revoke: Option<Sending>,
}

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    keys: Vec<KeyRow>,
    next: Option<String>,
    services: Vec<String>,
    persons: Option<Vec<PersonRow>>,
    groups: Vec<GroupRow>,
}

struct PersonRow {
    id: String,
    name: Option<String>,
    mail: Option<String>,
    slack: bool,
    groups: String,
    aliases: usize,
    delegate: Option<(String, Moment)>,
}

struct GroupRow {
    name: String,
    members: String,
    escalates: Option<String>,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let here = const { endpoint::page("console.people") };
    let page = Page::new(&engine, &visit)?;
    let cursor = visit.query("cursor").map(str::to_owned);
    let list = engine
        .access
        .list_keys(page.caller, ListKeys { limit: Some(visit.rows(ROWS)), cursor })
        .await?;
    let services = match page.may(const { named("deciders.get") }) {
        true => engine.access.deciders(page.caller, EmptyQuery {}).await?.services,
        false => Default::default(),
    };
    let shown = visit.rows(PERSONS_SHOWN);
    let directory = page.may(const { named("person.list") });
    let (persons, groups) = match directory {
        true => {
            let persons = engine.access.list_persons(page.caller, ListDirectory {}).await?;
            let groups = engine.access.list_groups(page.caller, ListDirectory {}).await?;
            (Some(persons.items), groups.items)
        }
        false => (None, Vec::new()),
    };
    let next = list.next.as_deref().map(|cursor| {
        format!("{}{}?cursor={}", visit.base, here.path, edge::page::escaped(cursor))
    });
    let content = Html::of(&PeoplePage {
        keys: list.items.iter().map(|key| row(&page, key)).collect(),
        next,
        services: services.iter().map(|id| pages::quoted(id)).collect(),
        persons: persons.map(|all| all.iter().take(shown).map(|one| person(&page, one)).collect()),
        groups: groups.iter().take(shown).map(group).collect(),
    });
    page.reply(("Keys and people", here), None, content)
}

fn person(page: &Page<'_>, one: &PersonView) -> PersonRow {
    let person = &one.person;
    PersonRow {
        id: pages::quoted(&person.id),
        name: person.name.as_deref().map(pages::quoted),
        mail: person.mail.as_deref().map(pages::shown),
        slack: person.slack.is_some(),
        groups: pages::shown(&one.groups.join(", ")),
        aliases: person.aliases.len(),
        delegate: person
            .delegate
            .as_ref()
            .map(|delegate| (pages::quoted(&delegate.to), page.moment(delegate.until))),
    }
}

fn group(group: &Group) -> GroupRow {
    let members: Vec<String> = group.members.iter().map(|id| pages::quoted(id)).collect();
    let escalates = group.escalate.as_ref().map(|escalate| {
        format!("{} after {} min", pages::shown(&escalate.to), escalate.after_seconds / 60)
    });
    GroupRow { name: pages::shown(&group.name), members: members.join(", "), escalates }
}

fn row(page: &Page<'_>, key: &ApiKey) -> KeyRow {
    let expired = key.expires_at.is_some_and(|at| at <= page.now);
    let state = match (key.revoked_at.is_some(), expired) {
        (true, _) => Tag::new(Tone::Bad, "revoked"),
        (false, true) => Tag::new(Tone::Quiet, "expired"),
        (false, false) => Tag::new(Tone::Good, "in use"),
    };
    let own = page.caller.key_id.as_ref() == Some(&key.id);
    let live = key.revoked_at.is_none() && !expired;
    let id = [("keyId", key.id.as_str())];
    let prefix = contracts::grant::PREFIX;
    let grants: Vec<&str> =
        key.grants.iter().map(|grant| grant.strip_prefix(prefix).unwrap_or(grant)).collect();
    let revoke = live.then(|| page.form(const { named("console.key.revoke") }, &id, &key.id));
    KeyRow {
        id: pages::shown(&key.id),
        holder: pages::quoted(&key.actor.id),
        kind: key.actor.kind.as_str().to_owned(),
        state,
        grants: pages::shown(&grants.join(", ")),
        maker: match &key.made_by {
            Some(maker) => pages::quoted(&maker.actor.id),
            None => "the deployment".to_owned(),
        },
        created: page.moment(key.created_at),
        expires: key.expires_at.map(|at| page.moment(at)),
        own,
        revoke: revoke.flatten(),
    }
}
