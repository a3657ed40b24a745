//! Flow of labels (after CaMeL): the labels of an output flow along data edges into every input
//! they reach, and on through that step's output. No step removes a label, so a pass-through step
//! cannot launder data.
//!
//! Labels flow along control edges too: whether a step with `when` runs reveals the value of its
//! condition. The step and everything after it, by data or by order, carries those labels: ten
//! writes under ten conditions can reveal a value as one write of it can.

use super::Resolved;
use contracts::{StepId, plan::Taint};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The labels that reach one step.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) labels: BTreeSet<String>,
    pub(super) taint: Vec<Taint>,
}

/// Labels, each with the steps it came through, the source first.
type Labels<'s> = BTreeMap<&'s str, Vec<StepId>>;

/// Labels of every step's input, for steps in topological order.
pub(super) fn propagate(order: &[&Resolved<'_>]) -> Vec<Flow> {
    // The labels of each step's output, and those that its running reveals; its own id is the last
    // of each path.
    let mut outputs: HashMap<&str, Labels<'_>> = HashMap::new();
    let mut controls: HashMap<&str, Labels<'_>> = HashMap::new();
    let mut flows = Vec::with_capacity(order.len());
    for step in order {
        let id = step.draft.id.as_str();
        let mut control = Labels::new();
        let looked_at = step.draft.when.iter().filter_map(|when| outputs.get(when.from.as_str()));
        let before = step.after.iter().filter_map(|before| controls.get(before.as_str()));
        looked_at.chain(before).for_each(|labels| join(&mut control, labels));
        let mut arriving = control.clone();
        let sources: BTreeSet<&str> = step.wires.iter().map(|wire| wire.from.as_str()).collect();
        sources
            .iter()
            .filter_map(|source| outputs.get(source))
            .for_each(|labels| join(&mut arriving, labels));
        flows.push(flow(step, &arriving));
        let mut leaving = arriving;
        through(&mut leaving, &step.draft.id);
        for label in step.operation.spec.labels.iter().flat_map(|labels| &labels.output) {
            leaving.insert(label, vec![step.draft.id.clone()]);
        }
        through(&mut control, &step.draft.id);
        outputs.insert(id, leaving);
        controls.insert(id, control);
    }
    flows
}

// The shorter path of a label is kept.
fn join<'s>(all: &mut Labels<'s>, more: &Labels<'s>) {
    for (label, path) in more {
        if all.get(label).is_none_or(|known| path.len() < known.len()) {
            all.insert(label, path.clone());
        }
    }
}

fn through(labels: &mut Labels<'_>, step: &StepId) {
    labels.values_mut().for_each(|path| path.push(step.clone()));
}

fn flow(step: &Resolved<'_>, arriving: &Labels<'_>) -> Flow {
    let refuses = |label: &str| step.operation.refuses.contains(label);
    let taint = arriving
        .iter()
        .filter(|(label, _)| !step.operation.accepts_label(label) || refuses(label))
        .map(|(label, path)| Taint {
            label: (*label).to_owned(),
            path: path.clone(),
            refused: refuses(label),
        })
        .collect();
    Flow { labels: arriving.keys().map(|label| (*label).to_owned()).collect(), taint }
}
