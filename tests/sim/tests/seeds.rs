//! A few seeds with every `cargo test`; CI and `docs/src/explanation/testing.md` run thousands with
//! the binary.

use countersign_sim::{INVARIANTS, STORMS, run};
use std::collections::BTreeMap;

/// Seeds after which every storm has blown and every invariant was looked at.
const SEEDS: u64 = 300;

// Every invariant holds, is looked at, and is looked at in every storm.
#[test]
fn every_invariant_holds_in_every_storm() {
    let (mut looks, mut storms): (BTreeMap<&str, u64>, BTreeMap<&str, u64>) = Default::default();
    for seed in 0..SEEDS {
        let outcome = run(seed);
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
        assert!(outcome.executions > 0);
        outcome
            .looks
            .into_iter()
            .for_each(|(name, count)| *looks.entry(name).or_default() += count);
        outcome
            .storms
            .into_iter()
            .for_each(|(name, count)| *storms.entry(name).or_default() += count);
    }
    let never = |names: &[&'static str], counts: &BTreeMap<&str, u64>| -> Vec<&'static str> {
        names.iter().copied().filter(|name| !counts.contains_key(name)).collect()
    };
    assert_eq!(never(&INVARIANTS, &looks), Vec::<&str>::new(), "never looked at");
    assert_eq!(never(&STORMS, &storms), Vec::<&str>::new(), "never blew");
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 17] {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(
            (one.commits, one.calls, one.statuses),
            (other.commits, other.calls, other.statuses)
        );
        assert_eq!((one.looks, one.storms), (other.looks, other.storms));
    }
}

// The names are those of the threat model, which says what upholds each.
#[test]
fn the_names_are_those_of_the_documents() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/src/explanation/security.md"
    ))
    .unwrap();
    for name in INVARIANTS {
        assert!(text.contains(name), "docs/src/explanation/security.md does not name `{name}`");
    }
}
