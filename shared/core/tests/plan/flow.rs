//! Labels flow along data and control edges, in any plan: compared with a plain model of what a
//! step can know.

use contracts::{draft::Draft, manifest::Manifest, plan::Plan};
use countersign_core::{
    plan::compile,
    skill::{Registry, Skill},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Labels that the operations `read0` to `read2` give; `pass` gives none.
const LABELS: [&str; 3] = ["red", "green", "secret"];

fn registry() -> Registry {
    let operation = |key: String, labels: Value| {
        json!({ "key": key, "title": "x", "effect": "read", "riskTier": "low", "timeoutSeconds": 5,
            "inputSchema": { "type": "object" }, "outputSchema": { "type": "object" },
                "labels": { "output": labels },
            "binding": { "kind": "http", "url": "https://tool.example" } })
    };
    let reads =
        LABELS.iter().enumerate().map(|(n, label)| operation(format!("read{n}"), json!([label])));
    let operations: Vec<Value> = reads.chain([operation("pass".into(), json!([]))]).collect();
    let manifest: Manifest = serde_json::from_value(json!({ "schemaVersion": "1.0.0",
        "skill": { "key": "flow", "version": "1.0.0" },
            "publisher": { "id": "p", "provenance": "p" },
        "artifact": { "digest": format!("sha256:{}", "0".repeat(64)) }, "operations": operations }))
    .unwrap();
    Registry::new([Arc::new(Skill::new(manifest).unwrap())])
}

/// A step by the numbers of those before it that it takes values from, looks at, and waits for.
#[derive(Clone, Debug)]
struct Node {
    operation: usize,
    wires: BTreeSet<usize>,
    when: Option<usize>,
    after: BTreeSet<usize>,
}

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    let node = (
        0..6_usize,
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        any::<(bool, prop::sample::Index)>(),
    )
        .prop_flat_map(|(operation, wires, when)| {
            prop::collection::vec(any::<prop::sample::Index>(), 0..2)
                .prop_map(move |after| (operation, wires.clone(), when, after))
        });
    prop::collection::vec(node, 1..12).prop_map(|all| {
        let node = |(n, (operation, wires, (is, when), after)): (usize, _)| {
            let (wires, after): (Vec<prop::sample::Index>, Vec<prop::sample::Index>) =
                (wires, after);
            let (is, when): (bool, prop::sample::Index) = (is, when);
            let before = |index: prop::sample::Index| (n > 0).then(|| index.index(n));
            Node {
                operation,
                wires: wires.into_iter().filter_map(before).collect(),
                when: Some(when).filter(|_| is).and_then(before),
                after: after.into_iter().filter_map(before).collect(),
            }
        };
        all.into_iter().enumerate().map(node).collect()
    })
}

fn plan(nodes: &[Node]) -> Plan {
    let step = |(n, node): (usize, &Node)| {
        let with: serde_json::Map<String, Value> = node
            .wires
            .iter()
            .map(|from| (format!("v{from}"), json!({ "$from": format!("s{from}") })))
            .collect();
        let operation = LABELS
            .get(node.operation)
            .map_or("pass".to_owned(), |_| format!("read{}", node.operation));
        let after: Vec<String> = node.after.iter().map(|from| format!("s{from}")).collect();
        let mut step = json!({ "id": format!("s{n}"), "use": format!("flow/{operation}"),
            "with": with, "after": after });
        if let Some(when) = node.when {
            step["when"] = json!({ "$from": format!("s{when}"), "path": "/x", "equals": 1 });
        }
        step
    };
    let steps: Vec<Value> = nodes.iter().enumerate().map(step).collect();
    let draft: Draft = serde_json::from_value(json!({ "steps": steps })).unwrap();
    compile(&draft, &registry()).unwrap().plan().clone()
}

fn labels(plan: &Plan) -> BTreeMap<String, BTreeSet<String>> {
    plan.steps.iter().map(|step| (step.id.to_string(), step.labels.clone())).collect()
}

/// What a step's running tells, and what its input carries.
fn model(nodes: &[Node]) -> BTreeMap<String, BTreeSet<String>> {
    let mut control: Vec<BTreeSet<String>> = Vec::new();
    let mut input: Vec<BTreeSet<String>> = Vec::new();
    let mut output: Vec<BTreeSet<String>> = Vec::new();
    for node in nodes {
        let mut told: BTreeSet<String> =
            node.when.map(|when| output[when].clone()).unwrap_or_default();
        for before in node.wires.iter().chain(&node.after).chain(&node.when) {
            told.extend(control[*before].iter().cloned());
        }
        let mut carried = told.clone();
        carried.extend(node.wires.iter().flat_map(|from| output[*from].iter().cloned()));
        let own = LABELS.get(node.operation).map(|label| (*label).to_owned());
        output.push(carried.iter().cloned().chain(own).collect());
        control.push(told);
        input.push(carried);
    }
    input.into_iter().enumerate().map(|(n, labels)| (format!("s{n}"), labels)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn labels_are_those_of_the_model(nodes in nodes()) {
        prop_assert_eq!(labels(&plan(&nodes)), model(&nodes));
    }

    // Looking at more, or waiting for more, never takes a label away.
    #[test]
    fn another_edge_only_adds_labels(nodes in nodes(), from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(), kind in 0..3_usize) {
        let before = labels(&plan(&nodes));
        let to = to.index(nodes.len());
        prop_assume!(to > 0);
        let from = from.index(to);
        let mut more = nodes.clone();
        match kind {
            0 => { more[to].wires.insert(from); }
            1 => { more[to].after.insert(from); }
            _ => {
                prop_assume!(more[to].when.is_none());
                more[to].when = Some(from);
            }
        }
        let after = labels(&plan(&more));
        for (step, labels) in before {
            prop_assert!(labels.is_subset(&after[&step]), "{}", step);
        }
    }

    // Without conditions only data carries labels, as ever.
    #[test]
    fn order_alone_carries_nothing(nodes in nodes()) {
        let plain: Vec<Node> = nodes.iter().map(|node| Node { when: None,
            ..node.clone() }).collect();
        let unordered: Vec<Node> = plain.iter().map(|node| Node { after: BTreeSet::new(),
            ..node.clone() }).collect();
        prop_assert_eq!(labels(&plan(&plain)), labels(&plan(&unordered)));
    }
}
