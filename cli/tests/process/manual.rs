//! Completions and the manual.

use crate::kit::BIN;
use std::process::Command;

#[test]
fn each_shell_completes_the_arguments() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(BIN).args(["completions", shell]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("countersign"), "{shell}");
        assert!(text.contains("webhook") && text.contains("profile"), "{shell}: {text}");
    }
    // A shell reads it.
    let script = format!("eval \"$({BIN} completions bash)\" && complete -p countersign");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("_countersign"));
}

#[test]
fn each_command_has_a_page_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man");
    let output = Command::new(BIN).arg("man").arg("--out").arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for page in ["countersign", "countersign-submit", "countersign-skill-install"] {
        let text = std::fs::read_to_string(out.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
}
