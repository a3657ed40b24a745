//! What callers and generators of clients get.

use super::kit::{ScriptedAnswer, WireServer};
use crate::generated::root;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn api_the_result_of_an_execution_is_there() {
    let secret = json!({ "outputSchema": { "type": "object",
        "properties": { "pin": { "x-sensitive": true } } } });
    let wire = WireServer::start(&[("first", json!({})), ("last", secret)]).await;
    wire.says("first", [ScriptedAnswer::new(200, r#"{"n":1}"#)]);
    wire.says("last", [ScriptedAnswer::new(200, r#"{"pin":"12-34","m":2}"#)]);
    let id = wire.server.submit(json!([
        { "id": "a", "use": "wire/first", "with": {} },
        { "id": "b", "use": "wire/last", "with": {}, "after": ["a"] },
    ]));
    let id = id.await;
    assert_eq!(wire.server.settled(&id).await["status"], "completed");
    let path = format!("/v1/executions/{id}/output");
    let (status, answer) = wire.server.agent.get(&path).await;
    assert_eq!(
        (status, &answer["outputs"]),
        (200, &json!({ "b": { "pin": null, "m": 2 } })),
        "{answer}"
    );
    assert!(
        answer["seals"]["b"]["/pin"].is_string() && !answer.to_string().contains("12-34"),
        "{answer}"
    );
    let (status, answer) = wire.server.agent.get(&format!("{path}?stepId=a")).await;
    assert_eq!((status, &answer["outputs"]), (200, &json!({ "a": { "n": 1 } })), "{answer}");
    assert_eq!(wire.server.agent.get(&format!("{path}?stepId=nobody")).await.0, 404);
    assert_eq!(
        wire.server.neighbour().await.agent.get(&path).await.0,
        404,
        "another workspace's is not there"
    );
}

/// Two generators of clients refuse boolean schemas; enumerations make their types usable.
#[test]
fn api_the_document_is_what_generators_read() {
    fn look(at: &str, value: &Value) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            properties
                .iter()
                .for_each(|(name, schema)| assert!(!schema.is_boolean(), "{at}/properties/{name}"));
        }
        assert!(!value.get("items").is_some_and(Value::is_boolean), "{at}/items");
        let mut alternatives =
            value.get("oneOf").and_then(Value::as_array).into_iter().flatten().peekable();
        assert!(
            alternatives.peek().is_none()
                || !alternatives.all(|one| one.get("const").or_else(|| one.get("enum")).is_some()),
            "{at} is no enumeration"
        );
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, inner)| look(&format!("{at}/{key}"), inner))
            }
            Value::Array(items) => items.iter().for_each(|inner| look(at, inner)),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(root().join("infra/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    look("", &document["components"]["schemas"]);
    let schemas = &document["components"]["schemas"];
    let states = cs_core::execution::StepStatus::ALL.map(cs_core::execution::StepStatus::as_str);
    let listed = schemas["StepView"]["properties"]["status"]["enum"].as_array().unwrap();
    assert_eq!(listed.len(), states.len());
    assert!(states.iter().all(|state| listed.contains(&json!(state))), "{listed:?}");
    assert!(schemas["ExecutionView"]["properties"]["status"]["$ref"].is_string());
    for endpoint in contracts::endpoint::operations().filter(|endpoint| endpoint.offered) {
        let method = endpoint.method.as_str().to_lowercase();
        assert!(document["paths"][endpoint.path][method].is_object(), "{}", endpoint.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_an_envelope_in_either_base64_alphabet_is_installed() {
    let wire = WireServer::start(&[("any", json!({}))]).await;
    let manifest = wire.manifest("1.1.0", &[("any", json!({ "description": "¿÷ÿ? >>>???" }))]);
    let mut body = countersign_it::install_body(&manifest);
    let safe = |text: &Value| {
        json!(text.as_str().unwrap().replace('+', "-").replace('/', "_").trim_end_matches('='))
    };
    let changed = safe(&body["manifest"]["payload"]);
    assert_ne!(changed, body["manifest"]["payload"], "the two alphabets say it alike");
    body["manifest"]["payload"] = changed;
    body["manifest"]["signatures"][0]["sig"] = safe(&body["manifest"]["signatures"][0]["sig"]);
    let (status, answer) = wire.server.approver.post("/v1/skills", &body).await;
    assert_eq!(status, 201, "{answer}");
}
