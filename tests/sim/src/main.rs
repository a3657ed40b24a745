//! `cargo run --release -p countersign-sim -- [FIRST] [COUNT]`: runs seeds and tells what broke.

use countersign_sim::run;
use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

fn main() -> ExitCode {
    let number = |index: usize, default: u64| {
        std::env::args().nth(index).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let (first, count) = (number(1, 0), number(2, 2_000));
    let started = Instant::now();
    let next = AtomicU64::new(first);
    let totals = Mutex::new((0_u64, 0_u64, 0_u64, std::collections::BTreeMap::<String, u64>::new(), Vec::new()));
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
                    totals.0 += outcome.executions as u64;
                    totals.1 += outcome.commits;
                    totals.2 += outcome.calls;
                    for status in outcome.statuses {
                        *totals.3.entry(status).or_default() += 1;
                    }
                    if !outcome.violations.is_empty() {
                        println!("seed {seed}:");
                        outcome.violations.iter().for_each(|violation| println!("  {violation}"));
                        totals.4.push(seed);
                    }
                }
            });
        }
    });
    let (executions, commits, calls, statuses, broken) = totals.into_inner().unwrap();
    println!(
        "{count} seeds from {first}: {executions} executions, {commits} commits, {calls} tool calls, {statuses:?}, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    if broken.is_empty() {
        println!("every invariant held");
        return ExitCode::SUCCESS;
    }
    println!("{} seeds broke an invariant: {:?}", broken.len(), &broken[..broken.len().min(20)]);
    ExitCode::FAILURE
}
