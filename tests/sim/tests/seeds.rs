//! A few seeds with every `cargo test`; CI and `docs/testing.md` run thousands with the binary.

#[test]
fn invariants_hold_on_the_first_seeds() {
    for seed in 0..40 {
        let outcome = countersign_sim::run(seed);
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
        assert!(outcome.executions > 0);
    }
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 17] {
        let (one, other) = (countersign_sim::run(seed), countersign_sim::run(seed));
        assert_eq!((one.commits, one.calls, one.statuses), (other.commits, other.calls, other.statuses));
    }
}
