//! Blobs and artifacts of another workspace, and commitments in answers.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_commitment_in_a_tools_answer_opens_nothing() {
    let operations = [("pay", card(), free()), ("note", free(), free()), ("mail", free(), free())];
    let (server, stub) = server(&operations).await;
    let steps = json!([{ "id": "pay", "use": "kit/pay", "with": { "card": CARD } },
        { "id": "note", "use": "kit/note", "after": ["pay"] },
        { "id": "mail", "use": "kit/mail", "with": {
            "body": { "$from": "note", "path": "/body" } } }]);
    let bodies: [fn(&Value) -> Value; 4] = [
        |seal| json!({ "$sealed": seal }),
        |seal| json!({ "value": null, "seals": { "": seal } }),
        |_| json!({ "$from": "pay", "path": "/card" }),
        |seal| json!({ "$literal": { "$sealed": seal } }),
    ];
    for body in bodies {
        // The commitment of this very execution: whoever reads it can tell it to the tool.
        let intent = json!({ "text": "do it", "mode": "manual", "draft": { "steps": steps } });
        let (status, answer) = server.agent.post("/v1/intents", &intent).await;
        assert_eq!(status, 202, "{answer}");
        let id = answer["executionId"].as_str().unwrap().to_owned();
        let (_, shown) = server.agent.get(&format!("/v1/executions/{id}?includePlan=true")).await;
        let seal = &shown["execution"]["plan"]["steps"][0]["seals"]["/card"];
        assert!(seal.as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{shown}");
        let body = body(seal);
        stub.book.lock().unwrap().answers.clear();
        stub.answers("note", json!({ "body": body }));
        let plan = json!({ "planId": shown["execution"]["planId"] });
        for (verb, success) in [("plan/verify", 200), ("start", 202)] {
            let (status, answer) =
                server.agent.post(&format!("/v1/executions/{id}/{verb}"), &plan).await;
            assert_eq!(status, success, "{verb}: {answer}");
        }
        server.until(&id, "completed").await;
        assert_eq!(stub.received("pay"), json!({ "card": CARD }));
        assert_eq!(stub.received("mail"), json!({ "body": body }));
        told_nothing(&evidence(&server, &id).await);
        server.proven(&id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_like_answer_is_passed_on_as_it_is() {
    let (server, stub) = server(&[("give", json!({}), json!({})), ("take", free(), free())]).await;
    let zeros = format!("sha256:{}", "0".repeat(64));
    for value in [
        json!({ "$sealed": zeros }),
        json!({ "$blob": zeros }),
        json!({ "$input": "/x" }),
        json!([{ "$from": "give" }]),
    ] {
        stub.book.lock().unwrap().answers.clear();
        stub.answers("give", value.clone());
        completed(
            &server,
            json!([{ "id": "give", "use": "kit/give" },
            { "id": "take", "use": "kit/take", "with": { "v": { "$from": "give" } } }]),
        )
        .await;
        assert_eq!(stub.received("take"), json!({ "v": value }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_another_workspace_is_not_reached_by_its_digest() {
    let (server, stub) = server(&[("give", free(), free())]).await;
    stub.answers(
        "give",
        json!({ "large": format!("{}{}", "x".repeat(70_000), "S3CRET of the first workspace") }),
    );
    let id = completed(&server, json!([{ "id": "give", "use": "kit/give" }])).await;
    let (_, trace) = server.agent.get(&format!("/v1/executions/{id}/trace")).await;
    let mut digests: Vec<String> = trace
        .to_string()
        .split('"')
        .filter(|word| word.starts_with("sha256:"))
        .map(str::to_owned)
        .collect();
    assert!(digests.len() > 3);
    // And the name of the blob itself, which stands in no event.
    let record =
        keys::output(&server.identity.workspace, &id.parse().unwrap(), &"give".parse().unwrap());
    let stored = server.node().table().get(&record).await.unwrap().unwrap();
    let name = String::from_utf8(stored.body).unwrap();
    assert!(name.starts_with("sha256:"), "the output is a blob: {name}");
    digests.push(name);

    let other = server.another().await;
    let agent = Client::new(&server.url(), &other.agent_key);
    let approver = Client::new(&server.url(), &other.approver_key);
    let trust = json!({ "trust": local::demo_tools::trust_policy() });
    assert_eq!(approver.post("/v1/trust", &trust).await.0, 200);
    let manifest = stub.manifest(&[("give", free(), json!({}))]);
    assert_eq!(approver.post("/v1/skills", &install_body(&manifest)).await.0, 201);
    for digest in digests {
        stub.book.lock().unwrap().answers.clear();
        stub.answers("give", json!({ "$blob": digest }));
        let body =
            json!({ "text": "do it", "draft": { "steps": [{ "id": "give", "use": "kit/give" }] } });
        let (_, answer) = agent.post("/v1/intents", &body).await;
        let id = answer["executionId"].as_str().unwrap().to_owned();
        let (_, view) = agent.get(&format!("/v1/executions/{id}?waitSeconds=20")).await;
        assert_eq!(view["execution"]["status"], "completed", "{view}");
        let (_, trace) =
            agent.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
        assert_eq!(trace["payloads"]["give"], json!({ "$blob": digest }));
        // Nor as the artifact of a skill.
        let mut install = install_body(&manifest);
        install["artifactDigest"] = json!(digest);
        install["artifact"] = json!({ "blob": digest });
        let (status, refused) = approver.post("/v1/skills", &install).await;
        assert!(status >= 400 && !refused.to_string().contains("S3CRET"), "{refused}");
    }
}

// The sibling: a file that another workspace uploaded.
#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_of_another_workspace_is_not_reached_by_its_digest() {
    let (server, stub) = (TestServer::start().await, StubServer::start().await);
    let publisher = SkillSigner::from_secret(&[5; 32]);
    let trust = json!({ "trust": { "trustedPublishers": [{ "id": "countersign-examples",
        "keys": [publisher.pinned()], "provenancePrefixes": ["examples/skills"] }] } });
    let files =
        BTreeMap::from([("README.md".to_owned(), b"S3CRET of the first workspace".to_vec())]);
    let manifest = serde_json::from_value(stub.manifest(&[("give", free(), free())])).unwrap();
    let packed = artifact::pack(&files).unwrap();
    let signed = publisher
        .sign(manifest, &packed, now().plus_ms(-1_000), now().plus_ms(86_400_000))
        .unwrap();
    let whole = serde_json::to_value(&signed).unwrap();
    let mut named = whole.clone();
    named["artifact"] = json!({ "blob": signed.artifact_digest });
    let other = Client::new(&server.url(), &server.another().await.approver_key);
    for person in [&server.approver, &other] {
        assert_eq!(person.post("/v1/trust", &trust).await.0, 200);
    }
    let (status, answer) = server.approver.post("/v1/skills", &whole).await;
    assert_eq!(status, 201, "{answer}");
    let (status, refused) = other.post("/v1/skills", &named).await;
    assert!(status >= 400 && refused["code"] == "ARTIFACT_DIGEST_MISMATCH", "{refused}");
    assert!(refused.to_string().contains("no such blob"), "{refused}");
    // What it uploaded itself a workspace may name.
    let (status, answer) = server.approver.post("/v1/skills", &named).await;
    assert_eq!(status, 201, "{answer}");
}
