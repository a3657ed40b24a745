//! Approval links: how they are ended before their time.

use crate::{
    context::Context,
    error::{CliError, Exit},
    render::{bold, green, moment},
};
use anstream::println;
use clap::Subcommand;
use contracts::{link::RevokeLinks, operation as op};

#[derive(Subcommand)]
pub enum LinkCommand {
    /// End every link of a person that was sent before now: your own, or with the grant
    /// `control-plane.directory` anybody's.
    Revoke {
        /// A person of the directory.
        person: String,
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Runs a command on approval links.
pub async fn run(context: &Context, command: LinkCommand) -> Result<Exit, CliError> {
    match command {
        LinkCommand::Revoke { person, reason } => {
            let request = RevokeLinks { person_id: person, reason };
            let answer = context.client.call(&op::LINK_REVOKE, &request).await?;
            context.output.show(&answer, |done| {
                let until = moment(done.revoked_at);
                let person = bold(&done.person_id);
                println!("{} no link of {person} from before {until}", green("✓"));
            })?;
        }
    }
    Ok(Exit::Done)
}
