//! Kill switches answer in time under load.

use super::*;

/// How long each kill switch took.
#[derive(Default)]
struct Times(BTreeMap<&'static str, Vec<Duration>>);

impl Times {
    fn add(&mut self, switch: &'static str, begun: Instant) {
        self.0.entry(switch).or_default().push(begun.elapsed());
    }
    fn print(mut self, flood: &str, beside: u64) {
        for (switch, times) in &mut self.0 {
            times.sort();
            let at = |share: usize| times[(times.len() - 1) * share / 100];
            println!(
                "{flood:24} {switch:14} n={:3} p50 {:>9.2?} p99 {:>9.2?} max {:>9.2?}  beside \
                 {beside} requests",
                times.len(),
                at(50),
                at(99),
                times[times.len() - 1],
            );
        }
    }
}

// Throws every kill switch again and again; each must do what it says.
pub(super) async fn switches(
    server: &TestServer,
    victims: &[String],
    flood: &str,
    beside: &AtomicU64,
) {
    let mut times = Times::default();
    let person = fresh(server, &server.identity.approver_key);
    for round in 0..victims.len() / 2 {
        let key =
            json!({ "actor": { "kind": "agent", "id": format!("gone-{round}") }, "grants": [] });
        let (status, made) = person.post("/v1/keys", &key).await;
        assert_eq!(status, 201, "{made}");
        let gone = fresh(server, made["apiKey"].as_str().unwrap());
        let revoke = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
        let (cancel, abort) = (&victims[2 * round], &victims[2 * round + 1]);
        let [cancel, abort] =
            [format!("/v1/executions/{cancel}/cancel"), format!("/v1/executions/{abort}/abort")];
        for (switch, path, body) in [
            (
                "freeze.set",
                "/v1/freezes",
                json!({ "scope": "skill", "key": "mail", "frozen": true }),
            ),
            (
                "freeze.lift",
                "/v1/freezes",
                json!({ "scope": "skill", "key": "mail", "frozen": false }),
            ),
            ("skill.disable", "/v1/skills/mail/disable", json!({})),
            ("key.revoke", &revoke, json!({})),
            ("cancel", &cancel, json!({ "reason": "x" })),
            ("abort", &abort, json!({ "reason": "x" })),
        ] {
            // Each on a connection of its own, as by somebody who comes just now.
            let person = fresh(server, &server.identity.approver_key);
            let begun = Instant::now();
            let (status, answer) = person.post(path, &body).await;
            times.add(switch, begun);
            assert_eq!(status, 200, "{flood}: {switch}: {answer}");
        }
        assert_eq!(gone.get("/v1/executions").await.0, 401, "{flood}: the key was revoked");
        let (_, freezes) = person.get("/v1/freezes").await;
        assert_eq!(freezes["items"], json!([]));
        let (status, answer) = person.post("/v1/skills/mail/enable", &json!({})).await;
        assert_eq!(status, 200, "{flood}: {answer}");
    }
    times.print(flood, beside.load(Ordering::SeqCst));
}

// Executions that are stopped one by one: two for each round, of which there are `SWITCHES`, else
// eight. Each waits for a person, in the middle of its run.
async fn victims(server: &TestServer) -> Vec<String> {
    let rounds = std::env::var("SWITCHES").ok().and_then(|count| count.parse().ok()).unwrap_or(8);
    let (count, steps) = (2 * rounds, json!([payout("a")]));
    let victims = join_all((0..count).map(|_| server.submit(steps.clone()))).await;
    for id in &victims {
        server.until(id, "blocked").await;
    }
    victims
}

// So many tasks that do the same again and again while the switches are thrown.
async fn flooded<F, Fut>(server: &TestServer, name: &str, lanes: usize, attack: F)
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let victims = victims(server).await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    // On threads of its own: what is measured is the server, not what the clients make of its
    // answers.
    let clients =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let jobs: Vec<_> = (0..lanes)
        .map(|lane| {
            let (attack, stop, count) = (attack.clone(), stop.clone(), count.clone());
            clients.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    attack(lane).await;
                    count.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    while count.load(Ordering::SeqCst) < lanes as u64 / 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    switches(server, &victims, name, &count).await;
    stop.store(true, Ordering::SeqCst);
    jobs.iter().for_each(|job| job.abort());
    clients.shutdown_background();
}

/// Kill switches, and a neighbour's everyday life, while one key floods submits of plans that run.
/// Right: each is done, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_in_a_flood_of_submits() {
    let server = TestServer::start().await;
    let neighbour = server.neighbour().await;
    let agent = fresh(&server, &server.identity.agent_key);
    let sent = Arc::new(AtomicU64::new(0));
    let flood = sent.clone();
    let life = tokio::spawn(async move {
        while flood.load(Ordering::SeqCst) < 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (mut times, before) = (Times::default(), resident_kib());
        for _ in 0..10 {
            let begun = Instant::now();
            let id = neighbour.submit(json!([find("a")])).await;
            times.add("submit", begun);
            let begun = Instant::now();
            assert_eq!(neighbour.settled(&id).await["status"], "completed");
            times.add("run", begun);
        }
        println!("{} KiB more than before", resident_kib().saturating_sub(before));
        times.print("a neighbour's life", 0);
    });
    flooded(&server, "16 lanes of submits", 16, move |_| {
        let agent = agent.clone();
        sent.fetch_add(1, Ordering::SeqCst);
        async move {
            let body =
                json!({ "text": "flood", "draft": { "steps": [find("a"), find("b"), find("c")] } });
            agent.post("/v1/intents", &body).await;
        }
    })
    .await;
    life.await.unwrap();
}

/// Kill switches while strangers and keys without the grant try all of them at once. Right: each is
/// done, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_in_a_flood_of_refused_attempts() {
    let server = TestServer::start().await;
    let (agent, stranger) =
        (fresh(&server, &server.identity.agent_key), fresh(&server, "csk_nobody"));
    flooded(&server, "24 lanes of 401 and 403", 24, move |lane| {
        let client = if lane % 2 == 0 { agent.clone() } else { stranger.clone() };
        async move {
            let body = json!({ "scope": "skill", "key": "mail", "frozen": true });
            let (status, _) = client.post("/v1/freezes", &body).await;
            // Beyond its rate a key is told so.
            assert!(matches!(status, 401 | 403 | 429), "{status}");
            client.post("/v1/skills/mail/disable", &json!({})).await;
            client.post("/v1/keys/000000000000/revoke", &json!({})).await;
        }
    })
    .await;
}

/// Kill switches while many executions' approvals expire at once. Right: each is done, soon, and
/// all approvals expire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_while_a_thousand_approvals_expire() {
    let server = TestServer::start().await;
    let count = if cfg!(debug_assertions) { 150 } else { 1_000 };
    let policy = r#"@id("quick") @reason("quick") @approvers("approvers:1") @expires("3s")
permit (principal, action, resource) when { context.mode == "assist" };"#;
    let victims = victims(&server).await;
    let (status, answer) =
        server.approver.post("/v1/policies", &json!({ "policies": policy })).await;
    assert!(status == 200 || status == 201, "{answer}");
    let steps = json!([payout("p")]);
    // A few at once: a thousand connections are another attack.
    let submits = stream::iter(0..count).map(|_| server.submit(steps.clone())).buffer_unordered(64);
    let ids: Vec<String> = submits.collect().await;
    switches(&server, &victims, "approvals that expire", &AtomicU64::new(count as u64)).await;
    let mut expired = 0;
    for id in &ids {
        let (_, answer) = server.approver.get(&format!("/v1/executions/{id}?waitSeconds=20")).await;
        let approvals = answer["execution"]["approvals"].as_array().unwrap();
        expired += usize::from(approvals.iter().any(|approval| approval["status"] == "expired"));
    }
    println!("{expired} of {count} approvals have expired by now");
    assert_eq!(server.tools.effects("payments/payout.create").len(), 0);
}

/// Kill switches while hundreds of long polls hold. Right: each is done, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_beside_long_polls() {
    let server = TestServer::start().await;
    let victims = victims(&server).await;
    server.tools.behave("crm/customer.find", Behaviour::Slow { ms: 9_000 });
    let id = server.submit(json!([find("a")])).await;
    let poll = format!(
        "GET /v1/executions/{id}?waitSeconds=25 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \
         {}\r\n\r\n",
        server.identity.agent_key
    );
    let mut held = Vec::new();
    for _ in 0..800 {
        let Some(mut stream) = connect(&address(&server)).await else { continue };
        stream.write_all(poll.as_bytes()).await.unwrap();
        held.push(stream);
    }
    switches(&server, &victims, "800 long polls", &AtomicU64::new(800)).await;
}

/// Kill switches while one key asks for the dearest work there is, on many connections. Right: each
/// is done, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_in_a_flood_of_heavy_work() {
    let server = TestServer::start().await;
    let agent = fresh(&server, &server.identity.agent_key);
    let steps: Vec<Value> = (0..1_000)
        .map(|n| {
            let mut step = find(&format!("s{n}"));
            step["after"] = (n.max(20) - 20..n).map(|m| json!(format!("s{m}"))).collect();
            step
        })
        .collect();
    let body = json!({ "draft": { "steps": steps } });
    flooded(&server, "16 lanes of heavy work", 16, move |_| {
        let (agent, body) = (agent.clone(), body.clone());
        async move {
            agent.post("/v1/policies/explain", &body).await;
        }
    })
    .await;
}

/// Kill switches while one key lists four hundred days, reads whole plans and whole traces, on many
/// connections. Right: each is done, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_in_a_flood_of_large_readings() {
    let server = TestServer::start().await;
    let agent = fresh(&server, &server.identity.agent_key);
    let count = if cfg!(debug_assertions) { 100 } else { 2_000 };
    let small = json!({ "text": "listed", "mode": "manual" });
    for _ in 0..count / 50 {
        join_all((0..50).map(|_| agent.post("/v1/intents", &small))).await;
    }
    let steps: Vec<Value> = (0..800).map(|n| find(&format!("s{n}"))).collect();
    let (status, answer) = agent
        .post("/v1/intents", &json!({ "text": "x", "mode": "manual", "draft": { "steps": steps } }))
        .await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let after = contracts::Timestamp::from_ms(countersign_it::now().ms() - 390 * 86_400_000);
    flooded(&server, "24 lanes of readings", 24, move |lane| {
        let agent = agent.clone();
        let path = match lane % 4 {
            0 => format!("/v1/executions?limit=200&createdAfter={after}&status=failed"),
            1 => format!("/v1/executions/{id}?includePlan=true"),
            2 => format!("/v1/executions/{id}/trace?includePayloads=true"),
            _ => "/v1/executions?limit=200".to_owned(),
        };
        async move {
            let (status, _) = agent.get(&path).await;
            assert_eq!(status, 200, "{path}");
        }
    })
    .await;
}
