//! The directory of a workspace: who is one person, and whose places in groups a person has.
//!
//! A place in a group is its member's. A person uses their own, and while it is lent that of
//! another; a place that two use is one voice. Lending goes one step, and so does escalating from
//! one group to another, so that there are no circles.

mod change;
mod identity;
mod names;
mod sign_in;

pub use change::{ChangeError, Changed};
pub use identity::Identity;
pub use names::{NameError, display_name, group_name, mail, oidc, slack};
pub use sign_in::SignedIn;

use crate::actor::canonical_id;
use contracts::{
    Timestamp,
    directory::{Group, Person, PersonView, SlackIdentity},
    sign_in::SignInRules,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Persons and groups, as they are stored: every name in its canonical form, every reference to
/// something that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    persons: BTreeMap<String, Entry>,
    groups: BTreeMap<String, Group>,
    /// There was a group once: from then on nobody takes a place alone.
    #[serde(default)]
    had_groups: bool,
    /// Who is in groups by what the identity provider said, by person.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    claimed: BTreeMap<String, SignedIn>,
    /// Who said last which claim a group takes its members from, by group.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    claim_set_by: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_default")]
    rules: SignInRules,
}

fn is_default(rules: &SignInRules) -> bool {
    *rules == SignInRules::default()
}

/// A person, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    person: Person,
    added_at: Timestamp,
    updated_at: Timestamp,
    /// Who said as whom the identity provider knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oidc_set_by: Option<String>,
    /// Who said by what else they are known, and when.
    #[serde(default, skip_serializing_if = "identity::KnownBy::is_empty")]
    known_by: identity::KnownBy,
}

/// Of which moment voices are counted, and who has none.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// When it was asked.
    pub at: Timestamp,
    pub now: Timestamp,
    /// Persons who may not decide on it: they neither use a place nor lend theirs.
    pub excluded: &'a BTreeSet<String>,
    pub claims: Claims,
}

/// Which places count that somebody has by a claim of the identity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// Those of who signed in lately: for decisions.
    Fresh,
    /// Those that were given at the last sign-in, whenever that was: whose holders are asked, and
    /// can sign in.
    Known,
}

impl Directory {
    /// A person by id.
    pub fn person(&self, id: &str) -> Option<&Person> {
        self.persons.get(id).map(|entry| &entry.person)
    }

    /// When a person was added; another one under the same id later is another person.
    pub fn added_at(&self, id: &str) -> Option<Timestamp> {
        self.persons.get(id).map(|entry| entry.added_at)
    }

    /// Every person, by id.
    pub fn persons(&self) -> impl Iterator<Item = &Person> {
        self.persons.values().map(|entry| &entry.person)
    }

    /// Every group, by name.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// A group by name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Who is meant by an actor's id, an alias or a mail address, in whatever letters. A name that
    /// people are shown means nobody.
    pub fn person_of(&self, identity: &str) -> Option<&Person> {
        let text = names::identity(identity)?;
        self.persons().find(|person| identities(person).any(|own| own == text))
    }

    /// Who a user of Slack is.
    pub fn person_of_slack(&self, team_id: &str, user_id: &str) -> Option<&Person> {
        let is = |slack: &SlackIdentity| slack.team_id == team_id && slack.user_id == user_id;
        self.persons().find(|person| person.slack.as_ref().is_some_and(is))
    }

    /// Whom an identity provider knows by this issuer and subject.
    pub fn person_of_oidc(&self, issuer: &str, subject: &str) -> Option<&Person> {
        self.persons().find(|person| {
            let own = person.oidc.as_ref();
            own.is_some_and(|own| own.issuer == issuer && own.subject == subject)
        })
    }

    /// Whose voice an actor's is: the person's, or where there is none that of the id itself.
    pub fn voice(&self, identity: &str) -> String {
        match self.person_of(identity) {
            Some(person) => person.id.clone(),
            None => canonical_id(identity).unwrap_or_else(|_| identity.to_owned()),
        }
    }

    /// The same of several: who is excluded under one of these ids is excluded as a person.
    pub fn voices_of<'i>(&self, ids: impl IntoIterator<Item = &'i String>) -> BTreeSet<String> {
        ids.into_iter().map(|id| self.voice(id)).collect()
    }

    /// Every actor id and mail address of a person.
    pub fn known_as(&self, person: &str) -> BTreeSet<String> {
        self.person(person).into_iter().flat_map(identities).map(str::to_owned).collect()
    }

    /// The groups for which a person's voice counts, and with whose places.
    pub fn groups_of(&self, person: &str, asked: &Asked<'_>) -> BTreeSet<String> {
        let own = self.places_of(person, asked);
        let counts = |group: &&Group| self.members_now(group, asked).any(|one| own.contains(one));
        self.groups().filter(counts).map(|group| group.name.clone()).collect()
    }

    /// Whose voices count for a group, each with the members whose places they use.
    pub fn members(&self, group: &str, asked: &Asked<'_>) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let places = self.group(group).into_iter().flat_map(|group| self.members_now(group, asked));
        for place in places.filter(|place| !asked.excluded.contains(*place)) {
            let users = std::iter::once(place).chain(self.lent_to(place, asked.now));
            for user in users.filter(|user| !asked.excluded.contains(*user)) {
                found.entry(user.to_owned()).or_default().insert(place.to_owned());
            }
        }
        found
    }

    /// How many voices these persons have together in a group: each has one, and each place one.
    pub fn count(&self, group: &str, voters: &BTreeSet<String>, asked: &Asked<'_>) -> u32 {
        let mut members = self.members(group, asked);
        members.retain(|person, _| voters.contains(person));
        voices(&members)
    }

    /// The most voices that a group can give.
    pub fn most(&self, group: &str, asked: &Asked<'_>) -> u32 {
        self.count(group, &self.members(group, asked).into_keys().collect(), asked)
    }

    /// A person as the directory shows it.
    pub fn view(&self, id: &str) -> Option<PersonView> {
        let entry = self.persons.get(id)?;
        let groups = self.groups().filter(|group| self.all_members(group).any(|one| one == id));
        Some(PersonView {
            person: entry.person.clone(),
            groups: groups.map(|group| group.name.clone()).collect(),
            updated_at: entry.updated_at,
        })
    }

    // Members of a group, and once it has escalated those of the other one.
    fn members_now<'d>(
        &'d self,
        group: &'d Group,
        asked: &Asked<'_>,
    ) -> impl Iterator<Item = &'d str> + use<'d> {
        let escalated = group.escalate.as_ref().filter(|escalate| {
            asked.now >= asked.at.plus_ms(i64::from(escalate.after_seconds) * 1_000)
        });
        let others = escalated.and_then(|escalate| self.group(&escalate.to));
        let (now, claims) = (asked.now, asked.claims);
        let own = self.members_of(group, now, claims);
        own.chain(others.into_iter().flat_map(move |group| self.members_of(group, now, claims)))
    }

    fn members_of<'d>(
        &'d self,
        group: &'d Group,
        now: Timestamp,
        claims: Claims,
    ) -> impl Iterator<Item = &'d str> + use<'d> {
        let given = self.claimed.iter().filter(move |(_, signed_in)| {
            let fresh = claims == Claims::Known || now < signed_in.until;
            fresh && signed_in.groups.contains(&group.name)
        });
        let own = group.members.iter().map(String::as_str);
        own.chain(given.map(|(person, _)| person.as_str()))
    }

    // Everybody who has a place in a group, whenever it counts.
    fn all_members<'d>(&'d self, group: &'d Group) -> impl Iterator<Item = &'d str> + use<'d> {
        self.members_of(group, Timestamp::default(), Claims::Known)
    }

    // The places that a person uses: their own, and those lent to them.
    fn places_of(&self, person: &str, asked: &Asked<'_>) -> BTreeSet<&str> {
        let excluded = |id: &str| asked.excluded.contains(id);
        if excluded(person) {
            return BTreeSet::new();
        }
        let uses =
            |one: &&Person| one.id == person || self.lent_to(&one.id, asked.now) == Some(person);
        let places = self.persons().filter(uses).map(|one| one.id.as_str());
        places.filter(|id| !excluded(id)).collect()
    }

    // To whom a person's places are lent at a moment.
    fn lent_to(&self, person: &str, now: Timestamp) -> Option<&str> {
        let delegate = self.person(person)?.delegate.as_ref()?;
        let begun = delegate.from.is_none_or(|from| from <= now);
        (begun && now < delegate.until).then_some(delegate.to.as_str())
    }
}

/// How many voices these persons have together, each with the places that they use: each person
/// has one, and each place is one.
pub fn voices(places: &BTreeMap<String, BTreeSet<String>>) -> u32 {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    let mut count = 0;
    for voter in places.keys() {
        count += u32::from(seat(voter, places, &mut taken, &mut BTreeSet::new()));
    }
    count
}

// A place for a voter, if the others can move to places that are free (Kuhn, The Hungarian Method,
// 1955). Each place is looked at once, so that it ends.
fn seat<'m>(
    voter: &'m str,
    members: &'m BTreeMap<String, BTreeSet<String>>,
    taken: &mut BTreeMap<&'m str, &'m str>,
    seen: &mut BTreeSet<&'m str>,
) -> bool {
    for place in members.get(voter).into_iter().flatten() {
        if !seen.insert(place) {
            continue;
        }
        let holder = taken.get(place.as_str()).copied();
        if holder.is_none_or(|holder| seat(holder, members, taken, seen)) {
            taken.insert(place, voter);
            return true;
        }
    }
    false
}

// The texts that mean a person.
fn identities(person: &Person) -> impl Iterator<Item = &str> {
    let others = person.aliases.iter().chain(&person.mail);
    std::iter::once(&person.id).chain(others).map(String::as_str)
}

#[cfg(test)]
mod tests;
