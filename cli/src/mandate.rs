//! Mandates: approvals given beforehand, within limits.

use crate::{
    context::Context,
    error::{CliError, Exit},
    ids::{self, Short},
    prove::{self, Claim, Outcome},
    render::{self, bold, dim, green},
    visible::{self, Visible},
};
use anstream::println;
use clap::{Args, Subcommand};
use contracts::{
    Timestamp,
    draft::Budget,
    mandate::{CreateMandate, ListMandates, Mandate, MandateList, MandateView, RevokeMandate},
    operation as op,
};
use std::collections::BTreeMap;

#[derive(Subcommand)]
pub enum MandateCommand {
    /// Approve calls of one operation beforehand.
    Create(CreateArgs),
    /// Prove that a mandate covers nothing that people could not approve, or show what it covers
    /// beyond: such calls stay refused. Needs `countersign-prove`.
    Prove { id: String },
    /// List mandates, and what each let through.
    List {
        /// Those as well that ended.
        #[arg(long)]
        all: bool,
    },
    /// End a mandate by its id, or by the beginning of it.
    Revoke {
        id: String,
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Args)]
pub struct CreateArgs {
    /// skill/operation.
    operation: String,
    /// A Cedar condition, as in `when { … }` of a policy.
    #[arg(long, value_name = "CONDITION")]
    when: Option<String>,
    /// Only what this actor asks.
    #[arg(long, value_name = "ACTOR")]
    requested_by: Option<String>,
    /// Most money of a currency that all its calls together may move, in minor units:
    /// EUR=100000. May be given several times; other currencies then not at all.
    #[arg(long, value_name = "CURRENCY=AMOUNT", value_parser = money)]
    money: Vec<(String, u64)>,
    /// Most recipients of all its calls together.
    #[arg(long)]
    recipients: Option<u64>,
    /// Most calls.
    #[arg(long)]
    count: u32,
    /// RFC 3339 time at which it ends, at most 90 days from now.
    #[arg(long)]
    expires_at: Timestamp,
    #[arg(long)]
    reason: String,
}

fn money(text: &str) -> Result<(String, u64), String> {
    let (code, amount) = text.split_once('=').ok_or("write CURRENCY=AMOUNT")?;
    Ok((code.to_owned(), amount.parse().map_err(|_| "the amount is a whole number")?))
}

impl CreateArgs {
    fn request(self) -> CreateMandate {
        let money: BTreeMap<String, u64> = self.money.into_iter().collect();
        let money = Some(money).filter(|money| !money.is_empty());
        let budget = (money.is_some() || self.recipients.is_some()).then(|| Budget {
            money,
            recipients: self.recipients,
            ..Budget::default()
        });
        CreateMandate {
            operation: self.operation,
            when: self.when,
            requested_by: self.requested_by,
            budget,
            count: self.count,
            expires_at: self.expires_at,
            reason: self.reason,
        }
    }
}

/// Runs a command on mandates.
pub async fn run(context: &Context, command: MandateCommand) -> Result<Exit, CliError> {
    match command {
        MandateCommand::Create(args) => {
            let answer = context.client.call(&op::MANDATE_CREATE, &args.request()).await?;
            context.output.show(&answer, |made| println!("{} {}", green("✓"), bold(&made.id)))?;
            if !context.output.json {
                proven(context, &answer).await?;
            }
        }
        MandateCommand::Prove { id } => {
            let mandate = named(context, &id).await?;
            return prove::show(context, &claim(&mandate)).await;
        }
        MandateCommand::List { all } => {
            let request = ListMandates { include_ended: all };
            let answer = context.client.call(&op::MANDATE_LIST, &request).await?;
            context.output.show(&answer, |list| shown(list, context.output.wide))?;
        }
        MandateCommand::Revoke { id, reason } => {
            let mandate_id = named(context, &id).await?.id;
            let request = RevokeMandate { mandate_id, reason };
            let answer = context.client.call(&op::MANDATE_REVOKE, &request).await?;
            context.output.show(&answer, |ended| println!("{} revoked", ended.id))?;
        }
    }
    Ok(Exit::Done)
}

// The mandate of an id, or of the beginning of one.
async fn named(context: &Context, id: &str) -> Result<Mandate, CliError> {
    let request = ListMandates { include_ended: true };
    let list = context.client.call(&op::MANDATE_LIST, &request).await?.into_inner();
    let known = list.items.iter().map(|one| one.mandate.id.as_str());
    let id = ids::one("mandate", id, known)?.to_owned();
    let found = list.items.into_iter().map(|one| one.mandate).find(|mandate| mandate.id == id);
    found.ok_or_else(|| CliError::Local(format!("there is no mandate `{id}`")))
}

fn claim(mandate: &Mandate) -> Claim<'_> {
    Claim::Mandate { operation: &mandate.operation, when: mandate.when.as_deref() }
}

// Where the prover is installed: whether the mandate stays within what people could approve.
async fn proven(context: &Context, mandate: &Mandate) -> Result<(), CliError> {
    let said = match prove::run(context, &claim(mandate)).await? {
        None => return Ok(()),
        Some(Outcome { code: 0, .. }) => {
            "proven: it covers nothing that people could not approve".to_owned()
        }
        Some(Outcome { code: 1, .. }) => format!(
            "it covers calls that people could not approve; they stay refused: \
             `countersign mandate prove {}`",
            mandate.id
        ),
        Some(Outcome { text, .. }) => {
            format!("not proven: {}", visible::document(text.trim()).trim_end())
        }
    };
    println!("{}", dim(&said));
    Ok(())
}

fn shown(list: &Visible<MandateList>, wide: bool) {
    if list.items.is_empty() {
        println!("{}", dim("there is no mandate"));
        return;
    }
    let short = Short::among(list.items.iter().map(|one| one.mandate.id.as_str()));
    let row = |view: &MandateView| {
        let mandate = &view.mandate;
        let id = if wide { mandate.id.as_str() } else { short.of(&mandate.id) };
        let state = view.why_not.clone().unwrap_or_else(|| "active".into());
        let money = view.spent.money.iter().map(|(code, sum)| format!("{code} {sum}"));
        vec![
            id.to_owned(),
            mandate.operation.clone(),
            mandate.made_by.clone(),
            format!("{} of {}", view.used, mandate.count),
            money.collect::<Vec<_>>().join(", "),
            render::moment(mandate.expires_at),
            state,
        ]
    };
    let rows: Vec<Vec<String>> = list.items.iter().map(row).collect();
    let columns = ["mandate", "operation", "by", "calls", "spent", "expires", "status"];
    render::table(&columns, &rows);
}
