//! What was checked, and what was found.

use contracts::{Timestamp, evidence::Receipt};
use serde::Serialize;
use std::{collections::BTreeSet, fmt};

/// Findings that a report lists; more are counted.
const LISTED_MAX: usize = 100;

/// What is wrong, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// A file or line has not the form of evidence.
    Unreadable,
    /// A note is signed by no key that was given.
    UnknownKey,
    /// A signature does not verify.
    Forged,
    /// The manifest is not the one that its note signs.
    ManifestChanged,
    /// An export is not there.
    ExportMissing,
    /// An export is not the one that the next one follows.
    ExportSwapped,
    /// A file is not there, or not the one that the manifest names.
    FileChanged,
    /// An event's content does not have its hash.
    EventChanged,
    /// An event is not there.
    EventMissing,
    /// An event does not follow the one before it.
    EventUnlinked,
    /// A stream ends before the end that the manifest or the log names.
    TailCut,
    /// An execution that the log names is not there, or not so.
    ExecutionMissing,
    /// An execution that ended does not stand in the log.
    ExecutionUnlogged,
    /// A document does not have its digest.
    DocumentChanged,
    /// The entries do not give the root of the checkpoint.
    LogChanged,
    /// Two checkpoints speak of different logs.
    LogForked,
    /// The log ends before a checkpoint that was kept elsewhere.
    LogCut,
    /// A line of a pack names an event that is not in its exports.
    PackLineMissing,
    /// A pack says something else than its exports.
    PackChanged,
    /// A receipt speaks of something else than the proof beside it.
    ReceiptChanged,
    /// A time lies before the one of the event or export before it.
    ClockBack,
    /// The control plane itself found it broken when it was exported.
    BrokenAtExport,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = serde_json::to_value(self).unwrap_or_default();
        f.write_str(word.as_str().unwrap_or_default())
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: Code,
    /// File, and stream and sequence number where it is about an event.
    pub place: String,
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// How much was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    pub workspaces: BTreeSet<String>,
    pub exports: u64,
    pub files: u64,
    pub events: u64,
    /// Executions of which there are events.
    pub executions: u64,
    pub documents: u64,
    /// Entries of transparency logs.
    pub entries: u64,
    /// Entries whose events are newer than the last export.
    pub newer: u64,
    /// Which control the pack is for that was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack: Option<String>,
    /// Lines of packs.
    #[serde(skip_serializing_if = "is_zero")]
    pub lines: u64,
    /// What the receipt says that was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// Size of the last checkpoint of each workspace that was checked.
    pub checkpoints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub checked: Checked,
    /// The first ones, in the order in which they were found.
    pub findings: Vec<Finding>,
    /// How many there are.
    pub found: u64,
}

impl Report {
    /// Whether everything is there and as it was.
    pub fn is_whole(&self) -> bool {
        self.found == 0
    }

    /// Notes what is wrong.
    pub fn add(&mut self, code: Code, place: impl Into<String>, message: impl Into<String>) {
        self.found += 1;
        if self.findings.len() < LISTED_MAX {
            let (place, message) = (place.into(), message.into());
            self.findings.push(Finding { code, place, message });
        }
    }

    pub(crate) fn saw(&mut self, at: Timestamp) {
        let Checked { first, last, .. } = &mut self.checked;
        *first = Some(first.map_or(at, |first| first.min(at)));
        *last = Some(last.map_or(at, |last| last.max(at)));
    }
}
