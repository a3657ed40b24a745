//! The log of a run: how often each invariant was checked and whether it held, and how often each
//! kind of fault occurred.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::Mutex,
};

/// The invariants of the design, by their names.
pub const INVARIANTS: [&str; 23] = [
    "no-effect-without-plan",
    "fail-closed",
    "high-risk-never-autonomous",
    "same-input-same-plan",
    "approval-binds-digest",
    "claim-is-one-transaction",
    "fenced",
    "unknown-is-not-failed",
    "append-only",
    "replayable",
    "identity-from-transport",
    "tenant-walls",
    "get-never-mutates",
    "same-command-twice",
    "no-secrets-in-evidence",
    "one-gate",
    "data-is-never-control",
    "unmeasured-is-not-small",
    "bounded-work",
    "seen-is-signed",
    "context-is-fresh",
    "authority-is-on-record",
    "unknown-names-are-refused",
];

/// Kinds of faults, each decided by the seed; a test fails if one of them never occurs.
pub const STORMS: [&str; 52] = [
    "vote: withdrawn",
    "undo: after a failure",
    "undo: after a cancellation",
    "undo: done",
    "undo: refused by its tool",
    "undo: its answer lost",
    "undo: frozen",
    "undo: over budget",
    "undo: its input missing",
    "undo: asks people",
    "undo: stuck",
    "lost: nothing calls again",
    "undo: tried again by people",
    "undo: given up by people",
    "key: expired",
    "key: revoked",
    "key: gone before a first call",
    "key: gone before a further call",
    "key: gone before an undo",
    "key: gone before a probe",
    "freeze: right before the claim of a run",
    "freeze: right before the claim of a probe",
    "freeze: right before the claim of an undo",
    "freeze: right after a claim",
    "freeze: lifted right before a claim",
    "freeze: held a run",
    "freeze: held a probe",
    "marker: in an output",
    "marker: in a sensitive place",
    "marker: in a callback",
    "marker: in a probe's answer",
    "marker: in a person's evidence",
    "marker: in a draft's literal",
    "marker: passed on to another tool",
    "marker: passed on to an undo",
    "output: larger than its item",
    "clock: set forward",
    "clock: set back",
    "amount: not exact",
    "amount: below zero",
    "amount: not a decimal",
    "amount: of no known currency",
    "amount: absent",
    "recipients: many in one text",
    "recipients: not countable",
    "unmeasured: refused where there is a limit",
    "unmeasured: asked where there is none",
    "money: over its limit",
    "policy: replaced",
    "skill: disabled",
    "secret: rotated",
    "name: unknown",
];

#[derive(Default)]
struct Counts {
    broken: BTreeSet<String>,
    looks: BTreeMap<&'static str, u64>,
    storms: BTreeMap<&'static str, u64>,
}

/// The invariants of a run.
#[derive(Default)]
pub struct InvariantLog(Mutex<Counts>);

impl InvariantLog {
    /// Checks an invariant.
    pub fn check(&self, invariant: &'static str, holds: bool, what: impl FnOnce() -> String) {
        assert!(INVARIANTS.contains(&invariant), "`{invariant}` is no invariant");
        let mut pages = self.0.lock().unwrap();
        *pages.looks.entry(invariant).or_default() += 1;
        if !holds {
            pages.broken.insert(format!("{invariant}: {}", what()));
        }
    }
    /// Records a violation.
    pub fn broken(&self, invariant: &'static str, what: impl Display) {
        self.check(invariant, false, || what.to_string());
    }
    /// Records that the run does not end.
    pub fn stalled(&self, why: String) {
        self.0.lock().unwrap().broken.insert(format!("progress: {why}"));
    }
    /// Records a fault.
    pub fn storm(&self, storm: &'static str) {
        assert!(STORMS.contains(&storm), "`{storm}` is no storm");
        *self.0.lock().unwrap().storms.entry(storm).or_default() += 1;
    }
    /// Every violation.
    pub fn violations(&self) -> Vec<String> {
        self.0.lock().unwrap().broken.iter().cloned().collect()
    }
    /// How often each invariant was checked.
    pub fn looks(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap().looks.clone()
    }
    /// How often each kind of fault occurred.
    pub fn storms(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap().storms.clone()
    }
}
