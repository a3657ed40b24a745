//! What people wrote, and what they are called, on every page and in every mail: text.

use super::{foreign::*, *};
use local::mail::{FOLDER, MailFolder};
use mail_parser::MessageParser;

// A name that is refused is no way in; one that is taken is shown as text.
async fn put(client: &Client, path: &str, body: &Value, taken: &mut Vec<&'static str>) {
    let (status, answer) = client.post(path, body).await;
    assert!(matches!(status, 200 | 201 | 422), "{path}: {status} {answer}");
    if status != 422 {
        taken.push(if path.ends_with("persons") { "person" } else { "other" });
    }
}

async fn decide(person: &mut Browser, own: &str, payload: &str) {
    let page = person.get(own).await;
    for (action, field) in [("/comment", "text"), ("/approve", "note")] {
        let form = page.form(action).with(field, payload);
        assert_eq!(person.send(form).await.status, 303, "{action} {payload:?}");
    }
    let page = person.get(own).await;
    let withdraw = page.form("/withdraw");
    assert_eq!(person.send(withdraw).await.status, 303, "{payload:?}");
    let page = person.get(own).await;
    let alone = page.form("/override").with("reason", payload);
    assert_eq!(person.send(alone).await.status, 303, "{payload:?}");
}

/// Stored XSS through persons, aliases, groups, mandates, policies' reasons, notes, comments,
/// overrides, reviews, cancellations, names of keys, channels and steps; on all pages, on the page
/// of a link and in mails. Right: refused as a name, or shown as text.
#[tokio::test(flavor = "multi_thread")]
async fn attack_stored_xss_in_what_people_say_and_are_called() {
    let server = TestServer::start().await;
    let by = &server.approver;
    let mut taken = Vec::new();
    let rule = r#"@id("two") @reason("<script>alert(1)</script> \"><img src=x onerror=alert(1)>")
        @approvers("approvers:2")
        forbid (principal, action == Action::"payments/refund.create", resource)
        when { context.mode == "autonomous" };"#;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    for (index, payload) in PAYLOADS.iter().enumerate() {
        let id = format!("p{index}");
        for body in [
            json!({ "id": payload, "name": "x" }),
            json!({ "id": id, "name": payload, "mail": format!("{id}@example.com") }),
            json!({ "id": format!("a{index}"), "aliases": [payload] }),
            json!({ "id": format!("m{index}"), "mail": payload }),
            json!({ "id": format!("s{index}"), "slack": { "teamId": payload, "userId": payload } }),
        ] {
            put(by, "/v1/persons", &json!({ "person": body, "reason": payload }), &mut taken).await;
        }
        let group = json!({ "name": payload, "members": [id] });
        put(by, "/v1/groups", &json!({ "group": group, "reason": payload }), &mut taken).await;
        let mandate = json!({ "operation": "payments/refund.create", "count": 1, "reason": payload,
            "when": format!("\"{}\" == \"\"", payload.escape_default()),
            "requestedBy": payload, "expiresAt": countersign_it::now().plus_ms(3_600_000) });
        put(by, "/v1/mandates", &mandate, &mut taken).await;
        let mandate = json!({ "operation": "payments/refund.create", "count": 1, "reason": payload,
            "expiresAt": countersign_it::now().plus_ms(3_600_000) });
        let (status, answer) = by.post("/v1/mandates", &mandate).await;
        assert_eq!(status, 201, "{answer}");
        let step =
            json!({ "id": payload, "use": "crm/customer.find", "with": { "email": "a@b.c" } });
        let draft = json!({ "text": "find", "draft": { "steps": [step] } });
        let (status, answer) = server.agent.post("/v1/intents", &draft).await;
        assert!(matches!(status, 202 | 422), "{answer}");
    }
    assert!(taken.iter().filter(|kind| **kind == "person").count() >= PAYLOADS.len() / 2);
    // Two decide, so that one vote decides nothing.
    let second = json!({ "actor": { "kind": "human", "id": "second" },
        "grants": ["control-plane.approval", "control-plane.execution.read"] });
    let (status, answer) = by.post("/v1/keys", &second).await;
    assert_eq!(status, 201, "{answer}");
    let policies =
        json!({ "policies": format!("{}\n{rule}", policy::BASELINE), "note": PAYLOADS[0] });
    let (status, answer) = by.post("/v1/policies", &policies).await;
    assert_eq!(status, 200, "{answer}");
    let mut paths: Vec<String> = PAGES.iter().map(|path| (*path).to_owned()).collect();
    for payload in PAYLOADS {
        let id = refund(&server.agent, &server, &format!("Refund {payload}")).await;
        let own = format!("/console/executions/{id}");
        decide(&mut person, &own, payload).await;
        paths.extend(views(&id));
        let id = refund(&server.agent, &server, payload).await;
        let cancel = person.get(&format!("/console/executions/{id}")).await.form("/cancel");
        assert_eq!(person.send(cancel.with("reason", payload)).await.status, 303);
        paths.extend(views(&id));
        refund(&server.agent, &server, payload).await;
    }
    for path in &paths {
        let seen = person.get(path).await;
        assert_eq!(seen.status, 200, "{path}: {}", seen.text);
        is_text(path, &seen.text);
    }
    // Many of one kind are ticked, and looked at together.
    let inbox = person.get("/console/inbox").await;
    let ticked: Vec<String> = inbox
        .text
        .split("class=\"pick\"")
        .skip(1)
        .map(|rest| format!("{}=1", attribute(rest, "name").unwrap()))
        .collect();
    assert!(ticked.len() >= PAYLOADS.len() - 1, "{}", ticked.len());
    let path = format!("/console/inbox/several?{}", ticked.join("&"));
    is_text(&path, &person.get(&path).await.text);
    mails(&server, &mut person).await;
}

// Every mail, and the page of its link.
async fn mails(server: &TestServer, person: &mut Browser) {
    let folder = server.folder().join(FOLDER);
    let mut looked = 0;
    for mail in MailFolder::list(&folder).unwrap() {
        let message = std::fs::read(&mail.path).unwrap();
        let message = MessageParser::default().parse(&message).unwrap();
        let html = message.body_html(0).unwrap();
        is_text("mail", &html);
        let text = message.body_text(0).unwrap();
        let link = text.split_whitespace().find(|word| word.contains("/a/"));
        let Some(link) = link.filter(|_| looked < 2 * PAYLOADS.len()) else { continue };
        let page = person.get(link.strip_prefix(&server.url()).unwrap()).await;
        is_text("link", &page.text);
        looked += 1;
    }
    assert!(looked >= PAYLOADS.len(), "{looked}");
}
