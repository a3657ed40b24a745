//! What an identity provider said of who signed in: who is whom, and in which groups for how long.
//!
//! A claim is written into the directory, so that who is asked, whose voice counts and who is
//! excluded are decided from one record, whatever way a decision comes. It counts for as long as
//! the session that it came with may last: who lost a group at the provider loses it here within
//! that time, and at the next sign-in at once.

use super::{ChangeError, Directory};
use contracts::{
    Issue, Timestamp, directory::Group, limits::GROUP_MEMBERS_MAX, sign_in::SignInRules,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The groups that a person has by the claims of their last sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIn {
    pub groups: BTreeSet<String>,
    /// Until when they count for decisions.
    pub until: Timestamp,
}

impl Directory {
    /// The rules of signing in.
    pub fn rules(&self) -> &SignInRules {
        &self.rules
    }

    /// With other rules of signing in.
    #[must_use]
    pub fn with_rules(&self, rules: SignInRules) -> Self {
        Self { rules, ..self.clone() }
    }

    /// A group as it is shown: with the members that it has by its claim.
    pub fn shown(&self, group: &Group) -> Group {
        Group { members: self.all_members(group).map(str::to_owned).collect(), ..group.clone() }
    }

    /// With the groups that a person has by these claims, and no others. Who said which claim a
    /// group takes its members from has no place by it: nobody takes a place alone.
    pub fn with_claims(
        &self,
        person: &str,
        claims: &BTreeSet<String>,
        until: Timestamp,
    ) -> Result<Self, ChangeError> {
        let mut groups = BTreeSet::new();
        for group in self.groups() {
            let said = group.claim.as_ref().is_some_and(|claim| claims.contains(claim));
            let own = self.claim_set_by.get(&group.name);
            if !said || own.is_none_or(|by| self.voice(by) == person) {
                continue;
            }
            let others = self.all_members(group).filter(|member| *member != person).count();
            if others >= GROUP_MEMBERS_MAX {
                let message = format!("`{}` has {GROUP_MEMBERS_MAX} members already", group.name);
                return Err(ChangeError::Invalid(vec![Issue::new("/group/members", message)]));
            }
            groups.insert(group.name.clone());
        }
        let mut after = self.clone();
        if groups.is_empty() {
            after.claimed.remove(person);
        } else {
            after.claimed.insert(person.to_owned(), SignedIn { groups, until });
        }
        after.fits()
    }

    /// Without the groups that a person had by claims and has no more.
    #[must_use]
    pub fn without_lost_claims(&self, person: &str, claims: &BTreeSet<String>) -> Self {
        let mut after = self.clone();
        let claim_of = |name: &str| self.groups.get(name).and_then(|group| group.claim.as_ref());
        if let Some(signed_in) = after.claimed.get_mut(person) {
            signed_in.groups.retain(|name| claim_of(name).is_some_and(|own| claims.contains(own)));
        }
        after.claimed.retain(|_, signed_in| !signed_in.groups.is_empty());
        after
    }

    /// The groups that a person has by claims.
    pub fn claimed_by(&self, person: &str) -> BTreeSet<String> {
        self.claimed.get(person).map(|signed_in| signed_in.groups.clone()).unwrap_or_default()
    }

    // Another claim is another group: who had a place by the one before signs in again.
    pub(super) fn change_claim(&mut self, group: &Group, by: String) {
        let before = self.groups.get(&group.name).and_then(|group| group.claim.as_ref());
        if before == group.claim.as_ref() {
            return;
        }
        for signed_in in self.claimed.values_mut() {
            signed_in.groups.remove(&group.name);
        }
        self.claimed.retain(|_, signed_in| !signed_in.groups.is_empty());
        match group.claim {
            Some(_) => _ = self.claim_set_by.insert(group.name.clone(), by),
            None => _ = self.claim_set_by.remove(&group.name),
        }
    }
}
