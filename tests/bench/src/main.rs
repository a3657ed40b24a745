//! Benchmarks: `cargo run --profile fast -p countersign-bench` prints a table and, with `--json`,
//! JSON.
//!
//! Every figure that has a yardstick of the machine's own (fdatasync, bare loopback HTTP) is
//! measured beside it in the same run, so that ratios can be compared between machines.

mod chain;
mod exports;
mod lambda;
mod pages;
mod pure;

use clap::Parser;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks of the embedded default.
#[derive(Parser)]
struct Args {
    /// Print JSON too.
    #[arg(long)]
    json: bool,
    /// Fewer rounds.
    #[arg(long)]
    quick: bool,
    /// Only the chains over HTTP.
    #[arg(long)]
    chain: bool,
    /// Only functions as they are deployed: `<folder>/<function>/bootstrap`.
    #[arg(long, value_name = "FOLDER")]
    lambda: Option<std::path::PathBuf>,
    /// Only the console's pages, at ten executions and at so many.
    #[arg(long, value_name = "EXECUTIONS", num_args = 0..=1, default_missing_value = "10000")]
    pages: Option<usize>,
    /// Only the offline verifier of exports.
    #[arg(long)]
    exports: bool,
    /// Verify a folder: measured by the parent.
    #[arg(long, hide = true)]
    verify_folder: Option<std::path::PathBuf>,
    /// Serve on a free port and wait: measured by the parent for its memory at rest.
    #[arg(long, hide = true)]
    serve: bool,
}

fn main() {
    let args = Args::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if args.serve {
        runtime.block_on(chain::serve());
        return;
    }
    if let Some(folder) = &args.verify_folder {
        exports::verify(folder);
        return;
    }
    let mut rows: Vec<Row> = Vec::new();
    if args.exports {
        exports::run(&mut rows, args.quick);
        print(&rows, args.json);
        return;
    }
    if let Some(folder) = &args.lambda {
        lambda::run(&mut rows, folder);
        print(&rows, args.json);
        return;
    }
    if let Some(many) = args.pages {
        runtime.block_on(pages::run(&mut rows, many));
        print(&rows, args.json);
        return;
    }
    if !args.chain {
        exports::run(&mut rows, args.quick);
        pure::compile_and_verify(&mut rows, args.quick);
        pure::backtest(&mut rows, args.quick);
        pure::verify_traces(&mut rows, if args.quick { 100_000 } else { 1_000_000 });
    }
    runtime.block_on(chain::run(&mut rows, args.quick));
    chain::at_rest(&mut rows);
    print(&rows, args.json);
}

fn print(rows: &[Row], json: bool) {
    let wide = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    for row in rows {
        let reach = row.reach.map_or(String::new(), |(limit, less)| {
            let met = if less { row.value <= limit } else { row.value >= limit };
            format!(
                "  {} {limit} {}",
                if less { "≤" } else { "≥" },
                if met { "met" } else { "MISSED" }
            )
        });
        println!("{:wide$}  {:>12.3} {}{reach}", row.name, row.value, row.unit);
    }
    if json {
        let all: Vec<Value> = rows
            .iter()
            .map(|row| json!({ "name": row.name, "value": row.value, "unit": row.unit }))
            .collect();
        println!("{}", Value::from(all));
    }
}

/// One figure, and what it should reach: a limit, and whether less is better.
pub struct Row {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub reach: Option<(f64, bool)>,
}

impl Row {
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, reach: None }
    }
    pub fn at_most(mut self, limit: f64) -> Self {
        self.reach = Some((limit, true));
        self
    }
    pub fn at_least(mut self, limit: f64) -> Self {
        self.reach = Some((limit, false));
        self
    }
}

/// The value below which this share of the sorted samples lies.
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let index = ((samples.len() as f64 * share) as usize).min(samples.len().saturating_sub(1));
    samples.get(index).copied().unwrap_or(f64::NAN)
}
