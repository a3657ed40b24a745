//! Executions: looking at them, following them, and steering them.

use crate::{
    approval,
    context::{Context, read_document},
    error::{CliError, Exit},
    ids::{self, Short},
    output,
    render::{self, bold, dim},
    submit::word,
    visible::{Visible, columns, cut},
};
use anstream::println;
use clap::{Args, Subcommand};
use contracts::{
    ExecutionId, StepId,
    command::{CancelExecution, ResolveStep, RetryExecution, StartExecution, SteerExecution},
    event::{Event, ExecutionEvent, Resolution, SubmitMode},
    operation::{self as op, Operation},
    query::{
        ExecutionList, ExecutionStatus, ExecutionSummary, GetOutput, ListExecutions, TraceEntry,
    },
    verdict::RunMode,
    view::ViewMoney,
};
use std::{path::PathBuf, time::Duration};

/// Between two looks at an execution that is followed.
const LOOK_PAUSE: Duration = Duration::from_millis(150);

#[derive(Subcommand)]
pub enum ExecutionCommand {
    /// Show an execution.
    Get {
        execution: String,
        /// And what its last steps gave.
        #[arg(long)]
        output: bool,
    },
    /// List executions, newest first.
    List(ListArgs),
    /// Follow an execution until it ends or waits for people.
    Watch { execution: String },
    /// Start a verified plan.
    Start {
        execution: String,
        /// Put every step before a human.
        #[arg(long)]
        assist: bool,
    },
    /// Cancel an execution.
    Cancel {
        execution: String,
        #[arg(long)]
        reason: Option<String>,
        /// Undo completed steps in reverse order.
        #[arg(long)]
        compensate: bool,
    },
    /// Start no further step.
    Pause(SteerArgs),
    /// Go on after a pause.
    Resume(SteerArgs),
    /// Fail an execution at once.
    Abort(SteerArgs),
    /// Try failed or expired steps again.
    Retry {
        execution: String,
        #[arg(long)]
        step: Option<StepId>,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Say what became of a call whose outcome is not known.
    Resolve {
        execution: String,
        step: StepId,
        /// completed, failed or retry.
        #[arg(value_parser = word::<Resolution>)]
        outcome: Resolution,
        /// With `completed`: a file with the step's output as JSON.
        #[arg(long)]
        evidence: Option<PathBuf>,
    },
    /// Show what a step gave, or the last steps of an execution.
    Output {
        execution: String,
        #[arg(long)]
        step: Option<StepId>,
    },
}

#[derive(Args)]
pub struct ListArgs {
    /// Only those that stand so, for example `blocked`.
    #[arg(long, value_parser = word::<ExecutionStatus>)]
    status: Option<ExecutionStatus>,
    #[arg(long)]
    actor: Option<String>,
    /// 1 to 200.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Args)]
pub struct SteerArgs {
    execution: String,
    #[arg(long)]
    reason: Option<String>,
}

/// Runs a command on executions.
pub async fn run(context: &Context, command: ExecutionCommand) -> Result<Exit, CliError> {
    match command {
        ExecutionCommand::Get { execution, output } => get(context, &execution, output).await?,
        ExecutionCommand::List(args) => list(context, args).await?,
        ExecutionCommand::Watch { execution } => {
            return watch(context, &context.execution(&execution).await?).await;
        }
        ExecutionCommand::Start { execution, assist } => start(context, &execution, assist).await?,
        ExecutionCommand::Cancel { execution, reason, compensate } => {
            let execution_id = context.execution(&execution).await?;
            let request = CancelExecution { execution_id, reason, compensate };
            let answer = context.client.call(&op::EXECUTION_CANCEL, &request).await?;
            context.output.show(&answer, |done| changed(&done.execution_id, &done.status))?;
        }
        ExecutionCommand::Pause(args) => steer(context, &op::EXECUTION_PAUSE, args).await?,
        ExecutionCommand::Resume(args) => steer(context, &op::EXECUTION_RESUME, args).await?,
        ExecutionCommand::Abort(args) => steer(context, &op::EXECUTION_ABORT, args).await?,
        ExecutionCommand::Retry { execution, step, reason } => {
            let execution_id = context.execution(&execution).await?;
            let request = RetryExecution { execution_id, reason, step_id: step };
            let answer = context.client.call(&op::EXECUTION_RETRY, &request).await?;
            context.output.show(&answer, |done| changed(&done.execution_id, &done.status))?;
        }
        ExecutionCommand::Resolve { execution, step, outcome, evidence } => {
            let request = ResolveStep {
                execution_id: context.execution(&execution).await?,
                step_id: step,
                outcome,
                evidence: evidence.as_deref().map(read_document).transpose()?,
            };
            let answer = context.client.call(&op::EXECUTION_RESOLVE, &request).await?;
            context.output.show(&answer, |done| changed(&done.execution_id, &done.status))?;
        }
        ExecutionCommand::Output { execution, step } => {
            let request =
                GetOutput { execution_id: context.execution(&execution).await?, step_id: step };
            let answer = context.client.call(&op::EXECUTION_OUTPUT, &request).await?;
            context.output.show(&answer, |given| println!("{}", indented(&given.outputs)))?;
        }
    }
    Ok(Exit::Done)
}

/// An execution and how it stands now.
pub fn changed(execution: &ExecutionId, status: impl std::fmt::Display) {
    println!("{execution} {}", render::status(status));
}

fn indented(outputs: &serde_json::Map<String, serde_json::Value>) -> String {
    format!("{:#}", serde_json::Value::Object(outputs.clone()))
}

async fn get(context: &Context, execution: &str, with_output: bool) -> Result<(), CliError> {
    let id = context.execution(execution).await?;
    let view = context.client.execution(&id, 0).await?;
    if !with_output {
        context.output.show(&view, render::execution)?;
        if !context.output.json {
            approval::show_open(&view);
        }
        return Ok(());
    }
    let request = GetOutput { execution_id: id, step_id: None };
    let given = context.client.call(&op::EXECUTION_OUTPUT, &request).await?;
    if context.output.json {
        let mut document = view.document().clone();
        if let Some(fields) = document.as_object_mut() {
            fields.insert("output".into(), given.document().clone());
        }
        output::json(&document);
        return Ok(());
    }
    render::execution(&Visible::of(&view)?);
    approval::show_open(&view);
    let given = Visible::of(&given)?;
    println!("  {}", dim("output"));
    println!("{}", indented(&given.outputs));
    Ok(())
}

async fn start(context: &Context, execution: &str, assist: bool) -> Result<(), CliError> {
    let execution_id = context.execution(execution).await?;
    let view = context.client.execution(&execution_id, 0).await?;
    let plan_id = view.plan_id.clone();
    let plan_id = plan_id.ok_or_else(|| CliError::Local("it has no plan yet".into()))?;
    let mode = assist.then_some(RunMode::Assist);
    let request = StartExecution { execution_id, plan_id, mode };
    let answer = context.client.call(&op::EXECUTION_START, &request).await?;
    context.output.show(&answer, |done| changed(&done.execution_id, &done.status))
}

async fn steer(
    context: &Context,
    operation: &Operation<SteerExecution, contracts::command::ExecutionSteeredAnswer>,
    args: SteerArgs,
) -> Result<(), CliError> {
    let execution_id = context.execution(&args.execution).await?;
    let request = SteerExecution { execution_id, reason: args.reason };
    let answer = context.client.call(operation, &request).await?;
    context.output.show(&answer, |done| changed(&done.execution_id, &done.status))
}

/// Follows an execution; its events are printed as they come.
pub async fn watch(context: &Context, id: &ExecutionId) -> Result<Exit, CliError> {
    let (mut from, mut mode) = (1, None);
    loop {
        // The view first: when it says that nothing moves, the trace that follows is whole.
        let view = context.client.execution(id, 0).await?;
        let trace = context.client.trace(id, Some(from), false).await?;
        if context.output.json {
            trace.entries.iter().for_each(|entry| output::json(&entry.event));
        } else {
            Visible::of(&trace)?.entries.iter().for_each(render::entry);
        }
        from = trace.entries.last().map_or(from, |last| last.seq + 1);
        mode = mode.or_else(|| trace.entries.iter().find_map(submitted_as));
        let Some(exit) = view.status.known().and_then(|status| rests(*status, mode)) else {
            tokio::time::sleep(LOOK_PAUSE).await;
            continue;
        };
        if !context.output.json {
            render::execution(&Visible::of(&view)?);
            approval::show_open(&view);
        }
        return Ok(exit);
    }
}

fn submitted_as(entry: &TraceEntry) -> Option<SubmitMode> {
    let Event::Execution(ExecutionEvent::IntentReceived(received)) = entry.known_event()? else {
        return None;
    };
    Some(received.mode)
}

// What following it ends with, where nothing moves on its own.
fn rests(status: ExecutionStatus, mode: Option<SubmitMode>) -> Option<Exit> {
    match status {
        ExecutionStatus::Completed => Some(Exit::Done),
        ExecutionStatus::Failed
        | ExecutionStatus::Cancelled
        | ExecutionStatus::Rejected
        | ExecutionStatus::Blocked
        | ExecutionStatus::Paused => Some(Exit::NotDone),
        // One that runs on its own starts in a moment.
        ExecutionStatus::Verified => (mode != Some(SubmitMode::Auto)).then_some(Exit::Done),
        ExecutionStatus::Received | ExecutionStatus::Compiled => {
            (mode == Some(SubmitMode::Manual)).then_some(Exit::Done)
        }
        ExecutionStatus::Running | ExecutionStatus::Cancelling => None,
    }
}

async fn list(context: &Context, args: ListArgs) -> Result<(), CliError> {
    let request = ListExecutions {
        status: args.status,
        actor_id: args.actor,
        limit: Some(args.limit),
        cursor: args.cursor,
        ..ListExecutions::default()
    };
    let page = context.client.call(&op::EXECUTION_LIST, &request).await?;
    if context.output.json {
        output::json(page.document());
        return Ok(());
    }
    let short = match context.output.wide {
        true => None,
        // What a prefix is found among later.
        false => {
            let recent = ids::recent(&context.client).await?;
            let shown = page.items.iter().map(|item| item.execution_id.as_str());
            Some(Short::among(shown.chain(recent.iter().map(ExecutionId::as_str))))
        }
    };
    rows(&Visible::of(&page)?, short.as_ref());
    Ok(())
}

// Two lines an execution, so that both its id and its words have room.
fn rows(page: &Visible<ExecutionList>, short: Option<&Short>) {
    println!("{}", dim("execution, status, risk, updated; what it touches, who asked, the intent"));
    for item in &page.items {
        let id = item.execution_id.as_str();
        let tier = item.risk_tier.as_ref().map(render::status).unwrap_or_default();
        println!(
            "{}  {}  {tier}  {}",
            bold(short.map_or(id, |short| short.of(id))),
            render::status(&item.status),
            dim(&render::moment(item.updated_at))
        );
        println!("  {}", cut(&words(item), columns().saturating_sub(2)));
    }
    if let Some(next) = &page.next {
        println!("{}", dim(&format!("more: --cursor '{next}'")));
    }
}

fn words(item: &ExecutionSummary) -> String {
    asked(touches(&item.money, item.recipients), &item.actor_id, &item.text)
}

/// How much money, and how many are touched.
pub fn touches(money: &[ViewMoney], recipients: Option<u64>) -> String {
    let money = money.iter().map(|money| match &money.amount {
        None => format!("{} minor units of {}", money.minor, money.currency),
        Some(amount) => format!("{amount} {}", money.currency),
    });
    let recipients = recipients.filter(|count| *count > 0).map(|count| match count {
        1 => "1 recipient".to_owned(),
        count => format!("{count} recipients"),
    });
    money.chain(recipients).collect::<Vec<_>>().join(", ")
}

/// What is touched, and who asked for it in which words.
pub fn asked(touches: String, actor: &str, text: &str) -> String {
    let touches = if touches.is_empty() { touches } else { touches + "  " };
    format!("{touches}{actor}: \"{}\"", text.replace('"', "\\\""))
}
