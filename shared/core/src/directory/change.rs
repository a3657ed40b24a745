//! What a change of the directory must keep: names are canonical and unique, references are to what
//! is there, and nobody gives a place in a group, or a way out of an exclusion, to themselves.

use super::{Directory, Entry, NameError, identities, identity::KnownBy, names};
use crate::suggest::Suggestions;
use contracts::{
    Issue, Timestamp,
    directory::{Delegate, Group, Person},
    limits::{
        DELEGATION_MS_MAX, DIRECTORY_BYTES_MAX, GROUP_MEMBERS_MAX, GROUP_SECONDS_MAX,
        GROUP_SECONDS_MIN, GROUPS_MAX, PERSON_ALIASES_MAX, PERSONS_MAX,
    },
    names::unknown as unknown_name,
};
use std::collections::BTreeSet;

/// By whom, and when.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'c> {
    /// The actor's id.
    pub by: &'c str,
    pub at: Timestamp,
}

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChangeError {
    #[error("what is to be in the directory is not valid")]
    Invalid(Vec<Issue>),
    #[error("there is no such person in the directory")]
    Unknown(Box<Issue>),
    #[error("nobody takes a place in a group alone: another person makes this change")]
    OwnPlace { group: String },
    #[error(
        "nobody gives up what they are known by alone: keep it as an alias, or another person \
         makes this change"
    )]
    OwnIdentity { identity: String },
    #[error("a directory has at most {DIRECTORY_BYTES_MAX} bytes: remove what is not needed")]
    TooLarge,
}

/// One way to a place in a group: whose place, after which escalation, lent from when until when.
type Way<'d> = (&'d str, &'d str, Option<u32>, Option<(Option<Timestamp>, Timestamp)>);

#[derive(Default)]
struct Issues {
    found: Vec<Issue>,
    suggestions: Suggestions,
}

impl Issues {
    fn add(&mut self, pointer: impl Into<String>, message: impl ToString) {
        self.found.push(Issue::new(pointer, message.to_string()));
    }

    fn take<T>(&mut self, pointer: &str, result: Result<T, NameError>) -> Option<T> {
        result.map_err(|error| self.add(pointer, error)).ok()
    }

    fn unknown<'n>(
        &mut self,
        pointer: &str,
        (what, name): (&str, &str),
        known: impl Iterator<Item = &'n String>,
    ) {
        let shown: String = name.chars().take(80).collect();
        let near = self.suggestions.nearest(name, known.map(String::as_str));
        let message = format!("there is no {what} `{shown}`{near}");
        self.found.push(Issue::coded("UNKNOWN_NAME", pointer, message));
    }
}

impl Directory {
    /// With a person added, or what is known of one replaced.
    pub fn with_person(&self, person: Person, by: &Changed<'_>) -> Result<Self, ChangeError> {
        let person = self.checked_person(person, by.at).map_err(ChangeError::Invalid)?;
        let mut after = self.clone();
        let added_at = self.added_at(&person.id).unwrap_or(by.at);
        let id = person.id.clone();
        // Who it is said of now has to sign in first.
        if self.person(&id).is_some_and(|before| before.oidc != person.oidc) {
            after.claimed.remove(&id);
        }
        let before = self.persons.get(&id);
        let oidc_set_by = match before.filter(|before| before.person.oidc == person.oidc) {
            Some(before) => before.oidc_set_by.clone(),
            None => person.oidc.as_ref().map(|_| self.voice(by.by)),
        };
        let setter = (self.voice(by.by), by.at);
        let known_by = KnownBy::of(before, &person, setter).map_err(ChangeError::Invalid)?;
        let entry = Entry { person, added_at, updated_at: by.at, oidc_set_by, known_by };
        after.persons.insert(id, entry);
        self.check(after, by)
    }

    /// Without a person: gone from every group, and what was lent to them is given back. A group
    /// that has no members then ends.
    pub fn without_person(&self, id: &str, by: &Changed<'_>) -> Result<Self, ChangeError> {
        let id = self.known_person(id)?;
        let mut after = self.clone();
        after.persons.remove(&id);
        after.claimed.remove(&id);
        for entry in after.persons.values_mut() {
            if entry.person.delegate.as_ref().is_some_and(|delegate| delegate.to == id) {
                (entry.person.delegate, entry.updated_at) = (None, by.at);
            }
        }
        for group in after.groups.values_mut() {
            group.members.remove(&id);
        }
        after.groups.retain(|_, group| !group.members.is_empty() || group.claim.is_some());
        let there: BTreeSet<String> = after.groups.keys().cloned().collect();
        for group in after.groups.values_mut() {
            group.escalate = group.escalate.take().filter(|one| there.contains(&one.to));
        }
        self.check(after, by)
    }

    /// With a group added or replaced; without it where it has neither members nor a claim.
    pub fn with_group(&self, group: Group, by: &Changed<'_>) -> Result<Self, ChangeError> {
        let group = self.checked_group(group)?;
        let mut after = self.clone();
        after.change_claim(&group, self.voice(by.by));
        if group.members.is_empty() && group.claim.is_none() {
            after.groups.remove(&group.name);
        } else {
            after.groups.insert(group.name.clone(), group);
            after.had_groups = true;
        }
        self.check(after, by)
    }

    // The canonical id of a person that is there.
    fn known_person(&self, id: &str) -> Result<String, ChangeError> {
        let canonical = names::person_id(id).ok().filter(|id| self.persons.contains_key(id));
        canonical.ok_or_else(|| {
            let known = self.persons.keys().map(String::as_str);
            ChangeError::Unknown(Box::new(unknown_name("/personId", "person", id, known)))
        })
    }

    fn checked_person(&self, mut person: Person, now: Timestamp) -> Result<Person, Vec<Issue>> {
        let mut issues = Issues::default();
        if let Some(id) = issues.take("/person/id", names::person_id(&person.id)) {
            person.id = id;
        }
        if let Some(name) = &person.name {
            issues.take("/person/name", names::display_name(name));
        }
        if let Some(mail) = &person.mail {
            person.mail = issues.take("/person/mail", names::mail(mail));
        }
        if let Some(slack) = &person.slack {
            issues.take("/person/slack", names::slack(slack));
        }
        if let Some(oidc) = &person.oidc {
            issues.take("/person/oidc", names::oidc(oidc));
        }
        if person.aliases.len() > PERSON_ALIASES_MAX {
            issues.add("/person/aliases", format!("at most {PERSON_ALIASES_MAX} aliases"));
            person.aliases.clear();
        }
        let mut aliases = BTreeSet::new();
        for (index, alias) in person.aliases.iter().enumerate() {
            aliases.extend(issues.take(&format!("/person/aliases/{index}"), names::alias(alias)));
        }
        aliases.remove(&person.id);
        person.aliases = aliases;
        self.check_unique(&person, &mut issues);
        if let Some(delegate) = &mut person.delegate {
            self.check_delegate(&person.id, delegate, now, &mut issues);
        }
        if !self.persons.contains_key(&person.id) && self.persons.len() >= PERSONS_MAX {
            issues.add("/person", format!("a directory has at most {PERSONS_MAX} persons"));
        }
        if issues.found.is_empty() { Ok(person) } else { Err(issues.found) }
    }

    // Two persons with one identity would have two voices, or one of them the other's.
    fn check_unique(&self, person: &Person, issues: &mut Issues) {
        let others = || self.persons().filter(|other| other.id != person.id);
        let holder = |text: &str| others().find(|other| identities(other).any(|own| own == text));
        let mut unique = |pointer: &str, text: &str| {
            if let Some(other) = holder(text) {
                issues.add(pointer, format!("`{text}` is the person `{}`", other.id));
            }
        };
        unique("/person/id", &person.id);
        if let Some(mail) = &person.mail {
            unique("/person/mail", mail);
        }
        for alias in &person.aliases {
            unique("/person/aliases", alias);
        }
        let same = |other: &&Person| person.slack.is_some() && other.slack == person.slack;
        if let Some(other) = others().find(same) {
            issues.add("/person/slack", format!("it is the person `{}`", other.id));
        }
        let same = |other: &&Person| person.oidc.is_some() && other.oidc == person.oidc;
        if let Some(other) = others().find(same) {
            issues.add("/person/oidc", format!("it is the person `{}`", other.id));
        }
    }

    fn check_delegate(
        &self,
        own: &str,
        delegate: &mut Delegate,
        now: Timestamp,
        issues: &mut Issues,
    ) {
        match names::person_id(&delegate.to).ok().filter(|id| self.persons.contains_key(id)) {
            Some(id) if id == own => issues.add("/person/delegate/to", "another person"),
            Some(id) => delegate.to = id,
            // The person itself may not be there yet.
            None if delegate.to == own => issues.add("/person/delegate/to", "another person"),
            None => {
                let who = ("person", delegate.to.as_str());
                issues.unknown("/person/delegate/to", who, self.persons.keys());
            }
        }
        let (from, until) = (delegate.from.unwrap_or(now), delegate.until);
        if until <= from || until <= now || until > now.plus_ms(DELEGATION_MS_MAX) {
            let message = "after `from`, in the future, and at most 90 days from now";
            issues.add("/person/delegate/until", message);
        }
    }

    fn checked_group(&self, mut group: Group) -> Result<Group, ChangeError> {
        let mut issues = Issues::default();
        issues.take("/group/name", names::group_name(&group.name));
        let exists = self.groups.contains_key(&group.name);
        let ends = group.members.is_empty() && group.claim.is_none();
        if let Some(claim) = &group.claim {
            issues.take("/group/claim", names::claim(claim));
            if !group.members.is_empty() {
                let message = "none: the members of a group with a claim are those who sign in \
                    with it";
                issues.add("/group/members", message);
            }
        }
        if ends && !exists && issues.found.is_empty() {
            issues.unknown("/group/name", ("group", &group.name), self.groups.keys());
            return Err(ChangeError::Invalid(issues.found));
        }
        if ends {
            for other in self.groups().filter(|other| escalates_to(other, &group.name)) {
                let message = format!("`{}` escalates to it: change that one first", other.name);
                issues.add("/group/members", message);
            }
        }
        if group.members.len() > GROUP_MEMBERS_MAX {
            issues.add("/group/members", format!("at most {GROUP_MEMBERS_MAX} members"));
        }
        let mut members = BTreeSet::new();
        for (index, member) in group.members.iter().take(GROUP_MEMBERS_MAX).enumerate() {
            match names::person_id(member).ok().filter(|id| self.persons.contains_key(id)) {
                Some(id) => _ = members.insert(id),
                None => {
                    let pointer = format!("/group/members/{index}");
                    issues.unknown(&pointer, ("person", member), self.persons.keys());
                }
            }
        }
        let seconds = GROUP_SECONDS_MIN..=GROUP_SECONDS_MAX;
        let range = format!("{GROUP_SECONDS_MIN} to {GROUP_SECONDS_MAX} seconds");
        if let Some(escalate) = &group.escalate {
            if escalate.to == group.name {
                issues.add("/group/escalate/to", "another group");
            } else if !self.groups.contains_key(&escalate.to) {
                let to = ("group", escalate.to.as_str());
                issues.unknown("/group/escalate/to", to, self.groups.keys());
            }
            if !seconds.contains(&escalate.after_seconds) {
                issues.add("/group/escalate/afterSeconds", &range);
            }
        }
        if group.remind_after_seconds.is_some_and(|after| !seconds.contains(&after)) {
            issues.add("/group/remindAfterSeconds", &range);
        }
        if !exists && self.groups.len() >= GROUPS_MAX {
            issues.add("/group", format!("a directory has at most {GROUPS_MAX} groups"));
        }
        group.members = members;
        if issues.found.is_empty() { Ok(group) } else { Err(ChangeError::Invalid(issues.found)) }
    }

    // What holds of any change.
    pub(super) fn check(&self, after: Self, by: &Changed<'_>) -> Result<Self, ChangeError> {
        let before = self.person_of(by.by).map(|person| person.id.as_str());
        let now = after.person_of(by.by).map(|person| person.id.as_str());
        // Whoever was excluded under one of these would be no longer.
        let kept =
            |identity: &&str| after.person_of(identity).map(|person| person.id.as_str()) == before;
        let mut known = before.and_then(|id| self.person(id)).into_iter().flat_map(identities);
        if let Some(lost) = known.find(|identity| !kept(identity)) {
            return Err(ChangeError::OwnIdentity { identity: lost.to_owned() });
        }
        let oidc = |directory: &Self| before.and_then(|id| directory.person(id)?.oidc.clone());
        if let Some(lost) = oidc(self).filter(|own| oidc(&after).as_ref() != Some(own)) {
            let identity = format!("{} {}", lost.issuer, lost.subject);
            return Err(ChangeError::OwnIdentity { identity });
        }
        let slack = |directory: &Self| before.and_then(|id| directory.person(id)?.slack.clone());
        if let Some(lost) = slack(self).filter(|own| slack(&after).as_ref() != Some(own)) {
            let identity = format!("{} {}", lost.team_id, lost.user_id);
            return Err(ChangeError::OwnIdentity { identity });
        }
        // Somebody has to make the first group.
        if self.had_groups {
            let had = before.map(|id| self.ways(id)).unwrap_or_default();
            let has = now.map(|id| after.ways(id)).unwrap_or_default();
            if let Some((group, ..)) = has.difference(&had).next() {
                return Err(ChangeError::OwnPlace { group: (*group).to_owned() });
            }
        }
        after.fits()
    }

    // INVARIANT (bounded-work).
    pub(super) fn fits(self) -> Result<Self, ChangeError> {
        let bytes = serde_json::to_vec(&self).map(|bytes| bytes.len());
        if bytes.is_ok_and(|bytes| bytes <= DIRECTORY_BYTES_MAX) {
            Ok(self)
        } else {
            Err(ChangeError::TooLarge)
        }
    }

    // Every way in which a person may ever use a place in a group.
    fn ways(&self, person: &str) -> BTreeSet<Way<'_>> {
        let mut found = BTreeSet::new();
        for group in self.groups() {
            let escalate = group.escalate.iter().filter_map(|escalate| {
                Some((self.group(&escalate.to)?, Some(escalate.after_seconds)))
            });
            for (of, after) in std::iter::once((group, None)).chain(escalate) {
                for member in self.all_members(of) {
                    let delegate = self.person(member).and_then(|one| one.delegate.as_ref());
                    let lent = delegate.filter(|delegate| delegate.to == person);
                    let lent = lent.map(|delegate| Some((delegate.from, delegate.until)));
                    let own = (member == person).then_some(None);
                    let ways = own.into_iter().chain(lent);
                    found.extend(ways.map(|lent| (group.name.as_str(), member, after, lent)));
                }
            }
        }
        found
    }
}

fn escalates_to(group: &Group, name: &str) -> bool {
    group.escalate.as_ref().is_some_and(|escalate| escalate.to == name)
}
