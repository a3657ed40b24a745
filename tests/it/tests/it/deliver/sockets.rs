//! Real subscribers on a running node: who never answers, fails or comes back delays nobody.

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use countersign_it::{TestServer, anywhere};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

const END: &str = "controlPlane.execution.completed";
/// What is not delayed comes within so long on a busy machine.
const SOON: Duration = Duration::from_secs(8);

/// A subscriber: what it took, and which subjects it refuses.
#[derive(Default)]
struct Hook {
    taken: Mutex<Vec<(String, u64)>>,
    refused: Mutex<BTreeSet<String>>,
    /// The next subject is refused from now on.
    refuses_next: AtomicBool,
}

impl Hook {
    fn took(&self, subject: &str) -> bool {
        self.taken.lock().unwrap().iter().any(|(own, _)| own == subject)
    }
}

async fn listen(address: SocketAddr) -> (String, Arc<Hook>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let hook = Arc::<Hook>::default();
    let take = |State(hook): State<Arc<Hook>>, body: Bytes| async move {
        let event: Value = serde_json::from_slice(&body).unwrap();
        let subject = event["subject"].as_str().unwrap().to_owned();
        if hook.refuses_next.swap(false, Ordering::SeqCst) {
            hook.refused.lock().unwrap().insert(subject.clone());
        }
        if hook.refused.lock().unwrap().contains(&subject) {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        hook.taken.lock().unwrap().push((subject, event["sequence"].as_u64().unwrap()));
        StatusCode::NO_CONTENT
    };
    let router = Router::new().route("/hook", post(take)).with_state(hook.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, hook)
}

/// Accepts and never answers. How many connections there are, and were at most.
async fn silent() -> (String, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let counts = Arc::<[AtomicUsize; 2]>::default();
    let counted = counts.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counts = counted.clone();
            let now = counts[0].fetch_add(1, Ordering::SeqCst) + 1;
            counts[1].fetch_max(now, Ordering::SeqCst);
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                counts[0].fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (url, counts)
}

async fn subscribe(server: &TestServer, url: &str) -> String {
    let body = json!({ "url": url, "types": [END] });
    let (status, answer) = server.approver.post("/v1/webhooks", &body).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn run(server: &TestServer) -> String {
    let with = json!({ "email": "a@x.org" });
    let id = server.submit(json!([{ "id": "a", "use": "crm/customer.find", "with": with }])).await;
    server.until(&id, "completed").await;
    id
}

#[track_caller]
fn within(what: &str, most: Duration, holds: impl Fn() -> bool) -> impl Future<Output = ()> {
    let what = what.to_owned();
    async move {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < most, "{what}: not within {most:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// One subscriber never answers. Right: another of the same workspace gets each execution's end.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_silent_target_delays_no_other_of_its_workspace() {
    let server = TestServer::start().await;
    let ((silent, counts), (url, hook)) = (silent().await, listen(anywhere()).await);
    subscribe(&server, &silent).await;
    subscribe(&server, &url).await;
    for _ in 0..5 {
        let id = run(&server).await;
        within("the other target", SOON, || hook.took(&id)).await;
    }
    assert!(counts[1].load(Ordering::SeqCst) > 0, "the silent one was called");
}

/// A subscriber answers 500 to one execution. Right: another's end reaches it at once.
#[tokio::test(flavor = "multi_thread")]
async fn attack_an_execution_that_is_refused_delays_no_other() {
    let server = TestServer::start().await;
    let (url, hook) = listen(anywhere()).await;
    subscribe(&server, &url).await;
    hook.refuses_next.store(true, Ordering::SeqCst);
    let bad = run(&server).await;
    within("the refused one", SOON, || hook.refused.lock().unwrap().contains(&bad)).await;
    for _ in 0..5 {
        let id = run(&server).await;
        within("another execution", SOON, || hook.took(&id)).await;
    }
    assert!(!hook.took(&bad));
    hook.refused.lock().unwrap().clear();
    within("the refused one, tried again", Duration::from_secs(60), || hook.took(&bad)).await;
}

/// A subscriber is away for a while. Right: it is served within seconds of its return.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_is_served_within_seconds() {
    let server = TestServer::start().await;
    let address = TcpListener::bind(anywhere()).await.unwrap().local_addr().unwrap();
    let id = subscribe(&server, &format!("http://{address}/hook")).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(run(&server).await);
    }
    let begun = Instant::now();
    loop {
        let (_, list) = server.approver.get("/v1/webhooks").await;
        let item = &list["items"][0];
        if item["state"] == "down" && item["waiting"] == 5 {
            break;
        }
        assert!(begun.elapsed() < SOON, "{list}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, hook) = listen(address).await;
    let all = || ids.iter().all(|id| hook.took(id));
    within("all that waited", Duration::from_secs(30), all).await;
    let (_, list) = server.approver.get("/v1/webhooks").await;
    assert_eq!(list["items"][0]["id"], json!(id));
}

/// A flood of streams to who never answers. Right: few connections, and the node answers.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_flood_of_streams_takes_few_connections() {
    let server = TestServer::start().await;
    let (url, counts) = silent().await;
    subscribe(&server, &url).await;
    let with = json!({ "email": "a@x.org" });
    for _ in 0..150 {
        server.submit(json!([{ "id": "a", "use": "crm/customer.find", "with": with }])).await;
    }
    run(&server).await;
    within("a delivery", SOON, || counts[1].load(Ordering::SeqCst) > 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let most = counts[1].load(Ordering::SeqCst);
    assert!(most <= 24, "{most} connections at once");
}
