//! The second factor of who decides by a link, and its time.

use super::kit::{ADA, PeopleFixture, fields};
use contracts::{
    Code,
    approval::{Decision, OverrideApproval, Vote, VoteApprovals},
    directory::{OidcIdentity, Person, PutPerson},
    limits::{SECOND_FACTOR_LIFE_MS, SIGN_IN_FLOW_LIFE_MS},
    sign_in::{SecondFactor, SetSignIn, SignInRules},
};
use countersign_it::{
    cookie,
    fixture::{ISSUER, PUBLIC_URL},
};
use engine::{Answer, Arrived, Caller, Departure, Returned};

async fn fixture() -> PeopleFixture {
    let fixture = PeopleFixture::new().await;
    let access = &fixture.engine.engine.access;
    let oidc = Some(OidcIdentity { issuer: ISSUER.into(), subject: "sub-ada".into() });
    let person = Person {
        id: "ada".into(),
        name: None,
        mail: Some(ADA.into()),
        slack: None,
        oidc,
        aliases: Default::default(),
        digest: false,
        delegate: None,
    };
    access.put_person(&fixture.root, PutPerson { person, reason: None }).await.unwrap();
    let rules = SignInRules { second_factor: SecondFactor::HighRisk };
    access.set_sign_in(&fixture.root, SetSignIn { rules, reason: None }).await.unwrap();
    fixture
}

// What the provider leads back with, in the browser that left.
fn back(departure: &Departure) -> Returned {
    let state = departure.url.split_once("state=").unwrap().1.to_owned();
    let (token, code) = (Some(departure.token.clone()), Some("sub-ada".to_owned()));
    Returned { token, state: Some(state), code, error: None }
}

fn token(arrived: Answer<Arrived>) -> String {
    match arrived.unwrap() {
        Arrived::Confirmed { token, .. } => token,
        Arrived::SignedIn { .. } => panic!("nobody asked for a session"),
    }
}

#[tokio::test]
async fn a_link_leads_to_the_provider_and_back_to_its_form() {
    let fixture = fixture().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let page = fixture.get(&link).await;
    assert!(page.text.contains("Confirm that it is you"), "{}", page.text);
    assert!(!page.text.contains("name=\"nonce\""), "nothing to decide before");
    let engine = &fixture.engine.engine;
    let opened = engine.links.open(&page.field("link")).await.unwrap().unwrap();
    let about = (id.clone(), opened.claims().approval_id.clone());
    let departure = engine.sign_ins.begin_second_factor(opened.caller(), about, None).await;
    let token = token(engine.sign_ins.finish(back(&departure.unwrap())).await);
    let caller = Caller { second_factor: Some(token.clone()), ..opened.caller().clone() };
    let page =
        fixture.get_with(&link, &format!("{}={token}", cookie("second-factor", PUBLIC_URL))).await;
    assert!(page.text.contains("name=\"nonce\""), "{}", page.text);
    // Another browser has the link, and not the cookie.
    let answer = fixture.post(&link, &fields(&page, "approve", "")).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains("needs a second factor"), "{}", answer.text);
    let vote = Vote {
        execution_id: id.clone(),
        approval_id: opened.claims().approval_id.clone(),
        view_digest: page.field("view").parse().unwrap(),
        decision: Decision::Approve,
        reason: None,
    };
    engine.approvals.vote(&caller, VoteApprovals { approvals: vec![vote] }).await.unwrap();
    assert_eq!(fixture.count(&id, "approval.granted").await, 1);
}

/// Right: refused at the very moment at which its time is over.
#[tokio::test]
async fn attack_a_second_factor_that_is_late_or_of_another_browser() {
    let fixture = fixture().await;
    let (id, approval) = fixture.ask().await;
    let engine = &fixture.engine.engine;
    let ada = engine::actor(contracts::event::ActorKind::Human, "ada");
    let ada = Caller { actor: ada, ..fixture.root.clone() };
    let about = || (id.clone(), approval.clone());
    let begin = || engine.sign_ins.begin_second_factor(&ada, about(), None);
    // Who comes back too late, or to another browser.
    let departure = begin().await.unwrap();
    let other = begin().await.unwrap();
    let swapped = Returned { token: Some(other.token.clone()), ..back(&departure) };
    let none = Returned { token: None, ..back(&departure) };
    for returned in [swapped, none] {
        let refused = engine.sign_ins.finish(returned).await.err().unwrap();
        assert_eq!(refused.code, Code::Unauthenticated);
    }
    fixture.engine.clock.pass(SIGN_IN_FLOW_LIFE_MS);
    let refused = engine.sign_ins.finish(back(&departure)).await.err().unwrap();
    assert_eq!(refused.code, Code::Unauthenticated);
    assert!(refused.detail.contains("too long"), "{}", refused.detail);
    // Who decides too late.
    let departure = begin().await.unwrap();
    let token = token(engine.sign_ins.finish(back(&departure)).await);
    let with = Caller { second_factor: Some(token), ..ada.clone() };
    let (workspace, execution) = (&fixture.root.workspace, &id);
    let loaded = engine.store().load(workspace, execution).await.unwrap();
    let view = loaded.state.approvals.last().unwrap().view.clone();
    let vote = || {
        let vote = Vote {
            execution_id: id.clone(),
            approval_id: approval.clone(),
            view_digest: view.clone(),
            decision: Decision::Approve,
            reason: None,
        };
        VoteApprovals { approvals: vec![vote] }
    };
    fixture.engine.clock.pass(SECOND_FACTOR_LIFE_MS);
    let refused = engine.approvals.vote(&with, vote()).await.unwrap_err();
    assert_eq!(refused.code, Code::SecondFactorRequired);
    fixture.engine.clock.pass(-1);
    engine.approvals.vote(&with, vote()).await.unwrap();
}

/// The form that approves alone is sent twice: one after the other, and both at once. Right: it is
/// approved once, with one second factor, and both are told so.
#[tokio::test]
async fn attack_glass_is_broken_twice_with_one_second_factor() {
    let fixture = fixture().await;
    let engine = &fixture.engine.engine;
    let ada = engine::actor(contracts::event::ActorKind::Human, "ada");
    let ada = Caller { actor: ada, ..fixture.root.clone() };
    for at_once in [false, true] {
        let (id, approval) = fixture.ask().await;
        let about = (id.clone(), approval.clone());
        let departure = engine.sign_ins.begin_second_factor(&ada, about, None).await.unwrap();
        let second_factor = Some(token(engine.sign_ins.finish(back(&departure)).await));
        let once = Some(format!("once-{id}"));
        let with = Caller { second_factor, idempotency_key: once, ..ada.clone() };
        let loaded = engine.store().load(&fixture.root.workspace, &id).await.unwrap();
        let request = OverrideApproval {
            execution_id: id.clone(),
            approval_id: approval,
            view_digest: loaded.state.approvals.last().unwrap().view.clone(),
            reason: "it burns".into(),
        };
        let press = || engine.approvals.override_request(&with, request.clone());
        let (first, second) = match at_once {
            true => tokio::join!(press(), press()),
            false => (press().await, press().await),
        };
        assert_eq!(first.unwrap(), second.unwrap(), "at once: {at_once}");
        assert_eq!(fixture.count(&id, "approval.granted").await, 1);
    }
}
