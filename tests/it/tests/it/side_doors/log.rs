//! Evidence without holes.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use contracts::{evidence::Manifest, query::GetWorkspaceLog};
use countersign_it::{TestServer, anywhere, archive::MemoryArchive, fixture::EngineFixture, now};
use countersign_store::{Clock as _, Stream, memory::MemoryTable};
use cs_core::trace::Verifier;
use engine::Steer;
use local::demo_tools::{Behaviour, trust_policy};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn find(id: &str) -> Value {
    json!([{ "id": id, "use": "crm/customer.find", "with": { "email": "a@x.org" } }])
}

async fn seq(fixture: &EngineFixture, id: &contracts::ExecutionId) -> u64 {
    let trace = contracts::query::GetTrace {
        execution_id: id.clone(),
        include_payloads: false,
        from_seq: None,
    };
    fixture.engine.queries.trace(&fixture.agent, trace).await.unwrap().head.seq
}

/// The whole workspace log, page by page, each verified here.
async fn log(server: &TestServer) -> Vec<Value> {
    let (mut found, mut path) = (Vec::new(), "/v1/log?limit=3".to_owned());
    loop {
        let (status, page) = server.approver.get(&path).await;
        assert_eq!(
            (status, &page["verified"], &page["waiting"]),
            (200, &json!(true), &json!(0)),
            "{page}"
        );
        found.extend(page["entries"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/log?limit=3&cursor={next}"),
            None => break,
        }
    }
    let mut verifier = Verifier::default();
    found.iter().for_each(|entry| verifier.push(&entry["event"]).unwrap());
    found
}

// authority-is-on-record: seven policy activations, trust changed: read, and exported.
#[tokio::test]
async fn what_changes_authority_is_read_and_exported() {
    let server = TestServer::start().await;
    for number in 0..7 {
        let policies = format!("{}\n// {number}\n", policy::BASELINE);
        let (status, answer) =
            server.approver.post("/v1/policies", &json!({ "policies": policies })).await;
        assert_eq!(status, 200, "{answer}");
    }
    server.trust(&trust_policy()).await;
    let new = json!({ "actor": { "kind": "agent", "id": "bot" },
        "grants": ["control-plane.execution.read"] });
    let (status, made) = server.approver.post("/v1/keys", &new).await;
    assert_eq!(status, 201, "{made}");
    let id = made["key"]["id"].as_str().unwrap();
    let (status, revoked) =
        server.approver.post(&format!("/v1/keys/{id}/revoke"), &json!({})).await;
    assert_eq!(status, 200, "{revoked}");
    let entries = log(&server).await;
    for kind in ["created", "revoked"] {
        let kind = format!("controlPlane.key.{kind}");
        let entry =
            entries.iter().find(|entry| entry["type"] == kind && entry["metadata"]["key"] == id);
        let data = &entry.unwrap_or_else(|| panic!("no {kind}"))["metadata"];
        assert_eq!(
            (&data["holder"]["id"], &data["grants"][0]),
            (&json!("bot"), &new["grants"][0]),
            "{data}"
        );
    }
    assert!(
        !json!(entries).to_string().contains(made["apiKey"].as_str().unwrap()),
        "the secret is nowhere"
    );
    assert_eq!(entries[0]["type"], "controlPlane.workspace.created");
    let of = |kind: &str| {
        entries.iter().filter(|entry| entry["type"] == format!("controlPlane.{kind}")).count()
    };
    assert_eq!(of("policy.activated"), 7);
    assert!(of("governance.changed") >= 1 && of("skill.installed") >= 1);
    for entry in &entries {
        let event = &entry["event"];
        assert!(event["actor"]["id"].is_string(), "who: {event}");
        assert!(event["channel"].is_string(), "from which channel: {event}");
        assert_eq!(
            event["channel"] == "api_key",
            event["keyId"].is_string(),
            "with which key: {event}"
        );
    }
    let archive = MemoryArchive::default();
    server.node().engine().exports.export_until(&archive, now().plus_ms(1), 60_000).await.unwrap();
    let workspace = server.identity.workspace.as_str();
    let every: Vec<u64> = (1..=entries.len() as u64).collect();
    assert_eq!(archive.sequence(workspace, "log"), every, "every event, once");
    let (_, page) = server.approver.get("/v1/log?cursor=0").await;
    assert_eq!(page["code"], "VALIDATION_FAILED");
    let (_, page) = server.approver.get("/v1/log?cursor=1000000").await;
    assert_eq!(page["entries"], json!([]));
}

// evidence: the clock jumps a day ahead once and returns.
#[tokio::test]
async fn a_clock_that_jumps_a_day_ahead_and_returns_stops_no_export() {
    let fixture = EngineFixture::new(Arc::new(MemoryTable::default())).await;
    let archive = MemoryArchive::default();
    let before = fixture.submit(find("before")).await;
    fixture.drive(&before).await;
    fixture.clock.pass(DAY_MS);
    let ahead = fixture.submit(find("ahead")).await;
    fixture.drive(&ahead).await;
    // In the wrong future, an hour is over, and exported.
    fixture.engine.exports.export(&archive, 60_000).await.unwrap();
    fixture.clock.pass(-DAY_MS);
    let after = fixture.submit(find("after")).await;
    fixture.drive(&after).await;
    fixture.clock.pass(HOUR_MS);
    let exported = fixture.engine.exports.export(&archive, 60_000).await.unwrap();
    assert!(exported.clock_back_ms > 0 && exported.ahead > 0, "the jump is reported: {exported:?}");
    for id in [&before, &ahead, &after] {
        let stored = seq(&fixture, id).await;
        assert_eq!(
            archive.sequence("acme", id.as_str()),
            (1..=stored).collect::<Vec<_>>(),
            "{id}: each event once"
        );
    }
    let manifests = archive.manifests("acme");
    let back = |(manifest, _): &(Manifest, _)| manifest.to < manifest.from;
    assert!(manifests.iter().any(back), "the manifest says it, too");
    for hour in 1..=3 {
        let id = fixture.submit(find("again")).await;
        fixture.drive(&id).await;
        fixture.clock.pass(HOUR_MS);
        fixture.engine.exports.export(&archive, 60_000).await.unwrap();
        assert_eq!(
            seq(&fixture, &id).await,
            7,
            "what had expired in the wrong future is valid again"
        );
        assert_eq!(archive.sequence("acme", id.as_str()).len(), 7, "hour {hour} after it returned");
    }
    let manifests = archive.manifests("acme");
    let numbers: Vec<u64> = manifests.iter().map(|(manifest, _)| manifest.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "without gaps");
    assert!(manifests.iter().skip(1).all(|(manifest, _)| manifest.previous.is_some()));
}

// A clock that runs backwards and forwards at random, commits whenever, exports whenever: every
// event of every stream is exported once and in order.
#[tokio::test]
async fn whatever_the_clock_does_every_event_is_exported_once_and_in_order() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for _ in 0..8 {
        let fixture = EngineFixture::new(Arc::new(MemoryTable::default())).await;
        let (archive, mut ids) = (MemoryArchive::default(), Vec::new());
        for _ in 0..40 {
            match draw(6) {
                0 | 1 => ids.push(fixture.submit(find("a")).await),
                2 if !ids.is_empty() => {
                    let id = &ids[draw(ids.len() as u64) as usize];
                    fixture.drive(id).await;
                }
                3 => fixture.clock.pass(draw(90) as i64 * 60_000),
                4 => fixture.clock.pass((draw(100) as i64 - 50) * HOUR_MS),
                _ => {
                    fixture.engine.exports.export(&archive, 60_000).await.unwrap();
                }
            }
        }
        fixture.clock.pass(9_000 * HOUR_MS);
        fixture.engine.exports.export(&archive, 60_000).await.unwrap();
        for id in &ids {
            let stored = seq(&fixture, id).await;
            assert_eq!(archive.sequence("acme", id.as_str()), (1..=stored).collect::<Vec<_>>());
        }
        let log =
            fixture.engine.queries.workspace_log(&fixture.agent, Default::default()).await.unwrap();
        assert_eq!(archive.sequence("acme", "log"), (1..=log.head.seq).collect::<Vec<_>>());
        // Segments of one stream link to one another.
        let mut heads = std::collections::BTreeMap::new();
        for (manifest, _) in archive.manifests("acme") {
            for part in &manifest.files {
                for (stream, range) in &part.segments {
                    let before = heads.insert(stream.clone(), part.heads[stream].clone());
                    assert_eq!(
                        before.unwrap_or_else(contracts::Digest::zero),
                        range.prev,
                        "{stream}"
                    );
                }
            }
        }
        assert!(heads.contains_key(&Stream::Log));
    }
}

// evidence: abort with a call in flight, its outcome resolved later.
#[tokio::test]
async fn what_comes_after_an_abort_is_exported_when_it_comes_and_sealed_is_true() {
    let server = TestServer::start().await;
    server.tools.behave("payments/payout.create", Behaviour::Lose);
    for _ in 0..3 {
        server.tools.behave("payments/payout.find", Behaviour::Fail { status: 500 });
    }
    let with = json!({ "account": "DE02", "amount": 5, "currency": "EUR" });
    let id =
        server.submit(json!([{ "id": "m", "use": "payments/payout.create", "with": with }])).await;
    server.approve(&id).await;
    let in_doubt = async || {
        let answer = server.agent.get(&format!("/v1/executions/{id}")).await.1;
        answer["execution"]["steps"][0]["waitsFor"].clone()
    };
    for _ in 0..400 {
        if in_doubt().await == "outcome_unknown" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(in_doubt().await, "outcome_unknown");
    let command = |verb: &str| format!("/v1/executions/{id}/{verb}");
    let (status, answer) =
        server.approver.post(&command("abort"), &json!({ "reason": "enough" })).await;
    let (status, answer) = if status == 403 {
        server.agent.post(&command("abort"), &json!({ "reason": "enough" })).await
    } else {
        (status, answer)
    };
    assert_eq!(status, 200, "{answer}");
    let sealed = async || server.approver.get(&command("trace")).await.1["head"].clone();
    let head = sealed().await;
    assert_eq!(head["sealed"], false, "its call is in doubt, and somebody may resolve it");
    let archive = MemoryArchive::default();
    let engine = server.node().engine();
    let workspace = server.identity.workspace.as_str();
    engine.exports.export_until(&archive, now().plus_ms(1), 60_000).await.unwrap();
    let first = archive.sequence(workspace, &id);
    assert_eq!(first.len() as u64, head["seq"].as_u64().unwrap());
    let resolve = json!({ "stepId": "m", "outcome": "failed" });
    let (status, answer) = server.approver.post(&command("resolve"), &resolve).await;
    assert_eq!(status, 200, "{answer}");
    let head = sealed().await;
    engine.exports.export_until(&archive, now().plus_ms(1), 60_000).await.unwrap();
    let all = archive.sequence(workspace, &id);
    assert_eq!(
        all,
        (1..=head["seq"].as_u64().unwrap()).collect::<Vec<_>>(),
        "the late entry is exported, once"
    );
    assert!(all.len() > first.len());
    let manifests = archive.manifests(workspace);
    let mut late = manifests.iter().flat_map(|(_, events)| events);
    assert!(late.any(|event| event["type"] == "controlPlane.execution.step.resolved"));
    assert_eq!(head["sealed"], true, "aborted for good, nothing in doubt: nothing can follow");
}

/// A subscriber that keeps what it gets.
async fn subscriber() -> (String, Received) {
    let received: Received = Arc::default();
    let receive = |State(received): State<Received>, headers: HeaderMap, body: Bytes| async move {
        received.lock().unwrap().push((headers, body));
        StatusCode::NO_CONTENT
    };
    let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(receive)).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// Waits for an event of a type; what came of it.
async fn receive(received: &Received, kind: &str) -> (HeaderMap, Bytes) {
    for _ in 0..600 {
        let of = |(_, body): &&(HeaderMap, Bytes)| {
            serde_json::from_slice::<Value>(body).unwrap()["type"] == format!("controlPlane.{kind}")
        };
        if let Some(found) = received.lock().unwrap().iter().rev().find(of) {
            return found.clone();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{kind} never came");
}

// A flood of refused installs grows the log by a bounded amount; how many there were is on record.
#[tokio::test]
async fn a_flood_of_refused_installs_is_counted_not_recorded_singly() {
    let fixture = EngineFixture::new(Arc::new(MemoryTable::default())).await;
    let log = async || {
        fixture
            .engine
            .queries
            .workspace_log(&fixture.agent, Default::default())
            .await
            .unwrap()
            .head
            .seq
    };
    let install = async || {
        let zeros = format!("sha256:{}", "0".repeat(64));
        let request =
            json!({ "skillKey": "x", "version": "1.0.0", "artifactDigest": zeros, "manifest": {} });
        fixture
            .engine
            .skills
            .install_skill(&fixture.agent, serde_json::from_value(request).unwrap())
            .await
            .unwrap_err();
    };
    let before = log().await;
    for _ in 0..200 {
        install().await;
    }
    assert_eq!(log().await - before, 60, "the first of a minute");
    fixture.clock.pass(60_000);
    install().await;
    let request = GetWorkspaceLog { limit: Some(200), cursor: None };
    let entries =
        fixture.engine.queries.workspace_log(&fixture.agent, request).await.unwrap().entries;
    assert_eq!(
        entries.last().unwrap().metadata["unrecorded"],
        140,
        "and how many came behind them"
    );
}

// evidence: POST /v1/webhooks, and verify `webhook-signature` with the public library.
#[tokio::test]
async fn each_subscription_has_a_secret_of_its_own_shown_once_and_rotated() {
    let server = TestServer::start().await;
    let (url, received) = subscriber().await;
    let verifies = |secret: &str, (headers, body): &(HeaderMap, Bytes)| {
        standardwebhooks::Webhook::new(secret).unwrap().verify(body, headers).is_ok()
    };
    let (status, hook) = server.approver.keyed("/v1/webhooks", "one", &json!({ "url": url })).await;
    assert_eq!(status, 201, "{hook}");
    let (_, again) = server.approver.keyed("/v1/webhooks", "one", &json!({ "url": url })).await;
    assert!(again["secret"].is_null() && again["id"] == hook["id"], "shown once: {again}");
    let (_, list) = server.approver.get("/v1/webhooks").await;
    assert!(list["items"][0]["id"] == hook["id"] && !list.to_string().contains("whsec_"), "{list}");
    assert_eq!(
        server.agent.post("/v1/webhooks", &json!({ "url": url })).await.0,
        403,
        "an agent may not"
    );

    let first = hook["secret"].as_str().unwrap();
    let event = receive(&received, "subscription.created").await;
    assert!(verifies(first, &event), "the workspace log's events are sent, too, and verify");
    server.trust(&trust_policy()).await;
    let event = receive(&received, "governance.changed").await;
    assert!(verifies(first, &event));

    let rotate = format!("/v1/webhooks/{}/secret/rotate", hook["id"].as_str().unwrap());
    let (status, rotated) = server.approver.post(&rotate, &json!({})).await;
    assert_eq!(status, 200, "{rotated}");
    let second = rotated["secret"].as_str().unwrap();
    let event = receive(&received, "subscription.secret.rotated").await;
    assert!(
        second != first && verifies(first, &event) && verifies(second, &event),
        "both sign during the overlap"
    );

    // Tools have another secret, and only a person learns it.
    let (status, tools) = server.approver.post("/v1/tools/secret/rotate", &json!({})).await;
    assert_eq!(status, 200, "{tools}");
    assert!(
        !verifies(tools["secret"].as_str().unwrap(), &event),
        "what is sent to tools is signed by another secret"
    );
    assert_eq!(server.agent.post("/v1/tools/secret/rotate", &json!({})).await.0, 403);
    let entries = json!(log(&server).await).to_string();
    assert!(
        entries.contains("controlPlane.tool.secret.rotated") && !entries.contains("whsec_"),
        "{entries}"
    );
    let remove = format!("/v1/webhooks/{}/remove", hook["id"].as_str().unwrap());
    assert_eq!(server.approver.post(&remove, &json!({})).await.1, json!({ "removed": hook["id"] }));
}

// A trace that says it is sealed never grows, whatever is asked of it.
#[tokio::test]
async fn a_sealed_trace_takes_no_command() {
    let fixture = EngineFixture::new(Arc::new(MemoryTable::default())).await;
    let id = fixture.submit(find("a")).await;
    fixture.drive(&id).await;
    let trace = || contracts::query::GetTrace {
        execution_id: id.clone(),
        include_payloads: false,
        from_seq: None,
    };
    let head = fixture.engine.queries.trace(&fixture.agent, trace()).await.unwrap().head;
    assert!(head.sealed && fixture.clock.now().ms() > 0);
    let steer = || serde_json::from_value(json!({ "executionId": id })).unwrap();
    assert!(fixture.engine.controls.steer(&fixture.agent, steer(), Steer::Abort).await.is_err());
    let retry = serde_json::from_value(json!({ "executionId": id })).unwrap();
    assert!(fixture.engine.controls.retry(&fixture.agent, retry).await.is_err());
    assert_eq!(fixture.engine.queries.trace(&fixture.agent, trace()).await.unwrap().head, head);
}
