//! The commands of README.md, of the tutorial, of the walk and of the page on replays and
//! backtests, run in order exactly as they are printed, by somebody who types them into a shell.
//! Only the ports are other ones.
//!
//! A command ends with status 0 unless its line says `# exits N`; what a line says it `prints` must
//! be printed.

use countersign_aws_tests::{binaries, root, snippets};
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

/// The blocks of shell in a document, one after the other.
fn commands(document: &str) -> String {
    let mut shell = String::new();
    let mut inside = false;
    for line in document.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            shell += line;
            shell.push('\n');
        }
    }
    shell
}

/// What lines say of their status and output: ` # exits 1, prints: rejected`.
#[derive(Default)]
struct Promises {
    statuses: BTreeMap<usize, i32>,
    prints: Vec<String>,
}

impl Promises {
    fn of(shell: &str) -> Self {
        let mut promises = Self::default();
        for (index, line) in shell.lines().enumerate() {
            let Some((_, comment)) = line.split_once(" # ") else { continue };
            if let Some((_, status)) = comment.split_once("exits ") {
                let digits: String = status.chars().take_while(char::is_ascii_digit).collect();
                promises.statuses.insert(index + 1, digits.parse().unwrap());
            }
            if let Some((_, text)) = comment.split_once("prints: ") {
                promises.prints.push(text.trim().to_owned());
            }
        }
        promises
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn copy(from: &Path, to: &Path, change: &impl Fn(&str) -> String) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target, change);
        } else {
            fs::write(target, change(&fs::read_to_string(entry.path()).unwrap())).unwrap();
        }
    }
}

/// Types a document's commands; what is not as the document says.
fn walk(document: &str) -> Result<(), String> {
    let (plane, tools) = (free_address(), free_address());
    let here =
        |text: &str| text.replace("127.0.0.1:7411", &plane).replace("127.0.0.1:7412", &tools);
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("examples"), &folder.path().join("examples"), &here);
    fs::create_dir_all(folder.path().join("docs")).unwrap();
    let verifier = "docs/verify_evidence.py";
    fs::copy(root().join(verifier), folder.path().join(verifier)).unwrap();
    let shell = commands(document);
    let script = folder.path().join("walk.sh");
    fs::write(&script, here(&shell)).unwrap();
    let (failed, output) = (folder.path().join("failed"), folder.path().join("output"));
    let helpers = root().join("tests/aws/walk");
    let written = fs::File::create(&output).unwrap();
    let status = Command::new("bash")
        .arg("-c")
        .arg(". \"$WALK/preamble.sh\"; . ./walk.sh")
        .current_dir(folder.path())
        .env("BINARY", binaries().join("countersign"))
        .env("PYTHON", snippets().join("bin/python"))
        .env("WALK", helpers)
        .envs([("PLANE", &plane), ("TOOLS", &tools)])
        .env("FAILED", &failed)
        .stdin(Stdio::null())
        .stderr(written.try_clone().unwrap())
        .stdout(written)
        .status()
        .unwrap();
    let output = fs::read_to_string(&output).unwrap();
    let promises = Promises::of(&shell);
    let mut statuses = BTreeMap::new();
    for line in fs::read_to_string(&failed).unwrap_or_default().lines() {
        let (line, code) = line.split_once(' ').unwrap();
        statuses.insert(line.parse::<usize>().unwrap(), code.parse::<i32>().unwrap());
    }
    let line = |number: &usize| shell.lines().nth(number - 1).unwrap_or_default();
    let mut wrong: Vec<String> = Vec::new();
    for (number, code) in &statuses {
        if promises.statuses.get(number) != Some(code) {
            wrong.push(format!("exits {code}: {}", line(number)));
        }
    }
    for number in promises.statuses.keys().filter(|number| !statuses.contains_key(number)) {
        wrong.push(format!("exits 0: {}", line(number)));
    }
    let absent = promises.prints.iter().filter(|text| !output.contains(*text));
    wrong.extend(absent.map(|text| format!("not printed: {text}")));
    if !status.success() && wrong.is_empty() {
        wrong.push(format!("the shell ended with {status}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}\n\n{output}", wrong.join("\n"))) }
}

#[track_caller]
fn check(path: &str) {
    let document = fs::read_to_string(root().join(path)).unwrap();
    assert!(commands(&document).lines().count() > 10, "{path} has no commands");
    walk(&document).unwrap_or_else(|wrong| panic!("{path}: {wrong}"));
}

#[test]
fn the_readmes_commands_do_what_it_says() {
    check("README.md");
}

#[test]
fn the_tutorials_commands_do_what_it_says() {
    check("docs/src/tutorial.md");
}

#[test]
fn the_walks_commands_do_what_it_says() {
    check("docs/src/walk.md");
}

#[test]
fn the_commands_of_replay_and_backtest_do_what_they_say() {
    check("docs/src/how-to/replay-and-backtest.md");
}

#[test]
fn a_command_that_does_otherwise_than_its_line_says_is_found() {
    let said = |shell: &str| walk(&format!("text\n```sh\n{shell}\n```\nfalse\n")).err();
    assert_eq!(said("true\n(exit 3) # exits 3, prints: hello\necho hello"), None);
    for (shell, wrong) in [
        ("true\n(exit 3)", "exits 3: (exit 3)"),
        ("(exit 3) # exits 2", "exits 3: (exit 3) # exits 2"),
        ("true # exits 1", "exits 0: true # exits 1"),
        ("echo bye # prints: hello", "not printed: hello"),
        ("exit 4", "the shell ended with"),
        ("countersign get exe_of_nobody", "exits "),
        ("cargo frobnicate", "exits 9"),
    ] {
        let found = said(shell).unwrap_or_default();
        assert!(found.contains(wrong), "{shell}: {found}");
    }
}
