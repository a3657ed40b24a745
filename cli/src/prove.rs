//! Proofs about policy sets, by a program of its own: its solver is heavy.

use crate::{
    context::Context,
    error::{CliError, Exit},
};
use contracts::{governance::EmptyQuery, operation as op};
use std::path::{Path, PathBuf};

const PROVER: &str = "countersign-prove";

/// What is to be proven.
pub enum Claim<'c> {
    /// Properties of a set, and that it permits no more than another: the active one, or a file.
    Set { files: &'c [PathBuf], than: Option<&'c Path> },
    /// A mandate covers nothing that people could not approve.
    Mandate { operation: &'c str, when: Option<&'c str> },
}

/// What the prover said.
pub struct Outcome {
    /// 0: proven; 1: refuted; 2: wrong usage; 3: the solver is missing or failed.
    pub code: u8,
    pub text: String,
}

/// Proves a claim for the operations of the workspace. The prover is beside this program or on the
/// PATH; nothing where it is neither.
pub async fn run(context: &Context, claim: &Claim<'_>) -> Result<Option<Outcome>, CliError> {
    let Some(prover) = prover() else { return Ok(None) };
    let active = context.client.call(&op::POLICY_GET, &EmptyQuery {}).await?;
    let folder = tempfile::Builder::new().prefix(PROVER).tempdir().map_err(CliError::local)?;
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).map(|()| path).map_err(CliError::local)
    };
    let current = file("active.cedar", &active.policies)?;
    let mut command = std::process::Command::new(prover);
    command.arg("--schema").arg(file("schema.json", &active.schema.to_string())?);
    match claim {
        Claim::Set { files, than } => {
            command.arg("--than").arg(than.unwrap_or(&current)).args(*files);
        }
        Claim::Mandate { operation, when } => {
            let when = when.map(|when| format!(" when {{\n{when}\n}}")).unwrap_or_default();
            let text =
                format!("permit (principal, action == Action::\"{operation}\", resource){when};");
            command.arg("--mandate").arg(file("mandate.cedar", &text)?).arg(&current);
        }
    }
    let done = command.output().map_err(CliError::local)?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = done.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(3);
    Ok(Some(Outcome { code, text: said(&done.stdout) + &said(&done.stderr) }))
}

/// The same, where a missing prover is an error, and what it said is shown.
pub async fn show(context: &Context, claim: &Claim<'_>) -> Result<Exit, CliError> {
    match run(context, claim).await? {
        Some(outcome) => {
            anstream::print!("{}", crate::visible::document(&outcome.text));
            Ok(Exit::Other(outcome.code))
        }
        None => Err(CliError::Local(format!(
            "`{PROVER}` is not there: build it with `cargo build --release --manifest-path \
             cli/prove/Cargo.toml` and put it on the PATH; it needs the solver cvc5"
        ))),
    }
}

fn prover() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(PROVER));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::env::split_paths(&path).map(|folder| folder.join(PROVER));
    beside.into_iter().chain(paths).find(|path| path.is_file())
}
