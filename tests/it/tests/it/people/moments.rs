//! The moment at which a request expires: a millisecond before, at, and a millisecond after it, by
//! every way in which a person decides; and expiry against a vote.

use super::kit::{ADA, PeopleFixture, fields};
use contracts::{
    Code, ExecutionId,
    approval::{Decision, Vote, VoteApprovals},
    command::ApproveExecution,
    event::ActorKind,
    id::ApprovalId,
};
use cs_core::execution::{Approval, ApprovalStatus};
use engine::{Answer, Caller, actor};

/// Rounds of the race.
const ROUNDS: usize = 40;

async fn asked(fixture: &PeopleFixture, id: &ExecutionId, approval: &ApprovalId) -> Approval {
    let loaded = fixture.engine.engine.store().load(&fixture.root.workspace, id).await.unwrap();
    loaded.state.approvals.iter().find(|one| one.id == *approval).unwrap().clone()
}

fn ada(fixture: &PeopleFixture) -> Caller {
    Caller { actor: actor(ActorKind::Human, "ada"), ..fixture.root.clone() }
}

async fn vote(fixture: &PeopleFixture, id: &ExecutionId, asked: &Approval) -> Answer<()> {
    let vote = Vote {
        execution_id: id.clone(),
        approval_id: asked.id.clone(),
        view_digest: asked.view.clone(),
        decision: Decision::Approve,
        reason: None,
    };
    let votes = VoteApprovals { approvals: vec![vote] };
    fixture.engine.engine.approvals.vote(&ada(fixture), votes).await.map(|_| ())
}

// A fixture whose clock is so far from the end of a request, and the request.
async fn near(offset_ms: i64) -> (PeopleFixture, ExecutionId, Approval, String) {
    let fixture = PeopleFixture::new().await;
    let (id, approval) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let asked = asked(&fixture, &id, &approval).await;
    let left = asked.expires_at.ms() - fixture.engine.engine.now().ms();
    fixture.engine.clock.pass(left + offset_ms);
    (fixture, id, asked, link)
}

/// A vote, an approval and the link of a mail, at the instant of expiry. Right: a millisecond
/// before it counts; at it and after it, it does not, whatever else has happened by then.
#[tokio::test]
async fn attack_an_approval_at_the_instant_of_expiry() {
    for (offset_ms, counts) in [(-1, true), (0, false), (1, false)] {
        let (fixture, id, asked, _) = near(offset_ms).await;
        let voted = vote(&fixture, &id, &asked).await.map_err(|refused| refused.code);
        let wanted = if counts { Ok(()) } else { Err(Code::ApprovalExpired) };
        assert_eq!(voted, wanted, "vote at {offset_ms} ms");
        assert_eq!(fixture.count(&id, "approval.granted").await, usize::from(counts));
        fixture.engine.drive(&id).await;
        let started = fixture.count(&id, "execution.step.started").await;
        assert_eq!(started, usize::from(counts), "at {offset_ms} ms");
        assert_eq!(fixture.count(&id, "approval.expired").await, usize::from(!counts));

        let (fixture, id, asked, _) = near(offset_ms).await;
        let request = ApproveExecution {
            execution_id: id.clone(),
            step_id: None,
            binding_digest: asked.binding.clone(),
            view_digest: Some(asked.view.clone()),
            note: None,
        };
        let approved = fixture.engine.engine.approvals.approve(&ada(&fixture), request).await;
        assert_eq!(approved.map(|_| ()).map_err(|refused| refused.code), wanted, "{offset_ms} ms");

        // A link ends with its request: the page was opened before.
        let (fixture, id, asked, link) = near(-1_000).await;
        let form = fields(&fixture.get(&link).await, "approve", "");
        let left = asked.expires_at.ms() - fixture.engine.engine.now().ms();
        fixture.engine.clock.pass(left + offset_ms);
        let sent = fixture.post(&link, &form).await;
        assert_eq!(sent.status, if counts { 303 } else { 410 }, "{offset_ms} ms: {}", sent.text);
        assert_eq!(fixture.count(&id, "approval.granted").await, usize::from(counts));
    }
}

/// A vote that comes in time races what expires the request. Right: it is granted or it has
/// expired, never both, and the step begins only if it is granted.
#[tokio::test(flavor = "multi_thread")]
async fn attack_expiry_races_a_vote() {
    let (mut granted, mut expired) = (0, 0);
    for round in 0..ROUNDS {
        let (fixture, id, asked, _) = near(-1).await;
        let fixture = std::sync::Arc::new(fixture);
        let (voter, own, request) = (fixture.clone(), id.clone(), asked.clone());
        let votes = tokio::spawn(async move {
            // Now this one, now the other is first.
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            vote(&voter, &own, &request).await.is_ok()
        });
        let (clock, own) = (fixture.clone(), id.clone());
        let expires = tokio::spawn(async move {
            clock.engine.clock.pass(1);
            clock.engine.drive(&own).await;
        });
        let voted = votes.await.unwrap();
        expires.await.unwrap();
        fixture.engine.drive(&id).await;
        let count = async |kind| fixture.count(&id, kind).await;
        let (yes, no) = (count("approval.granted").await, count("approval.expired").await);
        assert_eq!((yes + no, yes), (1, usize::from(voted)), "round {round}");
        // The example skill's signature ends then, too: what is granted may be held by that.
        assert!(count("execution.step.started").await <= yes, "round {round}");
        let state = self::asked(&fixture, &id, &asked.id).await.state;
        let wanted = if voted { ApprovalStatus::Granted } else { ApprovalStatus::Expired };
        assert_eq!(state, wanted, "round {round}");
        granted += yes;
        expired += no;
    }
    assert_eq!(granted + expired, ROUNDS);
}
