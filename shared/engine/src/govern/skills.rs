//! controlPlane.skill.install, verify and list. The workspace's own trace records each.

use crate::{
    Answer, Base, Caller, InForce, Names, Parts, Waker, boxed, govern::admission::refusal,
    govern::trust::ended,
};
use contracts::{
    Code, Digest, Issue, Problem, Timestamp, WorkspaceId,
    command::{InstallSkill, SkillInstalledAnswer},
    event::{SkillInstalled, WorkspaceEvent},
    id::InstallationId,
    limits::{NAME_BYTES_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX},
    manifest::Manifest,
    query::{ListSkills, SkillList, SkillVerified, SkillView},
    status::SkillStatus,
};
use countersign_store::{BlobName, Change, Condition, Item, Key, PortError, Query, Write, keys};
use cs_core::{lenient_base64, skill::Skill};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// An installed skill. The item's field `disabled` is [`DISABLED`] or [`REVOKED`] where it may not
/// be used. Its envelope is an item of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SkillRecord {
    pub installation_id: InstallationId,
    pub manifest_digest: Digest,
    pub installed_at: Timestamp,
}

/// An installed skill with what was signed: whoever loads it verifies it again.
pub(crate) struct StoredSkill {
    pub(crate) key: Key,
    pub(crate) item: Item,
    pub(crate) record: SkillRecord,
    pub(crate) envelope: Value,
}

impl StoredSkill {
    /// The manifest inside the envelope, unverified.
    pub(crate) fn manifest(&self) -> Result<Manifest, PortError> {
        let payload =
            self.envelope.get("payload").and_then(Value::as_str).and_then(lenient_base64::decode);
        payload.and_then(|payload| contracts::json::decode(&payload).ok()).ok_or_else(|| {
            PortError::Corrupt(format!("{}: its envelope cannot be read", self.key.sort))
        })
    }
    /// 0, [`DISABLED`] or [`REVOKED`].
    pub(crate) fn state(&self) -> i64 {
        disabled(&self.item)
    }
}

// 0, [`DISABLED`] or [`REVOKED`].
fn disabled(item: &Item) -> i64 {
    item.fields.get("disabled").copied().unwrap_or(0)
}

fn other_content(request: &InstallSkill) -> Problem {
    let message =
        format!("{} {} is installed with other content", request.skill_key, request.version);
    let issue = Issue::coded("VERSION_CONFLICT", "/version", message.clone());
    Problem::new(Code::VersionConflict, message).issue(issue)
}

fn installed(
    request: &InstallSkill,
    skill: &Skill,
    record: &SkillRecord,
    (caller, downgrade_from): (&Caller, Option<String>),
) -> WorkspaceEvent {
    let publisher = &skill.manifest().publisher;
    WorkspaceEvent::SkillInstalled(SkillInstalled {
        installation_id: record.installation_id.clone(),
        skill_key: request.skill_key.clone(),
        version: request.version.clone(),
        installed_at: record.installed_at,
        publisher: Some(publisher.id.clone()),
        provenance: Some(publisher.provenance.clone()),
        manifest_digest: record.manifest_digest.clone(),
        actor_id: caller.actor.id.clone(),
        verified: true,
        downgrade_from,
    })
}

/// By an operator; stays so until the version is another.
pub(crate) const DISABLED: i64 = 1;
/// By the trust policy; installing it again, once it is trusted again, takes it into use.
pub(crate) const REVOKED: i64 = 2;

/// Skills of one workspace.
const SKILLS_MAX: usize = 5_000;

// What keys are made of, before any is.
fn check_names(request: &InstallSkill) -> Answer<()> {
    let long = |pointer, name: &str| {
        let issue =
            || Issue::coded("MANIFEST_INVALID", pointer, format!("at most {NAME_BYTES_MAX} bytes"));
        (name.len() > NAME_BYTES_MAX).then(issue)
    };
    let issues = [long("/skillKey", &request.skill_key), long("/version", &request.version)];
    let issues: Vec<Issue> = issues.into_iter().flatten().collect();
    if issues.is_empty() {
        return Ok(());
    }
    Err(Problem::new(Code::ManifestInvalid, "a name is too long").issues(issues))
}

/// Installs, disables and lists skills.
pub struct Skills {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) names: Arc<Names>,
    pub(crate) waker: Arc<Waker>,
}

impl Skills {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            names: parts.names.clone(),
            waker: parts.waker.clone(),
        }
    }

    /// Installs a skill. A refused attempt is recorded and never occupies the version.
    #[boxed]
    pub async fn install_skill(
        &self,
        caller: &Caller,
        request: InstallSkill,
    ) -> Answer<SkillInstalledAnswer> {
        caller.require("control-plane.skill-registry")?;
        check_names(&request)?;
        let author = caller.author(self.base.now());
        let installed = self.base.store.change(&author, ("skill.install", &request), || {
            Box::pin(async { self.installation(caller, &request).await })
        });
        let installed = installed.await?;
        if installed.is_fresh() {
            // What was held for want of this skill goes on.
            self.waker.wake_waiting(&caller.workspace).await;
        }
        Ok(installed.answer())
    }

    async fn installation(
        &self,
        caller: &Caller,
        request: &InstallSkill,
    ) -> Answer<Change<SkillInstalledAnswer>> {
        let (workspace, now) = (&caller.workspace, self.base.now());
        let bytes = self.artifact_bytes(workspace, request).await?;
        let trust = self.in_force.trust_policy(workspace).await?;
        let mut found = self.admit(request, &bytes, &trust.value, now);
        if found.issues.is_empty() {
            found.issues.extend(self.rollback(caller, request, &trust.value).await?);
        }
        let downgrade = self.downgrade(caller, request).await?;
        if found.issues.is_empty() {
            found.issues.extend(downgrade.refused.clone());
        }
        let Some(skill) = found.skill.take().filter(|_| found.issues.is_empty()) else {
            let problem = refusal(&found);
            self.reject_skill(caller, request, &found, &problem).await?;
            return Err(problem);
        };
        let key = keys::skill(workspace, &request.skill_key, &request.version);
        let stored = self.base.store.get(&key).await?;
        let before = match &stored {
            Some(item) => Some(countersign_store::decode::<SkillRecord>(&key, &item.body)?),
            None => None,
        };
        if let Some((record, item)) = before.as_ref().zip(stored.as_ref()) {
            if record.manifest_digest != found.manifest_digest {
                let problem = other_content(request);
                self.reject_skill(caller, request, &found, &problem).await?;
                return Err(problem);
            }
            if self.is_the_same(workspace, request, item).await? {
                return Ok(Change::none(answer(record, &skill, disabled(item))));
            }
        }
        let record = SkillRecord {
            installation_id: before.map_or_else(
                || InstallationId::from_bytes(self.base.ports.ids.id()),
                |record| record.installation_id,
            ),
            manifest_digest: found.manifest_digest,
            installed_at: now,
        };
        let event = installed(request, &skill, &record, (caller, downgrade.from));
        if !bytes.is_empty() {
            let name = BlobName::of(&keys::artifacts(workspace), request.artifact_digest.clone());
            self.base.store.put_blob(&name, &bytes).await?;
        }
        let version = stored.map_or(0, |item| item.version);
        let mut item = countersign_store::item(version + 1, &record)?;
        item.fields.insert("disabled".into(), 0);
        let envelope = keys::envelope(workspace, &request.skill_key, &request.version);
        let writes = vec![
            Write::Put { key, item, condition: Condition::unchanged(version) },
            self.base.store.body_write(envelope, &request.manifest).await?,
            Write::Check { key: keys::trust(workspace), condition: trust.unchanged() },
            downgrade.write,
        ];
        Ok(Change::new(answer(&record, &skill, 0), event, writes).of_registry())
    }

    // The same content again; but for a signature that is new, or a skill that is trusted again.
    async fn is_the_same(
        &self,
        workspace: &WorkspaceId,
        request: &InstallSkill,
        item: &Item,
    ) -> Answer<bool> {
        let key = keys::envelope(workspace, &request.skill_key, &request.version);
        let envelope: Option<Value> = self.base.store.body(&key).await?;
        let state = disabled(item);
        Ok(state == DISABLED || (state == 0 && envelope.as_ref() == Some(&request.manifest)))
    }

    /// Looks at a skill as an installation would, and installs nothing.
    #[boxed]
    pub async fn verify_skill(
        &self,
        caller: &Caller,
        request: InstallSkill,
    ) -> Answer<SkillVerified> {
        caller.require("control-plane.skill-registry")?;
        check_names(&request)?;
        let bytes = self.artifact_bytes(&caller.workspace, &request).await?;
        let trust = self.in_force.trust_policy(&caller.workspace).await?.value;
        let mut found = self.admit(&request, &bytes, &trust, self.base.now());
        if found.issues.is_empty() {
            found.issues.extend(self.rollback(caller, &request, &trust).await?);
            found.issues.extend(self.downgrade(caller, &request).await?.refused);
        }
        let key = keys::skill(&caller.workspace, &request.skill_key, &request.version);
        if let Some(item) = self.base.store.get(&key).await? {
            let record: SkillRecord = countersign_store::decode(&key, &item.body)?;
            if record.manifest_digest != found.manifest_digest {
                let message = "this version is installed with other content";
                found.issues.push((
                    Code::VersionConflict,
                    Issue::coded("VERSION_CONFLICT", "/version", message),
                ));
            }
        }
        Ok(SkillVerified {
            verified: found.issues.is_empty(),
            signature_verified: found.signature_verified,
            publisher_trusted: found.publisher_trusted,
            compatibility_verified: found.compatibility_verified,
            manifest_digest: found.manifest_digest,
            issues: found.issues.into_iter().map(|(_, issue)| issue).collect(),
            verified_at: self.base.now(),
        })
    }

    /// Installed skills, by key and version.
    #[boxed]
    pub async fn list_skills(&self, caller: &Caller, request: ListSkills) -> Answer<SkillList> {
        caller.require("control-plane.skill-registry")?;
        let limit = page(request.limit)?;
        let after = match &request.cursor {
            Some(cursor) if cursor.starts_with("s#") => cursor.as_str(),
            Some(_) => {
                let given = Problem::new(
                    Code::ValidationFailed,
                    "the cursor is not one that was given out",
                );
                return Err(given.issue(Issue::new("/cursor", "take `next` as it is")));
            }
            None => "",
        };
        let now = self.base.now();
        let switches = self.in_force.switches(&caller.workspace).await?.value;
        let mut items = Vec::new();
        let mut next = None;
        for stored in self.in_force.stored_skills(&caller.workspace).await? {
            let manifest = stored.manifest()?;
            let switched = switches.contains_key(&manifest.skill.key);
            let state = if switched { stored.state().max(DISABLED) } else { stored.state() };
            let status = status(state, &manifest, now);
            if stored.key.sort.as_str() <= after
                || (status != SkillStatus::Enabled && !request.include_disabled)
            {
                continue;
            }
            if items.len() == limit {
                next = items
                    .last()
                    .map(|view: &SkillView| format!("s#{}@{}", view.skill_key, view.version));
                break;
            }
            items.push(SkillView {
                skill_key: manifest.skill.key.clone(),
                version: manifest.skill.version.clone(),
                status: status.into(),
                verified: true,
                publisher: Some(manifest.publisher.id),
                provenance: Some(manifest.publisher.provenance),
                installed_at: Some(stored.record.installed_at),
                expires_at: manifest.signature.map(|signature| signature.expires_at),
                operations: manifest
                    .operations
                    .into_iter()
                    .map(|operation| operation.key)
                    .collect(),
                playbooks: manifest.playbooks.into_iter().map(|playbook| playbook.key).collect(),
            });
        }
        Ok(SkillList { items, next })
    }
}

impl InForce {
    /// Every installed skill. One whose envelope is not there (yet: a range read may see half a
    /// commit) is none.
    pub(crate) async fn stored_skills(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Vec<StoredSkill>, PortError> {
        let (partition, prefix) = keys::skills(workspace);
        let query = Query::prefix(partition.clone(), keys::ENVELOPE, SKILLS_MAX);
        let mut envelopes = HashMap::new();
        for (key, item) in self.base.store.query(&query).await? {
            let name = key.sort.trim_start_matches(keys::ENVELOPE).to_owned();
            envelopes.insert(name, self.base.store.body_of::<Value>(&key, &item).await?);
        }
        let mut found = Vec::new();
        for (key, item) in
            self.base.store.query(&Query::prefix(partition, prefix, SKILLS_MAX)).await?
        {
            if let Some(envelope) = envelopes.remove(key.sort.trim_start_matches(prefix)) {
                let record = countersign_store::decode(&key, &item.body)?;
                found.push(StoredSkill { key, item, record, envelope });
            }
        }
        Ok(found)
    }
}

/// A page's size.
pub(crate) fn page(limit: Option<u32>) -> Answer<usize> {
    let limit = limit.map_or(PAGE_ITEMS_DEFAULT, |limit| limit as usize);
    if (1..=PAGE_ITEMS_MAX).contains(&limit) {
        return Ok(limit);
    }
    let issue = Issue::new("/limit", format!("1 to {PAGE_ITEMS_MAX}"));
    Err(Problem::new(Code::ValidationFailed, "the page size is out of range").issue(issue))
}

fn status(disabled: i64, manifest: &Manifest, now: Timestamp) -> SkillStatus {
    match disabled {
        0 if ended(manifest, now).is_some() => SkillStatus::Expired,
        0 => SkillStatus::Enabled,
        REVOKED => SkillStatus::Revoked,
        _ => SkillStatus::Disabled,
    }
}

// The first issue says what it is refused with; all of them stand in it.
fn answer(record: &SkillRecord, skill: &Skill, state: i64) -> SkillInstalledAnswer {
    let manifest = skill.manifest();
    SkillInstalledAnswer {
        installation_id: record.installation_id.clone(),
        skill_key: manifest.skill.key.clone(),
        version: manifest.skill.version.clone(),
        verified: true,
        signature_verified: true,
        publisher_trusted: true,
        compatibility_verified: true,
        manifest_digest: record.manifest_digest.clone(),
        provenance: Some(manifest.publisher.provenance.clone()),
        issues: Vec::new(),
        status: if state == 0 { SkillStatus::Enabled } else { SkillStatus::Disabled }.into(),
        installed_at: record.installed_at,
    }
}
