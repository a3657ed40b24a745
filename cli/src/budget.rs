//! How much may be touched.

use crate::{
    context::{Context, read_document},
    error::{CliError, Exit},
    render::{self, bold, dim},
    visible::Visible,
};
use anstream::println;
use clap::Subcommand;
use contracts::{
    Open,
    governance::{Budgets, BudgetsAnswer, EmptyQuery, SetBudgets, Usage},
    operation as op,
};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum BudgetCommand {
    /// The budgets in force, and what is used.
    Show,
    /// Set them from a JSON file: `{"plan": {...}, "meters": [...]}`.
    Set {
        file: PathBuf,
        #[arg(long)]
        reason: Option<String>,
        /// Take meters of operations and skills that do not exist (yet).
        #[arg(long)]
        force: bool,
    },
}

/// Runs a command on budgets.
pub async fn run(context: &Context, command: BudgetCommand) -> Result<Exit, CliError> {
    let answer = match command {
        BudgetCommand::Show => context.client.call(&op::BUDGET_GET, &EmptyQuery {}).await?,
        BudgetCommand::Set { file, reason, force } => {
            let request = SetBudgets { budgets: read_document(&file)?, force, reason };
            context.client.call(&op::BUDGET_SET, &request).await?
        }
    };
    context.output.show(&answer, shown)?;
    Ok(Exit::Done)
}

fn shown(answer: &Visible<BudgetsAnswer>) {
    match answer.budgets.known() {
        Some(budgets) => limits(budgets, &answer.usage),
        None => render::field(0, "", &answer.budgets.to_string()),
    }
    for warning in &answer.warnings {
        render::field(0, "warning", &warning.message);
    }
}

fn limits(budgets: &Budgets, usage: &[Usage]) {
    if let Some(plan) = &budgets.plan {
        render::field(0, "one plan", &Open::from(plan.clone()).to_string());
    }
    for meter in &budgets.meters {
        let limit =
            meter.limit.map_or_else(|| "counted".to_owned(), |limit| format!("at most {limit}"));
        let scope = Open::from(meter.scope);
        println!("{}  {scope} {limit} within {} s", bold(&meter.id), meter.window_seconds);
        for usage in usage.iter().filter(|usage| usage.meter == meter.id) {
            println!("  {} {}", usage.used, dim(&usage.of));
        }
    }
    if budgets.plan.is_none() && budgets.meters.is_empty() {
        println!("{}", dim("nothing is limited"));
    }
}
