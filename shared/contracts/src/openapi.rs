//! Generates `infra/openapi.json` (OpenAPI 3.1) and `events/schema/*.json` (events, skill manifests) from the types and the table of endpoints.

use crate::{
    Code, access as a,
    capability::{CONTRACTS_VERSION, Capabilities},
    command as c,
    endpoint::{self, Auth, COMMON, Endpoint, IDENTITY, Method},
    event::{CloudEvent, Event},
    governance as g,
    manifest::{Envelope, Manifest},
    problem::Problem,
    query as q, subscription as s,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Examples by operation name, merged into the document: request body and response body.
pub type Examples = BTreeMap<String, Value>;

/// The OpenAPI document of every offered operation. `examples` maps `name.request` and `name.response` to bodies.
pub fn document(examples: &Examples) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = SchemaGenerator::new(settings);
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let problem = generator.subschema_for::<Problem>().to_value();
    for endpoint in endpoint::all().filter(|endpoint| endpoint.offered) {
        // An operation without them is not in the document, and a test says so.
        let Some(shapes) = shapes(endpoint.name) else { continue };
        let item = operation(endpoint, shapes, &mut generator, &problem, examples);
        paths.entry(endpoint.path).or_default().insert(endpoint.method.as_str().to_lowercase(), item);
    }
    let mut schemas = Value::Object(generator.take_definitions(true));
    without_booleans(&mut schemas);
    let mut paths = json!(paths);
    without_booleans(&mut paths);
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

// `true` as a schema is `{}`, which every generator of clients reads.
fn without_booleans(document: &mut Value) {
    match document {
        Value::Object(map) => {
            let places = map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
            for (_, schema) in places.filter(|(_, schema)| **schema == Value::Bool(true)) {
                *schema = json!({});
            }
            if map.get("items") == Some(&Value::Bool(true)) {
                map.insert("items".into(), json!({}));
            }
            let data = ["const", "default", "enum", "example", "examples"];
            map.iter_mut()
                .filter(|(key, _)| !data.contains(&key.as_str()))
                .for_each(|(_, value)| without_booleans(value));
        }
        Value::Array(items) => items.iter_mut().for_each(without_booleans),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

type Shape = fn(&mut SchemaGenerator) -> Schema;

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
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
    json_schema!({ "type": "object", "properties": { "status": { "const": "ok" } }, "required": ["status"] })
}

/// Request and answer of an endpoint.
fn shapes(name: &str) -> Option<(Shape, Shape)> {
    let shapes: (Shape, Shape) = match name {
        "intent.submit" => (schema::<c::SubmitIntent>, schema::<c::IntentSubmitted>),
        "plan.compile" => (schema::<c::CompilePlan>, schema::<c::PlanCompiledAnswer>),
        "plan.verify" => (schema::<c::VerifyPlan>, schema::<c::PlanVerifiedAnswer>),
        "execution.start" => (schema::<c::StartExecution>, schema::<c::ExecutionStartedAnswer>),
        "execution.approve" => (schema::<c::ApproveExecution>, schema::<c::ExecutionApproved>),
        "execution.reject" => (schema::<c::RejectExecution>, schema::<c::ExecutionRejected>),
        "execution.cancel" => (schema::<c::CancelExecution>, schema::<c::ExecutionCancelledAnswer>),
        "execution.pause" => (schema::<c::SteerExecution>, schema::<c::ExecutionSteeredAnswer>),
        "execution.resume" => (schema::<c::SteerExecution>, schema::<c::ExecutionSteeredAnswer>),
        "execution.retry" => (schema::<c::RetryExecution>, schema::<c::ExecutionSteeredAnswer>),
        "execution.abort" => (schema::<c::SteerExecution>, schema::<c::ExecutionSteeredAnswer>),
        "execution.resolve" => (schema::<c::ResolveStep>, schema::<c::StepResolvedAnswer>),
        "execution.evidence.export" => (schema::<c::ExportEvidence>, schema::<c::EvidenceExportedAnswer>),
        "skill.install" => (schema::<c::InstallSkill>, schema::<c::SkillInstalledAnswer>),
        "skill.disable" => (schema::<c::DisableSkill>, schema::<c::SkillDisabledAnswer>),
        "skill.enable" => (schema::<c::EnableSkill>, schema::<c::SkillEnabledAnswer>),
        "subscription.create" => (schema::<s::CreateSubscription>, schema::<s::SubscriptionCreated>),
        "subscription.list" => (schema::<s::ListSubscriptions>, schema::<s::SubscriptionList>),
        "subscription.remove" => (schema::<s::NamedSubscription>, schema::<s::SubscriptionRemoved>),
        "subscription.secret.rotate" => (schema::<s::NamedSubscription>, schema::<s::SecretRotated>),
        "tool.secret.rotate" => (schema::<s::RotateToolSecret>, schema::<s::SecretRotated>),
        "key.create" => (schema::<a::CreateKey>, schema::<a::KeyCreated>),
        "key.list" => (schema::<a::ListKeys>, schema::<a::KeyList>),
        "key.revoke" => (schema::<a::RevokeKey>, schema::<a::ApiKey>),
        "deciders.set" => (schema::<a::SetDeciders>, schema::<a::Deciders>),
        "deciders.get" => (schema::<g::Look>, schema::<a::Deciders>),
        "policy.activate" => (schema::<c::ActivatePolicy>, schema::<c::PolicyActivatedAnswer>),
        "policy.shadow" => (schema::<g::ShadowPolicy>, schema::<g::Shadow>),
        "trust.set" => (schema::<g::SetTrust>, schema::<g::TrustAnswer>),
        "freeze.set" => (schema::<g::SetFreeze>, schema::<g::Freezes>),
        "budget.set" => (schema::<g::SetBudgets>, schema::<g::BudgetsAnswer>),
        "signals.set" => (schema::<g::SetSignals>, schema::<g::SignalsAnswer>),
        "execution.get" => (schema::<q::GetExecution>, schema::<q::ExecutionAnswer>),
        "execution.list" => (schema::<q::ListExecutions>, schema::<q::ExecutionList>),
        "execution.output" => (schema::<q::GetOutput>, schema::<q::ExecutionOutput>),
        "trace.get" => (schema::<q::GetTrace>, schema::<q::Trace>),
        "workspace.log" => (schema::<q::GetWorkspaceLog>, schema::<q::WorkspaceLog>),
        "trace.replay" => (schema::<q::ReplayTrace>, schema::<q::Replay>),
        "policy.explain" => (schema::<q::ExplainPolicy>, schema::<q::Explanation>),
        "policy.backtest" => (schema::<q::BacktestPolicy>, schema::<q::Backtest>),
        "policy.get" => (schema::<g::Look>, schema::<g::PolicySets>),
        "policy.shadow.get" => (schema::<g::Look>, schema::<g::Shadow>),
        "trust.get" => (schema::<g::Look>, schema::<g::TrustAnswer>),
        "freeze.list" => (schema::<g::Look>, schema::<g::Freezes>),
        "budget.get" => (schema::<g::Look>, schema::<g::BudgetsAnswer>),
        "signals.get" => (schema::<g::Look>, schema::<g::SignalsAnswer>),
        "skill.list" => (schema::<q::ListSkills>, schema::<q::SkillList>),
        "skill.verify" => (schema::<c::InstallSkill>, schema::<q::SkillVerified>),
        "capabilities" => (schema::<q::GetCapabilities>, schema::<Capabilities>),
        "step.callback" => (step_result, schema::<c::ExecutionSteeredAnswer>),
        "warrant.keys" => (schema::<g::Look>, key_set),
        "health" => (schema::<g::Look>, health),
        _ => return None,
    };
    Some(shapes)
}

fn operation(
    endpoint: &Endpoint,
    (request, response): (Shape, Shape),
    generator: &mut SchemaGenerator,
    problem: &Value,
    examples: &Examples,
) -> Value {
    let request = resolve(request(generator).to_value(), generator);
    let response = response(generator).to_value();
    let in_path = |name: &str| endpoint.path.contains(&format!("{{{name}}}"));
    let mut parameters: Vec<Value> = Vec::new();
    let mut body = request.clone();
    if let Some(properties) = body.get_mut("properties").and_then(Value::as_object_mut) {
        let named: Vec<String> =
            properties.keys().filter(|name| endpoint.method == Method::Get || in_path(name)).cloned().collect();
        for name in named {
            let schema = properties.remove(&name);
            let place = if in_path(&name) { "path" } else { "query" };
            parameters.push(json!({ "name": name, "in": place, "required": place == "path", "schema": schema }));
        }
        if let Some(required) = body.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name.as_str().is_none_or(|name| !in_path(name)));
        }
    }
    if endpoint.takes_idempotency_key() {
        // Every command takes them, and refuses what they say unless it is so.
        if let Some(properties) = body.get_mut("properties").and_then(Value::as_object_mut) {
            for (name, what) in IDENTITY {
                let schema = json!({ "type": "string", "description": format!("refused unless it is {what}") });
                properties.entry(*name).or_insert(schema);
            }
        }
        parameters.push(json!({ "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "the same key and body have one effect and the same answer",
            "schema": { "type": "string", "minLength": 1, "maxLength": 128 } }));
    }
    parameters
        .push(json!({ "name": "traceparent", "in": "header", "required": false, "schema": { "type": "string" } }));
    let mut responses = Map::new();
    let mut success = json!({ "description": "done", "content": { "application/json": { "schema": response } } });
    if let Some(example) = examples.get(&format!("{}.response", endpoint.name)) {
        set(&mut success, "/content/application~1json", "example", example.clone());
    }
    responses.insert(endpoint.success.to_string(), success);
    for (status, codes) in by_status(endpoint) {
        let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
        responses.insert(
            status.to_string(),
            json!({ "description": names.join(", "), "content": { "application/problem+json": { "schema": problem } } }),
        );
    }
    let mut item = json!({
        "operationId": endpoint.key(),
        "summary": endpoint.summary,
        "tags": [endpoint.capability.key()],
        "x-version": CONTRACTS_VERSION,
        "x-grant": endpoint.grant_key(),
        "x-emits": endpoint.emits.iter().map(|event| format!("controlPlane.{event}")).collect::<Vec<_>>(),
        "parameters": parameters,
        "responses": responses,
    });
    match endpoint.auth {
        Auth::ApiKey => {}
        Auth::Warrant => set(&mut item, "", "security", json!([{ "warrant": [] }])),
        Auth::None => set(&mut item, "", "security", json!([])),
    }
    if endpoint.method == Method::Post {
        let mut content = json!({ "schema": body });
        if let Some(example) = examples.get(&format!("{}.request", endpoint.name)) {
            set(&mut content, "", "example", example.clone());
        }
        set(&mut item, "", "requestBody", json!({ "required": true, "content": { "application/json": content } }));
    }
    item
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
    let whole = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Event>().to_value();
    let definitions = whole.get("$defs").cloned().unwrap_or_default();
    for variant in whole.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
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
    let envelope = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<CloudEvent>();
    schemas.insert("cloudevent.schema.json".into(), envelope.to_value());
    // What publishers write and sign.
    let manifest = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Manifest>();
    schemas.insert("skill.manifest.schema.json".into(), manifest.to_value());
    let envelope = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Envelope>();
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
                let name = map.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
                if let Some((name, definition)) = name.and_then(|name| Some((name, definitions.get(name)?)))
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
