//! Attacks on evidence: traces, logs and exports whose store is changed, and other people's.

use super::kit::*;
use countersign_it::{Client, TestServer, archive::MemoryArchive, install_body};
use countersign_store::{Key, Table as _, keys};
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;

fn steps() -> Value {
    json!([{ "id": "a", "use": "kit/give" },
        { "id": "b", "use": "kit/take", "with": { "v": { "$from": "a", "path": "/v" } } }])
}

async fn fixture() -> KitFixture {
    let fixture = KitFixture::new(&[("give", json!({})), ("take", json!({}))]).await;
    fixture.tools.answers.lock().unwrap().insert("give".into(), json!({ "v": 1 }));
    fixture
}

/// Events of a trace are deleted, reordered, swapped with another execution's, changed, cut off
/// with their head: replay and export name the first that is wrong.
#[tokio::test]
async fn attack_events_are_deleted_reordered_and_swapped() {
    type Attack = (
        &'static str,
        fn(
            &KitFixture,
            &contracts::ExecutionId,
            &contracts::ExecutionId,
        ) -> Vec<(Key, Option<Key>)>,
    );
    // What is put where: `None` deletes.
    let attacks: [Attack; 6] = [
        ("one is deleted", |fixture, ours, _| {
            vec![(keys::event(&fixture.caller.workspace, ours, 3), None)]
        }),
        ("the first is deleted", |fixture, ours, _| {
            vec![(keys::event(&fixture.caller.workspace, ours, 1), None)]
        }),
        ("the last is deleted", |fixture, ours, _| {
            vec![(keys::event(&fixture.caller.workspace, ours, 9), None)]
        }),
        ("one stands twice", |fixture, ours, _| {
            let at = |seq| keys::event(&fixture.caller.workspace, ours, seq);
            vec![(at(4), Some(at(3)))]
        }),
        ("one is another execution's", |fixture, ours, theirs| {
            let of = |id| keys::event(&fixture.caller.workspace, id, 4);
            vec![(of(ours), Some(of(theirs)))]
        }),
        ("the head is another execution's", |fixture, ours, theirs| {
            let of = |id| keys::head(&fixture.caller.workspace, id);
            vec![(of(ours), Some(of(theirs)))]
        }),
    ];
    for (what, attack) in attacks {
        let fixture = fixture().await;
        let (ours, theirs) = (fixture.run(steps()).await, fixture.run(steps()).await);
        assert_eq!(fixture.replay(&ours).await["matches"], true);
        let count = fixture.trace(&theirs).await.unwrap()["head"]["seq"].as_u64().unwrap() as usize;
        for (to, from) in attack(&fixture, &ours, &theirs) {
            match from {
                Some(from) => fixture.copy(&from, &to).await,
                None => fixture.delete(&to).await,
            }
        }
        let request = contracts::query::ReplayTrace { execution_id: ours.clone() };
        let matches = fixture
            .engine
            .replays
            .replay(&fixture.caller, request)
            .await
            .map(|replay| replay.matches);
        assert!(!matches.unwrap_or(false), "{what}");
        let archive = MemoryArchive::default();
        fixture.clock.pass(2 * HOUR_MS);
        let exported = fixture.engine.exports.export(&archive, 60_000).await.unwrap();
        assert!(exported.broken >= 1, "{what}: {exported:?}");
        let named = archive.manifests("acme").iter().any(|(manifest, _)| {
            manifest.broken.keys().any(|stream| stream.to_string() == ours.as_str())
        });
        assert!(named, "{what}: the manifest names it");
        assert!(
            archive.sequence("acme", ours.as_str()).is_empty(),
            "{what}: nothing of it is exported as if it was whole"
        );
        assert_eq!(
            archive.sequence("acme", theirs.as_str()).len(),
            count,
            "{what}: and the others are"
        );
        assert!(!archive.sequence("acme", "log").is_empty());
    }
}

/// Two events change places; one has a field more, or another time: replay names it.
#[tokio::test]
async fn attack_events_are_edited_in_place() {
    let fixture = fixture().await;
    let id = fixture.run(steps()).await;
    let at = |seq| keys::event(&fixture.caller.workspace, &id, seq);
    let original = |seq| fixture.table.dump()[&at(seq)].clone();
    for (seq, change) in
        [(2, "actor"), (4, "at"), (5, "more"), (6, "hash"), (7, "prev"), (8, "seq")]
    {
        let before = original(seq);
        fixture.edit(&at(seq), |event| match change {
            "actor" => event["actor"]["id"] = json!("mallory"),
            "at" => event["at"] = json!("2020-01-01T00:00:00.000Z"),
            "more" => event["note"] = json!("harmless"),
            field => {
                event[field] =
                    json!(event[field].to_string().replace(['1', '2', '3'], "4").trim_matches('"'))
            }
        });
        let replay = fixture.replay(&id).await;
        assert_eq!(
            (&replay["matches"], &replay["differences"][0]["check"]),
            (&json!(false), &json!("chain")),
            "{change}: {replay}"
        );
        fixture.table.tamper(&at(seq), |item| *item = before);
    }
    assert_eq!(fixture.replay(&id).await["matches"], true);
}

/// What the events only name by digest is changed in the store: intent, draft, plan, verdict, view,
/// output, step, approval. Replay says so, and no changed payload is shown as the trace's.
#[tokio::test]
async fn attack_stored_documents_are_changed_behind_the_trace() {
    let fixture = fixture().await;
    let workspace = fixture.caller.workspace.clone();
    let id = fixture.run(steps()).await;
    let find = |part: &str| {
        let partition = keys::execution(&workspace, &id);
        let key = fixture
            .table
            .dump()
            .into_keys()
            .find(|key| key.partition == partition && key.sort.starts_with(part));
        key.unwrap_or_else(|| panic!("{part}"))
    };
    for (part, change) in [
        ("b#intent", (|body| body["text"] = json!("something harmless")) as fn(&mut Value)),
        ("b#intent", |body| body["actor"]["id"] = json!("mallory")),
        ("b#intent", |body| body["grants"] = json!([])),
        ("b#draft", |body| body["draft"]["steps"][0]["use"] = json!("kit/take")),
        ("b#verdict#", |body| body["facts"]["grants"] = json!([])),
        ("b#out#a", |body| body["value"]["v"] = json!(2)),
        ("b#out#b", |body| body["value"] = json!({ "forged": true })),
        ("a#step#a", |body| body["attempt"] = json!(7)),
        ("a#step#b", |body| body["output"] = json!(format!("sha256:{}", "0".repeat(64)))),
    ] {
        let key = find(part);
        let before = fixture.table.dump()[&key].clone();
        fixture.edit(&key, change);
        let replay = fixture.replay(&id).await;
        assert_eq!(replay["matches"], false, "{part}: {replay}");
        let shown = fixture.trace(&id).await;
        let payloads = shown.map(|trace| trace["payloads"].clone()).unwrap_or_default();
        assert!(
            payloads["a"] != json!({ "v": 2 }) && payloads["b"] != json!({ "forged": true }),
            "{part}: {payloads}"
        );
        fixture.table.tamper(&key, |item| *item = before);
        assert_eq!(fixture.replay(&id).await["matches"], true, "{part}: as it was");
    }
    // A document that is gone is missed.
    for part in ["b#out#a", "b#intent", "b#draft"] {
        let key = find(part);
        let before = fixture.table.dump()[&key].clone();
        fixture.delete(&key).await;
        let request = contracts::query::ReplayTrace { execution_id: id.clone() };
        let replay = fixture.engine.replays.replay(&fixture.caller, request).await;
        assert!(replay.is_err() || !replay.unwrap().matches, "{part}");
        let write = countersign_store::Write::Put {
            key,
            item: before,
            condition: countersign_store::Condition::Any,
        };
        fixture.table.transact(vec![write]).await.unwrap();
    }
}

/// One event that waits for the workspace log cannot be read: it keeps no other from the log, and
/// is seen to wait.
#[tokio::test]
async fn attack_an_unreadable_event_blocks_the_workspace_log() {
    let fixture = fixture().await;
    let workspace = fixture.caller.workspace.clone();
    let log = async || {
        let log = fixture
            .engine
            .queries
            .workspace_log(&fixture.caller, Default::default())
            .await
            .unwrap();
        (log.head.seq, log.waiting, log.verified)
    };
    let (before, waiting, _) = log().await;
    assert_eq!(waiting, 0);
    for (count, bytes) in
        [b"{".as_slice(), b"", b"{\"at\":1}", &[0xff; 8], b"null"].into_iter().enumerate()
    {
        let key = keys::inbox(&workspace, fixture.engine.now(), &format!("{count:032x}"), 0);
        let item =
            countersign_store::Item { version: 1, body: bytes.to_vec(), ..Default::default() };
        let write = countersign_store::Write::Put {
            key,
            item,
            condition: countersign_store::Condition::NotExists,
        };
        fixture.table.transact(vec![write]).await.unwrap();
    }
    for number in 0..3 {
        fixture.clock.pass(1_000);
        let request =
            json!({ "scope": "actor", "key": "root", "frozen": number != 1, "force": true });
        fixture
            .engine
            .limits
            .set_freeze(&fixture.caller, serde_json::from_value(request).unwrap())
            .await
            .unwrap();
    }
    assert_eq!(log().await, (before + 3, 5, true), "those that can be read are in it");
    let swept = fixture.engine.sweep.sweep(None, 60_000).await.unwrap();
    assert_eq!(log().await, (before + 3, 5, true), "{swept:?}");
}

/// What a publisher or an operator names is so long that its event would fit no log: refused,
/// before it changes anything.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_change_whose_event_no_log_holds() {
    let (server, stub) = server_with(|stub| vec![stub.operation("work", json!({}))]).await;
    let long = "x".repeat(70_000);
    let log = async || {
        let (_, log) = server.approver.get("/v1/log?limit=200").await;
        (log["head"]["seq"].as_u64().unwrap(), log["waiting"].clone(), log["verified"].clone())
    };
    let (before, ..) = log().await;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut manifest = stub.manifest(vec![stub.operation("work", json!({}))]);
        manifest["skill"]["version"] = json!("1.0.1");
        change(&mut manifest);
        install_body(&manifest)
    };
    for (what, body) in [
        (
            "build metadata",
            changed(&|manifest| manifest["skill"]["version"] = json!(format!("1.0.1+{long}"))),
        ),
        (
            "pre-release",
            changed(&|manifest| manifest["skill"]["version"] = json!(format!("1.0.1-{long}"))),
        ),
        ("skill key", changed(&|manifest| manifest["skill"]["key"] = json!(long))),
        ("grant", changed(&|manifest| manifest["operations"][0]["requiredGrants"] = json!([long]))),
        (
            "label",
            changed(&|manifest| manifest["operations"][0]["labels"] = json!({ "output": [long] })),
        ),
    ] {
        let (status, answer) = server.approver.post("/v1/skills", &body).await;
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!("MANIFEST_INVALID")),
            "{what}: {answer}"
        );
    }
    let body = changed(&|manifest| {
        manifest["publisher"]["provenance"] = json!(format!("examples/skills/{long}"))
    });
    let (status, answer) = server.approver.post("/v1/skills", &body).await;
    assert!(status == 201 || status == 400, "{answer}");
    let (after, waiting, verified) = log().await;
    assert_eq!((waiting, verified), (json!(0), json!(true)), "{before} {after}");
    // And the log goes on.
    freeze(&server, "actor", "dev-agent", true).await;
    assert_eq!(log().await.0, after + 1);
}

/// Everything that names an execution, tried with the keys of another workspace: as if it was not
/// there, word for word.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_execution_of_another_workspace_by_its_id() {
    let server = TestServer::start().await;
    let id = submit_steps(&server.agent, json!([pay("p")])).await;
    let view = server.until(&id, "blocked").await;
    let none = format!("exe_{}", "0".repeat(32));
    let identity = server.another().await;
    let plan = json!({ "planId": view["planId"] });
    let digest = json!({ "bindingDigest": view["bindingDigest"] });
    for secret in [&identity.approver_key, &identity.agent_key] {
        let other = Client::new(&server.url(), secret);
        for path in
            ["", "?includePlan=true&waitSeconds=1", "/trace?includePayloads=true", "/replay"]
        {
            let of = |id: &str| format!("/v1/executions/{id}{path}");
            let (status, answer) = other.get(&of(&id)).await;
            let unknown = other.get(&of(&none)).await;
            assert_eq!((status, status), (unknown.0, 404), "{path}: {answer}");
            assert_eq!(
                answer["detail"],
                json!(unknown.1["detail"].as_str().unwrap().replace(&none, &id)),
                "{path}"
            );
        }
        for (verb, body) in [
            ("approve", digest.clone()),
            ("reject", json!({ "reason": "no" })),
            ("cancel", json!({ "compensate": true })),
            ("pause", json!({})),
            ("abort", json!({})),
            ("retry", json!({})),
            ("start", plan.clone()),
            ("plan/verify", plan.clone()),
            ("plan/compile", json!({})),
            ("resolve", json!({ "stepId": "p", "outcome": "failed" })),
        ] {
            let of = |id: &str| format!("/v1/executions/{id}/{verb}");
            let (status, answer) = other.post(&of(&id), &body).await;
            let (unknown, _) = other.post(&of(&none), &body).await;
            assert!(
                status == unknown && (403..=404).contains(&status),
                "{verb}: {unknown} {answer}"
            );
        }
        let (status, answer) =
            other.post("/v1/policies/explain", &json!({ "executionId": id })).await;
        assert_eq!(status, 404, "{answer}");
        let (_, list) = other.get("/v1/executions?limit=200").await;
        assert!(!list.to_string().contains(&id), "{list}");
    }
    let other = Client::new(&server.url(), &identity.approver_key);
    let (_, made) = try_key(&server.approver, "agent", "bot", &AGENT).await;
    let key = made["key"]["id"].as_str().unwrap();
    assert_eq!(other.post(&format!("/v1/keys/{key}/revoke"), &json!({})).await.0, 404);
    assert_eq!(
        other
            .post("/v1/freezes", &json!({ "scope": "actor", "key": "bot", "frozen": true }))
            .await
            .0,
        422
    );
    assert_eq!(server.until(&id, "blocked").await["updatedAt"], view["updatedAt"], "untouched");
}

/// Page tokens that are forged, cut, of another list, of another workspace, or far away, in every
/// list: refused, or an empty page; never an entry of somebody else's, nor a fault.
#[tokio::test(flavor = "multi_thread")]
async fn attack_page_tokens() {
    let server = TestServer::start().await;
    for _ in 0..4 {
        submit_steps(&server.agent, json!([find("c")])).await;
    }
    let identity = server.another().await;
    let other = Client::new(&server.url(), &identity.approver_key);
    let lists = ["/v1/executions", "/v1/keys", "/v1/skills", "/v1/log"];
    let mut tokens: Vec<String> = Vec::new();
    for path in lists {
        let (status, page) = server.approver.get(&format!("{path}?limit=1")).await;
        assert_eq!(status, 200, "{path}: {page}");
        tokens.push(page["next"].as_str().unwrap_or_else(|| panic!("{path}: {page}")).to_owned());
    }
    let given = tokens.clone();
    tokens.extend(given.iter().map(|token| token[..token.len() - 1].to_owned()));
    tokens.extend(given.iter().map(|token| format!("{token}~")));
    tokens.extend(
        [
            "",
            "~",
            "a#head",
            "s#",
            "k#",
            "s#crm@1.2.0",
            "../x",
            "\u{0}",
            "ws#acme-other#list",
            "-1",
            "0",
            "18446744073709551616",
            "9999999999999#x",
        ]
        .map(str::to_owned),
    );
    tokens.push("x".repeat(5_000));
    tokens.push(format!("9999999999999#exe_{}", "f".repeat(32)));
    for (place, path) in lists.iter().enumerate() {
        for token in &tokens {
            let query: String = url_encoded(token);
            for client in [&server.approver, &other] {
                let (status, page) = client.get(&format!("{path}?limit=2&cursor={query}")).await;
                assert!(
                    matches!(status, 200 | 400 | 414 | 422 | 431),
                    "{path} {token:?}: {status} {page}"
                );
                let text = page.to_string();
                let foreign = if std::ptr::eq(client, &other) { "\"acme\"" } else { "acme-other" };
                assert!(!text.contains(foreign), "{path} {token:?}: {page}");
            }
        }
        // As it was given it goes on, and in another list it does not.
        let (status, _) =
            server.approver.get(&format!("{path}?cursor={}", url_encoded(&given[place]))).await;
        assert_eq!(status, 200, "{path}");
        let (status, page) = server
            .approver
            .get(&format!("{path}?cursor={}", url_encoded(&given[(place + 1) % 4])))
            .await;
        assert_eq!(status, 422, "{path}: {page}");
    }
    for (path, wanted) in [
        ("limit=0", 422),
        ("limit=201", 422),
        ("limit=-1", 422),
        ("limit=1e2", 422),
        ("limit=1&limit=2", 400),
    ] {
        for list in lists {
            let (status, answer) = server.approver.get(&format!("{list}?{path}")).await;
            assert_eq!(status, wanted, "{list}?{path}: {answer}");
        }
    }
}

fn url_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The trace of one execution, or its export, is passed off as another's: every event names its
/// own.
#[tokio::test]
async fn attack_a_whole_trace_is_passed_off_as_anothers() {
    let fixture = fixture().await;
    let workspace = fixture.caller.workspace.clone();
    let (ours, theirs) = (fixture.run(steps()).await, fixture.run(steps()).await);
    let dump = fixture.table.dump();
    let of = keys::execution(&workspace, &theirs);
    for (key, _) in dump.iter().filter(|(key, _)| key.partition == of) {
        let to = Key { partition: keys::execution(&workspace, &ours), sort: key.sort.clone() };
        fixture.copy(key, &to).await;
    }
    // A whole that is consistent with itself: what it says is the other's id, in every answer and
    // in every event.
    let replay = fixture
        .engine
        .replays
        .replay(&fixture.caller, contracts::query::ReplayTrace { execution_id: ours.clone() })
        .await;
    let honest =
        replay.map(|replay| replay.matches && replay.execution_id == ours).unwrap_or(false);
    assert!(!honest, "it replays as if it was ours");
    let archive = MemoryArchive::default();
    fixture.clock.pass(2 * HOUR_MS);
    fixture.engine.exports.export(&archive, 60_000).await.unwrap();
    assert!(archive.sequence("acme", ours.as_str()).is_empty(), "exported as ours");
    assert!(archive.sequence("acme", theirs.as_str()).len() > 6);
}
