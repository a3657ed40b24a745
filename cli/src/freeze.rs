//! Stopping what has not begun.

use crate::{
    context::Context,
    error::{CliError, Exit},
    render::{self, dim},
    submit::word,
    visible::Visible,
};
use anstream::println;
use clap::Subcommand;
use contracts::{
    Open,
    governance::{EmptyQuery, FreezeScope, Freezes, SetFreeze},
    operation as op,
};

#[derive(Subcommand)]
pub enum FreezeCommand {
    /// What is frozen.
    List,
    /// Freeze: no step it covers begins.
    Set {
        /// workspace, skill, operation or actor.
        #[arg(value_parser = word::<FreezeScope>)]
        scope: FreezeScope,
        /// A skill's key, `skill/operation`, or an actor's id.
        what: Option<String>,
        #[arg(long)]
        reason: Option<String>,
        /// Freeze what does not exist (yet).
        #[arg(long)]
        force: bool,
    },
    /// Lift a freeze.
    Lift {
        /// workspace, skill, operation or actor.
        #[arg(value_parser = word::<FreezeScope>)]
        scope: FreezeScope,
        what: Option<String>,
    },
}

/// Runs a command on freezes.
pub async fn run(context: &Context, command: FreezeCommand) -> Result<Exit, CliError> {
    let request = match command {
        FreezeCommand::List => {
            let answer = context.client.call(&op::FREEZE_LIST, &EmptyQuery {}).await?;
            context.output.show(&answer, shown)?;
            return Ok(Exit::Done);
        }
        FreezeCommand::Set { scope, what, reason, force } => {
            SetFreeze { scope, key: what, frozen: true, force, reason }
        }
        FreezeCommand::Lift { scope, what } => {
            SetFreeze { scope, key: what, frozen: false, force: false, reason: None }
        }
    };
    let answer = context.client.call(&op::FREEZE_SET, &request).await?;
    context.output.show(&answer, shown)?;
    Ok(Exit::Done)
}

fn shown(freezes: &Visible<Freezes>) {
    let row = |item: &Open<contracts::governance::Freeze>| match item.known() {
        None => vec![item.to_string()],
        Some(freeze) => vec![
            Open::from(freeze.scope).to_string(),
            freeze.key.clone().unwrap_or_default(),
            render::moment(freeze.since),
            freeze.actor_id.clone(),
            freeze.reason.clone().unwrap_or_default(),
        ],
    };
    let rows: Vec<Vec<String>> = freezes.items.iter().map(row).collect();
    match rows.is_empty() {
        true => println!("{}", dim("nothing is frozen")),
        false => render::table(&["frozen", "key", "since", "by", "reason"], &rows),
    }
    for warning in &freezes.warnings {
        render::field(0, "warning", &warning.message);
    }
}
