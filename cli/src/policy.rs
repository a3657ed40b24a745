//! Policy sets: looking at them, testing them on what happened, activating them.

use crate::{
    backtest::{self, BacktestArgs},
    context::Context,
    error::{CliError, Exit},
    prove,
    render::{self, bold, dim, green},
    visible::{Visible, document},
};
use anstream::{print, println};
use clap::Subcommand;
use contracts::{
    command::{ActivatePolicy, PolicyActivatedAnswer},
    governance::{EmptyQuery, PolicySets, Shadow, ShadowPolicy},
    operation as op,
};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum PolicyCommand {
    /// The active policy set.
    Show,
    /// Print a policy to begin with; without a name, list them.
    Template { name: Option<String> },
    /// Validate a set, show which verdicts of the last days would be others, and activate it.
    Activate {
        /// Cedar files; together they are the set.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[arg(long)]
        note: Option<String>,
        /// Activate nothing.
        #[arg(long)]
        dry_run: bool,
        /// Days that are tested, 0 to 90; default 7.
        #[arg(long)]
        days: Option<u32>,
    },
    /// Show which verdicts would be others under a set, and what that affects.
    Backtest(BacktestArgs),
    /// Evaluate a candidate beside the active set; without files, show what it would have changed.
    Shadow {
        files: Vec<PathBuf>,
        /// No candidate any more.
        #[arg(long, conflicts_with = "files")]
        stop: bool,
    },
    /// Prove by a solver, for every request there can be: no policy errs, high risk is never
    /// autonomous, and no more is permitted than before.
    Prove {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The set that it is compared with; else the active one.
        #[arg(long)]
        than: Option<PathBuf>,
    },
}

impl PolicyCommand {
    /// Runs what needs no control plane; else gives the command back.
    pub fn run_here(self) -> Result<Option<Self>, CliError> {
        match self {
            Self::Template { name } => template(name.as_deref()).map(|()| None),
            other => Ok(Some(other)),
        }
    }
}

/// Runs a command on policies.
pub async fn run(context: &Context, command: PolicyCommand) -> Result<Exit, CliError> {
    let Some(command) = command.run_here()? else { return Ok(Exit::Done) };
    match command {
        PolicyCommand::Template { .. } => {}
        PolicyCommand::Show => {
            let answer = context.client.call(&op::POLICY_GET, &EmptyQuery {}).await?;
            // The text of the set is code, of several lines.
            let policies = document(&answer.policies);
            context.output.show(&answer, |set| shown(set, &policies))?;
        }
        PolicyCommand::Activate { files, note, dry_run, days } => {
            let policies = gather(&files)?;
            let request = ActivatePolicy { policies, note, dry_run, backtest_days: days };
            let answer = context.client.call(&op::POLICY_ACTIVATE, &request).await?;
            context.output.show(&answer, activated)?;
        }
        PolicyCommand::Backtest(args) => backtest::run(context, args).await?,
        PolicyCommand::Shadow { files, stop } => {
            let answer = if files.is_empty() && !stop {
                context.client.call(&op::POLICY_SHADOW_GET, &EmptyQuery {}).await?
            } else {
                let policies = if stop { None } else { Some(gather(&files)?) };
                let request = ShadowPolicy { policies, note: None };
                context.client.call(&op::POLICY_SHADOW, &request).await?
            };
            context.output.show(&answer, shadow)?;
        }
        PolicyCommand::Prove { files, than } => {
            let claim = prove::Claim::Set { files: &files, than: than.as_deref() };
            return prove::show(context, &claim).await;
        }
    }
    Ok(Exit::Done)
}

/// The files of a set as one text; a line above each says which it is, so that explanations name
/// it.
pub fn gather(files: &[PathBuf]) -> Result<String, CliError> {
    let mut text = String::new();
    for file in files {
        let content = std::fs::read_to_string(file).map_err(|error| CliError::file(file, error))?;
        let name =
            file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        text += &format!("// file: {name}\n{}\n", content.trim_end());
    }
    Ok(text)
}

fn template(name: Option<&str>) -> Result<(), CliError> {
    let Some(name) = name else {
        let row = |(name, text): &(&str, &str)| {
            let says = text.lines().next().unwrap_or_default().trim_start_matches("// ");
            vec![(*name).to_owned(), says.to_owned()]
        };
        let rows: Vec<Vec<String>> = policy::TEMPLATES.iter().map(row).collect();
        render::table(&["template", "what it says"], &rows);
        return Ok(());
    };
    let found = policy::TEMPLATES.iter().find(|(known, _)| *known == name);
    let (_, text) = found.ok_or_else(|| {
        CliError::Local(format!("no template `{name}`; `policy template` lists them"))
    })?;
    print!("{text}");
    Ok(())
}

fn shown(set: &Visible<PolicySets>, policies: &str) {
    println!(
        "{} {}  {} {}",
        dim("policy set, version"),
        set.policy_version,
        dim("active since"),
        set.activated_at
    );
    print!("{policies}");
}

fn activated(answer: &Visible<PolicyActivatedAnswer>) {
    print!("{}", backtest::changes(answer.changes.iter()));
    evaluated(answer.evaluated, answer.changes.len(), answer.truncated);
    if answer.active {
        println!(
            "{} version {} is active  {}",
            green("✓"),
            bold(&answer.policy_version),
            dim(answer.digest.as_str())
        );
    } else {
        println!("{}", dim("a dry run: nothing was activated"));
    }
}

fn shadow(shadow: &Visible<Shadow>) {
    match &shadow.digest {
        Some(digest) => println!("{} {digest}", dim("in shadow")),
        None => println!("{}", dim("no candidate is in shadow")),
    }
    let changed = shadow.changed.iter().map(|changed| &changed.change);
    print!("{}", backtest::changes(changed));
}

fn evaluated(steps: u64, changed: usize, truncated: bool) {
    let line = format!("{steps} steps evaluated again, {changed} verdicts would be others");
    println!("{}", dim(&line));
    if truncated {
        println!("{}", bold("not all of the window was evaluated: narrow it"));
    }
}
