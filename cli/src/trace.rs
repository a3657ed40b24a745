//! Traces and the workspace log, checked on this side, and replays.

use crate::{
    context::Context,
    error::{CliError, Exit},
    output,
    render::{self, green},
    replay::{self, ReplayArgs},
    visible::Visible,
};
use anstream::println;
use clap::{Args, Subcommand};
use client::Answer;
use contracts::query::{Trace, TraceEntry, TraceHead, WorkspaceLog};
use cs_core::{
    text::escape_foreign,
    trace::{Head, Verifier},
};
use serde_json::json;

#[derive(Subcommand)]
pub enum TraceCommand {
    /// Show the trace of an execution.
    Trace(TraceArgs),
    /// Show the workspace log: everything that changed authority.
    Log {
        /// Check the hash chain here, offline from the server's own word.
        #[arg(long)]
        verify: bool,
    },
    /// Fold the trace, recompile the plan, re-evaluate the policy, and report the first
    /// differences.
    Replay(ReplayArgs),
}

#[derive(Args)]
pub struct TraceArgs {
    execution: String,
    /// Check the hash chain here, offline from the server's own word.
    #[arg(long)]
    verify: bool,
    /// Include the outputs of steps.
    #[arg(long)]
    payloads: bool,
}

/// Runs a command on traces.
pub async fn run(context: &Context, command: TraceCommand) -> Result<Exit, CliError> {
    match command {
        TraceCommand::Trace(args) => {
            let id = context.execution(&args.execution).await?;
            let trace = context.client.trace(&id, None, args.payloads).await?;
            let verified = args.verify.then(|| check(&trace.entries, &trace.head));
            if context.output.json {
                shown_json(&trace, &trace.entries, &trace.head, verified.as_ref());
            } else {
                shown(&Visible::of(&trace)?);
            }
            Ok(told(context, &trace.entries, &trace.head, verified))
        }
        TraceCommand::Log { verify } => {
            let log = context.client.whole_log().await?;
            let verified = verify.then(|| check(&log.entries, &log.head));
            if context.output.json {
                shown_json(&log, &log.entries, &log.head, verified.as_ref());
            } else {
                let log: Visible<WorkspaceLog> = Visible::of(&log)?;
                log.entries.iter().for_each(render::entry);
            }
            Ok(told(context, &log.entries, &log.head, verified))
        }
        TraceCommand::Replay(args) => replay::run(context, args).await,
    }
}

/// Checks a chain from the stored entries; says where it breaks.
pub fn check(entries: &[TraceEntry], head: &TraceHead) -> Result<(), String> {
    let mut verifier = Verifier::default();
    let head = Head { seq: head.seq, hash: head.hash.clone() };
    let outcome = entries.iter().try_for_each(|entry| verifier.push(&entry.event));
    outcome.and_then(|()| verifier.finish(&head)).map_err(|broken| broken.to_string())
}

fn shown_json<A>(
    answer: &Answer<A>,
    entries: &[TraceEntry],
    head: &TraceHead,
    verified: Option<&Result<(), String>>,
) {
    match verified {
        None => output::json(answer.document()),
        Some(verified) => output::json(&json!({
            "verified": verified.is_ok(),
            "events": entries.len(),
            "head": head,
            "problem": verified.as_ref().err(),
        })),
    }
}

fn shown(trace: &Visible<Trace>) {
    trace.entries.iter().for_each(render::entry);
    for (step, output) in &trace.payloads {
        render::field(5, step, &output.to_string());
    }
    if !trace.payloads_omitted.is_empty() {
        let count = trace.payloads_omitted.len();
        render::field(5, "left out", &format!("{count} more outputs: the answer is full"));
    }
}

fn told(
    context: &Context,
    entries: &[TraceEntry],
    head: &TraceHead,
    verified: Option<Result<(), String>>,
) -> Exit {
    let Some(verified) = verified else { return Exit::Done };
    match &verified {
        _ if context.output.json => {}
        Ok(()) => {
            let count = entries.len();
            println!("{} {count} events", green("✓ the chain verifies:"));
            println!("  head {}", head.hash);
        }
        Err(why) => println!("{} {}", render::status("failed"), escape_foreign(why)),
    }
    Exit::done_if(verified.is_ok())
}
