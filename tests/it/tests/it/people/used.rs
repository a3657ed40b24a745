//! What a link shows and does once its person has decided.

use super::kit::{ADA, BOB, PeopleFixture, fields};
use contracts::{approval::WithdrawVote, event::ActorKind};
use engine::Caller;

/// Approved, Back, then rejected, or with another note. Right: nothing is changed, and it says what
/// was decided and when.
#[tokio::test]
async fn another_form_after_the_decision_says_what_was_decided() {
    for (first, said) in [("approve", "You approved at"), ("reject", "You rejected at")] {
        let fixture = PeopleFixture::new().await;
        let (id, _) = fixture.ask().await;
        fixture.relay().await;
        let link = fixture.link(ADA);
        let page = fixture.get(&link).await;
        assert_eq!(fixture.post(&link, &fields(&page, first, "so be it")).await.status, 303);
        for (decision, note) in [("reject", "on reflection"), ("approve", "another note")] {
            let answer = fixture.post(&link, &fields(&page, decision, note)).await;
            assert_eq!(answer.status, 409, "{}", answer.text);
            assert!(answer.text.contains(said), "{}", answer.text);
            assert!(answer.text.contains("othing was changed"), "{}", answer.text);
            assert!(!answer.text.contains("Idempotency"), "{}", answer.text);
        }
        assert_eq!(fixture.count(&id, "approval.voted").await, 1);
    }
}

/// What the page says after the decision: who asked, what was decided on, how the plan stands, and
/// no time by which to decide.
#[tokio::test]
async fn the_page_after_the_decision_shows_what_was_decided() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let (link, other) = (fixture.link(ADA), fixture.link(BOB));
    let page = fixture.get(&link).await;
    assert!(page.text.contains("<dt>ends</dt>"), "{}", page.text);
    assert_eq!(fixture.post(&link, &fields(&page, "approve", "")).await.status, 303);
    fixture.engine.drive(&id).await;
    for link in [&link, &other] {
        let after = fixture.get(link).await.text;
        let agent = &fixture.engine.agent.actor.id;
        assert!(after.contains(&format!("<b class=\"foreign\">{agent}</b> asks")), "{after}");
        assert!(after.contains("What was decided on") && after.contains("42.00 EUR"), "{after}");
        assert!(!after.contains("<dt>ends</dt>"), "{after}");
        let picture = after.split("<svg").nth(1).unwrap().split("</svg>").next().unwrap();
        assert!(!picture.contains("pending"), "{picture}");
    }
}

/// A vote by a link is taken back, and the link used once more. Right: a link decides once.
#[tokio::test]
async fn attack_a_link_after_its_vote_was_withdrawn() {
    let fixture = PeopleFixture::new().await;
    let (id, approval) = fixture.ask().await;
    fixture.ask_two(&id);
    fixture.relay().await;
    let link = fixture.link(ADA);
    let form = fields(&fixture.get(&link).await, "approve", "");
    assert_eq!(fixture.post(&link, &form).await.status, 303);
    let actor = engine::actor(ActorKind::Human, "ada");
    let ada = Caller { actor, ..fixture.root.clone() };
    let request =
        WithdrawVote { execution_id: id.clone(), approval_id: approval.clone(), reason: None };
    fixture.engine.engine.approvals.withdraw(&ada, request).await.unwrap();
    let page = fixture.get(&link).await;
    assert!(!page.text.contains("name=\"nonce\""), "{}", page.text);
    assert!(page.text.contains("taken back since"), "{}", page.text);
    for note in ["", "again"] {
        let mut again = form.clone();
        again[3].1 = note.to_owned();
        let refused = fixture.post(&link, &again).await;
        assert_eq!(refused.status, 409, "{}", refused.text);
    }
    assert_eq!(fixture.count(&id, "approval.voted").await, 1);
}
