//! Skills: made, signed, verified, installed, disabled and listed.

use crate::{
    context::{Context, read_document},
    error::{CliError, Exit},
    mcp_import::ServerArgs,
    output::{self, Output},
    render::{self, bold, dim, green},
    skill_file,
    visible::Visible,
};
use anstream::println;
use clap::Subcommand;
use contracts::{
    command::{DisableSkill, EnableSkill, InstallSkill},
    limits::PAGE_ITEMS_MAX,
    operation as op,
    query::{ListSkills, SkillList, SkillVerified},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

#[derive(Subcommand)]
pub enum SkillCommand {
    /// Make a folder with a manifest to begin with.
    Init {
        /// Folder and key of the skill.
        name: String,
        #[arg(long, default_value = "acme")]
        publisher: String,
        #[command(flatten)]
        server: ServerArgs,
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

impl SkillCommand {
    /// Runs what needs no control plane; else gives the command back.
    pub async fn run_here(self, output: Output) -> Result<Option<Self>, CliError> {
        match self {
            Self::Init { name, publisher, server } => {
                skill_file::init(&name, &publisher, server.server()?).await?;
            }
            Self::Sign { skill, with, days, out } => sign(&skill, &with, days, out, output)?,
            other => return Ok(Some(other)),
        }
        Ok(None)
    }
}

/// Runs a command on skills.
pub async fn run(context: &Context, command: SkillCommand) -> Result<Exit, CliError> {
    let Some(command) = command.run_here(context.output).await? else { return Ok(Exit::Done) };
    match command {
        SkillCommand::Init { .. } | SkillCommand::Sign { .. } => {}
        SkillCommand::Verify { bundle } => {
            let answer = context.client.call(&op::SKILL_VERIFY, &bundle_of(&bundle)?).await?;
            context.output.show(&answer, verified)?;
            return Ok(Exit::done_if(answer.verified));
        }
        SkillCommand::Install { bundle, allow_downgrade } => {
            let request = InstallSkill { allow_downgrade, ..bundle_of(&bundle)? };
            let answer = context.client.call(&op::SKILL_INSTALL, &request).await?;
            context.output.show(&answer, |done| {
                stands(&done.skill_key, Some(&done.version), &done.status);
                done.issues.iter().for_each(issue);
            })?;
        }
        SkillCommand::Disable { skill, version, reason } => {
            let request = DisableSkill { skill_key: skill, version, reason };
            let answer = context.client.call(&op::SKILL_DISABLE, &request).await?;
            context.output.show(&answer, |done| {
                stands(&done.skill_key, done.version.as_deref(), &done.status);
                let line = format!("{} unstarted steps will not run", done.voided_steps);
                println!("  {}", dim(&line));
            })?;
        }
        SkillCommand::Enable { skill, version, reason } => {
            let request = EnableSkill { skill_key: skill, version, reason };
            let answer = context.client.call(&op::SKILL_ENABLE, &request).await?;
            context.output.show(&answer, |done| {
                stands(&done.skill_key, done.version.as_deref(), &done.status);
            })?;
        }
        SkillCommand::List { all } => {
            let limit = u32::try_from(PAGE_ITEMS_MAX).ok();
            let request = ListSkills { include_disabled: all, limit, cursor: None };
            let answer = context.client.call(&op::SKILL_LIST, &request).await?;
            context.output.show(&answer, listed)?;
        }
    }
    Ok(Exit::Done)
}

fn sign(
    skill: &Path,
    key: &Path,
    days: u32,
    out: Option<PathBuf>,
    output: Output,
) -> Result<(), CliError> {
    let signed = skill_file::sign(skill, key, days)?;
    let file = out.unwrap_or(signed.file);
    fs::write(&file, format!("{:#}\n", signed.bundle))
        .map_err(|error| CliError::file(&file, error))?;
    if output.json {
        output::json(&json!({ "file": file, "artifactDigest": signed.artifact_digest }));
        return Ok(());
    }
    println!("{} {}", green("✓"), bold(&file.display().to_string()));
    let line = format!("signed for {days} days; install it with `countersign skill install`");
    println!("  {}", dim(&line));
    Ok(())
}

// What `sign` wrote; a bare manifest is pointed out before the control plane refuses it.
fn bundle_of(file: &Path) -> Result<InstallSkill, CliError> {
    let bundle: Value = read_document(file)?;
    if bundle.get("schemaVersion").is_some() {
        let message =
            "a manifest that nobody signed: `countersign skill sign` makes the bundle to install";
        return Err(CliError::file(file, message));
    }
    contracts::json::typed(bundle).map_err(|problem| {
        let why =
            problem.issues.first().map(|issue| format!("{}: {}", issue.pointer, issue.message));
        CliError::file(file, format!("not a signed skill: {}", why.unwrap_or_default()))
    })
}

fn stands(key: &str, version: Option<&str>, status: impl std::fmt::Display) {
    println!("{} {} {}", bold(key), version.unwrap_or("every version"), render::status(status));
}

fn issue(issue: &contracts::Issue) {
    let code = issue.code.as_deref().unwrap_or("·");
    render::field(2, code, &issue.message);
}

fn verified(answer: &Visible<SkillVerified>) {
    for (holds, what) in [
        (answer.signature_verified, "signed, now, by the key it names"),
        (answer.publisher_trusted, "by a publisher that the workspace trusts"),
        (answer.compatibility_verified, "for this control plane"),
        (answer.verified, "can be installed"),
    ] {
        println!("{} {what}", if holds { green("✓") } else { render::status("✗") });
    }
    answer.issues.iter().for_each(issue);
}

fn listed(list: &Visible<SkillList>) {
    let rows: Vec<Vec<String>> = list
        .items
        .iter()
        .map(|item| {
            vec![
                item.skill_key.clone(),
                item.version.clone(),
                item.status.to_string(),
                item.publisher.clone().unwrap_or_default(),
                item.expires_at.map(contracts::Timestamp::day).unwrap_or_default(),
                item.operations.join(" "),
            ]
        })
        .collect();
    render::table(&["skill", "version", "status", "publisher", "until", "operations"], &rows);
}
