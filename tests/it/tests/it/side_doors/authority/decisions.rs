//! Separation of duties: who asked, drafted or made a key does not decide.

use super::*;

// Sample: a key of kind agent with grants that its maker lacks; its maker approves what it asks.
#[tokio::test]
async fn authority_the_maker_of_the_requesting_key_does_not_decide() {
    let server = TestServer::start().await;
    let bot = key(&server, &server.approver, "agent", "bot", &AGENT).await;
    let id = submit(&bot, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let waits = view(&server, &id).await;
    assert_eq!(waits["approvals"][0]["excludes"], json!(["bot", "dev-approver"]), "{waits}");
    let answer = approve(&server, &server.approver, &id).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    let reject = server
        .approver
        .post(&format!("/v1/executions/{id}/reject"), &json!({ "reason": "no" }))
        .await;
    assert_eq!(code(&reject), (403, "SELF_APPROVAL"), "{}", reject.1);
    assert!(server.tools.effects("payments/payout.create").is_empty());
    // Somebody else may.
    let grace =
        key(&server, &server.approver, "human", "grace", &["approval", "execution.read"]).await;
    assert_eq!(approve(&server, &grace, &id).await.0, 200);
    server.until(&id, "completed").await;
}

// The sibling: who asks makes a key for a person who does not exist, and approves with it.
#[tokio::test]
async fn authority_a_person_whom_the_requester_made_does_not_decide() {
    let server = TestServer::start().await;
    let sock =
        key(&server, &server.approver, "human", "sock", &["approval", "execution.read"]).await;
    let id =
        submit(&server.approver, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let answer = approve(&server, &sock, &id).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    let id = submit(
        &server.agent,
        json!({ "text": "pay", "onBehalfOf": "Dev-Approver", "draft": { "steps": [pay("p")] } }),
    )
    .await;
    for by in [&server.approver, &sock] {
        let answer = approve(&server, by, &id).await;
        assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "the subject: {}", answer.1);
    }
    assert_eq!(view(&server, &id).await["onBehalfOf"], "dev-approver");
    assert!(server.tools.effects("payments/payout.create").is_empty());
}

#[tokio::test]
async fn authority_who_gave_the_draft_does_not_decide() {
    let server = TestServer::start().await;
    let id = submit(&server.agent, json!({ "text": "pay", "mode": "manual" })).await;
    let draft = json!({ "draft": { "steps": [pay("p")] } });
    let (status, plan) =
        server.approver.post(&format!("/v1/executions/{id}/plan/compile"), &draft).await;
    assert_eq!(status, 200, "{plan}");
    let body = json!({ "planId": plan["planId"] });
    assert_eq!(server.agent.post(&format!("/v1/executions/{id}/plan/verify"), &body).await.0, 200);
    assert_eq!(server.agent.post(&format!("/v1/executions/{id}/start"), &body).await.0, 202);
    let answer = approve(&server, &server.approver, &id).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
}

// Sample: actor ids `mallory` and `mallory ` (space), or different capitals.
#[tokio::test]
async fn authority_one_person_is_one_id_however_it_is_written() {
    let server = TestServer::start().await;
    let mallory = key(&server, &server.approver, "agent", "mallory", &AGENT).await;
    let id = submit(&mallory, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    for text in
        ["mallory ", " mallory", "mal lory", "mallory\u{200b}", "mallory\u{0}", "mallory\n", ""]
    {
        let answer = try_key(&server.approver, "human", text, &["approval"]).await;
        assert_eq!(
            (answer.0, &answer.1["issues"][0]["pointer"]),
            (422, &json!("/actor/id")),
            "{text:?}: {}",
            answer.1
        );
    }
    for text in ["Mallory", "MALLORY", "ｍａｌｌｏｒｙ"] {
        let (status, answer) =
            try_key(&server.approver, "human", text, &["approval", "execution.read"]).await;
        assert_eq!((status, &answer["key"]["actor"]["id"]), (201, &json!("mallory")), "{answer}");
        let other = Client::new(&server.url(), answer["apiKey"].as_str().unwrap());
        let answer = approve(&server, &other, &id).await;
        assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{text:?}: {}", answer.1);
    }
    assert!(server.tools.effects("payments/payout.create").is_empty());
}

// Only people decide, unless the workspace names a service.
#[tokio::test]
async fn authority_a_service_decides_only_where_a_person_named_it() {
    let server = TestServer::start().await;
    let board =
        key(&server, &server.approver, "service", "board", &["approval", "execution.read", "keys"])
            .await;
    let id =
        submit(&server.agent, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let answer = approve(&server, &board, &id).await;
    assert_eq!(code(&answer), (403, "NOT_AN_APPROVER"), "{}", answer.1);
    let named = json!({ "services": ["board"] });
    let answer = board.post("/v1/deciders", &named).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "it does not name itself: {}", answer.1);
    let answer = server.approver.post("/v1/deciders", &json!({ "services": ["baord"] })).await;
    assert!(answer.0 == 422 && says(&answer, "did you mean `board`?"), "{}", answer.1);
    assert_eq!(server.approver.post("/v1/deciders", &named).await.0, 200);
    assert_eq!(server.approver.get("/v1/deciders").await.1, named);
    assert_eq!(approve(&server, &board, &id).await.0, 200);
    server.until(&id, "completed").await;
    assert_eq!(server.approver.post("/v1/deciders", &json!({ "services": [] })).await.0, 200);
    let id =
        submit(&server.agent, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    assert_eq!(code(&approve(&server, &board, &id).await), (403, "NOT_AN_APPROVER"));
}

// Sample (one-gate): under one approval, the outcome of a call is not known; the agent that asked
// says what became of it.
#[tokio::test]
async fn authority_a_call_in_doubt_is_resolved_by_a_person_who_did_not_ask() {
    let server = TestServer::start().await;
    let names: Vec<&str> = AGENT.iter().copied().chain(["execution.resolve"]).collect();
    let bot = key(&server, &server.approver, "agent", "bot", &names).await;
    let pam = key(&server, &server.approver, "human", "pam", &names).await;
    let decides = ["approval", "execution.read", "execution.resolve"];
    let grace = key(&server, &server.approver, "human", "grace", &decides).await;
    let paid = || server.tools.effects("payments/payout.create").values().sum::<u32>();
    for (asks, refusal) in [(&bot, "NOT_AN_APPROVER"), (&pam, "SELF_APPROVAL")] {
        server.tools.behave("payments/payout.create", local::demo_tools::Behaviour::Lose);
        for _ in 0..3 {
            server
                .tools
                .behave("payments/payout.find", local::demo_tools::Behaviour::Fail { status: 500 });
        }
        let before = paid();
        let id = submit(asks, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
        assert_eq!(approve(&server, &grace, &id).await.0, 200);
        let step = async || {
            grace.get(&format!("/v1/executions/{id}")).await.1["execution"]["steps"][0].clone()
        };
        for _ in 0..400 {
            if step().await["waitsFor"] == "outcome_unknown" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(step().await["waitsFor"], "outcome_unknown");
        let path = format!("/v1/executions/{id}/resolve");
        let evidence = json!({ "payoutId": "made up" });
        for (outcome, evidence) in
            [("retry", Value::Null), ("completed", evidence), ("failed", Value::Null)]
        {
            let mut body = json!({ "stepId": "p", "outcome": outcome });
            if !evidence.is_null() {
                body["evidence"] = evidence;
            }
            assert_eq!(
                code(&asks.post(&path, &body).await),
                (403, refusal),
                "{outcome}: who asked"
            );
            let maker = server.approver.post(&path, &body).await;
            assert_eq!(
                code(&maker),
                (403, "SELF_APPROVAL"),
                "{outcome}: who made the key: {}",
                maker.1
            );
        }
        let waits = step().await;
        assert_eq!((&waits["status"], paid() - before), (&json!("in_doubt"), 1), "{waits}");
        let (status, answer) =
            grace.post(&path, &json!({ "stepId": "p", "outcome": "failed" })).await;
        assert_eq!(status, 200, "{answer}");
        server.until(&id, "failed").await;
    }
}

// The same sample: an assisted step is tried again.
#[tokio::test]
async fn authority_resolving_and_retrying_what_needed_people_are_decisions_of_people() {
    let server = TestServer::start().await;
    let more = ["execution.resolve", "execution.retry"];
    let names: Vec<&str> = AGENT.iter().chain(&more).copied().collect();
    let bot = key(&server, &server.approver, "agent", "bot", &names).await;
    server
        .tools
        .behave("payments/payout.create", local::demo_tools::Behaviour::Fail { status: 422 });
    let id = submit(&bot, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let grace = key(
        &server,
        &server.approver,
        "human",
        "grace",
        &["approval", "execution.read", "execution.retry"],
    )
    .await;
    assert_eq!(approve(&server, &grace, &id).await.0, 200);
    server.until(&id, "failed").await;
    let path = format!("/v1/executions/{id}/retry");
    assert_eq!(code(&bot.post(&path, &json!({})).await), (403, "NOT_AN_APPROVER"));
    assert_eq!(
        code(&server.approver.post(&path, &json!({})).await),
        (403, "SELF_APPROVAL"),
        "it made the key"
    );
    assert_eq!(grace.post(&path, &json!({})).await.0, 200);
    let again = server.until(&id, "blocked").await;
    assert_eq!(
        again["steps"][0]["waitsFor"], "approval_required",
        "its approval was for the call before: {again}"
    );
    assert!(server.tools.effects("payments/payout.create").is_empty());
    assert_eq!(approve(&server, &grace, &id).await.0, 200);
    server.until(&id, "completed").await;
    // What ran on its own is its requester's affair.
    server.tools.behave("crm/customer.find", local::demo_tools::Behaviour::Fail { status: 404 });
    let id = submit(&bot, json!({ "text": "look", "draft": { "steps": [find("c")] } })).await;
    server.until(&id, "failed").await;
    assert_eq!(bot.post(&format!("/v1/executions/{id}/retry"), &json!({})).await.0, 200);
    server.until(&id, "completed").await;
}

// What authentication says may be said again; what says otherwise is refused.
#[tokio::test]
async fn authority_who_decides_is_who_is_authenticated() {
    let server = TestServer::start().await;
    let id = submit(
        &server.agent,
        json!({ "text": "pay", "draft": { "steps": [pay("p")] }, "actorId": "dev-agent" }),
    )
    .await;
    let waits = server.until(&id, "blocked").await;
    let path = |verb: &str| format!("/v1/executions/{id}/{verb}");
    let mut body = json!({ "bindingDigest": waits["bindingDigest"], "approvedBy": "ceo" });
    assert_eq!(code(&server.approver.post(&path("approve"), &body).await), (403, "FORBIDDEN"));
    for (verb, field) in [
        ("cancel", "cancelledBy"),
        ("reject", "rejectedBy"),
        ("pause", "actorId"),
        ("abort", "workspaceId"),
    ] {
        let answer =
            server.approver.post(&path(verb), &json!({ "reason": "x", field: "somebody" })).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{verb}: {}", answer.1);
    }
    body["approvedBy"] = json!("dev-approver");
    body["workspaceId"] = json!("acme");
    let (status, answer) = server.approver.post(&path("approve"), &body).await;
    assert_eq!((status, &answer["approvedBy"]), (200, &json!("dev-approver")), "{answer}");
    assert!(answer["runId"].is_string() && answer["executionId"].is_string(), "{answer}");
}
