//! `cargo run --release -p countersign-sim -- [FIRST] [COUNT]`: runs seeds and tells what broke,
//! how often each invariant was looked at and how often each storm blew.

use countersign_sim::{INVARIANTS, STORMS, run};
use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// What all seeds came to.
#[derive(Default)]
struct Totals {
    executions: u64,
    commits: u64,
    calls: u64,
    statuses: BTreeMap<String, u64>,
    looks: BTreeMap<&'static str, u64>,
    storms: BTreeMap<&'static str, u64>,
    broken: Vec<u64>,
}

fn add(totals: &mut BTreeMap<&'static str, u64>, more: BTreeMap<&'static str, u64>) {
    more.into_iter().for_each(|(name, count)| *totals.entry(name).or_default() += count);
}

fn table(title: &str, names: &[&'static str], counts: &BTreeMap<&'static str, u64>) {
    println!("{title}:");
    for name in names {
        println!("  {:>10}  {name}", counts.get(name).copied().unwrap_or(0));
    }
}

fn main() -> ExitCode {
    let number = |index: usize, default: u64| {
        std::env::args().nth(index).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let (first, count) = (number(1, 0), number(2, 2_000));
    let started = Instant::now();
    let next = AtomicU64::new(first);
    let totals = Mutex::new(Totals::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + count {
                        return;
                    }
                    let outcome = run(seed);
                    let mut totals = totals.lock().unwrap();
                    totals.executions += outcome.executions as u64;
                    totals.commits += outcome.commits;
                    totals.calls += outcome.calls;
                    add(&mut totals.looks, outcome.looks);
                    add(&mut totals.storms, outcome.storms);
                    for status in outcome.statuses {
                        *totals.statuses.entry(status).or_default() += 1;
                    }
                    if !outcome.violations.is_empty() {
                        println!("seed {seed}:");
                        outcome.violations.iter().for_each(|violation| println!("  {violation}"));
                        totals.broken.push(seed);
                    }
                }
            });
        }
    });
    let Totals { executions, commits, calls, statuses, looks, storms, broken } =
        totals.into_inner().unwrap();
    table("storms", &STORMS, &storms);
    table("looks at invariants", &INVARIANTS, &looks);
    println!(
        "{count} seeds from {first}: {executions} executions, {commits} commits, {calls} tool \
         calls, {statuses:?}, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    if broken.is_empty() {
        println!("every invariant held");
        return ExitCode::SUCCESS;
    }
    println!("{} seeds broke an invariant: {:?}", broken.len(), &broken[..broken.len().min(20)]);
    ExitCode::FAILURE
}
