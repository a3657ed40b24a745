//! Skills that are installed, and whom the workspace trusts.

use crate::page::{Page, Sending};
use askama::Template;
use contracts::{
    endpoint,
    endpoint::named,
    governance::EmptyQuery,
    query::{ListSkills, SkillView},
    status::SkillStatus,
};
use edge::page::{Reply, Visit};
use engine::{Answer, Engine};
use pages::{Html, Moment, Tag};
use std::sync::Arc;

/// Skills on one page.
const ROWS: u32 = 60;
/// Publishers that are shown.
const PUBLISHERS_SHOWN: usize = 50;

struct Skill {
    key: String,
    version: String,
    status: Tag,
    publisher: String,
    provenance: String,
    operations: Vec<String>,
    installed: Option<Moment>,
    expires: Option<Moment>,
    disable: Option<Sending>,
    enable: Option<Sending>,
}

struct Publisher {
    id: String,
    keys: Vec<String>,
    prefixes: Vec<String>,
}

#[derive(Template)]
#[template(path = "skills.html")]
struct SkillsPage {
    skills: Vec<Skill>,
    next: Option<String>,
    publishers: Vec<Publisher>,
    revoked: usize,
    trust_version: Option<u64>,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let here = const { endpoint::page("console.skills") };
    let page = Page::new(&engine, &visit)?;
    let request = ListSkills {
        include_disabled: true,
        limit: Some(ROWS),
        cursor: visit.query("cursor").map(str::to_owned),
    };
    let list = engine.skills.list_skills(page.caller, request).await?;
    let trust = match page.may(const { named("trust.get") }) {
        true => Some(engine.trust.trust(page.caller, EmptyQuery {}).await?),
        false => None,
    };
    let policy = trust.as_ref().and_then(|answer| answer.trust.known());
    let publishers = policy.map(|trust| trust.trusted_publishers.iter()).into_iter().flatten();
    let next = list.next.as_deref().map(|cursor| {
        format!("{}{}?cursor={}", visit.base, here.path, edge::page::escaped(cursor))
    });
    let content = Html::of(&SkillsPage {
        skills: list.items.iter().map(|one| skill(&page, one)).collect(),
        next,
        publishers: publishers
            .take(PUBLISHERS_SHOWN)
            .map(|one| Publisher {
                id: pages::shown(&one.id),
                keys: one.keys.iter().map(|key| pages::shown(&key.key_id)).collect(),
                prefixes: one.provenance_prefixes.iter().map(|text| pages::shown(text)).collect(),
            })
            .collect(),
        revoked: policy.map_or(0, |trust| trust.revoked_digests.len()),
        trust_version: trust.as_ref().map(|answer| answer.version),
    });
    page.reply(("Skills and trust", here), None, content)
}

fn skill(page: &Page<'_>, one: &SkillView) -> Skill {
    let key = [("skillKey", one.skill_key.as_str())];
    let part = format!("{}@{}", one.skill_key, one.version);
    let disabled = one.status == SkillStatus::Disabled;
    let enabled = one.status == SkillStatus::Enabled;
    let disable =
        enabled.then(|| page.form(const { named("console.skill.disable") }, &key, &part)).flatten();
    let enable =
        disabled.then(|| page.form(const { named("console.skill.enable") }, &key, &part)).flatten();
    Skill {
        key: pages::shown(&one.skill_key),
        version: pages::shown(&one.version),
        status: Tag::of(&one.status.to_string()),
        publisher: one.publisher.as_deref().map(pages::shown).unwrap_or_default(),
        provenance: one.provenance.as_deref().map(pages::shown).unwrap_or_default(),
        operations: one.operations.iter().map(|name| pages::shown(name)).collect(),
        installed: one.installed_at.map(|at| page.moment(at)),
        expires: one.expires_at.map(|at| page.moment(at)),
        disable,
        enable,
    }
}
