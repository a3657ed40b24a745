//! Phrases of an intent that raise its risk.

use crate::{
    context::{Context, read_document},
    error::{CliError, Exit},
    render,
    visible::Visible,
};
use clap::Subcommand;
use contracts::{
    governance::{EmptyQuery, SetSignals, SignalsAnswer},
    operation as op,
};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum SignalsCommand {
    /// The phrases in force.
    Show,
    /// Set them from a JSON file: `[{"tier": "high", "phrase": "wire transfer"}]`. Without one,
    /// those of the contract.
    Set {
        file: Option<PathBuf>,
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Runs a command on risk phrases.
pub async fn run(context: &Context, command: SignalsCommand) -> Result<Exit, CliError> {
    let answer = match command {
        SignalsCommand::Show => context.client.call(&op::SIGNALS_GET, &EmptyQuery {}).await?,
        SignalsCommand::Set { file, reason } => {
            let phrases = file.as_deref().map(read_document).transpose()?;
            let request = SetSignals { phrases, expected_version: None, reason };
            context.client.call(&op::SIGNALS_SET, &request).await?
        }
    };
    context.output.show(&answer, shown)?;
    Ok(Exit::Done)
}

fn shown(answer: &Visible<SignalsAnswer>) {
    let Some(phrases) = answer.phrases.known() else {
        render::field(0, "", &answer.phrases.to_string());
        return;
    };
    let rows: Vec<Vec<String>> =
        phrases.iter().map(|one| vec![one.tier.to_string(), one.phrase.clone()]).collect();
    render::table(&["raises to", "phrase"], &rows);
}
