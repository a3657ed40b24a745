//! `countersign`: the control plane on one machine, and the client of any deployment.

mod client;
mod commands;
mod decide;
mod demo;
mod dev;
mod govern;
mod mcp_import;
mod publisher_keys;
mod render;
mod skills;
mod visible;

use clap::{Args, Parser, Subcommand};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A control plane for agentic execution.
///
/// Exit codes: 0 done; 1 refused, or the execution did not complete; 2 wrong usage; 3 the service failed or cannot be
/// reached.
#[derive(Parser)]
#[command(name = "countersign", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

/// Whom to talk to, and how to print.
#[derive(Args, Clone)]
struct Target {
    /// URL of the control plane.
    #[arg(long, global = true, env = "COUNTERSIGN_ENDPOINT", default_value = "http://127.0.0.1:7411")]
    endpoint: String,
    /// API key.
    #[arg(long, global = true, env = "COUNTERSIGN_API_KEY", hide_env_values = true, default_value = "")]
    key: String,
    /// Print JSON for machines.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole control plane in this process, with its data in a folder.
    Dev(DevArgs),
    /// Walk through everything with real HTTP tools, and check the evidence.
    Demo(DemoArgs),
    /// Serve the example tools (crm, payments, mail) that the skills in examples/skills call.
    Tools {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:7412")]
        listen: SocketAddr,
    },
    /// Submit an intent with a draft or a playbook.
    Submit(SubmitArgs),
    /// Show the plan, the verdicts and their reasons without running anything.
    Plan(SubmitArgs),
    /// Show an execution.
    Get { execution: String },
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
    /// Show what is to be approved, a plan or a step, and approve it.
    Approve {
        execution: String,
        /// One step instead of the whole plan.
        #[arg(long)]
        step: Option<String>,
        /// The digest of the view that was seen. Left out: it is shown and asked about, which needs a terminal.
        #[arg(long)]
        digest: Option<String>,
        #[arg(long)]
        note: Option<String>,
    },
    /// Show what is to be decided on, a plan or a step, and reject it.
    Reject {
        execution: String,
        #[arg(long)]
        step: Option<String>,
        /// The digest of the view that was seen. Left out: that of what is shown now.
        #[arg(long)]
        digest: Option<String>,
        #[arg(long)]
        reason: String,
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
        step: Option<String>,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Say what became of a call whose outcome is not known.
    Resolve {
        execution: String,
        step: String,
        #[arg(value_parser = ["completed", "failed", "retry"])]
        outcome: String,
        /// With `completed`: a file with the step's output as JSON.
        #[arg(long)]
        evidence: Option<PathBuf>,
    },
    /// Show the trace of an execution.
    Trace {
        execution: String,
        /// Check the hash chain here, offline from the server's own word.
        #[arg(long)]
        verify: bool,
        /// Include the outputs of steps.
        #[arg(long)]
        payloads: bool,
    },
    /// Show the workspace log: everything that changed authority.
    Log {
        /// Check the hash chain here, offline from the server's own word.
        #[arg(long)]
        verify: bool,
    },
    /// Show what a step gave, or the last steps of an execution.
    Output {
        execution: String,
        #[arg(long)]
        step: Option<String>,
    },
    /// Fold the trace, recompile the plan, re-evaluate the policy, and report the first differences.
    Replay { execution: String },
    /// Why an execution, a step or a draft is judged as it is.
    Explain {
        /// An execution.
        #[arg(required_unless_present = "draft")]
        execution: Option<String>,
        #[arg(long)]
        step: Option<String>,
        /// A file with a draft instead.
        #[arg(long, conflicts_with = "execution")]
        draft: Option<PathBuf>,
        /// With a draft: the words it would come with.
        #[arg(long)]
        text: Option<String>,
    },
    /// Make, sign, verify, install, disable and list skills.
    #[command(subcommand)]
    Skill(SkillCommand),
    /// Say whose skills may be installed.
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Look at policies, test them on what happened, activate them.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Say how much may be touched, and see how much is used.
    #[command(subcommand)]
    Budget(BudgetCommand),
    /// Say which phrases of an intent raise its risk.
    #[command(subcommand)]
    Signals(SignalsCommand),
    /// Stop what has not begun, and lift a stop.
    #[command(subcommand)]
    Freeze(FreezeCommand),
    /// Make, list and revoke API keys; make keys that sign skills.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// What the deployment offers.
    Capabilities,
}

#[derive(Args)]
struct DevArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7411")]
    listen: SocketAddr,
    /// Folder of all data.
    #[arg(long, default_value = ".countersign")]
    data: PathBuf,
    /// Another workspace and its keys. May be given several times.
    #[arg(long)]
    workspace: Vec<String>,
    /// Send stage events to this URL, signed by Standard Webhooks.
    #[arg(long)]
    subscriber: Option<String>,
    /// Where tools reach this process to call back, and warrants' keys; else where it listens.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Make new keys for workspaces that have some.
    #[arg(long)]
    new_keys: bool,
    /// Make a new key for warrants: published at once, it signs in ten minutes; the one before it stays published.
    #[arg(long)]
    new_warrant_key: bool,
}

#[derive(Args)]
struct DemoArgs {
    /// Let a person approve at the prompt.
    #[arg(long)]
    interactive: bool,
    /// Keep the data in this folder; otherwise in a temporary one that goes away.
    #[arg(long)]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct SubmitArgs {
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
    /// auto, manual or dryRun.
    #[arg(long, default_value = "auto", value_parser = ["auto", "manual", "dryRun"])]
    mode: String,
    /// The channel the text came through.
    #[arg(long)]
    channel: Option<String>,
    /// The person or account that this is done for.
    #[arg(long)]
    on_behalf_of: Option<String>,
    /// The same key and request have one effect and one answer.
    #[arg(long)]
    idempotency_key: Option<String>,
    /// Follow the execution until it ends or waits for people.
    #[arg(long)]
    watch: bool,
}

#[derive(Args)]
struct ListArgs {
    #[arg(long)]
    status: Option<String>,
    #[arg(long)]
    actor: Option<String>,
    /// 1 to 200.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Args)]
struct SteerArgs {
    execution: String,
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Subcommand)]
enum SkillCommand {
    /// Make a folder with a manifest to begin with.
    Init {
        /// Folder and key of the skill.
        name: String,
        #[arg(long, default_value = "acme")]
        publisher: String,
        /// Wrap the tools of an MCP server at this URL (streamable HTTP).
        #[arg(long, value_name = "URL")]
        mcp: Option<String>,
        /// Of that server only these tools; may be given several times.
        #[arg(long, value_name = "TOOL", requires = "mcp")]
        only: Vec<String>,
        /// Of that server all but these tools; may be given several times.
        #[arg(long, value_name = "TOOL", requires = "mcp", conflicts_with = "only")]
        except: Vec<String>,
    },
    /// Sign a skill: a folder that `init` made, or a manifest file.
    Sign {
        skill: PathBuf,
        /// A key that `keys generate` made, or any Ed25519 key in PKCS#8 PEM.
        #[arg(long)]
        with: PathBuf,
        /// How long the signature holds.
        #[arg(long, default_value_t = 365)]
        days: u32,
        /// Where the bundle goes; else `<key>-<version>.skill.json`.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// See whether a signed skill could be installed, and why not.
    Verify { bundle: PathBuf },
    /// Install a signed skill.
    Install {
        bundle: PathBuf,
        /// Let a version come that is below the highest that ever was installed.
        #[arg(long)]
        allow_downgrade: bool,
    },
    /// Disable a skill: its unstarted steps will not run.
    Disable {
        skill: String,
        #[arg(long)]
        version: Option<String>,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Lift a disable.
    Enable {
        skill: String,
        #[arg(long)]
        version: Option<String>,
        #[arg(long)]
        reason: Option<String>,
    },
    /// List skills.
    List {
        /// Disabled ones too.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Subcommand)]
enum TrustCommand {
    /// The trust policy.
    Show,
    /// Trust a publisher's key, and where it builds.
    Add {
        publisher: String,
        /// The `.pub` file that `keys generate` wrote, or a public key in PEM.
        #[arg(long)]
        public: PathBuf,
        /// Where its skills may be built; may be given several times.
        #[arg(long, required = true)]
        provenance: Vec<String>,
    },
    /// Trust a publisher no longer: its skills are no longer used.
    Remove { publisher: String },
    /// Revoke a manifest or an artifact by its digest.
    Revoke { digest: String },
    /// Let no version below this be installed or used.
    Minimum { skill: String, version: String },
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// The active policy set.
    Show,
    /// Print a policy to begin with; without a name, list them.
    Template { name: Option<String> },
    /// Validate a set, show which verdicts of the last days would be others, and activate it.
    Activate {
        /// Cedar files; together they are the set.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[arg(long)]
        note: Option<String>,
        /// Activate nothing.
        #[arg(long)]
        dry_run: bool,
        /// Days that are tested, 0 to 90; default 7.
        #[arg(long)]
        days: Option<u32>,
    },
    /// Show which verdicts would be others under a set.
    Backtest {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[arg(long, default_value_t = 7)]
        days: u32,
    },
    /// Evaluate a candidate beside the active set; without files, show what it would have changed.
    Shadow {
        files: Vec<PathBuf>,
        /// No candidate any more.
        #[arg(long, conflicts_with = "files")]
        stop: bool,
    },
    /// Prove by a solver, for every request there can be: no policy errs, high risk is never autonomous, and no more is
    /// permitted than before.
    Prove {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The set that it is compared with; else the active one.
        #[arg(long)]
        than: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum BudgetCommand {
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

#[derive(Subcommand)]
enum SignalsCommand {
    /// The phrases in force.
    Show,
    /// Set them from a JSON file: `[{"tier": "high", "phrase": "wire transfer"}]`. Without one, those of the contract.
    Set {
        file: Option<PathBuf>,
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Subcommand)]
enum FreezeCommand {
    /// What is frozen.
    List,
    /// Freeze: no step it covers begins.
    Set {
        #[arg(value_parser = ["workspace", "skill", "operation", "actor"])]
        scope: String,
        /// A skill's key, `skill/operation`, or an actor's id.
        what: Option<String>,
        #[arg(long)]
        reason: Option<String>,
        /// Freeze what does not exist (yet).
        #[arg(long)]
        force: bool,
    },
    /// Lift a freeze.
    Lift {
        #[arg(value_parser = ["workspace", "skill", "operation", "actor"])]
        scope: String,
        what: Option<String>,
    },
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Make a key that signs skills.
    Generate {
        /// Where the private key goes; the public one goes beside it as `.pub`.
        #[arg(long, default_value = "publisher.key")]
        out: PathBuf,
    },
    /// Show what a trust policy pins of a key that signs skills.
    Public {
        /// Its private or public key: PEM, or what `keys generate` wrote.
        file: PathBuf,
    },
    /// Make a key. Its secret is printed once and stored nowhere.
    Create {
        /// Whose key it is.
        actor: String,
        #[arg(long, default_value = "agent", value_parser = ["human", "service", "agent", "tool"])]
        kind: String,
        /// Grants, `control-plane.` may be left out. Default: those of an agent backend, or of an approver for humans.
        #[arg(long)]
        grant: Vec<String>,
        /// RFC 3339 time after which it is void.
        #[arg(long)]
        expires_at: Option<String>,
    },
    /// List keys.
    List,
    /// Revoke a key by its id.
    Revoke { id: String },
    /// The services that decide like people; with names, set them.
    Deciders {
        services: Vec<String>,
        /// Only people decide.
        #[arg(long, conflicts_with = "services")]
        none: bool,
        #[arg(long)]
        reason: Option<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = if matches!(cli.command, Command::Dev(_)) { tracing::Level::INFO } else { tracing::Level::ERROR };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
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
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if as_json {
                render::json(&failure.as_json());
            }
            if serves || !as_json {
                render::failure(&failure);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(cli: Cli) -> Result<u8, client::Failure> {
    match cli.command {
        Command::Dev(args) => dev::dev(args, cli.target.json).await.map(|()| 0),
        Command::Tools { listen } => dev::tools(listen, &cli.target.endpoint).await.map(|()| 0),
        Command::Demo(args) => demo::demo(args, cli.target.json).await.map(|()| 0),
        command => commands::run(command, &cli.target).await,
    }
}
