//! controlPlane.trust.set and get: whose skills a workspace installs. What is trusted no longer is no longer used: skills
//! are taken out of use before the new policy holds, so that a failure between the two errs on the safe side.

use crate::{
    Answer, Caller, Engine,
    approve::check_text,
    boxed, keys,
    ports::{Condition, Fault, Item, Write},
    skills::REVOKED,
    switches::Counted,
};
use contracts::{
    Code, Issue, Problem, Timestamp, WorkspaceId,
    event::{Event, GovernanceChanged, SkillDisabled},
    governance::{Look, RevokedSkill, SetTrust, TrustAnswer, TrustPolicy},
    names,
};
use cs_core::{canonical, trust};
use std::collections::BTreeSet;

const TRIES_MAX: u32 = 8;
/// Skills taken out of use in one transaction.
const REVOKED_AT_ONCE: usize = 40;
/// Warnings of one answer.
const WARNINGS_MAX: usize = 20;

impl Engine {
    /// The trust policy in force and its version; 0: none was ever set, which trusts nothing.
    pub(crate) async fn trust_policy(&self, workspace: &WorkspaceId) -> Result<(u64, TrustPolicy), Fault> {
        let key = keys::trust(workspace);
        Ok(match self.ports.table.get(&key).await? {
            Some(item) => (item.version, self.body_of(&key, &item).await?),
            None => (0, TrustPolicy::default()),
        })
    }

    /// What a transaction that relies on the trust policy checks.
    pub(crate) fn trust_unchanged(workspace: &WorkspaceId, version: u64) -> Write {
        let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
        Write::Check { key: keys::trust(workspace), condition }
    }

    /// Sets the trust policy.
    #[boxed]
    pub async fn set_trust(&self, caller: &Caller, request: SetTrust) -> Answer<TrustAnswer> {
        caller.require("control-plane.trust")?;
        check_text("/reason", request.reason.as_deref())?;
        let issues = trust::check(&request.trust);
        if !issues.is_empty() {
            return Err(Problem::new(Code::ValidationFailed, "the trust policy is not valid").issues(issues));
        }
        let (once, given) = self.once(caller, "trust.set", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let workspace = &caller.workspace;
        let warnings = self.unmatched(workspace, &request.trust).await?;
        for _ in 0..TRIES_MAX {
            let (version, _) = self.trust_policy(workspace).await?;
            if request.expected_version.is_some_and(|expected| expected != version) {
                let message = format!("version {version} is in force; look at it, then decide");
                return Err(Problem::new(Code::PreconditionFailed, message));
            }
            let (revoked, counted) = self.revoke_untrusted(caller, &request.trust).await?;
            let digest = canonical::digest(&request.trust).map_err(crate::not_canonical)?;
            let answer = TrustAnswer {
                version: version + 1,
                digest: digest.clone(),
                trust: request.trust.clone(),
                revoked,
                voided_steps: counted.steps,
                voided_steps_partial: counted.partial,
                warnings: warnings.clone(),
            };
            let mut write = self.put_body(keys::trust(workspace), &request.trust).await?;
            if let Write::Put { item, condition, .. } = &mut write {
                item.version = version + 1;
                *condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            }
            let mut writes = vec![write];
            writes.extend(self.once_write(once.as_ref(), &answer).await?);
            let event = Event::GovernanceChanged(GovernanceChanged {
                key: "trust".into(),
                digest,
                at: self.now(),
                actor_id: caller.actor.id.clone(),
                reason: request.reason.clone(),
            });
            if self.journal(caller, vec![event], writes, true).await? {
                self.wake_waiting(workspace).await;
                return Ok(answer);
            }
        }
        Err(crate::busy())
    }

    // Takes out of use what a trust policy does not trust.
    async fn revoke_untrusted(&self, caller: &Caller, policy: &TrustPolicy) -> Answer<(Vec<RevokedSkill>, Counted)> {
        let now = self.now();
        let mut found = Vec::new();
        for stored in self.stored_skills(&caller.workspace).await? {
            if stored.state() != 0 {
                continue;
            }
            let manifest = stored.manifest()?;
            if let Some(reason) = trust::lapsed(&manifest, policy, now) {
                let name = manifest.skill;
                found.push((
                    stored.key,
                    stored.item,
                    RevokedSkill { skill_key: name.key, version: name.version, reason },
                ));
            }
        }
        for part in found.chunks(REVOKED_AT_ONCE) {
            let writes = part.iter().map(|(key, item, _)| {
                let mut changed = Item { version: item.version + 1, ..item.clone() };
                changed.fields.insert("disabled".into(), REVOKED);
                Write::Put { key: key.clone(), item: changed, condition: Condition::VersionIs(item.version) }
            });
            let events = part.iter().map(|(_, _, skill)| {
                Event::SkillDisabled(SkillDisabled {
                    key: skill.skill_key.clone(),
                    version: Some(skill.version.clone()),
                    at: now,
                    actor_id: caller.actor.id.clone(),
                    reason: Some(format!("trusted no longer: {}", skill.reason)),
                })
            });
            if !self.journal(caller, events.collect(), writes.collect(), true).await? {
                return Err(crate::busy());
            }
        }
        let gone: BTreeSet<(String, String)> =
            found.iter().map(|(_, _, skill)| (skill.skill_key.clone(), skill.version.clone())).collect();
        let voided = if gone.is_empty() {
            Counted::default()
        } else {
            self.count_pinned(&caller.workspace, |key, version| gone.contains(&(key.to_owned(), version.to_owned())))
                .await?
        };
        Ok((found.into_iter().map(|(_, _, skill)| skill).collect(), voided))
    }

    // What a policy names that is not installed: said, not refused, for a policy comes before what it lets in.
    async fn unmatched(&self, workspace: &WorkspaceId, policy: &TrustPolicy) -> Answer<Vec<Issue>> {
        let known = self.skill_keys(workspace).await?;
        let absent = policy.minimum_versions.keys().filter(|key| !known.contains(*key));
        let pointer = |key: &str| format!("/trust/minimumVersions/{}", contracts::json::escape(key));
        let issue = |key: &String| names::unknown(&pointer(key), "skill", key, known.iter().map(String::as_str));
        Ok(absent.take(WARNINGS_MAX).map(issue).collect())
    }

    /// The trust policy.
    #[boxed]
    pub async fn trust(&self, caller: &Caller, _: Look) -> Answer<TrustAnswer> {
        caller.require_whole("control-plane.audit")?;
        let (version, trust) = self.trust_policy(&caller.workspace).await?;
        let digest = canonical::digest(&trust).map_err(crate::not_canonical)?;
        Ok(TrustAnswer {
            version,
            digest,
            trust,
            revoked: Vec::new(),
            voided_steps: 0,
            voided_steps_partial: false,
            warnings: Vec::new(),
        })
    }
}

/// Since when a skill's signature is not valid any more, if it is so at `now`.
pub(crate) fn ended(manifest: &contracts::manifest::Manifest, now: Timestamp) -> Option<Timestamp> {
    manifest.signature.as_ref().map(|signature| signature.expires_at).filter(|end| *end <= now)
}
