//! Load and commit: the only way state changes.
//!
//! INVARIANT (claim-is-one-transaction): head, events, step records, idempotency record, outbox, listings and the
//! decision's checks commit together or not at all.

use crate::{
    Answer, Caller, Engine, Stream, bodies, keys, measure,
    ports::{Condition, Fault, Item, Key, NotCommitted, Query, Write},
    records::{HeadRecord, HeadView, Lease, OnceRecord, OutboxRecord, RegisteredWait},
    refused,
    wake::Before,
};
use contracts::{
    Code, Digest, ExecutionId, Problem, RunId, StepId, Timestamp, WorkspaceId,
    event::{Actor, ActorKind, Event},
    limits::{NAME_BYTES_MAX, PLAN_STEPS_MAX},
    query::ExecutionSummary,
};
use cs_core::{
    canonical,
    execution::{
        Approval, Execution, Status, Step,
        decide::{Command, Transition},
    },
    trace::{self, Stamp},
    view,
};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;

/// Looks at an execution while a commit of it is being applied.
const LOOKS_MAX: u32 = 8;
/// Tries of one command against others that commit in between: enough for a cancel to be heard among the commits of a
/// worker that is busy, and pauses drawn at random in between.
const COMMIT_TRIES_MAX: u32 = 64;

/// A loaded execution.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) state: Execution,
    pub(crate) chain: trace::Head,
    /// Of the head item; 0 for one that is not stored.
    pub(crate) version: u64,
    pub(crate) epoch: u64,
    pub(crate) lease: Option<Lease>,
    pub(crate) wait: Option<RegisteredWait>,
    pub(crate) drives: u32,
    pub(crate) traceparent: Option<String>,
    pub(crate) title: String,
    /// Versions of the usage that the next commit was decided on.
    pub(crate) usage_seen: HashMap<Key, u64>,
}

impl Loaded {
    pub(crate) fn new(state: Execution, traceparent: Option<String>, title: String) -> Self {
        Self {
            state,
            chain: trace::Head::default(),
            version: 0,
            epoch: 0,
            lease: None,
            wait: None,
            drives: 0,
            traceparent,
            title,
            usage_seen: HashMap::new(),
        }
    }

    /// What the engine's own events are stamped with.
    pub(crate) fn stamp(&self, at: Timestamp) -> Stamp {
        Stamp::new(at, system(), self.traceparent.clone())
    }
}

/// Records of one load: steps, and approvals of any number of tries.
const RECORDS_MAX: usize = 100 * PLAN_STEPS_MAX;

/// What is stored of an execution, as one commit left it.
struct Records {
    /// Of the head item.
    version: u64,
    head: HeadRecord,
    steps: Vec<Step>,
    approvals: Vec<Approval>,
}

/// Why a commit did not happen.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// Somebody else committed first.
    Conflict,
    /// The idempotency record exists.
    Repeated,
    /// One of the extra writes: its place among them.
    Extra(usize),
    /// It may or may not have happened.
    Fault(Fault),
}

/// A command's idempotency: where its record is, and the hash of the request.
#[derive(Clone, Debug)]
pub(crate) struct Once {
    key: Key,
    request: Digest,
}

/// The actor of what the engine does on its own.
pub(crate) fn system() -> Actor {
    Actor { kind: ActorKind::Service, id: "countersign".into() }
}

impl Engine {
    /// Loads an execution on which a caller may use its grants.
    pub(crate) async fn load_for(&self, caller: &Caller, id: &ExecutionId) -> Answer<Loaded> {
        let loaded = self.load(&caller.workspace, id).await?;
        caller.require_own(&loaded.state)?;
        Ok(loaded)
    }

    /// Loads an execution with its plan.
    pub(crate) async fn load(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<Loaded> {
        let Records { version, head, steps, approvals } = self.load_records(workspace, id).await?;
        let mut state = head.execution;
        if state.id != *id || state.workspace != *workspace {
            return Err(Fault::Corrupt(format!("what is stored as {id} is another execution")).into());
        }
        if let Some(facts) = &state.plan_facts {
            let plan = self.plan(workspace, id, &facts.digest).await?;
            state.attach(plan);
        }
        state.restore(steps, approvals);
        Ok(Loaded {
            state,
            chain: head.chain,
            version,
            epoch: head.epoch,
            lease: head.lease,
            wait: head.wait,
            drives: head.drives,
            traceparent: head.traceparent,
            title: head.title,
            usage_seen: HashMap::new(),
        })
    }

    // A range read need not see a transaction whole (DynamoDB's queries see its items one by one): every step record
    // carries the head's version it was written with, and the head names the steps of its last commit.
    async fn load_records(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<Records> {
        let query = Query::prefix(keys::execution(workspace, id), keys::STATE, RECORDS_MAX);
        let head_key = keys::head(workspace, id);
        for look in 0..LOOKS_MAX {
            let mut head: Option<(u64, HeadRecord)> = None;
            let mut steps: Vec<(u64, Step)> = Vec::new();
            let mut approvals: Vec<(u64, Approval)> = Vec::new();
            for (key, item) in self.ports.table.query(&query).await? {
                if key == head_key {
                    head = Some((item.version, bodies::decode(&key, &item.body)?));
                } else if key.sort.starts_with(keys::APPROVAL) {
                    approvals.push((item.version, bodies::decode(&key, &item.body)?));
                } else {
                    steps.push((item.version, bodies::decode(&key, &item.body)?));
                }
            }
            let (version, head) = match head {
                Some(head) => head,
                None if steps.is_empty() => {
                    let message = format!("there is no execution `{id}` in this workspace");
                    return Err(Problem::new(Code::NotFound, message));
                }
                None => return Err(Fault::Corrupt(format!("the head of {id} is gone")).into()),
            };
            let versions =
                steps.iter().map(|(written, _)| written).chain(approvals.iter().map(|(written, _)| written));
            let newer = versions.into_iter().any(|written| *written > version);
            let older =
                |touched: &StepId| !steps.iter().any(|(written, step)| step.id == *touched && *written >= version);
            let older_approval = |place: &usize| approvals.get(*place).is_none_or(|(written, _)| *written < version);
            if !newer && !head.touched.iter().any(older) && !head.touched_approvals.iter().any(older_approval) {
                let steps = steps.into_iter().map(|(_, step)| step).collect();
                let approvals = approvals.into_iter().map(|(_, approval)| approval).collect();
                return Ok(Records { version, head, steps, approvals });
            }
            self.ports.clock.sleep(5 << look).await;
        }
        Err(Fault::Unavailable(format!("{id} is being changed")).into())
    }

    /// Commits a state and its events over what was loaded; on success `loaded` is the new state.
    pub(crate) async fn commit(
        &self,
        loaded: &mut Loaded,
        mut state: Execution,
        events: Vec<Event>,
        stamp: &Stamp,
        extra: Vec<Write>,
        once: Option<Write>,
    ) -> Result<(), CommitError> {
        let (workspace, id) = (state.workspace.clone(), state.id.clone());
        let stream = Stream::Trace(id.clone());
        let fault = |fault| CommitError::Fault(fault);
        let usage = self.usage_writes(&loaded.state, &events, &loaded.usage_seen).await?;
        let mut chain = loaded.chain.clone();
        // For whom: every event of an execution says it.
        let subject = || state.intent.as_ref().and_then(|intent| intent.on_behalf_of.clone());
        let stamp = &Stamp { subject: stamp.subject.clone().or_else(subject), ..stamp.clone() };
        let entries = trace::append(&mut chain, stamp, events)
            .map_err(|error| CommitError::Fault(Fault::Corrupt(error.to_string())))?;
        let touched = state.take_touched();
        let approvals = state.take_touched_approvals();
        let before = &loaded.state;
        let mut writes = extra;
        let extra_count = writes.len();
        let once_index = once.is_some().then_some(extra_count);
        writes.extend(once);
        writes.extend(usage);
        for entry in &entries {
            let item = bodies::item(1, entry).map_err(fault)?;
            writes.push(Write::Put {
                key: keys::event(&workspace, &id, entry.seq),
                item,
                condition: Condition::NotExists,
            });
        }
        for step in &touched {
            let item = bodies::item(loaded.version + 1, step).map_err(fault)?;
            writes.push(Write::Put { key: keys::step(&workspace, &id, &step.id), item, condition: Condition::Any });
        }
        for (place, approval) in &approvals {
            let item = bodies::item(loaded.version + 1, approval).map_err(fault)?;
            let key = keys::approval(&workspace, &id, *place);
            writes.push(Write::Put { key, item, condition: Condition::Any });
        }
        if self.stage_events()
            && let (Some(first), Some(last)) = (entries.first(), entries.last())
        {
            let record = OutboxRecord {
                workspace: workspace.clone(),
                stream: stream.clone(),
                from_seq: first.seq,
                to_seq: last.seq,
                at: stamp.at,
            };
            let item = bodies::item(1, &record).map_err(fault)?;
            writes.push(Write::Put {
                key: keys::outbox(&workspace, &stream, first.seq),
                item,
                condition: Condition::NotExists,
            });
        }
        // What is to be exported: an export follows a trace until it ends; what comes later says so itself.
        if let Some(first) = entries.first()
            && (loaded.version == 0 || before.status.ended())
        {
            let item = Item { version: 1, ..Item::default() };
            let key = keys::unexported(&workspace, &stream, first.seq);
            writes.push(Write::Put { key, item, condition: Condition::Any });
        }
        let tier = |state: &Execution| state.ruling.as_ref().map(|ruling| ruling.risk_tier);
        if loaded.version == 0 || before.status != state.status || tier(before) != tier(&state) {
            let summary = summary(&state, &loaded.title);
            let item = bodies::item(1, &summary).map_err(fault)?;
            let key = keys::list(&workspace, &id, state.created_at);
            writes.push(Write::Put { key, item, condition: Condition::Any });
        }
        let open = !state.status.ended();
        if loaded.version == 0 || open == before.status.ended() {
            let key = keys::open(&workspace, &id);
            writes.push(if open {
                Write::Put { key, item: Item { version: 1, ..Item::default() }, condition: Condition::Any }
            } else {
                Write::Delete { key, condition: Condition::Any }
            });
        }
        let record = HeadView {
            execution: &state,
            chain: &chain,
            epoch: loaded.epoch,
            lease: loaded.lease.as_ref(),
            wait: loaded.wait.as_ref(),
            touched: touched.iter().map(|step| &step.id).collect(),
            touched_approvals: approvals.iter().map(|(place, _)| *place).collect(),
            asked_since: state.asked_since(),
            drives: loaded.drives,
            traceparent: loaded.traceparent.as_deref(),
            title: &loaded.title,
        };
        let condition = match loaded.version {
            0 => Condition::NotExists,
            version => Condition::VersionIs(version),
        };
        let item = bodies::item(loaded.version + 1, &record).map_err(fault)?;
        writes.push(Write::Put { key: keys::head(&workspace, &id), item, condition });
        match self.ports.table.transact(writes).await {
            Ok(()) => {
                measure::commit(&loaded.state, &state, &entries, stamp.at);
                loaded.state = state;
                loaded.chain = chain;
                loaded.version += 1;
                self.ports.notifier.committed(&workspace, &id, loaded.state.idle());
                Ok(())
            }
            Err(NotCommitted::Condition(index)) if index < extra_count => Err(CommitError::Extra(index)),
            Err(NotCommitted::Condition(index)) if Some(index) == once_index => Err(CommitError::Repeated),
            Err(NotCommitted::Condition(_)) => Err(CommitError::Conflict),
            Err(NotCommitted::Fault(fault)) => Err(CommitError::Fault(fault)),
        }
    }

    /// The idempotency of a command, and its answer if it was given before.
    ///
    /// INVARIANT (same-command-twice).
    pub(crate) async fn once<T: Serialize, R: DeserializeOwned>(
        &self,
        caller: &Caller,
        operation: &str,
        request: &T,
    ) -> Answer<(Option<Once>, Option<R>)> {
        let Some(given) = &caller.idempotency_key else {
            return Ok((None, None));
        };
        if given.is_empty() || given.len() > NAME_BYTES_MAX {
            let message = format!("`Idempotency-Key` is 1 to {NAME_BYTES_MAX} bytes");
            return Err(Problem::new(Code::BadRequest, message));
        }
        let request = canonical::digest(request).map_err(crate::not_canonical)?;
        let key = keys::once(&caller.workspace, &caller.actor, operation, given);
        let once = Once { key, request };
        let answer = self.repeated(&once).await?;
        Ok((Some(once), answer))
    }

    async fn repeated<R: DeserializeOwned>(&self, once: &Once) -> Answer<Option<R>> {
        let Some(item) = self.ports.table.get(&once.key).await? else {
            return Ok(None);
        };
        let record: OnceRecord = self.body_of(&once.key, &item).await?;
        if record.request != once.request {
            let message = "this `Idempotency-Key` was used with another request; take a new one";
            return Err(Problem::new(Code::ValidationFailed, message));
        }
        let response = serde_json::from_value(record.response).map_err(|error| Fault::Corrupt(error.to_string()))?;
        Ok(Some(response))
    }

    /// The write that keeps an answer for repetitions of its command, if it has a key. An answer may hold a whole plan.
    pub(crate) async fn once_write<R: Serialize>(
        &self,
        once: Option<&Once>,
        response: &R,
    ) -> Result<Option<Write>, Fault> {
        let Some(once) = once else { return Ok(None) };
        let response = serde_json::to_value(response).map_err(|error| Fault::Corrupt(error.to_string()))?;
        let record = OnceRecord { request: once.request.clone(), response };
        let mut write = self.put_body(once.key.clone(), &record).await?;
        if let Write::Put { item, condition, .. } = &mut write {
            item.expires_at = Some(self.now().ms() / 1_000 + 30 * 86_400);
            *condition = Condition::NotExists;
        }
        Ok(Some(write))
    }

    /// One command of a caller on an existing execution: load, decide, commit; again if somebody else was faster.
    /// `decide` says the commands; `answer` is made from the state they led to; `extra` is written with them.
    #[expect(clippy::too_many_arguments, reason = "the five words of a handler, each given by name")]
    pub(crate) async fn update<T, R>(
        &self,
        caller: &Caller,
        id: &ExecutionId,
        operation: &str,
        request: &T,
        mut decide: impl FnMut(&Loaded, Timestamp) -> Answer<Vec<Command>>,
        answer: impl Fn(&Execution, Timestamp) -> Answer<R>,
        extra: Vec<Write>,
    ) -> Answer<R>
    where
        T: Serialize,
        R: Serialize + DeserializeOwned,
    {
        let (once, given) = self.once(caller, operation, request).await?;
        if let Some(given) = given {
            return Ok(given);
        }
        for attempt in 0..COMMIT_TRIES_MAX {
            if attempt > 0 {
                self.pause_before(attempt).await;
            }
            let mut loaded = self.load_for(caller, id).await?;
            let now = self.now();
            let mut transition = Transition::begin(&loaded.state, now);
            let decided = decide(&loaded, now).and_then(|commands| {
                commands.into_iter().try_for_each(|command| transition.apply(command).map(|_| ()).map_err(refused))
            });
            if let Err(refusal) = decided {
                // Refused, perhaps, because this very command was carried out a moment ago.
                let given = match &once {
                    Some(once) => self.repeated(once).await?,
                    None => None,
                };
                return given.ok_or(refusal);
            }
            let (state, events) = transition.into_parts();
            let response = answer(&state, now)?;
            let stamp = caller.stamp(now);
            let write = self.once_write(once.as_ref(), &response).await?;
            let before = Before::of(&mut loaded);
            loaded.drives += u32::from(before.reopened(&state));
            match self.commit(&mut loaded, state, events, &stamp, extra.clone(), write).await {
                Ok(()) => {
                    self.wake(&loaded, before).await;
                    return Ok(response);
                }
                Err(CommitError::Conflict | CommitError::Extra(_)) => {}
                Err(CommitError::Repeated) => {
                    if let Some(once) = &once
                        && let Some(given) = self.repeated(once).await?
                    {
                        return Ok(given);
                    }
                }
                Err(CommitError::Fault(fault)) => return Err(fault.into()),
            }
        }
        let mut problem = Problem::new(Code::Conflict, "too many others change this execution; try again");
        problem.retryable = true;
        Err(problem)
    }
}

/// Names one start of the state machine.
pub(crate) fn drive_name(id: &ExecutionId, drives: u32) -> String {
    format!("{id}-{drives}")
}

pub(crate) fn summary(state: &Execution, title: &str) -> ExecutionSummary {
    let radius = state.plan().map(|plan| &plan.plan().radius);
    ExecutionSummary {
        execution_id: state.id.clone(),
        run_id: run_of(state),
        status: state.status.as_str().to_owned(),
        risk_tier: state.ruling.as_ref().map(|ruling| ruling.risk_tier),
        actor_id: state.intent.as_ref().map(|intent| intent.actor_id.clone()).unwrap_or_default(),
        actor_kind: state.intent.as_ref().and_then(|intent| intent.actor_kind),
        text: title.to_owned(),
        money: radius.map(|radius| view::money(&radius.money)).unwrap_or_default(),
        recipients: radius.map(|radius| radius.recipients).filter(|count| *count > 0),
        created_at: state.created_at,
        updated_at: state.updated_at,
    }
}

/// The run, once there is one.
pub(crate) fn run_of(state: &Execution) -> Option<RunId> {
    state.run.as_ref().map(|run| run.run_id.clone())
}

/// The status on the wire.
pub(crate) fn status(state: &Execution) -> String {
    debug_assert_ne!(state.status, Status::New);
    state.status.as_str().to_owned()
}
