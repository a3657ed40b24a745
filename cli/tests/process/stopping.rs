//! Killed at random moments under load, told to end, and started again.

use crate::kit::{Client, Process, cli, draft, install, till, trust};
use local::demo_tools::{Behaviour, DemoTools};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

#[test]
fn killed_at_random_it_loses_nothing_and_repeats_nothing() {
    let crashes: u32 = std::env::var("CRASHES").map_or(5, |count| count.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(stopped_again_and_again(crashes, Process::killed));
}

// SIGTERM under load: what is in flight ends, the process says so by its status, and nothing is
// lost.
#[test]
fn terminated_under_load_it_drains_and_loses_nothing() {
    let stops: u32 = std::env::var("TERMINATIONS").map_or(3, |count| count.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(stopped_again_and_again(stops, Process::terminated));
}

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn stopped_again_and_again(crashes: u32, stop_process: fn(Process)) {
    let folder = tempfile::tempdir().unwrap();
    let tools = Arc::new(DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap());
    let mut process = Process::start(folder.path());
    let client = Client::new(&process, "apiKey");
    let person = client.person(&process);
    trust(&process, &tools).await;
    tools.alias("till/charge.make", "payments/payout.create");
    for manifest in tools.manifests().unwrap().iter().chain([&till(&tools)]) {
        install(&person, manifest).await;
    }
    let acknowledged: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..6)
        .map(|_| {
            let (client, acknowledged, stop, count, tools) =
                (client.clone(), acknowledged.clone(), stop.clone(), count.clone(), tools.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    match number % 7 {
                        1 => tools.behave("payments/payout.create", Behaviour::Slow { ms: 40 }),
                        3 => tools.behave("mail/message.send", Behaviour::Slow { ms: 60 }),
                        _ => {}
                    }
                    let key = format!("load-{number}");
                    let body = json!({ "text": "load", "draft": draft(number) });
                    // The same key until it is acknowledged: whatever the crash swallowed, it is
                    // one execution.
                    loop {
                        if let Some((202, answer)) =
                            client.send("POST", "/v1/intents", Some(&key), Some(&body)).await
                        {
                            acknowledged
                                .lock()
                                .unwrap()
                                .insert(key, answer["executionId"].as_str().unwrap().to_owned());
                            break;
                        }
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
            })
        })
        .collect();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..crashes {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        tokio::time::sleep(Duration::from_millis(80 + seed % 700)).await;
        let address = process.url().trim_start_matches("http://").to_owned();
        stop_process(process);
        // Where tools look for the keys that sign warrants.
        process = Process::start_at(folder.path(), &address);
        *client.url.write().unwrap() = process.url();
    }
    stop.store(true, Ordering::SeqCst);
    for job in load {
        job.await.unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > 20, "{} executions under load", acknowledged.len());
    let mut doubts = 0;
    for id in acknowledged.values() {
        doubts += u32::from(end(&client, &person, &tools, id).await);
    }
    for (key, effects) in tools.effects("mail/message.send") {
        assert_eq!(effects, 1, "mail {key}");
    }
    for (key, effects) in tools.effects("payments/payout.create") {
        assert_eq!(effects, 1, "a charge was silently repeated: {key}");
    }
    for (number, id) in acknowledged.values().enumerate() {
        // Replay checks the chain too; the command line's own check of it, on a few.
        let (_, replay) = client.get(&format!("/v1/executions/{id}/replay")).await.unwrap();
        assert_eq!(replay["matches"], true, "{id}: {replay}");
        if number < 10 {
            let (code, text) = cli(&process, &["trace", id, "--verify"]);
            assert!(code == 0, "{text}");
        }
    }
    println!("{crashes} crashes, {} executions, {doubts} in doubt", acknowledged.len());
}

// Brings an execution to its end as a person would: what is in doubt is looked up in the tool's
// books. Whether it was.
async fn end(client: &Client, person: &Client, tools: &DemoTools, id: &str) -> bool {
    let started = Instant::now();
    let mut doubt = false;
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "{id} does not end");
        let Some((status, answer)) =
            client.get(&format!("/v1/executions/{id}?waitSeconds=5")).await
        else {
            continue;
        };
        assert_eq!(status, 200, "an acknowledged command was lost: {answer}");
        let view = &answer["execution"];
        match view["status"].as_str().unwrap() {
            "completed" => return doubt,
            "blocked" => {
                let step = view["steps"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|step| step["status"] == "in_doubt");
                let step = step.unwrap_or_else(|| panic!("{view}"));
                assert_eq!(
                    step["operation"], "till/charge.make",
                    "only a non-idempotent call can be in doubt"
                );
                doubt = true;
                let effects: u32 = tools.effects("payments/payout.create").values().sum();
                let parts =
                    [id, view["planDigest"].as_str().unwrap(), step["stepId"].as_str().unwrap()];
                let key = cs_core::canonical::digest_parts(&parts.map(str::as_bytes));
                let happened = tools.effects("payments/payout.create").contains_key(key.hex());
                let body = if happened {
                    json!({ "stepId": "charge", "outcome": "completed", "evidence": {
                        "payoutId": "by hand" } })
                } else {
                    json!({ "stepId": "charge", "outcome": "retry" })
                };
                let answer = person
                    .send("POST", &format!("/v1/executions/{id}/resolve"), None, Some(&body))
                    .await;
                assert!(
                    answer.is_some_and(|(status, _)| status == 200 || status == 409),
                    "{effects} charges"
                );
            }
            other => assert!(
                other == "running"
                    || other == "compiled"
                    || other == "verified"
                    || other == "received",
                "{view}"
            ),
        }
    }
}
