//! Sensitive values: sealed wherever a schema marks them.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_like_value_at_a_sensitive_place_is_sealed() {
    let (server, stub) = server(&[("give", free(), card()), ("take", free(), free())]).await;
    for value in [
        json!({ "$from": "x", "v": CARD }),
        json!({ "$sealed": CARD }),
        json!({ "$literal": CARD }),
        json!([CARD, null]),
    ] {
        stub.book.lock().unwrap().answers.clear();
        stub.answers("give", json!({ "card": value }));
        let id = completed(
            &server,
            json!([{ "id": "give", "use": "kit/give" },
            { "id": "take", "use": "kit/take", "with": {
                "v": { "$from": "give", "path": "/card" } } }]),
        )
        .await;
        assert_eq!(stub.received("take"), json!({ "v": value }));
        told_nothing(&evidence(&server, &id).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_marker_at_a_sensitive_place_is_not_shown_either() {
    let (server, _) = server(&[("take", card(), free())]).await;
    let draft = json!({ "steps": [{ "id": "a", "use": "kit/take",
        "with": { "card": { "$from": "x", "v": CARD } } }] });
    let (_, answer) =
        server.agent.post("/v1/intents", &json!({ "text": "do it", "draft": draft })).await;
    told_nothing(&answer.to_string());
    let id = answer["executionId"].as_str().unwrap().to_owned();
    assert_eq!(server.settled(&id).await["status"], "rejected");
    told_nothing(&evidence(&server, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn additional_properties_that_are_sensitive_are_sealed() {
    let any = json!({ "type": "object", "additionalProperties": { "type": "string",
        "x-sensitive": true } });
    let (server, stub) = server(&[("give", any.clone(), any), ("take", free(), free())]).await;
    stub.answers("give", json!({ "whatever": CARD }));
    let id = completed(
        &server,
        json!([{ "id": "give", "use": "kit/give", "with": { "a": CARD, "b": CARD } },
        { "id": "take", "use": "kit/take", "with": {
            "v": { "$from": "give", "path": "/whatever" } } }]),
    )
    .await;
    assert_eq!(stub.received("give"), json!({ "a": CARD, "b": CARD }));
    assert_eq!(stub.received("take"), json!({ "v": CARD }));
    told_nothing(&evidence(&server, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sensitive_places_of_every_applicator_are_sealed() {
    let mark = || json!({ "x-sensitive": true });
    let schemas = [
        json!({ "properties": { "v": { "prefixItems": [{}, mark()] } } }),
        json!({ "if": { "properties": { "kind": { "const": "card" } } },
            "then": { "properties": { "v": mark() } } }),
        json!({ "if": { "properties": { "kind": { "const": "other" } } },
            "else": { "properties": { "v": mark() } } }),
        json!({ "properties": { "v": { "$ref": "#/$defs/text", "x-sensitive": true } },
            "$defs": { "text": {} } }),
        json!({ "properties": { "v": { "$ref": "#/$defs/hidden" } },
            "$defs": { "hidden": mark() } }),
        json!({ "patternProperties": { "^v$": mark() } }),
        json!({ "dependentSchemas": { "kind": { "properties": { "v": mark() } } } }),
        json!({ "unevaluatedProperties": mark() }),
        json!({ "allOf": [{ "anyOf": [{ "oneOf": [{ "properties": { "v": mark() } }] }] }] }),
        json!({ "not": { "properties": { "v": mark() }, "required": ["nothing"] } }),
        json!({ "properties": { "v": { "contains": mark() } } }),
        json!({ "properties": { "v": { "unevaluatedItems": mark() } } }),
        json!({ "$dynamicRef": "#node", "$defs": {
            "n": { "$dynamicAnchor": "node", "properties": { "v": mark() } } } }),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": { "v": { "items": [{}, {}], "additionalItems": mark() } } }),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#",
            "dependencies": { "kind": { "properties": { "v": mark() } } } }),
        json!({ "$schema": "http://json-schema.org/draft-04/schema#",
            "properties": { "v": { "items": [{}, mark(), mark()] } } }),
    ];
    let names: Vec<String> = (0..schemas.len()).map(|index| format!("op{index}")).collect();
    let operations: Vec<(&str, Value, Value)> = names
        .iter()
        .zip(&schemas)
        .map(|(name, schema)| (name.as_str(), schema.clone(), schema.clone()))
        .collect();
    let (server, stub) = server(&operations).await;
    // Only what is marked holds what must not be told.
    let value = |index: usize| match index {
        0 => json!({ "kind": "card", "v": ["x", CARD, "y"] }),
        13 => json!({ "kind": "card", "v": ["x", "y", CARD] }),
        _ => json!({ "kind": "card", "v": ["x", CARD, CARD] }),
    };
    let steps: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            stub.answers(name, value(index));
            json!({ "id": name, "use": format!("kit/{name}"), "with": value(index) })
        })
        .collect();
    let id = completed(&server, json!(steps)).await;
    for (index, name) in names.iter().enumerate() {
        assert_eq!(stub.received(name), value(index), "{name}");
    }
    told_nothing(&evidence(&server, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_cannot_be_honoured_is_refused_with_its_pointer() {
    let (server, stub) = (TestServer::start().await, StubServer::start().await);
    for (schema, pointer) in [
        (json!({ "propertyNames": { "x-sensitive": true } }), "/propertyNames/x-sensitive"),
        (json!({ "$defs": { "a": { "x-sensitive": true } } }), "/$defs/a/x-sensitive"),
        (json!({ "properties": { "a": { "x-sensitive": "yes" } } }), "/properties/a/x-sensitive"),
        (
            json!({ "properties": { "a": { "contentSchema": { "x-sensitive": true } } } }),
            "/properties/a/contentSchema",
        ),
        (
            json!({ "properties": { "a": { "$id": "https://x.org/a", "x-sensitive": true } } }),
            "/properties/a/$id",
        ),
        (json!({ "unknown": { "x-sensitive": true } }), "/unknown/x-sensitive"),
        (json!({ "additionalItems": { "x-sensitive": true } }), "/additionalItems/x-sensitive"),
    ] {
        for (input, output) in [(schema.clone(), free()), (free(), schema.clone())] {
            let manifest = stub.manifest(&[("op", input, output)]);
            let (status, answer) =
                server.approver.post("/v1/skills", &install_body(&manifest)).await;
            assert_eq!(
                (status, &answer["code"]),
                (400, &json!("MANIFEST_INVALID")),
                "{schema}: {answer}"
            );
            assert!(answer.to_string().contains(pointer), "{pointer}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensitive_output_works_in_the_very_next_step() {
    let (server, stub) = server(&[("give", free(), card()), ("take", free(), free())]).await;
    stub.answers("give", json!({ "card": CARD, "free": 1 }));
    let id = completed(
        &server,
        json!([{ "id": "give", "use": "kit/give" },
        { "id": "a", "use": "kit/take", "with": { "v": { "$from": "give", "path": "/card" } } },
        { "id": "b", "use": "kit/take", "with": { "v": { "$from": "give" } }, "after": ["a"] }]),
    )
    .await;
    assert_eq!(stub.received("take"), json!({ "v": { "card": CARD, "free": 1 } }));
    let text = evidence(&server, &id).await;
    told_nothing(&text);
    let (_, trace) =
        server.agent.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
    assert_eq!(trace["payloads"]["give"], json!({ "card": null, "free": 1 }));
    assert!(trace["seals"]["give"]["/card"].is_string(), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_sensitive_rows_can_be_used() {
    let rows = json!({ "properties": { "rows": { "items": { "x-sensitive": true } } } });
    let (server, stub) = server(&[("give", rows.clone(), rows), ("take", free(), free())]).await;
    let values: Vec<String> = (0..2_500).map(|index| format!("{CARD}-{index}")).collect();
    stub.answers("give", json!({ "rows": values }));
    let given: Vec<String> = (0..120).map(|index| format!("{CARD}-{index}")).collect();
    let id = completed(
        &server,
        json!([{ "id": "give", "use": "kit/give", "with": { "rows": given } },
        { "id": "a", "use": "kit/take", "with": { "v": { "$from": "give", "path": "/rows/24" },
            "w": { "$from": "give", "path": "/rows/2499" } } }]),
    )
    .await;
    assert_eq!(stub.received("give"), json!({ "rows": given }));
    assert_eq!(
        stub.received("take"),
        json!({ "v": format!("{CARD}-24"), "w": format!("{CARD}-2499") })
    );
    told_nothing(&evidence(&server, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tools_words_do_not_repeat_a_sensitive_input() {
    let typed = json!({ "properties": { "card": { "type": "string", "maxLength": 20,
        "x-sensitive": true },
        "n": { "type": "integer" } } });
    let (server, stub) = server(&[
        ("take", typed.clone(), free()),
        ("give", free(), typed),
        ("plain", free(), free()),
    ])
    .await;
    let sentence = format!("no such card: {CARD}");
    for (status, body) in [
        (400, json!({ "title": sentence, "code": "S3CRET" })),
        (422, json!({ "message": sentence })),
        (503, json!({ "title": sentence })),
    ] {
        stub.book.lock().unwrap().answers.clear();
        stub.answers_with("take", status, body);
        let id = server
            .submit(json!([{ "id": "t", "use": "kit/take", "with": { "card": CARD } }]))
            .await;
        let view = server.until(&id, "failed").await;
        assert_eq!(view["steps"][0]["code"], format!("TOOL_{status}"), "{view}");
        told_nothing(&evidence(&server, &id).await);
    }
    // Where nothing is sensitive the tool's words are told.
    stub.answers_with("plain", 400, json!({ "title": "no such person" }));
    let id = server.submit(json!([{ "id": "p", "use": "kit/plain" }])).await;
    assert!(server.until(&id, "failed").await.to_string().contains("no such person"));
    // A sensitive value that came along a wire into an operation that has none of its own.
    stub.answers("give", json!({ "card": CARD }));
    stub.book.lock().unwrap().answers.remove("plain");
    stub.answers_with("plain", 400, json!({ "title": sentence }));
    let id = server
        .submit(json!([{ "id": "g", "use": "kit/give" },
        { "id": "p", "use": "kit/plain", "with": { "v": { "$from": "g", "path": "/card" } } }]))
        .await;
    server.until(&id, "failed").await;
    told_nothing(&evidence(&server, &id).await);
    // Validation names pointers and types: of a literal, of an output, of an explained draft.
    let wrong = json!([{ "id": "t", "use": "kit/take",
        "with": { "card": format!("{CARD}-far-too-long"), "n": CARD } }]);
    let body = json!({ "text": "do it", "draft": { "steps": wrong } });
    let (_, answer) = server.agent.post("/v1/intents", &body).await;
    told_nothing(&answer.to_string());
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let view = server.settled(&id).await;
    assert!(view.to_string().contains("/draft/steps/0/with/n"), "{view}");
    told_nothing(&evidence(&server, &id).await);
    let (_, explained) =
        server.approver.post("/v1/policies/explain", &json!({ "draft": { "steps": wrong } })).await;
    told_nothing(&explained.to_string());
    stub.book.lock().unwrap().answers.clear();
    stub.answers("give", json!({ "card": format!("{CARD}-far-too-long"), "n": CARD }));
    let id = server.submit(json!([{ "id": "g", "use": "kit/give" }])).await;
    server.until(&id, "failed").await;
    told_nothing(&evidence(&server, &id).await);
    // A request whose form is wrong is not quoted.
    let (_, answer) = server
        .agent
        .post(
            "/v1/intents",
            &json!({ "text": "t", "draft": { "steps": [{ "id": "t",
        "use": "kit/take", "with": CARD }] } }),
        )
        .await;
    told_nothing(&answer.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_compares_the_opened_value() {
    let (server, stub) = server(&[("give", free(), card()), ("take", free(), free())]).await;
    stub.answers("give", json!({ "card": CARD }));
    for (test, runs) in [
        (json!({ "notEquals": CARD }), false),
        (json!({ "notEquals": "another" }), true),
        (json!({ "equals": CARD }), true),
        (json!({ "equals": "another" }), false),
        (json!({ "equals": null }), false),
        (json!({ "exists": true }), true),
    ] {
        let mut when = json!({ "$from": "give", "path": "/card" });
        when.as_object_mut().unwrap().extend(test.as_object().cloned().unwrap_or_default());
        let before = stub.calls("take");
        let id = completed(
            &server,
            json!([{ "id": "give", "use": "kit/give" },
            { "id": "take", "use": "kit/take", "when": when }]),
        )
        .await;
        assert_eq!(stub.calls("take") > before, runs, "{test}");
        told_nothing(&evidence(&server, &id).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbooks_sensitive_input_is_sealed_wherever_it_goes() {
    let (server, stub) = (TestServer::start().await, StubServer::start().await);
    let mut manifest = stub.manifest(&[("take", free(), free())]);
    manifest["playbooks"] = json!([{ "key": "go", "inputSchema": card(),
        "draft": { "steps": [{ "id": "t", "use": "kit/take", "with": { "v": { "$input": "/card" },
            "w": { "$literal": { "$input": "/card" } }, "gone": { "$input": "/card/x" } } }] } }]);
    server.install(&server.approver, &manifest).await;
    for card in [json!(CARD), json!({ "$from": "t", "S3CRET": 1 })] {
        let body =
            json!({ "text": "go", "playbook": { "key": "kit/go", "inputs": { "card": card } } });
        let (status, answer) = server.agent.post("/v1/intents", &body).await;
        assert_eq!(status, 202, "{answer}");
        let id = answer["executionId"].as_str().unwrap().to_owned();
        assert_eq!(server.settled(&id).await["status"], "completed");
        assert_eq!(stub.received("take"), json!({ "v": card, "w": { "$input": "/card" } }));
        told_nothing(&evidence(&server, &id).await);
        server.proven(&id).await;
    }
}
