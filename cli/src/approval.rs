//! Approving and rejecting: what is decided on is shown, then asked about. INVARIANT
//! (seen-is-signed): the digest that is sent is that of the very document that was shown, computed
//! here and not taken from the server.

use crate::{
    context::Context,
    error::{CliError, Exit},
    execution::changed,
    render::{self, bold, dim},
    visible::columns,
};
use anstream::{print, println};
use clap::{Args, Subcommand};
use client::Answer;
use contracts::{
    Digest, Open, StepId, Timestamp,
    command::{ApproveExecution, RejectExecution},
    id::ApprovalId,
    operation as op,
    query::{ApprovalView, ExecutionView},
    status::ApprovalStatus,
};
use cs_core::{canonical, view};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

#[derive(Subcommand)]
pub enum ApprovalCommand {
    /// Show what is to be approved, a plan or a step, and approve it.
    Approve {
        #[command(flatten)]
        about: AboutArgs,
        #[arg(long)]
        note: Option<String>,
    },
    /// Show what is to be decided on, a plan or a step, and reject it.
    Reject {
        #[command(flatten)]
        about: AboutArgs,
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
pub struct AboutArgs {
    execution: String,
    /// One step instead of the whole plan.
    #[arg(long)]
    step: Option<StepId>,
    /// The digest of the view that was seen. Left out: to approve, it is shown and asked about,
    /// which needs a terminal; to reject, that of what is shown now.
    #[arg(long)]
    digest: Option<Digest>,
}

/// What a person decides on.
pub struct Question {
    /// The request.
    pub approval: ApprovalId,
    step: Option<StepId>,
    /// Of plan, policy, skills, view and input.
    binding: Digest,
    /// Of what is shown.
    view: Digest,
    lines: Vec<String>,
    expires: Timestamp,
}

/// Runs a decision.
pub async fn run(context: &Context, command: ApprovalCommand) -> Result<Exit, CliError> {
    match command {
        ApprovalCommand::Approve { about, note } => approve(context, about, note).await,
        ApprovalCommand::Reject { about, reason } => reject(context, about, reason).await,
    }
}

async fn approve(
    context: &Context,
    about: AboutArgs,
    note: Option<String>,
) -> Result<Exit, CliError> {
    let execution_id = context.execution(&about.execution).await?;
    let question = question(&context.client.execution(&execution_id, 0).await?, &about.step)?;
    if !context.output.json {
        show(&question);
    }
    let Some(seen) = confirmed(context, &question, about.digest, "--digest DIGEST")? else {
        println!("{}", dim("not approved; nothing was sent"));
        return Ok(Exit::NotDone);
    };
    let request = ApproveExecution {
        execution_id,
        step_id: question.step,
        binding_digest: question.binding,
        view_digest: Some(seen),
        note,
    };
    let answer = context.client.approve(&request).await?;
    context.output.show(&answer, |done| changed(&done.execution_id, &done.status))?;
    Ok(Exit::Done)
}

/// The digest of what a person saw: as named, or shown now and agreed to at the terminal. `how`:
/// how this command names it.
pub fn seen(
    context: &Context,
    question: &Question,
    named: Option<Digest>,
    how: &str,
) -> Result<Option<Digest>, CliError> {
    if !context.output.json {
        show(question);
    }
    confirmed(context, question, named, how)
}

fn confirmed(
    context: &Context,
    question: &Question,
    named: Option<Digest>,
    how: &str,
) -> Result<Option<Digest>, CliError> {
    match named {
        Some(seen) => Ok(Some(seen)),
        None if context.output.json || !interactive() => {
            let message = format!("without a terminal, name the view that was seen: {how}");
            Err(CliError::Local(message))
        }
        None => Ok(ask("approve this?").then(|| question.view.clone())),
    }
}

async fn reject(context: &Context, about: AboutArgs, reason: String) -> Result<Exit, CliError> {
    let execution_id = context.execution(&about.execution).await?;
    let question = question(&context.client.execution(&execution_id, 0).await?, &about.step)?;
    if !context.output.json {
        show(&question);
    }
    let view_digest = Some(about.digest.unwrap_or(question.view));
    let request = RejectExecution { execution_id, step_id: question.step, view_digest, reason };
    let answer = context.client.call(&op::EXECUTION_REJECT, &request).await?;
    context.output.show(&answer, |done| changed(&done.execution_id, &done.status))?;
    Ok(Exit::Done)
}

/// Shows every open question of an execution.
pub fn show_open(execution: &Answer<ExecutionView>) {
    for (approval, document) in open(execution) {
        match question_of(approval, document) {
            Ok(question) => {
                println!();
                show(&question);
                let step = question.step.map(|step| format!(" --step {step}")).unwrap_or_default();
                let command = format!("countersign approve {}{step}", execution.execution_id);
                println!("{}", dim(&command));
            }
            Err(error) => render::error(&error),
        }
    }
}

/// Shows the question about a whole plan; whether there is one.
pub fn show_plan(execution: &Answer<ExecutionView>) -> bool {
    let question = question(execution, &None);
    question.as_ref().inspect(|question| show(question)).is_ok()
}

/// Asks a person at the terminal; anything but `y` is a no.
pub fn ask(question: &str) -> bool {
    print!("{} [y/N] ", bold(question));
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && answer.trim().eq_ignore_ascii_case("y")
}

fn interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

fn show(question: &Question) {
    for line in &question.lines {
        println!("{line}");
    }
    println!();
    println!("{:<12}{}", "until", question.expires);
    println!("digest {}", question.view);
}

// Open requests, each with the document that it came as.
fn open(
    execution: &Answer<ExecutionView>,
) -> impl Iterator<Item = (&ApprovalView, &Value)> + Clone {
    let documents = execution.document().get("approvals").and_then(Value::as_array);
    let documents = documents.map(Vec::as_slice).unwrap_or_default();
    let approvals = execution.approvals.iter().zip(documents);
    approvals.filter(|(approval, _)| approval.status == ApprovalStatus::Requested)
}

// The open question about the plan or about one step.
fn question(
    execution: &Answer<ExecutionView>,
    step: &Option<StepId>,
) -> Result<Question, CliError> {
    let about = |step: &Option<StepId>| open(execution).find(|(open, _)| open.step_id == *step);
    // Where nothing is asked about the plan and one step asks, that step is meant; what is shown
    // says so.
    let only = || match open(execution).count() {
        1 if step.is_none() => open(execution).next(),
        _ => None,
    };
    if let Some((approval, document)) = about(step).or_else(only) {
        return question_of(approval, document);
    }
    let (Some(step), Some((whole, document))) = (step, about(&None)) else {
        let steps = open(execution).filter_map(|(open, _)| open.step_id.as_ref());
        let asks: Vec<String> = steps.map(|step| format!("--step {step}")).collect();
        return Err(CliError::Local(match asks.as_slice() {
            [] => "nothing here waits for an approval".into(),
            asks => format!("the plan waits for nobody, but steps do: {}", asks.join(", ")),
        }));
    };
    // One step out of a question about the whole plan: the plan is what is shown.
    let known = execution.steps.iter().find(|known| known.step_id == *step);
    let binding = known.and_then(|known| known.binding_digest.clone());
    let binding =
        binding.ok_or_else(|| CliError::Local(format!("step `{step}` waits for nobody")))?;
    Ok(Question { step: Some(step.clone()), binding, ..question_of(whole, document)? })
}

/// The open request of an execution: the one that is named, or the only one.
pub fn only_question(
    execution: &Answer<ExecutionView>,
    named: Option<&ApprovalId>,
) -> Result<Question, CliError> {
    let open = || open(execution).filter(|(one, _)| named.is_none_or(|id| one.approval_id == *id));
    match (open().next(), open().nth(1)) {
        (Some((approval, document)), None) => question_of(approval, document),
        (None, _) => Err(CliError::Local("nothing of it waits for an approval".into())),
        (Some(_), Some(_)) => {
            let ids: Vec<String> = open().map(|(one, _)| one.approval_id.to_string()).collect();
            Err(CliError::Local(format!("it has several requests: {}", ids.join(", "))))
        }
    }
}

fn question_of(approval: &ApprovalView, document: &Value) -> Result<Question, CliError> {
    let unseen =
        |why: &str| CliError::Local(format!("what is to be approved cannot be shown: {why}"));
    let raw = document.get("view").ok_or_else(|| unseen("the answer holds no view"))?;
    let digest = canonical::digest(raw).map_err(|error| unseen(&error.to_string()))?;
    // What this program does not know it does not show: then it lets nobody sign it either.
    let shown = approval.view.as_ref().and_then(Open::known);
    let shown = shown.ok_or_else(|| unseen("it is of a form that this version does not know"))?;
    if view::digest(shown).map_err(|error| unseen(&error.to_string()))? != digest {
        return Err(unseen("it holds what this version does not know"));
    }
    if approval.view_digest != digest {
        return Err(unseen("it is not the view that the approval names"));
    }
    Ok(Question {
        approval: approval.approval_id.clone(),
        step: approval.step_id.clone(),
        binding: approval.binding_digest.clone(),
        view: digest,
        lines: view::lines(shown, columns()),
        expires: approval.expires_at,
    })
}
