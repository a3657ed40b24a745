//! Slack for people: messages with buttons, the dialogue for a reason, and what came of a press.

use super::{
    kit::{SECRET, TEAM, slack_signature},
    slack_stub::{Asked, SlackStub, TOKEN},
};
use countersign_it::{Client, TestServer};
use serde_json::{Value, json};

const PATH: &str = "/v1/slack/interactions";

/// A workspace that asks in Slack, and the stand-in for Slack.
struct Asking {
    server: TestServer,
    slack: SlackStub,
}

impl Asking {
    /// `ada` and `bob` are in the directory; requests go to the channel C1, and to each of them.
    async fn start() -> Self {
        let (server, slack) = (TestServer::start().await, SlackStub::start().await);
        let post = async |path: &str, body: Value| {
            let (status, answer) = server.approver.post(path, &body).await;
            assert!(status < 300, "{path}: {answer}");
        };
        post(
            "/v1/channels",
            json!({ "channelKey": "support", "provider": "slack",
            "signingSecret": SECRET, "token": TOKEN, "apiUrl": slack.url,
            "sources": [{ "team": TEAM }] }),
        )
        .await;
        for (id, user) in [("ada", "U1"), ("bob", "U2")] {
            post(
                "/v1/persons",
                json!({ "person": { "id": id,
                "slack": { "teamId": TEAM, "userId": user } } }),
            )
            .await;
        }
        let types: Vec<String> = ["requested", "granted", "rejected", "expired", "voided"]
            .map(|what| format!("controlPlane.approval.{what}"))
            .into();
        for url in ["slack:support/C1", "slack:support/@people"] {
            post("/v1/webhooks", json!({ "url": url, "types": types })).await;
        }
        Self { server, slack }
    }

    /// A refund that waits for people; the execution, and the messages that ask.
    async fn asked(&self) -> (String, Vec<Asked>) {
        let before = self.slack.count("chat.postMessage");
        let (status, submitted) = self
            .server
            .agent
            .post(
                "/v1/intents",
                &json!({ "text": "<!channel> <https://evil.example|ok> ``` *bold*",
                    "draft": { "steps": [{ "id": "refund", "use": "payments/refund.create",
                        "with": { "customer": "c1", "amount": 4_200, "currency": "EUR" } }] } }),
            )
            .await;
        assert_eq!(status, 202, "{submitted}");
        let id = submitted["executionId"].as_str().unwrap().to_owned();
        let all = self.slack.calls("chat.postMessage", before + 3).await;
        (id, all[before..].to_vec())
    }

    /// Presses as Slack sends them, signed now.
    async fn press(&self, payload: &Value) -> (u16, Value) {
        send(&self.server.approver, &form(payload), SECRET, 0).await
    }
}

fn form(payload: &Value) -> String {
    let text = payload.to_string();
    let escaped: String = text
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    format!("payload={escaped}")
}

async fn send(client: &Client, body: &str, secret: &str, late_s: i64) -> (u16, Value) {
    let seconds = countersign_it::now().ms() / 1_000 - late_s;
    let request = client
        .request("POST", PATH)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-slack-request-timestamp", seconds.to_string())
        .header("x-slack-signature", slack_signature(secret, seconds, body.as_bytes()))
        .body(body.to_owned());
    client.send(request).await
}

fn buttons(message: &Asked) -> Vec<Value> {
    let blocks = message.arguments["blocks"].as_array().unwrap().iter();
    let actions = blocks.filter(|block| block["type"] == "actions");
    actions.flat_map(|block| block["elements"].as_array().unwrap().clone()).collect()
}

fn press(message: &Asked, button: usize, user: &str) -> Value {
    let action = &buttons(message)[button];
    json!({ "type": "block_actions", "team": { "id": TEAM, "domain": "acme" },
        "user": { "id": user, "username": "boss", "team_id": TEAM }, "trigger_id": "1.2.abc",
        "container": { "type": "message", "message_ts": message.place["ts"],
            "channel_id": message.place["channel"] },
        "channel": { "id": message.place["channel"], "name": "support" },
        "actions": [{ "type": "button", "block_id": "countersign",
            "action_id": action["action_id"], "value": action["value"] }] })
}

fn reason(opened: &Asked, user: &str, reason: &str) -> Value {
    let view = &opened.arguments["view"];
    json!({ "type": "view_submission", "team": { "id": TEAM },
        "user": { "id": user, "team_id": TEAM },
        "view": { "type": "modal", "callback_id": view["callback_id"],
            "private_metadata": view["private_metadata"],
            "state": { "values": { "reason": { "reason": {
                "type": "plain_text_input", "value": reason } } } } } })
}

fn words(asked: &Asked) -> String {
    asked.arguments["blocks"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_approves_by_a_button_and_every_message_says_so() {
    let asking = Asking::start().await;
    let (id, messages) = asking.asked().await;
    let mut to: Vec<&str> =
        messages.iter().map(|asked| asked.arguments["channel"].as_str().unwrap()).collect();
    to.sort_unstable();
    assert_eq!(to, ["C1", "U1", "U2"], "the channel, and each person who may decide");
    for message in &messages {
        assert_eq!(buttons(message).len(), 2);
        let shown = words(message);
        assert!(shown.contains("42.00 EUR") && shown.contains("evil.example"), "{shown}");
        assert!(!message.arguments["text"].as_str().unwrap().contains('<'));
    }
    let (status, answer) = asking.press(&press(&messages[0], 0, "U1")).await;
    assert_eq!((status, answer), (200, json!({})));
    asking.server.until(&id, "completed").await;
    let updated = asking.slack.calls("chat.update", 3).await;
    assert!(updated.iter().all(|asked| words(asked).contains("Approved by ada")), "{updated:?}");
    assert!(updated.iter().all(|asked| buttons(asked).is_empty()));
    let (_, trace) = asking.server.approver.get(&format!("/v1/executions/{id}/trace")).await;
    let voted = trace["entries"].as_array().unwrap().iter();
    let granted = voted.filter(|entry| entry["type"] == "controlPlane.approval.granted");
    let granted: Vec<&Value> = granted.collect();
    assert_eq!(granted.len(), 1);
    assert_eq!((&granted[0]["actorId"], &granted[0]["channel"]), (&json!("ada"), &json!("slack")));
    asking.server.proven(&id).await;
    asking.slack.in_form();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_rejects_with_a_reason() {
    let asking = Asking::start().await;
    let (id, messages) = asking.asked().await;
    assert_eq!(asking.press(&press(&messages[0], 1, "U2")).await.0, 200);
    let opened = asking.slack.calls("views.open", 1).await.remove(0);
    let (status, answer) = asking.press(&reason(&opened, "U2", " \n")).await;
    assert_eq!((status, &answer["response_action"]), (200, &json!("errors")), "{answer}");
    let (status, answer) = asking.press(&reason(&opened, "U2", "too much <!here>")).await;
    assert_eq!((status, answer), (200, json!({})));
    let updated = asking.slack.calls("chat.update", 3).await;
    assert!(words(&updated[0]).contains("Rejected by bob"), "{updated:?}");
    assert!(words(&updated[0]).contains("Reason: too much"));
    let execution = asking.server.settled(&id).await;
    assert_eq!(execution["approvals"][0]["status"], "rejected", "{execution}");
    asking.slack.in_form();
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_slack_presses_unsigned_forged_late_and_replayed() {
    let asking = Asking::start().await;
    let (id, messages) = asking.asked().await;
    let body = form(&press(&messages[0], 0, "U1"));
    let client = &asking.server.approver;
    let unsigned = client.request("POST", PATH).body(body.clone());
    assert_eq!(client.send(unsigned).await.0, 401);
    assert_eq!(send(client, &body, "another secret of 16", 0).await.0, 401);
    assert_eq!(send(client, &body, SECRET, 301).await.0, 401);
    assert_eq!(send(client, &body, SECRET, -301).await.0, 401);
    assert_eq!(send(client, "payload=%7B%7D", SECRET, 0).await.0, 401, "whose secret is it?");
    assert_eq!(asking.server.settled(&id).await["status"], "blocked");
    // Replayed: one receipt, one vote.
    let seconds = countersign_it::now().ms() / 1_000;
    for _ in 0..5 {
        let request = client
            .request("POST", PATH)
            .header("x-slack-request-timestamp", seconds.to_string())
            .header("x-slack-signature", slack_signature(SECRET, seconds, body.as_bytes()))
            .body(body.clone());
        assert_eq!(client.send(request).await.0, 200);
    }
    asking.server.until(&id, "completed").await;
    let granted = asking.server.events(&id).await;
    assert_eq!(granted.iter().filter(|event| *event == "approval.granted").count(), 1);
    assert_eq!(asking.slack.count("chat.postEphemeral"), 0, "nothing was refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_slack_presses_by_nobody_of_the_directory() {
    let asking = Asking::start().await;
    let (id, messages) = asking.asked().await;
    let good = press(&messages[0], 0, "U1");
    let changed = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    let mut other_workspace: Value =
        serde_json::from_str(good["actions"][0]["value"].as_str().unwrap()).unwrap();
    other_workspace["workspace"] = json!("other");
    for (what, payload, status) in [
        ("no team", changed("/team", Value::Null), 401),
        (
            "another team, the same user id",
            {
                let mut foreign = changed("/team/id", json!("T0OTHER"));
                foreign["user"]["team_id"] = json!("T0OTHER");
                foreign
            },
            403,
        ),
        ("a guest of another team", changed("/user/team_id", json!("T0OTHER")), 401),
        ("nobody of the directory", changed("/user/id", json!("U9")), 403),
        ("a display name", changed("/user/id", json!("ada")), 403),
        ("a message that is not ours", changed("/container/message_ts", json!("1.1")), 403),
        ("another channel", changed("/channel/id", json!("C2")), 403),
        ("another workspace", changed("/actions/0/value", json!(other_workspace.to_string())), 401),
    ] {
        let (found, answer) = asking.press(&payload).await;
        assert_eq!(found, status, "{what}: {answer}");
    }
    let execution = asking.server.settled(&id).await;
    assert_eq!(execution["status"], "blocked");
    assert_eq!(execution["approvals"][0]["votes"], Value::Null, "{execution}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_slack_presses_after_another_decided_twice_and_on_an_old_view() {
    let asking = Asking::start().await;
    // Two presses, of the same person and of another: one decision.
    let (id, messages) = asking.asked().await;
    for (message, user) in [(0, "U1"), (1, "U1"), (2, "U2")] {
        assert_eq!(asking.press(&press(&messages[message], 0, user)).await.0, 200);
    }
    asking.server.until(&id, "completed").await;
    let granted = asking.server.events(&id).await;
    assert_eq!(granted.iter().filter(|event| *event == "approval.granted").count(), 1);
    // Decided elsewhere: the button, pressed late, says so to who pressed.
    let (id, messages) = asking.asked().await;
    asking.server.approve(&id).await;
    asking.server.until(&id, "completed").await;
    let told = asking.slack.count("chat.postEphemeral");
    assert_eq!(asking.press(&press(&messages[0], 0, "U2")).await.0, 200);
    let told = asking.slack.calls("chat.postEphemeral", told + 1).await;
    let last = told.last().unwrap();
    assert_eq!(last.arguments["user"], "U2");
    assert!(words(last).contains("Not decided"), "{last:?}");
    // A message that shows something else than is asked now.
    let (id, messages) = asking.asked().await;
    let mut old = press(&messages[0], 0, "U2");
    let mut value: Value =
        serde_json::from_str(old["actions"][0]["value"].as_str().unwrap()).unwrap();
    value["viewDigest"] = json!(format!("sha256:{}", "0".repeat(64)));
    old["actions"][0]["value"] = json!(value.to_string());
    let before = asking.slack.count("chat.postEphemeral");
    assert_eq!(asking.press(&old).await.0, 200);
    asking.slack.calls("chat.postEphemeral", before + 1).await;
    assert_eq!(asking.server.settled(&id).await["status"], "blocked");
    asking.slack.in_form();
}
