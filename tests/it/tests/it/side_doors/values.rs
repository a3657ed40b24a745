//! Data is never control, and secrets stay out of evidence.

use crate::common::{CARD, evidence, told_nothing};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use countersign_it::{Client, House, anywhere, install_body, now};
use cs_core::{artifact, publisher::Publisher};
use engine::{keys, ports::Table as _};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
};

#[derive(Default)]
struct Book {
    /// By operation; the last one stays.
    answers: HashMap<String, VecDeque<(u16, Value)>>,
    received: Vec<(String, Value)>,
}

/// A tool server that answers what it is told to, and keeps what it was sent.
#[derive(Clone)]
struct Stub {
    url: String,
    book: Arc<Mutex<Book>>,
}

impl Stub {
    async fn start() -> Self {
        async fn call(
            State(book): State<Arc<Mutex<Book>>>,
            Path(name): Path<String>,
            body: axum::body::Bytes,
        ) -> (StatusCode, Json<Value>) {
            let mut book = book.lock().unwrap();
            book.received.push((name.clone(), serde_json::from_slice(&body).unwrap()));
            let answers = book.answers.entry(name).or_default();
            let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            let (status, body) = answer.unwrap_or((200, json!({})));
            (StatusCode::from_u16(status).unwrap(), Json(body))
        }
        let book: Arc<Mutex<Book>> = Arc::default();
        let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/{operation}", post(call)).with_state(book.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, book }
    }

    fn answers(&self, operation: &str, body: Value) {
        self.answers_with(operation, 200, body);
    }

    fn answers_with(&self, operation: &str, status: u16, body: Value) {
        self.book.lock().unwrap().answers.entry(operation.into()).or_default().push_back((status, body));
    }

    /// What an operation was sent last.
    fn received(&self, operation: &str) -> Value {
        let book = self.book.lock().unwrap();
        let last = book.received.iter().rev().find(|(name, _)| name == operation);
        last.unwrap_or_else(|| panic!("`{operation}` was not called")).1.clone()
    }

    fn calls(&self, operation: &str) -> usize {
        self.book.lock().unwrap().received.iter().filter(|(name, _)| name == operation).count()
    }

    /// A skill `kit` of reads: name, input schema, output schema.
    fn manifest(&self, operations: &[(&str, Value, Value)]) -> Value {
        let operations: Vec<Value> = operations
            .iter()
            .map(|(key, input, output)| {
                let mut input = input.clone();
                input["type"] = json!("object");
                json!({ "key": key, "title": key, "effect": "read", "riskTier": "low", "inputSchema": input,
                    "outputSchema": output, "timeoutSeconds": 10,
                    "binding": { "kind": "http", "url": format!("{}/{key}", self.url) } })
            })
            .collect();
        json!({ "schemaVersion": "1.0.0", "skill": { "key": "kit", "version": "1.0.0" },
            "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
            "artifact": { "digest": format!("sha256:{}", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") },
            "operations": operations })
    }
}

async fn house(operations: &[(&str, Value, Value)]) -> (House, Stub) {
    let (house, stub) = (House::start().await, Stub::start().await);
    house.install(&house.approver, &stub.manifest(operations)).await;
    (house, stub)
}

fn free() -> Value {
    json!({ "type": "object" })
}

fn card() -> Value {
    json!({ "type": "object", "properties": { "card": { "x-sensitive": true } } })
}

async fn completed(house: &House, steps: Value) -> String {
    let id = house.submit(steps).await;
    let view = house.settled(&id).await;
    assert_eq!(view["status"], "completed", "{view}");
    house.proven(&id).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commitment_in_a_tools_answer_opens_nothing() {
    let operations = [("pay", card(), free()), ("note", free(), free()), ("mail", free(), free())];
    let (house, stub) = house(&operations).await;
    let steps = json!([{ "id": "pay", "use": "kit/pay", "with": { "card": CARD } },
        { "id": "note", "use": "kit/note", "after": ["pay"] },
        { "id": "mail", "use": "kit/mail", "with": { "body": { "$from": "note", "path": "/body" } } }]);
    let bodies: [fn(&Value) -> Value; 4] = [
        |seal| json!({ "$sealed": seal }),
        |seal| json!({ "value": null, "seals": { "": seal } }),
        |_| json!({ "$from": "pay", "path": "/card" }),
        |seal| json!({ "$literal": { "$sealed": seal } }),
    ];
    for body in bodies {
        // The commitment of this very execution: whoever reads it can tell it to the tool.
        let intent = json!({ "text": "do it", "mode": "manual", "draft": { "steps": steps } });
        let (status, answer) = house.agent.post("/v1/intents", &intent).await;
        assert_eq!(status, 202, "{answer}");
        let id = answer["executionId"].as_str().unwrap().to_owned();
        let (_, shown) = house.agent.get(&format!("/v1/executions/{id}?includePlan=true")).await;
        let seal = &shown["execution"]["plan"]["steps"][0]["seals"]["/card"];
        assert!(seal.as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{shown}");
        let body = body(seal);
        stub.book.lock().unwrap().answers.clear();
        stub.answers("note", json!({ "body": body }));
        let plan = json!({ "planId": shown["execution"]["planId"] });
        for (verb, success) in [("plan/verify", 200), ("start", 202)] {
            let (status, answer) = house.agent.post(&format!("/v1/executions/{id}/{verb}"), &plan).await;
            assert_eq!(status, success, "{verb}: {answer}");
        }
        house.until(&id, "completed").await;
        assert_eq!(stub.received("pay"), json!({ "card": CARD }));
        assert_eq!(stub.received("mail"), json!({ "body": body }));
        told_nothing(&evidence(&house, &id).await);
        house.proven(&id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_like_answer_is_passed_on_as_it_is() {
    let (house, stub) = house(&[("give", json!({}), json!({})), ("take", free(), free())]).await;
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
            &house,
            json!([{ "id": "give", "use": "kit/give" },
            { "id": "take", "use": "kit/take", "with": { "v": { "$from": "give" } } }]),
        )
        .await;
        assert_eq!(stub.received("take"), json!({ "v": value }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_another_workspace_is_not_reached_by_its_digest() {
    let (house, stub) = house(&[("give", free(), free())]).await;
    stub.answers("give", json!({ "large": format!("{}{}", "x".repeat(70_000), "S3CRET of the first workspace") }));
    let id = completed(&house, json!([{ "id": "give", "use": "kit/give" }])).await;
    let (_, trace) = house.agent.get(&format!("/v1/executions/{id}/trace")).await;
    let mut digests: Vec<String> =
        trace.to_string().split('"').filter(|word| word.starts_with("sha256:")).map(str::to_owned).collect();
    assert!(digests.len() > 3);
    // And the name of the blob itself, which stands in no event.
    let record = keys::output(&house.identity.workspace, &id.parse().unwrap(), &"give".parse().unwrap());
    let stored = house.node().table().get(&record).await.unwrap().unwrap();
    let name = String::from_utf8(stored.body).unwrap();
    assert!(name.starts_with("sha256:"), "the output is a blob: {name}");
    digests.push(name);

    let other = house.another().await;
    let agent = Client::new(&house.url(), &other.agent_key);
    let approver = Client::new(&house.url(), &other.approver_key);
    let trust = json!({ "trust": local::demo_tools::trust_policy() });
    assert_eq!(approver.post("/v1/trust", &trust).await.0, 200);
    let manifest = stub.manifest(&[("give", free(), json!({}))]);
    assert_eq!(approver.post("/v1/skills", &install_body(&manifest)).await.0, 201);
    for digest in digests {
        stub.book.lock().unwrap().answers.clear();
        stub.answers("give", json!({ "$blob": digest }));
        let body = json!({ "text": "do it", "draft": { "steps": [{ "id": "give", "use": "kit/give" }] } });
        let (_, answer) = agent.post("/v1/intents", &body).await;
        let id = answer["executionId"].as_str().unwrap().to_owned();
        let (_, view) = agent.get(&format!("/v1/executions/{id}?waitSeconds=20")).await;
        assert_eq!(view["execution"]["status"], "completed", "{view}");
        let (_, trace) = agent.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
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
    let (house, stub) = (House::start().await, Stub::start().await);
    let publisher = Publisher::from_secret(&[5; 32]);
    let trust = json!({ "trust": { "trustedPublishers": [{ "id": "countersign-examples",
        "keys": [publisher.pinned()], "provenancePrefixes": ["examples/skills"] }] } });
    let files = BTreeMap::from([("README.md".to_owned(), b"S3CRET of the first workspace".to_vec())]);
    let manifest = serde_json::from_value(stub.manifest(&[("give", free(), free())])).unwrap();
    let packed = artifact::pack(&files).unwrap();
    let signed = publisher.sign(manifest, &packed, now().plus_ms(-1_000), now().plus_ms(86_400_000)).unwrap();
    let whole = serde_json::to_value(&signed).unwrap();
    let mut named = whole.clone();
    named["artifact"] = json!({ "blob": signed.artifact_digest });
    let other = Client::new(&house.url(), &house.another().await.approver_key);
    for person in [&house.approver, &other] {
        assert_eq!(person.post("/v1/trust", &trust).await.0, 200);
    }
    let (status, answer) = house.approver.post("/v1/skills", &whole).await;
    assert_eq!(status, 201, "{answer}");
    let (status, refused) = other.post("/v1/skills", &named).await;
    assert!(status >= 400 && refused["code"] == "ARTIFACT_DIGEST_MISMATCH", "{refused}");
    assert!(refused.to_string().contains("no such blob"), "{refused}");
    // What it uploaded itself a workspace may name.
    let (status, answer) = house.approver.post("/v1/skills", &named).await;
    assert_eq!(status, 201, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_like_value_at_a_sensitive_place_is_sealed() {
    let (house, stub) = house(&[("give", free(), card()), ("take", free(), free())]).await;
    for value in [
        json!({ "$from": "x", "v": CARD }),
        json!({ "$sealed": CARD }),
        json!({ "$literal": CARD }),
        json!([CARD, null]),
    ] {
        stub.book.lock().unwrap().answers.clear();
        stub.answers("give", json!({ "card": value }));
        let id = completed(
            &house,
            json!([{ "id": "give", "use": "kit/give" },
            { "id": "take", "use": "kit/take", "with": { "v": { "$from": "give", "path": "/card" } } }]),
        )
        .await;
        assert_eq!(stub.received("take"), json!({ "v": value }));
        told_nothing(&evidence(&house, &id).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_marker_at_a_sensitive_place_is_not_shown_either() {
    let (house, _) = house(&[("take", card(), free())]).await;
    let draft =
        json!({ "steps": [{ "id": "a", "use": "kit/take", "with": { "card": { "$from": "x", "v": CARD } } }] });
    let (_, answer) = house.agent.post("/v1/intents", &json!({ "text": "do it", "draft": draft })).await;
    told_nothing(&answer.to_string());
    let id = answer["executionId"].as_str().unwrap().to_owned();
    assert_eq!(house.settled(&id).await["status"], "rejected");
    told_nothing(&evidence(&house, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn additional_properties_that_are_sensitive_are_sealed() {
    let any = json!({ "type": "object", "additionalProperties": { "type": "string", "x-sensitive": true } });
    let (house, stub) = house(&[("give", any.clone(), any), ("take", free(), free())]).await;
    stub.answers("give", json!({ "whatever": CARD }));
    let id = completed(
        &house,
        json!([{ "id": "give", "use": "kit/give", "with": { "a": CARD, "b": CARD } },
        { "id": "take", "use": "kit/take", "with": { "v": { "$from": "give", "path": "/whatever" } } }]),
    )
    .await;
    assert_eq!(stub.received("give"), json!({ "a": CARD, "b": CARD }));
    assert_eq!(stub.received("take"), json!({ "v": CARD }));
    told_nothing(&evidence(&house, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sensitive_places_of_every_applicator_are_sealed() {
    let mark = || json!({ "x-sensitive": true });
    let schemas = [
        json!({ "properties": { "v": { "prefixItems": [{}, mark()] } } }),
        json!({ "if": { "properties": { "kind": { "const": "card" } } }, "then": { "properties": { "v": mark() } } }),
        json!({ "if": { "properties": { "kind": { "const": "other" } } }, "else": { "properties": { "v": mark() } } }),
        json!({ "properties": { "v": { "$ref": "#/$defs/text", "x-sensitive": true } }, "$defs": { "text": {} } }),
        json!({ "properties": { "v": { "$ref": "#/$defs/hidden" } }, "$defs": { "hidden": mark() } }),
        json!({ "patternProperties": { "^v$": mark() } }),
        json!({ "dependentSchemas": { "kind": { "properties": { "v": mark() } } } }),
        json!({ "unevaluatedProperties": mark() }),
        json!({ "allOf": [{ "anyOf": [{ "oneOf": [{ "properties": { "v": mark() } }] }] }] }),
        json!({ "not": { "properties": { "v": mark() }, "required": ["nothing"] } }),
        json!({ "properties": { "v": { "contains": mark() } } }),
        json!({ "properties": { "v": { "unevaluatedItems": mark() } } }),
        json!({ "$dynamicRef": "#node", "$defs": { "n": { "$dynamicAnchor": "node", "properties": { "v": mark() } } } }),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": { "v": { "items": [{}, {}], "additionalItems": mark() } } }),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#",
            "dependencies": { "kind": { "properties": { "v": mark() } } } }),
        json!({ "$schema": "http://json-schema.org/draft-04/schema#",
            "properties": { "v": { "items": [{}, mark(), mark()] } } }),
    ];
    let names: Vec<String> = (0..schemas.len()).map(|index| format!("op{index}")).collect();
    let operations: Vec<(&str, Value, Value)> =
        names.iter().zip(&schemas).map(|(name, schema)| (name.as_str(), schema.clone(), schema.clone())).collect();
    let (house, stub) = house(&operations).await;
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
    let id = completed(&house, json!(steps)).await;
    for (index, name) in names.iter().enumerate() {
        assert_eq!(stub.received(name), value(index), "{name}");
    }
    told_nothing(&evidence(&house, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_cannot_be_honoured_is_refused_with_its_pointer() {
    let (house, stub) = (House::start().await, Stub::start().await);
    for (schema, pointer) in [
        (json!({ "propertyNames": { "x-sensitive": true } }), "/propertyNames/x-sensitive"),
        (json!({ "$defs": { "a": { "x-sensitive": true } } }), "/$defs/a/x-sensitive"),
        (json!({ "properties": { "a": { "x-sensitive": "yes" } } }), "/properties/a/x-sensitive"),
        (
            json!({ "properties": { "a": { "contentSchema": { "x-sensitive": true } } } }),
            "/properties/a/contentSchema",
        ),
        (json!({ "properties": { "a": { "$id": "https://x.org/a", "x-sensitive": true } } }), "/properties/a/$id"),
        (json!({ "unknown": { "x-sensitive": true } }), "/unknown/x-sensitive"),
        (json!({ "additionalItems": { "x-sensitive": true } }), "/additionalItems/x-sensitive"),
    ] {
        for (input, output) in [(schema.clone(), free()), (free(), schema.clone())] {
            let manifest = stub.manifest(&[("op", input, output)]);
            let (status, answer) = house.approver.post("/v1/skills", &install_body(&manifest)).await;
            assert_eq!((status, &answer["code"]), (400, &json!("MANIFEST_INVALID")), "{schema}: {answer}");
            assert!(answer.to_string().contains(pointer), "{pointer}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensitive_output_works_in_the_very_next_step() {
    let (house, stub) = house(&[("give", free(), card()), ("take", free(), free())]).await;
    stub.answers("give", json!({ "card": CARD, "free": 1 }));
    let id = completed(
        &house,
        json!([{ "id": "give", "use": "kit/give" },
        { "id": "a", "use": "kit/take", "with": { "v": { "$from": "give", "path": "/card" } } },
        { "id": "b", "use": "kit/take", "with": { "v": { "$from": "give" } }, "after": ["a"] }]),
    )
    .await;
    assert_eq!(stub.received("take"), json!({ "v": { "card": CARD, "free": 1 } }));
    let text = evidence(&house, &id).await;
    told_nothing(&text);
    let (_, trace) = house.agent.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
    assert_eq!(trace["payloads"]["give"], json!({ "card": null, "free": 1 }));
    assert!(trace["seals"]["give"]["/card"].is_string(), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_sensitive_rows_can_be_used() {
    let rows = json!({ "properties": { "rows": { "items": { "x-sensitive": true } } } });
    let (house, stub) = house(&[("give", rows.clone(), rows), ("take", free(), free())]).await;
    let values: Vec<String> = (0..2_500).map(|index| format!("{CARD}-{index}")).collect();
    stub.answers("give", json!({ "rows": values }));
    let given: Vec<String> = (0..120).map(|index| format!("{CARD}-{index}")).collect();
    let id = completed(
        &house,
        json!([{ "id": "give", "use": "kit/give", "with": { "rows": given } },
        { "id": "a", "use": "kit/take", "with": { "v": { "$from": "give", "path": "/rows/24" },
            "w": { "$from": "give", "path": "/rows/2499" } } }]),
    )
    .await;
    assert_eq!(stub.received("give"), json!({ "rows": given }));
    assert_eq!(stub.received("take"), json!({ "v": format!("{CARD}-24"), "w": format!("{CARD}-2499") }));
    told_nothing(&evidence(&house, &id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tools_words_do_not_repeat_a_sensitive_input() {
    let typed = json!({ "properties": { "card": { "type": "string", "maxLength": 20, "x-sensitive": true },
        "n": { "type": "integer" } } });
    let (house, stub) =
        house(&[("take", typed.clone(), free()), ("give", free(), typed), ("plain", free(), free())]).await;
    let sentence = format!("no such card: {CARD}");
    for (status, body) in [
        (400, json!({ "title": sentence, "code": "S3CRET" })),
        (422, json!({ "message": sentence })),
        (503, json!({ "title": sentence })),
    ] {
        stub.book.lock().unwrap().answers.clear();
        stub.answers_with("take", status, body);
        let id = house.submit(json!([{ "id": "t", "use": "kit/take", "with": { "card": CARD } }])).await;
        let view = house.until(&id, "failed").await;
        assert_eq!(view["steps"][0]["code"], format!("TOOL_{status}"), "{view}");
        told_nothing(&evidence(&house, &id).await);
    }
    // Where nothing is sensitive the tool's words are told.
    stub.answers_with("plain", 400, json!({ "title": "no such person" }));
    let id = house.submit(json!([{ "id": "p", "use": "kit/plain" }])).await;
    assert!(house.until(&id, "failed").await.to_string().contains("no such person"));
    // A sensitive value that came along a wire into an operation that has none of its own.
    stub.answers("give", json!({ "card": CARD }));
    stub.book.lock().unwrap().answers.remove("plain");
    stub.answers_with("plain", 400, json!({ "title": sentence }));
    let id = house
        .submit(json!([{ "id": "g", "use": "kit/give" },
        { "id": "p", "use": "kit/plain", "with": { "v": { "$from": "g", "path": "/card" } } }]))
        .await;
    house.until(&id, "failed").await;
    told_nothing(&evidence(&house, &id).await);
    // Validation names pointers and types: of a literal, of an output, of an explained draft.
    let wrong =
        json!([{ "id": "t", "use": "kit/take", "with": { "card": format!("{CARD}-far-too-long"), "n": CARD } }]);
    let body = json!({ "text": "do it", "draft": { "steps": wrong } });
    let (_, answer) = house.agent.post("/v1/intents", &body).await;
    told_nothing(&answer.to_string());
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let view = house.settled(&id).await;
    assert!(view.to_string().contains("/draft/steps/0/with/n"), "{view}");
    told_nothing(&evidence(&house, &id).await);
    let (_, explained) = house.approver.post("/v1/policies/explain", &json!({ "draft": { "steps": wrong } })).await;
    told_nothing(&explained.to_string());
    stub.book.lock().unwrap().answers.clear();
    stub.answers("give", json!({ "card": format!("{CARD}-far-too-long"), "n": CARD }));
    let id = house.submit(json!([{ "id": "g", "use": "kit/give" }])).await;
    house.until(&id, "failed").await;
    told_nothing(&evidence(&house, &id).await);
    // A request whose form is wrong is not quoted.
    let (_, answer) = house
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
    let (house, stub) = house(&[("give", free(), card()), ("take", free(), free())]).await;
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
            &house,
            json!([{ "id": "give", "use": "kit/give" },
            { "id": "take", "use": "kit/take", "when": when }]),
        )
        .await;
        assert_eq!(stub.calls("take") > before, runs, "{test}");
        told_nothing(&evidence(&house, &id).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbooks_sensitive_input_is_sealed_wherever_it_goes() {
    let (house, stub) = (House::start().await, Stub::start().await);
    let mut manifest = stub.manifest(&[("take", free(), free())]);
    manifest["playbooks"] = json!([{ "key": "go", "inputSchema": card(),
        "draft": { "steps": [{ "id": "t", "use": "kit/take", "with": { "v": { "$input": "/card" },
            "w": { "$literal": { "$input": "/card" } }, "gone": { "$input": "/card/x" } } }] } }]);
    house.install(&house.approver, &manifest).await;
    for card in [json!(CARD), json!({ "$from": "t", "S3CRET": 1 })] {
        let body = json!({ "text": "go", "playbook": { "key": "kit/go", "inputs": { "card": card } } });
        let (status, answer) = house.agent.post("/v1/intents", &body).await;
        assert_eq!(status, 202, "{answer}");
        let id = answer["executionId"].as_str().unwrap().to_owned();
        assert_eq!(house.settled(&id).await["status"], "completed");
        assert_eq!(stub.received("take"), json!({ "v": card, "w": { "$input": "/card" } }));
        told_nothing(&evidence(&house, &id).await);
        house.proven(&id).await;
    }
}

/// A small linear congruential generator: the test needs variety, not unpredictability.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn value(&mut self, depth: usize) -> Value {
        const KEYS: [&str; 14] = [
            "$from", "$literal", "$sealed", "$blob", "$input", "path", "seals", "value", "__entity", "__extn", "a/b",
            "~", "", "blob",
        ];
        match self.roll(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.roll(2) == 0),
            2 => json!(self.roll(1_000)),
            3 => json!(format!("sha256:{:064x}", self.roll(10))),
            4 => json!(["s0", "/v", "give", "S3CRET"][self.roll(4)]),
            5 => (0..self.roll(3)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let members: Map<String, Value> = (0..self.roll(4))
                    .map(|_| (KEYS[self.roll(KEYS.len())].to_owned(), self.value(depth - 1)))
                    .collect();
                members.into()
            }
        }
    }
}

/// The property, through the whole control plane: what the next tool gets is the value, whatever it looks like, from a
/// literal, an output, sensitive or not.
#[tokio::test(flavor = "multi_thread")]
async fn data_is_never_control() {
    let operations = [
        ("give", json!({}), json!({})),
        ("hide", json!({}), json!({ "x-sensitive": true })),
        ("take", free(), free()),
    ];
    let (house, stub) = house(&operations).await;
    let mut dice = Dice(7);
    for _ in 0..60 {
        let (given, hidden, literal) = (dice.value(3), dice.value(3), dice.value(3));
        stub.book.lock().unwrap().answers.clear();
        stub.answers("give", given.clone());
        stub.answers("hide", hidden.clone());
        let id = completed(
            &house,
            json!([{ "id": "give", "use": "kit/give" }, { "id": "hide", "use": "kit/hide" },
            { "id": "take", "use": "kit/take", "with": { "g": { "$from": "give" }, "h": { "$from": "hide" },
                "l": { "$literal": literal } } }]),
        )
        .await;
        assert_eq!(stub.received("take"), json!({ "g": given, "h": hidden, "l": literal }));
        let (_, trace) = house.agent.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
        assert_eq!(trace["payloads"]["give"], given);
        assert_eq!(trace["payloads"]["hide"], Value::Null);
    }
}
