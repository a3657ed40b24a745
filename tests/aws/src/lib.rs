//! A whole deployment on this machine: the template as it is, through CloudFormation, on a cloud that needs no Docker,
//! no account and no network. Its tools are Python's and are kept in a cache.

mod cloud;
pub mod dynamo;
mod proxy;
mod stack;
mod venv;

pub use cloud::{Cloud, Kind};
pub use stack::{STACK, Stack};

use std::path::PathBuf;

/// Root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Says what takes long: the harness of tests shows it only when asked, so it goes to the terminal itself.
pub(crate) fn progress(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "    {what}");
}

/// Where cargo puts what it builds, with the profile these tests were built in.
pub fn binaries() -> PathBuf {
    // target/<profile>/deps/<this test>
    let own = std::env::current_exe().unwrap();
    own.ancestors().find(|folder| folder.ends_with("deps")).and_then(|deps| deps.parent()).unwrap().to_owned()
}
