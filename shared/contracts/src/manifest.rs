//! The skill manifest, schema version `1.0.0`.

use crate::{
    Digest, Timestamp,
    draft::{Budget, Draft},
    verdict::{Effect, RiskTier},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The manifest schema version this control plane reads.
pub const SCHEMA_VERSION: &str = "1.0.0";
/// What an envelope's payload is.
pub const PAYLOAD_TYPE: &str = "application/vnd.countersign.skill+json";
/// The one algorithm of signatures.
pub const ALGORITHM: &str = "ed25519";

/// A skill: a bundle of operations and playbooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// `1.0.0`.
    pub schema_version: String,
    pub skill: SkillName,
    pub publisher: Publisher,
    pub artifact: Artifact,
    #[serde(default, skip_serializing_if = "Compatibility::is_empty")]
    pub compatibility: Compatibility,
    pub operations: Vec<Operation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub playbooks: Vec<Playbook>,
    /// What all its operations together may touch in one plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Who signs, and for how long. Inside the signed bytes; no part of the manifest's digest, so
    /// that a skill that is signed anew is the same skill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// What a signature says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signature {
    /// `ed25519`.
    pub algorithm: String,
    /// Names one of the publisher's pinned keys.
    pub key_id: String,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A signed manifest: a DSSE envelope (secure-systems-lab/dsse v1.0.2). What is signed is
/// `DSSEv1 <len> <payloadType> <len> <payload>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// [`PAYLOAD_TYPE`].
    pub payload_type: String,
    /// Base64 of the manifest's canonical JSON (RFC 8785).
    pub payload: String,
    /// Exactly one.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// A hint (DSSE): the key id that counts is the one inside the signed bytes, and the hint must
    /// say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
    /// Base64 of 64 bytes.
    pub sig: String,
}

/// Key and version of a skill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SkillName {
    /// Lower-case letters, digits, `-` and `.`; at most 64.
    pub key: String,
    /// Semantic version.
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Who made the skill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publisher {
    pub id: String,
    /// Where it was built, for example a repository and workflow.
    pub provenance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_url: Option<String>,
}

/// The bytes the manifest speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Artifact {
    pub digest: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ArtifactFile>,
}

/// One file of the artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactFile {
    pub path: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// What the skill needs of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Compatibility {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contracts_spec: Option<VersionRange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_feature: Option<VersionRange>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_capabilities: Vec<RequiredCapability>,
}

impl Compatibility {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Inclusive bounds, semantic versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionRange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_version: Option<String>,
}

/// A capability the skill needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequiredCapability {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// One typed thing that a skill can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    /// Lower-case words separated by dots, for example `refund.create`.
    pub key: String,
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema 2020-12 of the input, an object. `x-sensitive: true` on a property keeps its
    /// value out of evidence.
    pub input_schema: Value,
    /// JSON Schema 2020-12 of the output.
    pub output_schema: Value,
    pub effect: Effect,
    pub risk_tier: RiskTier,
    /// Grants the requester must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_grants: Vec<String>,
    /// JSON pointer into the input: what the operation acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blast_radius: Option<BlastRadius>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Compensate>,
    /// An operation of the same skill that tells whether a call with an unknown outcome took
    /// effect. It is sent `{"idempotencyKey"}` and answers `{"found": bool, "output"?}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// 1 to 900.
    pub timeout_seconds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    pub binding: Binding,
}

/// How much one call touches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlastRadius {
    /// Writes of one call. Default: 0 for `read`, else 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
    /// JSON pointer to recipients: a text counts its addresses (split at `,`, `;` and white space),
    /// an array or object its leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<String>,
}

/// Where the amount and the currency stand in the input. An amount that cannot be counted exactly
/// (absent, below zero, not exact, of no known currency) is unmeasured: it exceeds every limit, and
/// needs people where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Money {
    /// JSON pointer to the amount: an integer where the unit is `minor`, else an exact decimal.
    pub amount: String,
    /// JSON pointer to a text, or a currency of ISO 4217 in capitals.
    pub currency: String,
    #[serde(default, skip_serializing_if = "MoneyUnit::is_minor")]
    pub unit: MoneyUnit,
}

/// What an amount counts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum MoneyUnit {
    /// The smallest unit of the currency, for example cents; integers only.
    #[default]
    Minor,
    /// The currency itself: an integer, a number or a decimal text, converted exactly.
    Major,
}

impl MoneyUnit {
    fn is_minor(&self) -> bool {
        *self == Self::Minor
    }
}

/// What an output carries and what an input accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Labels {
    /// Labels of the output, for example `untrusted`, `pii`, `secret`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// Labels the input takes without raising the step. Default: all for `read`, none else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Vec<String>>,
    /// Labels that the input never takes, not even with people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refuses: Vec<String>,
}

/// How to undo a completed call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Compensate {
    /// Key of an operation of the same skill.
    pub operation: String,
    /// Field of its input ← JSON pointer into `{"input": ..., "output": ...}` of the step.
    pub input: BTreeMap<String, String>,
}

/// When to try again after an outcome that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// 1 to 20, the first included.
    pub max_attempts: u32,
    /// Wait before the second attempt; doubles with each.
    pub backoff_seconds: u32,
    pub max_backoff_seconds: u32,
}

/// How an operation's tool is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Binding {
    /// The input as the JSON body, the JSON answer as the output.
    Http {
        url: String,
        /// Default POST.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<String>,
    },
    Lambda {
        function_arn: String,
    },
    /// Output: `{"messageId"}`.
    Sqs {
        queue_url: String,
    },
    /// tools/call over streamable HTTP.
    Mcp {
        url: String,
        tool: String,
        schema_digest: Digest,
    },
}

/// How tools are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BindingKind {
    Http,
    Lambda,
    Sqs,
    Mcp,
}

impl std::fmt::Display for BindingKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Lambda => "lambda",
            Self::Sqs => "sqs",
            Self::Mcp => "mcp",
        })
    }
}

impl Binding {
    /// Its kind on the wire.
    pub const fn kind(&self) -> BindingKind {
        match self {
            Self::Http { .. } => BindingKind::Http,
            Self::Lambda { .. } => BindingKind::Lambda,
            Self::Sqs { .. } => BindingKind::Sqs,
            Self::Mcp { .. } => BindingKind::Mcp,
        }
    }
}

/// A named, parameterised draft: a plan that needs no language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Playbook {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// JSON Schema of the inputs.
    pub input_schema: Value,
    /// `{"$input": pointer}` anywhere in it takes a value of the inputs.
    pub draft: Draft,
}
