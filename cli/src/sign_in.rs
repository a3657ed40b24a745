//! The rules of signing in by the identity provider.

use crate::{
    context::Context,
    error::{CliError, Exit},
    visible::Visible,
};
use anstream::println;
use clap::{Subcommand, ValueEnum};
use contracts::{
    governance::EmptyQuery,
    operation as op,
    sign_in::{SecondFactor, SetSignIn, SignInRules, SignInView},
};

#[derive(Subcommand)]
pub enum SignInCommand {
    /// Show the rules.
    Show,
    /// Set the rules; what is left out is as without rules.
    Set {
        /// Which decisions need that the person signs in once more, for that very request.
        #[arg(long, value_enum, default_value = "none")]
        second_factor: Factor,
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Factor {
    /// None does.
    None,
    /// Those on requests of high risk.
    HighRisk,
}

/// Runs a command on the rules.
pub async fn run(context: &Context, command: SignInCommand) -> Result<Exit, CliError> {
    let answer = match command {
        SignInCommand::Show => context.client.call(&op::SIGN_IN_GET, &EmptyQuery {}).await?,
        SignInCommand::Set { second_factor, reason } => {
            let second_factor = match second_factor {
                Factor::None => SecondFactor::None,
                Factor::HighRisk => SecondFactor::HighRisk,
            };
            let rules = SignInRules { second_factor };
            let request = SetSignIn { rules, reason };
            context.client.call(&op::SIGN_IN_SET, &request).await?
        }
    };
    context.output.show(&answer, show)?;
    Ok(Exit::Done)
}

fn show(view: &Visible<SignInView>) {
    let issuer = view.issuer.as_deref().unwrap_or("none is set up");
    println!("identity provider  {issuer}");
    println!("second factor      {}", view.second_factor);
}
