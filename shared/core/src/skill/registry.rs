//! The enabled skills of a workspace, by key and version, and how references resolve to them.

use super::*;

/// The enabled skills of a workspace at one moment: the only external state that the compiler
/// reads.
#[derive(Debug, Default)]
pub struct Registry {
    skills: BTreeMap<String, BTreeMap<Version, Arc<Skill>>>,
}

/// Why a reference does not resolve.
#[derive(Debug, PartialEq, Eq)]
pub struct ResolveError {
    pub code: &'static str,
    pub message: String,
}

impl Registry {
    /// A snapshot of these skills.
    pub fn new(skills: impl IntoIterator<Item = Arc<Skill>>) -> Self {
        let mut registry = Self::default();
        for skill in skills {
            let versions = registry.skills.entry(skill.manifest.skill.key.clone()).or_default();
            versions.insert(skill.version.clone(), skill);
        }
        registry
    }

    /// Every skill, by key and version.
    pub fn skills(&self) -> impl Iterator<Item = &Arc<Skill>> {
        self.skills.values().flat_map(BTreeMap::values)
    }

    /// One skill at exactly one version.
    pub fn exact(&self, key: &str, version: &str) -> Option<&Arc<Skill>> {
        self.skills.get(key)?.get(&Version::parse(version).ok()?)
    }

    /// Resolves `skill/name@range` to the highest installed version that matches; pre-releases only
    /// if the range names one.
    pub fn resolve<'r>(
        &'r self,
        reference: &'r str,
        suggestions: &mut Suggestions,
    ) -> Result<(&'r Arc<Skill>, &'r str), ResolveError> {
        let unresolved = |code, message| ResolveError { code, message };
        if reference.len() > REFERENCE_BYTES_MAX {
            return Err(unresolved(
                "BAD_REFERENCE",
                format!("a reference has at most {REFERENCE_BYTES_MAX} bytes"),
            ));
        }
        let (path, range) = match reference.split_once('@') {
            Some((path, range)) => (path, VersionReq::parse(range)),
            None => (reference, Ok(VersionReq::STAR)),
        };
        let range = range.map_err(|error| {
            unresolved(
                "BAD_RANGE",
                format!("`{reference}`: the version range cannot be read: {error}"),
            )
        })?;
        let Some((key, name)) = path.split_once('/') else {
            return Err(unresolved(
                "BAD_REFERENCE",
                format!("`{reference}` is not of the form skill/operation@range"),
            ));
        };
        let Some(versions) = self.skills.get(key) else {
            let near = suggestions.nearest(key, self.skills.keys().map(String::as_str));
            return Err(unresolved(
                "UNKNOWN_SKILL",
                format!("no skill `{key}` is installed{near}"),
            ));
        };
        match versions.iter().rev().find(|(version, _)| range.matches(version)) {
            Some((_, skill)) => Ok((skill, name)),
            None => {
                let latest = versions.len().saturating_sub(VERSIONS_LISTED);
                let there: Vec<String> =
                    versions.keys().skip(latest).map(Version::to_string).collect();
                let message = format!(
                    "no installed version of `{key}` fits `{range}`; there is {}",
                    there.join(", ")
                );
                Err(unresolved("NO_VERSION_FITS", message))
            }
        }
    }
}

/// Longest `skill/operation@range`, in bytes.
const REFERENCE_BYTES_MAX: usize = 3 * NAME_BYTES_MAX;

/// Installed versions that a message lists: the latest.
const VERSIONS_LISTED: usize = 10;
