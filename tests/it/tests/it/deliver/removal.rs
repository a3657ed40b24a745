//! What is left of a subscription that ended, and what a new one gets.

use super::kit::{DeliveryFixture, END, status, unreached};

#[tokio::test]
async fn a_removed_subscription_leaves_nothing_of_it() {
    let fixture = DeliveryFixture::new().await;
    let (gone, down) = (fixture.subscribe("gone", &[]).await, fixture.subscribe("down", &[]).await);
    fixture.hooks.answer("gone", [status(410, None)]);
    fixture.hooks.answer("down", [unreached()]);
    for _ in 0..60 {
        fixture.run().await;
        fixture.relay().await;
    }
    let list = fixture.list().await;
    assert!(list[0].dead > 0 && list[0].dead + list[0].waiting > 59, "{list:?}");
    assert!(list[1].waiting > 59, "{list:?}");
    fixture.remove(&gone).await;
    fixture.remove(&down).await;
    // Also what was published a moment before.
    fixture.relay().await;
    fixture.due().await;
    assert_eq!(fixture.stored(), [const { Vec::<String>::new() }; 3]);
}

#[tokio::test]
async fn a_new_subscription_begins_with_what_comes_after_it() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("first", &[]).await;
    let before = fixture.run().await;
    let open = fixture.submit().await;
    fixture.engine.clock.pass(10);
    fixture.subscribe("late", &[]).await;
    fixture.engine.clock.pass(10);
    fixture.engine.drive(&open).await;
    fixture.relay().await;
    assert!(fixture.hooks.taken("late", before.as_str()).is_empty());
    let (first, late) =
        (fixture.hooks.taken("first", open.as_str()), fixture.hooks.taken("late", open.as_str()));
    assert_eq!(first, (1..=7).collect::<Vec<_>>());
    assert!(!late.is_empty() && late[0] > 1 && first.ends_with(&late), "{late:?}");
}

#[tokio::test]
async fn what_is_not_wanted_counts_as_sent() {
    let fixture = DeliveryFixture::new().await;
    fixture.subscribe("end", &[END]).await;
    fixture.hooks.answer("end", [unreached()]);
    let open = fixture.submit().await;
    fixture.relay().await;
    assert!(fixture.hooks.received("end").is_empty() && fixture.stored()[0].is_empty());
    fixture.engine.drive(&open).await;
    fixture.relay().await;
    assert_eq!(fixture.stored()[0].len(), 1);
}
