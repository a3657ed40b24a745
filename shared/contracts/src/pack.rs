//! Packs: the lines of exports that an auditor asks for under one control, each with the place of
//! its proof.

use crate::{Digest, Stream, Timestamp, WorkspaceId, event::ActorKind};
use serde::{Deserialize, Serialize};

/// What the format of a pack is called.
pub const PACK_FORMAT: &str = "countersign/pack/1";

/// What an auditor asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Regulation (EU) 2024/1689, article 12: record-keeping.
    #[serde(rename = "eu-ai-act-12")]
    EuAiAct12,
    /// Regulation (EU) 2024/1689, article 14: human oversight.
    #[serde(rename = "eu-ai-act-14")]
    EuAiAct14,
    /// Trust services criteria CC7: system operations.
    #[serde(rename = "soc2-cc7")]
    Soc2Cc7,
    /// ISO/IEC 42001: management system for artificial intelligence.
    #[serde(rename = "iso42001")]
    Iso42001,
}

impl Control {
    /// Name on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EuAiAct12 => "eu-ai-act-12",
            Self::EuAiAct14 => "eu-ai-act-14",
            Self::Soc2Cc7 => "soc2-cc7",
            Self::Iso42001 => "iso42001",
        }
    }
}

/// What `pack.json` says. All of it follows from the exports beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pack {
    /// [`PACK_FORMAT`].
    pub format: String,
    pub control: Control,
    pub workspace_id: WorkspaceId,
    /// The period's first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
    pub exports: PackExports,
    /// What is wrong with the exports: empty where they are whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// Events in the period that this version cannot read: they are in no group.
    #[serde(default, skip_serializing_if = "crate::is_zero")]
    pub unread: u64,
    pub figures: Vec<PackFigure>,
    pub groups: Vec<PackGroup>,
}

/// The exports that a pack rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackExports {
    /// Number of the first.
    pub first: u64,
    pub last: u64,
    /// Up to when the last one took what had come.
    pub to: Timestamp,
}

/// A count of events in the period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackFigure {
    pub name: String,
    pub count: u64,
}

/// What the control asks for, and the lines that answer it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackGroup {
    pub title: String,
    /// What the control asks for, in short.
    pub asks: String,
    /// In the order of time.
    pub lines: Vec<PackLine>,
}

/// One event, and what it says for the control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackLine {
    pub stream: Stream,
    /// Sequence number in the stream.
    pub seq: u64,
    /// Hash of the event.
    pub hash: Digest,
    /// Number of the export that has it.
    pub export: u64,
    pub at: Timestamp,
    /// Type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who acted.
    pub actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_kind: Option<ActorKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    pub facts: Vec<PackFact>,
}

/// Something that a line says. Its value is foreign text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackFact {
    pub name: String,
    pub value: String,
}
