//! Attacks by numbers: connections, requests and work without end. What must be answered meanwhile is everybody else, and
//! the kill switches above all.

use super::transport::address;
use countersign_it::{Client, House};
use futures_util::{StreamExt as _, future::join_all, stream};
use local::demo_tools::Behaviour;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Connections of a flood that would take every place of one address.
const PLACES: usize = 2_200;

fn find(id: &str) -> Value {
    json!({ "id": id, "use": "crm/customer.find", "with": { "email": "a@x.org" } })
}

fn payout(id: &str) -> Value {
    json!({ "id": id, "use": "payments/payout.create", "with": { "account": "x", "amount": 5, "currency": "EUR" } })
}

// A client with connections of its own.
fn fresh(house: &House, key: &str) -> Client {
    Client::new(&house.url(), key)
}

// A person on a new connection: sees, freezes, lifts.
async fn a_person_is_heard(house: &House, what: &str) {
    let person = fresh(house, &house.identity.approver_key);
    for frozen in [true, false] {
        let begun = Instant::now();
        let body = json!({ "scope": "skill", "key": "mail", "frozen": frozen });
        let answer = person.request("POST", "/v1/freezes").json(&body).timeout(Duration::from_secs(20)).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{what}: no answer to a person: {error:?}"));
        assert_eq!(answer.status().as_u16(), 200, "{what}");
        println!("{what}: freeze.set on a new connection: {:?}", begun.elapsed());
    }
}

async fn connect(address: &str) -> Option<TcpStream> {
    tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(address)).await.ok()?.ok()
}

/// One agent's key holds more long polls than there are connections. Right: it takes half of what is left at most; a person
/// on a new connection is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_long_polls_take_every_connection() {
    let house = House::start().await;
    house.tools.behave("crm/customer.find", Behaviour::Slow { ms: 8_000 });
    let id = house.submit(json!([find("a")])).await;
    let poll = format!(
        "GET /v1/executions/{id}?waitSeconds=25 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        house.identity.agent_key
    );
    let mut held = Vec::new();
    for _ in 0..PLACES {
        if let Some(mut stream) = connect(&address(&house)).await {
            let _ = stream.write_all(poll.as_bytes()).await;
            held.push(stream);
        }
    }
    a_person_is_heard(&house, "long polls").await;
    drop(held);
}

/// One agent's key holds every connection with a body that trickles in, under a light and under a heavy route. Right: as
/// above; and nobody's turn for heavy work passes meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_bodies_that_trickle_in() {
    let house = House::start().await;
    let mut held = Vec::new();
    for number in 0..PLACES {
        let path = if number % 2 == 0 { "/v1/intents" } else { "/v1/policies/explain" };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\n{{",
            house.identity.agent_key
        );
        if let Some(mut stream) = connect(&address(&house)).await {
            let _ = stream.write_all(head.as_bytes()).await;
            held.push(stream);
        }
    }
    a_person_is_heard(&house, "trickling bodies").await;
    let person = fresh(&house, &house.identity.approver_key);
    for path in ["/v1/skills/mail/disable", "/v1/skills/mail/enable"] {
        let begun = Instant::now();
        let (status, answer) = person.post(path, &json!({})).await;
        assert_eq!(status, 200, "{answer}");
        println!("trickling bodies: {path}: {:?}", begun.elapsed());
    }
    // None of the trickling bodies came to its end meanwhile: nobody waited for their time-out.
    for stream in &mut held {
        let mut byte = [0];
        if let Ok(Ok(count)) = tokio::time::timeout(Duration::ZERO, stream.read(&mut byte)).await {
            assert!(count == 0 || byte[0] == b'H');
        }
    }
    drop(held);
}

/// A stranger without any key holds connections with bodies for the callback of a step, under ever new credentials. Right:
/// refused before the body is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_strangers_bodies_at_the_callback() {
    let house = House::start().await;
    let path = format!("/v1/executions/exe_{}/steps/a/callback", "0".repeat(32));
    let mut held = Vec::new();
    for number in 0..PLACES {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer w{number}\r\ncontent-length: 1000000\r\n\r\n{{"
        );
        if let Some(mut stream) = connect(&address(&house)).await {
            let _ = stream.write_all(head.as_bytes()).await;
            held.push(stream);
        }
    }
    a_person_is_heard(&house, "strangers' callbacks").await;
    let mut answered = 0;
    for mut stream in held.into_iter().rev().take(100) {
        let mut head = vec![0; 12];
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut head)).await;
        if read.is_ok_and(|read| read.is_ok()) {
            assert_eq!(&head, b"HTTP/1.1 401");
            answered += 1;
        }
    }
    assert!(answered > 50, "{answered} of 100 were refused at once");
}

/// Two thousand idle connections, half of them in the middle of a header after a request that was answered, each sending a
/// byte now and then. Right: they make room; a person on a new connection is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_headers_that_trickle_in_after_an_answer() {
    let house = House::start().await;
    let mut held = Vec::new();
    for number in 0..2_000 {
        let Some(mut stream) = connect(&address(&house)).await else { continue };
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\nx-a: ").await;
        }
        held.push(stream);
    }
    let (stop, trickled) = (AtomicBool::new(false), AtomicU64::new(0));
    let trickle = async {
        while !stop.load(Ordering::SeqCst) {
            for stream in held.iter_mut().step_by(2) {
                trickled.fetch_add(u64::from(stream.try_write(b"b").is_ok()), Ordering::SeqCst);
            }
            tokio::task::yield_now().await;
        }
    };
    let person = async {
        for _ in 0..5 {
            a_person_is_heard(&house, "trickling headers").await;
        }
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(trickle, person);
    assert!(trickled.load(Ordering::SeqCst) > 1_000);
}

/// Clients that ask for large answers and never read them. Right: nobody else waits, and their connections make room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_answers_that_nobody_reads() {
    let house = House::start().await;
    let text = "x".repeat(15_000);
    for _ in 0..20 {
        house.agent.post("/v1/intents", &json!({ "text": text, "mode": "manual" })).await;
    }
    let get = format!(
        "GET /v1/skills?limit=200 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        house.identity.approver_key
    );
    let mut held = Vec::new();
    for _ in 0..1_000 {
        let Some(mut stream) = connect(&address(&house)).await else { continue };
        let _ = tokio::time::timeout(Duration::from_millis(200), stream.write_all(get.repeat(20).as_bytes())).await;
        held.push(stream);
    }
    a_person_is_heard(&house, "unread answers").await;
    drop(held);
}

/// Twelve thousand requests, each under another invalid key. Right: each is refused, none locks a valid key out, and what is
/// counted of them is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_keys_that_rotate() {
    let house = House::start().await;
    let before = resident_kib();
    let mut jobs = Vec::new();
    for lane in 0..8 {
        let address = address(&house);
        jobs.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            let send = async {
                for number in 0..1_500 {
                    let close = if number == 1_499 { "connection: close\r\n" } else { "" };
                    let one = format!(
                        "GET /v1/executions HTTP/1.1\r\nhost: x\r\n{close}authorization: Bearer csk_{lane}_{number}\r\n\r\n"
                    );
                    writer.write_all(one.as_bytes()).await.unwrap();
                }
            };
            let mut answers = String::new();
            let receive = async { reader.read_to_string(&mut answers).await.unwrap() };
            tokio::join!(send, receive);
            answers.matches("HTTP/1.1 401").count()
        }));
    }
    a_person_is_heard(&house, "rotating keys").await;
    let mut refused = 0;
    for job in jobs {
        refused += job.await.unwrap();
    }
    assert_eq!(refused, 12_000);
    a_person_is_heard(&house, "after rotating keys").await;
    println!("12,000 invalid keys: {} KiB more than before", resident_kib().saturating_sub(before));
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

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
                "{flood:24} {switch:14} n={:3} p50 {:>9.2?} p99 {:>9.2?} max {:>9.2?}  beside {beside} requests",
                times.len(),
                at(50),
                at(99),
                times[times.len() - 1],
            );
        }
    }
}

// Throws every kill switch again and again; each must do what it says.
async fn switches(house: &House, victims: &[String], flood: &str, beside: &AtomicU64) {
    let mut times = Times::default();
    let person = fresh(house, &house.identity.approver_key);
    for round in 0..victims.len() / 2 {
        let key = json!({ "actor": { "kind": "agent", "id": format!("gone-{round}") }, "grants": [] });
        let (status, made) = person.post("/v1/keys", &key).await;
        assert_eq!(status, 201, "{made}");
        let gone = fresh(house, made["apiKey"].as_str().unwrap());
        let revoke = format!("/v1/keys/{}/revoke", made["key"]["id"].as_str().unwrap());
        let (cancel, abort) = (&victims[2 * round], &victims[2 * round + 1]);
        let [cancel, abort] = [format!("/v1/executions/{cancel}/cancel"), format!("/v1/executions/{abort}/abort")];
        for (switch, path, body) in [
            ("freeze.set", "/v1/freezes", json!({ "scope": "skill", "key": "mail", "frozen": true })),
            ("freeze.lift", "/v1/freezes", json!({ "scope": "skill", "key": "mail", "frozen": false })),
            ("skill.disable", "/v1/skills/mail/disable", json!({})),
            ("key.revoke", &revoke, json!({})),
            ("cancel", &cancel, json!({ "reason": "x" })),
            ("abort", &abort, json!({ "reason": "x" })),
        ] {
            // Each on a connection of its own, as by somebody who comes just now.
            let person = fresh(house, &house.identity.approver_key);
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

// Executions that are stopped one by one: two for each round, of which there are `SWITCHES`, else eight. Each waits for a
// person, in the middle of its run.
async fn victims(house: &House) -> Vec<String> {
    let rounds = std::env::var("SWITCHES").ok().and_then(|count| count.parse().ok()).unwrap_or(8);
    let (count, steps) = (2 * rounds, json!([payout("a")]));
    let victims = join_all((0..count).map(|_| house.submit(steps.clone()))).await;
    for id in &victims {
        house.until(id, "blocked").await;
    }
    victims
}

// So many tasks that do the same again and again while the switches are thrown.
async fn flooded<F, Fut>(house: &House, name: &str, lanes: usize, attack: F)
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let victims = victims(house).await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    // On threads of its own: what is measured is the server, not what the clients make of its answers.
    let clients = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
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
    switches(house, &victims, name, &count).await;
    stop.store(true, Ordering::SeqCst);
    jobs.iter().for_each(|job| job.abort());
    clients.shutdown_background();
}

/// Kill switches, and a neighbour's everyday life, while one key floods submits of plans that run. Right: each is done, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_in_a_flood_of_submits() {
    let house = House::start().await;
    let neighbour = house.neighbour().await;
    let agent = fresh(&house, &house.identity.agent_key);
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
    flooded(&house, "16 lanes of submits", 16, move |_| {
        let agent = agent.clone();
        sent.fetch_add(1, Ordering::SeqCst);
        async move {
            let body = json!({ "text": "flood", "draft": { "steps": [find("a"), find("b"), find("c")] } });
            agent.post("/v1/intents", &body).await;
        }
    })
    .await;
    life.await.unwrap();
}

/// Kill switches while strangers and keys without the grant try all of them at once. Right: each is done, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_in_a_flood_of_refused_attempts() {
    let house = House::start().await;
    let (agent, stranger) = (fresh(&house, &house.identity.agent_key), fresh(&house, "csk_nobody"));
    flooded(&house, "24 lanes of 401 and 403", 24, move |lane| {
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

/// Kill switches while many executions' approvals expire at once. Right: each is done, soon, and all approvals expire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_while_a_thousand_approvals_expire() {
    let house = House::start().await;
    let count = if cfg!(debug_assertions) { 150 } else { 1_000 };
    let policy = r#"@id("quick") @reason("quick") @approvers("approvers:1") @expires("3s")
permit (principal, action, resource) when { context.mode == "assist" };"#;
    let victims = victims(&house).await;
    let (status, answer) = house.approver.post("/v1/policies", &json!({ "policies": policy })).await;
    assert!(status == 200 || status == 201, "{answer}");
    let steps = json!([payout("p")]);
    // A few at once: a thousand connections are another attack.
    let submits = stream::iter(0..count).map(|_| house.submit(steps.clone())).buffer_unordered(64);
    let ids: Vec<String> = submits.collect().await;
    switches(&house, &victims, "approvals that expire", &AtomicU64::new(count as u64)).await;
    let mut expired = 0;
    for id in &ids {
        let (_, answer) = house.approver.get(&format!("/v1/executions/{id}?waitSeconds=20")).await;
        let approvals = answer["execution"]["approvals"].as_array().unwrap();
        expired += usize::from(approvals.iter().any(|approval| approval["status"] == "expired"));
    }
    println!("{expired} of {count} approvals have expired by now");
    assert_eq!(house.tools.effects("payments/payout.create").len(), 0);
}

/// Kill switches while hundreds of long polls hold. Right: each is done, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_beside_long_polls() {
    let house = House::start().await;
    let victims = victims(&house).await;
    house.tools.behave("crm/customer.find", Behaviour::Slow { ms: 9_000 });
    let id = house.submit(json!([find("a")])).await;
    let poll = format!(
        "GET /v1/executions/{id}?waitSeconds=25 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        house.identity.agent_key
    );
    let mut held = Vec::new();
    for _ in 0..800 {
        let Some(mut stream) = connect(&address(&house)).await else { continue };
        stream.write_all(poll.as_bytes()).await.unwrap();
        held.push(stream);
    }
    switches(&house, &victims, "800 long polls", &AtomicU64::new(800)).await;
}

/// Kill switches while one key asks for the dearest work there is, on many connections. Right: each is done, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_in_a_flood_of_heavy_work() {
    let house = House::start().await;
    let agent = fresh(&house, &house.identity.agent_key);
    let steps: Vec<Value> = (0..1_000)
        .map(|n| {
            let mut step = find(&format!("s{n}"));
            step["after"] = (n.max(20) - 20..n).map(|m| json!(format!("s{m}"))).collect();
            step
        })
        .collect();
    let body = json!({ "draft": { "steps": steps } });
    flooded(&house, "16 lanes of heavy work", 16, move |_| {
        let (agent, body) = (agent.clone(), body.clone());
        async move {
            agent.post("/v1/policies/explain", &body).await;
        }
    })
    .await;
}

/// Kill switches while one key lists four hundred days, reads whole plans and whole traces, on many connections. Right: each
/// is done, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_kill_switches_in_a_flood_of_large_readings() {
    let house = House::start().await;
    let agent = fresh(&house, &house.identity.agent_key);
    let count = if cfg!(debug_assertions) { 100 } else { 2_000 };
    let small = json!({ "text": "listed", "mode": "manual" });
    for _ in 0..count / 50 {
        join_all((0..50).map(|_| agent.post("/v1/intents", &small))).await;
    }
    let steps: Vec<Value> = (0..800).map(|n| find(&format!("s{n}"))).collect();
    let (status, answer) =
        agent.post("/v1/intents", &json!({ "text": "x", "mode": "manual", "draft": { "steps": steps } })).await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["executionId"].as_str().unwrap().to_owned();
    let after = contracts::Timestamp::from_ms(countersign_it::now().ms() - 390 * 86_400_000);
    flooded(&house, "24 lanes of readings", 24, move |lane| {
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

/// One step's callback comes two hundred times at once, each with another output, among as many of strangers. Right: one
/// is taken, the others are told so, and the trace has one completion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_a_flood_of_callbacks_for_one_step() {
    let house = House::start().await;
    house.tools.behave("crm/customer.find", Behaviour::Later { ms: 600_000 });
    let id = house.submit(json!([find("a")])).await;
    let mut warrant = String::new();
    for _ in 0..400 {
        let last: Value = countersign_it::http()
            .get(format!("{}/last", house.tools.url()))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        if let Some(text) = last["warrant"].as_str() {
            warrant = text.to_owned();
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    house.until(&id, "blocked").await;
    let path = format!("/v1/executions/{id}/steps/a/callback");
    let forged = format!("{}x", &warrant[..warrant.len() - 2]);
    let calls = (0..400).map(|number| {
        let client = fresh(&house, if number % 2 == 0 { &warrant } else { &forged });
        let output =
            json!({ "id": format!("c{number}"), "name": "ada", "email": "a@x.org", "active": true, "notes": "" });
        let path = path.clone();
        async move { (number, client.post(&path, &json!({ "output": output })).await.0) }
    });
    let mut counts: BTreeMap<u16, u32> = BTreeMap::new();
    for (number, status) in join_all(calls).await {
        assert!(number % 2 == 0 || status == 401, "{number}: {status}");
        *counts.entry(status).or_default() += 1;
    }
    println!("callbacks by status: {counts:?}");
    assert_eq!((counts[&200], counts[&401]), (1, 200), "{counts:?}");
    assert!(counts.keys().all(|status| *status < 500), "{counts:?}");
    house.until(&id, "completed").await;
    let events = house.events(&id).await;
    assert_eq!(events.iter().filter(|event| *event == "execution.step.completed").count(), 1, "{events:?}");
    house.proven(&id).await;
}
