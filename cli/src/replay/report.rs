//! What came of replays: of one, and of many.

use super::each::Outcome;
use crate::{
    error::CliError,
    output::Output,
    render::{self, bold, dim, green},
    visible::Visible,
};
use anstream::println;
use client::Answer;
use contracts::{
    ExecutionId, Timestamp,
    query::{Difference, Replay},
};
use serde::{Deserialize, Serialize};

/// Of those that differ, and of those that cannot be read, so many are listed for people.
const LISTED_MAX: usize = 20;

/// What came of many replays.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    since: Timestamp,
    until: Timestamp,
    /// Those of the window.
    executions: usize,
    /// Those that were compared, now or before the command was stopped.
    replayed: usize,
    matched: usize,
    different: usize,
    unreadable: usize,
    /// Of those replayed: before the command was stopped.
    resumed: usize,
    differences: Vec<Different>,
    unreadable_executions: Vec<Unreadable>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Different {
    execution_id: ExecutionId,
    /// The first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unreadable {
    execution_id: ExecutionId,
    code: String,
    detail: String,
}

impl Report {
    /// Of a window with so many executions.
    pub fn new((since, until): (Timestamp, Timestamp), executions: usize) -> Self {
        Self {
            since,
            until,
            executions,
            replayed: 0,
            matched: 0,
            different: 0,
            unreadable: 0,
            resumed: 0,
            differences: Vec::new(),
            unreadable_executions: Vec::new(),
        }
    }

    /// What came of one.
    pub fn add(&mut self, execution_id: ExecutionId, outcome: Outcome) {
        match outcome {
            Outcome::Matched => {
                self.replayed += 1;
                self.matched += 1;
            }
            Outcome::Different { difference } => {
                self.replayed += 1;
                self.different += 1;
                self.differences.push(Different { execution_id, difference });
            }
            Outcome::Unreadable { code, detail } => {
                self.unreadable += 1;
                self.unreadable_executions.push(Unreadable { execution_id, code, detail });
            }
        }
    }

    /// What had come of one.
    pub fn resumed(&mut self, execution_id: ExecutionId, outcome: Outcome) {
        self.resumed += 1;
        self.add(execution_id, outcome);
    }

    pub fn executions(&self) -> usize {
        self.executions
    }

    pub fn done(&self) -> usize {
        self.replayed + self.unreadable
    }

    pub fn faults(&self) -> usize {
        self.different + self.unreadable
    }

    /// Whether each was replayed to what is stored.
    pub fn all_match(&self) -> bool {
        self.matched == self.executions
    }

    /// Prints it; whatever order the answers came in, the oldest comes first.
    pub fn show(&mut self, output: Output) -> Result<(), CliError> {
        self.differences.sort_by(|one, other| one.execution_id.cmp(&other.execution_id));
        self.unreadable_executions.sort_by(|one, other| one.execution_id.cmp(&other.execution_id));
        let document = serde_json::to_value(&*self).map_err(CliError::local)?;
        let answer = Answer::<Self>::of(document).map_err(CliError::Local)?;
        output.show(&answer, many)
    }
}

fn many(report: &Visible<Report>) {
    for found in report.differences.iter().take(LISTED_MAX) {
        println!("{}", found.execution_id);
        match &found.difference {
            Some(found) => difference(found),
            None => println!("{}", dim(UNSAID)),
        }
    }
    more(report.differences.len(), "differ");
    for found in report.unreadable_executions.iter().take(LISTED_MAX) {
        println!("{}", found.execution_id);
        let fault = format!("{} {}", found.code, found.detail);
        render::field(2, "cannot be read", &fault);
    }
    more(report.unreadable_executions.len(), "cannot be read");
    if report.executions == 0 {
        println!("{}", dim("nothing was submitted in that time: there is nothing to replay"));
        return;
    }
    let Report { replayed, matched, different, unreadable, resumed, .. } = &**report;
    let counts = format!(
        "{replayed} replayed: {matched} match, {different} differ; {unreadable} could not be read"
    );
    match report.all_match() {
        true => println!("{}", green(&format!("✓ {counts}"))),
        false => println!("{} {}", render::status("✗"), bold(&counts)),
    }
    if *resumed > 0 {
        println!("{}", dim(&format!("{resumed} of them before it was stopped")));
    }
}

fn more(count: usize, what: &str) {
    if let more @ 1.. = count.saturating_sub(LISTED_MAX) {
        println!("{}", dim(&format!("and {more} more that {what}; --json lists them")));
    }
}

const UNSAID: &str = "it does not replay, and the server does not say where";

/// What came of one replay.
pub fn one(replay: &Visible<Replay>) {
    if replay.matches {
        println!("{} {}", green("✓ replays to the stored"), replay.checked.join(", "));
        return;
    }
    replay.differences.iter().for_each(difference);
    if replay.differences.is_empty() {
        println!("{}", dim(UNSAID));
    }
}

fn difference(difference: &Difference) {
    let check = bold(&difference.check);
    println!("{} {check} {}", render::status("failed"), difference.path);
    render::field(2, "stored  ", &difference.stored.to_string());
    render::field(2, "replayed", &difference.replayed.to_string());
}
