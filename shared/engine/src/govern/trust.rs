//! controlPlane.trust.set and get: whose skills a workspace installs. What is trusted no longer is
//! no longer used: skills are taken out of use before the new policy holds, so that a failure
//! between the two errs on the safe side.

use crate::{
    Answer, Base, Caller, InForce, Names, Parts, Skills, Waker, boxed, decide::approve::check_text,
    govern::skills::REVOKED, govern::switches::Counted,
};
use contracts::{
    Code, Issue, Problem, Timestamp, WorkspaceId,
    event::{SkillDisabled, WorkspaceEvent},
    governance::{EmptyQuery, RevokedSkill, SetTrust, TrustAnswer, TrustPolicy},
    names,
};
use countersign_store::{Change, Condition, Item, PortError, Record, Write, keys};
use cs_core::{canonical, trust};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Skills taken out of use in one transaction.
const REVOKED_AT_ONCE: usize = 40;
/// Warnings of one answer.
const WARNINGS_MAX: usize = 20;

impl InForce {
    /// The trust policy in force; version 0: none was ever set, which trusts nothing.
    pub(crate) async fn trust_policy(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Record<TrustPolicy>, PortError> {
        self.base.store.record(&keys::trust(workspace)).await
    }
}

/// Whose skills a workspace installs.
pub struct Trust {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) names: Arc<Names>,
    pub(crate) skills: Arc<Skills>,
    pub(crate) waker: Arc<Waker>,
}

impl Trust {
    pub(crate) fn new(parts: &Parts, skills: Arc<Skills>) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            names: parts.names.clone(),
            skills,
            waker: parts.waker.clone(),
        }
    }

    /// Sets the trust policy.
    #[boxed]
    pub async fn set_trust(&self, caller: &Caller, request: SetTrust) -> Answer<TrustAnswer> {
        caller.require("control-plane.trust")?;
        check_text("/reason", request.reason.as_deref())?;
        let issues = trust::check(&request.trust);
        if !issues.is_empty() {
            return Err(Problem::new(Code::ValidationFailed, "the trust policy is not valid")
                .issues(issues));
        }
        let workspace = &caller.workspace;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("trust.set", &request), || {
            Box::pin(async {
                let stored = self.in_force.trust_policy(workspace).await?;
                let version = stored.version;
                if request.expected_version.is_some_and(|expected| expected != version) {
                    let message = format!("version {version} is in force; look at it, then decide");
                    return Err(Problem::new(Code::PreconditionFailed, message));
                }
                let (revoked, counted) = self.revoke_untrusted(caller, &request.trust).await?;
                let answer = TrustAnswer {
                    version: version + 1,
                    digest: canonical::digest(&request.trust).map_err(crate::not_canonical)?,
                    trust: request.trust.clone().into(),
                    revoked,
                    voided_steps: counted.steps,
                    voided_steps_partial: counted.partial,
                    warnings: self.unmatched(workspace, &request.trust).await?,
                };
                let event = self.base.governance_changed(
                    caller,
                    "trust",
                    &request.trust,
                    &request.reason,
                )?;
                let write = self
                    .base
                    .store
                    .replace(&stored, keys::trust(workspace), &request.trust)
                    .await?;
                Ok(Change::new(answer, event, vec![write]).of_registry())
            })
        });
        let changed = changed.await?;
        if changed.is_fresh() {
            self.waker.wake_waiting(workspace).await;
        }
        Ok(changed.answer())
    }

    // Takes out of use what a trust policy does not trust.
    async fn revoke_untrusted(
        &self,
        caller: &Caller,
        policy: &TrustPolicy,
    ) -> Answer<(Vec<RevokedSkill>, Counted)> {
        let now = self.base.now();
        let mut found = Vec::new();
        for stored in self.in_force.stored_skills(&caller.workspace).await? {
            if stored.state() != 0 {
                continue;
            }
            let manifest = stored.manifest()?;
            if let Some(reason) = trust::trust_problem(&manifest, policy, now) {
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
                Write::Put {
                    key: key.clone(),
                    item: changed,
                    condition: Condition::VersionIs(item.version),
                }
            });
            let events = part.iter().map(|(_, _, skill)| {
                WorkspaceEvent::SkillDisabled(SkillDisabled {
                    key: skill.skill_key.clone(),
                    version: Some(skill.version.clone()),
                    at: now,
                    actor_id: caller.actor.id.clone(),
                    reason: Some(format!("trusted no longer: {}", skill.reason)),
                })
            });
            let change = Change {
                answer: (),
                writes: writes.collect(),
                events: events.collect(),
                registry_changes: true,
            };
            let author = caller.author(now);
            self.base
                .store
                .try_change(&author, change, None)
                .await?
                .ok_or_else(countersign_store::busy)?;
        }
        let gone: BTreeSet<(String, String)> = found
            .iter()
            .map(|(_, _, skill)| (skill.skill_key.clone(), skill.version.clone()))
            .collect();
        let voided = if gone.is_empty() {
            Counted::default()
        } else {
            self.skills
                .count_pinned(&caller.workspace, |key, version| {
                    gone.contains(&(key.to_owned(), version.to_owned()))
                })
                .await?
        };
        Ok((found.into_iter().map(|(_, _, skill)| skill).collect(), voided))
    }

    // What a policy names that is not installed: said, not refused, for a policy comes before what
    // it lets in.
    async fn unmatched(&self, workspace: &WorkspaceId, policy: &TrustPolicy) -> Answer<Vec<Issue>> {
        let known = self.names.skill_keys(workspace).await?;
        let absent = policy.minimum_versions.keys().filter(|key| !known.contains(*key));
        let pointer =
            |key: &str| format!("/trust/minimumVersions/{}", contracts::json::escape(key));
        let issue = |key: &String| {
            names::unknown(&pointer(key), "skill", key, known.iter().map(String::as_str))
        };
        Ok(absent.take(WARNINGS_MAX).map(issue).collect())
    }

    /// The trust policy.
    #[boxed]
    pub async fn trust(&self, caller: &Caller, _: EmptyQuery) -> Answer<TrustAnswer> {
        caller.require_whole("control-plane.audit")?;
        let Record { version, value: trust } =
            self.in_force.trust_policy(&caller.workspace).await?;
        let digest = canonical::digest(&trust).map_err(crate::not_canonical)?;
        Ok(TrustAnswer {
            version,
            digest,
            trust: trust.into(),
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
