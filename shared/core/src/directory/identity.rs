//! Who said by what a person is known: an address, a user of Slack, an alias, an identity of the
//! provider. Whoever says it could have given an own one, so that what comes by it may be theirs:
//! they are to the person's voice what the maker of a key is, and have no other voice beside it.

use super::{Directory, Entry};
use contracts::{Issue, Timestamp, directory::Person};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Addresses of a person that were replaced and are kept, so that they can be told.
const FORMER_MAX: usize = 10;
/// How long they are kept, in milliseconds.
const FORMER_MS: i64 = 24 * 3_600_000;

/// By what a person came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'i> {
    /// A link that was sent to their address.
    Mail,
    Slack,
    Oidc,
    /// A key in the name of an alias or address.
    Name(&'i str),
}

/// Who said by what a person is known; nothing of what is from before it was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct KnownBy {
    #[serde(skip_serializing_if = "Option::is_none")]
    mail: Option<SetBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slack: Option<SetBy>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    aliases: BTreeMap<String, SetBy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    former: Vec<Former>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SetBy {
    by: String,
    at: Timestamp,
}

/// An address until it was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Former {
    mail: String,
    until: Timestamp,
}

impl KnownBy {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Of a person as they are put: what stays is whose it was.
    pub(super) fn of(
        before: Option<&Entry>,
        now: &Person,
        (by, at): (String, Timestamp),
    ) -> Result<Self, Vec<Issue>> {
        let set = || Some(SetBy { by: by.clone(), at });
        let known = before.map(|entry| entry.known_by.clone()).unwrap_or_default();
        let old = before.map(|entry| &entry.person);
        let mail_stays = old.is_some_and(|old| old.mail == now.mail);
        let slack_stays = old.is_some_and(|old| old.slack == now.slack);
        let mut former = known.former;
        former.retain(|one| one.until.plus_ms(FORMER_MS) > at);
        if let Some(mail) = old.and_then(|old| old.mail.clone()).filter(|_| !mail_stays) {
            // INVARIANT (bounded-work): and whoever had one of them is told.
            if former.len() >= FORMER_MAX {
                let message = format!("it was changed {FORMER_MAX} times since yesterday");
                return Err(vec![Issue::new("/person/mail", message)]);
            }
            former.push(Former { mail, until: at });
        }
        let alias = |alias: &String| {
            let stays = old.is_some_and(|old| old.aliases.contains(alias));
            let own = known.aliases.get(alias).cloned();
            Some((alias.clone(), if stays { own } else { set() }?))
        };
        Ok(Self {
            mail: if mail_stays { known.mail } else { now.mail.as_ref().and_then(|_| set()) },
            slack: if slack_stays { known.slack } else { now.slack.as_ref().and_then(|_| set()) },
            aliases: now.aliases.iter().filter_map(alias).collect(),
            former,
        })
    }
}

impl Directory {
    /// Who said that a person is known by what they came by, if it was another.
    pub fn maker_of_identity(&self, person: &str, identity: Identity<'_>) -> Option<&str> {
        let entry = self.persons.get(person)?;
        let known = &entry.known_by;
        let by = match identity {
            Identity::Mail => known.mail.as_ref().map(|set| set.by.as_str()),
            Identity::Slack => known.slack.as_ref().map(|set| set.by.as_str()),
            Identity::Oidc => entry.oidc_set_by.as_deref(),
            Identity::Name(name) if entry.person.mail.as_deref() == Some(name) => {
                known.mail.as_ref().map(|set| set.by.as_str())
            }
            Identity::Name(name) => known.aliases.get(name).map(|set| set.by.as_str()),
        }?;
        (self.voice(by) != person).then_some(by)
    }

    /// Since when a person has the address that they have; what was sent before went to another.
    pub fn mail_since(&self, person: &str) -> Option<Timestamp> {
        Some(self.persons.get(person)?.known_by.mail.as_ref()?.at)
    }

    /// The addresses of a person that were replaced between two moments.
    pub fn former_mails(&self, person: &str, from: Timestamp, to: Timestamp) -> Vec<&str> {
        let entry = self.persons.get(person);
        let former = entry.into_iter().flat_map(|entry| &entry.known_by.former);
        let between = former.filter(|one| from <= one.until && one.until <= to);
        between.map(|one| one.mail.as_str()).collect()
    }
}
