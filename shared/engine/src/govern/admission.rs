//! Whether a skill may be installed: everything that can be said of it before it is.

use crate::{Answer, Caller, Skills};
use contracts::{
    Code, Digest, Issue, Problem, Timestamp, WorkspaceId,
    command::{ArtifactSource, InstallSkill},
    event::{ActorKind, SkillRejected},
    governance::TrustPolicy,
    limits::{ARTIFACT_BYTES_MAX, NAME_BYTES_MAX},
};
use countersign_store::{BlobName, Condition, Write, keys};
use cs_core::{
    artifact, lenient_base64,
    skill::{Skill, manifest_digest},
    trust::{self, examine},
};
use semver::Version;

/// What an installation does to the highest version that ever was installed.
pub(super) struct Downgrade {
    pub(super) write: Write,
    /// The highest, where the installation is below it.
    pub(super) from: Option<String>,
    pub(super) refused: Option<(Code, Issue)>,
}

/// Everything that was found of a skill as it came.
pub(super) struct Admission {
    pub(super) skill: Option<Skill>,
    pub(super) manifest_digest: Digest,
    pub(super) provenance: Option<String>,
    pub(super) signature_verified: bool,
    pub(super) publisher_trusted: bool,
    pub(super) compatibility_verified: bool,
    /// The first is the one to refuse with.
    pub(super) issues: Vec<(Code, Issue)>,
}

impl Skills {
    // The bytes that the artifact's digest is compared with: none where none came.
    pub(super) async fn artifact_bytes(
        &self,
        workspace: &WorkspaceId,
        request: &InstallSkill,
    ) -> Answer<Vec<u8>> {
        let invalid = |message: String| {
            let issue = Issue::new("/artifact", message.clone());
            Problem::new(Code::ValidationFailed, message).issue(issue)
        };
        let bytes = match &request.artifact {
            None => Vec::new(),
            Some(ArtifactSource::Bytes(text)) => lenient_base64::decode(text)
                .ok_or_else(|| invalid("`bytes` is not base64".into()))?,
            // What the workspace itself uploaded before. Bytes that are not those of the digest are
            // refused like any others.
            Some(ArtifactSource::Blob(digest)) => {
                let name = BlobName::of(&keys::artifacts(workspace), digest.clone());
                self.base.store.blob(&name).await?.unwrap_or_default()
            }
        };
        if bytes.len() > ARTIFACT_BYTES_MAX {
            return Err(invalid(format!("an artifact of at most {ARTIFACT_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    // Everything that can be said of a skill by itself and the trust policy. INVARIANT
    // (fail-closed): what cannot be looked at, because something before it is wrong, is not
    // verified.
    pub(super) fn admit(
        &self,
        request: &InstallSkill,
        bytes: &[u8],
        trust: &TrustPolicy,
        now: Timestamp,
    ) -> Admission {
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
            Err(error) => {
                against(&mut found, Code::ManifestInvalid, "/manifest", error.to_string())
            }
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
                "there are no bytes, or no such blob, and the manifest states a digest of some"
                    .to_owned()
            } else {
                "the bytes are not those that the manifest states".to_owned()
            };
            against(&mut found, Code::ArtifactDigestMismatch, "/artifact", message);
        } else if let Err(refused) = artifact::check(bytes, &manifest.artifact.files) {
            against(&mut found, Code::ArtifactDigestMismatch, "/artifact", refused.to_string());
        }
        let coded = |(code, issue): (Code, Issue)| {
            (code, Issue { code: Some(code.as_str().to_owned()), ..issue })
        };
        let skill = match Skill::new(manifest) {
            Ok(skill) => skill,
            Err((code, issues)) => {
                found.issues.extend(issues.into_iter().map(|issue| coded((code, issue))));
                return found;
            }
        };
        let ours = Version::parse(env!("CARGO_PKG_VERSION")).unwrap_or(Version::new(0, 0, 0));
        let unfit =
            skill.compatibility(&ours, &self.base.config.capabilities, &self.base.config.bindings);
        found.compatibility_verified = unfit.is_empty();
        found.issues.extend(unfit.into_iter().map(coded));
        found.skill = Some(skill);
        found
    }

    // No way back below a version that was revoked, or, but by a person who says so, below the
    // highest that ever was installed. What is there and enabled may be signed anew.
    pub(super) async fn downgrade(
        &self,
        caller: &Caller,
        request: &InstallSkill,
    ) -> Answer<Downgrade> {
        let key = keys::skill_highest(&caller.workspace, &request.skill_key);
        let stored = self.base.store.get(&key).await?;
        let version = stored.as_ref().map_or(0, |item| item.version);
        let highest: Option<Version> = match &stored {
            Some(item) => Some(countersign_store::decode(&key, &item.body)?),
            None => None,
        };
        let condition = Condition::unchanged(version);
        let Ok(wanted) = Version::parse(&request.version) else {
            return Ok(Downgrade {
                write: Write::Check { key, condition },
                from: None,
                refused: None,
            });
        };
        let Some(highest) = highest.filter(|highest| wanted <= *highest) else {
            let item = countersign_store::item(version + 1, &wanted)?;
            return Ok(Downgrade {
                write: Write::Put { key, item, condition },
                from: None,
                refused: None,
            });
        };
        let write = Write::Check { key, condition };
        let there = keys::skill(&caller.workspace, &request.skill_key, &request.version);
        let there = self.base.store.get(&there).await?;
        let enabled =
            there.is_some_and(|item| item.fields.get("disabled").copied().unwrap_or(0) == 0);
        if wanted == highest || enabled {
            return Ok(Downgrade { write, from: None, refused: None });
        }
        let person = caller.actor.kind == ActorKind::Human;
        let refused = (!(request.allow_downgrade && person)).then(|| {
            let message = format!(
                "{highest} of `{}` was installed before; a person may let an older version come \
                    with `allowDowngrade`",
                request.skill_key
            );
            (Code::RollbackRefused, Issue::coded("ROLLBACK_REFUSED", "/version", message))
        });
        Ok(Downgrade { write, from: Some(highest.to_string()), refused })
    }

    // No way back below a version that was revoked.
    pub(super) async fn rollback(
        &self,
        caller: &Caller,
        request: &InstallSkill,
        policy: &TrustPolicy,
    ) -> Answer<Option<(Code, Issue)>> {
        let Ok(version) = Version::parse(&request.version) else {
            return Ok(None); // the manifest is refused for it
        };
        for stored in self.in_force.stored_skills(&caller.workspace).await? {
            let manifest = stored.manifest()?;
            let other =
                Version::parse(&manifest.skill.version).ok().filter(|other| version < *other);
            if let Some(other) = other.filter(|_| manifest.skill.key == request.skill_key)
                && trust::revoked(&manifest, policy)
            {
                let message = format!(
                    "{other} of `{}` is revoked; only what is later may come",
                    request.skill_key
                );
                let issue = Issue::coded("ROLLBACK_REFUSED", "/version", message);
                return Ok(Some((Code::RollbackRefused, issue)));
            }
        }
        Ok(None)
    }

    pub(super) async fn reject_skill(
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
            rejected_at: self.base.now(),
            reason: problem.code.as_str().to_owned(),
            provenance: found.provenance.as_deref().map(clip),
            manifest_digest: Some(found.manifest_digest.clone())
                .filter(|digest| *digest != Digest::zero()),
            issues: contracts::json::clip_issues(problem.issues.clone()),
            actor_id: caller.actor.id.clone(),
            unrecorded: None,
        };
        self.record_refusal(caller, rejected).await
    }
}

pub(super) fn refusal(found: &Admission) -> Problem {
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
