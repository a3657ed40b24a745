//! API keys, keys that sign skills, and the services that decide like people.

use crate::{
    context::Context,
    error::{CliError, Exit},
    ids::{self, Short},
    output::Output,
    publisher_keys,
    render::{self, dim},
    submit::word,
    visible::Visible,
};
use anstream::println;
use clap::Subcommand;
use contracts::{
    Timestamp,
    access::{CreateKey, KeyList, RevokeKey, SetDeciders},
    event::{Actor, ActorKind},
    governance::EmptyQuery,
    grant, operation as op,
};
use std::{collections::BTreeSet, path::PathBuf};

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key that signs skills.
    Generate {
        /// Where the private key goes; the public one goes beside it as `.pub`.
        #[arg(long, default_value = "publisher.key")]
        out: PathBuf,
    },
    /// Show what a trust policy pins of a key that signs skills.
    Public {
        /// Its private or public key: PEM, or what `keys generate` wrote.
        file: PathBuf,
    },
    /// Make a key. Its secret is printed once and stored nowhere.
    Create {
        /// Whose key it is.
        #[arg(required_unless_present = "person")]
        actor: Option<String>,
        /// human, service, agent or tool.
        #[arg(long, default_value = "agent", value_parser = word::<ActorKind>)]
        kind: ActorKind,
        /// A person of the directory, whose key it is: it ends with the person.
        #[arg(long, conflicts_with_all = ["actor", "kind"])]
        person: Option<String>,
        /// Grants, `control-plane.` may be left out. Default: those of an agent backend, or of an
        /// approver for humans.
        #[arg(long)]
        grant: Vec<String>,
        /// RFC 3339 time after which it is void.
        #[arg(long)]
        expires_at: Option<Timestamp>,
    },
    /// List keys.
    List,
    /// Revoke a key by its id, or by the beginning of it.
    Revoke { id: String },
    /// The services that decide like people; with names, set them.
    Deciders {
        services: Vec<String>,
        /// Only people decide.
        #[arg(long, conflicts_with = "services")]
        none: bool,
        #[arg(long)]
        reason: Option<String>,
    },
}

impl KeysCommand {
    /// Runs what needs no control plane; else gives the command back.
    pub fn run_here(self, output: Output) -> Result<Option<Self>, CliError> {
        match self {
            Self::Generate { out } => publisher_keys::generate(&out, output.json)?,
            Self::Public { file } => publisher_keys::public(&file)?,
            other => return Ok(Some(other)),
        }
        Ok(None)
    }
}

/// Runs a command on keys.
pub async fn run(context: &Context, command: KeysCommand) -> Result<Exit, CliError> {
    let Some(command) = command.run_here(context.output)? else { return Ok(Exit::Done) };
    match command {
        KeysCommand::Generate { .. } | KeysCommand::Public { .. } => {}
        KeysCommand::Create { actor, kind, person, grant, expires_at } => {
            let kind = if person.is_some() { ActorKind::Human } else { kind };
            let actor = actor.map(|id| Actor { kind, id });
            let request = CreateKey { actor, person, grants: grants(kind, grant), expires_at };
            let answer = context.client.call(&op::KEY_CREATE, &request).await?;
            context.output.show(&answer, |made| match &made.api_key {
                Some(secret) => println!("{}\n{secret}", dim("shown once:")),
                None => println!("{}", dim("it was shown when it was made")),
            })?;
        }
        KeysCommand::Deciders { services, none, reason } => {
            deciders(context, services, none, reason).await?;
        }
        KeysCommand::List => list(context).await?,
        KeysCommand::Revoke { id } => {
            let keys = context.client.every_key().await?;
            let key_id =
                ids::one("key", &id, keys.items.iter().map(|key| key.id.as_str()))?.to_owned();
            let answer = context.client.call(&op::KEY_REVOKE, &RevokeKey { key_id }).await?;
            context.output.show(&answer, |key| println!("{} revoked", key.id))?;
        }
    }
    Ok(Exit::Done)
}

fn grants(kind: ActorKind, named: Vec<String>) -> BTreeSet<String> {
    match (named.is_empty(), kind) {
        (true, ActorKind::Human) => engine::approver_grants(),
        (true, ActorKind::Service | ActorKind::Agent | ActorKind::Tool) => engine::agent_grants(),
        (false, _) => {
            let full = |name: String| match name.starts_with(grant::PREFIX) {
                true => name,
                false => format!("{}{name}", grant::PREFIX),
            };
            named.into_iter().map(full).collect()
        }
    }
}

async fn deciders(
    context: &Context,
    services: Vec<String>,
    none: bool,
    reason: Option<String>,
) -> Result<(), CliError> {
    let answer = if services.is_empty() && !none {
        context.client.call(&op::DECIDERS_GET, &EmptyQuery {}).await?
    } else {
        let request = SetDeciders { services: services.into_iter().collect(), reason };
        context.client.call(&op::DECIDERS_SET, &request).await?
    };
    context.output.show(&answer, |deciders| {
        let services: Vec<&str> = deciders.services.iter().map(String::as_str).collect();
        match services.is_empty() {
            true => println!("only people decide"),
            false => println!("{}", services.join(", ")),
        }
    })
}

async fn list(context: &Context) -> Result<(), CliError> {
    let keys = context.client.every_key().await?;
    context.output.show(&keys, |keys| rows(keys, context.output.wide))
}

fn rows(keys: &Visible<KeyList>, wide: bool) {
    let short = Short::among(keys.items.iter().map(|key| key.id.as_str()));
    let rows: Vec<Vec<String>> = keys
        .items
        .iter()
        .map(|key| {
            let id = if wide { key.id.as_str() } else { short.of(&key.id) };
            let state = if key.revoked_at.is_some() { "revoked" } else { "enabled" };
            vec![
                id.to_owned(),
                state.to_owned(),
                key.actor.kind.as_str().to_owned(),
                key.actor.id.clone(),
                render::moment(key.created_at),
                key.expires_at.map(render::moment).unwrap_or_default(),
            ]
        })
        .collect();
    render::table(&["key", "status", "kind", "actor", "created", "expires"], &rows);
}
