//! What waits for people, and what they say of it beside a yes or no to one execution.

use crate::{
    approval::{self, Question},
    context::Context,
    error::{CliError, Exit},
    execution::{asked as asked_for, touches},
    ids::{self, Short},
    render::{self, bold, dim},
    submit::word,
    visible::{Visible, columns, cut},
};
use anstream::println;
use clap::{Args, Subcommand};
use contracts::{
    Digest, ExecutionId, Open, StepId,
    approval::{
        ApprovalList, ApprovalState, ApprovalsVoted, CommentApproval, Decision, EditPlan,
        GetApproval, ListApprovals, OverrideApproval, PlanEdited, ReviewOverride, Vote,
        VoteApprovals, WaitKind, WithdrawVote,
    },
    event::Requirement,
    id::ApprovalId,
    json, operation as op,
    query::ExecutionView,
    status::ApprovalStatus,
    verdict::RiskTier,
};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Args)]
pub struct InboxArgs {
    /// What waits for others, too.
    #[arg(long)]
    all: bool,
    /// approval, in_doubt, held or review.
    #[arg(long, value_parser = word::<WaitKind>)]
    kind: Option<WaitKind>,
    /// What this group is asked for.
    #[arg(long)]
    group: Option<String>,
    /// low, medium or high.
    #[arg(long, value_parser = word::<RiskTier>)]
    risk: Option<RiskTier>,
    /// Things a page, at most 200.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on behind an earlier page: its `next`.
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Subcommand)]
pub enum RequestCommand {
    /// List what waits for you.
    List(InboxArgs),
    /// Show what is asked of an execution, and who said what.
    Get { execution: String },
    /// Decide on several requests at once: all of them, or none.
    Vote {
        /// EXECUTION, or EXECUTION=DIGEST with the digest of the view that was seen. Without
        /// digests each is shown and asked about, which needs a terminal.
        #[arg(required = true, value_name = "EXECUTION[=DIGEST]")]
        requests: Vec<String>,
        /// Say no to all of them.
        #[arg(long, requires = "reason")]
        reject: bool,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take your own vote back, while the request is open.
    Withdraw {
        #[command(flatten)]
        request: RequestArgs,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Say something about a request without deciding.
    Comment {
        #[command(flatten)]
        request: RequestArgs,
        text: String,
    },
    /// Break-glass: approve alone. It is told to everybody, and reviewed.
    Override {
        #[command(flatten)]
        request: RequestArgs,
        /// The digest of the view that was seen; else it is shown and asked about.
        #[arg(long)]
        digest: Option<Digest>,
        #[arg(long)]
        reason: String,
    },
    /// Change values of a plan that waits for people. Another person decides on the changed plan.
    Edit {
        #[command(flatten)]
        request: RequestArgs,
        /// STEP, JSON pointer into its input, and the new value as JSON: `pay/amount/value=80`.
        /// What is no JSON is a text.
        #[arg(long, required = true, value_name = "STEP/POINTER=VALUE", value_parser = literal)]
        set: Vec<(StepId, String, Value)>,
        /// The digest of the view that was seen; else it is shown and asked about.
        #[arg(long)]
        digest: Option<Digest>,
        #[arg(long)]
        reason: String,
    },
    /// Say that you looked at what somebody approved alone.
    Review {
        #[command(flatten)]
        request: RequestArgs,
        note: String,
    },
}

#[derive(Args)]
pub struct RequestArgs {
    execution: String,
    /// Which of its requests, where it has several.
    #[arg(long)]
    approval: Option<ApprovalId>,
}

/// Shows the inbox.
pub async fn list(context: &Context, args: InboxArgs) -> Result<Exit, CliError> {
    let request = ListApprovals {
        kind: args.kind,
        mine: args.all.then_some(false),
        group: args.group,
        risk_tier: args.risk,
        limit: Some(args.limit),
        cursor: args.cursor,
    };
    let page = context.client.call(&op::APPROVAL_LIST, &request).await?;
    let short = match context.output.wide || context.output.json {
        true => None,
        false => {
            let recent = ids::recent(&context.client).await?;
            let shown = page.items.iter().map(|item| item.execution_id.as_str());
            Some(Short::among(shown.chain(recent.iter().map(ExecutionId::as_str))))
        }
    };
    context.output.show(&page, |page| rows(page, short.as_ref()))?;
    Ok(Exit::Done)
}

fn rows(page: &Visible<ApprovalList>, short: Option<&Short>) {
    if page.items.is_empty() {
        println!("{}", dim("nothing waits"));
    }
    for item in &page.items {
        let id = item.execution_id.as_str();
        let tier = item.risk_tier.as_ref().map(render::status).unwrap_or_default();
        let step = item.step_id.as_ref().map(|step| format!("  step {step}")).unwrap_or_default();
        println!(
            "{}  {}  {tier}{step}  {}",
            bold(short.map_or(id, |short| short.of(id))),
            item.kind,
            dim(&render::moment(item.since))
        );
        let touches = touches(&item.money, item.recipients);
        let asked = asked_for(touches, &item.actor_id, &item.text);
        println!("  {}", cut(&asked, columns().saturating_sub(2)));
        let needs = match item.missing.is_empty() {
            false => voices(&item.missing),
            true => item.waits_for.as_ref().map(Open::to_string).unwrap_or_default(),
        };
        if !needs.is_empty() {
            render::field(2, "needs", &needs);
        }
        if let Some(why) = &item.why_not {
            render::field(2, "not yours:", why);
        }
    }
    if let Some(next) = &page.next {
        println!("{}", dim(&format!("more: --cursor '{next}'")));
    }
}

fn voices(missing: &[Requirement]) -> String {
    let one = |wanted: &Requirement| format!("{} of {}", wanted.count, wanted.group);
    missing.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Runs a command on requests.
pub async fn run(context: &Context, command: RequestCommand) -> Result<Exit, CliError> {
    match command {
        RequestCommand::List(args) => return list(context, args).await,
        RequestCommand::Get { execution } => {
            let id = context.execution(&execution).await?;
            let found = context.client.execution(&id, 0).await?;
            if context.output.json {
                context.output.show(&found, |_| {})?;
            } else {
                approval::show_open(&found);
                said(&Visible::of(&found)?);
                changeable(context, &found).await?;
            }
        }
        RequestCommand::Vote { requests, reject, reason } => {
            return vote(context, requests, reject, reason).await;
        }
        RequestCommand::Withdraw { request, reason } => {
            let (execution_id, approval_id) = request.open(context).await?;
            let request = WithdrawVote { execution_id, approval_id, reason };
            let answer = context.client.call(&op::APPROVAL_WITHDRAW, &request).await?;
            context.output.show(&answer, |state| stands(state))?;
        }
        RequestCommand::Comment { request, text } => {
            let (execution_id, approval_id) = request.open(context).await?;
            let request = CommentApproval { execution_id, approval_id, text };
            let answer = context.client.call(&op::APPROVAL_COMMENT, &request).await?;
            context.output.show(&answer, |state| stands(state))?;
        }
        RequestCommand::Override { request, digest, reason } => {
            return override_alone(context, request, digest, reason).await;
        }
        RequestCommand::Edit { request, set, digest, reason } => {
            return edit(context, request, set, (digest, reason)).await;
        }
        RequestCommand::Review { request, note } => {
            let (execution_id, approval_id) = request.reviewed(context).await?;
            let request = ReviewOverride { execution_id, approval_id, note };
            let answer = context.client.call(&op::APPROVAL_REVIEW, &request).await?;
            context.output.show(&answer, |state| stands(state))?;
        }
    }
    Ok(Exit::Done)
}

async fn vote(
    context: &Context,
    requests: Vec<String>,
    reject: bool,
    reason: Option<String>,
) -> Result<Exit, CliError> {
    let decision = if reject { Decision::Reject } else { Decision::Approve };
    let mut approvals = Vec::with_capacity(requests.len());
    for text in &requests {
        let (execution, digest) = match text.split_once('=') {
            Some((execution, digest)) => {
                (execution, Some(digest.parse().map_err(CliError::local)?))
            }
            None => (text.as_str(), None),
        };
        let execution_id = context.execution(execution).await?;
        let question = asked(context, &execution_id, None).await?;
        let Some(view_digest) = approval::seen(context, &question, digest, "EXECUTION=DIGEST")?
        else {
            println!("{}", dim("nothing was sent"));
            return Ok(Exit::NotDone);
        };
        let (approval_id, reason) = (question.approval, reason.clone());
        approvals.push(Vote { execution_id, approval_id, view_digest, decision, reason });
    }
    let request = VoteApprovals { approvals };
    let answer = context.client.call(&op::APPROVAL_VOTE, &request).await?;
    context.output.show(&answer, |voted: &Visible<ApprovalsVoted>| {
        voted.approvals.iter().for_each(stands);
    })?;
    Ok(Exit::Done)
}

async fn override_alone(
    context: &Context,
    request: RequestArgs,
    digest: Option<Digest>,
    reason: String,
) -> Result<Exit, CliError> {
    let execution_id = context.execution(&request.execution).await?;
    let question = asked(context, &execution_id, request.approval.as_ref()).await?;
    let Some(view_digest) = approval::seen(context, &question, digest, "--digest DIGEST")? else {
        println!("{}", dim("nothing was sent"));
        return Ok(Exit::NotDone);
    };
    let approval_id = question.approval;
    let request = OverrideApproval { execution_id, approval_id, view_digest, reason };
    let answer = context.client.call(&op::APPROVAL_OVERRIDE, &request).await?;
    context.output.show(&answer, |state| stands(state))?;
    Ok(Exit::Done)
}

async fn edit(
    context: &Context,
    request: RequestArgs,
    set: Vec<(StepId, String, Value)>,
    (digest, reason): (Option<Digest>, String),
) -> Result<Exit, CliError> {
    let execution_id = context.execution(&request.execution).await?;
    let question = asked(context, &execution_id, request.approval.as_ref()).await?;
    let Some(view_digest) = approval::seen(context, &question, digest, "--digest DIGEST")? else {
        println!("{}", dim("nothing was sent"));
        return Ok(Exit::NotDone);
    };
    let mut literals: BTreeMap<StepId, BTreeMap<String, Value>> = BTreeMap::new();
    for (step, pointer, value) in set {
        literals.entry(step).or_default().insert(pointer, value);
    }
    let approval_id = question.approval;
    let request = EditPlan { execution_id, approval_id, view_digest, literals, reason };
    let answer = context.client.call(&op::APPROVAL_EDIT, &request).await?;
    context.output.show(&answer, |edited: &Visible<PlanEdited>| {
        println!("the plan is {} now", edited.plan_digest);
        match &edited.approval {
            Some(asked) => println!("asked anew: {}", voices(&asked.missing)),
            None => println!("{}", dim("each changed step asks when its input is known")),
        }
    })?;
    Ok(Exit::Done)
}

// `STEP/POINTER=VALUE`.
fn literal(text: &str) -> Result<(StepId, String, Value), String> {
    let form = || "STEP/POINTER=VALUE, for example `pay/amount/value=80`".to_owned();
    let (place, value) = text.split_once('=').ok_or_else(form)?;
    let (step, pointer) = place.split_once('/').ok_or_else(form)?;
    let step = step.parse().map_err(|fault| format!("{fault}; {}", form()))?;
    let value = json::parse(value.as_bytes()).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((step, format!("/{pointer}"), value))
}

// The open request of an execution: the one that is named, or the only one.
async fn asked(
    context: &Context,
    id: &ExecutionId,
    named: Option<&ApprovalId>,
) -> Result<Question, CliError> {
    let found = context.client.execution(id, 0).await?;
    approval::only_question(&found, named)
}

impl RequestArgs {
    async fn open(&self, context: &Context) -> Result<(ExecutionId, ApprovalId), CliError> {
        let id = context.execution(&self.execution).await?;
        let approval = match &self.approval {
            Some(approval) => approval.clone(),
            None => asked(context, &id, None).await?.approval,
        };
        Ok((id, approval))
    }

    // What somebody approved alone, as the inbox shows it.
    async fn reviewed(&self, context: &Context) -> Result<(ExecutionId, ApprovalId), CliError> {
        let id = context.execution(&self.execution).await?;
        if let Some(approval) = &self.approval {
            return Ok((id, approval.clone()));
        }
        let request = ListApprovals {
            kind: Some(WaitKind::Review),
            mine: Some(false),
            limit: u32::try_from(contracts::limits::PAGE_ITEMS_MAX).ok(),
            ..ListApprovals::default()
        };
        let page = context.client.call(&op::APPROVAL_LIST, &request).await?;
        let own = page.items.iter().filter(|item| item.execution_id == id);
        let own: Vec<&ApprovalId> = own.filter_map(|item| item.approval_id.as_ref()).collect();
        match own.as_slice() {
            [one] => Ok((id, (*one).clone())),
            [] => Err(CliError::Local("nothing of it is to be reviewed".into())),
            _ => Err(CliError::Local("it has several: name one by --approval".into())),
        }
    }
}

// Who said what about the requests of an execution.
fn said(execution: &Visible<ExecutionView>) {
    for approval in &execution.approvals {
        let step = approval.step_id.as_ref().map_or("plan", |step| step.as_str());
        println!();
        println!("{} {} {}", approval.approval_id, step, render::status(&approval.status));
        if !approval.missing.is_empty() {
            render::field(2, "needs", &voices(&approval.missing));
        }
        for vote in &approval.votes {
            let reason = vote.reason.as_deref().unwrap_or_default();
            let text = format!("{} {} {reason}", vote.actor_id, vote.decision);
            render::field(2, &render::moment(vote.at), text.trim_end());
        }
        for comment in &approval.comments {
            let text = format!("{}: {}", comment.actor_id, comment.text);
            render::field(2, &render::moment(comment.at), &text);
        }
    }
}

// What a person changed of the plan, and what may be changed now.
async fn changeable(context: &Context, found: &ExecutionView) -> Result<(), CliError> {
    let open = found.approvals.iter().find(|one| one.status == ApprovalStatus::Requested);
    let Some(open) = open else { return Ok(()) };
    let request = GetApproval {
        execution_id: found.execution_id.clone(),
        approval_id: open.approval_id.clone(),
    };
    let answer = context.client.call(&op::APPROVAL_GET, &request).await?;
    let shown = Visible::of(&answer)?;
    if let Some(edit) = &shown.edit {
        println!();
        println!("{} changed the plan: {}", edit.actor_id, edit.reason);
        for change in &edit.changes {
            render::field(2, &render::moment(edit.at), &change.to_string());
        }
    }
    if !shown.literals.is_empty() {
        println!();
        println!("{}", dim("`countersign approval edit --set` may change"));
    }
    for literal in &shown.literals {
        println!("  {}{}={}", literal.step_id, literal.pointer, literal.value);
    }
    Ok(())
}

fn stands(state: &ApprovalState) {
    let missing = match state.missing.is_empty() {
        true => String::new(),
        false => format!(", needs {}", voices(&state.missing)),
    };
    println!("{} {}{missing}", state.execution_id, render::status(&state.status));
}
