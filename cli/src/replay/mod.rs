//! Replays: of one execution, and of every one of a workspace, several at once, to be gone on with
//! where it was stopped.

mod each;
mod executions;
mod progress;
mod report;
mod resume;
mod when;

use crate::{
    context::Context,
    error::{CliError, Exit},
};
use clap::Args;
use contracts::{ExecutionId, Timestamp};
use countersign_store::Clock as _;
use host::SystemClock;
use progress::Progress;
use report::Report;
use resume::{Resume, Window};
use std::path::PathBuf;

/// Executions that are replayed at once unless the caller says otherwise.
const JOBS_DEFAULT: usize = 4;

#[derive(Args)]
pub struct ReplayArgs {
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    execution: Option<String>,
    /// Every execution that the key may see. Exit code 0 only if all of them replay.
    #[arg(long)]
    all: bool,
    /// With --all: those that were submitted then or later: a moment, a day, or so long ago
    /// (`30m`, `12h`, `7d`).
    #[arg(long, value_name = "WHEN", requires = "all")]
    since: Option<String>,
    /// With --all: those that were submitted before.
    #[arg(long, value_name = "WHEN", requires = "all")]
    until: Option<String>,
    /// With --all: how many are replayed at once, 1 to 32; default 4.
    #[arg(long, requires = "all", value_parser = clap::value_parser!(u8).range(1..=32))]
    jobs: Option<u8>,
    /// With --all: keep in this file what is done; run again with it, the command goes on there.
    #[arg(long, value_name = "FILE", requires = "all")]
    resume: Option<PathBuf>,
}

/// Replays one execution, or every one.
pub async fn run(context: &Context, args: ReplayArgs) -> Result<Exit, CliError> {
    let Some(execution) = &args.execution else { return all(context, &args).await };
    let id = context.execution(execution).await?;
    let answer = context.client.replay(&id).await?;
    context.output.show(&answer, report::one)?;
    Ok(Exit::done_if(answer.matches))
}

async fn all(context: &Context, args: &ReplayArgs) -> Result<Exit, CliError> {
    let asked = Window::of(context.client.endpoint(), args, SystemClock.now())?;
    let mut resume = args.resume.as_deref().map(|file| Resume::open(file, &asked)).transpose()?;
    let window = resume.as_ref().map_or(&asked, Resume::window).clone();
    let mut progress = Progress::start();
    let listed = executions::list(&context.client, (window.since, window.until), |count| {
        progress.listed(count);
    })
    .await?;
    let mut report = Report::new((window.since, window.until), listed.len());
    let mut left = Vec::new();
    for execution in listed {
        match resume.as_ref().and_then(|resume| resume.done(&execution)) {
            Some(outcome) => report.resumed(execution.id, outcome),
            None => left.push(execution),
        }
    }
    progress.replaying(&report);
    let jobs = args.jobs.map_or(JOBS_DEFAULT, usize::from);
    let ended = each::replay(&context.client, left, jobs, |execution, outcome| {
        if let Some(resume) = &mut resume {
            resume.keep(&execution, &outcome)?;
        }
        report.add(execution.id, outcome);
        progress.replaying(&report);
        Ok(())
    })
    .await;
    progress.end();
    ended?;
    report.show(context.output)?;
    Ok(Exit::done_if(report.all_match()))
}

/// An execution as it was listed.
#[derive(Clone, Debug)]
struct Listed {
    id: ExecutionId,
    updated_at: Timestamp,
}
