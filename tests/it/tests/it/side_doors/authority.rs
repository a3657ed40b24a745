//! Who may decide, and what stops everything.

use crate::common::{AGENT, grants};
use countersign_it::{Client, House, install_body};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

fn pay(id: &str) -> Value {
    json!({ "id": id, "use": "payments/payout.create", "with": { "account": "DE02", "amount": 5, "currency": "EUR" } })
}

fn find(id: &str) -> Value {
    json!({ "id": id, "use": "crm/customer.find", "with": { "email": "ada@x.org" } })
}

fn code((status, answer): &(u16, Value)) -> (u16, &str) {
    (*status, answer["code"].as_str().unwrap_or_default())
}

fn says(answer: &(u16, Value), words: &str) -> bool {
    answer.1.to_string().contains(words)
}

async fn try_key(by: &Client, kind: &str, id: &str, names: &[&str]) -> (u16, Value) {
    by.post("/v1/keys", &json!({ "actor": { "kind": kind, "id": id }, "grants": grants(names) })).await
}

async fn key(house: &House, by: &Client, kind: &str, id: &str, names: &[&str]) -> Client {
    let (status, answer) = try_key(by, kind, id, names).await;
    assert_eq!(status, 201, "{answer}");
    Client::new(&house.url(), answer["apiKey"].as_str().unwrap())
}

async fn submit(by: &Client, body: Value) -> String {
    let (status, answer) = by.post("/v1/intents", &body).await;
    assert_eq!(status, 202, "{answer}");
    answer["executionId"].as_str().unwrap().to_owned()
}

async fn approve(house: &House, by: &Client, id: &str) -> (u16, Value) {
    let (_, view) = house.approver.get(&format!("/v1/executions/{id}?waitSeconds=10")).await;
    let body = json!({ "bindingDigest": view["execution"]["bindingDigest"] });
    by.post(&format!("/v1/executions/{id}/approve"), &body).await
}

async fn view(house: &House, id: &str) -> Value {
    house.approver.get(&format!("/v1/executions/{id}?waitSeconds=10")).await.1["execution"].clone()
}

// Sample: a key of kind agent with grants that its maker lacks; its maker approves what it asks.
#[tokio::test]
async fn authority_the_maker_of_the_requesting_key_does_not_decide() {
    let house = House::start().await;
    let bot = key(&house, &house.approver, "agent", "bot", &AGENT).await;
    let id = submit(&bot, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let waits = view(&house, &id).await;
    assert_eq!(waits["approvals"][0]["excludes"], json!(["bot", "dev-approver"]), "{waits}");
    let answer = approve(&house, &house.approver, &id).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    let reject = house.approver.post(&format!("/v1/executions/{id}/reject"), &json!({ "reason": "no" })).await;
    assert_eq!(code(&reject), (403, "SELF_APPROVAL"), "{}", reject.1);
    assert!(house.tools.effects("payments/payout.create").is_empty());
    // Somebody else may.
    let grace = key(&house, &house.approver, "human", "grace", &["approval", "execution.read"]).await;
    assert_eq!(approve(&house, &grace, &id).await.0, 200);
    house.until(&id, "completed").await;
}

// The sibling: who asks makes a key for a person who does not exist, and approves with it.
#[tokio::test]
async fn authority_a_person_whom_the_requester_made_does_not_decide() {
    let house = House::start().await;
    let sock = key(&house, &house.approver, "human", "sock", &["approval", "execution.read"]).await;
    let id = submit(&house.approver, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let answer = approve(&house, &sock, &id).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
    let id = submit(
        &house.agent,
        json!({ "text": "pay", "onBehalfOf": "Dev-Approver", "draft": { "steps": [pay("p")] } }),
    )
    .await;
    for by in [&house.approver, &sock] {
        let answer = approve(&house, by, &id).await;
        assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "the subject: {}", answer.1);
    }
    assert_eq!(view(&house, &id).await["onBehalfOf"], "dev-approver");
    assert!(house.tools.effects("payments/payout.create").is_empty());
}

#[tokio::test]
async fn authority_who_gave_the_draft_does_not_decide() {
    let house = House::start().await;
    let id = submit(&house.agent, json!({ "text": "pay", "mode": "manual" })).await;
    let draft = json!({ "draft": { "steps": [pay("p")] } });
    let (status, plan) = house.approver.post(&format!("/v1/executions/{id}/plan/compile"), &draft).await;
    assert_eq!(status, 200, "{plan}");
    let body = json!({ "planId": plan["planId"] });
    assert_eq!(house.agent.post(&format!("/v1/executions/{id}/plan/verify"), &body).await.0, 200);
    assert_eq!(house.agent.post(&format!("/v1/executions/{id}/start"), &body).await.0, 202);
    let answer = approve(&house, &house.approver, &id).await;
    assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{}", answer.1);
}

#[tokio::test]
async fn authority_a_new_key_may_do_no_more_than_its_maker() {
    let house = House::start().await;
    let clerk =
        key(&house, &house.approver, "service", "clerk", &["keys", "execution.read", "execution.approve"]).await;
    let answer = try_key(&clerk, "agent", "x", &["execution.read", "policy.activate"]).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "{}", answer.1);
    assert!(says(&answer, "`control-plane.policy.activate`"), "{}", answer.1);
    let answer = try_key(&clerk, "agent", "x", &["approval"]).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "half of an umbrella is not the umbrella: {}", answer.1);
    assert_eq!(try_key(&clerk, "agent", "x", &["execution.read"]).await.0, 201);
    for kind in ["human"] {
        let answer = try_key(&clerk, kind, "x", &["execution.read"]).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "no machine makes people: {}", answer.1);
    }
    let (_, made) = try_key(&house.approver, "agent", "y", &["execution.read"]).await;
    assert_eq!(made["key"]["madeBy"]["actor"], json!({ "kind": "human", "id": "dev-approver" }), "{made}");
    assert!(made["key"]["madeBy"]["keyId"].is_string(), "{made}");
}

// Sample: actor ids `mallory` and `mallory ` (space), or different capitals.
#[tokio::test]
async fn authority_one_person_is_one_id_however_it_is_written() {
    let house = House::start().await;
    let mallory = key(&house, &house.approver, "agent", "mallory", &AGENT).await;
    let id = submit(&mallory, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    for text in ["mallory ", " mallory", "mal lory", "mallory\u{200b}", "mallory\u{0}", "mallory\n", ""] {
        let answer = try_key(&house.approver, "human", text, &["approval"]).await;
        assert_eq!(
            (answer.0, &answer.1["issues"][0]["pointer"]),
            (422, &json!("/actor/id")),
            "{text:?}: {}",
            answer.1
        );
    }
    for text in ["Mallory", "MALLORY", "ｍａｌｌｏｒｙ"] {
        let (status, answer) = try_key(&house.approver, "human", text, &["approval", "execution.read"]).await;
        assert_eq!((status, &answer["key"]["actor"]["id"]), (201, &json!("mallory")), "{answer}");
        let other = Client::new(&house.url(), answer["apiKey"].as_str().unwrap());
        let answer = approve(&house, &other, &id).await;
        assert_eq!(code(&answer), (403, "SELF_APPROVAL"), "{text:?}: {}", answer.1);
    }
    assert!(house.tools.effects("payments/payout.create").is_empty());
}

// Sample: grants ['', '*', 'control-plane.aproval'].
#[tokio::test]
async fn authority_grants_that_do_not_exist_are_refused_with_the_nearest() {
    let house = House::start().await;
    for (grant, near) in [
        ("", ""),
        ("*", ""),
        ("control-plane.aproval", "did you mean `control-plane.approval`?"),
        ("control-plane.execution.raed", "did you mean `control-plane.execution.read`?"),
        ("control-plane.", ""),
    ] {
        let body = json!({ "actor": { "kind": "agent", "id": "x" }, "grants": ["control-plane.audit", grant] });
        let answer = house.approver.post("/v1/keys", &body).await;
        assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{grant:?}: {}", answer.1);
        assert!(says(&answer, near), "{grant:?}: {}", answer.1);
    }
}

// Kind is part of identity: two actors of one name do not share what they sent.
#[tokio::test]
async fn authority_an_idempotency_record_is_of_one_kind_of_actor() {
    let house = House::start().await;
    let body = json!({ "text": "look", "draft": { "steps": [find("c")] } });
    let person = key(&house, &house.approver, "human", "dev-agent", &AGENT).await;
    let (_, first) = house.agent.keyed("/v1/intents", "same", &body).await;
    let (status, second) = person.keyed("/v1/intents", "same", &body).await;
    assert_eq!(status, 202, "{second}");
    assert_ne!(first["executionId"], second["executionId"]);
}

// Only people decide, unless the workspace names a service.
#[tokio::test]
async fn authority_a_service_decides_only_where_a_person_named_it() {
    let house = House::start().await;
    let board = key(&house, &house.approver, "service", "board", &["approval", "execution.read", "keys"]).await;
    let id = submit(&house.agent, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let answer = approve(&house, &board, &id).await;
    assert_eq!(code(&answer), (403, "NOT_AN_APPROVER"), "{}", answer.1);
    let named = json!({ "services": ["board"] });
    let answer = board.post("/v1/deciders", &named).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "it does not name itself: {}", answer.1);
    let answer = house.approver.post("/v1/deciders", &json!({ "services": ["baord"] })).await;
    assert!(answer.0 == 422 && says(&answer, "did you mean `board`?"), "{}", answer.1);
    assert_eq!(house.approver.post("/v1/deciders", &named).await.0, 200);
    assert_eq!(house.approver.get("/v1/deciders").await.1, named);
    assert_eq!(approve(&house, &board, &id).await.0, 200);
    house.until(&id, "completed").await;
    assert_eq!(house.approver.post("/v1/deciders", &json!({ "services": [] })).await.0, 200);
    let id = submit(&house.agent, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    assert_eq!(code(&approve(&house, &board, &id).await), (403, "NOT_AN_APPROVER"));
}

// Sample (one-gate): under one approval, the outcome of a call is not known; the agent that asked says what became of it.
#[tokio::test]
async fn authority_a_call_in_doubt_is_resolved_by_a_person_who_did_not_ask() {
    let house = House::start().await;
    let names: Vec<&str> = AGENT.iter().copied().chain(["execution.resolve"]).collect();
    let bot = key(&house, &house.approver, "agent", "bot", &names).await;
    let pam = key(&house, &house.approver, "human", "pam", &names).await;
    let decides = ["approval", "execution.read", "execution.resolve"];
    let grace = key(&house, &house.approver, "human", "grace", &decides).await;
    let paid = || house.tools.effects("payments/payout.create").values().sum::<u32>();
    for (asks, refusal) in [(&bot, "NOT_AN_APPROVER"), (&pam, "SELF_APPROVAL")] {
        house.tools.behave("payments/payout.create", local::demo_tools::Behaviour::Lose);
        for _ in 0..3 {
            house.tools.behave("payments/payout.find", local::demo_tools::Behaviour::Fail { status: 500 });
        }
        let before = paid();
        let id = submit(asks, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
        assert_eq!(approve(&house, &grace, &id).await.0, 200);
        let step = async || grace.get(&format!("/v1/executions/{id}")).await.1["execution"]["steps"][0].clone();
        for _ in 0..400 {
            if step().await["waitsFor"] == "outcome_unknown" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(step().await["waitsFor"], "outcome_unknown");
        let path = format!("/v1/executions/{id}/resolve");
        let evidence = json!({ "payoutId": "made up" });
        for (outcome, evidence) in [("retry", Value::Null), ("completed", evidence), ("failed", Value::Null)] {
            let mut body = json!({ "stepId": "p", "outcome": outcome });
            if !evidence.is_null() {
                body["evidence"] = evidence;
            }
            assert_eq!(code(&asks.post(&path, &body).await), (403, refusal), "{outcome}: who asked");
            let maker = house.approver.post(&path, &body).await;
            assert_eq!(code(&maker), (403, "SELF_APPROVAL"), "{outcome}: who made the key: {}", maker.1);
        }
        let waits = step().await;
        assert_eq!((&waits["status"], paid() - before), (&json!("in_doubt"), 1), "{waits}");
        let (status, answer) = grace.post(&path, &json!({ "stepId": "p", "outcome": "failed" })).await;
        assert_eq!(status, 200, "{answer}");
        house.until(&id, "failed").await;
    }
}

// The same sample: an assisted step is tried again.
#[tokio::test]
async fn authority_resolving_and_retrying_what_needed_people_are_decisions_of_people() {
    let house = House::start().await;
    let more = ["execution.resolve", "execution.retry"];
    let names: Vec<&str> = AGENT.iter().chain(&more).copied().collect();
    let bot = key(&house, &house.approver, "agent", "bot", &names).await;
    house.tools.behave("payments/payout.create", local::demo_tools::Behaviour::Fail { status: 422 });
    let id = submit(&bot, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let grace =
        key(&house, &house.approver, "human", "grace", &["approval", "execution.read", "execution.retry"]).await;
    assert_eq!(approve(&house, &grace, &id).await.0, 200);
    house.until(&id, "failed").await;
    let path = format!("/v1/executions/{id}/retry");
    assert_eq!(code(&bot.post(&path, &json!({})).await), (403, "NOT_AN_APPROVER"));
    assert_eq!(code(&house.approver.post(&path, &json!({})).await), (403, "SELF_APPROVAL"), "it made the key");
    assert_eq!(grace.post(&path, &json!({})).await.0, 200);
    let again = house.until(&id, "blocked").await;
    assert_eq!(again["steps"][0]["waitsFor"], "approval_required", "its approval was for the call before: {again}");
    assert!(house.tools.effects("payments/payout.create").is_empty());
    assert_eq!(approve(&house, &grace, &id).await.0, 200);
    house.until(&id, "completed").await;
    // What ran on its own is its requester's affair.
    house.tools.behave("crm/customer.find", local::demo_tools::Behaviour::Fail { status: 404 });
    let id = submit(&bot, json!({ "text": "look", "draft": { "steps": [find("c")] } })).await;
    house.until(&id, "failed").await;
    assert_eq!(bot.post(&format!("/v1/executions/{id}/retry"), &json!({})).await.0, 200);
    house.until(&id, "completed").await;
}

#[tokio::test]
async fn authority_an_agent_steers_and_sees_only_what_it_asked_for() {
    let house = House::start().await;
    let verbs = ["execution.pause", "execution.resume", "execution.retry", "execution.abort", "plan.compile"];
    let names: Vec<&str> = AGENT.iter().chain(&verbs).copied().collect();
    let other = key(&house, &house.approver, "agent", "other", &names).await;
    let id = submit(&house.agent, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let waits = house.until(&id, "blocked").await;
    for path in ["", "/trace", "/replay"] {
        let answer = other.get(&format!("/v1/executions/{id}{path}")).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{path}: {}", answer.1);
    }
    let plan = json!({ "planId": waits["planId"] });
    for (verb, body) in [
        ("cancel", json!({})),
        ("pause", json!({})),
        ("resume", json!({})),
        ("abort", json!({})),
        ("retry", json!({})),
        ("start", plan.clone()),
        ("plan/verify", plan),
        ("plan/compile", json!({})),
    ] {
        let answer = other.post(&format!("/v1/executions/{id}/{verb}"), &body).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{verb}: {}", answer.1);
    }
    let answer = other.post("/v1/policies/explain", &json!({ "executionId": id })).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "{}", answer.1);
    assert_eq!(other.get("/v1/executions").await.1["items"], json!([]));
    assert_eq!(code(&other.get("/v1/executions?actorId=dev-agent").await), (403, "FORBIDDEN"));
    // Its own it does, and what the workspace lets happen is not its own.
    let draft = json!({ "draft": { "steps": [pay("p")] } });
    assert_eq!(other.post("/v1/policies/explain", &draft).await.0, 200);
    for path in ["/v1/trust", "/v1/freezes", "/v1/budgets", "/v1/policies", "/v1/deciders", "/v1/policies/shadow"] {
        let answer = house.agent.get(path).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{path}: {}", answer.1);
    }
    let names: Vec<&str> = AGENT.iter().chain(&["execution.any"]).copied().collect();
    let fleet = key(&house, &house.approver, "agent", "fleet", &names).await;
    assert_eq!(fleet.post(&format!("/v1/executions/{id}/cancel"), &json!({})).await.0, 200, "granted more");
    // Nor by an id of another kind.
    let id = submit(&house.agent, json!({ "text": "pay", "draft": { "steps": [pay("p")] } })).await;
    let tool = key(&house, &house.approver, "tool", "dev-agent", &AGENT).await;
    assert_eq!(code(&tool.get(&format!("/v1/executions/{id}")).await), (403, "FORBIDDEN"));
}

#[tokio::test]
async fn authority_the_narrow_key_installs_disables_resolves_and_tests_nothing() {
    let house = House::start().await;
    let manifest = house.tools.manifests().unwrap().remove(0);
    let exe = format!("/v1/executions/exe_{}", "0".repeat(32));
    for (path, body) in [
        ("/v1/skills".to_owned(), install_body(&manifest)),
        ("/v1/skills/verify".to_owned(), install_body(&manifest)),
        ("/v1/skills/crm/disable".to_owned(), json!({})),
        ("/v1/skills/crm/enable".to_owned(), json!({})),
        (format!("{exe}/resolve"), json!({ "stepId": "a", "outcome": "retry" })),
        (format!("{exe}/approve"), json!({ "bindingDigest": format!("sha256:{}", "0".repeat(64)) })),
        (format!("{exe}/pause"), json!({})),
        (format!("{exe}/abort"), json!({})),
        (format!("{exe}/retry"), json!({})),
        ("/v1/freezes".to_owned(), json!({ "scope": "workspace", "frozen": true })),
        ("/v1/keys".to_owned(), json!({ "actor": { "kind": "agent", "id": "x" }, "grants": [] })),
        (
            "/v1/policies/backtest".to_owned(),
            json!({ "policies": "", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z" }),
        ),
    ] {
        let answer = house.agent.post(&path, &body).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{path}: {}", answer.1);
    }
}

// Sample: a person disables a skill; the agent installs another version of it and runs that.
#[tokio::test]
async fn authority_a_disabled_skill_stays_so_for_every_version_until_a_person_enables_it() {
    let house = House::start().await;
    let registrar = key(&house, &house.approver, "agent", "registrar", &["skill-registry"]).await;
    let (status, answer) = house.approver.post("/v1/skills/crm/disable", &json!({ "reason": "incident" })).await;
    assert_eq!((status, &answer["status"]), (200, &json!("disabled")), "{answer}");
    let mut manifest = house.tools.manifests().unwrap().remove(0);
    manifest["skill"]["version"] = json!("9.0.0");
    let (status, answer) = registrar.post("/v1/skills", &install_body(&manifest)).await;
    assert_eq!(status, 201, "{answer}");
    let id = submit(&house.agent, json!({ "text": "look", "draft": { "steps": [find("c")] } })).await;
    assert_eq!(view(&house, &id).await["status"], "rejected");
    let (_, list) = house.approver.get("/v1/skills?includeDisabled=true").await;
    let crm = list["items"].as_array().unwrap().iter().filter(|item| item["skillKey"] == "crm");
    assert!(crm.clone().count() == 2 && crm.into_iter().all(|item| item["status"] == "disabled"), "{list}");
    let answer = registrar.post("/v1/skills/crm/enable", &json!({})).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "{}", answer.1);
    let (status, answer) = house.approver.post("/v1/skills/crm/enable", &json!({ "reason": "over" })).await;
    assert_eq!((status, &answer["enabledBy"]), (200, &json!("dev-approver")), "{answer}");
    let id = submit(&house.agent, json!({ "text": "look", "draft": { "steps": [find("c")] } })).await;
    house.until(&id, "completed").await;
    let answer = house.approver.post("/v1/skills/crn/disable", &json!({})).await;
    assert!(code(&answer) == (404, "NOT_FOUND") && says(&answer, "did you mean `crm`?"), "{}", answer.1);
}

// Disabled between its approval and its claim: what is under way stops, too.
#[tokio::test]
async fn authority_a_disable_as_a_whole_holds_for_the_next_claim() {
    let house = House::start().await;
    house.tools.behave("crm/customer.find", local::demo_tools::Behaviour::Slow { ms: 1_000 });
    let mail = json!({ "id": "m", "use": "mail/message.send", "after": ["c"],
        "with": { "to": ["a@x.org"], "subject": "s", "body": "b" } });
    let id = submit(&house.agent, json!({ "text": "x", "draft": { "steps": [find("c"), mail] } })).await;
    house.until(&id, "running").await;
    let (status, answer) = house.approver.post("/v1/skills/mail/disable", &json!({})).await;
    assert_eq!((status, &answer["voidedSteps"]), (200, &json!(1)), "{answer}");
    for _ in 0..200 {
        let view = view(&house, &id).await;
        if view["steps"][1]["waitsFor"] == "skill_disabled" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(view(&house, &id).await["steps"][1]["waitsFor"], "skill_disabled");
    assert!(house.tools.effects("mail/message.send").is_empty());
}

// Sample: 2.0.0 is tier high; the agent installs the older 1.0.0 (tier low) and names it in `use`.
#[tokio::test]
async fn authority_no_way_back_below_the_highest_version_without_a_person() {
    let house = House::start().await;
    let registrar = key(&house, &house.approver, "agent", "registrar", &["skill-registry"]).await;
    let mut manifest = house.tools.manifests().unwrap().remove(0);
    manifest["skill"]["key"] = json!("pays");
    let mut at = |version: &str, tier: &str| {
        manifest["skill"]["version"] = json!(version);
        manifest["operations"][0]["riskTier"] = json!(tier);
        install_body(&manifest)
    };
    let (high, low) = (at("2.0.0", "high"), at("1.0.0", "low"));
    assert_eq!(registrar.post("/v1/skills", &high).await.0, 201);
    let mut asked = low.clone();
    asked["allowDowngrade"] = json!(true);
    for body in [&low, &asked] {
        let answer = registrar.post("/v1/skills", body).await;
        assert_eq!(code(&answer), (409, "ROLLBACK_REFUSED"), "{}", answer.1);
    }
    assert_eq!(code(&house.approver.post("/v1/skills", &low).await), (409, "ROLLBACK_REFUSED"), "not by accident");
    let (_, looked) = house.approver.post("/v1/skills/verify", &low).await;
    assert_eq!(looked["verified"], false, "{looked}");
    // Even where the higher one is disabled or gone from use.
    house.approver.post("/v1/skills/pays/disable", &json!({ "version": "2.0.0" })).await;
    assert_eq!(code(&registrar.post("/v1/skills", &low).await), (409, "ROLLBACK_REFUSED"));
    let (status, answer) = house.approver.post("/v1/skills", &asked).await;
    assert_eq!(status, 201, "{answer}");
    let trace = house.node().engine().workspace_trace(&house.identity.workspace).await.unwrap();
    let recorded = trace
        .iter()
        .any(|entry| entry["type"] == "controlPlane.skill.installed" && entry["data"]["downgradeFrom"] == "2.0.0");
    assert!(recorded, "who let it, and from where, is on record");
}

// Sample: freezes of `warehose`, `m/loook`, `dev-agent `; a meter on an operation nobody has.
#[tokio::test]
async fn authority_freezes_and_meters_of_what_does_not_exist_are_refused() {
    let house = House::start().await;
    for (scope, name, near) in [
        ("skill", "payment", "did you mean `payments`?"),
        ("operation", "crm/custmer.find", "did you mean `customer.find`?"),
        ("operation", "crn/customer.find", "did you mean `crm`?"),
        ("actor", "dev-agnet", "did you mean `dev-agent`?"),
        ("actor", "dev-agent ", "did you mean `dev-agent`?"),
    ] {
        let body = json!({ "scope": scope, "key": name, "frozen": true });
        let answer = house.approver.post("/v1/freezes", &body).await;
        assert_eq!((answer.0, &answer.1["issues"][0]["pointer"]), (422, &json!("/key")), "{name}: {}", answer.1);
        assert!(says(&answer, near), "{name}: {}", answer.1);
    }
    assert_eq!(house.approver.get("/v1/freezes").await.1["items"], json!([]));
    let body = json!({ "scope": "skill", "key": "warehose", "frozen": true, "force": true });
    let (status, answer) = house.approver.post("/v1/freezes", &body).await;
    assert_eq!((status, &answer["warnings"][0]["code"]), (200, &json!("UNKNOWN_NAME")), "{answer}");
    let body = json!({ "scope": "skill", "key": "warehose", "frozen": false });
    assert_eq!(house.approver.post("/v1/freezes", &body).await.1["items"], json!([]), "lifted by its own name");
    // Capitals are no way past a freeze.
    let body = json!({ "scope": "actor", "key": "Dev-Agent", "frozen": true });
    assert_eq!(house.approver.post("/v1/freezes", &body).await.1["items"][0]["key"], "dev-agent");
    let meter = |only: &str, force: bool| {
        json!({ "force": force, "budgets": { "meters": [{ "id": "m", "scope": "workspace", "windowSeconds": 60,
            "measure": { "kind": "steps" }, "limit": 1, "only": [only] }] } })
    };
    let answer = house.approver.post("/v1/budgets", &meter("mail/mesage.send", false)).await;
    assert!(answer.0 == 422 && says(&answer, "did you mean `message.send`?"), "{}", answer.1);
    let (status, answer) = house.approver.post("/v1/budgets", &meter("nobody", true)).await;
    assert_eq!((status, &answer["warnings"][0]["code"]), (200, &json!("UNKNOWN_NAME")), "{answer}");
}

// Sample: 24 connections of refused installs by an agent; a person sets a freeze, 40 times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authority_kill_switches_work_under_a_flood_of_refused_installs() {
    let house = Arc::new(House::start().await);
    let registrar = key(&house, &house.approver, "agent", "registrar", &["skill-registry"]).await;
    let mut body = install_body(&house.tools.manifests().unwrap().remove(0));
    body["version"] = json!("7.7.7");
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let flood: Vec<_> = (0..24)
        .map(|_| {
            let (stop, refused, body) = (stop.clone(), refused.clone(), body.clone());
            let client = registrar.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    client.post("/v1/skills", &body).await;
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut slowest = Duration::ZERO;
    for number in 0..40 {
        let body = json!({ "scope": "skill", "key": "mail", "frozen": number % 2 == 0 });
        let started = Instant::now();
        let (status, answer) = house.approver.post("/v1/freezes", &body).await;
        slowest = slowest.max(started.elapsed());
        assert_eq!(status, 200, "freeze {number} of 40: {answer}");
    }
    for (path, body) in [("disable", json!({})), ("enable", json!({})), ("disable", json!({ "version": "1.0.0" }))] {
        let answer = house.approver.post(&format!("/v1/skills/mail/{path}"), &body).await;
        assert!(answer.0 == 200 || code(&answer).0 == 404, "{path}: {}", answer.1);
    }
    let (_, made) = try_key(&house.approver, "agent", "gone", &["audit"]).await;
    let path = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    assert_eq!(house.approver.post(&path, &json!({})).await.0, 200);
    stop.store(true, Ordering::SeqCst);
    for job in flood {
        job.await.unwrap();
    }
    println!("slowest freeze {slowest:?} beside {} refused installs", refused.load(Ordering::SeqCst));
    // Beside whatever else this machine does, in a build that is not optimised.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}

// A cancel is heard among the commits of a worker that never rests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authority_a_cancel_wins_against_a_worker_that_commits_all_the_time() {
    let house = House::start().await;
    let steps: Vec<Value> = (0..400)
        .map(|n| {
            let mut step = find(&format!("s{n:03}"));
            if n >= 4 {
                step["after"] = json!([format!("s{:03}", n - 4)]);
            }
            step
        })
        .collect();
    let id = submit(&house.agent, json!({ "text": "x", "draft": { "steps": steps } })).await;
    house.until(&id, "running").await;
    let (status, answer) = house.agent.post(&format!("/v1/executions/{id}/cancel"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    assert!(["cancelling", "cancelled"].contains(&answer["status"].as_str().unwrap()), "{answer}");
    house.until(&id, "cancelled").await;
}

// Sample: list --status blocekd; ?status=complete.
#[tokio::test]
async fn unknown_names_are_refused_in_queries_and_commands() {
    let house = House::start().await;
    for (query, near) in [
        ("status=blocekd", "did you mean `blocked`?"),
        ("status=complete", "did you mean `completed`?"),
        ("statsu=blocked", "did you mean `status`?"),
        ("actorId=dev-aprover", "did you mean `dev-approver`?"),
    ] {
        let answer = house.approver.get(&format!("/v1/executions?{query}")).await;
        assert_eq!(code(&answer), (422, "VALIDATION_FAILED"), "{query}: {}", answer.1);
        assert!(says(&answer, near), "{query}: {}", answer.1);
    }
    let (status, answer) =
        house.approver.post("/v1/intents?mode=dryRun", &json!({ "text": "x", "mode": "manual" })).await;
    assert_eq!(status, 422, "a parameter that nobody reads: {answer}");
    for (path, body, near) in [
        ("/v1/keys", json!({ "actor": { "kind": "humn", "id": "x" }, "grants": [] }), "did you mean `human`?"),
        ("/v1/freezes", json!({ "scope": "skil", "frozen": true }), "did you mean `skill`?"),
        ("/v1/intents", json!({ "text": "x", "mode": "manul" }), "did you mean `manual`?"),
    ] {
        let answer = house.approver.post(path, &body).await;
        assert!(answer.0 == 422 && says(&answer, near), "{path}: {}", answer.1);
    }
    let answer = house.approver.post("/v1/keys/000000000000/revoke", &json!({})).await;
    assert_eq!(code(&answer), (404, "NOT_FOUND"));
    for status in contracts::query::ExecutionStatus::ALL {
        assert_eq!(house.approver.get(&format!("/v1/executions?status={}", status.as_str())).await.0, 200);
    }
}

// What authentication says may be said again; what says otherwise is refused.
#[tokio::test]
async fn authority_who_decides_is_who_is_authenticated() {
    let house = House::start().await;
    let id = submit(&house.agent, json!({ "text": "pay", "draft": { "steps": [pay("p")] }, "actorId": "dev-agent" }))
        .await;
    let waits = house.until(&id, "blocked").await;
    let path = |verb: &str| format!("/v1/executions/{id}/{verb}");
    let mut body = json!({ "bindingDigest": waits["bindingDigest"], "approvedBy": "ceo" });
    assert_eq!(code(&house.approver.post(&path("approve"), &body).await), (403, "FORBIDDEN"));
    for (verb, field) in
        [("cancel", "cancelledBy"), ("reject", "rejectedBy"), ("pause", "actorId"), ("abort", "workspaceId")]
    {
        let answer = house.approver.post(&path(verb), &json!({ "reason": "x", field: "somebody" })).await;
        assert_eq!(code(&answer), (403, "FORBIDDEN"), "{verb}: {}", answer.1);
    }
    body["approvedBy"] = json!("dev-approver");
    body["workspaceId"] = json!("acme");
    let (status, answer) = house.approver.post(&path("approve"), &body).await;
    assert_eq!((status, &answer["approvedBy"]), (200, &json!("dev-approver")), "{answer}");
    assert!(answer["runId"].is_string() && answer["executionId"].is_string(), "{answer}");
}

#[tokio::test]
async fn authority_more_than_a_thousand_keys_are_listed_page_by_page() {
    let house = House::start().await;
    let engine = house.node().engine();
    for number in 0..1_030 {
        let key = contracts::access::CreateKey {
            actor: engine::access::actor(contracts::event::ActorKind::Agent, format!("a{number}")),
            grants: Default::default(),
            expires_at: None,
        };
        engine.deploy_key(&house.identity.workspace, key).await.unwrap();
    }
    let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), String::new());
    loop {
        let (status, page) = house.approver.get(&format!("/v1/keys?limit=200{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        for item in page["items"].as_array().unwrap() {
            assert!(seen.insert(item["id"].as_str().unwrap().to_owned()), "{item}");
        }
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={}", next.replace('#', "%23"));
    }
    assert_eq!(seen.len(), 1_032);
    for query in ["limit=0", "limit=201", "cursor=zz", "offset=3"] {
        assert_eq!(house.approver.get(&format!("/v1/keys?{query}")).await.0, 422, "{query}");
    }
}

#[tokio::test]
async fn authority_a_revoked_key_is_revoked_at_once_and_stays_so() {
    let house = House::start().await;
    let (_, made) = try_key(&house.approver, "agent", "bot", &AGENT).await;
    let bot = Client::new(&house.url(), made["apiKey"].as_str().unwrap());
    assert_eq!(bot.get("/v1/executions").await.0, 200);
    let path = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    let (_, once) = house.approver.post(&path, &json!({})).await;
    assert_eq!(bot.get("/v1/executions").await.0, 401);
    let (status, twice) = house.approver.post(&path, &json!({})).await;
    assert_eq!((status, &twice["revokedAt"]), (200, &once["revokedAt"]), "{twice}");
}

// The secret of a key is in one answer and nowhere else, not even in the record of an idempotent command.
#[tokio::test]
async fn authority_a_repeated_key_create_makes_one_key_and_tells_no_secret() {
    let house = House::start().await;
    let body = json!({ "actor": { "kind": "agent", "id": "bot" }, "grants": grants(&["audit"]) });
    let (status, first) = house.approver.keyed("/v1/keys", "k", &body).await;
    assert!(status == 201 && first["apiKey"].is_string(), "{first}");
    let (status, second) = house.approver.keyed("/v1/keys", "k", &body).await;
    assert_eq!((status, &second["key"]["id"]), (201, &first["key"]["id"]), "{second}");
    assert!(second.get("apiKey").is_none(), "{second}");
}
