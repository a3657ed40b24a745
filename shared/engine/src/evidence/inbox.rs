//! controlPlane.approval.list and approval.get: what waits for people. One small item of each
//! execution that waits is read, written by the commit that changed it; no execution is loaded.

use crate::{
    Answer, Caller, Queries, boxed, evidence::queries::approval_view, govern::skills::page,
};
use contracts::{
    Code, Issue, Problem,
    approval::{
        ApprovalAnswer, ApprovalList, Decision, EditView, GetApproval, InboxItem, ListApprovals,
        WaitKind,
    },
    event::{ActorKind, BlockReason, Entry, Event, ExecutionEvent},
    limits::INBOX_SCAN_MAX,
};
use countersign_store::{PeopleRecord, Query, keys};
use cs_core::execution::{
    Execution,
    ballot::{Ballot, Excluded},
    decide::Refusal,
    duty::Decider,
    waiting::Waiting,
};

/// Items that are read at once, at the least: mostly one page is enough.
const INBOX_READ_AT_ONCE: usize = 50;

/// Who asks for the inbox, with what decides whether something is theirs.
struct Reader<'r> {
    caller: &'r Caller,
    by: Decider,
}

impl Queries {
    /// The inbox: executions that wait for people, the highest risk first, then the oldest.
    #[boxed]
    pub async fn inbox(&self, caller: &Caller, request: ListApprovals) -> Answer<ApprovalList> {
        caller.require("control-plane.execution.read")?;
        let limit = page(request.limit)?;
        let reader = Reader { caller, by: self.in_force.decider(caller).await? };
        let mine = request.mine.unwrap_or(caller.actor.kind == ActorKind::Human);
        let fits = |item: &InboxItem| {
            request.kind.is_none_or(|kind| item.kind == kind)
                && request
                    .risk_tier
                    .is_none_or(|tier| item.risk_tier.as_ref().is_some_and(|own| *own == tier))
                && request.group.as_ref().is_none_or(|group| {
                    item.requirement.iter().any(|wanted| wanted.group == *group)
                })
                && (!mine || item.mine)
        };
        let at_once = limit.max(INBOX_READ_AT_ONCE);
        let mut query = Query::prefix(keys::people_partition(&caller.workspace), "", at_once);
        if let Some(cursor) = &request.cursor {
            query.from = format!("{}\u{1}", read_cursor(cursor)?);
        }
        let (mut scanned, mut items) = (0, Vec::new());
        loop {
            let found = self.base.store.query(&query).await?;
            let more = found.len() == at_once;
            let mut last = None;
            for (key, item) in found {
                let record: PeopleRecord = countersign_store::decode(&key, &item.body)?;
                let own = record.actor_id == caller.actor.id
                    && record.actor_kind == Some(caller.actor.kind);
                if own || !caller.own_only() {
                    let waiting = record.waiting.iter().map(|one| self.item(&reader, &record, one));
                    items.extend(waiting.filter(fits));
                }
                scanned += 1;
                last = Some(key.sort);
                if items.len() >= limit || scanned == INBOX_SCAN_MAX {
                    return Ok(ApprovalList { items, next: last });
                }
            }
            let Some(last) = last.filter(|_| more) else {
                return Ok(ApprovalList { items, next: None });
            };
            query.from = format!("{last}\u{1}");
        }
    }

    fn item(&self, reader: &Reader<'_>, record: &PeopleRecord, waiting: &Waiting) -> InboxItem {
        let request = waiting.request.as_ref();
        let open = request.filter(|_| waiting.kind == WaitKind::Approval);
        let why_not = self.why_not(reader, &record.excluded, waiting);
        InboxItem {
            kind: waiting.kind.into(),
            execution_id: record.execution_id.clone(),
            approval_id: request.map(|request| request.id.clone()),
            step_id: waiting.step.clone(),
            text: record.text.clone(),
            actor_id: record.actor_id.clone(),
            actor_kind: record.actor_kind,
            on_behalf_of: record.on_behalf_of.clone(),
            risk_tier: record.risk_tier.map(Into::into),
            waits_for: waiting.waits_for.map(Into::into),
            message: waiting.message.clone(),
            money: record.money.clone(),
            recipients: record.recipients,
            requirement: request.map(|one| one.requirement.clone()).unwrap_or_default(),
            missing: open.map(|one| one.ballot().missing()).unwrap_or_default(),
            view_digest: request.map(|one| one.view.clone()),
            since: waiting.since,
            expires_at: open.map(|one| one.expires_at),
            mine: why_not.is_none(),
            why_not,
        }
    }

    fn why_not(
        &self,
        reader: &Reader<'_>,
        excluded: &Excluded,
        waiting: &Waiting,
    ) -> Option<String> {
        match &waiting.request {
            Some(request) if waiting.kind == WaitKind::Approval => {
                self.why_not_decide(reader, excluded, &request.ballot())
            }
            Some(_) | None => {
                if waiting.by.as_ref().is_some_and(|by| reader.by.is_known_as(by)) {
                    return Some("another person looks at what you approved alone".to_owned());
                }
                let refused = reader.by.is_impartial(excluded).err().map(|refusal| refusal.message);
                refused.or_else(|| lacks(reader.caller, grant_for(waiting)))
            }
        }
    }

    fn why_not_decide(
        &self,
        reader: &Reader<'_>,
        excluded: &Excluded,
        ballot: &Ballot<'_>,
    ) -> Option<String> {
        let checked = ballot.check(&reader.by, excluded, Decision::Approve, self.base.now());
        let refused = checked.err().map(|Refusal { message, .. }| message);
        refused.or_else(|| lacks(reader.caller, "control-plane.execution.approve"))
    }

    /// One request: what is shown of it, and who said what.
    #[boxed]
    pub async fn approval(&self, caller: &Caller, request: GetApproval) -> Answer<ApprovalAnswer> {
        caller.require("control-plane.execution.read")?;
        let loaded = self.updates.load_for(caller, &request.execution_id).await?;
        let state = &loaded.state;
        let found = state.approvals.iter().find(|one| one.id == request.approval_id);
        let found = found.ok_or_else(|| {
            let message = format!("there is no request `{}`", request.approval_id);
            Problem::new(Code::NotFound, message)
        })?;
        let mut shown = [approval_view(found)];
        self.views.add_views(&loaded, &mut shown).await?;
        let [approval] = shown;
        let reader = Reader { caller, by: self.in_force.decider(caller).await? };
        let asks = |one: Waiting| {
            one.kind == WaitKind::Approval
                && one.request.is_some_and(|request| request.id == found.id)
        };
        let open = state.waiting().into_iter().any(asks);
        let why_not = match open {
            true => self.why_not_decide(&reader, &state.excluded(), &found.ballot()),
            false => Some(format!("it is {}", found.state.as_str())),
        };
        let about = (state, &found.id);
        let lacks_factor = self.base.lacks_second_factor(caller, &reader.by, about).await?;
        Ok(ApprovalAnswer {
            execution_id: state.id.clone(),
            execution_status: crate::status(state),
            text: self.views.intent(&state.workspace, &state.id).await?.text,
            approval,
            notices: self.base.notices_of(&state.workspace, &state.id, &found.id).await?,
            edit: self.last_edit(state).await?,
            literals: if open { state.literals() } else { Vec::new() },
            mine: why_not.is_none(),
            needs_second_factor: open && lacks_factor,
            why_not,
        })
    }

    // What a person changed of the plan last: the trace has it.
    async fn last_edit(&self, state: &Execution) -> Answer<Option<EditView>> {
        let edits = state.plan_facts.as_ref().and_then(|facts| facts.edits.as_ref());
        let Some(edits) = edits else { return Ok(None) };
        let key = keys::event(&state.workspace, &state.id, edits.last_seq);
        let entry: Option<Entry> = self.base.store.body(&key).await?;
        Ok(entry.and_then(|entry| match entry.event {
            Event::Execution(ExecutionEvent::PlanCompiled(data)) => {
                let edit = data.edit?;
                Some(EditView {
                    actor_id: data.drafted_by?,
                    at: data.compiled_at,
                    reason: edit.reason,
                    changes: edit.changes,
                })
            }
            _ => None,
        }))
    }
}

// What lets on what is not a request.
fn grant_for(waiting: &Waiting) -> &'static str {
    match (waiting.kind, waiting.waits_for) {
        (WaitKind::InDoubt, _) => "control-plane.execution.resolve",
        (_, Some(BlockReason::CompensationFailed)) => "control-plane.execution.resolve",
        (_, Some(BlockReason::SkillDisabled)) => "control-plane.skill-registry",
        (_, Some(BlockReason::WorkspaceFrozen | BlockReason::Frozen)) => "control-plane.freeze",
        (_, Some(BlockReason::UsageExceeded)) => "control-plane.budget",
        (_, Some(BlockReason::RequesterRevoked)) => "control-plane.execution.cancel",
        (WaitKind::Review, _) => "control-plane.execution.approve",
        (WaitKind::Approval | WaitKind::Held, _) => "control-plane.execution.retry",
    }
}

fn lacks(caller: &Caller, grant: &str) -> Option<String> {
    caller.require(grant).err().map(|problem| problem.detail)
}

fn read_cursor(cursor: &str) -> Answer<&str> {
    let mut words = cursor.split('#');
    let digits = |word: Option<&str>, length: usize| {
        word.is_some_and(|word| word.len() == length && word.bytes().all(|b| b.is_ascii_digit()))
    };
    let given = digits(words.next(), 1)
        && digits(words.next(), 13)
        && words.next().is_some_and(|id| id.parse::<contracts::ExecutionId>().is_ok())
        && words.next().is_none();
    if given {
        return Ok(cursor);
    }
    let issue = Issue::new("/cursor", "take `next` as it was given");
    Err(Problem::new(Code::ValidationFailed, "the cursor is not one that was given out")
        .issue(issue))
}
