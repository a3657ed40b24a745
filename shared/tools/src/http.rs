//! Tools over HTTP: the input is the JSON body, the JSON answer the output.

use crate::outbound::Outbound;
use contracts::json;
use engine::ports::{ToolAnswer, ToolCall, ToolReport};
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// Calls a tool once.
pub(crate) async fn call(
    outbound: &Outbound,
    call: ToolCall,
    target: &str,
    method: &str,
) -> ToolAnswer {
    let (client, url) = match outbound.target(target, call.allow_private) {
        Ok(target) => target,
        Err(why) => return ToolAnswer::forbidden(why),
    };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return ToolAnswer::forbidden("not an HTTP method");
    };
    let timeout = Duration::from_millis(call.timeout_ms);
    let mut request = client.request(method, url).timeout(timeout).body(call.body);
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() || error.is_builder() => {
            return ToolAnswer::Unreached(causes(&error));
        }
        Err(error) => return ToolAnswer::lost(causes(&error)),
    };
    let status = response.status().as_u16();
    let retry_after_seconds =
        response.headers().get(http::header::RETRY_AFTER).and_then(seconds_until);
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > call.answer_bytes_max => {
                // Only of a success what is said matters.
                if (200..300).contains(&status) {
                    return ToolAnswer::too_large(call.answer_bytes_max);
                }
                return answer(status, &[], retry_after_seconds);
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return answer(status, &body, retry_after_seconds),
            Err(error) => return ToolAnswer::lost(causes(&error)),
        }
    }
}

/// What an HTTP answer means (CONTRACTS 5): 2xx with the output; 202 a callback; 4xx but 408, 425
/// and 429 failed; all else unknown.
pub fn answer(status: u16, body: &[u8], retry_after_seconds: Option<u32>) -> ToolAnswer {
    let report = || ToolReport {
        code: format!("TOOL_{status}"),
        fact: format!("the tool answered {status}"),
        said: of_body(body).into_iter().flatten().collect(),
        retry_after_seconds,
    };
    match status {
        202 => ToolAnswer::Accepted,
        200..=299 => ToolAnswer::Output(body.to_vec()),
        408 | 425 | 429 => ToolAnswer::Unknown(report()),
        400..=499 => ToolAnswer::Failed(report()),
        _ => ToolAnswer::Unknown(report()),
    }
}

// Code and message of an error body, those that are there: of a problem (RFC 9457), of `{"code",
// "message"}`, of `{"error": {...}}` with the same inside, or of `{"error": "..."}`.
fn of_body(body: &[u8]) -> [Option<String>; 2] {
    let parsed = json::parse(json::unmarked(body)).unwrap_or_default();
    let error = parsed.get("error").unwrap_or(&parsed);
    if let Some(text) = error.as_str() {
        let code = parsed.get("code").and_then(Value::as_str).map(str::to_owned);
        return [code, Some(text.to_owned())];
    }
    let text =
        |keys: &[&str]| keys.iter().find_map(|key| error.get(key)?.as_str()).map(str::to_owned);
    [text(&["code"]), text(&["title", "message", "detail"])]
}

// `Retry-After`: seconds, or a date.
fn seconds_until(value: &http::HeaderValue) -> Option<u32> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    u32::try_from(until.duration_since(jiff::Timestamp::now()).as_secs()).ok()
}

// The whole chain of causes, without the URL, which may hold what belongs in no log.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::new() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if text.is_empty() { "the connection failed".into() } else { text }
}
