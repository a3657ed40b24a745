//! Who is told of what waits for people, and what they are shown of it: the request's own view, as
//! it is now. Telling itself is deliveries'.

use crate::{Answer, Base, InForce, Parts, Views, boxed, evidence::queries::approval_view};
use contracts::{
    Digest, ExecutionId, Open, StepId, Timestamp, WorkspaceId,
    approval::InboxItem,
    event::{BlockReason, Requirement},
    id::ApprovalId,
    limits::{NOTICE_PERSONS_MAX, VIEW_COLUMNS_NARROW},
    notice::{NoticeState, NoticeView},
    query::ApprovalView,
    verdict::RiskTier,
};
use countersign_store::{PortError, Query, Record, keys};
use cs_core::{
    directory::{self, Directory},
    execution::Execution,
    mail::MailAddress,
    view,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A change of the directory and its entry in the log are no further apart, in milliseconds.
const CHANGE_MS: i64 = 60_000;
/// By which way people are told.
const CHANNEL: &str = "mail";

/// Something that waits for people, as it is now.
pub struct Asked {
    pub execution: ExecutionId,
    pub step: Option<StepId>,
    /// What was asked for, in the requester's words.
    pub text: String,
    pub requester: String,
    pub risk: Option<RiskTier>,
    pub persons: Vec<Addressee>,
    /// When somebody else is to be told: somebody is reminded, or a group escalates.
    pub next_at: Option<Timestamp>,
}

/// A request for approval that is open.
pub struct AskedApproval {
    pub asked: Asked,
    pub id: ApprovalId,
    pub view: Digest,
    /// The view as text.
    pub lines: Vec<String>,
    pub missing: Vec<Requirement>,
    pub expires_at: Timestamp,
}

/// A person to be told.
#[derive(Clone, Debug)]
pub struct Addressee {
    pub id: String,
    pub mail: Option<MailAddress>,
    /// From then on a reminder is due.
    pub remind_at: Option<Timestamp>,
    /// Of a group that was not asked at first.
    pub escalated: bool,
    /// Wants what is of low or medium risk gathered.
    pub digest: bool,
}

/// What was told of one thing that waits: by person, and when there is more to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToldRecord {
    pub persons: BTreeMap<String, Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
}

/// What became of telling one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    pub state: NoticeState,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminded_at: Option<Timestamp>,
    /// Somebody writes to the person until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_until: Option<Timestamp>,
}

impl Told {
    /// Of a moment, with nothing more to say.
    pub const fn new(state: NoticeState, at: Timestamp) -> Self {
        Self { state, at, message: None, reminded_at: None, claimed_until: None }
    }

    fn view(self, person_id: String) -> NoticeView {
        let by_mail = self.state != NoticeState::NoAddress;
        NoticeView {
            person_id,
            state: self.state.into(),
            channel: by_mail.then(|| CHANNEL.to_owned()),
            at: self.at,
            message: self.message,
            reminded_at: self.reminded_at,
        }
    }
}

/// Who is told of what waits.
pub struct Notices {
    base: Arc<Base>,
    in_force: Arc<InForce>,
    views: Arc<Views>,
}

impl Notices {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            base: parts.base.clone(),
            in_force: parts.in_force.clone(),
            views: parts.views.clone(),
        }
    }

    /// A request, if it is open still.
    #[boxed]
    pub async fn approval(
        &self,
        workspace: &WorkspaceId,
        execution: &ExecutionId,
        approval: &ApprovalId,
    ) -> Answer<Option<AskedApproval>> {
        let loaded = self.base.store.load(workspace, execution).await?;
        let state = &loaded.state;
        let mut waiting = state.waiting().into_iter().filter_map(|waiting| waiting.request);
        let open = waiting.any(|request| request.id == *approval);
        let found = state.approvals.iter().find(|one| one.id == *approval).filter(|_| open);
        let Some(found) = found.filter(|one| self.base.now() < one.expires_at) else {
            return Ok(None);
        };
        let mut shown = [approval_view(found)];
        self.views.add_views(&loaded, &mut shown).await?;
        let [shown] = shown;
        let missing = found.ballot().missing();
        let directory = self.in_force.directory(workspace).await?;
        let excluded = directory.voices_of(state.excluded().keys());
        let asked = known(&excluded, found.requested_at, self.base.now());
        // Whose voice counts for a group that escalated since, too, is told again.
        let is_new = |person: &str, groups: &[String]| {
            let places = directory.groups_of(person, &asked);
            let mut wanted = missing.iter().map(|one| &one.group);
            wanted.any(|group| places.contains(group) && !groups.contains(group))
        };
        let voted = found.votes.iter().map(|vote| (directory.voice(&vote.person), &vote.groups));
        let voted: BTreeSet<String> = voted
            .filter(|(person, groups)| !is_new(person, groups))
            .map(|(person, _)| person)
            .collect();
        let (persons, next_at) = addressees(&directory, &missing, &asked, &voted);
        Ok(Some(AskedApproval {
            asked: self.asked(state, found.step.clone(), (persons, next_at)).await?,
            id: found.id.clone(),
            view: found.view.clone(),
            lines: narrow(&shown),
            missing,
            expires_at: found.expires_at,
        }))
    }

    /// A step that is in doubt or held, if it is so still: everybody who may decide is told.
    #[boxed]
    pub async fn stopped(
        &self,
        workspace: &WorkspaceId,
        execution: &ExecutionId,
        step: &StepId,
    ) -> Answer<Option<Asked>> {
        let loaded = self.base.store.load(workspace, execution).await?;
        let state = &loaded.state;
        let mut waiting = state.waiting().into_iter();
        let open = waiting.any(|one| one.request.is_none() && one.step.as_ref() == Some(step));
        if !open {
            return Ok(None);
        }
        let directory = self.in_force.directory(workspace).await?;
        let excluded = directory.voices_of(state.excluded().keys());
        let now = self.base.now();
        let asked = known(&excluded, now, now);
        // Whom its requests asked; where none did, everybody.
        let wanted: Vec<Requirement> =
            state.approvals.iter().flat_map(|approval| approval.requirement.clone()).collect();
        let (persons, _) = addressees(&directory, &wanted, &asked, &BTreeSet::new());
        Ok(Some(self.asked(state, Some(step.clone()), (persons, None)).await?))
    }

    async fn asked(
        &self,
        state: &Execution,
        step: Option<StepId>,
        (persons, next_at): (Vec<Addressee>, Option<Timestamp>),
    ) -> Answer<Asked> {
        let intent = self.views.intent(&state.workspace, &state.id).await?;
        Ok(Asked {
            execution: state.id.clone(),
            step,
            text: intent.text,
            requester: intent.actor.id,
            risk: state.ruling.as_ref().map(|ruling| ruling.risk_tier),
            persons,
            next_at,
        })
    }

    /// The mail address of an actor who is a person.
    pub async fn address_of(
        &self,
        workspace: &WorkspaceId,
        actor: &str,
    ) -> Result<Option<MailAddress>, PortError> {
        let directory = self.in_force.directory(workspace).await?;
        Ok(directory.person_of(actor).and_then(|person| address(person.mail.as_deref())))
    }

    /// The addresses that a change replaced, which is in the log as of `at`.
    pub async fn former_addresses(
        &self,
        workspace: &WorkspaceId,
        person: &str,
        at: Timestamp,
    ) -> Result<Vec<MailAddress>, PortError> {
        let directory = self.in_force.directory(workspace).await?;
        let former = directory.former_mails(person, at.plus_ms(-CHANGE_MS), at);
        Ok(former.into_iter().filter_map(|mail| address(Some(mail))).collect())
    }

    /// What was told of one thing.
    pub async fn told(
        &self,
        workspace: &WorkspaceId,
        execution: &ExecutionId,
        what: &str,
    ) -> Result<Record<ToldRecord>, PortError> {
        self.base.store.record(&keys::told(workspace, execution, what)).await
    }

    /// Who of those that were to be told of something has not been reached, and why; none: nobody
    /// was to be told of it.
    pub async fn unreached(
        &self,
        workspace: &WorkspaceId,
        item: &InboxItem,
    ) -> Result<Option<Vec<NoticeView>>, PortError> {
        let waits_for = item.waits_for.as_ref().and_then(Open::known);
        let name = match (&item.approval_id, waits_for) {
            (Some(approval), _) => approval.as_str().to_owned(),
            (None, Some(reason)) => stopped_name(item.step_id.as_ref(), *reason),
            (None, None) => return Ok(None),
        };
        let told = self.told(workspace, &item.execution_id, &name).await?.value;
        if told.persons.is_empty() {
            return Ok(None);
        }
        let reached = |told: &Told| matches!(told.state, NoticeState::Sent | NoticeState::Gathered);
        let missed = told.persons.into_iter().filter(|(_, told)| !reached(told));
        Ok(Some(missed.map(|(person, told)| told.view(person)).collect()))
    }

    /// Of which things of an execution something was told.
    pub async fn told_of(
        &self,
        workspace: &WorkspaceId,
        execution: &ExecutionId,
        limit: usize,
    ) -> Result<Vec<String>, PortError> {
        let query = Query::prefix(keys::told_partition(workspace, execution), "", limit);
        Ok(self.base.store.query(&query).await?.into_iter().map(|(key, _)| key.sort).collect())
    }
}

/// What is told of a step that stopped goes by this name: one that stops for the same reason again
/// is told once.
pub fn stopped_name(step: Option<&StepId>, reason: BlockReason) -> String {
    let step = step.map(StepId::as_str).unwrap_or_default();
    format!("step#{step}#{}", Open::from(reason))
}

impl Base {
    /// Who was told of a request.
    pub(crate) async fn notices_of(
        &self,
        workspace: &WorkspaceId,
        execution: &ExecutionId,
        approval: &ApprovalId,
    ) -> Result<Vec<NoticeView>, PortError> {
        let key = keys::told(workspace, execution, approval.as_str());
        let told: Record<ToldRecord> = self.store.record(&key).await?;
        Ok(told.value.persons.into_iter().map(|(person, told)| told.view(person)).collect())
    }
}

/// What is shown of a request, in lines that no phone breaks: a line that is broken elsewhere would
/// let foreign text begin where labels do.
pub(crate) fn narrow(approval: &ApprovalView) -> Vec<String> {
    let view = approval.view.as_ref().and_then(Open::known);
    view.map(|view| view::lines(view, VIEW_COLUMNS_NARROW)).unwrap_or_default()
}

// Whoever has a place by a claim is told, and can sign in and use it.
fn known(excluded: &BTreeSet<String>, at: Timestamp, now: Timestamp) -> directory::Asked<'_> {
    directory::Asked { at, now, excluded, claims: directory::Claims::Known }
}

// Who is asked and has not decided, and when this changes next.
fn addressees(
    directory: &Directory,
    wanted: &[Requirement],
    asked: &directory::Asked<'_>,
    voted: &BTreeSet<String>,
) -> (Vec<Addressee>, Option<Timestamp>) {
    let after = |seconds: u32| asked.at.plus_ms(i64::from(seconds) * 1_000);
    let mut persons: BTreeMap<String, Option<Timestamp>> = BTreeMap::new();
    let mut first: BTreeSet<String> = BTreeSet::new();
    let mut next_at: Option<Timestamp> = None;
    let groups: Vec<_> = wanted.iter().map(|wanted| directory.group(&wanted.group)).collect();
    // A group that the directory does not have is everybody who may decide.
    if groups.is_empty() || groups.iter().any(Option::is_none) {
        let all = directory.persons().map(|person| person.id.clone());
        first.extend(all.filter(|id| !asked.excluded.contains(id)));
        persons.extend(first.iter().map(|id| (id.clone(), None)));
    }
    for group in groups.into_iter().flatten() {
        let remind_at = group.remind_after_seconds.map(after);
        let begun = directory::Asked { now: asked.at, ..*asked };
        first.extend(directory.members(&group.name, &begun).into_keys());
        for id in directory.members(&group.name, asked).into_keys() {
            let known = persons.entry(id).or_default();
            *known = known.iter().copied().chain(remind_at).min();
        }
        let escalates = group.escalate.as_ref().map(|escalate| after(escalate.after_seconds));
        let moments = remind_at.into_iter().chain(escalates).filter(|at| *at > asked.now);
        next_at = next_at.into_iter().chain(moments).min();
    }
    let open = persons.into_iter().filter(|(id, _)| !voted.contains(id));
    let addressee = |(id, remind_at): (String, Option<Timestamp>)| {
        let person = directory.person(&id);
        let mail = person.and_then(|person| address(person.mail.as_deref()));
        let digest = person.is_some_and(|person| person.digest);
        let escalated = !first.contains(&id);
        Addressee { id, mail, remind_at, escalated, digest }
    };
    (open.map(addressee).take(NOTICE_PERSONS_MAX).collect(), next_at)
}

fn address(mail: Option<&str>) -> Option<MailAddress> {
    mail?.parse().ok()
}
