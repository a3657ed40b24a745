//! `dev` and `tools`: servers in this process.

use crate::{
    error::{CliError, Exit},
    identity::IdentityArgs,
    output::{self, Output},
    profile::{self, DevKeys},
    render::{bold, dim},
    target::Environment,
};
use anstream::println;
use clap::Args;
use contracts::WorkspaceId;
use local::{Identity, Node, Options, demo_tools::DemoTools, mail::MailOptions};
use serde_json::{Value, json};
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// How long what is in flight may take to end when the process is told to.
const DRAIN: Duration = Duration::from_secs(10);
const DEFAULT_WORKSPACE: &str = "default";

#[derive(Args)]
pub struct DevArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7411")]
    listen: SocketAddr,
    /// Folder of all data.
    #[arg(long, default_value = ".countersign")]
    data: PathBuf,
    /// Another workspace and its keys. May be given several times.
    #[arg(long)]
    workspace: Vec<String>,
    /// Send stage events to this URL, signed by Standard Webhooks.
    #[arg(long)]
    subscriber: Option<String>,
    /// Where tools reach this process to call back, and warrants' keys; else where it listens.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Whom mails come from; else COUNTERSIGN_MAIL_FROM. The mail server is
    /// COUNTERSIGN_SMTP_URL; without one mails are kept in the data folder.
    #[arg(long, value_name = "ADDRESS")]
    mail_from: Option<String>,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Make new keys for workspaces that have some.
    #[arg(long)]
    new_keys: bool,
    /// Make a new key for warrants: published at once, it signs in ten minutes; the one before it
    /// stays published.
    #[arg(long)]
    new_warrant_key: bool,
}

/// A workspace; its keys, where they were made just now; and what signs its events, likewise.
struct Opened {
    name: WorkspaceId,
    identity: Option<Identity>,
    subscriber_secret: Option<String>,
    /// Where its console opens, once, without a key.
    console: Option<String>,
}

/// Runs the control plane until it is interrupted.
pub async fn dev(args: DevArgs, output: Output) -> Result<Exit, CliError> {
    let names = workspaces(&args.workspace)?;
    local::private_files();
    // Listened for before anything is begun.
    let mut terminated = signal(SignalKind::terminate()).map_err(CliError::local)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(CliError::local)?;
    let options = Options {
        data: args.data.clone(),
        listen: args.listen,
        allow_private_targets: true,
        new_warrant_key: args.new_warrant_key,
        subscriber: args.subscriber,
        public_url: args.public_url.map(|url| url.trim_end_matches('/').to_owned()),
        mail: mail_options(args.mail_from),
        identity: args.identity.options(Environment::read().oidc_client_secret)?,
    };
    let mut node = Node::start(options).await.map_err(CliError::local)?;
    let mut opened = Vec::new();
    for name in names {
        opened.push(open(&node, name, args.new_keys).await?);
    }
    if output.json {
        output::json(&ready(&node, &opened));
    } else {
        greet(&node, &opened, &args.data);
    }
    tokio::select! {
        why = node.serve() => return Err(CliError::Local(why)),
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    node.drain(DRAIN).await;
    Ok(Exit::Done)
}

// The mail server's URL holds a password: it is no argument, which others could read.
fn mail_options(from: Option<String>) -> MailOptions {
    let Environment { smtp_url, mail_from, .. } = Environment::read();
    MailOptions { smtp_url, from: from.or(mail_from) }
}

fn workspaces(more: &[String]) -> Result<Vec<WorkspaceId>, CliError> {
    let mut names: Vec<WorkspaceId> = Vec::new();
    for name in std::iter::once(DEFAULT_WORKSPACE).chain(more.iter().map(String::as_str)) {
        let name: WorkspaceId = name.parse().map_err(CliError::local)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

// Keys are shown once, unless somebody asks for others.
async fn open(node: &Node, name: WorkspaceId, new_keys: bool) -> Result<Opened, CliError> {
    let known = node.engine().access.has_keys(&name).await.map_err(CliError::server)?;
    if known && !new_keys {
        let subscriber_secret = node.subscribe(&name).await.map_err(CliError::server)?;
        let console = console(node, &name).await?;
        return Ok(Opened { name, identity: None, subscriber_secret, console });
    }
    let identity = node.identity(&name).await.map_err(CliError::server)?;
    let subscriber_secret = identity.subscriber_secret.clone();
    let console = console(node, &name).await?;
    Ok(Opened { name, identity: Some(identity), subscriber_secret, console })
}

// The console's address with a code for one sign-in; none where no person of the deployment's own
// has a key that holds.
async fn console(node: &Node, name: &WorkspaceId) -> Result<Option<String>, CliError> {
    let code = node.engine().sessions.deploy_code(name).await.map_err(CliError::server)?;
    Ok(code.map(|code| format!("{}/console?code={code}", node.url())))
}

fn ready(node: &Node, opened: &[Opened]) -> Value {
    let all: Vec<Value> = opened
        .iter()
        .filter_map(|workspace| workspace.identity.as_ref())
        .map(|identity| {
            json!({
                "workspaceId": identity.workspace,
                "apiKey": identity.agent_key,
                "approverKey": identity.approver_key,
                "subscriberSecret": identity.subscriber_secret,
            })
        })
        .collect();
    let mut line = all.first().cloned().unwrap_or_else(|| json!({}));
    if let Some(map) = line.as_object_mut() {
        map.insert("url".into(), node.url().into());
        let consoles = opened.iter().filter_map(|one| one.console.clone());
        map.insert("consoles".into(), consoles.collect::<Vec<_>>().into());
        map.insert("workspaces".into(), all.into());
    }
    line
}

fn greet(node: &Node, opened: &[Opened], data: &std::path::Path) {
    println!("{} {}", bold("countersign"), node.url());
    println!("{}", dim(&format!("data in {}", data.display())));
    println!("{}", dim("tools on this machine are allowed; skills are installed when somebody"));
    println!("{}", dim("trusted signed them"));
    for workspace in opened {
        println!("\nworkspace {}", bold(workspace.name.as_str()));
        match &workspace.identity {
            Some(identity) => {
                println!("  {}", dim("shown once: the key of an agent, and that of a person who"));
                println!("  {}", dim("approves and governs"));
                println!("  export COUNTERSIGN_API_KEY={}", identity.agent_key);
                println!("  export COUNTERSIGN_APPROVER_KEY={}", identity.approver_key);
            }
            None => {
                println!("  {}", dim("its keys were shown when they were made; --new-keys makes"));
                println!("  {}", dim("others"));
            }
        }
        if let Some(console) = &workspace.console {
            println!("  {} {console}", dim("console, opened once by this address:"));
        }
        if let Some(secret) = &workspace.subscriber_secret {
            println!("  {} {secret}", dim("what signs the events for the subscriber:"));
        }
    }
    println!();
    keep_profiles(node, opened, data);
    println!();
}

// What goes wrong here is told, and no reason not to serve.
fn keep_profiles(node: &Node, opened: &[Opened], data: &std::path::Path) {
    let keys: Vec<DevKeys<'_>> = opened
        .iter()
        .filter_map(|workspace| {
            let identity = workspace.identity.as_ref()?;
            Some(DevKeys {
                workspace: workspace.name.as_str(),
                is_first: workspace.name.as_str() == DEFAULT_WORKSPACE,
                keys: [&identity.agent_key, &identity.approver_key],
            })
        })
        .collect();
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    match profile::keep_dev(&node.url(), &data, &keys) {
        Ok(names) if names.is_empty() => {}
        Ok(names) => {
            println!("{}", dim("in another terminal, `countersign --profile NAME` is one of:"));
            println!("  {}", names.join(", "));
        }
        Err(error) => println!("{}", dim(&format!("no profiles were made: {error}"))),
    }
}

/// Serves the example tools until it is interrupted.
pub async fn tools(listen: SocketAddr, endpoint: &str) -> Result<Exit, CliError> {
    let tools = DemoTools::start(listen)
        .await
        .map_err(|error| CliError::Local(format!("{listen}: {error}")))?;
    tools.trust(endpoint);
    println!(
        "{} {}  {}",
        bold("example tools"),
        tools.url(),
        dim(&format!("take the warrants of {endpoint} only"))
    );
    println!(
        "{}",
        dim("GET /effects counts them; POST /behave/{skill}/{operation} with {\"kind\":\"lose\"} \
             and the like")
    );
    tokio::select! {
        () = tools.serve() => Err(CliError::Local("the server stopped".into())),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
    }
}
