//! Submitting an intent.

use crate::{
    context::{Context, document, read_document},
    error::{CliError, Exit},
    execution, output,
    render::{self, bold},
};
use anstream::println;
use clap::Args;
use client::Answer;
use contracts::{
    ExecutionId,
    command::{PlaybookCall, SubmitIntent},
    event::SubmitMode,
    operation as op,
    query::{ExecutionStatus, ExecutionView},
};
use std::{path::PathBuf, time::Duration};

/// How often, and with which pause, a draft is looked at that was just submitted.
const JUDGED_LOOKS: u32 = 20;
const JUDGED_PAUSE: Duration = Duration::from_millis(100);

#[derive(Args)]
pub struct SubmitArgs {
    #[command(flatten)]
    pub intent: IntentArgs,
    /// auto, manual or dryRun.
    #[arg(long, default_value = "auto", value_parser = mode)]
    mode: SubmitMode,
    /// Follow the execution until it ends or waits for people.
    #[arg(long)]
    watch: bool,
}

/// What is wanted, and the plan that is proposed for it.
#[derive(Args)]
pub struct IntentArgs {
    /// What you want, in words.
    text: String,
    /// A file with a draft as JSON; `-` reads standard input.
    #[arg(long, conflicts_with = "playbook")]
    draft: Option<PathBuf>,
    /// A playbook, `skill/playbook`.
    #[arg(long)]
    playbook: Option<String>,
    /// Inputs of the playbook, as a JSON object.
    #[arg(long, requires = "playbook", default_value = "{}")]
    inputs: String,
    /// The channel the text came through.
    #[arg(long)]
    channel: Option<String>,
    /// The person or account that this is done for.
    #[arg(long)]
    on_behalf_of: Option<String>,
    /// The same key and request have one effect and one answer.
    #[arg(long)]
    pub idempotency_key: Option<String>,
}

/// A word of the wire as an argument.
pub fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    contracts::json::typed(text.into()).map_err(|problem| {
        let issue = problem.issues.first();
        issue.map_or(problem.detail.clone(), |issue| issue.message.clone())
    })
}

fn mode(text: &str) -> Result<SubmitMode, String> {
    word(text)
}

impl IntentArgs {
    /// As it is sent.
    pub fn request(&self, mode: SubmitMode) -> Result<SubmitIntent, CliError> {
        let playbook = match &self.playbook {
            None => None,
            Some(key) => {
                let inputs = document(self.inputs.as_bytes())
                    .map_err(|why| CliError::Local(format!("--inputs: {why}")))?;
                Some(PlaybookCall { key: key.clone(), inputs })
            }
        };
        Ok(SubmitIntent {
            draft: self.draft.as_deref().map(read_document).transpose()?,
            playbook,
            mode,
            channel_key: self.channel.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            ..SubmitIntent::new(self.text.clone())
        })
    }
}

/// Submits an intent; what became of its draft is told if that is known within moments.
pub async fn submit(context: &Context, args: SubmitArgs) -> Result<Exit, CliError> {
    let request = args.intent.request(args.mode)?;
    let key = args.intent.idempotency_key.as_deref();
    let answer = context.client.call_as(&op::INTENT_SUBMIT, &request, key).await?;
    let id = &answer.execution_id;
    if args.watch {
        return execution::watch(context, id).await;
    }
    let view = match args.mode {
        SubmitMode::Manual => None,
        SubmitMode::Auto | SubmitMode::DryRun => judged(context, id).await,
    };
    let rejected = view.as_ref().filter(|view| view.status == ExecutionStatus::Rejected);
    match (rejected, &view) {
        (Some(view), _) => context.output.show(view, render::execution)?,
        (None, _) if context.output.json => output::json(answer.document()),
        (None, Some(view)) => {
            println!("{} {}", bold(id.as_str()), render::status(&view.status));
        }
        (None, None) => println!("{} {}", bold(id.as_str()), render::status(&answer.status)),
    }
    Ok(Exit::done_if(rejected.is_none()))
}

// None: it is not known yet, or the key may not see it.
async fn judged(context: &Context, id: &ExecutionId) -> Option<Answer<ExecutionView>> {
    for _ in 0..JUDGED_LOOKS {
        let view = context.client.execution(id, 0).await.ok()?;
        match view.status.known() {
            Some(ExecutionStatus::Received | ExecutionStatus::Compiled) => {}
            Some(_) | None => return Some(view),
        }
        tokio::time::sleep(JUDGED_PAUSE).await;
    }
    None
}
