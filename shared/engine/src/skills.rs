//! controlPlane.skill.install, disable and list. The workspace's own trace records each.

use crate::{
    Answer, Caller, Engine, bodies, keys,
    ports::{Condition, Fault, Item, NotCommitted, Query, Write},
};
use contracts::{
    Code, Digest, Issue, Problem, Timestamp, WorkspaceId,
    command::{DisableSkill, InstallSkill, SkillDisabledAnswer, SkillInstalledAnswer},
    event::{Event, SkillDisabled, SkillInstalled, SkillRejected},
    id::InstallationId,
    limits::{NAME_BYTES_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX},
    manifest::Manifest,
    query::{ListSkills, SkillList, SkillView},
};
use cs_core::{
    skill::Skill,
    trace::{self, Stamp},
};
use semver::Version;
use serde::{Deserialize, Serialize};

/// An installed skill. The item's field `disabled` is 1 where it may not be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SkillRecord {
    pub installation_id: InstallationId,
    pub manifest: Manifest,
    pub manifest_digest: Digest,
    pub verified: bool,
    pub installed_at: Timestamp,
}

/// Versions of one skill that one disable covers.
const VERSIONS_MAX: usize = 50;
const TRIES_MAX: u32 = 8;

impl Engine {
    /// Installs a skill. A refused attempt is recorded and never occupies the version.
    pub async fn install_skill(&self, caller: &Caller, request: InstallSkill) -> Answer<SkillInstalledAnswer> {
        caller.require("control-plane.skill-registry")?;
        let (once, given) = self.once(caller, "skill.install", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let skill = match self.admit(&request) {
            Ok(skill) => skill,
            Err(problem) => {
                self.reject_skill(caller, &request, &problem).await?;
                return Err(problem);
            }
        };
        let workspace = &caller.workspace;
        let key = keys::skill(workspace, &request.skill_key, &request.version);
        let publisher = &skill.manifest().publisher;
        for _ in 0..TRIES_MAX {
            let now = self.now();
            if let Some(item) = self.ports.table.get(&key).await? {
                let record: SkillRecord = bodies::decode(&key, &item.body)?;
                if record.manifest_digest == *skill.digest() {
                    let status = if item.fields.get("disabled") == Some(&1) { "disabled" } else { "enabled" };
                    return Ok(answer(&record, status));
                }
                let message = format!("{} {} is installed with other content", request.skill_key, request.version);
                let problem = Problem::new(Code::VersionConflict, message);
                self.reject_skill(caller, &request, &problem).await?;
                return Err(problem);
            }
            let record = SkillRecord {
                installation_id: InstallationId::from_bytes(self.ports.ids.id()),
                manifest: skill.manifest().clone(),
                manifest_digest: skill.digest().clone(),
                verified: false,
                installed_at: now,
            };
            let response = answer(&record, "enabled");
            let event = Event::SkillInstalled(SkillInstalled {
                installation_id: record.installation_id.clone(),
                skill_key: request.skill_key.clone(),
                version: request.version.clone(),
                installed_at: now,
                publisher: Some(publisher.id.clone()),
                provenance: Some(publisher.provenance.clone()),
                manifest_digest: record.manifest_digest.clone(),
                actor_id: caller.actor.id.clone(),
                verified: record.verified,
            });
            let mut item = bodies::item(1, &record)?;
            item.fields.insert("disabled".into(), 0);
            let mut writes = vec![Write::Put { key: key.clone(), item, condition: Condition::NotExists }];
            writes.extend(once.as_ref().map(|once| self.once_write(once, &response)).transpose()?);
            if self.journal(caller, event, writes, true).await? {
                return Ok(response);
            }
        }
        Err(busy())
    }

    // Signature checks come with the skill registry's governance; until then only the development flag lets a bare
    // manifest in, and nothing is called verified.
    fn admit(&self, request: &InstallSkill) -> Answer<Skill> {
        let signed = request.manifest.get("payloadType").is_some();
        if signed {
            let message = "this deployment does not verify signed manifests yet";
            return Err(Problem::new(Code::SignatureInvalid, message).issue(Issue::new("/manifest", message)));
        }
        if !self.config.development {
            let message = "a manifest comes in a signed DSSE envelope; a bare one only under the development flag";
            return Err(Problem::new(Code::SignatureMissing, message).issue(Issue::new("/manifest", message)));
        }
        let manifest: Manifest = contracts::json::typed(request.manifest.clone()).map_err(|problem| {
            let issues = problem
                .issues
                .into_iter()
                .map(|issue| Issue { pointer: format!("/manifest{}", issue.pointer), ..issue })
                .collect();
            Problem::new(Code::ManifestInvalid, "the manifest does not have the form of its schema").issues(issues)
        })?;
        let skill = Skill::new(manifest)
            .map_err(|(code, issues)| Problem::new(code, "the manifest is not valid").issues(issues))?;
        let manifest = skill.manifest();
        if manifest.skill.key != request.skill_key || manifest.skill.version != request.version {
            let message = "`skillKey` and `version` are not those of the manifest";
            return Err(Problem::new(Code::ManifestInvalid, message).issue(Issue::new("/skillKey", message)));
        }
        if manifest.artifact.digest != request.artifact_digest {
            let message = "`artifactDigest` is not the one the manifest states";
            return Err(
                Problem::new(Code::ArtifactDigestMismatch, message).issue(Issue::new("/artifactDigest", message))
            );
        }
        let ours = Version::parse(env!("CARGO_PKG_VERSION")).unwrap_or(Version::new(0, 0, 0));
        let unfit = skill.compatibility(&ours, &self.config.capabilities);
        if let Some((code, _)) = unfit.first() {
            let mut problem = Problem::new(*code, "this control plane cannot carry the skill");
            problem.status = 409;
            return Err(problem.issues(unfit.into_iter().map(|(_, issue)| issue).collect()));
        }
        Ok(skill)
    }

    async fn reject_skill(&self, caller: &Caller, request: &InstallSkill, problem: &Problem) -> Answer<()> {
        let clip = |text: &str| text.chars().take(NAME_BYTES_MAX).collect::<String>();
        let event = Event::SkillRejected(SkillRejected {
            skill_key: clip(&request.skill_key),
            version: Some(clip(&request.version)),
            rejected_at: self.now(),
            reason: problem.code.as_str().to_owned(),
            provenance: None,
            manifest_digest: cs_core::canonical::digest(&request.manifest).ok(),
            issues: problem.issues.clone(),
            actor_id: caller.actor.id.clone(),
        });
        for _ in 0..TRIES_MAX {
            if self.journal(caller, event.clone(), Vec::new(), false).await? {
                return Ok(());
            }
        }
        Err(busy())
    }

    /// Disables a skill, at one version or at all.
    pub async fn disable_skill(&self, caller: &Caller, request: DisableSkill) -> Answer<SkillDisabledAnswer> {
        caller.require("control-plane.skill-registry")?;
        crate::approve::check_text("/reason", request.reason.as_deref())?;
        let (once, given) = self.once(caller, "skill.disable", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let workspace = &caller.workspace;
        for _ in 0..TRIES_MAX {
            let (partition, _) = keys::skills(workspace);
            let prefix = match &request.version {
                Some(version) => format!("s#{}@{version}", request.skill_key),
                None => format!("s#{}@", request.skill_key),
            };
            let mut items = self.ports.table.query(&Query::prefix(partition, &prefix, VERSIONS_MAX)).await?;
            if request.version.is_some() {
                items.retain(|(key, _)| key.sort == prefix);
            }
            if items.is_empty() {
                let message = format!("no skill `{}` is installed at that version", request.skill_key);
                return Err(Problem::new(Code::NotFound, message));
            }
            let now = self.now();
            let voided_steps = self.count_pinned(workspace, &request).await?;
            let response = SkillDisabledAnswer {
                skill_key: request.skill_key.clone(),
                version: request.version.clone(),
                status: "disabled".into(),
                disabled_at: now,
                disabled_by: caller.actor.id.clone(),
                voided_steps,
            };
            let mut writes: Vec<Write> = items
                .into_iter()
                .map(|(key, item)| {
                    let condition = Condition::VersionIs(item.version);
                    let mut item = Item { version: item.version + 1, ..item };
                    item.fields.insert("disabled".into(), 1);
                    Write::Put { key, item, condition }
                })
                .collect();
            writes.extend(once.as_ref().map(|once| self.once_write(once, &response)).transpose()?);
            let event = Event::SkillDisabled(SkillDisabled {
                key: request.skill_key.clone(),
                version: request.version.clone(),
                at: now,
                actor_id: caller.actor.id.clone(),
                reason: request.reason.clone(),
            });
            if self.journal(caller, event, writes, true).await? {
                return Ok(response);
            }
        }
        Err(busy())
    }

    // Unstarted steps of open executions that pin the skill. The claim's own check is what stops them.
    async fn count_pinned(&self, workspace: &WorkspaceId, request: &DisableSkill) -> Answer<u32> {
        let mut count = 0;
        for (owner, id) in self.open_executions().await? {
            if owner != *workspace {
                continue;
            }
            let Ok(loaded) = self.load(workspace, &id).await else {
                continue;
            };
            let Some(plan) = loaded.state.plan() else {
                continue;
            };
            for (place, step) in loaded.state.steps.iter().enumerate().filter(|(_, step)| step.state.unstarted()) {
                let pin = loaded.state.planned(place).and_then(|planned| plan.plan().skills.get(planned.call.skill));
                let pinned = pin.is_some_and(|pin| {
                    pin.key == request.skill_key
                        && request.version.as_ref().is_none_or(|version| *version == pin.version)
                });
                count += u32::from(pinned);
                tracing::trace!(step = %step.id, pinned, "looked at");
            }
        }
        Ok(count)
    }

    /// Installed skills, by key and version.
    pub async fn list_skills(&self, caller: &Caller, request: ListSkills) -> Answer<SkillList> {
        caller.require("control-plane.skill-registry")?;
        let limit = page(request.limit)?;
        let (partition, prefix) = keys::skills(&caller.workspace);
        let mut query = Query::prefix(partition, prefix, usize::MAX);
        if let Some(cursor) = &request.cursor {
            let given = Problem::new(Code::ValidationFailed, "the cursor is not one that was given out");
            let sort = cursor.strip_prefix("s#").ok_or(given.issue(Issue::new("/cursor", "take `next` as it is")))?;
            query.from = format!("s#{sort}\u{1}");
        }
        let mut items = Vec::new();
        let mut next = None;
        for (key, item) in self.ports.table.query(&query).await? {
            let disabled = item.fields.get("disabled") == Some(&1);
            if disabled && !request.include_disabled {
                continue;
            }
            if items.len() == limit {
                next = items.last().map(|view: &SkillView| format!("s#{}@{}", view.skill_key, view.version));
                break;
            }
            let record: SkillRecord = bodies::decode(&key, &item.body)?;
            items.push(SkillView {
                skill_key: record.manifest.skill.key.clone(),
                version: record.manifest.skill.version.clone(),
                status: if disabled { "disabled" } else { "enabled" }.into(),
                verified: record.verified,
                publisher: Some(record.manifest.publisher.id),
                provenance: Some(record.manifest.publisher.provenance),
                installed_at: Some(record.installed_at),
                operations: record.manifest.operations.into_iter().map(|operation| operation.key).collect(),
                playbooks: record.manifest.playbooks.into_iter().map(|playbook| playbook.key).collect(),
            });
        }
        Ok(SkillList { items, next })
    }

    /// Appends to the workspace's own trace, with other writes; `changes` says that the registry changed. False: somebody
    /// else committed first, or one of the writes' conditions does not hold.
    async fn journal(&self, caller: &Caller, event: Event, mut writes: Vec<Write>, changes: bool) -> Answer<bool> {
        let workspace = &caller.workspace;
        let head_key = keys::journal_head(workspace);
        let stored = self.ports.table.get(&head_key).await?;
        let version = stored.as_ref().map_or(0, |item| item.version);
        let mut head: trace::Head = match &stored {
            Some(item) => bodies::decode(&head_key, &item.body)?,
            None => trace::Head::default(),
        };
        let stamp = Stamp { at: self.now(), actor: caller.actor.clone(), traceparent: caller.traceparent.clone() };
        let entries = trace::append(&mut head, &stamp, vec![event]).map_err(crate::not_canonical)?;
        for entry in &entries {
            let (key, item) = (keys::journal(workspace, entry.seq), bodies::item(1, entry)?);
            writes.push(Write::Put { key, item, condition: Condition::NotExists });
        }
        let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
        writes.push(Write::Put { key: head_key, item: bodies::item(version + 1, &head)?, condition });
        if changes {
            let key = keys::registry(workspace);
            let version = self.ports.table.get(&key).await?.map_or(0, |item| item.version);
            let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            writes.push(Write::Put { key, item: bodies::item(version + 1, &())?, condition });
        }
        match self.ports.table.transact(writes).await {
            Ok(()) => Ok(true),
            Err(NotCommitted::Condition(_)) => Ok(false),
            Err(NotCommitted::Fault(fault)) => Err(fault.into()),
        }
    }

    /// The workspace's own trace, as stored.
    pub async fn workspace_trace(&self, workspace: &WorkspaceId) -> Result<Vec<serde_json::Value>, Fault> {
        let partition = keys::journal_head(workspace).partition;
        let items = self.ports.table.query(&Query::prefix(partition, keys::EVENT, usize::MAX)).await?;
        items.iter().map(|(key, item)| bodies::decode(key, &item.body)).collect()
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

fn busy() -> Problem {
    Problem { retryable: true, ..Problem::new(Code::Conflict, "too many others change this; try again") }
}

fn answer(record: &SkillRecord, status: &str) -> SkillInstalledAnswer {
    let unverified = Issue::coded("UNVERIFIED", "", "installed under the development flag: no signature was checked");
    SkillInstalledAnswer {
        installation_id: record.installation_id.clone(),
        skill_key: record.manifest.skill.key.clone(),
        version: record.manifest.skill.version.clone(),
        verified: record.verified,
        signature_verified: false,
        publisher_trusted: false,
        compatibility_verified: true,
        manifest_digest: record.manifest_digest.clone(),
        provenance: Some(record.manifest.publisher.provenance.clone()),
        issues: vec![unverified],
        status: status.to_owned(),
        installed_at: record.installed_at,
    }
}
