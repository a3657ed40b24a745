//! Functions as they are deployed: how large, how soon the first answer, in how much memory; and
//! what one execution costs in DynamoDB's units.
//!
//! The Runtime API is a stub on loopback: a process is started as Lambda starts it, asks for its
//! first event, and answers it. The event is an HTTP request without a key, which is refused before
//! anything is asked of any service.

use crate::{Row, percentile};
use flate2::{Compression, write::DeflateEncoder};
use serde_json::json;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Starts of each function.
const STARTS: usize = 20;
/// What is around one file in a zip archive, in bytes.
const ZIP_OVERHEAD: usize = 160;

/// Measures every `<folder>/<function>/bootstrap`.
pub fn run(rows: &mut Vec<Row>, folder: &Path) {
    let mut found: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.join("bootstrap").is_file());
    found.sort();
    assert!(
        !found.is_empty(),
        "no function in {}; docs/src/how-to/deploy.md says how to build them",
        folder.display()
    );
    for function in found {
        let name = function.file_name().unwrap().to_string_lossy().into_owned();
        let bootstrap = function.join("bootstrap");
        let bytes = fs::read(&bootstrap).unwrap();
        let mut zip = DeflateEncoder::new(Vec::new(), Compression::default());
        zip.write_all(&bytes).unwrap();
        let zipped = zip.finish().unwrap().len() + ZIP_OVERHEAD;
        rows.push(Row::new(format!("{name}: zip"), zipped as f64 / 1e6, "MB").at_most(4.0));
        let mut starts: Vec<(f64, f64)> = (0..STARTS).map(|_| start(&bootstrap)).collect();
        let mut times: Vec<f64> = starts.iter().map(|(ms, _)| *ms).collect();
        rows.push(
            Row::new(
                format!("{name}: start to first answer, p50"),
                percentile(&mut times, 0.5),
                "ms",
            )
            .at_most(10.0),
        );
        starts.sort_by(|left, right| left.1.total_cmp(&right.1));
        let memory = starts.last().map_or(f64::NAN, |(_, mib)| *mib);
        rows.push(Row::new(format!("{name}: resident after it"), memory, "MiB").at_most(25.0));
    }
}

// Milliseconds from the start of the process to its first answer, and MiB resident then.
fn start(bootstrap: &Path) -> (f64, f64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = Command::new(bootstrap);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for (name, value) in [
        ("AWS_LAMBDA_RUNTIME_API", address.to_string().as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "bench"),
        ("AWS_SECRET_ACCESS_KEY", "bench"),
        ("TABLE_NAME", "bench"),
    ] {
        command.env(name, value);
    }
    let since = Instant::now();
    let mut process = command.spawn().unwrap();
    serve(&listener, &mut process);
    let ms = since.elapsed().as_secs_f64() * 1_000.0;
    let memory = resident(&process);
    let _ = process.kill();
    let _ = process.wait();
    (ms, memory)
}

// Gives one event, and returns when it is answered.
fn serve(listener: &TcpListener, process: &mut Child) {
    let event =
        json!({ "httpMethod": "GET", "path": "/v1/executions", "resource": "/v1/executions",
        "headers": {},
        "multiValueHeaders": {}, "requestContext": { "stage": "dev", "httpMethod": "GET" },
            "isBase64Encoded": false })
        .to_string();
    loop {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some((line, body)) = request(&mut reader) {
            if line.starts_with("GET") {
                let head = "lambda-runtime-aws-request-id: \
                    00000000-0000-0000-0000-000000000000\r\nlambda-runtime-deadline-ms: \
                    9999999999999\r\nlambda-runtime-invoked-function-arn: arn\r\ncontent-type: \
                    application/json\r\n";
                reply(&stream, 200, head, &event);
            } else {
                // Tasks refuse an HTTP event; routes refuse a caller without a key. Both are an
                // answer.
                assert!(!body.is_empty() && !line.contains("/init/error"), "{line}: {body}");
                reply(&stream, 202, "", "");
                return;
            }
        }
        assert!(process.try_wait().unwrap().is_none(), "it ended before it answered");
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= header == "transfer-encoding: chunked";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    while chunked {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        chunked = size > 0;
        body.extend(chunk.get(..size)?);
    }
    Some((line, String::from_utf8_lossy(&body).into_owned()))
}

fn reply(mut stream: &TcpStream, status: u16, head: &str, body: &str) {
    let text =
        format!("HTTP/1.1 {status} OK\r\n{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).unwrap();
}

fn resident(process: &Child) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok())
        .map_or(f64::NAN, |kib| kib / 1_024.0)
}
