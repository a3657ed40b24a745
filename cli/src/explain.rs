//! Why an execution, a step or a draft is judged as it is.

use crate::{
    context::{Context, read_document},
    error::{CliError, Exit},
    render::{self, bold, dim},
    visible::Visible,
};
use anstream::println;
use clap::Args;
use contracts::{
    StepId, operation as op,
    query::{ExplainPolicy, Explanation},
};
use std::path::PathBuf;

#[derive(Args)]
pub struct ExplainArgs {
    /// An execution.
    #[arg(required_unless_present = "draft")]
    execution: Option<String>,
    #[arg(long)]
    step: Option<StepId>,
    /// A file with a draft instead.
    #[arg(long, conflicts_with = "execution")]
    draft: Option<PathBuf>,
    /// With a draft: the words it would come with.
    #[arg(long)]
    text: Option<String>,
}

/// Explains a verdict.
pub async fn run(context: &Context, args: ExplainArgs) -> Result<Exit, CliError> {
    let execution_id = match &args.execution {
        Some(execution) => Some(context.execution(execution).await?),
        None => None,
    };
    let request = ExplainPolicy {
        execution_id,
        step_id: args.step,
        draft: args.draft.as_deref().map(read_document).transpose()?,
        verdict_digest: None,
        text: args.text,
    };
    let answer = context.client.call(&op::POLICY_EXPLAIN, &request).await?;
    context.output.show(&answer, explained)?;
    Ok(Exit::Done)
}

fn explained(explanation: &Visible<Explanation>) {
    println!(
        "{} {} {} {}",
        render::status(&explanation.verdict),
        render::status(&explanation.risk_tier),
        dim("under policy version"),
        explanation.policy_version
    );
    for step in &explanation.steps {
        println!(
            "{} {} {}",
            bold(step.verdict.step_id.as_str()),
            render::status(&step.verdict.verdict),
            render::status(&step.verdict.risk_tier)
        );
        for reason in &step.verdict.reasons {
            render::field(2, "reason", reason);
        }
        for policy in &step.policies {
            let file = policy.file.as_deref().unwrap_or("line");
            let location = format!("{file}:{}", policy.line);
            println!(
                "  {} {} {} {}",
                dim("policy"),
                policy.effect,
                bold(&policy.id),
                dim(&location)
            );
        }
        for error in &step.errors {
            render::field(2, "error ", error);
        }
        render::field(2, "request", &step.request.to_string());
    }
}
