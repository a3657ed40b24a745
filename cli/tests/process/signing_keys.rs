//! Keys that sign skills.

use crate::kit::{BIN, Process, cli_as};
use serde_json::Value;
use std::process::Command;

#[test]
fn keys_that_sign_are_of_the_form_that_every_program_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        let output = Command::new(BIN).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["keys", "generate", "--out", &file("own.key")]);
    let pem = std::fs::read_to_string(file("own.key")).unwrap();
    // PKCS#8 version 1 (RFC 8410): the one form that OpenSSL, Node and Python read.
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(body.starts_with("MC4CAQAwBQYDK2Vw") && body.len() == 64, "{pem}");
    let stored: Value =
        serde_json::from_str(&std::fs::read_to_string(file("own.key.pub")).unwrap()).unwrap();
    for form in ["own.key", "own.key.pub"] {
        let shown: Value = serde_json::from_str(&run(&["keys", "public", &file(form)])).unwrap();
        assert_eq!(shown, stored, "{form}");
    }
    // The example of RFC 8410, private and public.
    let private = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
    let public = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
    std::fs::write(
        file("rfc.key"),
        format!("-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n"),
    )
    .unwrap();
    std::fs::write(
        file("rfc.pem"),
        format!("-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n"),
    )
    .unwrap();
    let shown = run(&["keys", "public", &file("rfc.key")]);
    assert!(shown.contains("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="), "{shown}");
    assert_eq!(shown, run(&["keys", "public", &file("rfc.pem")]));
    // It is trusted as it is.
    let process = Process::start(&folder.path().join("data"));
    let add =
        ["trust", "add", "acme", "--public", &file("rfc.pem"), "--provenance", "ci/", "--json"];
    let (code, text) = cli_as(&process, "approverKey", folder.path(), &add);
    assert!(code == 0 && text.contains("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="), "{text}");
}

#[test]
fn what_is_no_key_is_told_of_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("readme.md");
    let pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    for content in ["# Not a key\n", "{\"a\":1}", "", pem, "\u{0}\u{1}"] {
        std::fs::write(&file, content).unwrap();
        let output = Command::new(BIN).args(["keys", "public"]).arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("not a key") && text.contains("PEM"), "{text}");
    }
    let output = Command::new(BIN).args(["keys", "public", "nowhere"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("No such file"), "{text}");
}
