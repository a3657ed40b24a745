//! What failed is tried again, in its order, and given up in the end.

use super::kit::{DeliveryFixture, END, status};
use contracts::limits::{DEAD_LETTER_MS, DELIVERY_BACKOFF_MS_MAX, DELIVERY_TRIES_MAX};
use std::time::Duration;

#[tokio::test]
async fn where_nothing_fails_nothing_is_written_of_it() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("fine", &[]).await;
    let id = fixture.run().await;
    fixture.relay().await;
    assert_eq!(fixture.hooks.taken("fine", id.as_str()), (1..=7).collect::<Vec<_>>());
    let [cursors, due, targets] = fixture.stored();
    assert!(cursors.is_empty() && due.is_empty(), "{cursors:?} {due:?}");
    assert_eq!(targets.len(), 1, "when it succeeded");
    assert_eq!(fixture.list().await[0].waiting, 0);
}

#[tokio::test]
async fn an_event_is_tried_for_about_a_day_and_then_a_dead_letter() {
    let fixture = DeliveryFixture::new().await;
    let hook = fixture.subscribe("bad", &[END]).await;
    fixture.hooks.answer("bad", [status(500, None)]);
    let id = fixture.run().await;
    fixture.relay().await;
    let mut all = 0;
    for tries in 1..DELIVERY_TRIES_MAX {
        let received = fixture.hooks.received("bad");
        assert_eq!(received.len(), usize::try_from(tries).unwrap());
        let whole = (1_000_i64 << (tries - 1).min(30)).min(DELIVERY_BACKOFF_MS_MAX);
        let wait = fixture.wait().await.unwrap();
        let most = (whole * 12 / 10).min(DELIVERY_BACKOFF_MS_MAX);
        assert!((whole * 8 / 10..=most).contains(&wait), "{tries}: {wait}");
        all += wait;
        fixture.due().await;
    }
    assert!((19..=26).contains(&(all / 3_600_000)), "{all} ms");
    let status = fixture.list().await.remove(0);
    assert_eq!((status.waiting, status.dead), (0, 1));
    let letter = &status.dead_letters[0];
    assert_eq!(
        (letter.subject.as_str(), letter.message.as_str()),
        (id.as_str(), "it answered 500")
    );
    let ids: std::collections::BTreeSet<String> =
        fixture.hooks.received("bad").into_iter().map(|one| one.id).collect();
    assert_eq!(ids.len(), 1, "the same event has the same id");

    // Nothing more is sent of it; other streams go on.
    fixture.engine.clock.pass(3_600_000);
    fixture.due().await;
    fixture.hooks.answer("bad", [super::kit::status(200, None)]);
    let other = fixture.run().await;
    fixture.relay().await;
    assert_eq!(fixture.hooks.taken("bad", other.as_str()).len(), 1);
    assert!(fixture.hooks.taken("bad", id.as_str()).is_empty());

    let answer = fixture.redeliver(&hook, None).await;
    assert_eq!((answer.redelivered, answer.delivered, answer.more), (1, 1, false));
    assert_eq!(fixture.hooks.taken("bad", id.as_str()), [7]);
    let [cursors, due, _] = fixture.stored();
    assert!(cursors.is_empty() && due.is_empty(), "{cursors:?} {due:?}");
    assert_eq!(fixture.redeliver(&hook, None).await.redelivered, 0, "it is none any more");
}

#[tokio::test]
async fn a_dead_letter_that_nobody_wants_is_forgotten() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("gone", &[END]).await;
    fixture.hooks.answer("gone", [status(410, None)]);
    fixture.run().await;
    fixture.relay().await;
    assert_eq!(fixture.hooks.received("gone").len(), 1);
    assert_eq!(fixture.list().await[0].dead, 1, "410 is a dead letter at once");
    fixture.engine.clock.pass(DEAD_LETTER_MS - 1_000);
    fixture.due().await;
    assert_eq!(fixture.list().await[0].dead, 1);
    fixture.engine.clock.pass(1_000);
    fixture.due().await;
    let [cursors, due, _] = fixture.stored();
    assert!(cursors.is_empty() && due.is_empty(), "{cursors:?} {due:?}");
}

#[tokio::test]
async fn who_asks_for_time_gets_it() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("busy", &[END]).await;
    fixture.hooks.answer("busy", [status(429, Some(120)), status(200, None)]);
    let id = fixture.run().await;
    fixture.relay().await;
    let other = fixture.run().await;
    fixture.relay().await;
    assert_eq!(fixture.hooks.received("busy").len(), 1, "it is left alone");
    fixture.engine.clock.pass(119_000);
    fixture.due().await;
    assert_eq!(fixture.hooks.received("busy").len(), 1, "it is left alone");
    fixture.engine.clock.pass(2_000);
    fixture.due().await;
    for id in [id, other] {
        assert_eq!(fixture.hooks.taken("busy", id.as_str()), [7]);
    }
}

#[tokio::test]
async fn each_stream_comes_in_its_order_whatever_fails() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("flaky", &[]).await;
    let bad = || status(503, None);
    let good = || status(200, None);
    fixture.hooks.answer("flaky", [good(), bad(), bad(), good(), bad(), good()]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = fixture.submit().await;
        fixture.relay().await;
        fixture.engine.drive(&id).await;
        fixture.relay().await;
        ids.push(id);
    }
    for _ in 0..100 {
        if fixture.wait().await.is_none() {
            break;
        }
        fixture.due().await;
    }
    for id in ids {
        let taken = fixture.hooks.taken("flaky", id.as_str());
        assert_eq!(taken, (1..=7).collect::<Vec<_>>());
    }
    assert!(fixture.stored()[0].is_empty());
}

#[tokio::test]
async fn what_comes_later_waits_behind_what_failed() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("bad", &[]).await;
    let id = fixture.submit().await;
    fixture.hooks.refuse(id.as_str());
    fixture.relay().await;
    let calls = || {
        let received = fixture.hooks.received("bad").into_iter();
        received.filter(|one| one.subject == id.as_str()).count()
    };
    assert_eq!(calls(), 1);
    fixture.engine.drive(&id).await;
    fixture.relay().await;
    assert_eq!(calls(), 1, "what comes later is not called out of its turn");
    let status = &fixture.list().await[0];
    assert_eq!((status.waiting, status.dead), (1, 0));
}

// Whoever delivers may end at any moment.
#[tokio::test]
async fn a_restart_in_the_middle_loses_nothing_and_keeps_the_order() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("slow", &[]).await;
    let id = fixture.run().await;
    let cut = |work| tokio::time::timeout(Duration::from_millis(50), work);
    // While it delivers what is new.
    fixture.hooks.silence("slow", true);
    let ended: Result<(), _> =
        cut(Box::pin(fixture.relay()) as futures_util::future::BoxFuture<'_, ()>).await;
    assert!(ended.is_err());
    assert!(fixture.stored()[0].is_empty(), "the outbox has it still");
    fixture.hooks.silence("slow", false);
    fixture.hooks.answer("slow", [status(200, None), status(500, None), status(200, None)]);
    fixture.relay().await;
    // While it delivers what is due.
    fixture.wait().await;
    fixture.hooks.silence("slow", true);
    assert!(cut(Box::pin(fixture.due())).await.is_err());
    assert!(!fixture.stored()[0].is_empty());
    fixture.hooks.silence("slow", false);
    fixture.engine.clock.pass(60_000);
    fixture.due().await;
    assert_eq!(fixture.hooks.taken("slow", id.as_str()), (1..=7).collect::<Vec<_>>());
    assert!(fixture.stored()[0].is_empty());
}
