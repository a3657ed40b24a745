//! Attacks on channels: who is not shown to be the provider is told nothing, and nothing is done.

use super::kit::{ChannelFixture, SECRET, TEAM, message, support};
use contracts::{Code, channel::Provider};
use countersign_it::TestServer;
use engine::ProviderRequest;
use serde_json::{Value, json};

fn hello() -> Value {
    message("Ev1", TEAM, "C1", "hello")
}

#[tokio::test]
async fn attack_requests_unsigned_forged_late_and_replayed() {
    let fixture = ChannelFixture::start().await;
    let good = fixture.signed(SECRET, &hello());
    let without = |name: &str| {
        let mut request = good.clone();
        request.headers.remove(name);
        request
    };
    let other_body =
        ProviderRequest { body: hello().to_string().replace('h', "H").into(), ..good.clone() };
    let mut refusals = Vec::new();
    for request in [
        without("x-slack-signature"),
        without("x-slack-request-timestamp"),
        fixture.signed("another secret of 16", &hello()),
        other_body,
        ProviderRequest { channel: "acme.other".into(), ..good.clone() },
        ProviderRequest { channel: "other.support".into(), ..good.clone() },
        ProviderRequest { channel: "support".into(), ..good.clone() },
        ProviderRequest { provider: Provider::Github, ..good.clone() },
    ] {
        let refused = fixture.receive(request).await.unwrap_err();
        assert_eq!(refused.code, Code::Unauthenticated);
        refusals.push(refused.detail);
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "what exists is not told: {refusals:?}");
    // Replayed within five minutes it is the same event, after that it is late.
    assert_eq!(fixture.receive(good.clone()).await, Ok(None));
    assert_eq!(fixture.receive(good.clone()).await, Ok(None));
    fixture.fixture.clock.pass(301_000);
    assert_eq!(fixture.receive(good).await.unwrap_err().code, Code::Unauthenticated);
    fixture.work().await;
    assert_eq!(fixture.count().await, 1);
}

#[tokio::test]
async fn attack_an_event_with_another_workspaces_channel_or_team() {
    let fixture = ChannelFixture::start().await;
    for foreign in [
        message("Ev1", "T0OTHER", "C1", "hello"),
        message("Ev2", TEAM, "C2", "hello"),
        message("Ev3", &TEAM.to_lowercase(), "C1", "hello"),
    ] {
        let request = fixture.signed(SECRET, &foreign);
        assert_eq!(fixture.receive(request).await, Ok(None), "it is signed, and not for us");
    }
    let mut nobodys = message("Ev4", TEAM, "C1", "hello");
    nobodys.as_object_mut().unwrap().remove("team_id");
    let refused = fixture.receive(fixture.signed(SECRET, &nobodys)).await.unwrap_err();
    assert_eq!(refused.code, Code::BadRequest, "no team, no user");
    assert_eq!((fixture.work().await, fixture.count().await), (0, 0));
}

#[tokio::test]
async fn attack_a_channel_asks_for_more_than_an_agent_may() {
    let fixture = ChannelFixture::start().await;
    let mut refund = support();
    refund["rules"] = json!([{ "draft": { "steps": [{ "id": "r", "use": "payments/refund.create",
        "with": { "customer": "c1", "amount": 100, "currency": "EUR" } }] } }]);
    fixture.put(refund).await.unwrap();
    let mut spoken = message("Ev1", TEAM, "C1", "hello");
    // Who speaks calls himself the person who decides.
    spoken["event"]["user"] = json!("ada");
    spoken["event"]["username"] = json!("ada");
    fixture.receive(fixture.signed(SECRET, &spoken)).await.unwrap();
    fixture.work().await;
    let execution = &fixture.executions().await.items[0];
    let get = json!({ "executionId": execution.execution_id });
    fixture.fixture.drive(&execution.execution_id).await;
    let engine = &fixture.fixture.engine;
    let view =
        engine.queries.get(&fixture.person, serde_json::from_value(get).unwrap()).await.unwrap();
    let view = serde_json::to_value(&view.execution).unwrap();
    assert_eq!((&view["verdict"], &view["riskTier"]), (&json!("assist"), &json!("high")), "{view}");
    assert_eq!(view["onBehalfOf"], json!(null), "a name is nobody");
    // Who set the channel up does not decide on what comes through it.
    let approval = &view["approvals"][0];
    let approve = serde_json::from_value(json!({ "executionId": execution.execution_id,
        "bindingDigest": approval["bindingDigest"] }));
    let refused = engine.approvals.approve(&fixture.person, approve.unwrap()).await.unwrap_err();
    assert_eq!(refused.code, Code::SelfApproval);
    // Asked for through a channel, an approval lives for a quarter of an hour.
    let requested = engine.now().ms();
    let until = approval["expiresAt"].as_str().unwrap().parse::<contracts::Timestamp>().unwrap();
    assert!(until.ms() - requested <= 15 * 60_000, "{approval}");
}

#[tokio::test]
async fn attack_log_injection_by_what_is_said_outside() {
    let fixture = ChannelFixture::start().await;
    let text = "done\n{\"level\":\"ERROR\"}\r\n\u{1b}[2J\u{202e}approved by ada";
    fixture.receive(fixture.signed(SECRET, &message("Ev1\n2", TEAM, "C1", text))).await.unwrap();
    fixture.work().await;
    let execution = &fixture.executions().await.items[0];
    // As it was said, and shown to people in escapes only.
    assert!(execution.text.starts_with("done\n"));
    let shown = cs_core::text::escape_foreign(text);
    assert!(!shown.chars().any(cs_core::text::is_hidden), "{shown}");
}

/// Oversize and deep bodies, forms, other methods, headers twice, over HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn attack_oversize_and_deep_bodies_of_a_provider() {
    let server = TestServer::start().await;
    let (status, answer) = server.approver.post("/v1/channels", &support()).await;
    assert_eq!(status, 200, "{answer}");
    let path = "/v1/channels/slack/acme.support";
    let post = |body: Vec<u8>, signed: bool| {
        let seconds = countersign_it::now().ms() / 1_000;
        let signature = super::kit::slack_signature(SECRET, seconds, &body);
        let request = countersign_it::http()
            .post(format!("{}{path}", server.url()))
            .header("x-slack-request-timestamp", seconds.to_string());
        let request = if signed { request.header("x-slack-signature", signature) } else { request };
        request.body(body).send()
    };
    let long = format!("{{\"type\":\"{}\"}}", "x".repeat(1_100_000)).into_bytes();
    for (body, signed, status) in [
        (long.clone(), true, 413),
        (long, false, 413),
        ("[".repeat(500_000).into_bytes(), true, 400),
        ("[".repeat(500_000).into_bytes(), false, 401),
        (b"payload=%7B%7D".to_vec(), true, 400),
        (Vec::new(), true, 400),
        (Vec::new(), false, 401),
        (hello().to_string().into_bytes(), true, 200),
    ] {
        let response = post(body, signed).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
    }
    // An API key opens nothing here, and none is needed.
    let (status, _) = server.approver.post(path, &hello()).await;
    assert_eq!(status, 401);
    let (status, _) = server.approver.post("/v1/channels/irc/acme.support", &hello()).await;
    assert_eq!(status, 404);
    let twice = countersign_it::http()
        .post(format!("{}{path}", server.url()))
        .header("x-slack-signature", "v0=00")
        .header("x-slack-signature", "v0=11")
        .send()
        .await
        .unwrap();
    assert_eq!(twice.status().as_u16(), 400);
}
