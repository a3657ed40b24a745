//! Stage events: at least once, in order per execution, signed.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use countersign_it::{TestServer, anywhere};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

type Seen = Arc<Mutex<(u32, Vec<(HeaderMap, Bytes)>)>>;

#[tokio::test(flavor = "multi_thread")]
async fn reach_the_subscriber_signed_and_in_order_though_it_fails_at_first() {
    let seen: Seen = Arc::default();
    let receive = |State(seen): State<Seen>, headers: HeaderMap, body: Bytes| async move {
        let mut seen = seen.lock().unwrap();
        seen.0 += 1;
        if seen.0 % 5 == 2 {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        seen.1.push((headers, body));
        StatusCode::NO_CONTENT
    };
    let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(receive)).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let server = TestServer::with_subscriber(Some(url)).await;
    let mut ids = Vec::new();
    for name in ["ada", "bob", "cyd"] {
        ids.push(
            server
                .submit(json!([{ "id": "find", "use": "crm/customer.find",
            "with": { "email": format!("{name}@x.org") } }]))
                .await,
        );
    }
    let mut expected = 0;
    for id in &ids {
        server.until(id, "completed").await;
        expected += server.events(id).await.len();
    }
    let distinct = || {
        let seen = seen.lock().unwrap();
        let ids: std::collections::BTreeSet<String> = seen
            .1
            .iter()
            .map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap())
            .filter(|event| event["subject"] != "log")
            .map(|event| event["id"].to_string())
            .collect();
        ids.len()
    };
    for _ in 0..600 {
        if distinct() == expected {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(distinct(), expected, "every event arrives");
    let secret = server.identity.subscriber_secret.clone().unwrap();
    let key = B64.decode(secret.trim_start_matches("whsec_")).unwrap();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for (headers, body) in &seen.lock().unwrap().1 {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
        mac.update(body);
        assert_eq!(
            header("webhook-signature"),
            format!("v1,{}", B64.encode(mac.finalize().into_bytes()))
        );
        let event: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(event["specversion"], "1.0");
        let (subject, sequence) =
            (event["subject"].as_str().unwrap().to_owned(), event["sequence"].as_u64().unwrap());
        // What was logged before anybody had subscribed is sent to nobody.
        let first = if subject == "log" { sequence - 1 } else { 0 };
        let before = last.insert(subject, sequence).unwrap_or(first);
        assert!(
            sequence <= before + 1,
            "an event came before the one it follows: {before} then {sequence}"
        );
        let schema = format!(
            "{}.schema.json",
            event["type"].as_str().unwrap().trim_start_matches("controlPlane.")
        );
        let schema: Value = serde_json::from_str(
            &std::fs::read_to_string(crate::generated::root().join("events/schema").join(schema))
                .unwrap(),
        )
        .unwrap();
        let issues = cs_core::schema::Schema::compile(&schema).unwrap().issues(
            &event,
            &Default::default(),
            "",
        );
        assert!(issues.is_empty(), "{issues:?}");
    }
}
