//! Profiles: keys are kept in a file of their owner's, never among arguments.

use crate::kit::{BIN, Process, cli};
use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

// A command of somebody whose configuration is in this folder, and who has nothing in the
// environment.
fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(BIN);
    command.args(args).env("XDG_CONFIG_HOME", home);
    for variable in ["COUNTERSIGN_URL", "COUNTERSIGN_API_KEY", "COUNTERSIGN_PROFILE"] {
        command.env_remove(variable);
    }
    command
}

fn run(home: &Path, stdin: &str, args: &[&str]) -> (i32, String) {
    let mut child = command(home, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing has closed its end.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn a_key_among_the_arguments_is_refused() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["--key", "csk_s3cret", "list"][..], &["list", "--key=csk_s3cret"]] {
        let (code, text) = run(home.path(), "", args);
        assert!(code == 2 && text.contains("countersign login"), "{text}");
        assert!(!text.contains("csk_s3cret"), "{text}");
    }
    let (_, help) = run(home.path(), "", &["--help"]);
    assert!(!help.contains("--key "), "{help}");
}

#[test]
fn who_logs_in_needs_no_key_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let process = Process::start(&folder.path().join("data"));
    let file = home.join("countersign/profiles.json");
    let (code, text) = run(&home, "", &["--endpoint", &process.url(), "list"]);
    assert!(code == 1 && text.contains("UNAUTHENTICATED"), "{text}");
    // A key that the control plane does not take is not kept.
    let url = process.url();
    let login = |name: &'static str| ["login", "--profile", name, "--endpoint", &url];
    let (code, text) = run(&home, "csk_wrong\n", &login("one"));
    assert!(code == 1 && text.contains("UNAUTHENTICATED") && !file.exists(), "{text}");
    for (name, key) in [("one", "apiKey"), ("two", "approverKey")] {
        let key = process.key(key);
        let (code, text) = run(&home, &format!("{key}\n"), &login(name));
        assert!(code == 0 && !text.contains(&key), "{text}");
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    // The first one is the default; another one is named, by argument or by variable.
    assert_eq!(run(&home, "", &["list"]).0, 0);
    assert!(run(&home, "", &["keys", "list"]).1.contains("FORBIDDEN"), "an agent's key");
    assert_eq!(run(&home, "", &["--profile", "two", "keys", "list"]).0, 0);
    let named = command(&home, &["keys", "list"]).env("COUNTERSIGN_PROFILE", "two").output();
    assert!(named.unwrap().status.success());
    let (code, text) = run(&home, "", &["profile", "list", "--json"]);
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, listed["items"][0]["default"].as_bool()), (0, Some(true)));
    assert!(!text.contains("csk_"), "{text}");
    // Its key goes nowhere else.
    let (code, text) = run(&home, "", &["--endpoint", "http://127.0.0.1:9", "list"]);
    assert!(code == 2 && text.contains("not sent"), "{text}");
    assert_eq!(run(&home, "", &["profile", "use", "two"]).0, 0);
    assert_eq!(run(&home, "", &["keys", "list"]).0, 0);
    let (code, text) = run(&home, "", &["--profile", "tow", "list"]);
    assert!(code == 2 && text.contains("did you mean `two`"), "{text}");
    // What others can read is not read.
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let (code, text) = run(&home, "", &["list"]);
    assert!(code == 2 && text.contains("chmod 600"), "{text}");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(run(&home, "", &["logout"]).0, 0);
    let (_, text) = run(&home, "", &["--endpoint", &url, "keys", "list"]);
    assert!(text.contains("UNAUTHENTICATED") && text.contains("countersign login"), "{text}");
    assert!(!fs::read_to_string(&file).unwrap().contains(&process.key("approverKey")));
    assert_eq!(cli(&process, &["list"]).0, 0, "the environment needs no profile");
}

struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn dev(home: &Path, data: &Path) -> Dev {
    let args = ["dev", "--new-keys", "--listen", "127.0.0.1:0", "--workspace", "other", "--data"];
    let mut command = command(home, &args);
    let child = command.arg(data).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Dev(child)
}

// Until a profile answers: its file is written once the server listens.
fn answers(home: &Path, args: &[&str]) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let (code, text) = run(home, "", args);
        if code == 0 {
            return text;
        }
        assert!(Instant::now() < until, "{text}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn dev_keeps_profiles_ready_and_leaves_a_persons_own_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (home, data) = (folder.path().join("home"), folder.path().join("data"));
    let first = dev(&home, &data);
    answers(&home, &["list"]);
    for name in ["approver", "approver@other"] {
        answers(&home, &["--profile", name, "trust", "show"]);
    }
    drop(first);
    // Another port and other keys, under the same names.
    let second = dev(&home, &data);
    answers(&home, &["--profile", "approver", "trust", "show"]);
    let key = answers(&home, &["--profile", "approver", "keys", "create", "ada", "--json"]);
    let key: Value = serde_json::from_str(&key).unwrap();
    let (code, text) =
        run(&home, key["apiKey"].as_str().unwrap(), &["--profile", "agent", "login"]);
    assert_eq!(code, 0, "{text}");
    let file = home.join("countersign/profiles.json");
    let read = || -> Value { serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap() };
    let own = read()["profiles"]["agent"].clone();
    assert_eq!(own["key"], key["apiKey"]);
    let before = read()["profiles"]["approver"]["key"].clone();
    drop(second);
    let _third = dev(&home, &data);
    let until = Instant::now() + Duration::from_secs(30);
    while read()["profiles"]["approver"]["key"] == before {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(read()["profiles"]["agent"], own);
}
