//! Keys: what they may do, how they are listed and revoked.

use super::*;

#[tokio::test]
async fn authority_a_new_key_may_do_no_more_than_its_maker() {
    let server = TestServer::start().await;
    let clerk = key(
        &server,
        &server.approver,
        "service",
        "clerk",
        &["keys", "execution.read", "execution.approve"],
    )
    .await;
    let answer = try_key(&clerk, "agent", "x", &["execution.read", "policy.activate"]).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "{}", answer.1);
    assert!(says(&answer, "`control-plane.policy.activate`"), "{}", answer.1);
    let answer = try_key(&clerk, "agent", "x", &["approval"]).await;
    assert_eq!(
        code(&answer),
        (403, "FORBIDDEN"),
        "half of an umbrella is not the umbrella: {}",
        answer.1
    );
    assert_eq!(try_key(&clerk, "agent", "x", &["execution.read"]).await.0, 201);
    for kind in ["human"] {
        let answer = try_key(&clerk, kind, "x", &["execution.read"]).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "no machine makes people: {}", answer.1);
    }
    let (_, made) = try_key(&server.approver, "agent", "y", &["execution.read"]).await;
    assert_eq!(
        made["key"]["madeBy"]["actor"],
        json!({ "kind": "human", "id": "dev-approver" }),
        "{made}"
    );
    assert!(made["key"]["madeBy"]["keyId"].is_string(), "{made}");
}

// Sample: grants ['', '*', 'control-plane.aproval'].
#[tokio::test]
async fn authority_grants_that_do_not_exist_are_refused_with_the_nearest() {
    let server = TestServer::start().await;
    for (grant, near) in [
        ("", ""),
        ("*", ""),
        ("control-plane.aproval", "did you mean `control-plane.approval`?"),
        ("control-plane.execution.raed", "did you mean `control-plane.execution.read`?"),
        ("control-plane.", ""),
    ] {
        let body = json!({ "actor": { "kind": "agent", "id": "x" },
            "grants": ["control-plane.audit", grant] });
        let answer = server.approver.post("/v1/keys", &body).await;
        assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{grant:?}: {}", answer.1);
        assert!(says(&answer, near), "{grant:?}: {}", answer.1);
    }
}

// Kind is part of identity: two actors of one name do not share what they sent.
#[tokio::test]
async fn authority_an_idempotency_record_is_of_one_kind_of_actor() {
    let server = TestServer::start().await;
    let body = json!({ "text": "look", "draft": { "steps": [find("c")] } });
    let person = key(&server, &server.approver, "human", "dev-agent", &AGENT).await;
    let (_, first) = server.agent.keyed("/v1/intents", "same", &body).await;
    let (status, second) = person.keyed("/v1/intents", "same", &body).await;
    assert_eq!(status, 202, "{second}");
    assert_ne!(first["executionId"], second["executionId"]);
}

#[tokio::test]
async fn authority_more_than_a_thousand_keys_are_listed_page_by_page() {
    let server = TestServer::start().await;
    let engine = server.node().engine();
    for number in 0..1_030 {
        let key = contracts::access::CreateKey {
            actor: Some(engine::actor(contracts::event::ActorKind::Agent, format!("a{number}"))),
            person: None,
            grants: Default::default(),
            expires_at: None,
        };
        engine.access.deploy_key(&server.identity.workspace, key).await.unwrap();
    }
    let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), String::new());
    loop {
        let (status, page) = server.approver.get(&format!("/v1/keys?limit=200{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        for item in page["items"].as_array().unwrap() {
            assert!(seen.insert(item["id"].as_str().unwrap().to_owned()), "{item}");
        }
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={}", next.replace('#', "%23"));
    }
    assert_eq!(seen.len(), 1_032);
    for query in ["limit=0", "limit=201", "cursor=zz", "offset=3"] {
        assert_eq!(server.approver.get(&format!("/v1/keys?{query}")).await.0, 422, "{query}");
    }
}

#[tokio::test]
async fn authority_a_revoked_key_is_revoked_at_once_and_stays_so() {
    let server = TestServer::start().await;
    let (_, made) = try_key(&server.approver, "agent", "bot", &AGENT).await;
    let bot = Client::new(&server.url(), made["apiKey"].as_str().unwrap());
    assert_eq!(bot.get("/v1/executions").await.0, 200);
    let path = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    let (_, once) = server.approver.post(&path, &json!({})).await;
    assert_eq!(bot.get("/v1/executions").await.0, 401);
    let (status, twice) = server.approver.post(&path, &json!({})).await;
    assert_eq!((status, &twice["revokedAt"]), (200, &once["revokedAt"]), "{twice}");
}

// The secret of a key is in one answer and nowhere else, not even in the record of an idempotent
// command.
#[tokio::test]
async fn authority_a_repeated_key_create_makes_one_key_and_tells_no_secret() {
    let server = TestServer::start().await;
    let body = json!({ "actor": { "kind": "agent", "id": "bot" }, "grants": grants(&["audit"]) });
    let (status, first) = server.approver.keyed("/v1/keys", "k", &body).await;
    assert!(status == 201 && first["apiKey"].is_string(), "{first}");
    let (status, second) = server.approver.keyed("/v1/keys", "k", &body).await;
    assert_eq!((status, &second["key"]["id"]), (201, &first["key"]["id"]), "{second}");
    assert!(second.get("apiKey").is_none(), "{second}");
}
