//! Importing the tools of an MCP server, which is not there or wants to know who asks.

use crate::kit::BIN;
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    time::Duration,
};

fn init(folder: &Path, more: &[&str]) -> (i32, String) {
    let output = Command::new(BIN)
        .args(["skill", "init", "wrapped", "--mcp"])
        .args(more)
        .current_dir(folder)
        .env("MCP_TOKEN", "Bearer s3cret")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!folder.join("wrapped").exists(), "nothing is begun: {text}");
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn a_server_that_is_not_there_is_told_of_in_a_few_words() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = init(folder.path(), &["http://127.0.0.1:9/mcp"]);
    assert!(code == 3 && text.contains("http://127.0.0.1:9/mcp"), "{code} {text}");
    assert!(text.to_lowercase().contains("connection refused"), "{text}");
    assert!(!text.contains("countersign dev") && !text.contains("rmcp"), "{text}");
    assert!(text.len() < 250, "{text}");
}

#[test]
fn a_password_in_the_url_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = init(folder.path(), &["http://ada:s3cret@127.0.0.1:9/mcp"]);
    assert!(code == 2 && text.contains("--header") && !text.contains("s3cret"), "{text}");
}

#[test]
fn a_header_is_sent_whose_value_is_in_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut head = vec![0; 64 * 1024];
        let length = stream.read(&mut head).unwrap();
        let answer = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\n\
                      content-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    let (code, text) = init(folder.path(), &[&url, "--header", "Authorization=MCP_TOKEN"]);
    let head = server.join().unwrap().to_lowercase();
    assert!(head.contains("authorization: bearer s3cret"), "{head}");
    assert!(code == 3 && !text.contains("s3cret"), "{code} {text}");
    let (code, text) = init(folder.path(), &[&url, "--header", "Authorization=Bearer s3cret"]);
    assert!(code == 2 && !text.contains("s3cret"), "{text}");
}
