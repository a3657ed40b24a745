//! Channels that a workspace is spoken to by.

use crate::{
    context::{Context, read, read_document},
    error::{CliError, Exit},
    render::{self, bold, dim, green},
    visible::Visible,
};
use anstream::println;
use clap::Subcommand;
use contracts::{
    channel::{ChannelList, ChannelView, ListChannels, PutChannel, RemoveChannel},
    operation as op,
};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum ChannelCommand {
    /// Add a channel or replace it. What is not a secret is a JSON document; secrets come from
    /// files of their own, `-` for standard input, and stay as they are where none is given.
    Put {
        /// The document: key, provider, sources, rules.
        file: PathBuf,
        /// File with what the provider signs with.
        #[arg(long, value_name = "FILE")]
        signing_secret: Option<PathBuf>,
        /// File with the token that replies are sent with.
        #[arg(long, value_name = "FILE")]
        token: Option<PathBuf>,
        /// File with the token by which Meta asks whether the address is ours.
        #[arg(long, value_name = "FILE")]
        verify_token: Option<PathBuf>,
    },
    /// List the channels.
    List,
    /// End a channel.
    Remove {
        key: String,
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Runs a command on channels.
pub async fn run(context: &Context, command: ChannelCommand) -> Result<Exit, CliError> {
    match command {
        ChannelCommand::Put { file, signing_secret, token, verify_token } => {
            let mut request: PutChannel = read_document(&file)?;
            for (field, file) in [
                (&mut request.signing_secret, signing_secret),
                (&mut request.token, token),
                (&mut request.verify_token, verify_token),
            ] {
                if let Some(file) = file {
                    *field = Some(secret(&file)?);
                }
            }
            let answer = context.client.call(&op::CHANNEL_PUT, &request).await?;
            context.output.show(&answer, |view: &Visible<ChannelView>| {
                println!("{} {}", green("✓"), bold(&view.channel_key));
                println!("{} {}", dim("the provider sends to"), view.url);
            })?;
        }
        ChannelCommand::List => {
            let answer = context.client.call(&op::CHANNEL_LIST, &ListChannels {}).await?;
            context.output.show(&answer, shown)?;
        }
        ChannelCommand::Remove { key, reason } => {
            let request = RemoveChannel { channel_key: key, reason };
            let answer = context.client.call(&op::CHANNEL_REMOVE, &request).await?;
            context.output.show(&answer, |done| println!("{} removed", done.removed))?;
        }
    }
    Ok(Exit::Done)
}

// Editors end a file with a line break, which is no part of a secret.
fn secret(file: &Path) -> Result<String, CliError> {
    let text = String::from_utf8(read(file)?);
    let text = text.map_err(|_| CliError::file(file, "not a text in UTF-8"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn shown(list: &Visible<ChannelList>) {
    let rows: Vec<Vec<String>> = list
        .items
        .iter()
        .map(|channel| {
            let teams: Vec<&str> =
                channel.sources.iter().map(|source| source.team.as_str()).collect();
            vec![
                channel.channel_key.clone(),
                channel.provider.to_string(),
                teams.join(" "),
                channel.rules.len().to_string(),
                if channel.reply { "on" } else { "off" }.to_owned(),
                channel.url.clone(),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => println!("{}", dim("no channels")),
        false => render::table(&["channel", "provider", "teams", "rules", "reply", "url"], &rows),
    }
}
