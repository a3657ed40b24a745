//! What strangers wrote, on pages: text, whatever it says.

use super::*;
use async_trait::async_trait;
use engine::ports::{ToolAnswer, ToolCall, ToolReport};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a browser would run, or a log or a page be deceived by.
pub(super) const PAYLOADS: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "</title><script>alert(1)</script>",
    "</pre></textarea><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "\u{202e}gnp.exe<b>x</b>",
    "a\u{0}b\u{1b}[31mred",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "line\r\nset-cookie: a=b\r\n\r\n<h1>x</h1>",
];

/// What stands in no page: a tag or an attribute that came from a stranger, or a character that
/// deceives.
#[track_caller]
pub(super) fn is_text(path: &str, page: &str) {
    has_no_tags(path, page);
    // What a form carries is shown to nobody, and is sent as it is.
    let fields = page.split("<input type=\"hidden\"");
    let page: String =
        fields.map(|part| part.split_once('>').map_or(part, |(_, rest)| rest)).collect();
    for hidden in ['\u{202e}', '\u{0}', '\u{1b}'] {
        assert!(!page.contains(hidden), "{path}: {hidden:?}");
    }
}

#[track_caller]
fn has_no_tags(path: &str, page: &str) {
    for bad in ["<script>alert", "<img src=x", "<svg/onload", "<b>x", "<h1>x", "onerror=alert(1)>"]
    {
        assert!(!page.contains(bad), "{path}: {bad}");
    }
    assert!(!page.contains("49$49"), "{path}: evaluated");
}

/// Stored XSS: payloads in intents, metadata, tool output and its errors, reasons, comments, ids of
/// actors, names of groups, freezes, skills. Right: each page shows them as text.
#[tokio::test(flavor = "multi_thread")]
async fn attack_stored_xss_in_every_field() {
    let server = TestServer::start().await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let mut paths: Vec<String> = PAGES.iter().map(|path| (*path).to_owned()).collect();
    for payload in PAYLOADS {
        let id = refund(&server.agent, &server, &format!("Refund {payload}")).await;
        paths.extend(views(&id));
        let page = person.get(&format!("/console/executions/{id}")).await;
        let comment = page.form("/comment").with("text", payload);
        let answer = person.send(comment).await;
        assert_eq!(answer.status, 303, "{payload:?}: {}", answer.text);
        let reject = page.form("/reject").with("reason", payload);
        assert_eq!(person.send(reject).await.status, 303, "{payload:?}");
        // What is sent again is shown again.
        let page = person.get("/console/policies/simulator").await;
        let form = page.form("/simulator").with("text", payload).with("draft", payload);
        let answer = person.send(form).await;
        // In its field it stands as the person sent it.
        has_no_tags("simulator", &answer.text);
        let form = page.form("/backtest").with("policies", payload);
        has_no_tags("backtest", &person.send(form).await.text);
        for path in [
            format!("/console/executions?actorId={}", edge::page::escaped(payload)),
            format!("/console?done={}", edge::page::escaped(payload)),
            format!("/console/sign-in?code={}", edge::page::escaped(payload)),
            format!("/console/executions/{}", edge::page::escaped(payload)),
        ] {
            is_text(&path, &person.get(&path).await.text);
        }
        let freeze = json!({ "scope": "actor", "key": payload, "frozen": true, "force": true,
            "reason": payload });
        server.approver.post("/v1/freezes", &freeze).await;
    }
    for path in &paths {
        let seen = person.get(path).await;
        assert_eq!(seen.status, 200, "{path}: {}", seen.text);
        is_text(path, &seen.text);
    }
    let inbox = person.get("/console/executions").await;
    assert!(inbox.text.contains("&#60;script&#62;"), "they are shown, as text");
}

/// A tool that answers, and fails, with what a browser would run.
struct Hostile(AtomicUsize);

#[async_trait]
impl Tools for Hostile {
    async fn call(&self, _: ToolCall) -> ToolAnswer {
        let index = self.0.fetch_add(1, Ordering::SeqCst);
        let payload = PAYLOADS[index / 2 % PAYLOADS.len()];
        if index.is_multiple_of(2) {
            let output = json!({ "id": payload, "name": payload, "email": payload,
                "active": true, "notes": payload });
            return ToolAnswer::Output(output.to_string().into_bytes());
        }
        ToolAnswer::Failed(ToolReport::new(payload, payload))
    }
}

/// The same in what tools answer: outputs, codes and messages of failures. Right: text.
#[tokio::test(flavor = "multi_thread")]
async fn attack_stored_xss_in_what_tools_answer() {
    let hostile = Arc::new(Hostile(AtomicUsize::new(0)));
    let InMemory { fixture, browser: mut person, .. } = InMemory::start(hostile).await;
    let mut failed = 0;
    for _ in 0..2 * PAYLOADS.len() {
        let find = json!([{ "id": "ada", "use": "crm/customer.find@^1",
            "with": { "email": "ada@example.com" } }]);
        let id = fixture.submit(find).await;
        fixture.drive(&id).await;
        for path in views(id.as_str()) {
            let seen = person.get(&path).await;
            assert_eq!(seen.status, 200, "{path}: {}", seen.text);
            is_text(&path, &seen.text);
            failed += usize::from(seen.text.contains(">failed<"));
        }
    }
    assert!(failed >= PAYLOADS.len(), "{failed}");
    is_text("overview", &person.get("/console").await.text);
}
