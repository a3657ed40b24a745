//! A real mail server, of Python's `aiosmtpd`.

use crate::venv::venv;
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Longest wait for a mail.
const WAIT: Duration = Duration::from_secs(20);

/// A mail server on this machine, and what it took.
pub struct SmtpServer {
    process: Child,
    // It ends when this does.
    stdin: Option<ChildStdin>,
    port: u16,
    taken: Arc<Mutex<Vec<(Instant, Value)>>>,
}

impl SmtpServer {
    /// On a free port.
    pub fn start() -> Self {
        Self::at(0)
    }

    /// On this port.
    pub fn at(port: u16) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("smtp");
        let python = venv("smtp", &folder.join("smtp.lock.txt"), &[]).join("bin/python");
        let mut process = Command::new(python)
            .arg(folder.join("server.py"))
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let taken: Arc<Mutex<Vec<(Instant, Value)>>> = Arc::default();
        let own = taken.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mail = serde_json::from_str(&line).unwrap();
                own.lock().unwrap().push((Instant::now(), mail));
            }
        });
        Self { process, stdin, port, taken }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it took, and when.
    pub fn taken(&self) -> Vec<(Instant, Value)> {
        self.taken.lock().unwrap().clone()
    }

    /// Mails to an address.
    pub fn to(&self, address: &str) -> Vec<Value> {
        let mails = self.taken().into_iter().map(|(_, mail)| mail);
        mails.filter(|mail| mail["to"][0] == address).collect()
    }

    /// Waits until an address has so many.
    pub async fn wait_for(&self, address: &str, count: usize) -> Vec<Value> {
        let until = Instant::now() + WAIT;
        loop {
            let mails = self.to(address);
            if mails.len() >= count {
                return mails;
            }
            assert!(Instant::now() < until, "{address}: {} of {count} mails", mails.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A header of a mail.
pub fn header<'m>(mail: &'m Value, name: &str) -> &'m str {
    let headers = mail["headers"].as_array().unwrap().iter();
    let mut found = headers.filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    let first = found.next().unwrap_or_else(|| panic!("no {name}: {mail}"));
    assert!(found.next().is_none(), "{name} stands there twice");
    first[1].as_str().unwrap()
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
