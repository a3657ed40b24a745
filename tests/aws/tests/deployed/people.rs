//! People on a deployed stack: a refund is decided from mails by two groups, and one of the same
//! kind runs under a mandate.

use countersign_aws_tests::Stack;
use countersign_it::{TestServer, http};
use countersign_store::Clock as _;
use host::SystemClock;
use mail_parser::MessageParser;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Whom mails come from.
pub const PARAMETER: &str = "MailFrom=plane@example.com";

const RULES: &str = r#"@id("large-refunds") @reason("two groups look at large refunds")
@approvers("finance:1,security:1")
forbid (principal, action == Action::"payments/refund.create", resource)
when { context.mode == "autonomous" && context.input has amount && context.input.amount > 5000 };
@id("small-refunds") @reason("small refunds") @mandate("allowed")
permit (principal, action == Action::"payments/refund.create", resource)
when { context.mode == "assist" && context.input has amount && context.input.amount <= 5000 };"#;

pub async fn from_the_mail(stack: Arc<Stack>) {
    super::deliver(&stack);
    let server = TestServer::on(stack.clone(), "mails").await;
    for (person, group) in [("ann", "finance"), ("sam", "security")] {
        let mail = format!("{person}@example.com");
        post(&server, "/v1/persons", json!({ "person": { "id": person, "mail": mail } })).await;
        post(&server, "/v1/groups", json!({ "group": { "name": group, "members": [person] } }))
            .await;
    }
    let rules = format!("{}\n{RULES}", policy::BASELINE);
    post(&server, "/v1/policies", json!({ "policies": rules })).await;
    let large = server.submit(refund(42_000)).await;
    server.until(&large, "blocked").await;
    for person in ["ann", "sam"] {
        let mail = mail(&stack, &format!("{person}@example.com")).await;
        approve(&server, &link(&mail, &server.url())).await;
    }
    let view = server.until(&large, "completed").await;
    let decided = &view["approvals"][0]["votes"];
    let by: Vec<&Value> = decided.as_array().unwrap().iter().map(|vote| &vote["channel"]).collect();
    assert_eq!(by, ["link", "link"], "{view}");
    server.proven(&large).await;

    let tomorrow = SystemClock.now().plus_ms(24 * 3_600_000);
    let mandate = json!({ "operation": "payments/refund.create", "count": 10,
        "when": "context.input has amount && context.input.amount <= 5000",
        "budget": { "money": { "EUR": 20_000 } }, "expiresAt": tomorrow,
        "reason": "small refunds" });
    let (status, made) = server.approver.post("/v1/mandates", &mandate).await;
    assert_eq!(status, 201, "{made}");
    let small = server.submit(refund(4_200)).await;
    let view = server.until(&small, "completed").await;
    assert_eq!(view["approvals"], json!([]), "nobody was asked: {view}");
    server.proven(&small).await;
    let (_, list) = server.approver.get("/v1/mandates").await;
    assert_eq!(list["items"][0]["used"], 1, "{list}");
    assert_eq!(server.tools.effects("payments/refund.create").len(), 2);
}

async fn post(server: &TestServer, path: &str, body: Value) {
    let (status, answer) = server.approver.post(path, &body).await;
    assert_eq!(status, 200, "{answer}");
}

fn refund(amount: u32) -> Value {
    json!([{ "id": "refund", "use": "payments/refund.create",
        "with": { "customer": "cus_ada", "amount": amount, "currency": "EUR" } }])
}

// The text of the first mail to somebody, as the stand-in of SES took it.
async fn mail(stack: &Stack, to: &str) -> String {
    for _ in 0..600 {
        let sent = http().get(format!("{}/_hostless/mails", stack.cloud.url())).send().await;
        let sent: Value = sent.unwrap().json().await.unwrap();
        let own = |mail: &&Value| mail["to"] == json!([to]);
        if let Some(mail) = sent.as_array().unwrap().iter().find(own) {
            assert!(mail["from"].as_str().unwrap().contains("plane@example.com"), "{mail}");
            let parsed = MessageParser::default().parse(mail["message"].as_str().unwrap()).unwrap();
            return parsed.body_text(0).unwrap().into_owned();
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("no mail to {to}");
}

fn link(mail: &str, plane: &str) -> String {
    let mark = format!("{plane}/a/");
    let url = mail.split_whitespace().find(|word| word.starts_with(&mark));
    url.unwrap_or_else(|| panic!("no link: {mail}")).to_owned()
}

// What a browser does: the page, and its form.
async fn approve(server: &TestServer, url: &str) {
    let page = http().get(url).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    let field = |name: &str| {
        let rest = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let form = format!("nonce={}&view={}&decision=approve", field("nonce"), field("view"));
    let decided = http()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", server.url())
        .header("sec-fetch-site", "same-origin")
        .body(form.replace(':', "%3A"))
        .send()
        .await
        .unwrap();
    let status = decided.status();
    assert!(status.is_success() || status.is_redirection(), "{}", decided.text().await.unwrap());
}
