//! A target that is down is called by probes only, and takes nothing from others.

use super::kit::{DeliveryFixture, END, status, unreached};
use contracts::subscription::TargetState;

#[tokio::test]
async fn a_target_that_is_down_is_probed_and_served_when_it_is_back() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("down", &[END]).await;
    fixture.hooks.answer("down", [unreached()]);
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(fixture.run().await);
        fixture.relay().await;
    }
    assert_eq!(fixture.hooks.received("down").len(), 1, "not for every stream");
    let state = &fixture.list().await[0];
    assert_eq!((state.state, state.waiting), (TargetState::Down, 20));
    let failure = state.last_failure.clone().unwrap();
    assert!(failure.message.contains("connection refused"), "{failure:?}");

    // Ten minutes, looked at each second.
    for _ in 0..600 {
        fixture.engine.clock.pass(1_000);
        fixture.due().await;
    }
    let calls = fixture.hooks.received("down").len();
    assert!((30..=70).contains(&calls), "{calls} calls");

    fixture.hooks.answer("down", [status(200, None)]);
    fixture.engine.clock.pass(18_000);
    fixture.due().await;
    for id in &ids {
        assert_eq!(fixture.hooks.taken("down", id.as_str()), [7], "whenever it was due");
    }
    assert_eq!(fixture.list().await[0].state, TargetState::Working);
    let [cursors, due, _] = fixture.stored();
    assert!(cursors.is_empty() && due.is_empty(), "{cursors:?} {due:?}");
}

#[tokio::test]
async fn one_stream_that_fails_delays_no_other_to_the_same_target() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("choosy", &[END]).await;
    let bad = fixture.run().await;
    fixture.hooks.refuse(bad.as_str());
    fixture.relay().await;
    for _ in 0..10 {
        fixture.wait().await;
        fixture.due().await;
        let other = fixture.run().await;
        fixture.relay().await;
        assert_eq!(fixture.hooks.taken("choosy", other.as_str()), [7], "at once");
    }
    assert!(fixture.hooks.received("choosy").len() > 15);
}

#[tokio::test]
async fn a_target_that_is_down_delays_no_other_target() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("down", &[]).await;
    fixture.subscribe("fine", &[]).await;
    fixture.hooks.answer("down", [unreached()]);
    for _ in 0..5 {
        let id = fixture.run().await;
        fixture.relay().await;
        assert_eq!(fixture.hooks.taken("fine", id.as_str()), (1..=7).collect::<Vec<_>>());
    }
    let list = fixture.list().await;
    assert_eq!((list[1].state, list[1].waiting), (TargetState::Working, 0));
}

#[tokio::test]
async fn streams_of_a_target_that_stays_down_become_dead_letters() {
    let fixture = DeliveryFixture::new().await;
    let hook = fixture.subscribe("down", &[END]).await;
    fixture.hooks.answer("down", [unreached()]);
    for _ in 0..3 {
        fixture.run().await;
        fixture.relay().await;
    }
    for _ in 0..40 {
        fixture.engine.clock.pass(3_600_000);
        fixture.due().await;
    }
    let status = &fixture.list().await[0];
    assert_eq!((status.waiting, status.dead), (0, 3));
    fixture.hooks.answer("down", [super::kit::status(200, None)]);
    let one = status.dead_letters[1].subject.clone();
    let answer = fixture.redeliver(&hook, Some(&one)).await;
    assert_eq!((answer.redelivered, answer.delivered), (1, 1), "one stream alone");
    assert_eq!(fixture.hooks.taken("down", &one), [7]);
    assert_eq!(fixture.redeliver(&hook, None).await.delivered, 2, "and all the others");
}
