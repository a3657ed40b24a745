//! How many evaluations one path into a value takes.

use super::graph::Graph;
use contracts::limits::{JSON_DEPTH_MAX, SCHEMA_EVALUATIONS_MAX};
use std::collections::{BTreeMap, HashMap};

/// What applies one level deeper than an entry.
#[derive(Default)]
struct Level {
    own: u64,
    named: BTreeMap<String, Named>,
    every: Vec<(usize, u64)>,
    others: Vec<(usize, u64)>,
}

#[derive(Default)]
struct Named {
    children: Vec<(usize, u64)>,
    /// Members of `others` that do not apply to this name.
    not: Vec<(usize, u64)>,
}

impl Level {
    // The evaluations along the most expensive path, given `counts` for the level below.
    fn count(&self, counts: &HashMap<usize, u64>) -> u64 {
        let sum = |list: &[(usize, u64)]| {
            list.iter().fold(0_u64, |total, (child, times)| {
                total.saturating_add(times.saturating_mul(counts.get(child).copied().unwrap_or(1)))
            })
        };
        let (every, others) = (sum(&self.every), sum(&self.others));
        let named = self
            .named
            .values()
            .map(|named| sum(&named.children) + others.saturating_sub(sum(&named.not)));
        self.own
            .saturating_add(every)
            .saturating_add(named.chain([others]).max().unwrap_or_default())
    }
}

/// Limit of the counting's own work, in steps.
const COUNTING_STEPS_MAX: usize = 400_000;

impl Graph<'_> {
    // A subschema that is only a reference is replaced by its target. Cycles of such were refused
    // before.
    fn resolved(&self, mut index: usize) -> usize {
        while let Some(node) = self.nodes.get(index)
            && let ([target], true, true, true) = (
                node.in_place.as_slice(),
                node.named.is_empty(),
                node.every.is_empty(),
                node.others.is_empty(),
            )
        {
            index = *target;
        }
        index
    }

    pub(super) fn check_evaluations(&self, order: &[usize]) -> Result<u64, String> {
        let mut rank = vec![0_usize; self.nodes.len()];
        for (position, index) in order.iter().enumerate() {
            if let Some(slot) = rank.get_mut(*index) {
                *slot = position;
            }
        }
        // Only the root and subschemas one level below another are entries.
        let mut entries: Vec<usize> = vec![0];
        for node in &self.nodes {
            let deeper = node.named.values().chain(&node.every).chain(&node.others);
            entries.extend(deeper.map(|index| self.resolved(*index)));
        }
        entries.sort_unstable();
        entries.dedup();
        let mut steps = 0;
        let mut levels: BTreeMap<usize, Level> = BTreeMap::new();
        for entry in entries {
            levels.insert(entry, self.level(entry, order, &rank, &mut steps)?);
        }
        let mut counts: HashMap<usize, u64> =
            levels.iter().map(|(entry, level)| (*entry, level.own)).collect();
        for _ in 0..JSON_DEPTH_MAX {
            let mut next = HashMap::with_capacity(counts.len());
            for (entry, level) in &levels {
                let count = level.count(&counts);
                if count > SCHEMA_EVALUATIONS_MAX {
                    return Err(self.too_much(*entry));
                }
                next.insert(*entry, count);
            }
            if next == counts {
                break;
            }
            counts = next;
        }
        Ok(counts.get(&0).copied().unwrap_or(1))
    }

    fn too_much(&self, entry: usize) -> String {
        let pointer = self.nodes.get(entry).map(|node| node.pointer.as_str()).unwrap_or_default();
        format!(
            "`{pointer}`: one value can be reached in more than {SCHEMA_EVALUATIONS_MAX} ways: the \
             work doubles with depth"
        )
    }

    // The subschemas that apply to one place, each as often as it is reached.
    fn level(
        &self,
        entry: usize,
        order: &[usize],
        rank: &[usize],
        steps: &mut usize,
    ) -> Result<Level, String> {
        let of = |index: usize| rank.get(index).copied().unwrap_or_default();
        let mut level = Level::default();
        let mut open = BTreeMap::from([(of(entry), 1_u64)]);
        while let Some((position, times)) = open.pop_last() {
            let Some(node) = order.get(position).and_then(|index| self.nodes.get(*index)) else {
                continue;
            };
            *steps +=
                1 + node.in_place.len() + node.named.len() + node.every.len() + node.others.len();
            level.own = level.own.saturating_add(times);
            if level.own > SCHEMA_EVALUATIONS_MAX {
                return Err(self.too_much(entry));
            }
            if *steps > COUNTING_STEPS_MAX {
                return Err(format!("`{}`: too many subschemas apply to one value", node.pointer));
            }
            for inner in &node.in_place {
                let sum = open.entry(of(*inner)).or_default();
                *sum = sum.saturating_add(times.saturating_mul(node.weight));
            }
            level.every.extend(node.every.iter().map(|child| (self.resolved(*child), times)));
            level.others.extend(node.others.iter().map(|child| (self.resolved(*child), times)));
            for (name, child) in &node.named {
                let named = level.named.entry(name.clone()).or_default();
                named.children.push((self.resolved(*child), times));
                named.not.extend(node.others.iter().map(|other| (self.resolved(*other), times)));
            }
        }
        Ok(level)
    }
}
