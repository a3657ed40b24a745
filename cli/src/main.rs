//! `countersign`: the control plane on one machine, and the client of any deployment.

mod approval;
mod backtest;
mod budget;
mod capabilities;
mod channel;
mod context;
mod demo;
mod dev;
mod directory;
mod documentation;
mod error;
mod evidence;
mod execution;
mod explain;
mod freeze;
mod identity;
mod ids;
mod inbox;
mod key;
mod link;
mod mail;
mod mandate;
mod mcp_import;
mod output;
mod pack;
mod plan;
mod policy;
mod profile;
mod prove;
mod publisher_keys;
mod render;
mod replay;
mod sign_in;
mod signals;
mod skill;
mod skill_file;
mod submit;
mod target;
mod trace;
mod trust;
mod verify;
mod visible;
mod webhook;

use clap::{CommandFactory as _, Parser, Subcommand};
use context::Context;
use error::{CliError, Exit};
use output::Output;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};
use target::{ENDPOINT_DEFAULT, Environment, Target};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A control plane for agentic execution.
///
/// Exit codes: 0 done; 1 refused, the execution did not complete, or a check found a difference; 2
/// wrong usage; 3 the service failed or cannot be reached.
///
/// An execution, a key or a subscription may be named by the beginning of its id, where that is
/// unambiguous among the recent ones.
#[derive(Parser)]
#[command(name = "countersign", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole control plane in this process, with its data in a folder.
    Dev(dev::DevArgs),
    /// Walk through everything with real HTTP tools, and check the evidence.
    Demo(demo::DemoArgs),
    /// Serve the example tools (crm, payments, mail) that the skills in examples/skills call.
    Tools {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:7412")]
        listen: SocketAddr,
    },
    /// Keep the URL of a control plane and a key for it as a profile (--profile NAME). The key is
    /// asked for, or read from standard input.
    Login {
        /// Use this profile where none is named.
        #[arg(long)]
        default: bool,
    },
    /// Forget the key of a profile.
    Logout,
    /// List profiles, and say which one is used where none is named.
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Submit an intent with a draft or a playbook.
    Submit(submit::SubmitArgs),
    /// Show the plan, the verdicts and their reasons without running anything.
    Plan(plan::PlanArgs),
    #[command(flatten)]
    Execution(execution::ExecutionCommand),
    #[command(flatten)]
    Approval(approval::ApprovalCommand),
    /// List what waits for you: the highest risk first, then the oldest.
    Inbox(inbox::InboxArgs),
    /// Decide on several requests, comment, take a vote back, override, review.
    #[command(subcommand, name = "approval")]
    Request(inbox::RequestCommand),
    #[command(flatten)]
    Trace(trace::TraceCommand),
    /// Take evidence away: exports, packs, bundles, receipts, checkpoints, proofs.
    #[command(subcommand)]
    Evidence(evidence::EvidenceCommand),
    /// Check evidence offline: a folder of exports, a pack, a bundle or a receipt. Needs files and
    /// public keys, and neither a network nor an account.
    Verify(verify::VerifyArgs),
    /// Why an execution, a step or a draft is judged as it is.
    Explain(explain::ExplainArgs),
    /// Make, sign, verify, install, disable and list skills.
    #[command(subcommand)]
    Skill(skill::SkillCommand),
    /// Say whose skills may be installed.
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// Look at policies, test them on what happened, activate them.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Say how much may be touched, and see how much is used.
    #[command(subcommand)]
    Budget(budget::BudgetCommand),
    /// Say which phrases of an intent raise its risk.
    #[command(subcommand)]
    Signals(signals::SignalsCommand),
    /// Stop what has not begun, and lift a stop.
    #[command(subcommand)]
    Freeze(freeze::FreezeCommand),
    /// Make, list and revoke API keys; make keys that sign skills.
    #[command(subcommand)]
    Keys(key::KeysCommand),
    /// Say who is who.
    #[command(subcommand)]
    Person(directory::PersonCommand),
    /// Say whose approval policies can ask for.
    #[command(subcommand)]
    Group(directory::GroupCommand),
    /// Say who may sign in by the identity provider, and which decisions need a second factor.
    #[command(subcommand)]
    SignIn(sign_in::SignInCommand),
    /// Approve calls beforehand, within limits.
    #[command(subcommand)]
    Mandate(mandate::MandateCommand),
    /// Have stage events sent to a URL or a mail address.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// End approval links before their time.
    #[command(subcommand)]
    Link(link::LinkCommand),
    /// Look at the mails of `countersign dev` without a mail server, on this machine.
    #[command(subcommand)]
    Mail(mail::MailCommand),
    /// Say how people outside speak to a workspace: Slack, GitHub, Telegram, WhatsApp.
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// What the deployment offers.
    Capabilities,
    /// Print what completes arguments in a shell.
    Completions { shell: clap_complete::Shell },
    /// Write the pages of the manual into a folder.
    Man {
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log(matches!(cli.command, Command::Dev(_)));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("countersign: {error}");
            return ExitCode::from(3);
        }
    };
    let as_json = cli.target.json;
    // Whoever runs a server reads its log.
    let serves = matches!(cli.command, Command::Dev(_) | Command::Tools { .. });
    let outcome = runtime.block_on(run(cli));
    // Whatever still runs is driven again by the next start.
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            if as_json {
                output::json(&error.as_json());
            }
            if serves || !as_json {
                render::error(&error);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

// What a server logs says `RUST_LOG`, as everywhere; what is below `info` is in no release.
fn log(serves: bool) {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|wanted| wanted.parse().ok());
    let filter = match serves {
        true => wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO)),
        // What this SDK says of a server that is not there is its own types; the error says it.
        false => {
            Targets::new().with_default(LevelFilter::ERROR).with_target("rmcp", LevelFilter::OFF)
        }
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}

async fn run(cli: Cli) -> Result<Exit, CliError> {
    let Cli { target, command } = cli;
    let output = Output { json: target.json, wide: target.wide };
    // The keys of `verify` are public.
    if !matches!(command, Command::Verify(_)) {
        target.check()?;
    }
    // A client is made for those commands only that call a control plane: what others do needs no
    // profile and no key.
    let context = || Context::new(&target, output);
    match command {
        Command::Dev(args) => dev::dev(args, output).await,
        Command::Demo(args) => demo::demo(args, output).await,
        Command::Tools { listen } => {
            let endpoint = target.endpoint.clone().or(Environment::read().url);
            let endpoint = endpoint.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned());
            dev::tools(listen, &endpoint).await
        }
        Command::Login { default } => profile::login(&target, default, output).await,
        Command::Logout => profile::logout(&target, output),
        Command::Profile(command) => profile::run(command, output),
        Command::Completions { shell } => Ok(documentation::completions(shell, Cli::command())),
        Command::Man { out } => documentation::manual(&out, Cli::command()),
        Command::Submit(args) => submit::submit(&context()?, args).await,
        Command::Plan(args) => plan::run(&context()?, args).await,
        Command::Execution(command) => execution::run(&context()?, command).await,
        Command::Approval(command) => approval::run(&context()?, command).await,
        Command::Inbox(args) => inbox::list(&context()?, args).await,
        Command::Request(command) => inbox::run(&context()?, command).await,
        Command::Trace(command) => trace::run(&context()?, command).await,
        Command::Evidence(command) => match command.run_here(output)? {
            Ok(exit) => Ok(exit),
            Err(command) => evidence::run(&context()?, command).await,
        },
        Command::Verify(args) => verify::run(args, target.key.as_deref(), output),
        Command::Explain(args) => explain::run(&context()?, args).await,
        Command::Skill(command) => match command.run_here(output).await? {
            Some(command) => skill::run(&context()?, command).await,
            None => Ok(Exit::Done),
        },
        Command::Trust(command) => trust::run(&context()?, command).await,
        Command::Policy(command) => match command.run_here()? {
            Some(command) => policy::run(&context()?, command).await,
            None => Ok(Exit::Done),
        },
        Command::Budget(command) => budget::run(&context()?, command).await,
        Command::Signals(command) => signals::run(&context()?, command).await,
        Command::Freeze(command) => freeze::run(&context()?, command).await,
        Command::Keys(command) => match command.run_here(output)? {
            Some(command) => key::run(&context()?, command).await,
            None => Ok(Exit::Done),
        },
        Command::Person(command) => directory::person(&context()?, command).await,
        Command::Group(command) => directory::group(&context()?, command).await,
        Command::SignIn(command) => sign_in::run(&context()?, command).await,
        Command::Mandate(command) => mandate::run(&context()?, command).await,
        Command::Webhook(command) => webhook::run(&context()?, command).await,
        Command::Link(command) => link::run(&context()?, command).await,
        Command::Mail(command) => mail::run(command, output),
        Command::Channel(command) => channel::run(&context()?, command).await,
        Command::Capabilities => capabilities::run(&context()?).await,
    }
}
