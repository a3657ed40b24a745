//! What would have been judged otherwise under a policy set: for people, for spreadsheets, for
//! machines, and as a page to be kept.

mod csv;
mod text;

use crate::{
    context::Context,
    error::CliError,
    policy::gather,
    render::bold,
    visible::{Visible, json_line},
};
use clap::{Args, ValueEnum};
use contracts::{
    operation as op,
    query::{Backtest, BacktestPolicy},
};
use countersign_store::Clock as _;
use host::SystemClock;
use pages::BacktestReport;
use std::path::PathBuf;

pub use text::changes;

const DAY_MS: i64 = 86_400_000;

#[derive(Args)]
pub struct BacktestArgs {
    /// Cedar files; together they are the set.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[arg(long, default_value_t = 7)]
    days: u32,
    /// What is written: `csv` has a line for each change, `html` is one page that needs nothing
    /// beside itself.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write into this file instead of printing.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// In which form a backtest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Csv,
    Json,
    Html,
}

/// Tests a set, and writes what came of it.
pub async fn run(context: &Context, args: BacktestArgs) -> Result<(), CliError> {
    let format = format(context.output.json, args.format)?;
    let now = SystemClock.now();
    let request = BacktestPolicy {
        policies: gather(&args.files)?,
        from: now.plus_ms(-i64::from(args.days) * DAY_MS),
        to: now.plus_ms(1),
    };
    let answer = context.client.call(&op::POLICY_BACKTEST, &request).await?;
    let written = match format {
        Format::Json => json_line(answer.document()) + "\n",
        Format::Text => text::report(&Visible::of(&answer)?),
        Format::Csv => csv::report(&answer.changed),
        Format::Html => page(context, &args, &request, &answer)?,
    };
    match &args.out {
        None => anstream::print!("{written}"),
        Some(file) => {
            let plain = anstream::adapter::strip_str(&written).to_string();
            std::fs::write(file, plain).map_err(|error| CliError::file(file, error))?;
        }
    }
    // Neither a line of a table nor a field of a spreadsheet can say it.
    if answer.truncated && format == Format::Csv {
        anstream::eprintln!("{}", bold(text::TRUNCATED));
    }
    Ok(())
}

fn format(json: bool, named: Option<Format>) -> Result<Format, CliError> {
    match (json, named) {
        (true, None | Some(Format::Json)) => Ok(Format::Json),
        (true, Some(_)) => Err(CliError::Local("--json and --format say different things".into())),
        (false, named) => Ok(named.unwrap_or(Format::Text)),
    }
}

fn page(
    context: &Context,
    args: &BacktestArgs,
    request: &BacktestPolicy,
    backtest: &Backtest,
) -> Result<String, CliError> {
    let name = |file: &PathBuf| {
        file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    let policies: Vec<String> = args.files.iter().map(name).collect();
    let report = BacktestReport {
        backtest,
        policies: &policies,
        from: request.from,
        to: request.to,
        endpoint: context.client.endpoint(),
    };
    pages::backtest_report(&report).map(pages::Html::into_string).map_err(CliError::local)
}
