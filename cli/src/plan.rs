//! Plans: what an intent would do, without doing it.

use crate::{
    context::{Context, read_document},
    error::{CliError, Exit},
    render::{self, bold, dim, green},
    submit::IntentArgs,
    visible::Visible,
};
use anstream::println;
use clap::{Args, Subcommand};
use client::Answer;
use contracts::{
    command::{CompilePlan, PlanCompiledAnswer, PlanVerifiedAnswer, SubmitIntent, VerifyPlan},
    event::SubmitMode,
    operation as op,
    query::ExecutionStatus,
    verdict::Verdict,
};
use std::{path::PathBuf, time::Duration};

/// How long a plan may take to be judged.
const JUDGED: Duration = Duration::from_secs(20);

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct PlanArgs {
    #[command(subcommand)]
    command: Option<PlanCommand>,
    #[command(flatten)]
    intent: Option<IntentArgs>,
}

#[derive(Subcommand)]
enum PlanCommand {
    /// Compile a draft into a plan, and judge nothing.
    Compile(DraftArgs),
    /// Compile a draft, and judge the plan against policy and risk rules. Nothing is run.
    Verify {
        #[command(flatten)]
        draft: DraftArgs,
        /// Refuse unless this version of the policy set is the active one.
        #[arg(long)]
        policy_version: Option<String>,
    },
}

#[derive(Args)]
struct DraftArgs {
    /// A file with a draft as JSON; `-` reads standard input.
    file: PathBuf,
    /// The words that it comes with.
    #[arg(long, default_value = "a draft on trial")]
    text: String,
    /// For an execution that was submitted without a draft, in mode manual.
    #[arg(long, value_name = "EXECUTION", conflicts_with = "text")]
    execution: Option<String>,
    /// The model that planned; recorded.
    #[arg(long)]
    planner_model: Option<String>,
}

/// Shows plans.
pub async fn run(context: &Context, args: PlanArgs) -> Result<Exit, CliError> {
    match (args.command, args.intent) {
        (Some(PlanCommand::Compile(draft)), _) => {
            let compiled = compile(context, &draft).await?;
            context.output.show(&compiled, shown)?;
            Ok(Exit::Done)
        }
        (Some(PlanCommand::Verify { draft, policy_version }), _) => {
            let compiled = compile(context, &draft).await?;
            let request = VerifyPlan {
                execution_id: compiled.execution_id.clone(),
                plan_id: compiled.plan_id.clone(),
                policy_version,
            };
            let verified = context.client.call(&op::PLAN_VERIFY, &request).await?;
            context.output.show(&verified, judged)?;
            Ok(Exit::done_if(verified.verdict != Verdict::Blocked))
        }
        (None, Some(intent)) => dry_run(context, &intent).await,
        (None, None) => Err(CliError::Local("say what you want, or which draft".into())),
    }
}

async fn dry_run(context: &Context, intent: &IntentArgs) -> Result<Exit, CliError> {
    let request = intent.request(SubmitMode::DryRun)?;
    let key = intent.idempotency_key.as_deref();
    let answer = context.client.call_as(&op::INTENT_SUBMIT, &request, key).await?;
    let view = context.client.settled(&answer.execution_id, JUDGED).await?;
    context.output.show(&view, render::execution)?;
    Ok(Exit::done_if(view.status != ExecutionStatus::Rejected))
}

// A draft that is no plan is refused: its diagnostics are the issues of the problem.
async fn compile(
    context: &Context,
    args: &DraftArgs,
) -> Result<Answer<PlanCompiledAnswer>, CliError> {
    let draft = read_document(&args.file)?;
    let execution_id = match &args.execution {
        Some(execution) => context.execution(execution).await?,
        None => {
            let mode = SubmitMode::Manual;
            let intent = SubmitIntent { mode, ..SubmitIntent::new(args.text.clone()) };
            context.client.submit(&intent).await?.into_inner().execution_id
        }
    };
    let request = CompilePlan {
        execution_id,
        intent_id: None,
        draft: Some(draft),
        planner_model: args.planner_model.clone(),
    };
    Ok(context.client.call(&op::PLAN_COMPILE, &request).await?)
}

fn shown(compiled: &Visible<PlanCompiledAnswer>) {
    let steps = match compiled.step_count {
        1 => "1 step".to_owned(),
        many => format!("{many} steps"),
    };
    println!("{} {}", green("✓ a plan of"), bold(&steps));
    render::field(2, "plan     ", compiled.plan_id.as_str());
    render::field(2, "digest   ", compiled.deterministic_hash.as_str());
    render::field(2, "execution", compiled.execution_id.as_str());
    let rows: Vec<Vec<String>> = compiled
        .plan
        .known()
        .into_iter()
        .flat_map(|plan| &plan.steps)
        .map(|step| {
            let after: Vec<&str> = step.after.iter().map(|id| id.as_str()).collect();
            let tier = step.risk_tier.to_string();
            vec![step.id.to_string(), step.call.operation.clone(), tier, after.join(" ")]
        })
        .collect();
    render::table(&["step", "operation", "risk", "after"], &rows);
    for issue in &compiled.diagnostics {
        render::field(2, &issue.pointer, &issue.message);
    }
}

fn judged(verified: &Visible<PlanVerifiedAnswer>) {
    println!(
        "{} {} {} {}",
        render::status(&verified.verdict),
        render::status(&verified.risk_tier),
        dim("under policy version"),
        verified.policy_version
    );
    for step in &verified.steps {
        println!(
            "{} {} {}",
            bold(step.step_id.as_str()),
            render::status(&step.verdict),
            render::status(&step.risk_tier)
        );
        for reason in &step.reasons {
            render::field(2, "reason", reason);
        }
    }
    for reason in &verified.blocked_reasons {
        render::field(0, "blocked", reason);
    }
    if verified.verdict != Verdict::Blocked {
        let start = format!("countersign start {}", verified.execution_id);
        println!("{}", dim(&format!("nothing was run; to run it: {start}")));
    }
}
