//! Skills: validation of manifests, and the snapshot of installed skills that the compiler resolves
//! against.

mod operation;
mod registry;

pub use operation::{CompiledOperation, SECRET};
pub use registry::{Registry, ResolveError};

use crate::{canonical, schema::Schema, suggest::Suggestions};
use contracts::{
    Code, Digest, Issue,
    capability::{CONTRACTS_VERSION, Capability},
    limits::{NAME_BYTES_MAX, SKILL_OPERATIONS_MAX},
    manifest::{BindingKind, Manifest, SCHEMA_VERSION, VersionRange},
};
use semver::{Version, VersionReq};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A validated manifest with its schemas compiled.
#[derive(Debug)]
pub struct Skill {
    manifest: Manifest,
    version: Version,
    digest: Digest,
    operations: BTreeMap<String, Arc<CompiledOperation>>,
}

/// sha256(JCS(manifest without `signature`)), which plans pin. Signing a skill again does not
/// change it.
pub fn manifest_digest(manifest: &Manifest) -> Result<Digest, canonical::CanonicalError> {
    canonical::digest(&Manifest { signature: None, ..manifest.clone() })
}

impl Skill {
    /// Validates a manifest against `schemaVersion` 1.0.0 and compiles it. Returns all issues
    /// together.
    pub fn new(manifest: Manifest) -> Result<Self, (Code, Vec<Issue>)> {
        if manifest.schema_version != SCHEMA_VERSION {
            let message = format!("`{}` is not {SCHEMA_VERSION}", manifest.schema_version);
            return Err((
                Code::SchemaVersionInvalid,
                vec![Issue::new("/manifest/schemaVersion", message)],
            ));
        }
        let invalid = |issues| (Code::ManifestInvalid, issues);
        let version = Version::parse(&manifest.skill.version).map_err(|error| {
            invalid(vec![Issue::new(
                "/manifest/skill/version",
                format!("not a semantic version: {error}"),
            )])
        })?;
        let digest = manifest_digest(&manifest)
            .map_err(|error| invalid(vec![Issue::new("/manifest", error.to_string())]))?;
        let mut issues = Vec::new();
        if !is_key(&manifest.skill.key) {
            issues.push(Issue::new("/manifest/skill/key", KEY_FORM));
        }
        issues.extend(
            manifest
                .budget
                .iter()
                .flat_map(|budget| crate::plan::check_currencies(budget, "/manifest/budget")),
        );
        if manifest.operations.is_empty() || manifest.operations.len() > SKILL_OPERATIONS_MAX {
            issues.push(Issue::new(
                "/manifest/operations",
                format!("1 to {SKILL_OPERATIONS_MAX} operations"),
            ));
        }
        let mut operations = BTreeMap::new();
        for (index, spec) in manifest.operations.iter().enumerate() {
            let at = format!("/manifest/operations/{index}");
            match operation::compile(spec, &manifest, &at) {
                Ok(operation) => {
                    if operations.insert(spec.key.clone(), Arc::new(operation)).is_some() {
                        issues.push(Issue::new(
                            format!("{at}/key"),
                            format!("`{}` stands here twice", spec.key),
                        ));
                    }
                }
                Err(found) => issues.extend(found),
            }
        }
        for (index, playbook) in manifest.playbooks.iter().enumerate() {
            let at = format!("/manifest/playbooks/{index}");
            match Schema::compile(&playbook.input_schema) {
                Ok(schema) => issues.extend(crate::playbook::check(playbook, &schema, &at)),
                Err(message) => issues.push(Issue::new(format!("{at}/inputSchema"), message)),
            }
            if !is_key(&playbook.key) {
                issues.push(Issue::new(format!("{at}/key"), KEY_FORM));
            }
        }
        if issues.is_empty() {
            Ok(Self { manifest, version, digest, operations })
        } else {
            Err(invalid(issues))
        }
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// [`manifest_digest`].
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
    /// Its version.
    pub fn version(&self) -> &Version {
        &self.version
    }
    /// One of its operations.
    pub fn operation(&self, key: &str) -> Option<&Arc<CompiledOperation>> {
        self.operations.get(key)
    }
    /// All its operations, by key.
    pub fn operations(&self) -> &BTreeMap<String, Arc<CompiledOperation>> {
        &self.operations
    }

    /// Whether a control plane with these capabilities and bindings can run the skill.
    pub fn compatibility(
        &self,
        control_plane: &Version,
        offered: &[Capability],
        bindings: &BTreeSet<BindingKind>,
    ) -> Vec<(Code, Issue)> {
        let needs = &self.manifest.compatibility;
        let mut found = Vec::new();
        let contracts = Version::parse(CONTRACTS_VERSION).unwrap_or(Version::new(0, 0, 0));
        range(
            needs.contracts_spec.as_ref(),
            &contracts,
            "contractsSpec",
            [
                Code::ContractsSpecVersionMissing,
                Code::ContractsSpecTooOld,
                Code::ContractsSpecTooNew,
            ],
            &mut found,
        );
        range(
            needs.control_plane_feature.as_ref(),
            control_plane,
            "controlPlaneFeature",
            [Code::ControlPlaneVersionMissing, Code::ControlPlaneTooOld, Code::ControlPlaneTooNew],
            &mut found,
        );
        for (index, capability) in needs.required_capabilities.iter().enumerate() {
            let there = offered.iter().any(|offer| offer.key() == capability.key);
            let version = capability.version.as_deref().map(VersionReq::parse);
            let fits = match version {
                None => true,
                Some(Ok(wanted)) => wanted.matches(&contracts),
                Some(Err(_)) => false,
            };
            if !there || !fits {
                let pointer = format!("/manifest/compatibility/requiredCapabilities/{index}");
                let message =
                    format!("this deployment does not offer `{}` as asked for", capability.key);
                found.push((Code::CapabilityMissing, Issue::new(pointer, message)));
            }
        }
        for (index, operation) in self.manifest.operations.iter().enumerate() {
            let kind = operation.binding.kind();
            if !bindings.contains(&kind) {
                let pointer = format!("/manifest/operations/{index}/binding/kind");
                let message = format!("this deployment does not call tools by `{kind}`");
                found.push((Code::CapabilityMissing, Issue::new(pointer, message)));
            }
        }
        found
    }
}

fn range(
    wanted: Option<&VersionRange>,
    ours: &Version,
    name: &str,
    [missing, old, new]: [Code; 3],
    found: &mut Vec<(Code, Issue)>,
) {
    let Some(wanted) = wanted else { return };
    let pointer = format!("/manifest/compatibility/{name}");
    let bound = |text: &Option<String>| text.as_deref().map(Version::parse).transpose();
    match (bound(&wanted.min_version), bound(&wanted.max_version)) {
        (Ok(None), Ok(None)) | (Err(_), _) | (_, Err(_)) => {
            found.push((missing, Issue::new(pointer, "states no semantic version as a bound")));
        }
        (Ok(min), Ok(max)) => {
            if let Some(min) = min.filter(|min| ours < min) {
                found.push((
                    old,
                    Issue::new(pointer.clone(), format!("needs {min} or later; this is {ours}")),
                ));
            }
            if let Some(max) = max.filter(|max| ours > max) {
                found.push((
                    new,
                    Issue::new(pointer, format!("needs {max} or earlier; this is {ours}")),
                ));
            }
        }
    }
}

const KEY_FORM: &str =
    "a key is 1 to 64 lower-case letters, digits, `-`, `_` or `.`, and begins with a letter";

fn is_key(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')
        })
}
