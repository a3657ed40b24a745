//! Attacks on who is who: identities, places in groups, keys of persons.

use super::kit::*;
use countersign_it::{Client, TestServer};
use serde_json::{Value, json};

async fn put(by: &Client, person: Value) -> (u16, Value) {
    by.post("/v1/persons", &json!({ "person": person })).await
}

async fn group(by: &Client, name: &str, members: &[&str]) -> (u16, Value) {
    by.post("/v1/groups", &json!({ "group": { "name": name, "members": members } })).await
}

async fn remove(by: &Client, id: &str) -> (u16, Value) {
    by.post(&format!("/v1/persons/{id}/remove"), &json!({ "reason": "has left" })).await
}

/// A key that is bound to a person.
async fn bound(server: &TestServer, person: &str, names: &[&str]) -> Client {
    let body = json!({ "person": person, "grants": grants(names) });
    client(server, server.approver.post("/v1/keys", &body).await)
}

// Ann and Bob of finance, and Cid of nothing, each with a key that governs the directory.
async fn people(server: &TestServer) -> [Client; 3] {
    let mut clients = Vec::new();
    for id in ["ann", "bob", "cid"] {
        let person = json!({ "id": id, "mail": format!("{id}@x.org") });
        assert_eq!(put(&server.approver, person).await.0, 200);
        let names = ["directory", "keys", "audit", "execution.read", "approval"];
        clients.push(bound(server, id, &names).await);
    }
    assert_eq!(group(&server.approver, "finance", &["ann", "bob"]).await.0, 200);
    clients.try_into().unwrap_or_else(|_| panic!("three"))
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_person_gives_themselves_a_place() {
    let server = TestServer::start().await;
    let [ann, _, cid] = people(&server).await;
    let until = countersign_it::now().plus_ms(86_400_000);
    let lent = json!({ "id": "ann", "mail": "ann@x.org",
        "delegate": { "to": "cid", "until": until } });
    let tries = [
        group(&cid, "finance", &["ann", "bob", "cid"]).await,
        group(&cid, "treasury", &["CID"]).await,
        put(&cid, lent.clone()).await,
    ];
    for (index, answer) in tries.iter().enumerate() {
        assert_eq!(code(answer), (403, "FORBIDDEN"), "{index}: {}", answer.1);
    }
    // A group that escalates to their own.
    assert_eq!(group(&ann, "ops", &["cid"]).await.0, 200);
    let escalates = json!({ "group": { "name": "finance", "members": ["ann", "bob"],
        "escalate": { "to": "ops", "afterSeconds": 60 } } });
    assert_eq!(cid.post("/v1/groups", &escalates).await.0, 403);
    // Nor after every group was ended.
    assert_eq!(group(&cid, "finance", &[]).await.0, 200);
    assert_eq!(group(&cid, "ops", &[]).await.0, 200);
    assert_eq!(group(&cid, "finance", &["cid"]).await.0, 403);
    // Another one does it, and it is on record.
    assert_eq!(group(&ann, "finance", &["cid"]).await.0, 200);
    let log = server.approver.get("/v1/log?limit=200").await.1.to_string();
    assert!(log.contains("group finance") && log.contains("person cid"), "{log}");
    let machine = key(&server, &server.approver, "service", "clerk", &["directory"]).await;
    assert_eq!(code(&group(&machine, "finance", &["ann"]).await), (403, "FORBIDDEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_identities_that_are_somebody_elses() {
    let server = TestServer::start().await;
    let [ann, ..] = people(&server).await;
    for person in [
        json!({ "id": "eve", "mail": "ANN@X.ORG" }),
        json!({ "id": "eve", "aliases": ["Bob"] }),
        json!({ "id": "bob@x.org" }),
        // Clients take these out of the path by which they would be removed.
        json!({ "id": "." }),
        json!({ "id": ".." }),
        json!({ "id": "eve", "mail": "eve@x.org\r\nBcc: all@x.org" }),
        json!({ "id": "eve", "name": "Eve\r\nBcc: all@x.org" }),
        json!({ "id": "eve", "mail": "ann@x.org,eve@x.org" }),
        json!({ "id": "eve", "delegate": { "to": "eve", "until": "2100-01-01T00:00:00Z" } }),
    ] {
        let answer = put(&server.approver, person.clone()).await;
        assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{person}: {}", answer.1);
    }
    // A name proves nothing: the key of "Ann" is of whom it says.
    assert_eq!(put(&server.approver, json!({ "id": "eve", "name": "ann" })).await.0, 200);
    let eve = bound(&server, "eve", &["directory"]).await;
    let (_, list) = eve.get("/v1/persons").await;
    let eve = list["items"].as_array().unwrap().iter().find(|one| one["id"] == "eve").unwrap();
    assert_eq!(eve["groups"], json!([]), "{list}");
    // Nobody sheds what excludes them.
    let with = json!({ "id": "ann", "mail": "ann@x.org", "aliases": ["ann-bot"] });
    assert_eq!(put(&ann, with).await.0, 200);
    let without = json!({ "id": "ann", "mail": "ann@x.org" });
    assert_eq!(code(&put(&ann, without).await), (403, "FORBIDDEN"));
    assert_eq!(code(&remove(&ann, "ann").await), (403, "FORBIDDEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_key_for_a_person_by_another_way() {
    let server = TestServer::start().await;
    let [ann, ..] = people(&server).await;
    // In the name of a person, an alias or an address, and not bound to the person.
    for id in ["ann", "ANN", "ann@x.org"] {
        let answer = try_key(&server.approver, "human", id, &["approval"]).await;
        assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{id}: {}", answer.1);
    }
    let machine = key(&server, &server.approver, "service", "clerk", &["keys", "approval"]).await;
    let body = json!({ "person": "ann", "grants": grants(&["approval"]) });
    assert_eq!(code(&machine.post("/v1/keys", &body).await), (403, "FORBIDDEN"));
    for body in [
        json!({ "person": "nobody", "grants": [] }),
        json!({ "person": "ann", "actor": { "kind": "human", "id": "bob" }, "grants": [] }),
        json!({ "person": "ann", "actor": { "kind": "agent", "id": "ann" }, "grants": [] }),
        json!({ "grants": [] }),
    ] {
        let answer = server.approver.post("/v1/keys", &body).await;
        assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{body}: {}", answer.1);
    }
    let beyond = json!({ "person": "bob", "grants": grants(&["policy.activate"]) });
    assert_eq!(ann.post("/v1/keys", &beyond).await.0, 403, "no more than its maker may");
    let same = json!({ "person": "ANN@x.org", "actor": { "kind": "human", "id": "ann" },
        "grants": [] });
    let (status, made) = server.approver.post("/v1/keys", &same).await;
    assert_eq!((status, &made["key"]["actor"]), (201, &json!({ "kind": "human", "id": "ann" })));
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_the_key_of_a_person_who_was_removed() {
    let server = TestServer::start().await;
    let [_, bob, cid] = people(&server).await;
    let (_, made) = cid.get("/v1/keys").await;
    assert!(made["items"].is_array(), "{made}");
    // What cid asked for waits for the tool.
    let names: Vec<&str> = AGENT.to_vec();
    let asks = bound(&server, "cid", &names).await;
    let id = submit_steps(&asks, json!([pay("p")])).await;
    server.settled(&id).await;
    assert_eq!(remove(&bob, "cid").await.0, 200);
    assert_eq!(cid.get("/v1/persons").await.0, 401);
    assert_eq!(asks.get(&format!("/v1/executions/{id}")).await.0, 401);
    // Approved or not, nothing begins any more that the key asked for.
    assert_eq!(approve(&server, &server.approver, &id).await.0, 403, "who made its key");
    let grace = grace(&server).await;
    assert_eq!(approve(&server, &grace, &id).await.0, 200);
    waiting(&server, &id, ("p", "requester_revoked")).await;
    assert!(server.tools.effects("payments/payout.create").is_empty());
    // Another person of the same name has other keys.
    assert_eq!(put(&server.approver, json!({ "id": "cid" })).await.0, 200);
    assert_eq!(cid.get("/v1/persons").await.0, 401);
    let new = bound(&server, "cid", &["directory"]).await;
    assert_eq!(new.get("/v1/persons").await.0, 200);
    waiting(&server, &id, ("p", "requester_revoked")).await;
    assert_eq!(remove(&bob, "nobody").await.0, 404);
}
