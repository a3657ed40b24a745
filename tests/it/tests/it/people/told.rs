//! Who is told, how often, and that it can be seen whom nobody reached.

use super::kit::{ADA, BOB, PeopleFixture};
use contracts::{
    ExecutionId,
    approval::GetApproval,
    command::RejectExecution,
    directory::{Escalate, Group},
    notice::{NoticeState, NoticeView},
    subscription::{ListSubscriptions, NamedSubscription},
};
use engine::ports::MailError;
use serde_json::json;

const CY: &str = "cy@example.com";

fn group(name: &str, members: &[&str]) -> Group {
    Group {
        name: name.into(),
        members: members.iter().map(|id| (*id).to_owned()).collect(),
        escalate: None,
        remind_after_seconds: None,
        claim: None,
    }
}

async fn notices(
    fixture: &PeopleFixture,
    (execution_id, approval_id): &(contracts::ExecutionId, contracts::id::ApprovalId),
) -> Vec<NoticeView> {
    let request =
        GetApproval { execution_id: execution_id.clone(), approval_id: approval_id.clone() };
    fixture.engine.engine.queries.approval(&fixture.root, request).await.unwrap().notices
}

fn state(notices: &[NoticeView], person: &str) -> Option<NoticeState> {
    let own = notices.iter().find(|notice| notice.person_id == person)?;
    own.state.known().copied()
}

#[tokio::test]
async fn each_person_gets_one_mail_for_a_request_and_who_has_no_address_is_seen() {
    let fixture = PeopleFixture::new().await;
    fixture.person("dora", None).await;
    let asked = fixture.ask().await;
    fixture.relay().await;
    for to in [ADA, BOB] {
        let subjects = fixture.subjects(to);
        assert_eq!(subjects.len(), 1, "{subjects:?}");
        assert!(subjects[0].contains("Approve: do it (high risk)"), "{subjects:?}");
    }
    let told = notices(&fixture, &asked).await;
    assert_eq!(state(&told, "ada"), Some(NoticeState::Sent));
    assert_eq!(state(&told, "dora"), Some(NoticeState::NoAddress));
    // The event comes again: nobody is told twice.
    let engine = &fixture.engine.engine;
    let stream = countersign_store::Stream::Trace(asked.0.clone());
    let store = engine.store();
    let entries = store.entries(&fixture.root.workspace, &stream, 1..=100, 100).await.unwrap();
    let events: Vec<_> = entries
        .into_iter()
        .map(|entry| engine::cloud_event(&fixture.root.workspace, &stream, entry))
        .collect();
    fixture.deliverer.deliver(&fixture.root.workspace, &stream, &events).await.unwrap();
    assert_eq!((fixture.subjects(ADA).len(), fixture.subjects(BOB).len()), (1, 1));
}

#[tokio::test]
async fn who_is_not_reached_is_tried_again_alone_and_who_never_will_be_holds_up_nobody() {
    let fixture = PeopleFixture::new().await;
    let mails = &fixture.engine.mails;
    mails.refuse(ADA, Some(MailError::Deferred("it answered 451".into())));
    mails.refuse(BOB, Some(MailError::Refused("it answered 550".into())));
    fixture.person("cy", Some(CY)).await;
    let asked = fixture.ask().await;
    fixture.relay().await;
    let told = notices(&fixture, &asked).await;
    assert_eq!(state(&told, "ada"), Some(NoticeState::Waiting));
    assert_eq!(state(&told, "bob"), Some(NoticeState::Failed));
    assert_eq!(state(&told, "cy"), Some(NoticeState::Sent));
    let why = told.iter().find(|one| one.person_id == "bob").unwrap().message.clone();
    assert_eq!(why.as_deref(), Some("the mail server refused it: it answered 550"));
    let list = fixture.deliverer.list(&fixture.root, ListSubscriptions {}).await.unwrap();
    let people = list.items.iter().find(|item| item.subscription.id == "people").unwrap();
    assert_eq!(people.waiting, 1);
    assert!(people.last_failure.as_ref().unwrap().message.contains("451"));
    mails.refuse(ADA, None);
    mails.refuse(BOB, None);
    fixture.wait().await;
    assert_eq!(fixture.subjects(ADA).len(), 1);
    assert_eq!((fixture.subjects(BOB).len(), fixture.subjects(CY).len()), (0, 1));
    assert_eq!(state(&notices(&fixture, &asked).await, "ada"), Some(NoticeState::Sent));
}

#[tokio::test]
async fn what_is_decided_before_its_mail_goes_is_not_told() {
    let fixture = PeopleFixture::new().await;
    let mails = &fixture.engine.mails;
    mails.refuse(ADA, Some(MailError::Unreached("connection refused".into())));
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let request = RejectExecution {
        execution_id: id,
        step_id: None,
        view_digest: None,
        reason: "not now".into(),
    };
    fixture.engine.engine.approvals.reject(&fixture.root, request).await.unwrap();
    mails.refuse(ADA, None);
    for _ in 0..5 {
        fixture.wait().await;
    }
    assert!(fixture.subjects(ADA).is_empty());
}

#[tokio::test]
async fn a_group_is_reminded_once_and_then_escalates() {
    let fixture = PeopleFixture::new().await;
    fixture.person("cy", Some(CY)).await;
    fixture.group(group("leads", &["cy"])).await;
    let escalate = Escalate { to: "leads".into(), after_seconds: 7_200 };
    fixture
        .group(Group {
            escalate: Some(escalate),
            remind_after_seconds: Some(3_600),
            ..group("money", &["ada", "bob"])
        })
        .await;
    let (id, _) = fixture.ask().await;
    fixture.ask_group(&id, "money");
    fixture.relay().await;
    assert_eq!((fixture.subjects(ADA).len(), fixture.subjects(CY).len()), (1, 0));
    assert!(fixture.wait().await.unwrap() > 3_500_000);
    let reminded = fixture.subjects(ADA);
    assert!(reminded.len() == 2 && reminded[1].contains("Reminder: "), "{reminded:?}");
    assert!(fixture.subjects(CY).is_empty());
    assert!(fixture.wait().await.unwrap() > 3_500_000);
    let escalated = fixture.subjects(CY);
    assert!(escalated.len() == 1 && escalated[0].contains("Escalated: "), "{escalated:?}");
    assert_eq!(fixture.subjects(ADA).len(), 2, "once");
    for _ in 0..3 {
        fixture.wait().await;
    }
    assert_eq!((fixture.subjects(ADA).len(), fixture.subjects(CY).len()), (2, 1));
}

// What is asked of people with some words: of medium risk where they are urgent.
async fn look_up(fixture: &PeopleFixture, text: &str) -> ExecutionId {
    let step = json!({ "id": "ada", "use": "crm/customer.find", "with": { "email": ADA } });
    let request = json!({ "text": text, "draft": { "steps": [step] } });
    let request = serde_json::from_value(request).unwrap();
    let engine = &fixture.engine.engine;
    let id = engine.intents.submit(&fixture.engine.agent, request).await.unwrap().execution_id;
    fixture.engine.drive(&id).await;
    id
}

#[tokio::test]
async fn what_is_of_medium_risk_is_gathered_for_who_wants_it_and_what_is_of_high_risk_never() {
    let fixture = PeopleFixture::new().await;
    fixture.person_with("ada", Some(ADA), true).await;
    for count in 1..=3 {
        look_up(&fixture, &format!("urgent: look {count} up")).await;
        fixture.relay().await;
    }
    assert!(fixture.subjects(ADA).is_empty());
    assert_eq!(fixture.subjects(BOB).len(), 3);
    fixture.ask().await;
    fixture.relay().await;
    assert!(fixture.subjects(ADA)[0].contains("(high risk)"), "{:?}", fixture.subjects(ADA));
    assert!(fixture.wait().await.unwrap() > 3_500_000);
    let subjects = fixture.subjects(ADA);
    assert_eq!(subjects.len(), 2);
    assert_eq!(subjects[1], "[acme] 3 requests wait for you");
    let page = fixture.get(&fixture.link(ADA)).await;
    assert!(page.status == 200 && page.text.contains("urgent: look"), "{}", page.text);
    assert_eq!(fixture.wait().await, None, "nothing is left to tell");
}

#[tokio::test]
async fn what_is_held_is_told_with_the_way_to_the_console_and_without_a_link_that_decides() {
    let fixture = PeopleFixture::new().await;
    let freeze = json!({ "scope": "workspace", "frozen": true, "reason": "an audit" });
    let freeze = serde_json::from_value(freeze).unwrap();
    let engine = &fixture.engine.engine;
    engine.limits.set_freeze(&fixture.root, freeze).await.unwrap();
    let id = look_up(&fixture, "look Ada up").await;
    fixture.relay().await;
    let subjects = fixture.subjects(ADA);
    assert_eq!(subjects, ["[acme] Waits for an operator: look Ada up (low risk)"]);
    assert_eq!(fixture.link(ADA), format!("/console/executions/{id}"));
}

#[tokio::test]
async fn a_test_is_a_mail_to_who_asks_for_it() {
    let fixture = PeopleFixture::new().await;
    let request = || NamedSubscription { webhook_id: "people".into() };
    let stranger = fixture.deliverer.test(&fixture.root, request()).await.unwrap();
    assert!(!stranger.delivered && stranger.message.unwrap().contains("directory"));
    let actor = engine::actor(contracts::event::ActorKind::Human, "ada");
    let ada = engine::Caller { actor, ..fixture.root.clone() };
    assert!(fixture.deliverer.test(&ada, request()).await.unwrap().delivered);
    assert_eq!(fixture.subjects(ADA), ["[acme] Mails reach you"]);
}

/// Foreign text reaches these mails by the words of an intent, names of persons and groups, inputs.
#[tokio::test]
async fn attack_foreign_text_in_what_people_are_told() {
    let fixture = PeopleFixture::new().await;
    let hostile = "x\r\nBcc: eve@example.com\r\n\r\n<img src=x onerror=alert(1)>\u{202e}";
    let with = serde_json::json!({ "customer": hostile, "amount": 4200, "currency": "EUR" });
    let steps = serde_json::json!(
        [{ "id": "refund", "use": "payments/refund.create", "with": with }]);
    let request = serde_json::json!({ "text": hostile, "draft": { "steps": steps } });
    let request = serde_json::from_value(request).unwrap();
    let engine = &fixture.engine.engine;
    let id = engine.intents.submit(&fixture.engine.agent, request).await.unwrap().execution_id;
    fixture.engine.drive(&id).await;
    fixture.relay().await;
    let sent = fixture.engine.mails.sent();
    assert_eq!(sent.len(), 2);
    for mail in &sent {
        let message = mail_parser::MessageParser::default().parse(&mail.message).unwrap();
        assert!(message.bcc().is_none() && message.header_raw("Bcc").is_none());
        assert!(!message.subject().unwrap().contains(['\r', '\n', '\u{202e}']));
        let html = message.body_html(0).unwrap();
        assert!(!html.contains("<img") && html.contains("&#60;img"), "{html}");
        for part in [message.body_text(0).unwrap(), html] {
            assert!(!part.contains('\u{202e}') && !part.contains("\nBcc:"), "{part}");
        }
    }
    let page = fixture.get(&fixture.link(ADA)).await;
    assert!(!page.text.contains("<img") && !page.text.contains('\u{202e}'), "{}", page.text);
}
