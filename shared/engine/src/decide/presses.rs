//! Presses on the buttons of Slack's messages: who pressed is a person of the directory, or nobody.
//!
//! INVARIANT (identity-from-transport): the signature says which team and user, the directory which
//! person; the decision is the person's, by the same way as any other. INVARIANT (fail-closed): a
//! press on a message that we do not remember, of a team that is not the channel's, or of a user
//! whom the directory does not have, is refused.

use crate::{
    Answer, Approvals, Base, Caller, Channels, InForce, Parts, Slack, boxed,
    govern::sessions::identity_maker,
    intents::receipts::{Claimed, Outcome, Receipts, Work},
};
use contracts::{
    Code, Problem, WorkspaceId,
    access::KeyMaker,
    approval::{Decision, Vote, VoteApprovals},
    channel::Provider,
    event::{Actor, ActorKind},
    grant,
    limits::TEXT_BYTES_MAX,
    status::ApprovalStatus,
};
use countersign_store::PortError;
use cs_core::{
    canonical,
    channel::{ChannelError, Delivery, check_slack},
    directory::Identity,
    slack::{self, Press, Pressed},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// How decisions from here were authenticated.
const CHANNEL: &str = "slack";
/// Slack waits three seconds in all, and forgets a trigger after as many; in milliseconds.
const DIALOGUE_MS: u64 = 2_000;
/// Longest wait for what is told after, in milliseconds.
const TELL_MS: u64 = 5_000;

/// Receives presses.
pub struct Presses {
    base: Arc<Base>,
    in_force: Arc<InForce>,
    approvals: Arc<Approvals>,
    channels: Arc<Channels>,
    slack: Arc<Slack>,
    receipts: Receipts,
}

impl Presses {
    pub(crate) fn new(
        parts: &Parts,
        approvals: Arc<Approvals>,
        (channels, slack): (Arc<Channels>, Arc<Slack>),
    ) -> Self {
        let (base, in_force) = (parts.base.clone(), parts.in_force.clone());
        let receipts = Receipts { base: base.clone() };
        Self { base, in_force, approvals, channels, slack, receipts }
    }

    /// Takes a press. What Slack is answered: nothing, or what is wrong in the dialogue.
    #[boxed]
    pub async fn receive(
        &self,
        headers: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Answer<Option<Value>> {
        // Read first only to know whose secret it must be signed with.
        let press = slack::press(body);
        let pressed = match &press {
            Ok(Press::Approve(pressed))
            | Ok(Press::AskReason { pressed, .. } | Press::Reject { pressed, .. }) => pressed,
            Err(error) => return Err(refused(error)),
        };
        let person = self.verified(pressed, headers, body).await?;
        match &press {
            Ok(Press::AskReason { pressed, trigger_id }) => {
                self.ask_reason(pressed, trigger_id).await?;
                Ok(None)
            }
            Ok(Press::Reject { reason, .. }) if wrong(reason).is_some() => {
                let errors = json!({ "reason": wrong(reason) });
                Ok(Some(json!({ "response_action": "errors", "errors": errors })))
            }
            Ok(Press::Reject { pressed, reason }) => {
                self.take(headers, body, pressed, (person, Some(reason.clone()))).await
            }
            Ok(Press::Approve(pressed)) => self.take(headers, body, pressed, (person, None)).await,
            Err(error) => Err(refused(error)),
        }
    }

    // Whether Slack sent it, now, about a message of ours; the person who pressed.
    async fn verified(
        &self,
        pressed: &Pressed,
        headers: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Answer<String> {
        let subject = &pressed.subject;
        let opened = self.channels.open(&subject.workspace, &subject.channel_key).await?;
        let opened = opened.filter(|(stored, _)| stored.provider == Provider::Slack);
        let (stored, secrets) = opened.ok_or_else(unknown)?;
        let delivery = Delivery { headers, body, url: "" };
        check_slack(&delivery, &secrets.signing_secret, self.base.now())
            .map_err(|error| refused(&error))?;
        if !stored.sources.iter().any(|source| source.team == pressed.team_id) {
            return Err(forbidden("this channel is not of your team"));
        }
        let about = subject.approval_id.as_str();
        let (workspace, execution) = (&subject.workspace, subject.execution_id.as_str());
        let messages = self.slack.messages(workspace, execution, about).await?;
        let ours = |place: &slack::Place| *place == pressed.place;
        if !messages.iter().any(|(_, message)| message.value.place.as_ref().is_some_and(ours)) {
            return Err(forbidden("this is no message that asks for a decision"));
        }
        let person = self.person(workspace, pressed).await?;
        person.map(|(person, _)| person).ok_or_else(|| {
            forbidden("the directory of this workspace has nobody with your account of Slack")
        })
    }

    async fn person(
        &self,
        workspace: &WorkspaceId,
        pressed: &Pressed,
    ) -> Result<Option<(String, Option<KeyMaker>)>, PortError> {
        let directory = self.in_force.directory(workspace).await?;
        let person = directory.person_of_slack(&pressed.team_id, &pressed.user_id);
        Ok(person.map(|person| {
            (person.id.clone(), identity_maker(&directory, &person.id, Identity::Slack))
        }))
    }

    // A dialogue that is opened twice decides nothing: no receipt.
    async fn ask_reason(&self, pressed: &Pressed, trigger_id: &str) -> Answer<()> {
        let subject = &pressed.subject;
        let app = self.slack.app(&subject.workspace, &subject.channel_key).await?;
        let app = app.ok_or_else(|| forbidden("this channel has no token"))?;
        let view = slack::reason_modal(subject, &pressed.place);
        let arguments = json!({ "trigger_id": trigger_id, "view": view });
        let opened = self.slack.call(&app, ("views.open", DIALOGUE_MS), &arguments).await;
        opened.map(|_| ()).map_err(|error| {
            tracing::warn!(%error, "a dialogue of Slack did not open");
            Problem::new(Code::Timeout, "the dialogue did not open; try again")
        })
    }

    // Once for each request of Slack: its signature, over its moment and its body, names it.
    async fn take(
        &self,
        headers: &BTreeMap<String, String>,
        body: &[u8],
        pressed: &Pressed,
        (person, reason): (String, Option<String>),
    ) -> Answer<Option<Value>> {
        let signature = headers.get("x-slack-signature").map(String::as_str).unwrap_or_default();
        let parts = [b"countersign/press/1".as_slice(), signature.as_bytes(), body];
        let id = canonical::digest_parts(&parts);
        let work = Work::Decide { pressed: Box::new(pressed.clone()), person, reason };
        let subject = &pressed.subject;
        let of = (subject.channel_key.as_str(), Provider::Slack);
        self.receipts.take(&subject.workspace, &id, of, work).await?;
        Ok(None)
    }

    /// Decides as the person.
    pub(crate) async fn decide(
        &self,
        claimed: &Claimed,
        pressed: &Pressed,
        (person, reason): (&str, Option<&str>),
    ) -> Answer<Outcome> {
        let subject = &pressed.subject;
        // Who was a person when he pressed may be none any more.
        let now = self.person(&claimed.workspace, pressed).await?;
        let Some((_, key_made_by)) = now.filter(|(now, _)| now == person) else {
            return Err(forbidden("who pressed is not in the directory any more"));
        };
        let caller = Caller {
            workspace: claimed.workspace.clone(),
            actor: Actor { kind: ActorKind::Human, id: person.to_owned() },
            grants: [grant::APPROVAL.to_owned()].into(),
            only: Some(pressed.subject.execution_id.clone()),
            key_id: None,
            // INVARIANT (never-ones-own): whoever could have named an own user.
            key_made_by,
            channel: CHANNEL.to_owned(),
            second_factor: None,
            traceparent: None,
            idempotency_key: Some(claimed.id.hex().to_owned()),
        };
        let vote = Vote {
            execution_id: subject.execution_id.clone(),
            approval_id: subject.approval_id.clone(),
            view_digest: subject.view_digest.clone(),
            decision: if reason.is_some() { Decision::Reject } else { Decision::Approve },
            reason: reason.map(str::to_owned),
        };
        let voted = self.approvals.vote(&caller, VoteApprovals { approvals: vec![vote] }).await?;
        let open =
            |state: &contracts::approval::ApprovalState| state.status == ApprovalStatus::Requested;
        // What is decided is said by the message itself.
        if voted.approvals.iter().any(open) {
            self.tell(pressed, "Your voice counts. Others are still to decide.").await;
        }
        Ok(Outcome::Decided)
    }

    /// Tells who pressed why it was refused, and nobody else.
    pub(crate) async fn tell_refused(&self, pressed: &Pressed, problem: &Problem) {
        self.tell(pressed, &format!("Not decided: {}", problem.detail)).await;
    }

    // Tried once: who is not told looks at the message.
    async fn tell(&self, pressed: &Pressed, text: &str) {
        let subject = &pressed.subject;
        let app = self.slack.app(&subject.workspace, &subject.channel_key).await;
        let Ok(Some(app)) = app else { return };
        let said = slack::note(text);
        let arguments = json!({ "channel": pressed.place.channel, "user": pressed.user_id,
            "text": said.text, "blocks": said.blocks });
        let told = self.slack.call(&app, ("chat.postEphemeral", TELL_MS), &arguments).await;
        if let Err(error) = told {
            tracing::debug!(%error, "who pressed was not told");
        }
    }
}

fn wrong(reason: &str) -> Option<&'static str> {
    match reason.len() {
        _ if reason.trim().is_empty() => Some("Say why, for those who asked."),
        0..=TEXT_BYTES_MAX => None,
        _ => Some("That is too long."),
    }
}

fn unknown() -> Problem {
    Problem::new(Code::Unauthenticated, "the signature does not fit")
}

fn forbidden(why: &str) -> Problem {
    Problem::new(Code::Forbidden, why)
}

fn refused(error: &ChannelError) -> Problem {
    tracing::warn!(why = %error, "a press is refused");
    unknown()
}
