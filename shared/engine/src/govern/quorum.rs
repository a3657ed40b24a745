//! Whether those whom policy asks for are there: groups of the directory with enough people who are
//! not excluded. What nobody could decide is refused before anybody is asked.

use crate::{Answer, InForce};
use contracts::{
    Digest, Issue, Timestamp, WorkspaceId,
    access::ApiKey,
    event::{ActorKind, Requirement},
    grant,
    limits::DECIDING_KEYS_MAX,
    names,
};
use countersign_store::{Query, keys};
use cs_core::{
    directory::{Asked, Claims, Directory},
    execution::ballot::{APPROVERS, Excluded},
};
use policy::CompiledPolicySet;
use std::collections::BTreeSet;

impl InForce {
    /// What of a requirement cannot be met by those who are not excluded, in words. `life_ms`: as
    /// long as is asked; an escalation may bring others meanwhile.
    pub(crate) async fn unmet(
        &self,
        workspace: &WorkspaceId,
        requirement: &[Requirement],
        excluded: &Excluded,
        life_ms: i64,
    ) -> Answer<Vec<String>> {
        let directory = self.directory(workspace).await?;
        let excluded = directory.voices_of(excluded.keys());
        let now = self.base.now();
        let mut unmet = Vec::new();
        for wanted in requirement {
            let there = if directory.group(&wanted.group).is_some() {
                let at = self.base.now();
                // Whoever has a place by a claim can sign in and use it.
                let claims = Claims::Known;
                let asked = |now| Asked { at, now, excluded: &excluded, claims };
                let most = |now| directory.most(&wanted.group, &asked(now));
                most(now).max(most(now.plus_ms(life_ms)))
            } else if wanted.group != APPROVERS {
                unmet.push(format!(
                    "people of `{}` decide, and there is no such group",
                    wanted.group
                ));
                continue;
            } else if wanted.count == 1 {
                // Whoever comes with the grant; a key may be made at any time.
                continue;
            } else {
                self.persons_with_keys(workspace, (&directory, &excluded), now).await?
            };
            if there < wanted.count {
                unmet.push(format!(
                    "{} people of `{}` decide, and of those who may only {there} are there",
                    wanted.count, wanted.group
                ));
            }
        }
        Ok(unmet)
    }

    // Persons who could decide with the keys that there are.
    async fn persons_with_keys(
        &self,
        workspace: &WorkspaceId,
        (directory, excluded): (&Directory, &BTreeSet<String>),
        now: Timestamp,
    ) -> Answer<u32> {
        let deciders = self.stored_deciders(workspace).await?.value;
        let (partition, prefix) = keys::api_keys(workspace);
        let query = Query::prefix(partition, prefix, DECIDING_KEYS_MAX);
        let mut persons = BTreeSet::new();
        for (key, item) in self.base.store.query(&query).await? {
            let (record, _): (ApiKey, Digest) = countersign_store::decode(&key, &item.body)?;
            let live = record.revoked_at.is_none() && record.expires_at.is_none_or(|end| end > now);
            let decides = record.actor.kind == ActorKind::Human
                || deciders.services.contains(&record.actor.id);
            if live && decides && grant::covers(&record.grants, "control-plane.execution.approve") {
                persons.insert(directory.voice(&record.actor.id));
            }
        }
        let there = persons.difference(excluded).count();
        Ok(u32::try_from(there).unwrap_or(u32::MAX))
    }

    /// Groups that a policy set asks for and that do not exist, or are too small whoever asks.
    /// INVARIANT (unknown-names-are-refused).
    pub(crate) async fn unknown_approvers(
        &self,
        workspace: &WorkspaceId,
        set: &CompiledPolicySet,
    ) -> Answer<Vec<Issue>> {
        let directory = self.directory(workspace).await?;
        let (now, nobody) = (self.base.now(), BTreeSet::new());
        let mut issues = Vec::new();
        for (policy, group, wanted) in set.approvers() {
            let pointer = "/policies";
            let who = format!("`{}`: `@approvers` ", policy.id);
            if directory.group(group).is_some() {
                let claims = Claims::Known;
                let asked = Asked { at: now, now, excluded: &nobody, claims };
                let there = directory.most(group, &asked);
                if there < wanted {
                    let message =
                        format!("{who}asks for {wanted} people of `{group}`; it has {there}");
                    issues.push(Issue::new(pointer, message));
                }
            } else if group != APPROVERS {
                let known = directory.groups().map(|group| group.name.as_str());
                let known = known.chain([APPROVERS]);
                let unknown = names::unknown(pointer, "group", group, known);
                issues.push(Issue { message: format!("{who}{}", unknown.message), ..unknown });
            }
        }
        Ok(issues)
    }
}
