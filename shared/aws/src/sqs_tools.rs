//! Tools behind queues: one message a call, and a worker that receives it.
//!
//! The body is the input; what HTTP tools get as headers are message attributes. A message is sent
//! at most once a call: whether it is sent again is for the engine to decide.

use crate::client::TRY;
use async_trait::async_trait;
use aws_sdk_sqs::{
    Client,
    config::{Builder, Region, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata as _, SdkError},
    operation::send_message::SendMessageError,
    types::MessageAttributeValue,
};
use aws_types::SdkConfig;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use contracts::{json, manifest::Binding};
use engine::ports::{ToolAnswer, ToolCall, ToolReport, Tools};
use std::{error::Error, iter::successors, time::Duration};

/// Largest message, in bytes, its attributes included (SQS's message quotas).
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Attributes of one message (the same).
const ATTRIBUTES_MAX: usize = 10;
/// The type of each attribute.
const TEXT: &str = "String";

/// Sends messages to queues by their URL.
pub struct SqsTools {
    client: Client,
}

impl SqsTools {
    pub(crate) fn new(config: &SdkConfig) -> Self {
        let config = Builder::from(config).retry_config(RetryConfig::disabled());
        Self { client: Client::from_conf(config.build()) }
    }
}

#[async_trait]
impl Tools for SqsTools {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        let Binding::Sqs { queue_url } = &call.binding else {
            return ToolAnswer::forbidden("not a queue");
        };
        if let Some(why) = too_large(&call) {
            return ToolAnswer::Failed(ToolReport::new("CALL_TOO_LARGE", why));
        }
        let fifo = queue_url.ends_with(".fifo");
        let group = group(&call).filter(|_| fifo);
        let once = deduplication_id(&call).filter(|_| fifo);
        let Ok(body) = String::from_utf8(call.body) else {
            return ToolAnswer::forbidden("the input is not text");
        };
        let mut message = self
            .client
            .send_message()
            .queue_url(queue_url)
            .message_body(body)
            .set_message_group_id(group)
            .set_message_deduplication_id(once);
        for (name, value) in call.headers {
            let value = MessageAttributeValue::builder().data_type(TEXT).string_value(value);
            match value.build() {
                Ok(value) => message = message.message_attributes(name, value),
                Err(error) => return ToolAnswer::forbidden(error.to_string()),
            }
        }
        let timeout = Duration::from_millis(call.timeout_ms).min(TRY);
        let timeout = TimeoutConfig::builder().operation_timeout(timeout).build();
        let config = Builder::new().timeout_config(timeout).region(region(queue_url));
        match message.customize().config_override(config).send().await {
            Ok(sent) => match sent.message_id {
                Some(message_id) => ToolAnswer::Queued { message_id },
                None => ToolAnswer::lost("SQS answered without the message's id"),
            },
            Err(error) => not_sent(&error),
        }
    }
}

fn too_large(call: &ToolCall) -> Option<String> {
    if call.headers.len() > ATTRIBUTES_MAX {
        let count = call.headers.len();
        return Some(format!("{count} attributes; a message has at most {ATTRIBUTES_MAX}"));
    }
    let attributes = call.headers.iter().map(|(name, value)| name.len() + TEXT.len() + value.len());
    let bytes = call.body.len() + attributes.sum::<usize>();
    let fact = || {
        format!(
            "input and attributes have {bytes} bytes; a message has at most {MESSAGE_BYTES_MAX}"
        )
    };
    (bytes > MESSAGE_BYTES_MAX).then(fact)
}

fn header<'c>(call: &'c ToolCall, name: &str) -> Option<&'c str> {
    call.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
}

// Messages of one execution are received in their order; those of two do not wait for each other.
fn group(call: &ToolCall) -> Option<String> {
    let claims = header(call, "countersign-warrant")
        .and_then(|warrant| B64.decode(warrant.split('.').nth(1)?).ok())
        .and_then(|claims| json::parse(&claims).ok());
    let execution = claims.as_ref().and_then(|claims| claims.get("exe")?.as_str());
    execution.or_else(|| header(call, "idempotency-key")).map(str::to_owned)
}

// Where the receipt is the result, a second attempt is the same message. Where the worker answers,
// it answers one attempt: each is a message of its own, with the same idempotency key.
fn deduplication_id(call: &ToolCall) -> Option<String> {
    let answered = header(call, "countersign-callback").is_some();
    let name = if answered { "webhook-id" } else { "idempotency-key" };
    header(call, name).map(str::to_owned)
}

// `https://sqs.<region>.amazonaws.com/…`; any other queue is in the region of the deployment.
fn region(queue_url: &str) -> Option<Region> {
    let host = queue_url.strip_prefix("https://sqs.")?.split('/').next()?;
    let (region, domain) = host.split_once('.')?;
    domain.starts_with("amazonaws.com").then(|| Region::new(region.to_owned()))
}

fn not_sent(error: &SdkError<SendMessageError>) -> ToolAnswer {
    let text = || aws_sdk_sqs::error::DisplayErrorContext(error).to_string();
    match error {
        SdkError::ConstructionFailure(_) => ToolAnswer::forbidden(text()),
        SdkError::DispatchFailure(_) if never_connected(error) => ToolAnswer::Unreached(text()),
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or_default();
            let status = answer.raw().status().as_u16();
            let answered = format!("SQS answered {status} {code}").trim_end().to_owned();
            let said = answer.err().message().map(str::to_owned).into_iter().collect();
            let report = |code: &str, fact| ToolReport { said, ..ToolReport::new(code, fact) };
            if status == 429 || code.contains("Throttl") {
                return ToolAnswer::Unreached(answered);
            }
            match status {
                400..=499 => {
                    let fact = format!("the message was not taken: {answered}");
                    ToolAnswer::Failed(report("QUEUE_REFUSED", fact))
                }
                _ => ToolAnswer::Unknown(report(&format!("TOOL_{status}"), answered)),
            }
        }
        _ => ToolAnswer::lost(text()),
    }
}

fn never_connected(error: &(dyn Error + 'static)) -> bool {
    successors(Some(error), |&error| error.source())
        .any(|error| error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect))
}

#[cfg(test)]
mod tests;
