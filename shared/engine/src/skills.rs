//! controlPlane.skill.install, verify and list. The workspace's own trace records each.

use crate::{
    Answer, Caller, Engine, bodies, boxed, busy, keys,
    ports::{BlobName, Condition, Fault, Item, Key, Query, Write},
    trust::ended,
};
use contracts::{
    Code, Digest, Issue, Problem, Timestamp, WorkspaceId,
    command::{ArtifactSource, InstallSkill, SkillInstalledAnswer},
    event::{ActorKind, Event, SkillInstalled, SkillRejected},
    governance::TrustPolicy,
    id::InstallationId,
    limits::{ARTIFACT_BYTES_MAX, NAME_BYTES_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX},
    manifest::Manifest,
    query::{ListSkills, SkillList, SkillVerified, SkillView},
};
use cs_core::{
    artifact, lenient_base64,
    skill::{Skill, manifest_digest},
    trust::{self, examine},
};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

/// An installed skill. The item's field `disabled` is [`DISABLED`] or [`REVOKED`] where it may not be used. Its envelope is
/// an item of its own.
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
    pub(crate) fn manifest(&self) -> Result<Manifest, Fault> {
        let payload = self.envelope.get("payload").and_then(Value::as_str).and_then(lenient_base64::decode);
        payload
            .and_then(|payload| contracts::json::decode(&payload).ok())
            .ok_or_else(|| Fault::Corrupt(format!("{}: its envelope cannot be read", self.key.sort)))
    }
    /// 0, [`DISABLED`] or [`REVOKED`].
    pub(crate) fn state(&self) -> i64 {
        self.item.fields.get("disabled").copied().unwrap_or(0)
    }
}

/// By an operator; stays so until the version is another.
pub(crate) const DISABLED: i64 = 1;
/// By the trust policy; installing it again, once it is trusted again, takes it into use.
pub(crate) const REVOKED: i64 = 2;

/// Skills of one workspace.
const SKILLS_MAX: usize = 5_000;
const TRIES_MAX: u32 = 8;

/// What an installation does to the highest version that ever was installed.
struct Downgrade {
    write: Write,
    /// The highest, where the installation is below it.
    from: Option<String>,
    refused: Option<(Code, Issue)>,
}

/// Everything that was found of a skill as it came.
struct Admission {
    skill: Option<Skill>,
    manifest_digest: Digest,
    provenance: Option<String>,
    signature_verified: bool,
    publisher_trusted: bool,
    compatibility_verified: bool,
    /// The first is the one to refuse with.
    issues: Vec<(Code, Issue)>,
}

// What keys are made of, before any is.
fn check_names(request: &InstallSkill) -> Answer<()> {
    let long = |pointer, name: &str| {
        let issue = || Issue::coded("MANIFEST_INVALID", pointer, format!("at most {NAME_BYTES_MAX} bytes"));
        (name.len() > NAME_BYTES_MAX).then(issue)
    };
    let issues = [long("/skillKey", &request.skill_key), long("/version", &request.version)];
    let issues: Vec<Issue> = issues.into_iter().flatten().collect();
    if issues.is_empty() {
        return Ok(());
    }
    Err(Problem::new(Code::ManifestInvalid, "a name is too long").issues(issues))
}

impl Engine {
    /// Installs a skill. A refused attempt is recorded and never occupies the version.
    #[boxed]
    pub async fn install_skill(&self, caller: &Caller, request: InstallSkill) -> Answer<SkillInstalledAnswer> {
        caller.require("control-plane.skill-registry")?;
        check_names(&request)?;
        let (once, given) = self.once(caller, "skill.install", &request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        let workspace = &caller.workspace;
        let bytes = self.artifact_bytes(workspace, &request).await?;
        for _ in 0..TRIES_MAX {
            let now = self.now();
            let (trust_version, trust) = self.trust_policy(workspace).await?;
            let mut found = self.admit(&request, &bytes, &trust, now);
            if found.issues.is_empty() {
                found.issues.extend(self.rollback(caller, &request, &trust).await?);
            }
            let downgrade = self.downgrade(caller, &request).await?;
            if found.issues.is_empty() {
                found.issues.extend(downgrade.refused.clone());
            }
            let Some(skill) = found.skill.take().filter(|_| found.issues.is_empty()) else {
                let problem = refusal(&found);
                self.reject_skill(caller, &request, &found, &problem).await?;
                return Err(problem);
            };
            let key = keys::skill(workspace, &request.skill_key, &request.version);
            let stored = self.ports.table.get(&key).await?;
            let envelope_key = keys::envelope(workspace, &request.skill_key, &request.version);
            let (version, before) = match &stored {
                Some(item) => (item.version, Some(bodies::decode::<SkillRecord>(&key, &item.body)?)),
                None => (0, None),
            };
            let state = stored.as_ref().and_then(|item| item.fields.get("disabled").copied()).unwrap_or(0);
            if let Some(record) = &before {
                if record.manifest_digest != found.manifest_digest {
                    let message =
                        format!("{} {} is installed with other content", request.skill_key, request.version);
                    let problem = Problem::new(Code::VersionConflict, message.clone()).issue(Issue::coded(
                        "VERSION_CONFLICT",
                        "/version",
                        message,
                    ));
                    self.reject_skill(caller, &request, &found, &problem).await?;
                    return Err(problem);
                }
                // The same again; but for a signature that is new, or a skill that is trusted again.
                let envelope: Option<Value> = self.get_body(&envelope_key).await?;
                if state == DISABLED || (state == 0 && envelope.as_ref() == Some(&request.manifest)) {
                    return Ok(answer(record, &skill, state));
                }
            }
            let publisher = &skill.manifest().publisher;
            let record = SkillRecord {
                installation_id: before
                    .map_or_else(|| InstallationId::from_bytes(self.ports.ids.id()), |record| record.installation_id),
                manifest_digest: found.manifest_digest.clone(),
                installed_at: now,
            };
            let response = answer(&record, &skill, 0);
            let event = Event::SkillInstalled(SkillInstalled {
                installation_id: record.installation_id.clone(),
                skill_key: request.skill_key.clone(),
                version: request.version.clone(),
                installed_at: now,
                publisher: Some(publisher.id.clone()),
                provenance: Some(publisher.provenance.clone()),
                manifest_digest: record.manifest_digest.clone(),
                actor_id: caller.actor.id.clone(),
                verified: true,
                downgrade_from: downgrade.from.clone(),
            });
            if !bytes.is_empty() {
                let name = BlobName::of(&keys::artifacts(workspace), request.artifact_digest.clone());
                self.ports.blobs.put(&name, &bytes).await?;
            }
            let mut item = bodies::item(version + 1, &record)?;
            item.fields.insert("disabled".into(), 0);
            let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
            let mut writes = vec![
                Write::Put { key, item, condition },
                self.put_body(envelope_key, &request.manifest).await?,
                Self::trust_unchanged(workspace, trust_version),
                downgrade.write,
            ];
            writes.extend(self.once_write(once.as_ref(), &response).await?);
            if self.journal(caller, vec![event], writes, true).await? {
                return Ok(response);
            }
        }
        Err(busy())
    }

    /// Looks at a skill as an installation would, and installs nothing.
    #[boxed]
    pub async fn verify_skill(&self, caller: &Caller, request: InstallSkill) -> Answer<SkillVerified> {
        caller.require("control-plane.skill-registry")?;
        check_names(&request)?;
        let bytes = self.artifact_bytes(&caller.workspace, &request).await?;
        let (_, trust) = self.trust_policy(&caller.workspace).await?;
        let mut found = self.admit(&request, &bytes, &trust, self.now());
        if found.issues.is_empty() {
            found.issues.extend(self.rollback(caller, &request, &trust).await?);
            found.issues.extend(self.downgrade(caller, &request).await?.refused);
        }
        let key = keys::skill(&caller.workspace, &request.skill_key, &request.version);
        if let Some(item) = self.ports.table.get(&key).await? {
            let record: SkillRecord = bodies::decode(&key, &item.body)?;
            if record.manifest_digest != found.manifest_digest {
                let message = "this version is installed with other content";
                found.issues.push((Code::VersionConflict, Issue::coded("VERSION_CONFLICT", "/version", message)));
            }
        }
        Ok(SkillVerified {
            verified: found.issues.is_empty(),
            signature_verified: found.signature_verified,
            publisher_trusted: found.publisher_trusted,
            compatibility_verified: found.compatibility_verified,
            manifest_digest: found.manifest_digest,
            issues: found.issues.into_iter().map(|(_, issue)| issue).collect(),
            verified_at: self.now(),
        })
    }

    // The bytes that the artifact's digest is compared with: none where none came.
    async fn artifact_bytes(&self, workspace: &WorkspaceId, request: &InstallSkill) -> Answer<Vec<u8>> {
        let invalid = |message: String| {
            let issue = Issue::new("/artifact", message.clone());
            Problem::new(Code::ValidationFailed, message).issue(issue)
        };
        let bytes = match &request.artifact {
            None => Vec::new(),
            Some(ArtifactSource::Bytes(text)) => {
                lenient_base64::decode(text).ok_or_else(|| invalid("`bytes` is not base64".into()))?
            }
            // What the workspace itself uploaded before. Bytes that are not those of the digest are refused like any
            // others.
            Some(ArtifactSource::Blob(digest)) => {
                let name = BlobName::of(&keys::artifacts(workspace), digest.clone());
                self.ports.blobs.get(&name).await?.unwrap_or_default()
            }
        };
        if bytes.len() > ARTIFACT_BYTES_MAX {
            return Err(invalid(format!("an artifact of at most {ARTIFACT_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    // Everything that can be said of a skill by itself and the trust policy. INVARIANT (fail-closed): what cannot be
    // looked at, because something before it is wrong, is not verified.
    fn admit(&self, request: &InstallSkill, bytes: &[u8], trust: &TrustPolicy, now: Timestamp) -> Admission {
        let examined = examine(&request.manifest, trust, now);
        let mut found = Admission {
            skill: None,
            manifest_digest: Digest::zero(),
            provenance: None,
            signature_verified: examined.signature_verified,
            publisher_trusted: examined.publisher_trusted,
            compatibility_verified: false,
            issues: examined.issues,
        };
        let against = |found: &mut Admission, code: Code, pointer: &str, message: String| {
            found.issues.push((code, Issue::coded(code.as_str(), pointer, message)));
        };
        let Some(manifest) = examined.manifest else {
            return found;
        };
        match manifest_digest(&manifest) {
            Ok(digest) => found.manifest_digest = digest,
            Err(error) => against(&mut found, Code::ManifestInvalid, "/manifest", error.to_string()),
        }
        found.provenance = Some(manifest.publisher.provenance.clone());
        // INVARIANT (bounded-work): what a stranger sends is neither unpacked nor compiled.
        if !found.issues.is_empty() {
            return found;
        }
        if manifest.skill.key != request.skill_key || manifest.skill.version != request.version {
            let message = "`skillKey` and `version` are not those of the manifest".to_owned();
            against(&mut found, Code::ManifestInvalid, "/skillKey", message);
        }
        let stated = &manifest.artifact.digest;
        if *stated != request.artifact_digest {
            let message = "`artifactDigest` is not the one the manifest states".to_owned();
            against(&mut found, Code::ArtifactDigestMismatch, "/artifactDigest", message);
        }
        if artifact::digest(bytes) != *stated {
            let message = if bytes.is_empty() {
                "there are no bytes, or no such blob, and the manifest states a digest of some".to_owned()
            } else {
                "the bytes are not those that the manifest states".to_owned()
            };
            against(&mut found, Code::ArtifactDigestMismatch, "/artifact", message);
        } else if let Err(refused) = artifact::check(bytes, &manifest.artifact.files) {
            against(&mut found, Code::ArtifactDigestMismatch, "/artifact", refused.to_string());
        }
        let coded = |(code, issue): (Code, Issue)| (code, Issue { code: Some(code.as_str().to_owned()), ..issue });
        let skill = match Skill::new(manifest) {
            Ok(skill) => skill,
            Err((code, issues)) => {
                found.issues.extend(issues.into_iter().map(|issue| coded((code, issue))));
                return found;
            }
        };
        let ours = Version::parse(env!("CARGO_PKG_VERSION")).unwrap_or(Version::new(0, 0, 0));
        let unfit = skill.compatibility(&ours, &self.config.capabilities);
        found.compatibility_verified = unfit.is_empty();
        found.issues.extend(unfit.into_iter().map(coded));
        found.skill = Some(skill);
        found
    }

    // No way back below a version that was revoked, or, but by a person who says so, below the highest that ever was
    // installed. What is there and enabled may be signed anew.
    async fn downgrade(&self, caller: &Caller, request: &InstallSkill) -> Answer<Downgrade> {
        let key = keys::skill_highest(&caller.workspace, &request.skill_key);
        let stored = self.ports.table.get(&key).await?;
        let version = stored.as_ref().map_or(0, |item| item.version);
        let highest: Option<Version> = match &stored {
            Some(item) => Some(bodies::decode(&key, &item.body)?),
            None => None,
        };
        let condition = if version == 0 { Condition::NotExists } else { Condition::VersionIs(version) };
        let Ok(wanted) = Version::parse(&request.version) else {
            return Ok(Downgrade { write: Write::Check { key, condition }, from: None, refused: None });
        };
        let Some(highest) = highest.filter(|highest| wanted <= *highest) else {
            let item = bodies::item(version + 1, &wanted)?;
            return Ok(Downgrade { write: Write::Put { key, item, condition }, from: None, refused: None });
        };
        let write = Write::Check { key, condition };
        let there = keys::skill(&caller.workspace, &request.skill_key, &request.version);
        let there = self.ports.table.get(&there).await?;
        let enabled = there.is_some_and(|item| item.fields.get("disabled").copied().unwrap_or(0) == 0);
        if wanted == highest || enabled {
            return Ok(Downgrade { write, from: None, refused: None });
        }
        let person = caller.actor.kind == ActorKind::Human;
        let refused = (!(request.allow_downgrade && person)).then(|| {
            let message = format!(
                "{highest} of `{}` was installed before; a person may let an older version come with `allowDowngrade`",
                request.skill_key
            );
            (Code::RollbackRefused, Issue::coded("ROLLBACK_REFUSED", "/version", message))
        });
        Ok(Downgrade { write, from: Some(highest.to_string()), refused })
    }

    // No way back below a version that was revoked.
    async fn rollback(
        &self,
        caller: &Caller,
        request: &InstallSkill,
        policy: &TrustPolicy,
    ) -> Answer<Option<(Code, Issue)>> {
        let Ok(version) = Version::parse(&request.version) else {
            return Ok(None); // the manifest is refused for it
        };
        for stored in self.stored_skills(&caller.workspace).await? {
            let manifest = stored.manifest()?;
            let other = Version::parse(&manifest.skill.version).ok().filter(|other| version < *other);
            if let Some(other) = other.filter(|_| manifest.skill.key == request.skill_key)
                && trust::revoked(&manifest, policy)
            {
                let message = format!("{other} of `{}` is revoked; only what is later may come", request.skill_key);
                let issue = Issue::coded("ROLLBACK_REFUSED", "/version", message);
                return Ok(Some((Code::RollbackRefused, issue)));
            }
        }
        Ok(None)
    }

    async fn reject_skill(
        &self,
        caller: &Caller,
        request: &InstallSkill,
        found: &Admission,
        problem: &Problem,
    ) -> Answer<()> {
        let clip = |text: &str| text.chars().take(NAME_BYTES_MAX).collect::<String>();
        let rejected = SkillRejected {
            skill_key: clip(&request.skill_key),
            version: Some(clip(&request.version)),
            rejected_at: self.now(),
            reason: problem.code.as_str().to_owned(),
            provenance: found.provenance.as_deref().map(clip),
            manifest_digest: Some(found.manifest_digest.clone()).filter(|digest| *digest != Digest::zero()),
            issues: contracts::json::clip_issues(problem.issues.clone()),
            actor_id: caller.actor.id.clone(),
            unrecorded: None,
        };
        self.record_refusal(caller, rejected).await
    }

    /// Every installed skill. One whose envelope is not there (yet: a range read may see half a commit) is none.
    pub(crate) async fn stored_skills(&self, workspace: &WorkspaceId) -> Result<Vec<StoredSkill>, Fault> {
        let (partition, prefix) = keys::skills(workspace);
        let query = Query::prefix(partition.clone(), keys::ENVELOPE, SKILLS_MAX);
        let mut envelopes = HashMap::new();
        for (key, item) in self.ports.table.query(&query).await? {
            let name = key.sort.trim_start_matches(keys::ENVELOPE).to_owned();
            envelopes.insert(name, self.body_of::<Value>(&key, &item).await?);
        }
        let mut found = Vec::new();
        for (key, item) in self.ports.table.query(&Query::prefix(partition, prefix, SKILLS_MAX)).await? {
            if let Some(envelope) = envelopes.remove(key.sort.trim_start_matches(prefix)) {
                let record = bodies::decode(&key, &item.body)?;
                found.push(StoredSkill { key, item, record, envelope });
            }
        }
        Ok(found)
    }

    /// Installed skills, by key and version.
    #[boxed]
    pub async fn list_skills(&self, caller: &Caller, request: ListSkills) -> Answer<SkillList> {
        caller.require("control-plane.skill-registry")?;
        let limit = page(request.limit)?;
        let after = match &request.cursor {
            Some(cursor) if cursor.starts_with("s#") => cursor.as_str(),
            Some(_) => {
                let given = Problem::new(Code::ValidationFailed, "the cursor is not one that was given out");
                return Err(given.issue(Issue::new("/cursor", "take `next` as it is")));
            }
            None => "",
        };
        let now = self.now();
        let (switches, _) = self.switches(&caller.workspace).await?;
        let mut items = Vec::new();
        let mut next = None;
        for stored in self.stored_skills(&caller.workspace).await? {
            let manifest = stored.manifest()?;
            let switched = switches.contains_key(&manifest.skill.key);
            let state = if switched { stored.state().max(DISABLED) } else { stored.state() };
            let status = status(state, &manifest, now);
            if stored.key.sort.as_str() <= after || (status != "enabled" && !request.include_disabled) {
                continue;
            }
            if items.len() == limit {
                next = items.last().map(|view: &SkillView| format!("s#{}@{}", view.skill_key, view.version));
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
                operations: manifest.operations.into_iter().map(|operation| operation.key).collect(),
                playbooks: manifest.playbooks.into_iter().map(|playbook| playbook.key).collect(),
            });
        }
        Ok(SkillList { items, next })
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

fn status(disabled: i64, manifest: &Manifest, now: Timestamp) -> &'static str {
    match disabled {
        0 if ended(manifest, now).is_some() => "expired",
        0 => "enabled",
        REVOKED => "revoked",
        _ => "disabled",
    }
}

// The first issue says what it is refused with; all of them stand in it.
fn refusal(found: &Admission) -> Problem {
    let (code, message) = match found.issues.first() {
        Some((code, issue)) => (*code, issue.message.clone()),
        None => (Code::ManifestInvalid, "the manifest cannot be read".to_owned()),
    };
    let mut problem = Problem::new(code, message);
    if code == Code::CapabilityMissing {
        problem.status = 409;
    }
    problem.issues(found.issues.iter().map(|(_, issue)| issue.clone()).collect())
}

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
        status: if state == 0 { "enabled" } else { "disabled" }.to_owned(),
        installed_at: record.installed_at,
    }
}
