//! The story of the documentation: a refund that is opened from the mail on a phone, approved by
//! two groups and traced; then one of the same kind under a mandate, without a person. With
//! `PICTURES=docs` its pictures are written into the documentation.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_by_two_groups_from_the_mail_and_one_under_a_mandate() {
    browser_or_return!();
    let world = World::start().await;
    world.person("ann", "finance").await;
    world.person("sam", "security").await;
    world.activate(TWO_GROUPS).await;
    let browser = Browser::start(&world.node.url()).await;
    sign_in(&world, &browser, &world.identity.approver_key).await;
    let asked = world.submit("Pay Ada 420 euros back", known_refund(42_000)).await;
    let own = world.page(&format!("/console/executions/{}", asked.execution_id));
    let links = [world.link("ann@example.com").await, world.link("sam@example.com").await];
    browser.open(&world.page("/console/inbox?mine=false")).await;
    browser.says("1 of finance, 1 of security").await;
    browser.window("inbox", Screen::Page).await;
    for (index, link) in links.iter().enumerate() {
        browser.turn_to(Screen::Phone).await;
        browser.open(link).await;
        browser.says("420.00 EUR").await;
        if index == 0 {
            browser.window("mail-link", Screen::Phone).await;
        }
        browser.press("button[type=submit]:enabled").await;
        browser.says("You approved").await;
    }
    browser.window("mail-link-approved", Screen::Phone).await;
    let done = world.settled(&asked.execution_id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    browser.open(&own).await;
    browser.says("completed").await;
    browser.window("execution", Screen::Page).await;
    browser.open(&format!("{own}?show=trace")).await;
    browser.says("sealed: nothing can be added").await;
    browser.says("verified").await;
    browser.window("trace", Screen::Page).await;
    under_a_mandate(&world, &browser).await;
    browser.quit().await;
}

async fn under_a_mandate(world: &World, browser: &Browser) {
    browser.open(&world.page("/console/mandates")).await;
    for (field, text) in [
        ("operation", "payments/refund.create"),
        ("when", "context.input has amount && context.input.amount <= 5000"),
        ("amount", "20000"),
        ("currency", "EUR"),
        ("reason", "small refunds"),
    ] {
        browser.find(&format!("#{field}")).await.send_keys(text).await.unwrap();
    }
    browser.press("main form button.primary").await;
    browser.says("The mandate is in force.").await;
    let small = world.submit("Pay Ada 42 euros back", known_refund(4_200)).await;
    assert_eq!(small.status, ExecutionStatus::Completed);
    assert!(small.approvals.is_empty(), "nobody was asked");
    // What is larger than the mandate says asks people still.
    let large = world.submit("Pay Ada 60 euros back", known_refund(6_000)).await;
    assert_eq!(large.status, ExecutionStatus::Blocked);
    browser.open(&world.page("/console/mandates")).await;
    browser.says("1 of 10").await;
    browser.look("mandates-used").await;
    browser.window("mandate", Screen::Page).await;
    let own = world.page(&format!("/console/executions/{}", small.execution_id));
    browser.open(&own).await;
    browser.says("mandate").await;
    browser.look("execution-under-a-mandate").await;
    assert_eq!(world.tools.effects("payments/refund.create").len(), 2);
}
