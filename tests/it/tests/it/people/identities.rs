//! Who said by what a person is known: they have no second voice by it, and whose address is
//! replaced is told.

use super::kit::{ADA, BOB, PeopleFixture, fields};
use contracts::{
    Code,
    approval::{Decision, Vote, VoteApprovals},
    directory::{Group, Person, PutPerson, SlackIdentity},
    event::ActorKind,
};
use cs_core::directory::Identity;
use engine::Caller;

const SUE: &str = "sue@example.com";

fn person(id: &str, mail: &str) -> Person {
    serde_json::from_value(serde_json::json!({ "id": id, "mail": mail })).unwrap()
}

fn group(name: &str, member: &str) -> Group {
    let group = serde_json::json!({ "name": name, "members": [member] });
    serde_json::from_value(group).unwrap()
}

fn caller(fixture: &PeopleFixture, id: &str) -> Caller {
    Caller { actor: engine::actor(ActorKind::Human, id), ..fixture.root.clone() }
}

async fn put(fixture: &PeopleFixture, by: &str, person: Person) -> Result<(), contracts::Problem> {
    let request = PutPerson { person, reason: None };
    let by = caller(fixture, by);
    fixture.engine.engine.access.put_person(&by, request).await.map(|_| ())
}

// Finance is Sue, security is Ada; a refund asks for one of each.
async fn two_groups(fixture: &PeopleFixture) {
    fixture.person("sue", Some(SUE)).await;
    fixture.group(group("finance", "sue")).await;
    fixture.group(group("security", "ada")).await;
}

async fn vote(fixture: &PeopleFixture, by: &str, id: &contracts::ExecutionId) -> Result<(), Code> {
    let loaded = fixture.engine.engine.store().load(&fixture.root.workspace, id).await.unwrap();
    let asked = loaded.state.approvals.last().unwrap();
    let vote = Vote {
        execution_id: id.clone(),
        approval_id: asked.id.clone(),
        view_digest: asked.view.clone(),
        decision: Decision::Approve,
        reason: None,
    };
    let votes = VoteApprovals { approvals: vec![vote] };
    let by = caller(fixture, by);
    fixture.engine.engine.approvals.vote(&by, votes).await.map(|_| ()).map_err(|no| no.code)
}

/// Who keeps the directory and approves for one of two groups gives the approver of the other an
/// address of her own, and votes by key and by that person's link, in either order. Right: these
/// are not two voices.
#[tokio::test]
async fn attack_who_gave_a_person_an_address_votes_beside_them() {
    for link_first in [false, true] {
        let fixture = PeopleFixture::new().await;
        two_groups(&fixture).await;
        put(&fixture, "sue", person("ada", "sue+ada@example.com")).await.unwrap();
        fixture.engine.clock.pass(1_000);
        let (id, _) = fixture.ask().await;
        fixture.ask_groups(&id, &["finance", "security"]);
        fixture.relay().await;
        let link = fixture.link("sue+ada@example.com");
        if link_first {
            let form = fields(&fixture.get(&link).await, "approve", "");
            assert_eq!(fixture.post(&link, &form).await.status, 303);
            assert_eq!(vote(&fixture, "sue", &id).await, Err(Code::SelfApproval));
        } else {
            let form = fields(&fixture.get(&link).await, "approve", "");
            vote(&fixture, "sue", &id).await.unwrap();
            let refused = fixture.post(&link, &form).await;
            assert_eq!(refused.status, 403, "{}", refused.text);
            let page = fixture.get(&link).await;
            assert!(page.text.contains("these are not two voices"), "{}", page.text);
            // By a key of her own Ada decides.
            vote(&fixture, "ada", &id).await.unwrap();
        }
        assert_eq!(fixture.count(&id, "approval.granted").await, usize::from(!link_first));
    }
}

/// Who gave a person an address asks for something. Right: the person does not decide on it by a
/// link, as by a key of that maker's.
#[tokio::test]
async fn attack_who_gave_an_address_asks_and_its_link_approves() {
    let fixture = PeopleFixture::new().await;
    // The fixture's requester is an agent; its name is an alias of Sue's.
    let agent = fixture.engine.agent.actor.id.clone();
    let sue = Person { aliases: [agent].into(), ..person("sue", SUE) };
    put(&fixture, "root", sue).await.unwrap();
    put(&fixture, "sue", person("ada", "sue+ada@example.com")).await.unwrap();
    fixture.engine.clock.pass(1_000);
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link("sue+ada@example.com");
    let page = fixture.get(&link).await;
    assert!(!page.text.contains("name=\"nonce\""), "{}", page.text);
    assert!(page.text.contains("may not decide himself"), "{}", page.text);
    assert_eq!(fixture.count(&id, "approval.granted").await, 0);
    // Bob's address is root's doing.
    let bob = fixture.get(&fixture.link(BOB)).await;
    assert!(bob.text.contains("name=\"nonce\""), "{}", bob.text);
}

/// An address is replaced: whoever reads the one before is told, though it is replaced twice; the
/// links that went there open nothing, though the address comes back.
#[tokio::test]
async fn the_address_before_is_told_and_its_links_end() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let form = fields(&fixture.get(&link).await, "approve", "");
    fixture.engine.clock.pass(1_000);
    put(&fixture, "root", person("ada", "one@example.com")).await.unwrap();
    put(&fixture, "root", person("ada", ADA)).await.unwrap();
    put(&fixture, "root", person("ada", "two@example.com")).await.unwrap();
    fixture.relay().await;
    for mail in [ADA, "one@example.com"] {
        let subjects = fixture.subjects(mail);
        let told = subjects.iter().filter(|subject| subject.contains("was replaced")).count();
        assert!(told > 0, "{mail}: {subjects:?}");
    }
    assert!(!fixture.subjects("two@example.com").iter().any(|one| one.contains("replaced")));
    put(&fixture, "root", person("ada", ADA)).await.unwrap();
    for page in [fixture.get(&link).await, fixture.post(&link, &form).await] {
        assert_eq!(page.status, 410);
        assert!(page.text.contains("address is another"), "{}", page.text);
    }
    assert_eq!(fixture.count(&id, "approval.voted").await, 0);
    // So often in a day and no more: whoever had one is told.
    let mut refused = None;
    for index in 0..12 {
        let mail = format!("ada{index}@example.com");
        refused = put(&fixture, "root", person("ada", &mail)).await.err().or(refused);
    }
    assert!(refused.is_some_and(|no| no.code == Code::ValidationFailed));
}

/// Who has voted as one of those who decide, and whom a group escalates to after, is in both.
/// Right: told again, and heard for that group as well; once.
#[tokio::test]
async fn a_group_that_escalates_hears_who_has_voted() {
    let fixture = PeopleFixture::new().await;
    fixture.person("sue", Some(SUE)).await;
    fixture.group(group("on-call", "ada")).await;
    let finance = serde_json::json!({ "name": "finance", "members": ["sue"],
        "escalate": { "to": "on-call", "afterSeconds": 600 } });
    fixture.group(serde_json::from_value(finance).unwrap()).await;
    let (id, _) = fixture.ask().await;
    fixture.ask_groups(&id, &["approvers", "finance"]);
    vote(&fixture, "ada", &id).await.unwrap();
    assert_eq!(vote(&fixture, "ada", &id).await, Err(Code::ApprovalAlreadyDecided));
    fixture.relay().await;
    assert_eq!(fixture.subjects(ADA).len(), 0, "{:?}", fixture.subjects(ADA));
    fixture.engine.clock.pass(600_000);
    fixture.deliverer.due(1_000).await.unwrap();
    assert_eq!(fixture.subjects(ADA).len(), 1, "{:?}", fixture.subjects(ADA));
    let link = fixture.link(ADA);
    let form = fields(&fixture.get(&link).await, "approve", "");
    assert_eq!(fixture.post(&link, &form).await.status, 303);
    assert_eq!(fixture.count(&id, "approval.granted").await, 1);
    let loaded = fixture.engine.engine.store().load(&fixture.root.workspace, &id).await.unwrap();
    let votes = &loaded.state.approvals.last().unwrap().votes;
    assert_eq!((votes.len(), votes[0].groups.len()), (1, 2), "{votes:?}");
}

/// A user of Slack and aliases have who set them; an own user of Slack is not shed; what stays is
/// whose it was.
#[tokio::test]
async fn slack_and_aliases_have_their_makers() {
    let fixture = PeopleFixture::new().await;
    fixture.person("sue", Some(SUE)).await;
    let slack = SlackIdentity { team_id: "T024BE7LD".into(), user_id: "U024BE7LH".into() };
    let known = Person {
        slack: Some(slack.clone()),
        aliases: ["ada-old".to_owned()].into(),
        ..person("ada", ADA)
    };
    put(&fixture, "sue", known.clone()).await.unwrap();
    let directory = |fixture: &PeopleFixture| {
        let workspace = fixture.root.workspace.clone();
        let engine = fixture.engine.engine.clone();
        async move { engine.in_force.directory(&workspace).await.unwrap() }
    };
    let now = directory(&fixture).await;
    let maker = |identity| now.maker_of_identity("ada", identity);
    assert_eq!(maker(Identity::Slack), Some("sue"));
    assert_eq!(maker(Identity::Name("ada-old")), Some("sue"));
    assert_eq!((maker(Identity::Mail), maker(Identity::Oidc)), (Some("root"), None));
    // The person puts the same: what is not changed keeps its maker, and none of it is shed.
    put(&fixture, "ada", known.clone()).await.unwrap();
    let now = directory(&fixture).await;
    assert_eq!(now.maker_of_identity("ada", Identity::Slack), Some("sue"));
    for shed in [
        Person { slack: None, ..known.clone() },
        Person { slack: Some(SlackIdentity { user_id: "U0".into(), ..slack }), ..known.clone() },
        Person { aliases: Default::default(), ..known },
    ] {
        let refused = put(&fixture, "ada", shed).await.unwrap_err();
        assert_eq!(refused.code, Code::Forbidden, "{refused:?}");
    }
}
