//! Attacks on sensitive values and their commitments.

use super::*;

fn sensitive_output() -> Value {
    json!({ "outputSchema": { "type": "object",
        "properties": { "card": { "x-sensitive": true } } } })
}

/// A tool that was sent a secret answers with it as the name of a member that its schema does not
/// know, in any form of refusal: no message names it.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_tool_puts_a_secret_into_names() {
    let closed =
        json!({ "type": "object", "properties": { "n": {} }, "additionalProperties": false });
    let typed = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
    let named = json!({ "type": "object", "propertyNames": { "maxLength": 3 } });
    let (server, stub) = server_with(|stub| {
        let of = |key: &str, schema: &Value| stub.operation(key, json!({ "outputSchema": schema }));
        let write = json!({ "outputSchema": closed, "effect": "non_idempotent",
            "labels": { "accepts": ["pii"] } });
        vec![
            stub.operation("give", sensitive_output()),
            of("closed", &closed),
            of("typed", &typed),
            of("named", &named),
            stub.operation("write", write),
        ]
    })
    .await;
    stub.answers("give", 200, json!({ "card": CARD }));
    for operation in ["closed", "typed", "named", "write"] {
        for answer in [json!({ CARD: "x" }), json!({ CARD: { CARD: [CARD] } })] {
            stub.answers(operation, 200, answer);
        }
        for _ in 0..2 {
            let steps = json!([{ "id": "g", "use": "kit/give" },
                { "id": "t", "use": format!("kit/{operation}"),
                    "with": { "v": { "$from": "g", "path": "/card" } } }]);
            let id = submit_steps(&server.agent, steps).await;
            let view = server.settled(&id).await;
            assert!(
                ["failed", "blocked"].contains(&view["status"].as_str().unwrap()),
                "{operation}: {view}"
            );
            told_nothing(&evidence(&server, &id).await);
        }
    }
    // Where nothing is secret the names are told, for whoever mends the tool.
    let steps = json!([{ "id": "t", "use": "kit/closed", "with": {} }]);
    let id = submit_steps(&server.agent, steps).await;
    assert!(server.until(&id, "failed").await.to_string().contains("is not allowed"));
}

/// A sensitive object that comes along a wire does not fit the next input: the refusal names none
/// of its members.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_sensitive_object_that_does_not_fit_the_next_input() {
    let (server, stub) = server_with(|stub| {
        let of = |key: &str, schema: Value| {
            let input = json!({ "type": "object", "properties": { "v": schema } });
            stub.operation(key, json!({ "inputSchema": input }))
        };
        vec![
            stub.operation("give", sensitive_output()),
            of(
                "closed",
                json!({ "type": "object", "properties": {},
                "additionalProperties": false }),
            ),
            of("typed", json!({ "type": "object", "additionalProperties": { "type": "integer" } })),
            of(
                "items",
                json!({ "type": "object",
                "additionalProperties": { "items": { "type": "integer" } } }),
            ),
        ]
    })
    .await;
    stub.answers("give", 200, json!({ "card": { CARD: [CARD] } }));
    for operation in ["closed", "typed", "items"] {
        let steps = json!([{ "id": "g", "use": "kit/give" },
            { "id": "t", "use": format!("kit/{operation}"),
                "with": { "v": { "$from": "g", "path": "/card" } } }]);
        let id = submit_steps(&server.agent, steps).await;
        let view = server.until(&id, "failed").await;
        assert_eq!(step(&view, "t")["code"], "INPUT_INVALID", "{operation}: {view}");
        told_nothing(&evidence(&server, &id).await);
        assert!(stub.calls(operation).is_empty());
    }
}

/// A sensitive literal that looks like a marker nobody knows: the diagnostics do not repeat it.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_secret_that_looks_like_a_marker() {
    let input =
        json!({ "type": "object", "properties": { "card": { "x-sensitive": true }, "free": {} } });
    let (server, _stub) =
        server_with(|stub| vec![stub.operation("take", json!({ "inputSchema": input }))]).await;
    for card in [
        json!({ "$S3CRET": 1 }),
        json!({ "S3CRET": { "$x": 1 } }),
        json!([{ "$S3CRET": { "$S3CRET": 1 } }]),
        json!({ "$from": "t", "S3CRET": 1 }),
        json!({ "$from": { "S3CRET": 1 } }),
        json!({ "$literal": 1, "S3CRET": 2 }),
    ] {
        let draft =
            json!({ "steps": [{ "id": "t", "use": "kit/take", "with": { "card": card } }] });
        let (_, answer) =
            server.agent.post("/v1/intents", &json!({ "text": "do it", "draft": draft })).await;
        told_nothing(&answer.to_string());
        if let Some(id) = answer["executionId"].as_str() {
            assert_eq!(server.settled(id).await["status"], "rejected", "{card}");
            told_nothing(&evidence(&server, id).await);
        }
        let (_, explained) =
            server.approver.post("/v1/policies/explain", &json!({ "draft": draft })).await;
        told_nothing(&explained.to_string());
    }
    // What is not sensitive is named, so that the draft can be mended.
    let draft =
        json!({ "steps": [{ "id": "t", "use": "kit/take", "with": { "free": { "$frm": "t" } } }] });
    let (_, explained) =
        server.approver.post("/v1/policies/explain", &json!({ "draft": draft })).await;
    assert!(explained.to_string().contains("$frm"), "{explained}");
}

/// A tool that was sent a secret repeats it in the error of its callback, in every field.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_callbacks_error_repeats_the_secret() {
    let input = json!({ "type": "object", "properties": { "card": { "x-sensitive": true } } });
    let closed = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let (server, stub) = server_with(|stub| {
        vec![stub.operation(
            "take",
            json!({ "inputSchema": input, "outputSchema": closed, "effect": "idempotent" }),
        )]
    })
    .await;
    stub.answers("take", 202, json!({}));
    for (round, result) in [
        json!({ "error": { "code": "S3CRET", "message": CARD, "title": CARD, CARD: CARD } }),
        json!({ "error": { "code": CARD, "message": [CARD] } }),
        json!({ "error": CARD }),
    ]
    .into_iter()
    .enumerate()
    {
        let id = submit_steps(
            &server.agent,
            json!([{ "id": "t", "use": "kit/take", "with": { "card": CARD } }]),
        )
        .await;
        let call = stub.nth("take", round + 1).await;
        waiting(&server, &id, ("t", "awaiting_callback")).await;
        let bring = |body: Value| {
            let request =
                countersign_it::http().post(&call.callback).bearer_auth(&call.warrant).json(&body);
            async move { request.send().await.unwrap().status().as_u16() }
        };
        // A result that does not fit leaves no trace.
        assert_eq!(bring(json!({ "output": { CARD: CARD } })).await, 422);
        assert_eq!(bring(json!({ "output": {}, "error": {} })).await, 422);
        assert_eq!(bring(result.clone()).await, 200, "{result}");
        server.until(&id, "failed").await;
        told_nothing(&evidence(&server, &id).await);
    }
}

/// Commitments of one value in two places, two executions, or beside a guess of the value: none
/// says that they are equal.
#[tokio::test(flavor = "multi_thread")]
async fn attack_commitments_are_compared_and_guessed() {
    let both = json!({ "type": "object",
        "properties": { "a": { "x-sensitive": true }, "b": { "x-sensitive": true } } });
    let (server, stub) = server_with(|stub| {
        vec![stub.operation("take", json!({ "inputSchema": both, "outputSchema": both }))]
    })
    .await;
    stub.answers("take", 200, json!({ "a": "1", "b": "1" }));
    let mut seen = std::collections::BTreeSet::new();
    let mut count = 0;
    for _ in 0..3 {
        let steps = json!([{ "id": "t", "use": "kit/take", "with": { "a": "1", "b": "1" } }]);
        let id = submit_steps(&server.agent, steps).await;
        server.until(&id, "completed").await;
        let (_, shown) =
            server.approver.get(&format!("/v1/executions/{id}?includePlan=true")).await;
        let (_, trace) =
            server.approver.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
        let plan = &shown["execution"]["plan"]["steps"][0]["seals"];
        for seals in [plan, &trace["seals"]["t"]] {
            for place in ["/a", "/b"] {
                count += 1;
                seen.insert(seals[place].as_str().unwrap().to_owned());
            }
        }
        // Neither the value alone nor any salt that stands in evidence gives the commitment.
        let mut salts = vec![String::new(), id.clone(), "t".into()];
        let text = evidence(&server, &id).await;
        let words = text.split(|c: char| !c.is_ascii_hexdigit());
        salts.extend(words.filter(|word| word.len() == 32).map(str::to_owned));
        for salt in salts {
            assert!(
                !seen.contains(cs_core::seal::commitment(&salt, &json!("1")).unwrap().as_str()),
                "{salt}"
            );
        }
    }
    assert_eq!(seen.len(), count);
}

/// The store is changed so that one execution finds the secrets, or the output, of another: nothing
/// of it reaches a tool.
#[tokio::test]
async fn attack_secrets_and_outputs_are_moved_between_executions() {
    let input = json!({ "inputSchema": { "type": "object",
        "properties": { "card": { "x-sensitive": true } } } });
    let free = json!({ "type": "object" });
    let operations = [
        ("take", input),
        ("give", sensitive_output()),
        ("plain", json!({ "outputSchema": free })),
        ("next", json!({})),
    ];
    let fixture = KitFixture::new(&operations).await;
    let workspace = &fixture.caller.workspace;
    let take = |card: &str| json!([{ "id": "t", "use": "kit/take", "with": { "card": card } }]);
    let (theirs, ours) = (fixture.submit(take(CARD)).await, fixture.submit(take("own")).await);
    fixture
        .copy(&keys::vault(workspace, &theirs, "draft"), &keys::vault(workspace, &ours, "draft"))
        .await;
    let _ = fixture.drive(&ours).await;
    let sent =
        |what: &str| json!(*fixture.tools.received.lock().unwrap()).to_string().contains(what);
    assert!(!sent("S3CRET") && !sent("own"), "neither the other's nor, for it is gone, its own");
    // Another name within one execution, and another workspace of the same name's beginning.
    let steps = json!([{ "id": "g", "use": "kit/give" },
        { "id": "n", "use": "kit/next", "with": { "v": { "$from": "g", "path": "/card" } } }]);
    fixture.tools.answers.lock().unwrap().insert("give".into(), json!({ "card": CARD }));
    let theirs = fixture.run(steps.clone()).await;
    assert!(sent("S3CRET"));
    fixture.tools.received.lock().unwrap().clear();
    fixture.tools.answers.lock().unwrap().insert("give".into(), json!({ "card": "own" }));
    let gated = json!([{ "id": "g", "use": "kit/give" },
        { "id": "w", "use": "kit/plain", "after": ["g"],
            "when": { "$from": "g", "path": "/card", "exists": true } },
        { "id": "n", "use": "kit/next", "after": ["w"],
            "with": { "v": { "$from": "g", "path": "/card" } } }]);
    let ours = fixture.submit(gated).await;
    freeze_operation(&fixture, "kit/next", true).await;
    let _ = fixture.drive(&ours).await;
    let step = "g".parse().unwrap();
    fixture
        .copy(&keys::vault(workspace, &theirs, "out#g"), &keys::vault(workspace, &ours, "out#g"))
        .await;
    freeze_operation(&fixture, "kit/next", false).await;
    let _ = fixture.drive(&ours).await;
    assert!(!sent("S3CRET"), "{:?}", fixture.tools.received.lock().unwrap());
    // The output as a whole.
    fixture
        .copy(&keys::output(workspace, &theirs, &step), &keys::output(workspace, &ours, &step))
        .await;
    let _ = fixture.drive(&ours).await;
    assert!(!sent("S3CRET"), "{:?}", fixture.tools.received.lock().unwrap());
}
