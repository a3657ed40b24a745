//! What a shell and `man` know of this program, made of its own arguments.

use crate::error::{CliError, Exit};
use clap::Command;
use clap_complete::Shell;
use std::path::Path;

/// Prints what completes this program's arguments in a shell.
pub fn completions(shell: Shell, mut command: Command) -> Exit {
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut std::io::stdout());
    Exit::Done
}

/// Writes a page of the manual for each command into a folder.
pub fn manual(folder: &Path, command: Command) -> Result<Exit, CliError> {
    std::fs::create_dir_all(folder).map_err(|error| CliError::file(folder, error))?;
    clap_mangen::generate_to(command, folder).map_err(|error| CliError::file(folder, error))?;
    Ok(Exit::Done)
}
