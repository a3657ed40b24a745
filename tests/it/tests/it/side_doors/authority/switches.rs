//! Kill switches and skills: a disable, a freeze or a cancellation holds at once.

use super::*;

// Sample: a person disables a skill; the agent installs another version of it and runs that.
#[tokio::test]
async fn authority_a_disabled_skill_stays_so_for_every_version_until_a_person_enables_it() {
    let server = TestServer::start().await;
    let registrar = key(&server, &server.approver, "agent", "registrar", &["skill-registry"]).await;
    let (status, answer) =
        server.approver.post("/v1/skills/crm/disable", &json!({ "reason": "incident" })).await;
    assert_eq!((status, &answer["status"]), (200, &json!("disabled")), "{answer}");
    let mut manifest = server.tools.manifests().unwrap().remove(0);
    manifest["skill"]["version"] = json!("9.0.0");
    let (status, answer) = registrar.post("/v1/skills", &install_body(&manifest)).await;
    assert_eq!(status, 201, "{answer}");
    let id =
        submit(&server.agent, json!({ "text": "look", "draft": { "steps": [find("c")] } })).await;
    assert_eq!(view(&server, &id).await["status"], "rejected");
    let (_, list) = server.approver.get("/v1/skills?includeDisabled=true").await;
    let crm = list["items"].as_array().unwrap().iter().filter(|item| item["skillKey"] == "crm");
    assert!(
        crm.clone().count() == 2 && crm.into_iter().all(|item| item["status"] == "disabled"),
        "{list}"
    );
    let answer = registrar.post("/v1/skills/crm/enable", &json!({})).await;
    assert_eq!(code(&answer), (403, "FORBIDDEN"), "{}", answer.1);
    let (status, answer) =
        server.approver.post("/v1/skills/crm/enable", &json!({ "reason": "over" })).await;
    assert_eq!((status, &answer["enabledBy"]), (200, &json!("dev-approver")), "{answer}");
    let id =
        submit(&server.agent, json!({ "text": "look", "draft": { "steps": [find("c")] } })).await;
    server.until(&id, "completed").await;
    let answer = server.approver.post("/v1/skills/crn/disable", &json!({})).await;
    assert!(
        code(&answer) == (404, "NOT_FOUND") && says(&answer, "did you mean `crm`?"),
        "{}",
        answer.1
    );
}

// Disabled between its approval and its claim: what is under way stops, too.
#[tokio::test]
async fn authority_a_disable_as_a_whole_holds_for_the_next_claim() {
    let server = TestServer::start().await;
    server.tools.behave("crm/customer.find", local::demo_tools::Behaviour::Slow { ms: 1_000 });
    let mail = json!({ "id": "m", "use": "mail/message.send", "after": ["c"],
        "with": { "to": ["a@x.org"], "subject": "s", "body": "b" } });
    let id = submit(&server.agent, json!({ "text": "x", "draft": { "steps": [find("c"), mail] } }))
        .await;
    server.until(&id, "running").await;
    let (status, answer) = server.approver.post("/v1/skills/mail/disable", &json!({})).await;
    assert_eq!((status, &answer["voidedSteps"]), (200, &json!(1)), "{answer}");
    for _ in 0..200 {
        let view = view(&server, &id).await;
        if view["steps"][1]["waitsFor"] == "skill_disabled" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(view(&server, &id).await["steps"][1]["waitsFor"], "skill_disabled");
    assert!(server.tools.effects("mail/message.send").is_empty());
}

// Sample: 2.0.0 is tier high; the agent installs the older 1.0.0 (tier low) and names it in `use`.
#[tokio::test]
async fn authority_no_way_back_below_the_highest_version_without_a_person() {
    let server = TestServer::start().await;
    let registrar = key(&server, &server.approver, "agent", "registrar", &["skill-registry"]).await;
    let mut manifest = server.tools.manifests().unwrap().remove(0);
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
    assert_eq!(
        code(&server.approver.post("/v1/skills", &low).await),
        (409, "ROLLBACK_REFUSED"),
        "not by accident"
    );
    let (_, looked) = server.approver.post("/v1/skills/verify", &low).await;
    assert_eq!(looked["verified"], false, "{looked}");
    // Even where the higher one is disabled or gone from use.
    server.approver.post("/v1/skills/pays/disable", &json!({ "version": "2.0.0" })).await;
    assert_eq!(code(&registrar.post("/v1/skills", &low).await), (409, "ROLLBACK_REFUSED"));
    let (status, answer) = server.approver.post("/v1/skills", &asked).await;
    assert_eq!(status, 201, "{answer}");
    let trace =
        server.node().engine().store().workspace_trace(&server.identity.workspace).await.unwrap();
    let recorded = trace.iter().any(|entry| {
        entry["type"] == "controlPlane.skill.installed" && entry["data"]["downgradeFrom"] == "2.0.0"
    });
    assert!(recorded, "who let it, and from where, is on record");
}

// Sample: freezes of `warehose`, `m/loook`, `dev-agent `; a meter on an operation nobody has.
#[tokio::test]
async fn authority_freezes_and_meters_of_what_does_not_exist_are_refused() {
    let server = TestServer::start().await;
    for (scope, name, near) in [
        ("skill", "payment", "did you mean `payments`?"),
        ("operation", "crm/custmer.find", "did you mean `customer.find`?"),
        ("operation", "crn/customer.find", "did you mean `crm`?"),
        ("actor", "dev-agnet", "did you mean `dev-agent`?"),
        ("actor", "dev-agent ", "did you mean `dev-agent`?"),
    ] {
        let body = json!({ "scope": scope, "key": name, "frozen": true });
        let answer = server.approver.post("/v1/freezes", &body).await;
        assert_eq!(
            (answer.0, &answer.1["issues"][0]["pointer"]),
            (422, &json!("/key")),
            "{name}: {}",
            answer.1
        );
        assert!(says(&answer, near), "{name}: {}", answer.1);
    }
    assert_eq!(server.approver.get("/v1/freezes").await.1["items"], json!([]));
    let body = json!({ "scope": "skill", "key": "warehose", "frozen": true, "force": true });
    let (status, answer) = server.approver.post("/v1/freezes", &body).await;
    assert_eq!((status, &answer["warnings"][0]["code"]), (200, &json!("UNKNOWN_NAME")), "{answer}");
    let body = json!({ "scope": "skill", "key": "warehose", "frozen": false });
    assert_eq!(
        server.approver.post("/v1/freezes", &body).await.1["items"],
        json!([]),
        "lifted by its own name"
    );
    // Capitals are no way past a freeze.
    let body = json!({ "scope": "actor", "key": "Dev-Agent", "frozen": true });
    assert_eq!(server.approver.post("/v1/freezes", &body).await.1["items"][0]["key"], "dev-agent");
    let meter = |only: &str, force: bool| {
        json!({ "force": force, "budgets": {
            "meters": [{ "id": "m", "scope": "workspace", "windowSeconds": 60,
            "measure": { "kind": "steps" }, "limit": 1, "only": [only] }] } })
    };
    let answer = server.approver.post("/v1/budgets", &meter("mail/mesage.send", false)).await;
    assert!(answer.0 == 422 && says(&answer, "did you mean `message.send`?"), "{}", answer.1);
    let (status, answer) = server.approver.post("/v1/budgets", &meter("nobody", true)).await;
    assert_eq!((status, &answer["warnings"][0]["code"]), (200, &json!("UNKNOWN_NAME")), "{answer}");
}

// Sample: 24 connections of refused installs by an agent; a person sets a freeze, 40 times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authority_kill_switches_work_under_a_flood_of_refused_installs() {
    let server = Arc::new(TestServer::start().await);
    let registrar = key(&server, &server.approver, "agent", "registrar", &["skill-registry"]).await;
    let mut body = install_body(&server.tools.manifests().unwrap().remove(0));
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
        let (status, answer) = server.approver.post("/v1/freezes", &body).await;
        slowest = slowest.max(started.elapsed());
        assert_eq!(status, 200, "freeze {number} of 40: {answer}");
    }
    for (path, body) in
        [("disable", json!({})), ("enable", json!({})), ("disable", json!({ "version": "1.0.0" }))]
    {
        let answer = server.approver.post(&format!("/v1/skills/mail/{path}"), &body).await;
        assert!(answer.0 == 200 || code(&answer).0 == 404, "{path}: {}", answer.1);
    }
    let (_, made) = try_key(&server.approver, "agent", "gone", &["audit"]).await;
    let path = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
    assert_eq!(server.approver.post(&path, &json!({})).await.0, 200);
    stop.store(true, Ordering::SeqCst);
    for job in flood {
        job.await.unwrap();
    }
    println!(
        "slowest freeze {slowest:?} beside {} refused installs",
        refused.load(Ordering::SeqCst)
    );
    // Beside whatever else this machine does, in a build that is not optimised.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}

// A cancel is heard among the commits of a worker that never rests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authority_a_cancel_wins_against_a_worker_that_commits_all_the_time() {
    let server = TestServer::start().await;
    let steps: Vec<Value> = (0..400)
        .map(|n| {
            let mut step = find(&format!("s{n:03}"));
            if n >= 4 {
                step["after"] = json!([format!("s{:03}", n - 4)]);
            }
            step
        })
        .collect();
    let id = submit(&server.agent, json!({ "text": "x", "draft": { "steps": steps } })).await;
    server.until(&id, "running").await;
    let (status, answer) =
        server.agent.post(&format!("/v1/executions/{id}/cancel"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    assert!(["cancelling", "cancelled"].contains(&answer["status"].as_str().unwrap()), "{answer}");
    server.until(&id, "cancelled").await;
}
