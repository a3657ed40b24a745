//! Quorum: groups are AND, within a group persons count, and whoever is involved does not.

use super::*;

#[tokio::test]
async fn two_groups_decide_and_each_person_once() {
    let server = TestServer::start().await;
    let people = People::of(&server).await;
    assert_eq!(payments_ask_for(&server, "finance:2,security:1").await.0, 200);
    let asked = asked(&server).await;
    let wanted = json!([{ "group": "finance", "count": 2 }, { "group": "security", "count": 1 }]);
    assert_eq!(asked.approval["requirement"], wanted);
    let lines = asked.approval["lines"].to_string();
    assert!(lines.contains("2 of finance and 1 of security"), "{lines}");
    // Who is in none of the groups is told whom it asks for.
    let answer = vote(&people.eve, &[asked.vote("approve")]).await;
    assert_eq!(code(&answer), (403, "NOT_AN_APPROVER"), "{}", answer.1);
    assert!(inbox(&people.eve, "").await.is_empty());
    assert_eq!(inbox(&people.ann, "").await.len(), 1);

    for (by, missing) in [
        (
            &people.ann,
            json!([{ "group": "finance", "count": 1 }, { "group": "security", "count": 1 }]),
        ),
        (&people.sam, json!([{ "group": "finance", "count": 1 }])),
    ] {
        let (status, answer) = vote(by, &[asked.vote("approve")]).await;
        assert_eq!((status, &answer["approvals"][0]["missing"]), (200, &missing), "{answer}");
        assert_eq!(answer["approvals"][0]["status"], "requested");
    }
    assert!(inbox(&people.ann, "").await.is_empty(), "she has voted");
    assert!(server.tools.effects("payments/payout.create").is_empty());
    let (_, answer) = vote(&people.bob, &[asked.vote("approve")]).await;
    assert_eq!(answer["approvals"][0]["status"], "granted", "{answer}");
    let view = server.until(&asked.execution, "completed").await;
    assert_eq!(view["approvals"][0]["decidedBy"], json!(["ann", "sam", "bob"]), "{view}");
    assert_eq!(count(&server, &asked.execution, "approval.voted").await, 3);
    assert_eq!(count(&server, &asked.execution, "approval.granted").await, 1);
    let replay = server.approver.get(&format!("/v1/executions/{}/replay", asked.execution)).await;
    assert_eq!(replay.1["matches"], true, "{}", replay.1);
}

/// The first of two voices, by `execution.approve`. Right: the answer says who is still missing,
/// and not that it is approved.
#[tokio::test]
async fn the_answer_to_the_first_of_two_voices_says_who_is_missing() {
    let server = TestServer::start().await;
    let people = People::of(&server).await;
    assert_eq!(payments_ask_for(&server, "finance:1,security:1").await.0, 200);
    let asked = asked(&server).await;
    let path = format!("/v1/executions/{}/approve", asked.execution);
    let body = json!({ "bindingDigest": asked.approval["bindingDigest"],
        "stepId": asked.approval["stepId"] });
    let (status, first) = people.ann.post(&path, &body).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["missing"], json!([{ "group": "security", "count": 1 }]), "{first}");
    assert!(first.get("approvedAt").is_none() && first.get("approvedBy").is_none(), "{first}");
    let (_, second) = people.sam.post(&path, &body).await;
    assert_eq!(second["approvedBy"], "sam", "{second}");
    assert!(second["approvedAt"].is_string() && second.get("missing").is_none(), "{second}");
}

// One person, two keys; and one of them under an alias.
#[tokio::test]
async fn attack_one_person_votes_twice_through_two_keys() {
    let server = TestServer::start().await;
    let bot = person(&server, "ann-bot").await;
    let people = People::of(&server).await;
    let other = People::key(&server, "ann").await;
    assert_eq!(payments_ask_for(&server, "finance:2").await.0, 200);
    let asked = asked(&server).await;
    assert_eq!(vote(&people.ann, &[asked.vote("approve")]).await.0, 200);
    for by in [&people.ann, &other, &bot] {
        let answer = vote(by, &[asked.vote("approve")]).await;
        assert_eq!(code(&answer), (409, "APPROVAL_ALREADY_DECIDED"), "{}", answer.1);
    }
    assert!(server.tools.effects("payments/payout.create").is_empty());
    assert_eq!(vote(&people.bob, &[asked.vote("approve")]).await.0, 200);
    server.until(&asked.execution, "completed").await;
}

// What ann-bot asks for is what Ann asks for.
#[tokio::test]
async fn attack_self_approval_by_alias() {
    let server = TestServer::start().await;
    let bot = key(
        &server,
        &server.approver,
        "agent",
        "ann-bot",
        &["intent.submit", "execution.start", "execution.read", "approval.request"],
    )
    .await;
    let people = People::of(&server).await;
    let asked = Asked::of(&server, submit_steps(&bot, json!([pay("p")])).await).await;
    let other = People::key(&server, "ann").await;
    for by in [&people.ann, &other] {
        for decision in ["approve", "reject"] {
            let answer = vote(by, &[asked.vote(decision)]).await;
            assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
        }
    }
    // For whom it was asked, under a mail address.
    let body =
        json!({ "text": "pay", "onBehalfOf": "BOB@x.org", "draft": { "steps": [pay("p")] } });
    let behalf = Asked::of(&server, submit(&server.agent, body).await).await;
    let answer = vote(&people.bob, &[behalf.vote("approve")]).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    assert!(server.tools.effects("payments/payout.create").is_empty());
    assert_eq!(vote(&people.sam, &[asked.vote("approve"), behalf.vote("approve")]).await.0, 200);
}

#[tokio::test]
async fn attack_a_withdrawn_vote_counts() {
    let server = TestServer::start().await;
    let people = People::of(&server).await;
    assert_eq!(payments_ask_for(&server, "finance:2").await.0, 200);
    let asked = asked(&server).await;
    assert_eq!(vote(&people.ann, &[asked.vote("approve")]).await.0, 200);
    let withdraw = json!({ "reason": "not sure" });
    // Not somebody else's.
    let answer = people.bob.post(&asked.path("/withdraw"), &withdraw).await;
    assert_eq!(code(&answer), (409, "CONFLICT"), "{}", answer.1);
    let answer = people.ann.post(&asked.path("/withdraw"), &withdraw).await;
    assert_eq!(answer.1["missing"], json!([{ "group": "finance", "count": 2 }]), "{}", answer.1);
    let (_, answer) = vote(&people.bob, &[asked.vote("approve")]).await;
    assert_eq!(answer["approvals"][0]["status"], "requested", "{answer}");
    assert!(server.tools.effects("payments/payout.create").is_empty());
    // Given anew, it counts; after the decision nothing is withdrawn.
    let (_, answer) = vote(&people.ann, &[asked.vote("approve")]).await;
    assert_eq!(answer["approvals"][0]["status"], "granted", "{answer}");
    for by in [&people.ann, &people.bob] {
        let answer = by.post(&asked.path("/withdraw"), &withdraw).await;
        assert_eq!(code(&answer).0, 409, "{}", answer.1);
    }
    server.until(&asked.execution, "completed").await;
}

// A group that is not there, or too small for whoever asks: nobody is asked at all.
#[tokio::test]
async fn attack_a_requirement_that_nobody_can_meet() {
    let server = TestServer::start().await;
    let answer = payments_ask_for(&server, "finance:2").await;
    assert!(answer.0 == 422 && answer.1.to_string().contains("no group `finance`"), "{}", answer.1);
    let people = People::of(&server).await;
    let answer = payments_ask_for(&server, "finance:3").await;
    assert!(answer.0 == 422 && answer.1.to_string().contains("it has 2"), "{}", answer.1);
    assert_eq!(payments_ask_for(&server, "finance:2").await.0, 200);
    // Ann asks herself, and so only Bob is left.
    let id = submit_steps(&people.ann, json!([pay("p")])).await;
    let view = server.settled(&id).await;
    assert_eq!((&view["status"], &view["approvals"]), (&json!("rejected"), &json!([])), "{view}");
    assert_eq!(view["reasons"][0]["code"], "APPROVERS_MISSING", "{view}");
    // The group ends while a plan waits to be started.
    let manual = json!({ "text": "pay", "mode": "manual", "draft": { "steps": [pay("p")] } });
    let id = submit(&server.agent, manual).await;
    let body = json!({ "planId": server.settled(&id).await["planId"] });
    group(&server, json!({ "name": "finance", "members": ["ann"] })).await;
    let (_, answer) =
        server.approver.post(&format!("/v1/executions/{id}/plan/verify"), &body).await;
    assert_eq!(answer["verdict"], "blocked", "{answer}");
    assert!(answer["blockedReasons"].to_string().contains("only 1 are there"), "{answer}");
}

// Policy asks for more by the time of the call than it did when the plan was approved.
#[tokio::test]
async fn attack_an_approval_of_fewer_than_the_call_asks_for() {
    let server = TestServer::start().await;
    let people = People::of(&server).await;
    let rule = r#"@id("large") @reason("large") @approvers("security:1")
        forbid (principal, action == Action::"payments/refund.create", resource)
        when { context.mode == "autonomous" && context.input has amount
            && context.input.amount > 3 };"#;
    let answer = activate(&server, rule).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let refund = json!({ "id": "r", "use": "payments/refund.create",
        "with": { "customer": { "$from": "c", "path": "/id" }, "amount": 5, "currency": "EUR" } });
    let id = submit_steps(&server.agent, json!([find("c"), refund])).await;
    let asked = Asked::of(&server, id).await;
    let answer = vote(&people.ann, &[asked.vote("approve")]).await;
    assert_eq!(code(&answer), (403, "NOT_AN_APPROVER"), "{}", answer.1);
    assert_eq!(vote(&people.sam, &[asked.vote("approve")]).await.0, 200);
}

// The policy set is replaced, or a skill disabled, after the approval and before the call.
#[tokio::test]
async fn attack_the_policy_changes_after_one_of_two_votes() {
    let server = TestServer::start().await;
    let people = People::of(&server).await;
    assert_eq!(payments_ask_for(&server, "finance:2").await.0, 200);
    let asked = asked(&server).await;
    assert_eq!(vote(&people.ann, &[asked.vote("approve")]).await.0, 200);
    assert_eq!(payments_ask_for(&server, "finance:2,security:1").await.0, 200);
    let answer = vote(&people.bob, &[asked.vote("approve")]).await;
    assert_eq!(code(&answer), (409, "BINDING_STALE"), "{}", answer.1);
    // What is asked now begins without votes.
    let again = Asked::of(&server, asked.execution.clone()).await;
    assert_ne!(again.approval["approvalId"], asked.approval["approvalId"]);
    assert!(again.approval["votes"].is_null(), "{}", again.approval);
    for by in [&people.bob, &people.sam] {
        assert_eq!(vote(by, &[again.vote("approve")]).await.0, 200);
    }
    assert!(server.tools.effects("payments/payout.create").is_empty());
    assert_eq!(vote(&people.ann, &[again.vote("approve")]).await.0, 200);
    server.until(&asked.execution, "completed").await;
}

/// Sixty steps, each of which asks with its actual input: another policy set voids and asks more
/// than one transaction holds.
#[tokio::test(flavor = "multi_thread")]
async fn attack_more_requests_than_one_commit_can_void() {
    let (server, stub) = server_with(|stub| {
        let pay = json!({ "riskTier": "medium", "effect": "idempotent", "resource": "/to" });
        vec![stub.operation("look", json!({})), stub.operation("pay", pay)]
    })
    .await;
    stub.answers("look", 200, json!({ "id": "DE02" }));
    let mut steps = vec![json!({ "id": "look", "use": "kit/look", "with": {} })];
    steps.extend((0..60).map(|index| {
        json!({ "id": format!("p{index}"), "use": "kit/pay",
            "with": { "to": { "$from": "look", "path": "/id" }, "n": index } })
    }));
    let id = submit_steps(&server.agent, json!(steps)).await;
    let asks = |view: &Value| {
        let all = view["approvals"].as_array().unwrap();
        all.iter().filter(|one| one["status"] == "requested").count()
    };
    let mut view = server.settled(&id).await;
    for _ in 0..100 {
        if asks(&view) == 60 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        view = server.settled(&id).await;
    }
    assert_eq!(asks(&view), 60, "{view}");
    let (status, answer) = activate(&server, "").await;
    assert_eq!(status, 200, "{answer}");
    // Whoever decides now is asked again, and can decide.
    let first = view["approvals"].as_array().unwrap().last().unwrap().clone();
    let stale = json!({ "executionId": id, "approvalId": first["approvalId"],
        "viewDigest": first["viewDigest"], "decision": "approve" });
    let answer = vote(&server.approver, &[stale]).await;
    assert_eq!(code(&answer), (409, "BINDING_STALE"), "{}", answer.1);
    let asked = Asked::of(&server, id.clone()).await;
    assert_eq!(vote(&server.approver, &[asked.vote("approve")]).await.0, 200);
    stub.nth("pay", 1).await;
    let mut view = server.settled(&id).await;
    for _ in 0..100 {
        if asks(&view) == 59 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        view = server.settled(&id).await;
    }
    assert_eq!(asks(&view), 59, "each of the others asks once");
    assert_eq!(count(&server, &id, "approval.voided").await, 60);
    let replay = server.approver.get(&format!("/v1/executions/{id}/replay")).await;
    assert_eq!(replay.1["matches"], true, "{}", replay.1);
}

/// Somebody begins to decide on sixty steps one by one; then the whole plan is approved.
#[tokio::test(flavor = "multi_thread")]
async fn attack_more_requests_than_the_plans_approval_can_void() {
    let (server, stub) =
        server_with(|stub| vec![stub.operation("pay", json!({ "riskTier": "medium" }))]).await;
    let People { ann, bob, .. } = People::of(&server).await;
    let rule = r#"@id("two") @reason("two of finance decide") @approvers("finance:2")
        forbid (principal, action, resource) when { context.mode == "autonomous" };"#;
    let (status, answer) = activate(&server, rule).await;
    assert_eq!(status, 200, "{answer}");
    let steps: Vec<Value> =
        (0..60).map(|n| json!({ "id": format!("p{n}"), "use": "kit/pay", "with": {} })).collect();
    let id = submit_steps(&server.agent, json!(steps)).await;
    let asked = Asked::of(&server, id.clone()).await;
    for n in 0..60 {
        let view = server.settled(&id).await;
        let step = step(&view, &format!("p{n}")).clone();
        let body = json!({ "stepId": step["stepId"], "bindingDigest": step["bindingDigest"] });
        let answer = ann.post(&format!("/v1/executions/{id}/approve"), &body).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
    }
    assert_eq!(vote(&ann, &[asked.vote("approve")]).await.0, 200);
    let answer = vote(&bob, &[asked.vote("approve")]).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    server.until(&id, "completed").await;
    assert_eq!(stub.calls("pay").len(), 60);
    assert_eq!(count(&server, &id, "approval.voided").await, 60);
}

/// The policy changes while the plan and many of its steps are asked about: the plan is asked about
/// once.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_plan_is_asked_about_several_times() {
    let (server, _) =
        server_with(|stub| vec![stub.operation("pay", json!({ "riskTier": "medium" }))]).await;
    let People { ann, .. } = People::of(&server).await;
    let rule = r#"@id("two") @reason("two of finance decide") @approvers("finance:2")
        forbid (principal, action, resource) when { context.mode == "autonomous" };"#;
    assert_eq!(activate(&server, rule).await.0, 200);
    let steps: Vec<Value> =
        (0..25).map(|n| json!({ "id": format!("p{n}"), "use": "kit/pay", "with": {} })).collect();
    let id = submit_steps(&server.agent, json!(steps)).await;
    let asked = Asked::of(&server, id.clone()).await;
    for n in 0..25 {
        let view = server.settled(&id).await;
        let step = step(&view, &format!("p{n}")).clone();
        let body = json!({ "stepId": step["stepId"], "bindingDigest": step["bindingDigest"] });
        assert_eq!(ann.post(&format!("/v1/executions/{id}/approve"), &body).await.0, 200);
    }
    assert_eq!(activate(&server, &format!("// again\n{rule}")).await.0, 200);
    let stale = vote(&ann, &[asked.vote("approve")]).await;
    assert_eq!(code(&stale), (409, "BINDING_STALE"), "{}", stale.1);
    for _ in 0..100 {
        if count(&server, &id, "approval.voided").await == 26 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let view = server.settled(&id).await;
    let open = view["approvals"].as_array().unwrap().iter();
    let open: Vec<&Value> = open.filter(|one| one["status"] == "requested").collect();
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0]["stepId"].is_null(), "{open:?}");
}
