//! Several requests, decided on together in the inbox.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn several_are_decided_on_together_in_the_inbox() {
    browser_or_return!();
    let world = World::start().await;
    let mut asked = Vec::new();
    for amount in [4200, 900, 1500] {
        asked.push(world.submit(&format!("Refund {amount} cents"), known_refund(amount)).await);
    }
    let browser = Browser::start(&world.node.url()).await;
    sign_in(&world, &browser, &world.identity.approver_key).await;
    browser.open(&world.page("/console/inbox")).await;
    browser.says("Tick up to 8").await;
    let boxes = browser.driver.find_all(By::Css("input.pick")).await.unwrap();
    assert_eq!(boxes.len(), 3);
    // Those of 15 and 42 euros; the third stays.
    for text in ["Refund 1500 cents", "Refund 4200 cents"] {
        browser.press(&format!("input.pick[aria-label*='{text}']")).await;
    }
    browser.look("inbox-ticked").await;
    browser.press(".pager button[type=submit]").await;
    browser.says("Decide on these 2").await;
    let page = browser.text().await;
    assert!(page.contains("42.00 EUR") && page.contains("15.00 EUR"), "{page}");
    assert!(!page.contains("9.00 EUR"), "{page}");
    browser.look("several").await;
    // Somebody else decides on one of the two meanwhile: neither is decided.
    let reject = RejectExecution {
        execution_id: asked[2].execution_id.clone(),
        step_id: None,
        reason: "no such order".into(),
        view_digest: None,
    };
    world.approver.call(&op::EXECUTION_REJECT, &reject).await.unwrap();
    // Enter in a field approves nothing; without a reason nothing is rejected either.
    let note = browser.find("input[id=note]").await;
    note.send_keys("no order of ours" + Key::Enter).await.unwrap();
    browser.says("Decide on these 2").await;
    assert_eq!(world.settled(&asked[0].execution_id).await.status, ExecutionStatus::Blocked);
    note.clear().await.unwrap();
    browser.press(".decide button.primary").await;
    browser.says("Nothing was decided").await;
    browser.says("in the way").await;
    browser.was_refused(409).await;
    assert_eq!(world.settled(&asked[0].execution_id).await.status, ExecutionStatus::Blocked);
    browser.look("several-refused").await;
    browser.press("a.button.primary").await;
    browser.says("Decide on this one").await;
    browser.find("input[id=note]").await.send_keys("it fits").await.unwrap();
    browser.press(".decide button.primary").await;
    browser.says("Your decision on all of them is on record.").await;
    let done = world.settled(&asked[0].execution_id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    assert_eq!(world.settled(&asked[1].execution_id).await.status, ExecutionStatus::Blocked);
    assert_eq!(world.tools.effects("payments/refund.create").len(), 1);
    browser.quit().await;
}
