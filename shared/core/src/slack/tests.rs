//! What Slack is sent, against its documented limits; and what foreign text can do: nothing.

use super::*;
use contracts::limits::{SLACK_SECTION_CHARACTERS_MAX, SLACK_VIEW_BLOCKS_MAX};
use serde_json::{Value, json};

fn subject() -> Subject {
    Subject {
        workspace: "acme".parse().unwrap(),
        channel_key: "support".into(),
        execution_id: ExecutionId::from_bytes([1; 16]),
        approval_id: ApprovalId::from_bytes([2; 16]),
        view_digest: Digest::from_bytes([3; 32]),
    }
}

fn message(lines: &[String]) -> Message {
    let at = contracts::Timestamp::from_ms(1_795_001_400_000);
    asked(&Asked { subject: &subject(), step: None, lines, expires_at: at })
}

fn buttons(message: &Message) -> usize {
    message.blocks.as_array().unwrap().iter().filter(|block| block["type"] == "actions").count()
}

fn payload(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", &text)
        .finish()
        .into_bytes()
}

fn pressed() -> Value {
    json!({ "type": "block_actions", "team": { "id": "T1", "domain": "x" },
        "user": { "id": "U1", "username": "boss", "name": "boss", "team_id": "T1" },
        "api_app_id": "A1", "token": "x", "trigger_id": "12.34.ab",
        "container": { "type": "message", "message_ts": "1.2", "channel_id": "C1" },
        "channel": { "id": "C1", "name": "directmessage" },
        "actions": [{ "action_id": "countersign.approve", "block_id": "countersign",
            "type": "button", "value": serde_json::to_string(&subject()).unwrap(),
            "action_ts": "1.3" }] })
}

#[test]
fn attack_slack_markup_in_foreign_text() {
    let evil = "<!channel> <@U1> <https://evil.example|approved> *bold* ``` & :tada: @here";
    let message = message(&[evil.to_owned()]);
    let blocks = message.blocks.as_array().unwrap();
    let shown = blocks.iter().find(|block| block["type"] == "rich_text").unwrap();
    let part = &shown["elements"][0];
    assert_eq!(part["type"], "rich_text_preformatted");
    assert_eq!(part["elements"], json!([{ "type": "text", "text": evil }]), "as it is, unread");
    assert!(blocks.iter().all(|block| block["text"]["type"] != "mrkdwn"));
    let note = note(evil);
    assert!(!note.text.contains('<') && !note.text.contains('>'), "{}", note.text);
    let at = contracts::Timestamp::from_ms(0);
    let said = Decided {
        subject: &subject(),
        step: None,
        outcome: "Rejected",
        by: Some("<!channel>"),
        at,
        reason: Some("no\n<!here> \u{202e}"),
    };
    let said = decided(&said);
    assert!(!said.text.contains('<') && said.text.contains("&lt;!channel&gt;"), "{}", said.text);
    let all = said.blocks.to_string();
    assert!(!all.contains("mrkdwn") && all.contains("\\\\u{a}"), "{all}");
}

#[test]
fn what_is_not_shown_whole_has_no_buttons() {
    let line = "x".repeat(80);
    assert_eq!(buttons(&message(&[])), 0, "nothing is shown");
    assert_eq!(buttons(&message(std::slice::from_ref(&line))), 1);
    let fits = SLACK_VIEW_BLOCKS_MAX * (SLACK_SECTION_CHARACTERS_MAX / 81);
    let most = message(&vec![line.clone(); fits]);
    assert_eq!(buttons(&most), 1);
    let more = message(&vec![line; fits + 1]);
    assert_eq!(buttons(&more), 0);
    for message in [most, more] {
        let blocks = message.blocks.as_array().unwrap();
        assert!(blocks.len() <= 50);
        for block in blocks.iter().filter(|block| block["type"] == "rich_text") {
            let text = block["elements"][0]["elements"][0]["text"].as_str().unwrap();
            assert!(text.chars().count() <= 3_000);
        }
    }
}

#[test]
fn a_press_says_what_the_button_was_about() {
    let place = Place { channel: "C1".into(), ts: "1.2".into() };
    let wanted = Pressed {
        subject: subject(),
        place: place.clone(),
        team_id: "T1".into(),
        user_id: "U1".into(),
    };
    assert_eq!(press(&payload(&pressed())), Ok(Press::Approve(wanted.clone())));
    let mut reject = pressed();
    reject["actions"][0]["action_id"] = json!("countersign.reject");
    let asks = Press::AskReason { pressed: wanted.clone(), trigger_id: "12.34.ab".into() };
    assert_eq!(press(&payload(&reject)), Ok(asks));
    let modal = reason_modal(&subject(), &place);
    let hidden = modal["private_metadata"].as_str().unwrap();
    assert!(hidden.len() <= 3_000 && modal["title"]["text"].as_str().unwrap().len() <= 24);
    let submitted = json!({ "type": "view_submission", "team": { "id": "T1" },
        "user": { "id": "U1", "team_id": "T1" }, "view": { "type": "modal",
            "callback_id": "countersign.reject", "private_metadata": hidden,
            "state": { "values": { "reason": { "reason": { "type": "plain_text_input",
                "value": "too much" } } } } } });
    let rejected = Press::Reject { pressed: wanted, reason: "too much".into() };
    assert_eq!(press(&payload(&submitted)), Ok(rejected));
}

#[test]
fn attack_a_press_without_a_team_of_another_team_or_of_another_form() {
    let changed = |pointer: &str, value: Value| {
        let mut changed = pressed();
        *changed.pointer_mut(pointer).unwrap() = value;
        press(&payload(&changed))
    };
    for (pointer, value) in [
        ("/team", Value::Null),
        ("/team/id", Value::Null),
        ("/team/id", json!("")),
        ("/team/id", json!({ "id": "T1" })),
        ("/user/id", Value::Null),
        ("/user/team_id", json!("T2")),
        ("/channel", Value::Null),
        ("/container/message_ts", Value::Null),
        ("/actions", json!([])),
        ("/actions/0/action_id", json!("other")),
        ("/actions/0/value", json!("{}")),
        ("/actions/0/value", json!("[".repeat(10_000))),
        ("/type", json!("shortcut")),
    ] {
        assert!(changed(pointer, value.clone()).is_err(), "{pointer} {value}");
    }
    for body in ["", "payload=", "payload=1", "payload=%7B%7D&payload=%7B%7D", "other=%7B%7D"] {
        assert!(press(body.as_bytes()).is_err(), "{body}");
    }
}
