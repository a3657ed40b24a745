//! Replies: who asked through a channel is told in the same thread what came of it.

use crate::{Channel, SendError};
use async_trait::async_trait;
use contracts::{
    WorkspaceId,
    event::{CloudEvent, Event, ExecutionEvent},
    limits::REPLY_TRIES_MAX,
    manifest::Binding,
};
use countersign_store::{PortError, keys::SentTo};
use cs_core::{
    channel::{Outbound, is_taken},
    destination::Destination,
    slack::Place,
};
use engine::{
    Engine, SentMessage, Target,
    ports::{ToolAnswer, ToolCall},
};
use std::sync::Arc;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long who sends a reply has it for himself, in milliseconds.
const CLAIM_MS: i64 = 30_000;

/// Answers in threads.
pub struct ReplyChannel {
    engine: Arc<Engine>,
}

impl ReplyChannel {
    /// Over an engine's outbound calls.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

// What is said of an event, in our words: outputs may hold what is not for everybody in a thread.
const fn words(event: &ExecutionEvent) -> Option<(&'static str, &'static str)> {
    match event {
        ExecutionEvent::PlanRejected(_) => {
            Some(("refused", "This is not done: it is not allowed, or could not be planned."))
        }
        ExecutionEvent::ApprovalRequested(_) => {
            Some(("asked", "A person has to approve this first."))
        }
        ExecutionEvent::ApprovalRejected(_) => Some(("rejected", "A person rejected this.")),
        ExecutionEvent::ApprovalExpired(_) => {
            Some(("expired", "Nobody approved this in time. Nothing was done."))
        }
        ExecutionEvent::ExecutionCompleted(_) => Some(("completed", "Done.")),
        ExecutionEvent::ExecutionFailed(_) => Some(("failed", "This did not succeed.")),
        ExecutionEvent::ExecutionCancelled(_) => Some(("cancelled", "This was cancelled.")),
        _ => None,
    }
}

#[async_trait]
impl Channel for ReplyChannel {
    async fn send(
        &self,
        target: &Target,
        event: &CloudEvent,
        timeout_ms: u64,
    ) -> Result<(), SendError> {
        let Destination::Reply { channel_key } = &target.destination else {
            return Err(SendError::Gone("it is no channel".into()));
        };
        let Event::Execution(said) = &event.event else { return Ok(()) };
        let Some((about, text)) = words(said) else { return Ok(()) };
        let workspace = event.source.strip_prefix("countersign/").and_then(|id| id.parse().ok());
        let workspace: WorkspaceId =
            workspace.ok_or_else(|| SendError::Gone("the event names no workspace".into()))?;
        let Ok(execution) = event.subject.parse() else { return Ok(()) };
        let channels = &self.engine.channels;
        let outbound = channels.reply(&workspace, channel_key, &execution, text).await;
        let outbound = outbound.map_err(|problem| refused(&problem.detail))?;
        // It came in by another way.
        let Some((provider, outbound)) = outbound else { return Ok(()) };
        let key = (event.subject.as_str(), about);
        let to = SentTo::new(&target.subscription.id, channel_key);
        let slack = &self.engine.slack;
        let record = slack.message(&workspace, key, &to).await.map_err(stored)?;
        if record.value.ended {
            return Ok(());
        }
        let now = self.engine.now().ms();
        if record.value.claimed_until_ms > now {
            return Err(refused("another sends it"));
        }
        // Given up before: somebody wants it sent again.
        let tries = if record.value.tries >= REPLY_TRIES_MAX { 0 } else { record.value.tries } + 1;
        let claim = SentMessage { tries, claimed_until_ms: now + CLAIM_MS, ..Default::default() };
        let key = (key.0, key.1, &to);
        let claimed = slack.remember(&workspace, key, &record, claim).await.map_err(stored)?;
        let claimed = claimed.ok_or_else(|| refused("another sends it"))?;
        let sent = self.call(outbound, timeout_ms).await;
        let sent = sent.and_then(|answer| match is_taken(provider, &answer) {
            true => Ok(()),
            false => Err(refused("the provider did not take it")),
        });
        let place: Option<Place> = None;
        let after = SentMessage { ended: sent.is_ok(), tries, place, claimed_until_ms: 0 };
        slack.remember(&workspace, key, &claimed, after).await.map_err(stored)?;
        match sent {
            Err(error) if tries >= REPLY_TRIES_MAX => Err(SendError::Gone(error.to_string())),
            sent => sent,
        }
    }
}

impl ReplyChannel {
    async fn call(&self, outbound: Outbound, timeout_ms: u64) -> Result<Vec<u8>, SendError> {
        let call = ToolCall {
            binding: Binding::Http { url: outbound.url, method: None },
            body: outbound.body,
            headers: outbound.headers,
            timeout_ms,
            answer_bytes_max: ANSWER_BYTES_MAX,
            allow_private: self.engine.config().allow_private_targets,
        };
        match self.engine.ports().tools.call(call).await {
            ToolAnswer::Output(bytes) => Ok(bytes),
            ToolAnswer::Accepted | ToolAnswer::Queued { .. } => Ok(Vec::new()),
            ToolAnswer::Unusable(report) | ToolAnswer::Failed(report) => Err(refused(&report.code)),
            ToolAnswer::Unknown(report) => Err(SendError::Refused {
                message: report.code,
                retry_after_ms: report.retry_after_seconds.map(|after| i64::from(after) * 1_000),
            }),
            ToolAnswer::Unreached(_) => Err(refused("the provider was not reached")),
        }
    }
}

fn refused(message: &str) -> SendError {
    SendError::Refused { message: message.to_owned(), retry_after_ms: None }
}

fn stored(fault: PortError) -> SendError {
    refused(&fault.to_string())
}
