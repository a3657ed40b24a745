//! What a process writes to its log.

use crate::kit::{BIN, Process};
use std::{
    fs::{File, read_to_string},
    process::Command,
};

const FORM: &str = "application/x-www-form-urlencoded";

/// Foreign text in requests that are refused, for the log: in a form without its token and with it,
/// in its fields and their names, in a path. Right: it begins no line of its own.
#[tokio::test]
async fn attack_log_injection_through_foreign_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut program = Command::new(BIN);
    program.env("RUST_LOG", "debug");
    let (data, log) = (folder.path().join("data"), File::create(&path).unwrap());
    let process = Process::logging_to(log.into(), program, (&data, "127.0.0.1:0"), &[]);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("{}{path}", process.url());
    let page = http.get(url("/console/sign-in")).send().await.unwrap();
    let cookie = page.headers()["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = page.text().await.unwrap();
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
    let (token, _) = rest.split_once('"').unwrap();
    let forged = "x%0A2026-01-01 ERROR forged: everything is fine%0D%0A".replace(' ', "%20");
    for (path, form) in [
        ("/console/sign-in", format!("key={forged}&code={forged}")),
        ("/console/sign-in", format!("csrf={token}&key={forged}&code={forged}")),
        ("/console/sign-in", format!("csrf={token}&key={forged}")),
        ("/console/sign-in", format!("csrf={token}&code={forged}&{forged}={forged}")),
        ("/console/sign-in", format!("{forged}=1&{forged}=2")),
        (&format!("/a/{forged}"), format!("decision={forged}")),
    ] {
        let request = http.post(url(path)).header("content-type", FORM).header("cookie", &cookie);
        let answer = request.header("sec-fetch-site", "same-origin").body(form).send().await;
        assert!(answer.unwrap().status().as_u16() >= 400, "{path}");
    }
    process.terminated();
    let log = read_to_string(&path).unwrap();
    assert!(log.contains("INFO"), "{log}");
    // Refusals are below what a release says.
    assert!(log.contains("refused") || !cfg!(debug_assertions), "{log}");
    let forged = log.lines().find(|line| line.trim_start().starts_with("2026-01-01 ERROR"));
    assert_eq!(forged, None, "{log}");
}
