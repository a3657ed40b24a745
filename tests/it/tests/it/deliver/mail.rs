//! Mail as a target of stage events: the same cursors, retries and dead letters as webhooks, and a
//! message that holds what it should and nothing else.

use super::kit::{DeliveryFixture, END};
use contracts::{
    Code,
    subscription::{CreateSubscription, NamedSubscription, TargetState},
};
use countersign_it::{
    TestServer,
    smtp::{SmtpServer, header},
};
use engine::ports::{Mail, MailError};
use mail_parser::{Message, MessageParser};
use serde_json::json;

const ADA: &str = "ada@example.com";
const REQUESTED: &str = "controlPlane.intent.received";

async fn subscribe(fixture: &DeliveryFixture, to: &str, types: &[&str]) -> String {
    let types = types.iter().map(|kind| (*kind).to_owned()).collect();
    let request = CreateSubscription { url: format!("mailto:{to}"), types };
    let subscriptions = &fixture.engine.engine.subscriptions;
    let made = subscriptions.create_webhook(&fixture.engine.agent, request).await.unwrap();
    assert_eq!(made.secret, None, "mails are not signed");
    made.subscription.id
}

fn parsed(mail: &Mail) -> Message<'_> {
    MessageParser::default().parse(&mail.message).unwrap()
}

fn raw<'m>(message: &'m Message<'_>, name: &str) -> &'m str {
    message.header_raw(name.to_owned()).unwrap_or_default().trim()
}

#[tokio::test]
async fn a_mail_is_sent_for_each_event_and_says_what_happened_twice_readably() {
    let fixture = DeliveryFixture::new().await;
    let id = subscribe(&fixture, ADA, &[END]).await;
    let execution = fixture.run().await;
    fixture.relay().await;
    let sent = fixture.engine.mails.sent();
    assert_eq!((sent.len(), sent[0].to.as_str()), (1, ADA));
    let message = parsed(&sent[0]);
    assert_eq!(message.subject(), Some(format!("[acme] {END} {execution}").as_str()));
    assert_eq!(raw(&message, "Auto-Submitted"), "auto-generated");
    let name = raw(&message, "Idempotency-Key");
    assert_eq!(message.message_id(), Some(format!("{name}@example.com").as_str()));
    for part in [message.body_text(0).unwrap(), message.body_html(0).unwrap()] {
        for word in [execution.as_str(), END, &format!("webhook remove {id}")] {
            assert!(part.contains(word), "{word}: {part}");
        }
    }
    assert_eq!(message.parts.len(), 3, "one of plain text, one of HTML, and what holds them");
}

#[tokio::test]
async fn what_is_not_taken_is_tried_again_under_the_same_name_and_never_what_is_refused() {
    let fixture = DeliveryFixture::new().await;
    let id = subscribe(&fixture, ADA, &[END]).await;
    let mails = &fixture.engine.mails;
    mails.refuse(ADA, Some(MailError::Deferred("it answered 451".into())));
    let first = fixture.run().await;
    fixture.relay().await;
    assert!(mails.sent().is_empty() && fixture.list().await[0].waiting == 1);
    mails.refuse(ADA, None);
    fixture.wait().await;
    fixture.due().await;
    assert_eq!((mails.sent().len(), fixture.list().await[0].waiting), (1, 0));
    assert_eq!(fixture.list().await[0].state, TargetState::Working);

    mails.refuse(ADA, Some(MailError::Refused("it answered 550".into())));
    let second = fixture.run().await;
    fixture.relay().await;
    let status = fixture.list().await.remove(0);
    assert_eq!((status.dead, status.waiting), (1, 0));
    assert_eq!(status.dead_letters[0].subject, second.to_string());
    assert_eq!(status.dead_letters[0].message, "the mail server refused it: it answered 550");
    let request = NamedSubscription { webhook_id: id.clone() };
    let tested = fixture.deliverer.test(&fixture.engine.agent, request.clone()).await.unwrap();
    assert!(!tested.delivered && tested.message.is_some());
    mails.refuse(ADA, None);
    let sent = fixture.redeliver(&id, None).await;
    assert_eq!((sent.redelivered, sent.delivered), (1, 1));
    let tested = fixture.deliverer.test(&fixture.engine.agent, request.clone()).await.unwrap();
    assert!(tested.delivered);
    let sent = mails.sent();
    let names: Vec<String> =
        sent.iter().map(|mail| raw(&parsed(mail), "Idempotency-Key").to_owned()).collect();
    assert!(names[0] != names[1] && names[1] != names[2]);
    assert!(parsed(&sent[0]).subject().unwrap().contains(first.as_str()));

    let subscriptions = &fixture.engine.engine.subscriptions;
    let refused = subscriptions.rotate_webhook(&fixture.engine.agent, request).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "there is no secret to rotate");
}

/// Foreign text reaches such a mail by what an event quotes: none of it is a header, and none of it
/// HTML.
#[tokio::test]
async fn attack_foreign_text_as_headers_and_html_of_a_mail() {
    let fixture = DeliveryFixture::new().await;
    subscribe(&fixture, ADA, &[REQUESTED]).await;
    let hostile = "x\r\nBcc: eve@example.com\r\n\r\n<script>alert(1)</script>\u{202e}\u{0}";
    let mut caller = fixture.engine.agent.clone();
    caller.actor.id = hostile.into();
    let request = json!({ "text": hostile, "mode": "manual" });
    let request = serde_json::from_value(request).unwrap();
    fixture.engine.engine.intents.submit(&caller, request).await.unwrap();
    fixture.relay().await;
    let sent = fixture.engine.mails.sent();
    assert_eq!(sent.len(), 1);
    let message = parsed(&sent[0]);
    assert!(message.header_raw("Bcc").is_none() && message.bcc().is_none());
    let html = message.body_html(0).unwrap();
    assert!(!html.contains("<script") && html.contains("&#60;script"), "{html}");
    for part in [message.body_text(0).unwrap(), html] {
        assert!(part.contains("\\u{d}\\u{a}Bcc"), "{part}");
        assert!(!part.contains('\u{202e}') && !part.contains('\u{0}'));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_mail_server_gets_what_a_workspace_subscribed() {
    let smtp = SmtpServer::start();
    let server = TestServer::with_mail(&smtp.url()).await;
    let (gone, busy) = ("gone@example.com", "busy@example.com");
    for to in [ADA, gone, busy] {
        let body = json!({ "url": format!("mailto:{to}"), "types": [END] });
        let (status, made) = server.approver.post("/v1/webhooks", &body).await;
        assert_eq!((status, &made["secret"]), (201, &json!(null)), "{made}");
    }
    let with = json!({ "email": "a@x.org" });
    let id = server.submit(json!([{ "id": "a", "use": "crm/customer.find", "with": with }])).await;
    let mail = smtp.wait_for(ADA, 1).await.remove(0);
    assert_eq!(mail["type"], "multipart/alternative");
    assert_eq!(mail["parts"], json!(["text/plain", "text/html"]));
    assert_eq!(mail["defects"], json!([]));
    assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&mail, "From"), "Countersign <countersign@example.com>");
    for part in ["text", "html"] {
        assert!(mail[part].as_str().unwrap().contains(&id), "{mail}");
    }
    let (_, list) = server.approver.get("/v1/webhooks").await;
    let of = |to: &str| {
        let items = list["items"].as_array().unwrap().iter();
        items.clone().find(|item| item["url"] == format!("mailto:{to}")).unwrap().clone()
    };
    assert_eq!((&of(ADA)["state"], &of(gone)["dead"]), (&json!("working"), &json!(1)), "{list}");
    assert_eq!(of(busy)["waiting"], 1, "{list}");
    let why = of(busy)["lastFailure"]["message"].clone();
    assert_eq!(why, "the mail server did not take it: it answered 451");
}
