//! A layered layout (Sugiyama): layers by the longest way, an order within each that crosses few
//! arrows, and bends where an arrow passes a layer.

use std::collections::BTreeMap;

/// Size of a node, and the room between nodes and layers.
const NODE_WIDTH: i32 = 184;
const NODE_HEIGHT: i32 = 56;
const GAP: i32 = 16;
const LAYER_GAP: i32 = 48;
const MARGIN: i32 = 8;
/// Height of the way of an arrow that passes a layer.
const LANE: i32 = 10;
/// Times that the layers are put in order, forwards and back.
const SWEEPS: usize = 4;

/// A point, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub x: i32,
    pub y: i32,
}

/// Where everything is.
pub(super) struct Layout {
    /// The upper left corner of each node.
    pub places: Vec<Point>,
    /// The points that each arrow goes through.
    pub lines: Vec<Vec<Point>>,
    pub width: i32,
    pub height: i32,
}

/// From which node to which.
type Arrow = (usize, usize);

/// The arrows of nodes that come behind others, without those that follow from two others. At most
/// 64 nodes.
pub(super) fn without_implied(after: &[Vec<usize>]) -> Vec<Arrow> {
    // Of each node, as bits: all nodes that it comes behind.
    let mut before: Vec<u64> = Vec::with_capacity(after.len());
    let mut arrows = Vec::new();
    for (to, direct) in after.iter().enumerate() {
        let known = |from: &usize| *from < to;
        let implied = |from: usize| {
            direct
                .iter()
                .filter(|other| known(other))
                .any(|other| before.get(*other).is_some_and(|bits| bits >> from & 1 == 1))
        };
        let mut own: Vec<usize> =
            direct.iter().copied().filter(known).filter(|from| !implied(*from)).collect();
        own.sort_unstable();
        own.dedup();
        arrows.extend(own.iter().map(|from| (*from, to)));
        let bits = direct
            .iter()
            .filter(|from| known(from))
            .fold(0_u64, |bits, from| bits | 1 << from | before.get(*from).copied().unwrap_or(0));
        before.push(bits);
    }
    arrows
}

/// What stands in a layer: a node, or an arrow that passes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Node(usize),
    Bend(usize),
}

impl Slot {
    const fn height(self) -> i32 {
        match self {
            Self::Node(_) => NODE_HEIGHT,
            Self::Bend(_) => LANE,
        }
    }
}

/// The layout of `count` nodes.
pub(super) fn of(count: usize, arrows: &[Arrow]) -> Layout {
    let mut layer = vec![0_usize; count];
    // Arrows lead to later nodes, and are sorted by them.
    for (from, to) in arrows {
        let behind = layer.get(*from).copied().unwrap_or(0) + 1;
        if let Some(own) = layer.get_mut(*to) {
            *own = (*own).max(behind);
        }
    }
    let depth = layer.iter().max().map_or(0, |last| last + 1);
    let mut layers: Vec<Vec<Slot>> = vec![Vec::new(); depth];
    for (node, at) in layer.iter().enumerate() {
        layers.iter_mut().skip(*at).take(1).for_each(|slots| slots.push(Slot::Node(node)));
    }
    // Neighbours of a slot in the layers beside its own.
    let mut beside: BTreeMap<(usize, Slot), Vec<(usize, Slot)>> = BTreeMap::new();
    for (index, (from, to)) in arrows.iter().enumerate() {
        let ends = (layer.get(*from).copied(), layer.get(*to).copied());
        let (Some(first), Some(last)) = ends else { continue };
        let mut previous = (first, Slot::Node(*from));
        for at in first + 1..=last {
            let slot = if at == last { Slot::Node(*to) } else { Slot::Bend(index) };
            if at < last {
                layers.iter_mut().skip(at).take(1).for_each(|slots| slots.push(slot));
            }
            beside.entry((at, slot)).or_default().push(previous);
            beside.entry(previous).or_default().push((at, slot));
            previous = (at, slot);
        }
    }
    put_in_order(&mut layers, &beside);
    place(count, arrows, &layers)
}

// Each slot between its neighbours of the layer before, then of the layer behind.
fn put_in_order(layers: &mut [Vec<Slot>], beside: &BTreeMap<(usize, Slot), Vec<(usize, Slot)>>) {
    let mut rank: BTreeMap<(usize, Slot), usize> = BTreeMap::new();
    for (at, slots) in layers.iter().enumerate() {
        rank.extend(slots.iter().enumerate().map(|(index, slot)| ((at, *slot), index)));
    }
    for sweep in 0..SWEEPS {
        let forwards = sweep % 2 == 0;
        let depth = layers.len();
        for step in 0..depth {
            let at = if forwards { step } else { depth - 1 - step };
            let Some(slots) = layers.get_mut(at) else { continue };
            let middle = |slot: &Slot| {
                let all = beside.get(&(at, *slot)).into_iter().flatten();
                let ranks: Vec<usize> = all
                    .filter(|(other, _)| (*other < at) == forwards)
                    .filter_map(|place| rank.get(place).copied())
                    .collect();
                match ranks.len() {
                    0 => rank.get(&(at, *slot)).copied().unwrap_or(0) * 1_000,
                    count => ranks.iter().sum::<usize>() * 1_000 / count,
                }
            };
            slots.sort_by_key(middle);
            rank.extend(slots.iter().enumerate().map(|(index, slot)| ((at, *slot), index)));
        }
    }
}

fn place(count: usize, arrows: &[Arrow], layers: &[Vec<Slot>]) -> Layout {
    let heights: Vec<i32> = layers
        .iter()
        .map(|slots| slots.iter().map(|slot| slot.height() + GAP).sum::<i32>() - GAP)
        .collect();
    let tallest = heights.iter().copied().max().unwrap_or(0);
    let mut places = vec![Point { x: 0, y: 0 }; count];
    let mut bends: BTreeMap<usize, Vec<Point>> = BTreeMap::new();
    let mut left = MARGIN;
    for (slots, height) in layers.iter().zip(&heights) {
        let mut top = MARGIN + (tallest - height) / 2;
        for slot in slots {
            match slot {
                Slot::Node(node) => {
                    places.iter_mut().skip(*node).take(1).for_each(|place| {
                        *place = Point { x: left, y: top };
                    });
                }
                Slot::Bend(arrow) => {
                    let y = top + LANE / 2;
                    let through = [Point { x: left, y }, Point { x: left + NODE_WIDTH, y }];
                    bends.entry(*arrow).or_default().extend(through);
                }
            }
            top += slot.height() + GAP;
        }
        left += NODE_WIDTH + LAYER_GAP;
    }
    let end = |node: usize, offset: i32| {
        places.get(node).map(|at| Point { x: at.x + offset, y: at.y + NODE_HEIGHT / 2 })
    };
    let lines = arrows.iter().enumerate().map(|(index, (from, to))| {
        let through = bends.remove(&index).unwrap_or_default();
        end(*from, NODE_WIDTH).into_iter().chain(through).chain(end(*to, -4)).collect()
    });
    let lines = lines.collect();
    Layout { places, lines, width: left - LAYER_GAP + MARGIN, height: tallest + 2 * MARGIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_nodes_overlap_and_arrows_lead_to_the_right() {
        let after: Vec<Vec<usize>> = (0..40_usize)
            .map(|node| (0..node).filter(|from| (node * 7 + from * 3) % 11 == 0).collect())
            .collect();
        let arrows = without_implied(&after);
        let layout = of(40, &arrows);
        for (index, one) in layout.places.iter().enumerate() {
            for other in &layout.places[..index] {
                let apart =
                    (one.x - other.x).abs() >= NODE_WIDTH || (one.y - other.y).abs() >= NODE_HEIGHT;
                assert!(apart, "{one:?} {other:?}");
            }
            assert!(one.x + NODE_WIDTH <= layout.width && one.y + NODE_HEIGHT <= layout.height);
        }
        for line in &layout.lines {
            assert!(line.windows(2).all(|pair| pair[0].x <= pair[1].x), "{line:?}");
        }
    }

    #[test]
    fn what_follows_is_not_drawn() {
        let after = [vec![], vec![0], vec![0, 1], vec![0, 2, 2]];
        assert_eq!(without_implied(&after), [(0, 1), (1, 2), (2, 3)]);
    }
}
