//! Golden traces: recorded executions that every later version must replay to the same hashes,
//! plan, verdict and state. `RECORD=1 cargo test` records those that are missing; what is recorded
//! is never changed.

use crate::generated::root;
use contracts::{event::Entry, manifest::Manifest};
use countersign_it::TestServer;
use countersign_store::{HeadRecord, Query, Table as _, keys};
use cs_core::{
    execution::{Execution, Step},
    plan::{ParsedDraft, compile_parsed},
    skill::{Registry, Skill},
    trace::{Head, Verifier},
};
use local::demo_tools::Behaviour;
use policy::{CompiledPolicySet, PlanVerdict, judge};
use serde_json::{Value, json};
use std::{fs, sync::Arc};

fn replay(name: &str, golden: &Value) {
    let head: Head = serde_json::from_value(golden["head"].clone()).unwrap();
    let mut verifier = Verifier::default();
    let entries = golden["entries"].as_array().unwrap();
    entries
        .iter()
        .for_each(|entry| verifier.push(entry).unwrap_or_else(|broken| panic!("{name}: {broken}")));
    verifier.finish(&head).unwrap();

    let skills = golden["manifests"].as_array().unwrap().iter().map(|manifest| {
        let manifest: Manifest = serde_json::from_value(manifest.clone()).unwrap();
        Arc::new(Skill::new(manifest).unwrap())
    });
    let registry = Registry::new(skills);
    let draft: ParsedDraft = serde_json::from_value(golden["draft"]["draft"].clone()).unwrap();
    let compiled = Arc::new(compile_parsed(&draft, &registry).unwrap());
    assert_eq!(json!(compiled.digest()), golden["planDigest"], "{name}: another plan");

    let verdict: PlanVerdict = serde_json::from_value(golden["verdict"].clone()).unwrap();
    let policy_set = CompiledPolicySet::new(
        golden["policy"].as_str().unwrap(),
        verdict.policy_version.clone(),
        &registry,
    )
    .unwrap();
    assert_eq!(
        judge(compiled.plan(), compiled.digest(), &verdict.facts, &policy_set),
        verdict,
        "{name}: another verdict"
    );

    let id = golden["executionId"].as_str().unwrap().parse().unwrap();
    let mut folded = Execution::new(id, "acme".parse().unwrap());
    folded.attach(compiled);
    for entry in entries {
        let entry: Entry = serde_json::from_value(entry.clone()).unwrap();
        folded.evolve(entry.event.execution().unwrap(), entry.at);
    }
    // Read first, so that a field added since is no difference.
    let state: Execution = serde_json::from_value(golden["state"].clone()).unwrap();
    let steps: Vec<Step> = serde_json::from_value(golden["steps"].clone()).unwrap();
    assert_eq!(json!(folded), json!(state), "{name}: another state");
    assert_eq!(folded.steps, steps, "{name}: other steps");
}

#[test]
fn recorded_executions_replay_to_the_same() {
    let folder = root().join("tests/golden/traces");
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let golden: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        replay(file.file_name().unwrap().to_str().unwrap(), &golden);
        // And the replay would notice: one changed word breaks it.
        let mut forged = golden.clone();
        forged["entries"][1]["actor"]["id"] = json!("eve");
        let caught = std::panic::catch_unwind(|| replay("forged", &forged));
        assert!(caught.is_err());
    }
}

async fn record(server: &TestServer, name: &str, id: &str) {
    let file = root().join(format!("tests/golden/traces/{name}.json"));
    if file.exists() {
        return;
    }
    let workspace = &server.identity.workspace;
    let execution = id.parse().unwrap();
    let table = server.node().table();
    let body = async |key| -> Value {
        serde_json::from_slice(&table.get(&key).await.unwrap().unwrap().body).unwrap()
    };
    let head: HeadRecord =
        serde_json::from_value(body(keys::head(workspace, &execution)).await).unwrap();
    let query = Query::prefix(keys::execution(workspace, &execution), keys::EVENT, 10_000);
    let entries: Vec<Value> = table
        .query(&query)
        .await
        .unwrap()
        .iter()
        .map(|(_, item)| serde_json::from_slice(&item.body).unwrap())
        .collect();
    let mut folded = Execution::new(execution.clone(), workspace.clone());
    let registry = server.node().engine().in_force.snapshot(workspace).await.unwrap();
    let draft = body(keys::body(workspace, &execution, "draft")).await;
    let plan: ParsedDraft = serde_json::from_value(draft["draft"].clone()).unwrap();
    folded.attach(Arc::new(compile_parsed(&plan, &registry.registry).unwrap()));
    for entry in &entries {
        let entry: Entry = serde_json::from_value(entry.clone()).unwrap();
        folded.evolve(entry.event.execution().unwrap(), entry.at);
    }
    assert_eq!(json!(folded), json!(head.execution));
    let golden = json!({
        "executionId": id, "manifests": server.tools.manifests().unwrap(), "draft": draft,
        "planDigest": head.execution.plan_facts.as_ref().unwrap().digest,
        "policy": body(keys::policy(workspace,
            &head.execution.ruling.as_ref().unwrap().policy_digest)).await["text"],
        "verdict": body(keys::verdict(workspace, &execution,
            &head.execution.ruling.as_ref().unwrap().verdict_digest)).await,
        "entries": entries, "head": head.chain, "state": head.execution, "steps": folded.steps,
    });
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, serde_json::to_string_pretty(&golden).unwrap() + "\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn record_what_is_missing() {
    if std::env::var_os("RECORD").is_none() {
        return;
    }
    let server = TestServer::start().await;
    let find = json!({ "id": "who", "use": "crm/customer.find", "with": { "email": "ada@x.org" } });
    let refund = json!({ "id": "refund", "use": "payments/refund.create",
        "with": { "customer": { "$from": "who", "path": "/id" }, "amount": 5, "currency": "EUR",
            "card": "4111" } });
    let pay = json!({ "id": "pay", "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } });
    let mail = json!({ "id": "mail", "use": "mail/message.send",
        "with": { "to": ["a@x.org"], "subject": "s", "body": "b" } });

    server.tools.behave("mail/message.send", Behaviour::Lose);
    let id = server.submit(json!([find, mail])).await;
    server.until(&id, "completed").await;
    record(&server, "autonomous-with-a-lost-answer", &id).await;

    let id = server.submit(json!([find, refund])).await;
    server.approve(&id).await;
    server.until(&id, "completed").await;
    record(&server, "approved-refund", &id).await;

    server.tools.behave("payments/payout.create", Behaviour::Lose);
    let id = server.submit(json!([pay])).await;
    server.approve(&id).await;
    server.until(&id, "completed").await;
    record(&server, "payout-found-by-its-probe", &id).await;

    server.tools.behave("crm/customer.find", Behaviour::Fail { status: 404 });
    let id = server.submit(json!([find, mail, refund])).await;
    server.until(&id, "failed").await;
    record(&server, "failed-dependency", &id).await;

    let id = server
        .submit(json!([find, refund, { "id": "late", "use": "payments/payout.create",
            "after": ["refund"],
        "with": { "account": "x", "amount": 1, "currency": "EUR" } }]))
        .await;
    let view = server.settled(&id).await;
    for step in ["who", "refund"] {
        let digest = view["steps"]
            .as_array()
            .unwrap()
            .iter()
            .find(|view| view["stepId"] == step)
            .unwrap()["bindingDigest"]
            .clone();
        if !digest.is_null()
            && view["steps"]
                .as_array()
                .unwrap()
                .iter()
                .any(|view| view["stepId"] == step && view["verdict"] == "assist")
        {
            server
                .approver
                .post(
                    &format!("/v1/executions/{id}/approve"),
                    &json!({ "stepId": step, "bindingDigest": digest }),
                )
                .await;
        }
    }
    for _ in 0..100 {
        let (_, answer) = server.agent.get(&format!("/v1/executions/{id}")).await;
        if answer["execution"]["steps"][1]["status"] == "completed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    server.agent.post(&format!("/v1/executions/{id}/cancel"), &json!({ "compensate": true })).await;
    server.until(&id, "cancelled").await;
    record(&server, "cancelled-and-compensated", &id).await;
}
