//! Checks evidence offline: no network, no account.

use crate::{
    error::{CliError, Exit},
    output::{self, Output},
    pack,
    render::{self, bold, dim, green},
    visible,
};
use anstream::{eprintln, println};
use audit::{Checked, Options, Report};
use clap::Args;
use contracts::evidence::Receipt;
use cs_core::text::escape_foreign;
use ed25519_dalek::VerifyingKey;
use serde_json::json;
use std::{
    io::IsTerminal as _,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Findings that are shown to people.
const SHOWN_MAX: usize = 20;
/// Between two tellings of how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

#[derive(Args)]
pub struct VerifyArgs {
    /// A folder of exports, a pack, a bundle of one execution, or a receipt of one step.
    path: PathBuf,
    /// A file with the public keys of the control plane (countersign evidence keys), or with one
    /// key. Also taken as --key; more than once where keys were rotated.
    #[arg(long, value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// The first export here: earlier ones are elsewhere.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    from: u64,
    /// A file with a checkpoint that was kept elsewhere: the log must be the one that it speaks
    /// of, and reach it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

/// Checks, and says what was checked and what is wrong.
/// `key`: a file with keys, named as one key.
pub fn run(args: VerifyArgs, key: Option<&str>, output: Output) -> Result<Exit, CliError> {
    let files: Vec<PathBuf> = args.keys.iter().cloned().chain(key.map(PathBuf::from)).collect();
    let keys = read_keys(&files)?;
    let checkpoint = args.checkpoint.as_ref().map(read).transpose()?;
    let options = Options { from: args.from.max(1), checkpoint, ..Options::new(keys) };
    let (started, mut told) = (Instant::now(), Instant::now());
    let shows = std::io::stderr().is_terminal() && !output.json;
    let mut progress = |events: u64| {
        if shows && told.elapsed() >= PROGRESS {
            told = Instant::now();
            eprintln!("{}", dim(&format!("{events} events")));
        }
    };
    let mut report = audit::check(&args.path, &options, &mut progress).map_err(CliError::local)?;
    if report.checked.pack.is_some() {
        pack::check_page(&args.path, &mut report)?;
    }
    if output.json {
        json(&report);
    } else {
        shown(&report, started.elapsed());
    }
    Ok(Exit::done_if(report.is_whole()))
}

fn read(file: &PathBuf) -> Result<String, CliError> {
    std::fs::read_to_string(file).map_err(|error| CliError::file(file, error))
}

/// The public keys of some files, which must have some.
pub fn read_keys(files: &[PathBuf]) -> Result<Vec<VerifyingKey>, CliError> {
    let mut keys = Vec::new();
    for file in files {
        let found = audit::read_keys(&read(file)?).map_err(|error| CliError::file(file, error))?;
        keys.extend(found);
    }
    if keys.is_empty() {
        let advice = "no public key is given: `--keys FILE`; `countersign evidence keys` writes it";
        return Err(CliError::local(advice));
    }
    Ok(keys)
}

/// The report, for machines.
pub fn json(report: &Report) {
    output::json(&json!({
        "whole": report.is_whole(),
        "checked": report.checked,
        "findings": report.findings,
        "found": report.found,
    }));
}

fn shown(report: &Report, took: Duration) {
    if let Some(receipt) = &report.checked.receipt {
        return shown_receipt(receipt, report);
    }
    let Checked { exports, files, events, executions, documents, entries, .. } = report.checked;
    println!("{}", bold("Checked"));
    if let Some(control) = &report.checked.pack {
        let pack = format!("{control}, {} lines", report.checked.lines);
        render::field(2, "Pack", &pack);
    }
    let workspaces: Vec<&str> = report.checked.workspaces.iter().map(String::as_str).collect();
    render::field(2, "Workspaces", &escape_foreign(&workspaces.join(", ")));
    let of =
        if exports > 0 { format!("{exports} exports, {files} files, ") } else { String::new() };
    let what = format!(
        "{of}{events} events of {executions} executions, {documents} documents, {entries} entries \
         of the log"
    );
    render::field(2, "What", &what);
    if let (Some(first), Some(last)) = (report.checked.first, report.checked.last) {
        let when = format!("{} to {}", render::moment(first), render::moment(last));
        render::field(2, "When", &when);
    }
    if report.checked.newer > 0 {
        let newer = format!("{} entries of the log are newer", report.checked.newer);
        render::field(2, "Newer", &newer);
    }
    let seconds = took.as_secs_f64().max(0.001);
    let speed = format!("{seconds:.1} s, {:.0} events a second", events as f64 / seconds);
    render::field(2, "Took", &speed);
    if report.is_whole() {
        println!("\n{} complete and untouched", green("✓"));
        return;
    }
    findings(report);
}

fn shown_receipt(receipt: &Receipt, report: &Report) {
    println!("{}", bold("Receipt"));
    let field = |name: &str, value: &str| render::field(2, name, &escape_foreign(value));
    field("Workspace", receipt.ws.as_str());
    field("Execution", receipt.exe.as_str());
    field("Step", &format!("{}, attempt {}", receipt.step, receipt.attempt));
    field("Operation", &format!("{} ({})", receipt.op, receipt.purpose.as_str()));
    field("Outcome", &format!("{:?} at {}", receipt.outcome, render::moment(receipt.at)));
    field("Input", receipt.inp.as_str());
    if let Some(output) = &receipt.out {
        field("Output", output.as_str());
    }
    field("Event", &format!("{} of its trace, {}", receipt.seq, receipt.evt));
    field("Plan", receipt.plan.as_str());
    match report.checked.entries {
        0 => field("Log", "no proof: the end of the execution did not stand in it yet"),
        _ => field("Log", "the end of the execution stands in it"),
    }
    if report.is_whole() {
        println!("\n{} signed as it is here", green("✓"));
        return;
    }
    findings(report);
}

/// What was found, for people.
pub fn findings(report: &Report) {
    println!("\n{}", bold(&format!("{} found; the first:", report.found)));
    for finding in report.findings.iter().take(SHOWN_MAX) {
        let text = format!("{}: {finding}", finding.code);
        for (index, line) in visible::lines(&escape_foreign(&text), 4).iter().enumerate() {
            println!("  {} {line}", if index == 0 { "✗" } else { " " });
        }
    }
    if report.found as usize > SHOWN_MAX {
        println!("  and {} more", report.found as usize - SHOWN_MAX);
    }
}
