//! The whole way on one machine: a real mail server, the link of a mail, a browser's form, the
//! refund.

use super::kit::{ADA, BOB};
use countersign_it::{
    TestServer, http,
    smtp::{SmtpServer, header},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn people(server: &TestServer) {
    for (id, mail) in [("ada", ADA), ("bob", BOB)] {
        let body = json!({ "person": { "id": id, "mail": mail } });
        let (status, answer) = server.approver.post("/v1/persons", &body).await;
        assert_eq!(status, 200, "{answer}");
    }
}

fn refund() -> Value {
    json!({ "text": "Refund Ada 42 euros", "draft": { "steps": [{ "id": "refund",
        "use": "payments/refund.create",
        "with": { "customer": "cus_ada", "amount": 4200, "currency": "EUR" } }] } })
}

fn link<'m>(mail: &'m Value, server: &TestServer) -> &'m str {
    let text = mail["text"].as_str().unwrap();
    let mark = format!("{}/a/", server.url());
    let url = text.split_whitespace().find(|word| word.starts_with(&mark));
    url.unwrap_or_else(|| panic!("no link: {text}"))
}

fn field<'p>(page: &'p str, name: &str) -> &'p str {
    let rest = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap();
    rest.split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_decided_from_a_mail() {
    let smtp = SmtpServer::start();
    let server = TestServer::with_mail(&smtp.url()).await;
    people(&server).await;
    let (status, answer) = server.agent.post("/v1/intents", &refund()).await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let mail = smtp.wait_for(ADA, 1).await.remove(0);
    assert_eq!(mail["parts"], json!(["text/plain", "text/html"]));
    assert_eq!(mail["defects"], json!([]));
    assert!(header(&mail, "Subject").contains("Approve: Refund Ada 42 euros (high risk)"));
    let url = link(&mail, &server);
    for part in ["text", "html"] {
        let part = mail[part].as_str().unwrap();
        assert!(part.contains("42.00 EUR") && part.contains(url), "{part}");
    }
    let other = smtp.wait_for(BOB, 1).await.remove(0);
    assert_ne!(link(&other, &server), url, "each person has a link of their own");

    let browser = http();
    let page = browser.get(url).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    let form =
        [("nonce", field(&page, "nonce")), ("view", field(&page, "view")), ("decision", "approve")];
    let sent = browser
        .post(url)
        .header("origin", "null")
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.map(|(name, value)| format!("{name}={}", value.replace(':', "%3A"))).join("&"))
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 303, "{}", sent.text().await.unwrap());
    server.until(&id, "completed").await;
    server.proven(&id).await;
    assert_eq!(server.tools.effects("payments/refund.create").len(), 1);
    let (_, trace) = server.approver.get(&format!("/v1/executions/{id}/trace")).await;
    let token = url.rsplit('/').next().unwrap();
    assert!(!trace.to_string().contains(token), "a link is in no event");
    let entries = trace["entries"].as_array().unwrap();
    let granted =
        entries.iter().find(|entry| entry["type"] == "controlPlane.approval.granted").unwrap();
    assert_eq!((&granted["actorId"], &granted["channel"]), (&json!("ada"), &json!("link")));
}

/// From an intent's submission to the moment at which the mail server has the mail. The numbers are
/// for people: a busy machine is no failure.
#[tokio::test(flavor = "multi_thread")]
async fn from_submit_to_mail() {
    let smtp = SmtpServer::start();
    let server = TestServer::with_mail(&smtp.url()).await;
    people(&server).await;
    let mut took: Vec<Duration> = Vec::new();
    for count in 1..=20 {
        let began = Instant::now();
        let (status, answer) = server.agent.post("/v1/intents", &refund()).await;
        assert_eq!(status, 202, "{answer}");
        smtp.wait_for(ADA, count).await;
        let taken = smtp.taken();
        let last = taken.iter().rfind(|(_, mail)| mail["to"][0] == ADA).unwrap();
        took.push(last.0.duration_since(began));
    }
    took.sort_unstable();
    println!(
        "submit to mail, 20 refunds: median {:?}, 95 % {:?}, longest {:?}",
        took[9], took[18], took[19]
    );
}
