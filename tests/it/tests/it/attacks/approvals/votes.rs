//! Votes: batches, replays, digests of something else, withdrawals; and the inbox that shows them.

use super::*;
use crate::attacks::{
    kit::KitFixture,
    policy::{InterposedTable, Interruption},
};
use contracts::{Code, event::ActorKind, limits::VOTES_AT_ONCE_MAX};
use countersign_store::{keys, memory::MemoryTable};
use engine::{Caller, actor};
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn the_inbox_shows_what_waits_and_for_whom() {
    let server = TestServer::start().await;
    let asked = asked(&server).await;
    let items = inbox(&server.approver, "").await;
    assert_eq!(items.len(), 1, "{items:?}");
    let item = &items[0];
    assert_eq!(
        (&item["kind"], &item["executionId"], &item["viewDigest"], &item["mine"]),
        (&json!("approval"), &json!(asked.execution), &asked.approval["viewDigest"], &json!(true)),
        "{item}"
    );
    assert_eq!(item["missing"], json!([{ "group": "approvers", "count": 1 }]));
    // Who asked sees that it waits, and why it is not theirs.
    let own = &inbox(&server.agent, "").await[0];
    assert_eq!(own["mine"], false);
    assert!(own["whyNot"].as_str().unwrap().contains("decision of people"), "{own}");
    assert!(inbox(&server.agent, "?mine=true").await.is_empty());
    assert!(inbox(&server.approver, "?group=finance").await.is_empty());
    let (status, shown) = server.approver.get(&asked.path("")).await;
    assert_eq!((status, &shown["mine"]), (200, &json!(true)), "{shown}");
    assert!(shown["approval"]["lines"].as_array().unwrap().len() > 3, "{shown}");

    let comment = json!({ "text": "is this the order of last week?" });
    let answer = server.approver.post(&asked.path("/comment"), &comment).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let (status, answer) = vote(&server.approver, &[asked.vote("approve")]).await;
    assert_eq!((status, &answer["approvals"][0]["status"]), (200, &json!("granted")), "{answer}");
    server.until(&asked.execution, "completed").await;
    assert!(inbox(&server.approver, "?mine=false").await.is_empty());
    let (_, shown) = server.approver.get(&asked.path("")).await;
    let approval = &shown["approval"];
    assert_eq!(approval["votes"][0]["actorId"], "dev-approver", "{shown}");
    assert_eq!(approval["votes"][0]["viewDigest"], asked.approval["viewDigest"]);
    assert_eq!(approval["comments"][0]["text"], comment["text"]);
    assert_eq!((&shown["mine"], &shown["whyNot"]), (&json!(false), &json!("it is granted")));
    let replay = server.approver.get(&format!("/v1/executions/{}/replay", asked.execution)).await;
    assert_eq!(replay.1["matches"], true, "{}", replay.1);
}

// Sorted by risk, then by age, and read page by page.
#[tokio::test]
async fn the_inbox_goes_by_risk_and_age() {
    let server = TestServer::start().await;
    let mut expected = Vec::new();
    for _ in 0..2 {
        expected.push(asked(&server).await.execution);
    }
    for _ in 0..2 {
        let refund = json!({ "id": "r", "use": "payments/refund.create",
            "with": { "customer": "cus_1", "amount": 5, "currency": "EUR" } });
        expected.push(submit_steps(&server.agent, json!([refund])).await);
        server.settled(expected.last().unwrap()).await;
    }
    expected.rotate_left(2);
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let (_, page) = server.approver.get(&format!("/v1/approvals?limit=1{cursor}")).await;
        for item in page["items"].as_array().unwrap() {
            found.push((item["executionId"].clone(), item["riskTier"].clone()));
        }
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={}", next.replace('#', "%23"));
    }
    let ids: Vec<&str> = found.iter().filter_map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, expected, "{found:?}");
    let (status, _) = server.approver.get("/v1/approvals?cursor=0%23x").await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn attack_a_batch_where_one_is_stale_changes_nothing() {
    let server = TestServer::start().await;
    let (one, other) = (asked(&server).await, asked(&server).await);
    let before = server.approver.get(&format!("/v1/executions/{}/trace", one.execution)).await;
    let mut stale = other.vote("approve");
    stale["viewDigest"] = json!(format!("sha256:{}", "0".repeat(64)));
    let answer = vote(&server.approver, &[one.vote("approve"), stale]).await;
    assert_eq!(code(&answer), (409, "BINDING_STALE"), "{}", answer.1);
    assert_eq!(answer.1["issues"][0]["pointer"], "/approvals/1", "{}", answer.1);
    let after = server.approver.get(&format!("/v1/executions/{}/trace", one.execution)).await;
    assert_eq!(before.1, after.1, "nothing of the first was decided");
    assert!(server.tools.effects("payments/payout.create").is_empty());
    // Both together, each by its own digest.
    let answer = vote(&server.approver, &[one.vote("approve"), other.vote("reject")]).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(answer.1["approvals"][1]["status"], "rejected", "{}", answer.1);
    server.until(&one.execution, "completed").await;
    server.until(&other.execution, "failed").await;
    assert_eq!(server.tools.effects("payments/payout.create").len(), 1);
    // As many as one command takes.
    for decision in ["approve", "reject"] {
        let mut most = Vec::new();
        for _ in 0..VOTES_AT_ONCE_MAX {
            most.push(asked(&server).await.vote(decision));
        }
        let answer = vote(&server.approver, &most).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
    }
    // Too many, none, and the same one twice.
    let many = vec![one.vote("approve"); 11];
    for votes in [&many[..], &[], &many[..2]] {
        assert_eq!(code(&vote(&server.approver, votes).await), (422, "VALIDATION_FAILED"));
    }
}

#[tokio::test]
async fn attack_a_vote_with_the_digest_of_another_request() {
    let server = TestServer::start().await;
    let (one, other) = (asked(&server).await, asked(&server).await);
    let mut swapped = one.vote("approve");
    swapped["viewDigest"] = other.approval["viewDigest"].clone();
    let answer = vote(&server.approver, &[swapped]).await;
    assert_eq!(code(&answer), (409, "BINDING_STALE"), "{}", answer.1);
    let mut elsewhere = one.vote("approve");
    elsewhere["approvalId"] = other.approval["approvalId"].clone();
    let answer = vote(&server.approver, &[elsewhere]).await;
    assert_eq!(code(&answer), (404, "NOT_FOUND"), "{}", answer.1);
    assert!(server.tools.effects("payments/payout.create").is_empty());
}

#[tokio::test]
async fn attack_a_vote_is_replayed() {
    let server = TestServer::start().await;
    let asked = asked(&server).await;
    assert_eq!(vote(&server.approver, &[asked.vote("approve")]).await.0, 200);
    server.until(&asked.execution, "completed").await;
    let grace = person(&server, "grace").await;
    for (by, decision) in [(&server.approver, "approve"), (&grace, "approve"), (&grace, "reject")] {
        let answer = vote(by, &[asked.vote(decision)]).await;
        assert_eq!(answer.0, 409, "{}", answer.1);
    }
    assert_eq!(count(&server, &asked.execution, "approval.voted").await, 1);
    assert_eq!(server.tools.effects("payments/payout.create").len(), 1);
}

/// Between reading who decides and the commit of the decision it comes out that the approver is
/// the requester under another name: it is decided again, with what holds now, and refused.
#[tokio::test]
async fn attack_an_approver_who_is_excluded_while_the_vote_commits() {
    let table = Arc::new(MemoryTable::default());
    let ann = actor(ActorKind::Human, "ann");
    let workspace = "acme".parse().unwrap();
    let before = keys::idempotency(&workspace, &ann, "execution.approve", "race");
    let around = Arc::new(InterposedTable { table: table.clone(), before, act: Mutex::default() });
    let operations = [("work", json!({ "riskTier": "medium" }))];
    let fixture = KitFixture::over(around.clone(), table, &operations).await;
    let id = fixture.run(json!([{ "id": "w", "use": "kit/work" }])).await;
    let approver =
        Caller { actor: ann, idempotency_key: Some("race".into()), ..fixture.caller.clone() };
    let get = json!({ "executionId": id });
    let get = serde_json::from_value(get).unwrap();
    let view = fixture.engine.queries.get(&approver, get).await.unwrap();
    let asked = serde_json::to_value(view).unwrap()["execution"].clone();
    let vote = json!({ "executionId": id, "bindingDigest": asked["bindingDigest"] });
    let zed = Caller { actor: actor(ActorKind::Human, "zed"), ..fixture.caller.clone() };
    let engine = fixture.engine.clone();
    let act: Interruption = Box::new(move || {
        Box::pin(async move {
            let person = json!({ "person": { "id": "root", "aliases": ["ann"] } });
            let person = serde_json::from_value(person).unwrap();
            engine.access.put_person(&zed, person).await.unwrap();
        })
    });
    *around.act.lock().unwrap() = Some(act);
    let vote = serde_json::from_value(vote).unwrap();
    let refused = fixture.engine.approvals.approve(&approver, vote).await.unwrap_err();
    assert!(around.act.lock().unwrap().is_none(), "it was raced");
    assert_eq!(refused.code, Code::SelfApproval, "{refused:?}");
}
