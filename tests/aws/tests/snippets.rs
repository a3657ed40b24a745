//! The snippets of docs/src/how-to/verify-a-warrant.md, run against real warrants. Node.js is not
//! required: without it TypeScript's is skipped.

use countersign_aws_tests::{npm, root, snippets};
use countersign_it::{TestServer, http};
use serde_json::{Value, json};
use std::{path::Path, process::Command};

fn block(language: &str) -> String {
    let text = std::fs::read_to_string(root().join("docs/src/how-to/verify-a-warrant.md")).unwrap();
    let start = text.split(&format!("```{language}\n")).nth(1).unwrap();
    start.split("```").next().unwrap().to_owned()
}

// A warrant as a tool got it, and the calls that must be refused with it.
async fn cases(server: &TestServer) -> Vec<(bool, Value)> {
    let id = server
        .submit(json!([{ "id": "c", "use": "crm/customer.find",
            "with": { "email": "ada@example.com" } }]))
        .await;
    server.until(&id, "completed").await;
    let last: Value = http()
        .get(format!("{}/last", server.tools.url()))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let changed = |name: &str, value: &str| {
        let mut call = last.clone();
        call[name] = json!(value);
        call
    };
    let warrant = last["warrant"].as_str().unwrap();
    let parts: Vec<&str> = warrant.split('.').collect();
    // {"alg":"none","typ":"warrant+jwt"}
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoid2FycmFudCtqd3QifQ.{}.", parts[1]);
    let forged =
        format!("{}.{}.{}", parts[0], parts[1], parts[2].chars().rev().collect::<String>());
    vec![
        (true, last.clone()),
        (false, changed("body", r#"{"email":"eve@example.com"}"#)),
        (false, changed("operation", "payments/payout.create")),
        (false, changed("warrant", &none)),
        (false, changed("warrant", &forged)),
    ]
}

fn ask(program: &Path, script: &Path, call: &Value) -> (bool, String) {
    let done = Command::new(program).arg(script).arg(call.to_string()).output().unwrap();
    let said =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), said)
}

fn check(program: &Path, script: &Path, cases: &[(bool, Value)]) {
    for (accepted, call) in cases {
        let (done, said) = ask(program, script, call);
        assert_eq!(done, *accepted, "{call}: {said}");
        assert!(!done || said.contains("crm/customer.find"), "{said}");
    }
}

fn here(server: &TestServer, text: &str) -> String {
    text.replace("http://127.0.0.1:7411", &server.url())
        .replace("http://127.0.0.1:7412", &server.tools.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippets_take_real_warrants_and_nothing_else() {
    let server = TestServer::start().await;
    let cases = cases(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("verify.py");
    let call = "\nimport json, sys\ncall = json.loads(sys.argv[1])\nprint(verify(call['warrant'], \
        call['body'].encode(), call['operation'])['op'])\n";
    std::fs::write(&script, here(&server, &block("python")) + call).unwrap();
    check(&snippets().join("bin/python"), &script, &cases);

    let Some((node, modules)) = npm("jose@6.2.18") else {
        eprintln!("    Node.js is not installed: TypeScript's snippet is passed over");
        return;
    };
    // Node runs JavaScript: the two types of the snippet are taken out.
    let text =
        here(&server, &block("typescript")).replace(": string", "").replace(": Uint8Array", "");
    let call = "\nconst call = JSON.parse(process.argv[2]);\nconsole.log((await \
        verify(call.warrant, new TextEncoder().encode(call.body), call.operation)).op);\n";
    let script = modules.join("verify.mjs");
    std::fs::write(&script, text + call).unwrap();
    check(&node, &script, &cases);
}
