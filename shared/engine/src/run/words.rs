//! What evidence takes of a tool's own words.
//!
//! A tool may repeat in a title or a message what it was sent. Where a call can hold a sensitive
//! value, its words are left out altogether: nothing can be looked for in them that was changed a
//! little. INVARIANT (no-secrets-in-evidence).

use crate::{Answer, Snapshot, Values};
use contracts::{
    StepId,
    limits::TOOL_WORDS_CHARS_MAX,
    plan::{Call, PlanStep},
};
use cs_core::execution::Execution;

/// Whether a tool's words may stand in evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    Clipped,
    Withheld,
}

impl Words {
    /// A message with what a tool said, or without.
    pub(crate) fn message(self, fact: &str, said: &[Option<&str>]) -> String {
        match self {
            Self::Withheld => fact.to_owned(),
            Self::Clipped => {
                let said: Vec<String> = said.iter().flatten().map(|text| clip(text)).collect();
                if said.is_empty() {
                    fact.to_owned()
                } else {
                    format!("{fact}: {}", said.join(" "))
                }
            }
        }
    }

    /// A tool's code where it has the form of one, else `otherwise`.
    pub(crate) fn code(self, code: Option<&str>, otherwise: &str) -> String {
        let formed = |code: &&str| {
            (1..=64).contains(&code.len())
                && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        match self {
            Self::Withheld => otherwise.to_owned(),
            Self::Clipped => code.filter(formed).unwrap_or(otherwise).to_owned(),
        }
    }
}

impl Values {
    /// What may be told of the words that a step's tools say: nothing where one of its operations,
    /// or one whose output goes into it, has a sensitive place. When unsure, nothing.
    pub(crate) fn words_of(
        &self,
        state: &Execution,
        planned: &PlanStep,
        snapshot: &Snapshot,
    ) -> Words {
        let input = |call: &Call| {
            self.pinned(state, call, snapshot).map_or(true, |op| op.input.has_sensitive())
        };
        let output = |call: &Call| {
            self.pinned(state, call, snapshot).map_or(true, |op| op.output.has_sensitive())
        };
        let calls = [
            Some(&planned.call),
            planned.probe.as_ref().map(|probe| &probe.call),
            planned.compensate.as_ref().map(|undo| &undo.call),
        ];
        let own = calls.into_iter().flatten().any(|call| input(call) || output(call));
        let wired = planned.wires.iter().any(|wire| {
            let producer = state.index_of(&wire.from).and_then(|index| state.planned(index));
            producer.is_none_or(|producer| output(&producer.call))
        });
        let sealed = !planned.seals.is_empty() || !planned.when_seals.is_empty();
        if own || wired || sealed { Words::Withheld } else { Words::Clipped }
    }
}

impl Values {
    /// The same of a loaded step.
    pub(crate) async fn words_of_step(&self, state: &Execution, step: &StepId) -> Answer<Words> {
        let snapshot = self.in_force.snapshot(&state.workspace).await?;
        let planned = state.index_of(step).and_then(|index| state.planned(index));
        Ok(planned.map_or(Words::Withheld, |planned| self.words_of(state, planned, &snapshot)))
    }
}

fn clip(text: &str) -> String {
    text.chars().take(TOOL_WORDS_CHARS_MAX).collect()
}
