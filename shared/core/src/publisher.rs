//! Signs skills: the publisher's counterpart of [`crate::trust`].

use crate::{
    artifact,
    canonical::{self, CanonicalError},
    trust,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{
    Timestamp,
    command::{ArtifactSource, InstallSkill},
    governance::TrustedKey,
    manifest::{ALGORITHM, Artifact, Manifest, Signature},
};
use ed25519_dalek::{SigningKey, VerifyingKey};

/// Why a skill cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error(transparent)]
    Artifact(#[from] artifact::ArtifactError),
    #[error(transparent)]
    NotCanonical(#[from] CanonicalError),
}

/// What a trust policy pins of a key.
pub fn pinned(key: &VerifyingKey) -> TrustedKey {
    TrustedKey { key_id: key_id(key), public_key: B64.encode(key.as_bytes()) }
}

/// A key that signs skills.
pub struct SkillSigner(SigningKey);

impl SkillSigner {
    /// With a key.
    pub fn new(key: SigningKey) -> Self {
        Self(key)
    }

    /// From 32 secret bytes.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// What a trust policy pins.
    pub fn pinned(&self) -> TrustedKey {
        pinned(&self.0.verifying_key())
    }

    /// The request that installs a manifest with an artifact's bytes (none: the manifest alone),
    /// signed from one moment to another.
    pub fn sign(
        &self,
        manifest: Manifest,
        bytes: &[u8],
        issued_at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<InstallSkill, SignError> {
        let artifact = Artifact { digest: artifact::digest(bytes), files: artifact::files(bytes)? };
        let key_id = key_id(&self.0.verifying_key());
        let signature = Signature { algorithm: ALGORITHM.into(), key_id, issued_at, expires_at };
        let manifest = Manifest { artifact, signature: Some(signature), ..manifest };
        let envelope = trust::sign(&manifest, &self.0)?;
        Ok(InstallSkill {
            skill_key: manifest.skill.key.clone(),
            version: manifest.skill.version.clone(),
            artifact_digest: manifest.artifact.digest.clone(),
            manifest: serde_json::to_value(&envelope).map_err(CanonicalError::from)?,
            artifact: (!bytes.is_empty()).then(|| ArtifactSource::Bytes(B64.encode(bytes))),
            metadata: None,
            allow_downgrade: false,
        })
    }
}

/// The default id of a key: the start of its digest.
pub fn key_id(key: &VerifyingKey) -> String {
    canonical::digest_bytes(key.as_bytes()).hex().chars().take(16).collect()
}
