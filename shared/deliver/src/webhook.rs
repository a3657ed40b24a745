//! Webhooks: one request for each event, signed by Standard Webhooks, under the same outbound rules
//! as tools.

use crate::{Channel, SendError};
use async_trait::async_trait;
use contracts::{event::CloudEvent, limits::MESSAGE_BYTES_MAX, manifest::Binding, text::clip};
use countersign_store::encode;
use engine::{
    Engine, Target,
    ports::{ToolAnswer, ToolCall, ToolReport},
    webhook_headers,
};
use std::sync::Arc;

/// Largest answer that is read, in bytes: what it says is of no use.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What an adapter calls the answer 410.
const GONE: &str = "TOOL_410";

/// Posts events.
pub struct WebhookChannel {
    engine: Arc<Engine>,
}

impl WebhookChannel {
    /// Over an engine's outbound calls.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    fn call(
        &self,
        target: &Target,
        event: &CloudEvent,
        timeout_ms: u64,
    ) -> Result<ToolCall, SendError> {
        let refused = |message: String| SendError::Refused { message, retry_after_ms: None };
        let body = encode(event).map_err(|fault| refused(fault.to_string()))?;
        let id = event.id.hex().get(..32).unwrap_or_default();
        let signed = webhook_headers(&target.secrets, id, self.engine.now(), &body);
        let signed = signed.ok_or_else(|| refused("the subscription has no secret".into()))?;
        let mut headers = vec![("content-type", "application/cloudevents+json".to_owned())];
        headers.extend(signed);
        Ok(ToolCall {
            binding: Binding::Http { url: target.subscription.url.clone(), method: None },
            body,
            headers,
            timeout_ms,
            answer_bytes_max: ANSWER_BYTES_MAX,
            allow_private: self.engine.config().allow_private_targets,
        })
    }
}

#[async_trait]
impl Channel for WebhookChannel {
    async fn send(
        &self,
        target: &Target,
        event: &CloudEvent,
        timeout_ms: u64,
    ) -> Result<(), SendError> {
        let call = self.call(target, event, timeout_ms)?;
        match self.engine.ports().tools.call(call).await {
            ToolAnswer::Output(_)
            | ToolAnswer::Queued { .. }
            | ToolAnswer::Accepted
            | ToolAnswer::Unusable(_) => Ok(()),
            ToolAnswer::Failed(report) if report.code == GONE => {
                Err(SendError::Gone("it answered 410: there is nobody any more".into()))
            }
            ToolAnswer::Failed(report) | ToolAnswer::Unknown(report) => Err(refused(&report)),
            ToolAnswer::Unreached(why) => {
                let message = clip(format!("it was not reached: {why}"), MESSAGE_BYTES_MAX);
                Err(SendError::Unreached(message))
            }
        }
    }
}

fn refused(report: &ToolReport) -> SendError {
    let fact = report.fact.replacen("the tool", "it", 1);
    let message = clip(fact, MESSAGE_BYTES_MAX);
    let retry_after_ms = report.retry_after_seconds.map(|seconds| i64::from(seconds) * 1_000);
    SendError::Refused { message, retry_after_ms }
}
