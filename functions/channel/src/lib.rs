//! Channel: what providers of messages send. It is verified, claimed and acknowledged; the table's
//! stream starts the work after.

use contracts::{
    channel::{ChannelAcknowledged, Provider},
    endpoint::named,
};
use edge::{Received, Routes, read_body};
use engine::{Answer, Engine, PROVIDER_HEADERS, ProviderRequest};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .acknowledge(const { named("channel.receive") }, |engine, received| async move {
            let request = request(received).await?;
            // Twilio takes TwiML or nothing.
            let silent = request.provider == Provider::Twilio;
            let challenge = engine.inbound.receive(request).await?;
            Ok((!silent).then_some(ChannelAcknowledged { challenge }))
        })
        .answer(const { named("slack.interact") }, |engine, received| async move {
            let headers = signed_headers(&received)?;
            let body = read_body(received.body).await?;
            let answer = engine.presses.receive(&headers, &body).await?;
            Ok(answer.unwrap_or_else(|| json!({})))
        })
        .answer(const { named("channel.challenge") }, |engine, received| async move {
            engine.inbound.challenge(request(received).await?).await
        })
}

// The raw bytes: what is signed is what came.
async fn request(received: Received) -> Answer<ProviderRequest> {
    let provider: Provider = received.named("provider")?;
    let channel: String = received.named("channelKey")?;
    let headers = signed_headers(&received)?;
    let query = received.query.clone();
    let body = read_body(received.body).await?.to_vec();
    Ok(ProviderRequest { provider, channel, headers, query, body })
}

fn signed_headers(received: &Received) -> Answer<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    for name in PROVIDER_HEADERS {
        if let Some(value) = received.header(name)? {
            headers.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(headers)
}

/// Its task: a batch of the table's stream; says from which record on it wants them again.
pub async fn task(engine: &Engine, batch: &Value) -> Value {
    let records =
        batch.get("Records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for record in records {
        let text =
            |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/eventName") != "INSERT" {
            continue;
        }
        if let Err(fault) = engine.inbound.work(text("/dynamodb/Keys/sk/S")).await {
            tracing::warn!(%fault, "what came in waits");
            let number = text("/dynamodb/SequenceNumber");
            return json!({ "batchItemFailures": [{ "itemIdentifier": number }] });
        }
    }
    json!({ "batchItemFailures": [] })
}
