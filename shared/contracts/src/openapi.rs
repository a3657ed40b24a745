//! Generates `infra/openapi.json` (OpenAPI 3.1) and `events/schema/*.json` (events, skill
//! manifests) from the types and the table of endpoints.

use crate::{
    Code,
    capability::CONTRACTS_VERSION,
    channel::{ChannelAcknowledged, ChannelChallenge, Provider},
    command::ExecutionSteeredAnswer,
    endpoint::{self, Auth, COMMON, Endpoint, IDENTITY, Method},
    event::{CloudEvent, ExecutionEvent, WorkspaceEvent},
    governance::EmptyQuery,
    manifest::{Envelope, Manifest},
    operation::{self, Shape, schema},
    problem::Problem,
};
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Examples by operation name, merged into the document: request body and response body.
pub type Examples = BTreeMap<String, Value>;

/// The OpenAPI document of every offered operation. `examples` maps `name.request` and
/// `name.response` to bodies.
pub fn document(examples: &Examples) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = SchemaGenerator::new(settings);
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let problem = generator.subschema_for::<Problem>().to_value();
    let shapes = shapes();
    for endpoint in endpoint::operations().filter(|endpoint| endpoint.offered) {
        // An operation without them is not in the document, and a test says so.
        let Some(&shapes) = shapes.get(endpoint.name) else { continue };
        let item = operation(endpoint, shapes, &mut generator, &problem, examples);
        paths
            .entry(endpoint.path)
            .or_default()
            .insert(endpoint.method.as_str().to_lowercase(), item);
    }
    let mut schemas = Value::Object(generator.take_definitions(true));
    for_generators(&mut schemas);
    let mut paths = json!(paths);
    for_generators(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Countersign",
            "version": CONTRACTS_VERSION,
            "summary": "A control plane for agentic execution",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:7411", "description": "countersign dev" }],
        "security": [{ "apiKey": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": { "type": "http", "scheme": "bearer" },
                "warrant": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "the warrant that the call carried" },
            },
        },
    })
}

// What every generator of clients reads: `{}` for a schema that is `true`, one `enum` for the
// values of an enumeration, whether they are described or not.
fn for_generators(document: &mut Value) {
    match document {
        Value::Object(map) => {
            let places =
                map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
            for (_, schema) in places.filter(|(_, schema)| **schema == Value::Bool(true)) {
                *schema = json!({});
            }
            if map.get("items") == Some(&Value::Bool(true)) {
                map.insert("items".into(), json!({}));
            }
            if let Some(values) = map.get("oneOf").and_then(enumeration) {
                map.remove("oneOf");
                let description =
                    map.get("description").and_then(Value::as_str).unwrap_or_default();
                let described = format!("{description} {}", values.described);
                map.insert("description".into(), json!(described.trim()));
                map.insert("type".into(), json!("string"));
                map.insert("enum".into(), json!(values.names));
            }
            let data = ["const", "default", "enum", "example", "examples"];
            map.iter_mut()
                .filter(|(key, _)| !data.contains(&key.as_str()))
                .for_each(|(_, value)| for_generators(value));
        }
        Value::Array(items) => items.iter_mut().for_each(for_generators),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

struct Enumeration {
    names: Vec<Value>,
    described: String,
}

// The values of a `oneOf` that holds nothing else.
fn enumeration(alternatives: &Value) -> Option<Enumeration> {
    let mut names = Vec::new();
    let mut described = Vec::new();
    for alternative in alternatives.as_array()? {
        if let Some(values) = alternative.get("enum").and_then(Value::as_array) {
            names.extend(values.iter().cloned());
            continue;
        }
        let name = alternative.get("const")?.as_str()?;
        names.push(json!(name));
        if let Some(text) = alternative.get("description").and_then(Value::as_str) {
            described.push(format!("`{name}`: {text}"));
        }
    }
    Some(Enumeration { names, described: described.join(" ") })
}

// What a tool brings is read tolerantly, and no type of ours.
fn step_result(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "`output`, or `error`",
        "properties": {
            "executionId": { "type": "string" },
            "stepId": { "type": "string" },
            "output": { "description": "what the operation's output schema says" },
            "error": {
                "type": "object",
                "properties": { "code": { "type": "string" }, "message": { "type": "string" } },
            },
        },
        "required": ["executionId", "stepId"],
    })
}

fn key_set(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "a JSON Web Key Set (RFC 7517) of Ed25519 keys (RFC 8037)",
        "properties": { "keys": { "type": "array", "items": { "type": "object" } } },
        "required": ["keys"],
    })
}

fn health(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "properties": { "status": { "const": "ok" } },
        "required": ["status"] })
}

// JSON of the provider's, or a form of Twilio's.
fn provider_request(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "as the provider documents it; Twilio sends a form",
        "properties": {
            "provider": { "enum": Provider::ALL.map(Provider::as_str) },
            "channelKey": { "type": "string",
                "description": "the workspace and the channel's key, with a dot in between" },
        },
    })
}

fn interaction(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object",
        "description": "a form, as Slack documents interaction payloads",
        "properties": { "payload": { "type": "string", "description": "JSON" } },
        "required": ["payload"] })
}

fn interacted(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object",
        "description": "empty, or what is wrong in the dialogue",
        "properties": { "response_action": { "const": "errors" },
            "errors": { "type": "object" } } })
}

fn challenge(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "description": "`hub.challenge`" })
}

/// Request and answer of each endpoint, by its name: of the operations, and of what has no type of
/// ours.
fn shapes() -> BTreeMap<&'static str, (Shape, Shape)> {
    let others: [(&str, (Shape, Shape)); 6] = [
        ("step.callback", (step_result, schema::<ExecutionSteeredAnswer>)),
        ("warrant.keys", (schema::<EmptyQuery>, key_set)),
        ("health", (schema::<EmptyQuery>, health)),
        ("channel.receive", (provider_request, schema::<ChannelAcknowledged>)),
        ("channel.challenge", (schema::<ChannelChallenge>, challenge)),
        ("slack.interact", (interaction, interacted)),
    ];
    operation::shapes().into_iter().chain(others).collect()
}

fn operation(
    endpoint: &Endpoint,
    (request, response): (Shape, Shape),
    generator: &mut SchemaGenerator,
    problem: &Value,
    examples: &Examples,
) -> Value {
    let (parameters, body) =
        split_request(endpoint, resolve(request(generator).to_value(), generator));
    let response = response(generator).to_value();
    let emits: Vec<String> =
        endpoint.emits.iter().map(|event| format!("controlPlane.{event}")).collect();
    let mut item = json!({
        "operationId": endpoint.key(),
        "summary": endpoint.summary,
        "tags": [endpoint.capability.key()],
        "x-version": CONTRACTS_VERSION,
        "x-grant": endpoint.grant_key(),
        "x-emits": emits,
        "parameters": parameters,
        "responses": responses(endpoint, response, problem, examples),
    });
    match endpoint.auth {
        // Browsers show sessions and links, and to pages only.
        Auth::ApiKey | Auth::Session | Auth::Link => {}
        Auth::Warrant => set(&mut item, "", "security", json!([{ "warrant": [] }])),
        // Each provider's own way; no client of ours sends it.
        Auth::None | Auth::Signed => set(&mut item, "", "security", json!([])),
    }
    if endpoint.method == Method::Post {
        let mut content = json!({ "schema": body });
        if let Some(example) = examples.get(&format!("{}.request", endpoint.name)) {
            set(&mut content, "", "example", example.clone());
        }
        set(
            &mut item,
            "",
            "requestBody",
            json!({ "required": true, "content": { "application/json": content } }),
        );
    }
    item
}

// The parameters of a request, and what is left for its body.
fn split_request(endpoint: &Endpoint, mut body: Value) -> (Vec<Value>, Value) {
    let in_path = |name: &str| endpoint.path.contains(&format!("{{{name}}}"));
    let mut parameters: Vec<Value> = Vec::new();
    if let Some(properties) = body.get_mut("properties").and_then(Value::as_object_mut) {
        let named: Vec<String> = properties
            .keys()
            .filter(|name| endpoint.method == Method::Get || in_path(name))
            .cloned()
            .collect();
        for name in named {
            let schema = properties.remove(&name);
            let place = if in_path(&name) { "path" } else { "query" };
            parameters.push(
                json!({ "name": name, "in": place, "required": place == "path", "schema": schema }),
            );
        }
        if let Some(required) = body.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name.as_str().is_none_or(|name| !in_path(name)));
        }
    }
    if endpoint.takes_idempotency_key() {
        // Every command takes them, and refuses what they say unless it is so.
        if let Some(properties) = body.get_mut("properties").and_then(Value::as_object_mut) {
            for (name, what) in IDENTITY {
                let schema = json!({ "type": "string",
                    "description": format!("refused unless it is {what}") });
                properties.entry(*name).or_insert(schema);
            }
        }
        parameters.push(json!({ "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "the same key and body have one effect and the same answer",
            "schema": { "type": "string", "minLength": 1, "maxLength": 128 } }));
    }
    parameters.push(json!({ "name": "traceparent", "in": "header", "required": false,
            "schema": { "type": "string" } }));
    (parameters, body)
}

fn responses(
    endpoint: &Endpoint,
    response: Value,
    problem: &Value,
    examples: &Examples,
) -> Map<String, Value> {
    let mut success =
        json!({ "description": "done", "content": { "application/json": { "schema": response } } });
    if let Some(example) = examples.get(&format!("{}.response", endpoint.name)) {
        set(&mut success, "/content/application~1json", "example", example.clone());
    }
    let mut responses = Map::from_iter([(endpoint.success.to_string(), success)]);
    for (status, codes) in by_status(endpoint) {
        let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
        responses.insert(
            status.to_string(),
            json!({ "description": names.join(", "),
                "content": { "application/problem+json": { "schema": problem } } }),
        );
    }
    responses
}

fn resolve(schema: Value, generator: &SchemaGenerator) -> Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    name.and_then(|name| generator.definitions().get(name)).cloned().unwrap_or(schema)
}

fn set(value: &mut Value, pointer: &str, key: &str, inner: Value) {
    if let Some(object) = value.pointer_mut(pointer).and_then(Value::as_object_mut) {
        object.insert(key.to_owned(), inner);
    }
}

fn by_status(endpoint: &Endpoint) -> BTreeMap<u16, Vec<Code>> {
    let mut map: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in COMMON.iter().chain(endpoint.codes) {
        map.entry(code.status()).or_default().push(*code);
    }
    map
}

/// JSON Schema of every event as published, by file name.
pub fn event_schemas() -> BTreeMap<String, Value> {
    let mut schemas = BTreeMap::new();
    let generator = || SchemaSettings::draft2020_12().into_generator();
    let whole = [
        generator().into_root_schema_for::<ExecutionEvent>(),
        generator().into_root_schema_for::<WorkspaceEvent>(),
    ];
    let variants = whole.into_iter().flat_map(|whole| {
        let definitions = whole.get("$defs").cloned().unwrap_or_default();
        let variants = whole.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
        variants.into_iter().map(move |variant| (variant, definitions.clone()))
    });
    for (variant, definitions) in variants {
        let Some(key) = variant.pointer("/properties/type/const").and_then(Value::as_str) else {
            continue;
        };
        let data = variant.pointer("/properties/data").cloned().unwrap_or_default();
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": key,
            "type": "object",
            "properties": {
                "specversion": { "const": "1.0" },
                "id": { "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" },
                "source": { "type": "string" },
                "subject": { "type": "string" },
                "type": { "const": key },
                "time": { "type": "string", "format": "date-time" },
                "datacontenttype": { "const": "application/json" },
                "sequence": { "type": "integer", "minimum": 1 },
                "actor": { "type": "string" },
                "actorkind": { "enum": ["human", "service", "agent", "tool"] },
                "keyid": { "type": "string" },
                "onbehalfof": { "type": "string" },
                "channel": { "type": "string" },
                "traceparent": { "type": "string" },
                "data": data,
            },
            "required": ["specversion", "id", "source", "subject", "type", "time", "data"],
            "$defs": used(&data, &definitions),
        });
        schemas.insert(format!("{}.schema.json", key.trim_start_matches("controlPlane.")), schema);
    }
    let envelope =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<CloudEvent>();
    schemas.insert("cloudevent.schema.json".into(), envelope.to_value());
    // What publishers write and sign.
    let manifest =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Manifest>();
    schemas.insert("skill.manifest.schema.json".into(), manifest.to_value());
    let envelope =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Envelope>();
    schemas.insert("skill.envelope.schema.json".into(), envelope.to_value());
    schemas
}

// The definitions that `schema` reaches, transitively.
fn used(schema: &Value, definitions: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    let mut open = vec![schema.clone()];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                let name = map
                    .get("$ref")
                    .and_then(Value::as_str)
                    .and_then(|path| path.strip_prefix("#/$defs/"));
                if let Some((name, definition)) =
                    name.and_then(|name| Some((name, definitions.get(name)?)))
                    && !found.contains_key(name)
                {
                    found.insert(name.to_owned(), definition.clone());
                    open.push(definition.clone());
                }
                open.extend(map.into_iter().map(|(_, inner)| inner));
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}
