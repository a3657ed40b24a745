//! The people of a workspace, told of what waits for them: a target that every workspace has,
//! served like any other.
//!
//! What was told is kept beside each thing that waits, by person, so that a request is one mail for
//! each person however often its event is sent, and so that it can be seen whom nobody reached.
//! What is not open any more when a mail would go is not told.

mod digest;
mod letter;
mod remind;

pub(crate) use digest::DIGESTS;
pub(crate) use remind::REMINDERS;

use crate::{Channel, MailChannel, SendError, busy, cursor::mark};
use async_trait::async_trait;
use contracts::{
    Timestamp, WorkspaceId,
    event::{BlockReason, CloudEvent, Event, ExecutionEvent, GovernanceChanged, WorkspaceEvent},
    limits::MESSAGE_BYTES_MAX,
    notice::NoticeState,
    text::clip,
};
use countersign_store::{PortError, Stream, Write, item, keys};
use engine::{Addressee, Asked, AskedApproval, Engine, Target, Told, ToldRecord};
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use letter::Kind;
use std::{collections::BTreeMap, sync::Arc};

/// Persons who are written to at once.
const PERSONS_AT_ONCE: usize = 8;
/// How long who writes to a person has it for himself, in milliseconds. If he ends without a word,
/// the person is written to again after so long.
const CLAIM_MS: i64 = 60_000;

/// Tells people.
pub struct PeopleChannel {
    engine: Arc<Engine>,
    mail: MailChannel,
}

/// Something that waits.
pub(crate) enum Matter {
    Approval(AskedApproval),
    Stopped { asked: Asked, reason: BlockReason, message: Option<String> },
}

impl Matter {
    fn asked(&self) -> &Asked {
        match self {
            Self::Approval(approval) => &approval.asked,
            Self::Stopped { asked, .. } => asked,
        }
    }

    // Its name among what was told of an execution.
    fn name(&self) -> String {
        match self {
            Self::Approval(approval) => approval.id.to_string(),
            Self::Stopped { asked, reason, .. } => {
                engine::stopped_name(asked.step.as_ref(), *reason)
            }
        }
    }
}

impl PeopleChannel {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let mail = MailChannel::new(engine.clone());
        Self { engine, mail }
    }

    /// What of an event waits for people, if it does so still.
    async fn matter(
        &self,
        workspace: &WorkspaceId,
        event: &ExecutionEvent,
    ) -> Result<Option<Matter>, SendError> {
        let notices = &self.engine.notices;
        if let ExecutionEvent::ApprovalRequested(data) = event {
            let asked = notices.approval(workspace, &data.execution_id, &data.approval_id).await;
            return Ok(asked.map_err(failed)?.map(Matter::Approval));
        }
        let ExecutionEvent::StepBlocked(data) = event else { return Ok(None) };
        let reason = data.reason;
        let wanted = reason == BlockReason::OutcomeUnknown
            || reason == BlockReason::CompensationFailed
            || reason.holds(data.purpose);
        let Some(step) = data.step_id.as_ref().filter(|_| wanted) else { return Ok(None) };
        let asked = notices.stopped(workspace, &data.execution_id, step).await.map_err(failed)?;
        let message = data.message.clone();
        Ok(asked.map(|asked| Matter::Stopped { asked, reason, message }))
    }

    /// Tells whoever was not told, and reminds whose time it is. What failed and may succeed later
    /// is the error; everybody else was told.
    pub(crate) async fn tell(
        &self,
        workspace: &WorkspaceId,
        matter: &Matter,
        timeout_ms: u64,
    ) -> Result<(), SendError> {
        let (asked, name) = (matter.asked(), matter.name());
        let claim = self.claim(workspace, asked, &name).await.map_err(unstored)?;
        let mut waits = claim.others_tell.then(|| SendError::Refused {
            message: "others are telling the same".into(),
            retry_after_ms: None,
        });
        let mut posts: Vec<BoxFuture<'_, Posted<'_>>> = Vec::new();
        for (person, kind, before) in claim.due {
            posts.push(Box::pin(async move {
                let sent = self.post(workspace, matter, (person, kind), timeout_ms).await;
                (person, outcome(before, kind, &sent, self.engine.now()), sent.err())
            }));
        }
        let posted: Vec<Posted<'_>> =
            stream::iter(posts).buffer_unordered(PERSONS_AT_ONCE).collect().await;
        let mut told: BTreeMap<String, Told> = BTreeMap::new();
        for (person, outcome, error) in posted {
            told.insert(person.id.clone(), outcome);
            if let Some(error @ (SendError::Unreached(_) | SendError::Refused { .. })) = error {
                waits.get_or_insert(error);
            }
        }
        self.note(workspace, (asked, &name), &told, asked.next_at).await.map_err(unstored)?;
        waits.map_or(Ok(()), Err)
    }

    // Who is to be written to now, kept from others for a while: a mail goes once, whoever comes.
    async fn claim<'a>(
        &self,
        workspace: &WorkspaceId,
        asked: &'a Asked,
        name: &str,
    ) -> Result<Claim<'a>, PortError> {
        let (store, execution) = (self.engine.store(), &asked.execution);
        let mut tries = store.tries();
        loop {
            tries.next().await.map_err(busy)?;
            let stored = self.engine.notices.told(workspace, execution, name).await?;
            let now = self.engine.now();
            let mut record = stored.value.clone();
            let mut claim = Claim { due: Vec::new(), others_tell: false };
            for person in &asked.persons {
                let known = stored.value.persons.get(&person.id);
                if known.is_some_and(|told| told.claimed_until.is_some_and(|until| until > now)) {
                    claim.others_tell = true;
                    continue;
                }
                let Some(kind) = due(known, person, now) else { continue };
                let fresh = Told::new(NoticeState::Waiting, now);
                let before = Told { claimed_until: None, ..known.cloned().unwrap_or(fresh) };
                let claimed_until = Some(now.plus_ms(CLAIM_MS));
                record.persons.insert(person.id.clone(), Told { claimed_until, ..before.clone() });
                claim.due.push((person, kind, before));
            }
            if claim.due.is_empty() {
                return Ok(claim);
            }
            let item = item(stored.version + 1, &record)?;
            let key = keys::told(workspace, execution, name);
            if store.write(vec![Write::Put { key, item, condition: stored.unchanged() }]).await? {
                return Ok(claim);
            }
        }
    }

    async fn post(
        &self,
        workspace: &WorkspaceId,
        matter: &Matter,
        (person, kind): (&Addressee, Kind),
        timeout_ms: u64,
    ) -> Result<NoticeState, SendError> {
        let Some(mail) = &person.mail else { return Ok(NoticeState::NoAddress) };
        if let (Matter::Approval(approval), true) = (matter, digest::gathers(matter, person))
            && self.gather(workspace, &person.id, approval).await.map_err(unstored)?
        {
            return Ok(NoticeState::Gathered);
        }
        let letter = letter::of(&self.engine, workspace, matter, (person, kind)).await?;
        self.mail.post(mail, &letter, timeout_ms).await.map(|()| NoticeState::Sent)
    }

    // Whose address was replaced reads it at the one before: what is asked goes elsewhere now.
    async fn tell_former(
        &self,
        workspace: &WorkspaceId,
        changed: &GovernanceChanged,
        timeout_ms: u64,
    ) -> Result<(), SendError> {
        let entry = changed.entry.as_deref().filter(|_| changed.key == "directory");
        let Some(person) = entry.and_then(|entry| entry.strip_prefix("person ")) else {
            return Ok(());
        };
        let former = self.engine.notices.former_addresses(workspace, person, changed.at).await;
        for address in former.map_err(unstored)? {
            let letter = letter::address_replaced(workspace, (person, changed), &address)?;
            match self.mail.post(&address, &letter, timeout_ms).await {
                // Nobody reads there any more.
                Ok(()) | Err(SendError::Gone(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    // Keeps what was told, and when there is more to tell.
    async fn note(
        &self,
        workspace: &WorkspaceId,
        (asked, name): (&Asked, &str),
        told: &BTreeMap<String, Told>,
        next_at: Option<Timestamp>,
    ) -> Result<(), PortError> {
        let (store, execution) = (self.engine.store(), &asked.execution);
        let mut tries = store.tries();
        loop {
            tries.next().await.map_err(busy)?;
            let stored = self.engine.notices.told(workspace, execution, name).await?;
            let mut record = ToldRecord { next_at, ..stored.value.clone() };
            record.persons.extend(told.clone());
            if record == stored.value {
                return Ok(());
            }
            let key = keys::told(workspace, execution, name);
            let item = item(stored.version + 1, &record)?;
            let mut writes = vec![Write::Put { key, item, condition: stored.unchanged() }];
            let stream = Stream::Trace(execution.clone());
            writes
                .extend(next_at.map(|at| mark(keys::due(workspace, REMINDERS, Some(&stream), at))));
            if store.write(writes).await? {
                return Ok(());
            }
        }
    }
}

/// What came of writing to a person, and why it did not go.
type Posted<'p> = (&'p Addressee, Told, Option<SendError>);

/// Who is to be written to, why, and what was told before.
struct Claim<'a> {
    due: Vec<(&'a Addressee, Kind, Told)>,
    /// Somebody else is telling some of them.
    others_tell: bool,
}

// What is to be written to a person now.
fn due(told: Option<&Told>, person: &Addressee, now: Timestamp) -> Option<Kind> {
    let first = if person.escalated { Kind::Escalated } else { Kind::First };
    let Some(told) = told else { return Some(first) };
    match told.state {
        NoticeState::Waiting => Some(first),
        NoticeState::NoAddress => person.mail.is_some().then_some(first),
        NoticeState::Failed | NoticeState::Gathered => None,
        NoticeState::Sent => {
            let reminds = person.remind_at.is_some_and(|at| at <= now);
            (reminds && told.reminded_at.is_none()).then_some(Kind::Reminder)
        }
    }
}

fn outcome(before: Told, kind: Kind, sent: &Result<NoticeState, SendError>, at: Timestamp) -> Told {
    let why = sent.as_ref().err().map(|error| clip(error.to_string(), MESSAGE_BYTES_MAX));
    if kind == Kind::Reminder {
        // That a reminder did not go takes nothing from the first mail.
        let done = matches!(sent, Ok(_) | Err(SendError::Gone(_)));
        return Told { reminded_at: done.then_some(at), message: why, ..before };
    }
    let state = match sent {
        Ok(state) => *state,
        Err(SendError::Gone(_)) => NoticeState::Failed,
        Err(SendError::Unreached(_) | SendError::Refused { .. }) => NoticeState::Waiting,
    };
    let nowhere = "the directory knows no mail address of the person";
    let message = why.or_else(|| (state == NoticeState::NoAddress).then(|| nowhere.to_owned()));
    Told { message, ..Told::new(state, at) }
}

fn unstored(fault: PortError) -> SendError {
    failed(fault.into())
}

/// What cannot be read now may be read later.
fn failed(problem: contracts::Problem) -> SendError {
    SendError::Refused { message: problem.detail, retry_after_ms: None }
}

#[async_trait]
impl Channel for PeopleChannel {
    async fn send(&self, _: &Target, event: &CloudEvent, timeout_ms: u64) -> Result<(), SendError> {
        let workspace = event.source.strip_prefix("countersign/").map(str::parse::<WorkspaceId>);
        let Some(Ok(workspace)) = workspace else {
            return Err(SendError::Gone("the event names no workspace".into()));
        };
        match &event.event {
            Event::Execution(event) => match self.matter(&workspace, event).await? {
                Some(matter) => self.tell(&workspace, &matter, timeout_ms).await,
                None => Ok(()),
            },
            Event::Workspace(WorkspaceEvent::SubscriptionTested(tested)) => {
                let address = self.engine.notices.address_of(&workspace, &tested.actor_id).await;
                let address = address.map_err(unstored)?;
                let message = "you are not in the directory with a mail address";
                let to = address.ok_or_else(|| SendError::Gone(message.into()))?;
                let letter = letter::test(&workspace, event)?;
                self.mail.post(&to, &letter, timeout_ms).await
            }
            Event::Workspace(WorkspaceEvent::GovernanceChanged(changed)) => {
                self.tell_former(&workspace, changed, timeout_ms).await
            }
            Event::Workspace(_) => Ok(()),
        }
    }
}
