//! Identifiers. Each kind is its own type, so that one cannot stand for another.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::{borrow::Cow, fmt, marker::PhantomData};

/// What an identifier names: its prefix on the wire.
pub trait Kind {
    /// Prefix with its underscore, for example `exe_`.
    const PREFIX: &'static str;
    /// Name in schemas.
    const NAME: &'static str;
}

/// A prefixed identifier: the kind's prefix and 32 lower-case hexadecimal digits.
pub struct Id<K>(String, PhantomData<fn() -> K>);

/// Why a text is not an identifier, digest or name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: Cow<'static, str>,
}

impl<K: Kind> Id<K> {
    /// From 16 bytes, which the caller drew or derived.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(K::PREFIX.len() + 32);
        text.push_str(K::PREFIX);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text, PhantomData)
    }
    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<K: Kind> std::str::FromStr for Id<K> {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        match text.strip_prefix(K::PREFIX) {
            Some(rest) if is_hex(rest, 32) => Ok(Self(text.to_owned(), PhantomData)),
            _ => Err(ParseIdError {
                text: clip(text),
                expected: format!("of the form {}<32 hexadecimal digits>", K::PREFIX).into(),
            }),
        }
    }
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl<K> Serialize for Id<K> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
impl<K: Kind> schemars::JsonSchema for Id<K> {
    fn schema_name() -> Cow<'static, str> {
        K::NAME.into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string",
            "pattern": format!("^{}[0-9a-f]{{32}}$", K::PREFIX) })
    }
}

/// Names an execution.
pub enum ExecutionKind {}
impl Kind for ExecutionKind {
    const PREFIX: &'static str = "exe_";
    const NAME: &'static str = "ExecutionId";
}
/// Names an intent.
pub enum IntentKind {}
impl Kind for IntentKind {
    const PREFIX: &'static str = "int_";
    const NAME: &'static str = "IntentId";
}
/// Names a plan: the first 32 digits of its digest.
pub enum PlanKind {}
impl Kind for PlanKind {
    const PREFIX: &'static str = "pln_";
    const NAME: &'static str = "PlanId";
}
/// Names a run: one start of a plan.
pub enum RunKind {}
impl Kind for RunKind {
    const PREFIX: &'static str = "run_";
    const NAME: &'static str = "RunId";
}
/// Names an approval.
pub enum ApprovalKind {}
impl Kind for ApprovalKind {
    const PREFIX: &'static str = "apr_";
    const NAME: &'static str = "ApprovalId";
}
/// Names an installation of a skill.
pub enum InstallationKind {}
impl Kind for InstallationKind {
    const PREFIX: &'static str = "ins_";
    const NAME: &'static str = "InstallationId";
}

/// Names an execution.
pub type ExecutionId = Id<ExecutionKind>;
/// Names an intent.
pub type IntentId = Id<IntentKind>;
/// Names a plan.
pub type PlanId = Id<PlanKind>;
/// Names a run.
pub type RunId = Id<RunKind>;
/// Names an approval.
pub type ApprovalId = Id<ApprovalKind>;
/// Names an installation of a skill.
pub type InstallationId = Id<InstallationKind>;

/// A SHA-256 digest: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// From the 32 bytes of a SHA-256 hash.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                text.push(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0') as char);
            }
        }
        Self(text)
    }
    /// The digest before the first event of every chain: 64 zeros.
    pub fn zero() -> Self {
        Self::from_bytes([0; 32])
    }
    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The 64 digits without their prefix.
    pub fn hex(&self) -> &str {
        self.0.get(7..).unwrap_or_default()
    }
    /// The first 16 bytes, for identifiers derived from a digest.
    pub fn short(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(self.hex().as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(pair)
                .ok()
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .unwrap_or(0);
        }
        bytes
    }
}

impl std::str::FromStr for Digest {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        match text.strip_prefix("sha256:") {
            Some(rest) if is_hex(rest, 64) => Ok(Self(text.to_owned())),
            _ => Err(ParseIdError {
                text: clip(text),
                expected: "of the form sha256:<64 hexadecimal digits>".into(),
            }),
        }
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
impl schemars::JsonSchema for Digest {
    fn schema_name() -> Cow<'static, str> {
        "Digest".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" })
    }
}

/// A name that people choose: a step, a workspace. ASCII letters, digits, `_`, `-`, `.`; at most 64
/// bytes.
pub struct Name<K>(std::sync::Arc<str>, PhantomData<fn() -> K>);

impl<K> Name<K> {
    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl<K> std::str::FromStr for Name<K> {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        // Names are folders of exports and paths of URLs, too, where dots alone climb.
        let climbs = matches!(text, "." | "..");
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) && !climbs {
            Ok(Self(text.into(), PhantomData))
        } else {
            Err(ParseIdError {
                text: clip(text),
                expected: "a name of 1 to 64 ASCII letters, digits, `_`, `-` or `.`".into(),
            })
        }
    }
}
impl<K> Clone for Name<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}
impl<K> PartialEq for Name<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Name<K> {}
impl<K> PartialOrd for Name<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Name<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> std::hash::Hash for Name<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K> std::borrow::Borrow<str> for Name<K> {
    fn borrow(&self) -> &str {
        &self.0
    }
}
impl<K> fmt::Debug for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl<K> fmt::Display for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl<K> Serialize for Name<K> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
impl<'de, K> Deserialize<'de> for Name<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
impl<K> schemars::JsonSchema for Name<K> {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" })
    }
}

/// Names a step within its plan.
pub enum StepKind {}
/// Names a workspace.
pub enum WorkspaceKind {}
/// Names a step within its plan.
pub type StepId = Name<StepKind>;
/// Names a workspace: the tenant.
pub type WorkspaceId = Name<WorkspaceKind>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_refuse_other_kinds_and_other_text() {
        let id = ExecutionId::from_bytes([0xab; 16]);
        assert_eq!(id.as_str().parse::<ExecutionId>().unwrap(), id);
        for bad in [
            "",
            "exe_",
            "int_abababababababababababababababab",
            "exe_ABABABABABABABABABABABABABABABAB",
            "exe_ab/..",
        ] {
            assert!(bad.parse::<ExecutionId>().is_err(), "{bad}");
        }
        for bad in ["", "a b", "a#b", "ü", "a/b", ".", ".."] {
            assert!(bad.parse::<StepId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_keeps_its_bytes() {
        let digest = Digest::from_bytes([7; 32]);
        assert_eq!(digest.short(), [7; 16]);
        assert_eq!(digest.as_str().parse::<Digest>().unwrap(), digest);
    }
}
