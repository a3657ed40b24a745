//! Flow of labels (after CaMeL): what an output carries flows along data edges into every input it reaches, and on
//! through that step's output. Nothing washes a label off, so a pass-through step cannot launder it.

use super::Resolved;
use contracts::{StepId, plan::Taint};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What reaches one step.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) labels: BTreeSet<String>,
    pub(super) taint: Vec<Taint>,
}

/// Labels of every step's input, for steps in topological order.
pub(super) fn propagate(order: &[&Resolved<'_>]) -> Vec<Flow> {
    // Of each step's output: label → the steps it came through, the source first, this step last.
    let mut outputs: HashMap<&str, BTreeMap<&str, Vec<StepId>>> = HashMap::new();
    let mut flows = Vec::with_capacity(order.len());
    for step in order {
        let mut arriving: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
        let sources: BTreeSet<&str> = step.wires.iter().map(|wire| wire.from.as_str()).collect();
        for (label, path) in sources.iter().filter_map(|id| outputs.get(id)).flatten() {
            let shorter = arriving.get(label).is_none_or(|known| path.len() < known.len());
            if shorter {
                arriving.insert(label, path.clone());
            }
        }
        let accepts = |label: &str| step.operation.accepts.as_ref().is_none_or(|accepted| accepted.contains(label));
        let refuses = |label: &str| step.operation.refuses.contains(label);
        let taint = arriving
            .iter()
            .filter(|(label, _)| !accepts(label) || refuses(label))
            .map(|(label, path)| Taint { label: (*label).to_owned(), path: path.clone(), refused: refuses(label) })
            .collect();
        flows.push(Flow { labels: arriving.keys().map(|label| (*label).to_owned()).collect(), taint });
        let mut leaving = arriving;
        for path in leaving.values_mut() {
            path.push(step.draft.id.clone());
        }
        for label in step.operation.spec.labels.iter().flat_map(|labels| &labels.output) {
            leaving.insert(label, vec![step.draft.id.clone()]);
        }
        if !leaving.is_empty() {
            outputs.insert(step.draft.id.as_str(), leaving);
        }
    }
    flows
}
