//! Slack: requests for approval with buttons, to a channel or to each person who may decide, and
//! what became of them in the same place; other events as a line.
//!
//! What was sent is remembered under who got it, so that a delivery that is repeated sends nothing
//! twice.

use crate::{Channel, SendError};
use async_trait::async_trait;
use contracts::{
    WorkspaceId,
    approval::GetApproval,
    event::{
        Actor, ActorKind, ApprovalDecided, ApprovalRequested, CloudEvent, Event, ExecutionEvent,
    },
    grant,
    limits::SLACK_PERSONS_MAX,
    status::ApprovalStatus,
};
use countersign_store::{PortError, keys::SentTo};
use cs_core::{
    destination::{Destination, SlackRecipients},
    slack::{self, Asked, Decided, Message, Place, Subject},
};
use engine::{Caller, Engine, SentMessage, SlackApp, SlackError, Target};
use serde_json::{Value, json};
use std::sync::Arc;

/// How long who sends a message has it for himself, in milliseconds.
const CLAIM_MS: i64 = 30_000;
/// Slack's word that a message is gone, or is not ours to change any more.
const GONE: [&str; 3] = ["message_not_found", "cant_update_message", "edit_window_closed"];

/// Posts messages to Slack.
pub struct SlackChannel {
    engine: Arc<Engine>,
}

/// One delivery on its way.
struct Delivery<'d> {
    workspace: WorkspaceId,
    app: SlackApp,
    channel_key: &'d str,
    target: &'d str,
    timeout_ms: u64,
}

#[async_trait]
impl Channel for SlackChannel {
    async fn send(
        &self,
        target: &Target,
        event: &CloudEvent,
        timeout_ms: u64,
    ) -> Result<(), SendError> {
        let Destination::Slack { channel_key, recipients } = &target.destination else {
            return Err(SendError::Gone("it is nothing of Slack".into()));
        };
        let workspace = event.source.strip_prefix("countersign/").and_then(|id| id.parse().ok());
        let workspace: WorkspaceId =
            workspace.ok_or_else(|| SendError::Gone("the event names no workspace".into()))?;
        let app = self.engine.slack.app(&workspace, channel_key).await.map_err(stored)?;
        let app = app.ok_or_else(|| {
            SendError::Gone(format!("there is no channel `{channel_key}` of Slack with a token"))
        })?;
        let target = target.subscription.id.as_str();
        let delivery = Delivery { workspace, app, channel_key, target, timeout_ms };
        match &event.event {
            Event::Execution(ExecutionEvent::ApprovalRequested(asked)) => {
                self.ask(&delivery, recipients, asked).await
            }
            Event::Execution(ExecutionEvent::ApprovalGranted(decided)) => {
                self.end(&delivery, "Approved", decided).await
            }
            Event::Execution(ExecutionEvent::ApprovalRejected(decided)) => {
                self.end(&delivery, "Rejected", decided).await
            }
            Event::Execution(ExecutionEvent::ApprovalExpired(decided)) => {
                self.end(&delivery, "Expired", decided).await
            }
            Event::Execution(ExecutionEvent::ApprovalVoided(decided)) => {
                self.end(&delivery, "Void", decided).await
            }
            other => match recipients {
                SlackRecipients::Channel(channel) => {
                    let said = slack::note(&format!("{}: {}", other.key(), event.subject));
                    let about = (event.subject.as_str(), event.id.hex());
                    self.post_once(&delivery, about, channel, &said).await
                }
                // Persons are asked for decisions, and told of nothing else.
                SlackRecipients::People => Ok(()),
            },
        }
    }
}

impl SlackChannel {
    /// Over an engine's outbound calls.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    async fn ask(
        &self,
        delivery: &Delivery<'_>,
        recipients: &SlackRecipients,
        asked: &ApprovalRequested,
    ) -> Result<(), SendError> {
        let get = GetApproval {
            execution_id: asked.execution_id.clone(),
            approval_id: asked.approval_id.clone(),
        };
        let reader = caller(&delivery.workspace, ActorKind::Service, "countersign");
        let shown = self.engine.queries.approval(&reader, get.clone()).await.map_err(problem)?;
        if shown.approval.status != ApprovalStatus::Requested {
            return Ok(());
        }
        let subject = Subject {
            workspace: delivery.workspace.clone(),
            channel_key: delivery.channel_key.to_owned(),
            execution_id: asked.execution_id.clone(),
            approval_id: asked.approval_id.clone(),
            view_digest: shown.approval.view_digest.clone(),
        };
        let message = slack::asked(&Asked {
            subject: &subject,
            step: asked.step_id.as_ref(),
            lines: &shown.approval.lines,
            expires_at: asked.expires_at,
        });
        let to = match recipients {
            SlackRecipients::Channel(channel) => vec![channel.clone()],
            SlackRecipients::People => self.people(delivery, &get).await?,
        };
        let about = (asked.execution_id.as_str(), asked.approval_id.as_str());
        let mut failed = Ok(());
        for recipient in &to {
            // One who cannot be reached keeps nobody else from being asked.
            failed = failed.and(self.post_once(delivery, about, recipient, &message).await);
        }
        failed
    }

    // Accounts of Slack of those who may decide, by the one function that says who may.
    async fn people(
        &self,
        delivery: &Delivery<'_>,
        get: &GetApproval,
    ) -> Result<Vec<String>, SendError> {
        let directory =
            self.engine.in_force.directory(&delivery.workspace).await.map_err(stored)?;
        let mut found = Vec::new();
        for person in directory.persons() {
            let Some(account) = &person.slack else { continue };
            let as_person = caller(&delivery.workspace, ActorKind::Human, &person.id);
            let answer = self.engine.queries.approval(&as_person, get.clone()).await;
            if answer.map_err(problem)?.mine {
                found.push(account.user_id.clone());
            }
            if found.len() >= SLACK_PERSONS_MAX {
                tracing::warn!(
                    workspace_id = %delivery.workspace,
                    "more persons may decide than are asked by Slack"
                );
                break;
            }
        }
        Ok(found)
    }

    async fn post_once(
        &self,
        delivery: &Delivery<'_>,
        (subject, about): (&str, &str),
        recipient: &str,
        message: &Message,
    ) -> Result<(), SendError> {
        let (slack, workspace) = (&self.engine.slack, &delivery.workspace);
        let to = SentTo::new(delivery.target, recipient);
        let record = slack.message(workspace, (subject, about), &to).await.map_err(stored)?;
        if record.value.place.is_some() {
            return Ok(());
        }
        let now = self.engine.now().ms();
        let busy = || refused("another sends it");
        if record.value.claimed_until_ms > now {
            return Err(busy());
        }
        let claim = SentMessage { claimed_until_ms: now + CLAIM_MS, ..record.value.clone() };
        let key = (subject, about, &to);
        let claimed = slack.remember(workspace, key, &record, claim).await.map_err(stored)?;
        let claimed = claimed.ok_or_else(busy)?;
        let arguments = json!({
            "channel": recipient,
            "text": message.text,
            "blocks": message.blocks,
            "mrkdwn": false,
            "parse": "none",
            "unfurl_links": false,
            "unfurl_media": false,
        });
        let method = ("chat.postMessage", delivery.timeout_ms);
        let sent = slack.call(&delivery.app, method, &arguments).await;
        let sent = sent.map_err(failed).and_then(|answer| {
            place(&answer).ok_or_else(|| refused("it does not say where the message is"))
        });
        let (after, outcome) = match sent {
            Ok(place) => (
                SentMessage { place: Some(place), claimed_until_ms: 0, ..Default::default() },
                Ok(()),
            ),
            Err(error) => (SentMessage::default(), Err(error)),
        };
        slack.remember(workspace, key, &claimed, after).await.map_err(stored)?;
        outcome
    }

    // Whoever decided, and wherever: every message of this target says it.
    async fn end(
        &self,
        delivery: &Delivery<'_>,
        outcome: &'static str,
        decided: &ApprovalDecided,
    ) -> Result<(), SendError> {
        let (slack, workspace) = (&self.engine.slack, &delivery.workspace);
        let (subject, about) = (decided.execution_id.as_str(), decided.approval_id.as_str());
        let named = Subject {
            workspace: workspace.clone(),
            channel_key: delivery.channel_key.to_owned(),
            execution_id: decided.execution_id.clone(),
            approval_id: decided.approval_id.clone(),
            view_digest: decided.view_digest.clone(),
        };
        let message = slack::decided(&Decided {
            subject: &named,
            step: decided.step_id.as_ref(),
            outcome,
            by: decided.actor_id.as_deref(),
            at: decided.at,
            reason: decided.reason.as_deref(),
        });
        let mut failed_at = Ok(());
        for (to, record) in slack.messages(workspace, subject, about).await.map_err(stored)? {
            let Some(place) = record.value.place.clone() else { continue };
            if to.target != delivery.target || record.value.ended {
                continue;
            }
            let arguments = json!({ "channel": place.channel, "ts": place.ts,
                "text": message.text, "blocks": message.blocks });
            let method = ("chat.update", delivery.timeout_ms);
            match slack.call(&delivery.app, method, &arguments).await {
                Ok(_) => {}
                Err(SlackError::Refused { code, .. }) if GONE.contains(&code.as_str()) => {}
                Err(error) => {
                    failed_at = failed_at.and(Err(failed(error)));
                    continue;
                }
            }
            let ended = SentMessage { ended: true, ..record.value.clone() };
            let key = (subject, about, &to);
            slack.remember(workspace, key, &record, ended).await.map_err(stored)?;
        }
        failed_at
    }
}

fn place(answer: &Value) -> Option<Place> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Place { channel: text("channel")?, ts: text("ts")? })
}

fn caller(workspace: &WorkspaceId, kind: ActorKind, id: &str) -> Caller {
    Caller {
        workspace: workspace.clone(),
        actor: Actor { kind, id: id.to_owned() },
        grants: ["control-plane.execution.read".to_owned(), grant::APPROVAL.to_owned()].into(),
        only: None,
        key_id: None,
        key_made_by: None,
        channel: "deliver".into(),
        second_factor: None,
        traceparent: None,
        idempotency_key: None,
    }
}

fn refused(message: &str) -> SendError {
    SendError::Refused { message: message.to_owned(), retry_after_ms: None }
}

fn stored(fault: PortError) -> SendError {
    refused(&fault.to_string())
}

fn problem(problem: contracts::Problem) -> SendError {
    refused(&problem.detail)
}

fn failed(error: SlackError) -> SendError {
    let message = error.to_string();
    match error {
        SlackError::Unreached(_) => SendError::Unreached(message),
        SlackError::Refused { retry_after_ms, .. } => {
            SendError::Refused { message, retry_after_ms }
        }
        SlackError::Final(_) => SendError::Gone(message),
    }
}
