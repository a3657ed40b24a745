//! The pages, in a real browser: what people do, and every page looked at.
#![expect(clippy::unwrap_used, reason = "a test that finds what it does not expect ends there")]

use contracts::{
    command::RejectExecution, link::RevokeLinks, operation as op, query::ExecutionStatus,
};
use countersign_browser_tests::{Browser, Screen, World, installed, known_refund, lookup, refund};
use thirtyfour::{By, Key};

/// Refunds above fifty euros are decided by two groups; smaller ones may have a mandate.
const TWO_GROUPS: &str = r#"
@id("large-refunds") @reason("two groups look at large refunds")
@approvers("finance:1,security:1")
forbid (principal, action == Action::"payments/refund.create", resource)
when { context.mode == "autonomous" && context.input has amount && context.input.amount > 5000 };
@id("small-refunds") @reason("small refunds") @mandate("allowed")
permit (principal, action == Action::"payments/refund.create", resource)
when { context.mode == "assist" && context.input has amount && context.input.amount <= 5000 };
"#;

// No browser: said aloud. CI installs one.
macro_rules! browser_or_return {
    () => {
        if !installed() {
            println!("skipped: chromium and chromium-driver are not installed");
            return;
        }
    };
}

#[path = "browser/links.rs"]
mod links;
#[path = "browser/provider.rs"]
mod provider;
#[path = "browser/several.rs"]
mod several;
#[path = "browser/walk.rs"]
mod walk;

async fn sign_in(world: &World, browser: &Browser, key: &str) {
    browser.open(&world.page("/console/sign-in")).await;
    browser.find("input[name=key]").await.send_keys(key).await.unwrap();
    browser.press("form button[type=submit]").await;
    browser.says("Overview").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_found_in_the_inbox_approved_and_runs() {
    browser_or_return!();
    let world = World::start().await;
    world.submit("Look Ada and Bob up", lookup()).await;
    let asked = world.submit("Refund Ada 42 euros", refund(4200)).await;
    let own = world.page(&format!("/console/executions/{}", asked.execution_id));
    let browser = Browser::start(&world.node.url()).await;
    browser.open(&world.page("/console/sign-in")).await;
    browser.look("sign-in").await;
    sign_in(&world, &browser, &world.identity.approver_key).await;
    browser.look("overview").await;
    browser.open(&world.page("/console/inbox")).await;
    browser.says("Refund Ada 42 euros").await;
    browser.look("inbox").await;
    browser.open(&own).await;
    browser.says("payments/refund.create").await;
    browser.find("main svg").await;
    browser.look("execution-asks").await;
    browser.press(".decide button.primary").await;
    browser.says("Approved.").await;
    // The refund asks again with what the lookup gave.
    while world.settled(&asked.execution_id).await.status == ExecutionStatus::Blocked {
        browser.open(&own).await;
        browser.press(".decide button.primary").await;
        browser.says("Approved.").await;
    }
    let done = world.settled(&asked.execution_id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    browser.open(&own).await;
    browser.says("completed").await;
    browser.look("execution-completed").await;
    assert!(
        !browser.driver.source().await.unwrap().contains("4111-1111"),
        "a sealed value is shown"
    );
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_rejected_with_a_reason() {
    browser_or_return!();
    let world = World::start().await;
    let asked = world.submit("Refund Ada 42 euros", refund(4200)).await;
    let browser = Browser::start(&world.node.url()).await;
    sign_in(&world, &browser, &world.identity.approver_key).await;
    browser.open(&world.page(&format!("/console/executions/{}", asked.execution_id))).await;
    // Without a reason the browser does not send it.
    browser.press(".decide button.danger").await;
    assert_eq!(world.settled(&asked.execution_id).await.status, ExecutionStatus::Blocked);
    let reason = browser.find(".decide input[name=reason]").await;
    reason.send_keys("no customer of ours <script>alert(1)</script>").await.unwrap();
    browser.press(".decide button.danger").await;
    browser.says("no customer of ours").await;
    let rejected = world.settled(&asked.execution_id).await;
    assert_eq!(rejected.status, ExecutionStatus::Failed);
    assert!(world.tools.effects("payments/refund.create").is_empty());
    browser.look("execution-rejected").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_changed_by_one_person_and_approved_by_another() {
    browser_or_return!();
    let world = World::start().await;
    let (ann, zed) = (world.person("ann", "sales").await, world.person("zed", "finance").await);
    let asked = world.submit("Refund Ada 42 euros", refund(4200)).await;
    let own = world.page(&format!("/console/executions/{}", asked.execution_id));
    let browser = Browser::start(&world.node.url()).await;
    sign_in(&world, &browser, &ann).await;
    browser.open(&own).await;
    browser.press("details[id^=edit] summary").await;
    browser.look("execution-change").await;
    let field = browser.find("details[id^=edit] input[value='4200']").await;
    field.clear().await.unwrap();
    field.send_keys("4100").await.unwrap();
    let reason = browser.find("details[id^=edit] input[name=reason]").await;
    reason.send_keys("one euro is a fee").await.unwrap();
    browser.press("details[id^=edit] button:enabled").await;
    browser.says("The plan is changed. Another person decides on it.").await;
    browser.says("You cannot decide this").await;
    assert_eq!(world.settled(&asked.execution_id).await.status, ExecutionStatus::Blocked);
    browser.quit().await;

    let browser = Browser::start(&world.node.url()).await;
    sign_in(&world, &browser, &zed).await;
    browser.open(&own).await;
    browser.says("4200 → 4100").await;
    browser.says("one euro is a fee").await;
    browser.look("execution-changed").await;
    browser.press(".decide button.primary").await;
    browser.says("Approved.").await;
    while world.settled(&asked.execution_id).await.status == ExecutionStatus::Blocked {
        browser.open(&own).await;
        browser.press(".decide button.primary").await;
        browser.says("Approved.").await;
    }
    let done = world.settled(&asked.execution_id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    browser.quit().await;
}

const PAGES: &[&str] = &[
    "inbox",
    "executions",
    "skills",
    "policies",
    "policies/simulator",
    "budgets",
    "freezes",
    "people",
    "mandates",
    "subscriptions",
    "log",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_looked_at_in_light_and_dark() {
    browser_or_return!();
    let world = World::start().await;
    world.submit("Look Ada and Bob up", lookup()).await;
    world.submit("Refund Ada 42 euros", refund(4200)).await;
    let browser = Browser::start(&world.node.url()).await;
    sign_in(&world, &browser, &world.identity.approver_key).await;
    for page in PAGES {
        browser.open(&world.page(&format!("/console/{page}"))).await;
        browser.find("main h1").await;
        let name = page.replace('/', "-");
        browser.look(&name).await;
        browser.scheme("dark").await;
        browser.look(&format!("{name}-dark")).await;
        browser.scheme("light").await;
    }
    browser.quit().await;
}
