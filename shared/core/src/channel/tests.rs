//! Each provider's documented examples, and what is refused.

mod refusals;

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";

fn hex_mac(secret: &str, message: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

fn workspace() -> WorkspaceId {
    "acme".parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_ms(1_531_420_618_000)
}

/// What a provider would send: headers and body.
type Request = (BTreeMap<String, String>, Vec<u8>);

fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn slack(secret: &str, seconds: i64, body: &Value) -> Request {
    let body = body.to_string().into_bytes();
    let mut message = format!("v0:{seconds}:").into_bytes();
    message.extend(&body);
    let signature = format!("v0={}", hex_mac(secret, &message));
    let seconds = seconds.to_string();
    let named =
        [("x-slack-request-timestamp", seconds.as_str()), ("x-slack-signature", &signature)];
    (headers(&named), body)
}

fn hub(secret: &str, more: &[(&str, &str)], body: &Value) -> Request {
    let body = body.to_string().into_bytes();
    let mut all = headers(more);
    all.insert("x-hub-signature-256".into(), format!("sha256={}", hex_mac(secret, &body)));
    (all, body)
}

fn telegram(secret: &str, body: &Value) -> Request {
    (headers(&[("x-telegram-bot-api-secret-token", secret)]), body.to_string().into_bytes())
}

fn twilio(secret: &str, url: &str, fields: &[(&str, &str)]) -> Request {
    let mut sorted: Vec<_> = fields.to_vec();
    sorted.sort_unstable();
    let message = sorted.iter().fold(url.to_owned(), |text, (name, value)| text + name + value);
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    let signature = B64.encode(mac.finalize().into_bytes());
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    (headers(&[("x-twilio-signature", &signature)]), body.into_bytes())
}

fn take(
    provider: Provider,
    (headers, body): &Request,
    secret: &str,
) -> Result<Received, ChannelError> {
    let workspace = workspace();
    let address = Address { workspace: &workspace, provider, own_user_id: Some("4242") };
    receive(&address, &Delivery { headers, body, url: URL }, secret, now())
}

fn one(provider: Provider, request: &Request) -> Option<InboundEvent> {
    match take(provider, request, SECRET).unwrap() {
        Received::Events(events) => {
            assert!(events.len() <= 1);
            events.into_iter().next()
        }
        Received::Challenge(text) => panic!("{text}"),
    }
}

fn message(text: &str) -> Value {
    json!({ "token": "one-long-verification-token", "team_id": "T061EG9R6",
        "api_app_id": "A0PNCHHK2", "type": "event_callback", "event_id": "Ev0PV52K21",
        "event_time": 1_355_517_523, "event": { "type": "message", "channel": "D024BE91L",
            "user": "U2147483697", "text": text, "ts": "1355517523.000005",
            "event_ts": "1355517523.000005", "channel_type": "im" } })
}

fn comment(text: &str) -> Value {
    json!({ "action": "created",
        "issue": { "id": 73, "number": 1, "title": "Spelling error", "body": "..." },
        "comment": { "id": 99_262_140, "body": text, "created_at": "2015-05-05T23:40:28Z",
            "user": { "login": "baxterthehacker", "id": 6_752_317 },
            "performed_via_github_app": null },
        "repository": { "id": 35_129_377, "full_name": "baxterthehacker/public-repo",
            "owner": { "login": "baxterthehacker", "id": 6_752_317 } },
        "sender": { "login": "baxterthehacker", "id": 6_752_317, "type": "User" } })
}

fn commented(body: &Value) -> Request {
    let named = [
        ("x-github-event", "issue_comment"),
        ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
    ];
    hub(SECRET, &named, body)
}

fn update(text: &str) -> Value {
    json!({ "update_id": 10_000, "message": { "date": 1_441_645_532, "message_id": 1_365,
        "chat": { "id": 1_111_111, "type": "private", "first_name": "Test" },
        "from": { "id": 1_111_112, "is_bot": false, "first_name": "Test", "username": "Test" },
        "text": text } })
}

fn whatsapp_messages(messages: &Value) -> Value {
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "102290129340398",
        "changes": [{ "field": "messages", "value": { "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "15550783881",
                "phone_number_id": "106540352242922" },
            "contacts": [{ "profile": { "name": "boss" }, "wa_id": "16505551234" }],
            "messages": messages } }] }] })
}

fn whatsapp_text(id: &str, text: &str) -> Value {
    json!({ "from": "16505551234", "id": id, "timestamp": "1749416383", "type": "text",
        "text": { "body": text } })
}

const SMS: [(&str, &str); 6] = [
    ("MessageSid", "SM1349c2d8ac6a0a41bb5e5c1d4d1e6f34"),
    ("AccountSid", "AC00000000000000000000000000000000"),
    ("From", "whatsapp:+14155238886"),
    ("To", "whatsapp:+15005550006"),
    ("Body", "Ahoy, world & ümlaut = 1+1"),
    ("ProfileName", "boss"),
];

/// Each provider's request with a message, signed rightly.
fn all(text: &str) -> Vec<(Provider, Request)> {
    let fields: Vec<_> = SMS
        .map(|(name, value)| match name {
            "Body" => (name, text),
            _ => (name, value),
        })
        .to_vec();
    vec![
        (Provider::Slack, slack(SECRET, 1_531_420_618, &message(text))),
        (Provider::Github, commented(&comment(text))),
        (Provider::Telegram, telegram(SECRET, &update(text))),
        (
            Provider::Whatsapp,
            hub(SECRET, &[], &whatsapp_messages(&json!([whatsapp_text("wamid.1", text)]))),
        ),
        (Provider::Twilio, twilio(SECRET, URL, &fields)),
    ]
}

#[test]
fn documented_signatures_hold() {
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
        %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let named =
        headers(&[("x-slack-request-timestamp", "1531420618"), ("x-slack-signature", signature)]);
    let delivery = Delivery { headers: &named, body: body.as_bytes(), url: URL };
    assert_eq!(check_slack(&delivery, SECRET, now()), Ok(()));
    let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let secret = "It's a Secret to Everybody";
    assert_eq!(mac::check_hex(("sha256=", github), secret, &[b"Hello, World!"]), Ok(()));
    let fields = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675309"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
    ];
    let (named, _) = twilio("12345", URL, &fields);
    assert_eq!(named["x-twilio-signature"], "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
}

#[test]
fn messages_of_every_provider_become_the_same_event() {
    let seen: Vec<[String; 9]> = all("how do I reset it?")
        .iter()
        .map(|(provider, request)| {
            let event = one(*provider, request).unwrap();
            let text = event.message.unwrap();
            [
                event.provider_key.to_string(),
                event.external_event_id,
                event.event_type,
                event.occurred_at.to_string(),
                event.metadata.team,
                event.thread.external_thread_id,
                event.thread.external_channel_id.unwrap(),
                event.thread.external_user_id.unwrap(),
                text.external_message_id.unwrap() + ": " + &text.text,
            ]
        })
        .collect();
    let wanted = [
        [
            "slack",
            "Ev0PV52K21",
            "message",
            "2012-12-14T20:38:43.000Z",
            "T061EG9R6",
            "1355517523.000005",
            "D024BE91L",
            "U2147483697",
            "1355517523.000005: how do I reset it?",
        ],
        [
            "github",
            "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            "issue_comment",
            "2015-05-05T23:40:28.000Z",
            "baxterthehacker",
            "1",
            "baxterthehacker/public-repo",
            "6752317",
            "99262140: how do I reset it?",
        ],
        [
            "telegram",
            "10000",
            "message",
            "2015-09-07T17:05:32.000Z",
            "1111111",
            "1111111",
            "1111111",
            "1111112",
            "1365: how do I reset it?",
        ],
        [
            "whatsapp",
            "wamid.1",
            "text",
            "2025-06-08T20:59:43.000Z",
            "102290129340398",
            "16505551234",
            "106540352242922",
            "16505551234",
            "wamid.1: how do I reset it?",
        ],
        [
            "twilio",
            SMS[0].1,
            "message",
            "2018-07-12T18:36:58.000Z",
            SMS[1].1,
            SMS[2].1,
            SMS[3].1,
            SMS[2].1,
            "SM1349c2d8ac6a0a41bb5e5c1d4d1e6f34: how do I reset it?",
        ],
    ];
    assert_eq!(seen, wanted.map(|row| row.map(str::to_owned)));
}

#[test]
fn bots_and_what_we_said_ourselves_are_not_heard() {
    let silent = |provider, request: &Request| assert_eq!(one(provider, request), None);
    let slack_with = |pointer: &str, value: Value| {
        let mut changed = message("hello");
        changed["event"][pointer] = value;
        slack(SECRET, 1_531_420_618, &changed)
    };
    silent(Provider::Slack, &slack_with("bot_id", json!("B1")));
    silent(Provider::Slack, &slack_with("subtype", json!("bot_message")));
    silent(Provider::Slack, &slack_with("subtype", json!("message_changed")));
    silent(Provider::Slack, &slack_with("user", json!("4242")));
    silent(Provider::Slack, &slack_with("type", json!("reaction_added")));
    silent(Provider::Slack, &slack_with("text", json!(" \n")));
    assert!(one(Provider::Slack, &slack_with("subtype", json!("file_share"))).is_some());
    let github_with = |pointer: &str, value: Value| {
        let mut changed = comment("hello");
        *changed.pointer_mut(pointer).unwrap() = value;
        commented(&changed)
    };
    silent(Provider::Github, &github_with("/sender/type", json!("Bot")));
    silent(Provider::Github, &github_with("/sender/id", json!(4_242)));
    silent(Provider::Github, &github_with("/comment/performed_via_github_app", json!({ "id": 1 })));
    silent(Provider::Github, &github_with("/action", json!("edited")));
    let ping = hub(
        SECRET,
        &[("x-github-event", "ping"), ("x-github-delivery", "1")],
        &json!({
        "zen": "Anything added dilutes everything else.", "hook_id": 1 }),
    );
    silent(Provider::Github, &ping);
    let mut bot = update("hello");
    bot["message"]["from"]["is_bot"] = json!(true);
    silent(Provider::Telegram, &telegram(SECRET, &bot));
    bot["message"]["from"].as_object_mut().unwrap().remove("is_bot");
    silent(Provider::Telegram, &telegram(SECRET, &bot));
    let edited = json!({ "update_id": 1, "edited_message": update("hello")["message"] });
    silent(Provider::Telegram, &telegram(SECRET, &edited));
    let mut echo = whatsapp_messages(&json!([whatsapp_text("wamid.1", "hello")]));
    echo["entry"][0]["changes"][0]["field"] = json!("smb_message_echoes");
    silent(Provider::Whatsapp, &hub(SECRET, &[], &echo));
    let statuses = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1",
        "changes": [{ "field": "messages", "value": { "statuses": [{ "id": "wamid.2" }] } }] }] });
    silent(Provider::Whatsapp, &hub(SECRET, &[], &statuses));
    let mut status = SMS.to_vec();
    status.push(("SmsStatus", "delivered"));
    silent(Provider::Twilio, &twilio(SECRET, URL, &status));
}

#[test]
fn a_provider_that_asks_gets_its_answer() {
    let asks = json!({ "token": "Jhj5dZrVaK7ZwHHjRyZWjbDl", "type": "url_verification",
        "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P" });
    let answered = take(Provider::Slack, &slack(SECRET, 1_531_420_618, &asks), SECRET);
    let wanted = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P".to_owned();
    assert_eq!(answered, Ok(Received::Challenge(wanted)));
    let refused = take(Provider::Slack, &slack("another", 1_531_420_618, &asks), SECRET);
    assert_eq!(refused, Err(ChannelError::Signature), "who does not sign is told nothing");
    let query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock";
    assert_eq!(challenge(query, "meatyhamhock"), Ok(1_158_201_444));
    for (query, token) in [
        (query, "other"),
        (query, ""),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=", ""),
        ("hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=t", "t"),
        ("hub.mode=subscribe&hub.verify_token=t", "t"),
        ("hub.mode=subscribe&hub.challenge=<script>&hub.verify_token=t", "t"),
        ("hub.mode=subscribe&hub.challenge=01&hub.verify_token=t", "t"),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=x&hub.verify_token=t", "t"),
        ("", "t"),
    ] {
        assert!(challenge(query, token).is_err(), "{query}");
    }
}

#[test]
fn events_are_taken_from_the_channels_sources_alone() {
    let event = one(Provider::Slack, &slack(SECRET, 1_531_420_618, &message("x"))).unwrap();
    let source = |team: &str, channels: &[&str]| ChannelSource {
        team: team.into(),
        channels: channels.iter().map(|channel| (*channel).to_owned()).collect(),
    };
    assert!(is_from(&event, &[source("T061EG9R6", &[])]));
    assert!(is_from(&event, &[source("T061EG9R6", &["D024BE91L"])]));
    for other in [source("T0", &[]), source("T061EG9R6", &["C1"]), source("*", &[])] {
        assert!(!is_from(&event, &[other]));
    }
    assert!(!is_from(&event, &[]));
    let chat = one(Provider::Telegram, &telegram(SECRET, &update("x"))).unwrap();
    assert!(is_from(&chat, &[source("*", &[])]) && !is_from(&chat, &[source("*", &["1"])]));
}

#[test]
fn the_first_rule_that_fits_decides_and_takes_values_as_they_are() {
    let rule = |value: Value| serde_json::from_value::<contracts::channel::ChannelRule>(value);
    let rules = [
        rule(json!({ "pattern": "(?i)\\brefund\\b", "draft": { "steps": [] } })).unwrap(),
        rule(json!({ "playbook": { "key": "help/answer", "inputs": { "tone": "kind" } },
            "inputs": { "question": "text", "who": "userId" } }))
        .unwrap(),
    ];
    assert!(check_rules(&rules).is_empty());
    let index = |text: &str| chosen(&rules, text).unwrap().map(|(index, _)| index);
    assert_eq!((index("a Refund, please"), index("refunds?")), (Some(0), Some(1)));
    assert_eq!(chosen(&rules[..1], "hello"), Ok(None));
    let marker = r#"{"$from": "a", "path": ""}"#;
    let event = one(Provider::Telegram, &telegram(SECRET, &update(marker))).unwrap();
    let call = fill(&rules[1], &event).unwrap();
    let wanted = json!({ "tone": "kind", "question": marker, "who": "1111112" });
    assert_eq!(Value::Object(call.inputs), wanted);
    assert_eq!(fill(&rules[0], &event), None);
    for (bad, pointer) in [
        (json!({ "pattern": "(" }), "/rules/0/pattern"),
        (json!({ "pattern": "(?=x)" }), "/rules/0/pattern"),
        (json!({ "pattern": "" }), "/rules/0/pattern"),
        (json!({ "pattern": "x".repeat(257) }), "/rules/0/pattern"),
        (json!({ "pattern": "(a{1000}){1000}" }), "/rules/0/pattern"),
        (json!({ "playbook": { "key": "a/b" }, "draft": { "steps": [] } }), "/rules/0/draft"),
        (json!({ "inputs": { "a": "text" } }), "/rules/0/inputs"),
        (
            json!({ "playbook": { "key": "a/b", "inputs": { "a": 1 } },
                "inputs": { "a": "text" } }),
            "/rules/0/inputs/a",
        ),
    ] {
        let issues = check_rules(&[rule(bad.clone()).unwrap()]);
        assert_eq!(issues.first().map(|issue| issue.pointer.as_str()), Some(pointer), "{bad}");
    }
    let broken = rule(json!({ "pattern": "(" })).unwrap();
    assert!(chosen(&[broken], "x").is_err(), "a rule that cannot be read is no rule that fits");
}
