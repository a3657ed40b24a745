//! `dev` and `tools`: servers in this process.

use crate::{
    DevArgs,
    client::Failure,
    render::{bold, dim},
};
use anstream::println;
use contracts::WorkspaceId;
use local::{Identity, Node, Options, demo_tools::DemoTools};
use serde_json::json;
use std::{net::SocketAddr, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// How long what is in flight may take to end when the process is told to.
const DRAIN: Duration = Duration::from_secs(10);
const DEFAULT_WORKSPACE: &str = "default";

fn local(error: impl std::fmt::Display) -> Failure {
    Failure::Local(error.to_string())
}

/// Runs the control plane until it is interrupted.
pub async fn dev(args: DevArgs, as_json: bool) -> Result<(), Failure> {
    let mut names: Vec<WorkspaceId> = Vec::new();
    for name in std::iter::once(DEFAULT_WORKSPACE).chain(args.workspace.iter().map(String::as_str)) {
        let name: WorkspaceId = name.parse().map_err(local)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    local::private_files();
    // Listened for before anything is begun.
    let mut terminated = signal(SignalKind::terminate()).map_err(local)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(local)?;
    let options = Options {
        data: args.data.clone(),
        listen: args.listen,
        allow_private_targets: true,
        new_warrant_key: args.new_warrant_key,
        subscriber: args.subscriber,
        public_url: args.public_url.map(|url| url.trim_end_matches('/').to_owned()),
    };
    let mut node = Node::start(options).await.map_err(local)?;
    let mut identities: Vec<(WorkspaceId, Option<Identity>)> = Vec::new();
    for name in names {
        let known = node.engine().has_keys(&name).await.map_err(local)?;
        // Keys are shown once, unless somebody asks for others.
        let identity = if known && !args.new_keys {
            let secret = node.subscribe(&name).await.map_err(|problem| Failure::Problem(Box::new(problem)))?;
            if let (Some(secret), false) = (secret, as_json) {
                println!(
                    "  {} {secret}",
                    dim(&format!("workspace {name}: what signs the events for the subscriber:"))
                );
            }
            None
        } else {
            Some(node.identity(&name).await.map_err(|problem| Failure::Problem(Box::new(problem)))?)
        };
        identities.push((name, identity));
    }
    if as_json {
        let all: Vec<_> = identities
            .iter()
            .filter_map(|(_, identity)| identity.as_ref())
            .map(|identity| {
                json!({ "workspaceId": identity.workspace, "apiKey": identity.agent_key,
                    "approverKey": identity.approver_key, "subscriberSecret": identity.subscriber_secret })
            })
            .collect();
        let mut line = all.first().cloned().unwrap_or_else(|| json!({}));
        if let Some(map) = line.as_object_mut() {
            map.insert("url".into(), node.url().into());
            map.insert("workspaces".into(), all.into());
        }
        println!("{line}");
    } else {
        greet(&node, &identities, &args.data.display().to_string());
    }
    tokio::select! {
        why = node.serve() => return Err(Failure::Local(why)),
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    node.drain(DRAIN).await;
    Ok(())
}

fn greet(node: &Node, identities: &[(WorkspaceId, Option<Identity>)], data: &str) {
    println!("{} {}  {}", bold("countersign"), node.url(), dim(&format!("data in {data}")));
    println!("{}", dim("tools on this machine are allowed; skills are installed when somebody trusted signed them"));
    for (name, identity) in identities {
        println!("\nworkspace {}", bold(name.as_str()));
        match identity {
            Some(identity) => {
                println!("  {}", dim("shown once; an agent's key, and the key of a person who approves:"));
                println!("  export COUNTERSIGN_API_KEY={}", identity.agent_key);
                println!("  export COUNTERSIGN_APPROVER_KEY={}", identity.approver_key);
                if let Some(secret) = &identity.subscriber_secret {
                    println!("  {} {secret}", dim("what signs the events for the subscriber:"));
                }
            }
            None => println!("  {}", dim("its keys were shown when they were made; --new-keys makes others")),
        }
    }
    println!();
}

/// Serves the example tools until it is interrupted.
pub async fn tools(listen: SocketAddr, endpoint: &str) -> Result<(), Failure> {
    let tools = DemoTools::start(listen).await.map_err(|error| Failure::Local(format!("{listen}: {error}")))?;
    tools.trust(endpoint);
    println!("{} {}  {}", bold("example tools"), tools.url(), dim(&format!("take the warrants of {endpoint} only")));
    println!(
        "{}",
        dim("GET /effects counts them; POST /behave/{skill}/{operation} with {\"kind\":\"lose\"} and the like")
    );
    tokio::select! {
        () = tools.serve() => Err(Failure::Local("the server stopped".into())),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
