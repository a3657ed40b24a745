//! Evidence that leaves the control plane: exports, packs, bundles, receipts, checkpoints and
//! proofs.

use crate::{
    context::Context,
    error::{CliError, Exit},
    output::{self, Output},
    pack,
    render::{self, dim},
};
use anstream::{eprintln, println};
use clap::Subcommand;
use contracts::{
    Code,
    command::ExportEvidence,
    evidence::{ExportWorkspace, GetCheckpoint, GetProof, GetReceipt, WorkspaceExported},
    operation as op,
};
use serde::Serialize;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How often an execution that has just ended is asked for again, until it stands in the log.
const TRIES_MAX: u32 = 20;
/// The same for a receipt, whose execution may still run.
const PROOF_TRIES_MAX: u32 = 4;
/// Wait in between.
const WAIT: Duration = Duration::from_millis(500);

#[derive(Subcommand)]
pub enum EvidenceCommand {
    /// Export what happened in the workspace up to now into the archive of the control plane.
    Export,
    /// Write an execution that has ended, with everything that proves it, into a file.
    Bundle {
        execution: String,
        /// The file; otherwise standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Make a pack for an auditor out of exports: what one control asks for, with the place of each
    /// proof. Needs files and public keys, and neither a network nor an account.
    Pack(pack::PackArgs),
    /// Write a signed receipt of what became of a step's call.
    Receipt {
        execution: String,
        step: String,
        /// The file; otherwise standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Write the signed checkpoint of the transparency log: keep it elsewhere, and check exports
    /// against it (verify --checkpoint).
    Checkpoint {
        /// Also prove that the log begins with that of this size.
        #[arg(long, value_name = "SIZE")]
        from: Option<u64>,
        /// The file; otherwise standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Prove that the end of an execution, or of the workspace log, stands in the log.
    Proof { execution: Option<String> },
    /// Write the public keys that verify evidence (a JWK set).
    Keys {
        /// The file; otherwise standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

impl EvidenceCommand {
    /// Runs what needs no control plane; else gives the command back.
    pub fn run_here(self, output: Output) -> Result<Result<Exit, Self>, CliError> {
        match self {
            Self::Pack(args) => pack::run(args, output).map(Ok),
            other => Ok(Err(other)),
        }
    }
}

/// Runs a command on evidence.
pub async fn run(context: &Context, command: EvidenceCommand) -> Result<Exit, CliError> {
    match command {
        EvidenceCommand::Export => export(context).await,
        EvidenceCommand::Bundle { execution, out } => {
            let execution_id = context.execution(&execution).await?;
            let request = ExportEvidence { execution_id };
            let mut tries = 0;
            let answer = loop {
                match context.client.call(&op::EXECUTION_EVIDENCE_EXPORT, &request).await {
                    Err(error) if error.is(Code::NotFound) && tries < TRIES_MAX => {
                        tries += 1;
                        tokio::time::sleep(WAIT).await;
                    }
                    outcome => break outcome?,
                }
            };
            let text = document(&answer.bundle)?;
            let said = format!(
                "{} events, {} documents, {}",
                answer.bundle.events.len(),
                answer.bundle.documents.len(),
                answer.digest
            );
            written(out.as_deref(), &text, &said)
        }
        EvidenceCommand::Pack(args) => pack::run(args, context.output),
        EvidenceCommand::Receipt { execution, step, out } => {
            let execution_id = context.execution(&execution).await?;
            let step_id = step.parse().map_err(CliError::local)?;
            receipt(context, &GetReceipt { execution_id, step_id }, out.as_deref()).await
        }
        EvidenceCommand::Checkpoint { from, out } => {
            let request = GetCheckpoint { from_size: from };
            let answer = context.client.call(&op::EVIDENCE_CHECKPOINT, &request).await?;
            if context.output.json {
                output::json(answer.document());
                return Ok(Exit::Done);
            }
            if let Some(consistency) = &answer.consistency {
                let lines = consistency.path.iter().map(|hash| format!("  {hash}\n"));
                let lines: String = lines.collect();
                eprintln!("consistent with size {}:\n{lines}", consistency.from_size);
            }
            let said = format!("{} entries", answer.size);
            written(out.as_deref(), &answer.checkpoint, &said)
        }
        EvidenceCommand::Proof { execution } => {
            let execution_id = match execution {
                Some(text) => Some(context.execution(&text).await?),
                None => None,
            };
            let request = GetProof { execution_id, seq: None };
            let answer = context.client.call(&op::EVIDENCE_PROOF, &request).await?;
            context.output.show(&answer, |proof| {
                render::field(0, "Stream", &proof.leaf.stream.to_string());
                render::field(0, "Event", &proof.leaf.seq.to_string());
                render::field(0, "Hash", proof.leaf.hash.as_str());
                render::field(0, "Entry", &format!("{} of the log", proof.index));
                proof.path.iter().for_each(|hash| render::field(0, "Path", hash));
                println!("\n{}", proof.checkpoint.trim_end());
            })?;
            Ok(Exit::Done)
        }
        EvidenceCommand::Keys { out } => {
            let keys = context.client.warrant_keys().await?;
            written(out.as_deref(), &document(&keys)?, "public keys")
        }
    }
}

async fn receipt(
    context: &Context,
    request: &GetReceipt,
    out: Option<&Path>,
) -> Result<Exit, CliError> {
    let mut tries = 0;
    let answer = loop {
        let answer = context.client.call(&op::EVIDENCE_RECEIPT, request).await?;
        if answer.proof.is_some() || tries >= PROOF_TRIES_MAX {
            break answer;
        }
        tries += 1;
        tokio::time::sleep(WAIT).await;
    };
    let said = match &answer.proof {
        Some(proof) => format!("a receipt, and proof of entry {} of the log", proof.index),
        None => "a receipt; the end of the execution does not stand in the log yet".to_owned(),
    };
    written(out, &document(&*answer)?, &said)
}

async fn export(context: &Context) -> Result<Exit, CliError> {
    let mut whole = WorkspaceExported { manifests: 0, events: 0, broken: 0, left: true, number: 0 };
    while whole.left {
        let part = context.client.call(&op::EVIDENCE_EXPORT, &ExportWorkspace {}).await?;
        whole.manifests += part.manifests;
        whole.events += part.events;
        (whole.broken, whole.left, whole.number) = (part.broken, part.left, part.number);
        if whole.left {
            eprintln!("{}", dim(&format!("{} events so far", whole.events)));
        }
    }
    if context.output.json {
        output::json(&json!(whole));
    } else {
        println!(
            "{} exports with {} events; the last one is number {}",
            whole.manifests, whole.events, whole.number
        );
        if whole.broken > 0 {
            println!("{} streams cannot be read or do not verify: see the manifests", whole.broken);
        }
    }
    Ok(Exit::done_if(whole.broken == 0))
}

fn document<T: Serialize>(value: &T) -> Result<String, CliError> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(CliError::local)
}

fn written(out: Option<&Path>, text: &str, said: &str) -> Result<Exit, CliError> {
    match out {
        None => print!("{text}"),
        Some(file) => {
            std::fs::write(file, text).map_err(|error| CliError::file(file, error))?;
            eprintln!("{}: {said}", file.display());
        }
    }
    Ok(Exit::Done)
}
