//! One receipt for each event, claimed before it is acknowledged; worked on once, whatever fails.

use super::kit::{ChannelFixture, SECRET, TEAM, message, support};
use contracts::Code;
use countersign_store::{Query, keys, memory::MemoryTable};
use serde_json::json;
use std::sync::Arc;

async fn notes(fixture: &ChannelFixture) -> Vec<String> {
    let mut found = Vec::new();
    for shard in 0..keys::WORK_SHARDS {
        let query = Query::prefix(keys::inbound_partition(shard), "", 100);
        let items = fixture.fixture.engine.store().query(&query).await.unwrap();
        found.extend(items.into_iter().map(|(key, _)| key.sort));
    }
    found
}

#[tokio::test]
async fn what_is_acknowledged_is_submitted_once() {
    let fixture = ChannelFixture::start().await;
    let hello = message("Ev1", TEAM, "C1", "hello");
    let request = fixture.signed(SECRET, &hello);
    assert_eq!(fixture.receive(request.clone()).await, Ok(None));
    assert_eq!((fixture.count().await, notes(&fixture).await.len()), (0, 1), "the work is after");
    // The provider is impatient and sends it again, before and after.
    assert_eq!(fixture.receive(request.clone()).await, Ok(None));
    assert_eq!(fixture.work().await, 1);
    assert_eq!(fixture.receive(request).await, Ok(None));
    assert_eq!(fixture.work().await, 0);
    assert_eq!((fixture.count().await, notes(&fixture).await.len()), (1, 0));
    let execution = &fixture.executions().await.items[0];
    assert_eq!(execution.actor_id, "channel:support");
}

#[tokio::test]
async fn attack_a_receipt_is_claimed_twice_at_once() {
    let fixture = ChannelFixture::start().await;
    let request = fixture.signed(SECRET, &message("Ev1", TEAM, "C1", "hello"));
    let all = (0..16).map(|_| fixture.receive(request.clone()));
    for taken in futures_util::future::join_all(all).await {
        assert_eq!(taken, Ok(None));
    }
    let waiting = notes(&fixture).await;
    assert_eq!(waiting.len(), 1);
    let inbound = &fixture.fixture.engine.inbound;
    let workers = (0..16).map(|_| inbound.work(&waiting[0]));
    for worked in futures_util::future::join_all(workers).await {
        assert!(worked.is_ok(), "{worked:?}");
    }
    assert_eq!((fixture.count().await, notes(&fixture).await.len()), (1, 0));
}

#[tokio::test]
async fn a_stuck_receipt_is_worked_on_by_the_next() {
    let fixture = ChannelFixture::start().await;
    let request = fixture.signed(SECRET, &message("Ev1", TEAM, "C1", "hello"));
    fixture.receive(request).await.unwrap();
    let before = notes(&fixture).await;
    let sweep = async || fixture.fixture.engine.sweep.sweep(None, 1_000).await.unwrap().requeued;
    assert_eq!(sweep().await, 0, "whoever should work on it may be about to");
    fixture.fixture.clock.pass(91_000);
    assert_eq!((sweep().await, sweep().await), (1, 0));
    let after = notes(&fixture).await;
    assert!(after.len() == 1 && after != before, "another note, whose coming is told");
    // The first one is told late: it finds the same receipt.
    let inbound = &fixture.fixture.engine.inbound;
    assert_eq!(inbound.work(&before[0]).await, Ok(true));
    assert_eq!(inbound.work(&after[0]).await, Ok(false), "it is done");
    assert_eq!((fixture.count().await, notes(&fixture).await.len()), (1, 0));
}

#[tokio::test]
async fn a_channel_that_is_gone_or_changed_has_no_authority_left() {
    let fixture = ChannelFixture::start().await;
    let request = fixture.signed(SECRET, &message("Ev1", TEAM, "C1", "hello"));
    fixture.receive(request).await.unwrap();
    let remove = serde_json::from_value(json!({ "channelKey": "support" })).unwrap();
    fixture.fixture.engine.channels.remove(&fixture.person, remove).await.unwrap();
    assert_eq!(fixture.work().await, 1);
    assert_eq!((fixture.count().await, notes(&fixture).await.len()), (0, 0));
    let later = fixture.signed(SECRET, &message("Ev2", TEAM, "C1", "hello"));
    assert_eq!(fixture.receive(later).await.unwrap_err().code, Code::Unauthenticated);
}

#[tokio::test]
async fn only_people_set_channels_up_and_secrets_are_never_shown() {
    let table = Arc::new(MemoryTable::default());
    let fixture = ChannelFixture::over(table.clone()).await;
    let engine = &fixture.fixture.engine;
    let refused = engine.channels.put(&fixture.fixture.agent, super::kit::put_channel(support()));
    assert_eq!(refused.await.unwrap_err().code, Code::Forbidden);
    let mut with_token = support();
    with_token["token"] = json!("xoxb-1-the-token");
    with_token["apiUrl"] = json!("https://slack.example");
    let view = fixture.put(with_token.clone()).await.unwrap();
    assert_eq!(view.secrets, ["signingSecret", "token"].map(str::to_owned).into());
    let list = engine.channels.list(&fixture.person, Default::default()).await.unwrap();
    let shown = serde_json::to_string(&(&list, &view)).unwrap();
    assert!(!shown.contains(SECRET) && !shown.contains("xoxb-1-the-token"), "{shown}");
    for (key, item) in table.dump() {
        let body = String::from_utf8_lossy(&item.body);
        assert!(!body.contains(SECRET) && !body.contains("xoxb"), "{key:?}");
    }
    // Without a secret in the request, those from before hold.
    let mut again = with_token.clone();
    let fields = again.as_object_mut().unwrap();
    fields.remove("signingSecret");
    fields.remove("token");
    assert_eq!(fixture.put(again.clone()).await.unwrap().secrets.len(), 2);
    let request = fixture.signed(SECRET, &message("Ev1", TEAM, "C1", "hello"));
    assert_eq!(fixture.receive(request).await, Ok(None));
    // A token is for the address that it was given with.
    again["apiUrl"] = json!("https://evil.example");
    let refused = fixture.put(again).await.unwrap_err();
    assert_eq!(refused.issues[0].pointer, "/token");
}

#[tokio::test]
async fn a_channel_that_cannot_be_is_refused_with_a_pointer() {
    let fixture = ChannelFixture::start().await;
    for (pointer, field, value) in [
        ("/channelKey", "channelKey", json!("Sup.port")),
        ("/channelKey", "channelKey", json!("")),
        ("/signingSecret", "signingSecret", json!("short")),
        ("/sources", "sources", json!([])),
        ("/sources/0/team", "sources", json!([{ "team": "*" }])),
        ("/sources/0/team", "sources", json!([{ "team": "" }])),
        ("/rules/0/pattern", "rules", json!([{ "pattern": "(" }])),
        ("/apiUrl", "apiUrl", json!("ftp://slack.com")),
        ("/apiUrl", "apiUrl", json!("https://slack.com/")),
        ("/token", "reply", json!(true)),
        ("/token", "token", json!("two words")),
        ("/ownUserId", "ownUserId", json!("")),
    ] {
        let mut channel = support();
        channel[field] = value;
        let refused = fixture.put(channel).await.unwrap_err();
        assert_eq!(refused.code, Code::ValidationFailed, "{pointer}");
        assert_eq!(refused.issues[0].pointer, pointer);
    }
}
