//! A whole deployment on this machine: the template as it is, through CloudFormation, on a cloud
//! that needs no Docker, no account and no network. Its tools are Python's and are kept in a cache.

mod cloud;
pub mod dynamo;
mod proxy;
mod stack;

pub use cloud::{Cloud, Kind};
pub use stack::{STACK, Stack, functions};

use countersign_it::venv;
use std::path::PathBuf;

/// Root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The template as JSON: `!Ref x` is `{"Ref": "x"}` and so on.
pub fn template() -> serde_json::Value {
    let sam = venv::venv("sam", &root().join("tests/aws/sam.lock.txt"), &[]);
    let program = "import json, sys; from cfnlint.decode.cfn_yaml import load; \
        json.dump(load(sys.argv[1]), sys.stdout)";
    let mut command = std::process::Command::new(sam.join("bin/python"));
    let text = venv::run(command.args(["-c", program]).arg(root().join("infra/template.yaml")));
    serde_json::from_str(&text).unwrap()
}

/// Checks the template with `sam validate --lint`, which is cfn-lint on the template and on what
/// SAM makes of it.
pub fn lint() {
    let sam = venv::venv("sam", &root().join("tests/aws/sam.lock.txt"), &[]);
    let mut command = std::process::Command::new(sam.join("bin/sam"));
    command.args(["validate", "--lint", "--region", "eu-central-1"]).env("SAM_CLI_TELEMETRY", "0");
    venv::run(command.current_dir(root()));
}

/// A Python with what the snippets of the documentation need.
pub fn snippets() -> PathBuf {
    venv::venv("snippets", &root().join("tests/aws/snippets.lock.txt"), &[])
}

/// What finds failures of accessibility in a page: the script of axe-core, as PyPI carries it.
pub fn axe() -> String {
    let folder = venv::venv("axe", &root().join("tests/browser/axe.lock.txt"), &[]);
    let script = "import importlib.util as u; \
        print(u.find_spec('axe_playwright_python').submodule_search_locations[0])";
    let found =
        venv::run(std::process::Command::new(folder.join("bin/python")).args(["-c", script]));
    std::fs::read_to_string(PathBuf::from(found.trim()).join("axe.min.js")).unwrap()
}

/// Node.js and a folder with one package (`name@version`), where Node.js is installed.
pub fn npm(package: &str) -> Option<(PathBuf, PathBuf)> {
    venv::npm(package)
}

/// Where cargo puts what it builds, with the profile these tests were built in.
pub fn binaries() -> PathBuf {
    // target/<profile>/deps/<this test>
    let own = std::env::current_exe().unwrap();
    own.ancestors()
        .find(|folder| folder.ends_with("deps"))
        .and_then(|deps| deps.parent())
        .unwrap()
        .to_owned()
}
