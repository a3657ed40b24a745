//! Skills: what a manifest must hold, and the snapshot of installed ones that the compiler resolves against.

use crate::{canonical, schema::Schema, schema_fit::Found, suggest::Suggestions};
use contracts::{
    Code, Digest, Issue,
    capability::{CONTRACTS_VERSION, Capability},
    limits::{NAME_BYTES_MAX, SKILL_OPERATIONS_MAX, STEP_ATTEMPTS_MAX, STEP_TIMEOUT_SECONDS_MAX},
    manifest::{Binding, Manifest, Money, MoneyUnit, Operation, SCHEMA_VERSION, VersionRange},
    plan::RetryPolicy,
    verdict::Effect,
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

/// One operation with its schemas compiled.
#[derive(Debug)]
pub struct CompiledOperation {
    pub spec: Operation,
    pub input: Schema,
    pub output: Schema,
    /// Labels the input takes; `None`: all but [`SECRET`].
    pub accepts: Option<BTreeSet<String>>,
    /// Labels the input never takes.
    pub refuses: BTreeSet<String>,
    pub retry: RetryPolicy,
}

/// The label of what goes nowhere unless an operation says that it takes it.
pub const SECRET: &str = "secret";

impl CompiledOperation {
    /// Whether its input takes what carries a label.
    pub fn accepts_label(&self, label: &str) -> bool {
        self.accepts.as_ref().map_or(label != SECRET, |accepted| accepted.contains(label))
    }
}

/// sha256(JCS(manifest without `signature`)): what a plan pins. A skill that is signed anew is the same skill.
pub fn manifest_digest(manifest: &Manifest) -> Result<Digest, canonical::NotCanonical> {
    canonical::digest(&Manifest { signature: None, ..manifest.clone() })
}

impl Skill {
    /// Validates a manifest against `schemaVersion` 1.0.0 and compiles it. All issues at once.
    pub fn new(manifest: Manifest) -> Result<Self, (Code, Vec<Issue>)> {
        if manifest.schema_version != SCHEMA_VERSION {
            let message = format!("`{}` is not {SCHEMA_VERSION}", manifest.schema_version);
            return Err((Code::SchemaVersionInvalid, vec![Issue::new("/manifest/schemaVersion", message)]));
        }
        let invalid = |issues| (Code::ManifestInvalid, issues);
        let version = Version::parse(&manifest.skill.version).map_err(|error| {
            invalid(vec![Issue::new("/manifest/skill/version", format!("not a semantic version: {error}"))])
        })?;
        let digest =
            manifest_digest(&manifest).map_err(|error| invalid(vec![Issue::new("/manifest", error.to_string())]))?;
        let mut issues = Vec::new();
        if !is_key(&manifest.skill.key) {
            issues.push(Issue::new("/manifest/skill/key", KEY_FORM));
        }
        issues.extend(
            manifest.budget.iter().flat_map(|budget| crate::plan::check_currencies(budget, "/manifest/budget")),
        );
        if manifest.operations.is_empty() || manifest.operations.len() > SKILL_OPERATIONS_MAX {
            issues.push(Issue::new("/manifest/operations", format!("1 to {SKILL_OPERATIONS_MAX} operations")));
        }
        let mut operations = BTreeMap::new();
        for (index, spec) in manifest.operations.iter().enumerate() {
            let at = format!("/manifest/operations/{index}");
            if let Some(operation) = compile_operation(spec, &manifest, &at, &mut issues)
                && operations.insert(spec.key.clone(), Arc::new(operation)).is_some()
            {
                issues.push(Issue::new(format!("{at}/key"), format!("`{}` stands here twice", spec.key)));
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
        if issues.is_empty() { Ok(Self { manifest, version, digest, operations }) } else { Err(invalid(issues)) }
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

    /// Whether this control plane, with these capabilities, can carry the skill.
    pub fn compatibility(&self, control_plane: &Version, offered: &[Capability]) -> Vec<(Code, Issue)> {
        let needs = &self.manifest.compatibility;
        let mut found = Vec::new();
        let contracts = Version::parse(CONTRACTS_VERSION).unwrap_or(Version::new(0, 0, 0));
        range(
            needs.contracts_spec.as_ref(),
            &contracts,
            "contractsSpec",
            [Code::ContractsSpecVersionMissing, Code::ContractsSpecTooOld, Code::ContractsSpecTooNew],
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
                let message = format!("this deployment does not offer `{}` as asked for", capability.key);
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
                found.push((old, Issue::new(pointer.clone(), format!("needs {min} or later; this is {ours}"))));
            }
            if let Some(max) = max.filter(|max| ours > max) {
                found.push((new, Issue::new(pointer, format!("needs {max} or earlier; this is {ours}"))));
            }
        }
    }
}

const KEY_FORM: &str = "a key is 1 to 64 lower-case letters, digits, `-`, `_` or `.`, and begins with a letter";

fn is_key(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

fn compile_operation(
    spec: &Operation,
    manifest: &Manifest,
    at: &str,
    issues: &mut Vec<Issue>,
) -> Option<CompiledOperation> {
    let before = issues.len();
    let mut bad = |place: &str, message: String| issues.push(Issue::new(format!("{at}/{place}"), message));
    if !is_key(&spec.key) {
        bad("key", KEY_FORM.into());
    }
    let input = Schema::compile(&spec.input_schema).map_err(|message| bad("inputSchema", message)).ok();
    let output = Schema::compile(&spec.output_schema).map_err(|message| bad("outputSchema", message)).ok();
    if let Some(input) = &input {
        if input.source().get("type").and_then(|kind| kind.as_str()) != Some("object") {
            bad("inputSchema/type", "an input is an object: state `\"type\": \"object\"`".into());
        }
        let radius = spec.blast_radius.as_ref();
        let money = radius.and_then(|radius| radius.money.as_ref());
        let pointers = [
            ("resource", spec.resource.as_ref()),
            ("blastRadius/recipients", radius.and_then(|radius| radius.recipients.as_ref())),
            ("blastRadius/money/amount", money.map(|money| &money.amount)),
            ("blastRadius/money/currency", money.map(|money| &money.currency).filter(|code| code.starts_with('/'))),
        ];
        for (place, pointer) in pointers.into_iter().filter_map(|(place, pointer)| Some((place, pointer?))) {
            if !input.at(pointer).is_declared() {
                bad(place, format!("the input schema has no `{pointer}`"));
            }
        }
        if let Some(money) = money {
            check_money(money, input, &mut bad);
        }
    }
    let labels = spec
        .labels
        .iter()
        .flat_map(|labels| labels.output.iter().chain(labels.accepts.iter().flatten()).chain(&labels.refuses));
    let names = spec.required_grants.iter().map(|name| ("requiredGrants", name));
    for (place, name) in names.chain(labels.map(|name| ("labels", name))) {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            bad(place, format!("a name of 1 to {NAME_BYTES_MAX} bytes"));
        }
    }
    if !(1..=STEP_TIMEOUT_SECONDS_MAX).contains(&spec.timeout_seconds) {
        bad("timeoutSeconds", format!("1 to {STEP_TIMEOUT_SECONDS_MAX} seconds"));
    }
    if spec.retry.as_ref().is_some_and(|retry| !(1..=STEP_ATTEMPTS_MAX).contains(&retry.max_attempts)) {
        bad("retry/maxAttempts", format!("1 to {STEP_ATTEMPTS_MAX}"));
    }
    let sibling = |key: &str| manifest.operations.iter().find(|other| other.key == key);
    if let Some(probe) = &spec.probe
        && sibling(probe).is_none_or(|probe| probe.effect != Effect::Read)
    {
        bad("probe", format!("`{probe}` is not an operation of this skill with effect `read`"));
    }
    if let Some(compensate) = &spec.compensate {
        let undo = sibling(&compensate.operation);
        let wanted = undo.and_then(|undo| undo.input_schema.get("required")?.as_array());
        for field in wanted.into_iter().flatten().filter_map(serde_json::Value::as_str) {
            if !compensate.input.contains_key(field) {
                bad(
                    "compensate/input",
                    format!("`{}` requires `{field}`, which nothing gives", compensate.operation),
                );
            }
        }
        if sibling(&compensate.operation).is_none_or(|undo| undo.effect == Effect::Read) {
            bad(
                "compensate/operation",
                format!("`{}` is not a writing operation of this skill", compensate.operation),
            );
        }
        for (field, pointer) in &compensate.input {
            let place = format!("compensate/input/{field}");
            let found = match (pointer.strip_prefix("/input"), pointer.strip_prefix("/output"), &input, &output) {
                (Some(rest), _, Some(input), _) => input.at(rest),
                (_, Some(rest), _, Some(output)) => output.at(rest),
                _ => Found::Nothing(Vec::new()),
            };
            if !found.is_declared() {
                bad(&place, format!("`{pointer}` is neither in /input nor in /output of this operation"));
            }
        }
    }
    match &spec.binding {
        Binding::Http { url, method } => {
            if !(url.starts_with("https://") || url.starts_with("http://")) {
                bad("binding/url", "an http or https URL".into());
            }
            if method.as_deref().is_some_and(|method| !matches!(method, "POST" | "PUT" | "PATCH" | "DELETE")) {
                bad("binding/method", "POST, PUT, PATCH or DELETE".into());
            }
        }
        Binding::Mcp { url, .. } if !(url.starts_with("https://") || url.starts_with("http://")) => {
            bad("binding/url", "an http or https URL".into());
        }
        Binding::Mcp { .. } | Binding::Lambda { .. } | Binding::Sqs { .. } => {}
    }
    let (Some(input), Some(output), true) = (input, output, issues.len() == before) else {
        return None;
    };
    let declared = spec.labels.as_ref().and_then(|labels| labels.accepts.clone());
    let accepts = match (declared, spec.effect) {
        (Some(list), _) => Some(list.into_iter().collect()),
        (None, Effect::Read) => None,
        (None, Effect::Idempotent | Effect::NonIdempotent) => Some(BTreeSet::new()),
    };
    // Repeating is safe for these two; a lost non-idempotent call is never repeated on its own.
    let attempts = if spec.effect == Effect::NonIdempotent { 1 } else { 3 };
    let retry = spec.retry.as_ref().map_or(
        RetryPolicy { max_attempts: attempts, backoff_seconds: 1, max_backoff_seconds: 30 },
        |retry| RetryPolicy {
            max_attempts: retry.max_attempts,
            backoff_seconds: retry.backoff_seconds,
            max_backoff_seconds: retry.max_backoff_seconds.max(retry.backoff_seconds),
        },
    );
    let refuses = spec.labels.iter().flat_map(|labels| labels.refuses.iter().cloned()).collect();
    Some(CompiledOperation { spec: spec.clone(), input, output, accepts, refuses, retry })
}

/// Longest `skill/operation@range`, in bytes.
const REFERENCE_BYTES_MAX: usize = 3 * NAME_BYTES_MAX;
/// Installed versions that a message lists: the latest.
const VERSIONS_LISTED: usize = 10;

// What can never be measured is refused here; what may be, is looked at with each input.
fn check_money(money: &Money, input: &Schema, bad: &mut impl FnMut(&str, String)) {
    if let Some(why) = crate::plan::measure::stated_currency(money).and_then(crate::currency::fault) {
        bad("blastRadius/money/currency", format!("{why}; or a JSON pointer into the input"));
    }
    let kinds = |found: Found<'_>| match found {
        Found::Schema(schema) => match schema.get("type") {
            Some(serde_json::Value::String(one)) => vec![one.clone()],
            Some(serde_json::Value::Array(many)) => {
                many.iter().filter_map(|kind| kind.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        },
        Found::Anything | Found::Unnamed(_) | Found::Nothing(_) => Vec::new(),
    };
    let kinds = kinds(input.at(&money.amount));
    let (allowed, said): (&[&str], _) = match money.unit {
        MoneyUnit::Minor => (
            &["integer"],
            "minor units are counted, so the schema there says `\"type\": \"integer\"`; else state `\"unit\": \"major\"`",
        ),
        MoneyUnit::Major => (
            &["integer", "number", "string"],
            "an exact decimal: the schema there says `integer`, `number` or `string`",
        ),
    };
    if kinds.is_empty() || kinds.iter().any(|kind| !allowed.contains(&kind.as_str())) {
        bad("blastRadius/money/amount", said.to_owned());
    }
}

/// The enabled skills of a workspace at one moment. The compiler sees nothing else of the world.
#[derive(Debug, Default)]
pub struct Registry {
    skills: BTreeMap<String, BTreeMap<Version, Arc<Skill>>>,
}

/// Why a reference does not resolve.
#[derive(Debug, PartialEq, Eq)]
pub struct Unresolved {
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

    /// Resolves `skill/name@range` to the highest installed version that fits; pre-releases only if the range names
    /// one.
    pub fn resolve<'r>(
        &'r self,
        reference: &'r str,
        suggestions: &mut Suggestions,
    ) -> Result<(&'r Arc<Skill>, &'r str), Unresolved> {
        let unresolved = |code, message| Unresolved { code, message };
        if reference.len() > REFERENCE_BYTES_MAX {
            return Err(unresolved("BAD_REFERENCE", format!("a reference has at most {REFERENCE_BYTES_MAX} bytes")));
        }
        let (path, range) = match reference.split_once('@') {
            Some((path, range)) => (path, VersionReq::parse(range)),
            None => (reference, Ok(VersionReq::STAR)),
        };
        let range = range.map_err(|error| {
            unresolved("BAD_RANGE", format!("`{reference}`: the version range cannot be read: {error}"))
        })?;
        let Some((key, name)) = path.split_once('/') else {
            return Err(unresolved(
                "BAD_REFERENCE",
                format!("`{reference}` is not of the form skill/operation@range"),
            ));
        };
        let Some(versions) = self.skills.get(key) else {
            let near = suggestions.nearest(key, self.skills.keys().map(String::as_str));
            return Err(unresolved("UNKNOWN_SKILL", format!("no skill `{key}` is installed{near}")));
        };
        match versions.iter().rev().find(|(version, _)| range.matches(version)) {
            Some((_, skill)) => Ok((skill, name)),
            None => {
                let latest = versions.len().saturating_sub(VERSIONS_LISTED);
                let there: Vec<String> = versions.keys().skip(latest).map(Version::to_string).collect();
                let message =
                    format!("no installed version of `{key}` fits `{range}`; there is {}", there.join(", "));
                Err(unresolved("NO_VERSION_FITS", message))
            }
        }
    }
}
