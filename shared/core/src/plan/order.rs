//! The DAG: cycles are named, the depth is limited, and the order is canonical.

use super::{DEPTH_MAX, Resolved, diagnostics::Diagnostics};
use contracts::Issue;
use petgraph::{
    Direction,
    algo::tarjan_scc,
    graph::{DiGraph, NodeIndex},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

/// The steps in canonical order: topological, ties by id. `None` where there is a cycle.
pub(super) fn canonical<'s, 'a>(
    steps: &'s [Resolved<'a>],
    issues: &mut Diagnostics,
) -> Option<Vec<&'s Resolved<'a>>> {
    let mut graph: DiGraph<usize, ()> = DiGraph::with_capacity(steps.len(), steps.len());
    let nodes: HashMap<&str, NodeIndex> = steps
        .iter()
        .enumerate()
        .map(|(place, step)| (step.draft.id.as_str(), graph.add_node(place)))
        .collect();
    for step in steps {
        let Some(to) = nodes.get(step.draft.id.as_str()) else {
            continue;
        };
        for from in step.after.iter().filter_map(|id| nodes.get(id.as_str())) {
            graph.add_edge(*from, *to, ());
        }
    }
    let at = |node: NodeIndex| graph.node_weight(node).and_then(|place| steps.get(*place));
    let id = |node: NodeIndex| at(node).map_or("", |step| step.draft.id.as_str());

    // Kahn's algorithm; the heap gives the smallest id among the steps without open dependencies.
    let mut waiting: Vec<usize> = graph
        .node_indices()
        .map(|node| graph.neighbors_directed(node, Direction::Incoming).count())
        .collect();
    let mut free: BinaryHeap<Reverse<(&str, NodeIndex)>> = graph
        .node_indices()
        .filter(|node| waiting.get(node.index()) == Some(&0))
        .map(|node| Reverse((id(node), node)))
        .collect();
    let mut depth = vec![1_usize; steps.len()];
    let mut order = Vec::with_capacity(steps.len());
    while let Some(Reverse((_, node))) = free.pop() {
        order.extend(at(node));
        let reached = depth.get(node.index()).copied().unwrap_or(1) + 1;
        for next in graph.neighbors(node) {
            if let Some(depth) = depth.get_mut(next.index()) {
                *depth = reached.max(*depth);
            }
            if let Some(left) = waiting.get_mut(next.index()) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    free.push(Reverse((id(next), next)));
                }
            }
        }
    }
    if order.len() < steps.len() {
        for component in tarjan_scc(&graph) {
            let knot = component.len() > 1
                || component.iter().any(|node| graph.contains_edge(*node, *node));
            if let (true, Some(cycle)) = (knot, cycle(&graph, &component, id)) {
                let names: Vec<&str> = cycle.iter().map(|node| id(*node)).collect();
                let pointer = cycle
                    .first()
                    .and_then(|node| at(*node))
                    .map_or(String::new(), |step| step.at(""));
                let message = format!("steps wait for one another: {}", names.join(" → "));
                issues.push(Issue::coded("CYCLE", pointer, message));
            }
        }
        return None;
    }
    if let Some(deepest) = depth.iter().max().filter(|deepest| **deepest > DEPTH_MAX) {
        let message = format!("a chain of {deepest} steps; a plan is at most {DEPTH_MAX} deep");
        issues.push(Issue::coded("TOO_DEEP", "/draft/steps", message));
    }
    Some(order)
}

// One shortest cycle of a strongly connected component, from its smallest id back to it, in waiting
// order.
fn cycle<'s>(
    graph: &DiGraph<usize, ()>,
    component: &[NodeIndex],
    id: impl Fn(NodeIndex) -> &'s str,
) -> Option<Vec<NodeIndex>> {
    let within: HashSet<NodeIndex> = component.iter().copied().collect();
    let start = *component.iter().min_by_key(|node| id(**node))?;
    let mut came: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut open = std::collections::VecDeque::from([start]);
    while let Some(node) = open.pop_front() {
        let mut next: Vec<NodeIndex> =
            graph.neighbors(node).filter(|next| within.contains(next)).collect();
        next.sort_by_key(|node| id(*node));
        for next in next {
            if next == start {
                let mut path = vec![start];
                let mut back = node;
                while back != start {
                    path.push(back);
                    back = *came.get(&back)?;
                }
                path.push(start);
                path.reverse();
                return Some(path);
            }
            if let std::collections::hash_map::Entry::Vacant(entry) = came.entry(next) {
                entry.insert(node);
                open.push_back(next);
            }
        }
    }
    None
}
