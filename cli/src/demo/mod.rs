//! `demo`: everything in one process with a real HTTP tool server, told as a story and checked at
//! every turn.

mod scenes;

use crate::{
    error::{CliError, Exit},
    output::{self, Output},
    render::{self, bold, dim, green},
    visible::Visible,
};
use anstream::println;
use clap::Args;
use client::{Answer, Client};
use contracts::{
    ExecutionId,
    command::{ApproveExecution, SubmitIntent},
    query::{ApprovalView, ExecutionStatus, ExecutionView},
    status::ApprovalStatus,
};
use local::{Node, Options, demo_tools::DemoTools};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long an execution of the demo may take.
const SETTLED: Duration = Duration::from_secs(20);

#[derive(Args)]
pub struct DemoArgs {
    /// Let a person approve at the prompt.
    #[arg(long)]
    interactive: bool,
    /// Keep the data in this folder; otherwise in a temporary one that goes away.
    #[arg(long)]
    data: Option<PathBuf>,
}

/// Who plays, what they have, and what is proven so far.
struct Stage {
    agent: Client,
    approver: Client,
    tools: DemoTools,
    output: Output,
    proven: Vec<String>,
    executions: Vec<ExecutionId>,
}

/// Runs the demo.
pub async fn demo(args: DemoArgs, output: Output) -> Result<Exit, CliError> {
    let started = Instant::now();
    let temporary = args.data.is_none();
    let data = args.data.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("countersign-demo-{}", uuid::Uuid::now_v7().simple()))
    });
    let outcome = play(args.interactive, data.clone(), output).await;
    if temporary {
        let _ = std::fs::remove_dir_all(&data);
    }
    let proven = outcome?;
    if output.json {
        let milliseconds = started.elapsed().as_millis() as u64;
        output::json(&json!({ "proven": proven, "milliseconds": milliseconds }));
        return Ok(Exit::Done);
    }
    println!("\n{}", bold("Proven"));
    for line in &proven {
        for (index, part) in crate::visible::lines(line, 4).iter().enumerate() {
            println!("  {} {part}", if index == 0 { green("✓") } else { " ".into() });
        }
    }
    println!("{}", dim(&format!("  in {:.1} s", started.elapsed().as_secs_f64())));
    Ok(Exit::Done)
}

async fn play(interactive: bool, data: PathBuf, output: Output) -> Result<Vec<String>, CliError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let tools = DemoTools::start(any).await.map_err(CliError::local)?;
    let options = Options {
        data,
        listen: any,
        allow_private_targets: true,
        new_warrant_key: false,
        subscriber: None,
        public_url: None,
        mail: Default::default(),
        identity: Default::default(),
    };
    let node = Node::start(options).await.map_err(CliError::local)?;
    let workspace =
        "demo".parse().map_err(|error: contracts::id::ParseIdError| CliError::local(error))?;
    let identity = node.identity(&workspace).await.map_err(CliError::server)?;
    let agent = Client::new(&node.url(), &identity.agent_key)?;
    let approver = agent.with_key(&identity.approver_key);
    tools.trust(&node.url());
    let mut stage =
        Stage { agent, approver, tools, output, proven: Vec::new(), executions: Vec::new() };
    stage.install().await?;
    stage.autonomous().await?;
    stage.refund(interactive).await?;
    stage.injection().await?;
    stage.untrusted_text().await?;
    stage.crash().await?;
    stage.lost_payout().await?;
    stage.evidence().await?;
    Ok(stage.proven)
}

impl Stage {
    fn say(&self, title: &str, line: &str) {
        if !self.output.json {
            println!("\n{}", bold(title));
            println!("{}", dim(line));
        }
    }

    fn prove(&mut self, holds: bool, claim: &str) -> Result<(), CliError> {
        if !holds {
            return Err(CliError::NotProven(claim.to_owned()));
        }
        self.proven.push(claim.to_owned());
        Ok(())
    }

    /// Submits what an agent wants, and shows what became of it.
    async fn run(&mut self, text: &str, draft: Value) -> Result<Answer<ExecutionView>, CliError> {
        let draft = contracts::json::typed(draft).map_err(CliError::local)?;
        let intent = SubmitIntent { draft: Some(draft), ..SubmitIntent::new(text) };
        let id = self.agent.submit(&intent).await?.into_inner().execution_id;
        self.executions.push(id.clone());
        self.look(&id).await
    }

    /// An execution once nothing of it moves, shown.
    async fn look(&self, id: &ExecutionId) -> Result<Answer<ExecutionView>, CliError> {
        let view = self.agent.settled(id, SETTLED).await?;
        if !self.output.json {
            render::execution(&Visible::of(&view)?);
        }
        Ok(view)
    }
}

/// An approval of what is asked now.
fn approval(view: &ExecutionView) -> Result<ApproveExecution, CliError> {
    let open = view.approvals.iter().find(|open| open.status == ApprovalStatus::Requested);
    let open = open.ok_or_else(|| CliError::NotProven("somebody is asked".into()))?;
    Ok(approval_of(view, open))
}

fn approval_of(view: &ExecutionView, open: &ApprovalView) -> ApproveExecution {
    ApproveExecution {
        execution_id: view.execution_id.clone(),
        step_id: open.step_id.clone(),
        binding_digest: open.binding_digest.clone(),
        view_digest: Some(open.view_digest.clone()),
        note: None,
    }
}

fn is(view: &ExecutionView, status: ExecutionStatus) -> bool {
    view.status == status
}
