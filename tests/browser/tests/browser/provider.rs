//! Who signs in by an identity provider, with groups from its claims, and once more to decide.

use contracts::{
    directory::{Group, OidcIdentity, Person, PutGroup, PutPerson},
    operation as op,
    query::ExecutionStatus,
    sign_in::{SecondFactor, SetSignIn, SignInRules},
};
use countersign_browser_tests::{Browser, World, installed, refund};
use countersign_it::openid::{Account, OpenIdProvider};

/// Refunds are decided by a group that has its members from the provider.
const FINANCE: &str = r#"
@id("refunds") @reason("finance looks at refunds") @approvers("finance:1")
forbid (principal, action == Action::"payments/refund.create", resource)
when { context.mode == "autonomous" };
"#;

// Ann is a person, and finance a group by a claim; decisions of high risk need a second factor.
async fn people(world: &World, provider: &OpenIdProvider) {
    let issuer = provider.issuer().to_owned();
    let person = Person {
        id: "ann".into(),
        name: Some("Ann Smith".into()),
        mail: None,
        slack: None,
        oidc: Some(OidcIdentity { issuer, subject: "sub-ann".into() }),
        aliases: Default::default(),
        digest: false,
        delegate: None,
    };
    world.approver.call(&op::PERSON_PUT, &PutPerson { person, reason: None }).await.unwrap();
    let group = Group {
        name: "finance".into(),
        members: Default::default(),
        claim: Some("team-finance".into()),
        escalate: None,
        remind_after_seconds: None,
    };
    world.approver.call(&op::GROUP_PUT, &PutGroup { group, reason: None }).await.unwrap();
    let rules = SignInRules { second_factor: SecondFactor::HighRisk };
    world.approver.call(&op::SIGN_IN_SET, &SetSignIn { rules, reason: None }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_by_the_provider_and_approves_with_a_second_factor() {
    if !installed() {
        println!("skipped: chromium and chromium-driver are not installed");
        return;
    }
    let provider = OpenIdProvider::start().await;
    let world = World::with_identity(provider.options()).await;
    people(&world, &provider).await;
    provider.account(Account::new("sub-ann", &["team-finance"]));
    let mut browser = Browser::start(&world.node.url()).await;
    browser.is_led_to(provider.issuer());

    browser.open(&world.page("/console/sign-in?to=/console/inbox")).await;
    browser.look("sign-in-provider").await;
    browser.scheme("dark").await;
    browser.look("sign-in-provider-dark").await;
    browser.press("form[action$='/sign-in/provider'] button").await;
    browser.press("#go").await;
    // The page of the way back goes on by itself.
    browser.says("Inbox").await;
    browser.says("signed in as ann").await;

    world.activate(FINANCE).await;
    let asked = world.submit("Refund Ada 42 euros", refund(4_200)).await;
    let own = world.page(&format!("/console/executions/{}", asked.execution_id));
    browser.open(&own).await;
    browser.says("sign in once more before you decide").await;
    browser.look("second-factor-dark").await;
    browser.scheme("light").await;
    browser.look("second-factor").await;
    while world.settled(&asked.execution_id).await.status == ExecutionStatus::Blocked {
        browser.open(&own).await;
        browser.press("form[action$='/second-factor'] button").await;
        browser.press("#go").await;
        browser.press("form[action$='/approve'] button.primary").await;
        browser.says("Approved.").await;
    }
    let done = world.settled(&asked.execution_id).await;
    assert_eq!(done.status, ExecutionStatus::Completed);
    browser.open(&own).await;
    browser.says("second_factor").await;
    browser.look("second-factor-decided").await;
    browser.quit().await;
}
