//! What a command works with: the client of a control plane, and how to print.

use crate::{error::CliError, ids, output::Output, target::Target};
use client::Client;
use contracts::ExecutionId;
use std::{io::Read as _, path::Path};

/// What a command works with.
pub struct Context {
    pub client: Client,
    pub output: Output,
}

impl Context {
    /// For whom a target names.
    pub fn new(target: &Target, output: Output) -> Result<Self, CliError> {
        let access = target.access()?;
        Ok(Self { client: Client::new(&access.endpoint, &access.key)?, output })
    }

    /// The execution that an id or an unambiguous prefix names.
    pub async fn execution(&self, text: &str) -> Result<ExecutionId, CliError> {
        ids::execution(&self.client, text).await
    }
}

/// A document of a file, or of standard input for `-`, as the control plane would read it.
pub fn read_document<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T, CliError> {
    document(&read(file)?).map_err(|why| CliError::file(file, why))
}

/// A document as the control plane would read it; what is wrong is said with its JSON pointer.
pub fn document<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let value = contracts::json::parse(contracts::json::unmarked(bytes));
    value.and_then(contracts::json::typed).map_err(|problem| {
        let lines = problem.issues.iter().map(|issue| match issue.pointer.as_str() {
            "" => issue.message.clone(),
            pointer => format!("{pointer}: {}", issue.message),
        });
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// The bytes of a file, or of standard input for `-`.
pub fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().read_to_end(&mut bytes);
        return read.map(|_| bytes).map_err(|error| CliError::file(file, error));
    }
    std::fs::read(file).map_err(|error| CliError::file(file, error))
}
