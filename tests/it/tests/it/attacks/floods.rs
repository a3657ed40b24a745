//! Attacks by numbers: connections, requests and work without end. What must be answered meanwhile
//! is everybody else, and the kill switches above all.

mod connections;
mod kill_switches;

use super::transport::address;
use countersign_it::{Client, TestServer};
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
    json!({ "id": id, "use": "payments/payout.create",
        "with": { "account": "x", "amount": 5, "currency": "EUR" } })
}

// A client with connections of its own.
fn fresh(server: &TestServer, key: &str) -> Client {
    Client::new(&server.url(), key)
}

// A person on a new connection: sees, freezes, lifts.
async fn a_person_is_heard(server: &TestServer, what: &str) {
    let person = fresh(server, &server.identity.approver_key);
    for frozen in [true, false] {
        let begun = Instant::now();
        let body = json!({ "scope": "skill", "key": "mail", "frozen": frozen });
        let answer = person
            .request("POST", "/v1/freezes")
            .json(&body)
            .timeout(Duration::from_secs(20))
            .send()
            .await;
        let answer =
            answer.unwrap_or_else(|error| panic!("{what}: no answer to a person: {error:?}"));
        assert_eq!(answer.status().as_u16(), 200, "{what}");
        println!("{what}: freeze.set on a new connection: {:?}", begun.elapsed());
    }
}

async fn connect(address: &str) -> Option<TcpStream> {
    tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(address)).await.ok()?.ok()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One step's callback comes two hundred times at once, each with another output, among as many of
/// strangers. Right: one is taken, the others are told so, and the trace has one completion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_a_flood_of_callbacks_for_one_step() {
    let server = TestServer::start().await;
    server.tools.behave("crm/customer.find", Behaviour::Later { ms: 600_000 });
    let id = server.submit(json!([find("a")])).await;
    let mut warrant = String::new();
    for _ in 0..400 {
        let last: Value = countersign_it::http()
            .get(format!("{}/last", server.tools.url()))
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
    server.until(&id, "blocked").await;
    let path = format!("/v1/executions/{id}/steps/a/callback");
    let forged = format!("{}x", &warrant[..warrant.len() - 2]);
    let calls = (0..400).map(|number| {
        let client = fresh(&server, if number % 2 == 0 { &warrant } else { &forged });
        let output =
            json!({ "id": format!("c{number}"), "name": "ada", "email": "a@x.org", "active": true,
                "notes": "" });
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
    server.until(&id, "completed").await;
    let events = server.events(&id).await;
    assert_eq!(
        events.iter().filter(|event| *event == "execution.step.completed").count(),
        1,
        "{events:?}"
    );
    server.proven(&id).await;
}
