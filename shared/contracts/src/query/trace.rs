//! Traces and the workspace log, verified and replayed.

use crate::{Digest, ExecutionId, RunId, StepId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// controlPlane.trace.get
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetTrace {
    pub execution_id: ExecutionId,
    /// Include inputs and outputs (sensitive values as commitments).
    #[serde(default)]
    pub include_payloads: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    pub execution_id: ExecutionId,
    pub entries: Vec<TraceEntry>,
    pub head: TraceHead,
    /// With `includePayloads`: output of each completed step.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub payloads: Map<String, Value>,
    /// Commitments to the sensitive values of those outputs, by JSON pointer; the outputs are null
    /// there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seals: BTreeMap<String, BTreeMap<String, Digest>>,
    /// Steps whose outputs are left out, because those before them fill the answer (4 MiB).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payloads_omitted: Vec<StepId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// One entry, with everything its hash covers in `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceEntry {
    pub seq: u64,
    pub timestamp: Timestamp,
    /// `intent`, `plan`, `execution`, `step` or `approval`; in the workspace log `key`, `skill`,
    /// `policy` and the like.
    pub stage: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// The last word of the type.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// The API key that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// For whom the actor acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How the actor was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The event's data.
    pub metadata: Value,
    pub prev: Digest,
    pub hash: Digest,
    /// The stored entry: hash it again without `hash` (RFC 8785, SHA-256).
    pub event: Value,
}

impl TraceEntry {
    /// What happened, if this version knows such an event.
    pub fn known_event(&self) -> Option<crate::event::Event> {
        let event = serde_json::json!({ "type": self.kind, "data": self.metadata });
        crate::event::Event::deserialize(event).ok()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceHead {
    pub seq: u64,
    pub hash: Digest,
    /// Nothing can be added any more: it has ended, no call of it is in doubt, and nothing of it
    /// can be tried again.
    pub sealed: bool,
}

/// controlPlane.workspace.log
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetWorkspaceLog {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A page of the workspace log, in order; each entry in the shape of a trace's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceLog {
    pub entries: Vec<TraceEntry>,
    /// Where the log ends now. It is never sealed.
    pub head: TraceHead,
    /// Whether the entries of this page follow one another and the entry before them, each with the
    /// hash of its content.
    pub verified: bool,
    /// Where they do not, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Events that are committed and wait to be chained, at least.
    pub waiting: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// controlPlane.trace.replay
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplayTrace {
    pub execution_id: ExecutionId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    pub execution_id: ExecutionId,
    pub matches: bool,
    pub differences: Vec<Difference>,
    /// What was compared.
    pub checked: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// The first difference of one comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// `chain`, `state`, `plan`, `verdict` or `view`.
    pub check: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Where.
    pub path: String,
    pub stored: Value,
    pub replayed: Value,
}
