//! Links of mails, opened on a phone: each explains itself, also when it is of no use any more.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn links_of_mails_explain_themselves_on_a_phone() {
    browser_or_return!();
    let world = World::start().await;
    world.person("ann", "finance").await;
    world.person("sam", "security").await;
    world.activate(TWO_GROUPS).await;
    let asked = world.submit("Pay Ada 420 euros back", known_refund(42_000)).await;
    let ann = world.link("ann@example.com").await;
    let sam = world.link("sam@example.com").await;
    let browser = Browser::start(&world.node.url()).await;
    browser.turn_to(Screen::Phone).await;
    browser.open(&ann).await;
    browser.says("Approve or reject").await;
    browser.says("420.00 EUR").await;
    browser.look("link").await;
    browser.turn_to(Screen::Phone).await;
    browser.press("button[type=submit]:enabled").await;
    browser.says("You approved").await;
    browser.says("It still waits for others.").await;
    browser.look("link-used").await;
    assert_eq!(world.settled(&asked.execution_id).await.status, ExecutionStatus::Blocked);
    // A link of hers whose time is over.
    browser.open(&world.expired(&ann).await).await;
    browser.says("The link's time is over.").await;
    browser.says("sign in to the console and decide there").await;
    browser.was_refused(410).await;
    browser.look("link-expired").await;
    // The links of the other are ended, and hers work on.
    let revoke = RevokeLinks { person_id: "sam".into(), reason: Some("a lost phone".into()) };
    world.approver.call(&op::LINK_REVOKE, &revoke).await.unwrap();
    browser.open(&sam).await;
    browser.says("The link was revoked.").await;
    browser.was_refused(410).await;
    browser.look("link-revoked").await;
    browser.open(&ann).await;
    browser.says("You approved").await;
    assert!(world.tools.effects("payments/refund.create").is_empty());
    browser.quit().await;
}
