//! Load and commit of an execution: the only way its state changes.
//!
//! INVARIANT (claim-is-one-transaction): head, events, step records, kept answer, outbox, listings
//! and the decision's checks commit together or not at all.

use crate::{
    Answer, Condition, HeadRecord, Item, Key, Lease, PortError, Query, RegisteredWait, Store,
    Stream, TransactionError, Write,
    append::{Append, Lists},
    decode, item, keys, metrics,
    records::{HeadView, PeopleRecord},
};
use contracts::{
    Code, Digest, ExecutionId, Problem, RunId, StepId, Timestamp, WorkspaceId,
    event::{Actor, ActorKind, Entry, ExecutionEvent},
    limits::PLAN_STEPS_MAX,
    plan::Plan,
    query::ExecutionSummary,
};
use cs_core::{
    execution::{Approval, Execution, Step},
    plan::Compiled,
    trace::{self, Stamp},
    view,
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError},
};

/// Looks at an execution while a commit of it is being applied.
const LOOKS_MAX: u32 = 8;
/// Records of one load: steps, and approvals of any number of tries.
const RECORDS_MAX: usize = 100 * PLAN_STEPS_MAX;
/// Step records that a commit writes each by itself; of more, whole pages.
const STEPS_APART_MAX: usize = 20;
/// Steps of a page: their records are one item.
const PAGE_STEPS: usize = 50;
/// Plans remembered.
const PLANS_MAX: usize = 256;

/// A loaded execution.
#[derive(Clone)]
pub struct Loaded {
    pub state: Execution,
    pub chain: trace::Head,
    /// Of the head item; 0 for one that is not stored.
    pub version: u64,
    /// The fence: grows with every new owner.
    pub epoch: u64,
    pub lease: Option<Lease>,
    pub wait: Option<RegisteredWait>,
    pub drives: u32,
    pub traceparent: Option<String>,
    pub title: String,
    /// Versions of the usage that the next commit was decided on.
    pub usage_seen: HashMap<Key, u64>,
}

impl Loaded {
    /// One that is not stored yet.
    pub fn new(state: Execution, traceparent: Option<String>, title: String) -> Self {
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
    pub fn stamp(&self, at: Timestamp) -> Stamp {
        Stamp::new(at, system(), self.traceparent.clone())
    }
}

/// What one transaction makes of a loaded execution.
pub struct Commit {
    pub state: Execution,
    pub events: Vec<ExecutionEvent>,
    pub stamp: Stamp,
    /// Written, or checked, with it. See [`CommitError::Extra`].
    pub extra: Vec<Write>,
    /// Keeps the answer of the command.
    pub response: Option<Write>,
}

impl Commit {
    /// Of a state and its events alone.
    pub fn new(state: Execution, events: Vec<ExecutionEvent>, stamp: Stamp) -> Self {
        Self { state, events, stamp, extra: Vec::new(), response: None }
    }
}

/// Why a commit did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("somebody else committed first")]
    Conflict,
    #[error("the command was carried out before")]
    Repeated,
    /// Its index in [`Commit::extra`].
    #[error("the condition of extra write {0} does not hold")]
    Extra(usize),
    /// It may or may not have happened.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What is stored of an execution, as one commit left it.
struct Records {
    /// Of the head item.
    version: u64,
    head: HeadRecord,
    steps: Vec<Step>,
    approvals: Vec<Approval>,
}

/// What one range read gave; perhaps half of a transaction.
#[derive(Default)]
struct Seen {
    head: Option<(u64, HeadRecord)>,
    steps: Vec<(u64, Step)>,
    approvals: Vec<(u64, Approval)>,
}

impl Seen {
    /// Every record carries the head's version it was written with, and the head names the records
    /// of its last commit (of a page its first): nothing is newer than the head, and nothing it
    /// names is older. What it does not name was read after it, so that it is not older either.
    fn is_whole(&self, version: u64, head: &HeadRecord) -> bool {
        let steps = self.steps.iter().map(|(written, _)| written);
        let approvals = self.approvals.iter().map(|(written, _)| written);
        let newer = steps.chain(approvals).any(|written| *written > version);
        let current = |id: &StepId| {
            self.steps.iter().any(|(written, step)| step.id == *id && *written >= version)
        };
        let current_approval = |index: &usize| {
            self.approvals.get(*index).is_some_and(|(written, _)| *written >= version)
        };
        !newer
            && head.touched.iter().all(current)
            && head.touched_approvals.iter().all(current_approval)
    }
}

// Of each step the record that was written last, by itself or in a page.
fn latest(mut steps: Vec<(u64, Step)>) -> Vec<Step> {
    steps.sort_by_key(|(written, _)| *written);
    let last: HashMap<StepId, Step> =
        steps.into_iter().map(|(_, step)| (step.id.clone(), step)).collect();
    last.into_values().collect()
}

/// The actor of what the engine does on its own.
pub fn system() -> Actor {
    Actor { kind: ActorKind::Service, id: "countersign".into() }
}

impl Store {
    /// Loads an execution with its plan.
    pub async fn load(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<Loaded> {
        let Records { version, head, steps, approvals } = self.load_records(workspace, id).await?;
        let mut state = head.execution;
        if state.id != *id || state.workspace != *workspace {
            return Err(
                PortError::Corrupt(format!("what is stored as {id} is another execution")).into()
            );
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

    // A range read need not see a transaction whole: DynamoDB's queries see its items one by one.
    async fn load_records(&self, workspace: &WorkspaceId, id: &ExecutionId) -> Answer<Records> {
        let query = Query::prefix(keys::execution(workspace, id), keys::STATE, RECORDS_MAX);
        let head_key = keys::head(workspace, id);
        for look in 0..LOOKS_MAX {
            let mut seen = Seen::default();
            for (key, item) in self.query(&query).await? {
                if key == head_key {
                    seen.head = Some((item.version, decode(&key, &item.body)?));
                } else if key.sort.starts_with(keys::APPROVAL) {
                    seen.approvals.push((item.version, decode(&key, &item.body)?));
                } else if key.sort.starts_with(keys::STEP_PAGE) {
                    let page: Vec<Step> = decode(&key, &item.body)?;
                    seen.steps.extend(page.into_iter().map(|step| (item.version, step)));
                } else {
                    seen.steps.push((item.version, decode(&key, &item.body)?));
                }
            }
            match seen.head.take() {
                Some((version, head)) if seen.is_whole(version, &head) => {
                    let steps = latest(seen.steps);
                    let approvals =
                        seen.approvals.into_iter().map(|(_, approval)| approval).collect();
                    return Ok(Records { version, head, steps, approvals });
                }
                Some(_) => self.clock.sleep(5 << look).await,
                None if seen.steps.is_empty() => {
                    let message = format!("there is no execution `{id}` in this workspace");
                    return Err(Problem::new(Code::NotFound, message));
                }
                None => return Err(PortError::Corrupt(format!("the head of {id} is gone")).into()),
            }
        }
        Err(PortError::Unavailable(format!("{id} is being changed")).into())
    }

    /// The plan of an execution, whose digest is checked.
    pub async fn plan(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        digest: &Digest,
    ) -> Result<Arc<Compiled>, PortError> {
        let kept = self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned();
        if let Some(plan) = kept {
            return Ok(plan);
        }
        let stored: Option<Plan> = self.body(&keys::plan(workspace, id, digest)).await?;
        let stored =
            stored.ok_or_else(|| PortError::Corrupt(format!("the plan of {id} is gone")))?;
        let plan =
            Compiled::from_stored(stored).map_err(|error| PortError::Corrupt(error.to_string()))?;
        if plan.digest() != digest {
            return Err(PortError::Corrupt(format!("the plan of {id} was changed")));
        }
        let plan = Arc::new(plan);
        self.keep_plan(&plan);
        Ok(plan)
    }

    /// Remembers a plan, so that the next load need not read it.
    pub fn keep_plan(&self, plan: &Arc<Compiled>) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        plans.insert(plan.digest().clone(), plan.clone());
    }

    /// Commits a state and its events over what was loaded; on success `loaded` is the new state.
    pub async fn commit(&self, loaded: &mut Loaded, commit: Commit) -> Result<(), CommitError> {
        self.commit_all(vec![(loaded, commit)]).await
    }

    /// Commits several executions in one transaction: all of them or none. Of [`Commit::extra`] the
    /// places are counted through all of them.
    pub async fn commit_all(&self, commits: Vec<(&mut Loaded, Commit)>) -> Result<(), CommitError> {
        let (mut extras, mut responses, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        let mut changes = Vec::with_capacity(commits.len());
        for (loaded, commit) in commits {
            let Commit { mut state, events, mut stamp, extra, response } = commit;
            // For whom: every event of an execution says it.
            if stamp.subject.is_none() {
                let intent = state.intent.as_ref();
                stamp.subject = intent.and_then(|intent| intent.on_behalf_of.clone());
            }
            extras.extend(extra);
            responses.extend(response);
            writes.extend(self.usage_writes(&loaded.state, &events, &loaded.usage_seen).await?);
            let stream = Stream::Trace(state.id.clone());
            let workspace = state.workspace.clone();
            let mut append = Append::new(&workspace, stream, loaded.chain.clone());
            append.push(&stamp, events)?;
            // An export follows a trace until it ends; what comes later says so itself.
            let exports = loaded.version == 0 || loaded.state.status.ended();
            let lists = Lists { exports, ends: state.status.ended() };
            writes.extend(append.writes(self, stamp.at, lists)?);
            writes.extend(state_writes(loaded, &mut state, &append.head)?);
            let Append { head, entries, .. } = append;
            changes.push(Changed { loaded, state, head, entries, at: stamp.at });
        }
        let extra_count = extras.len();
        let response_end = extra_count + responses.len();
        let all = extras.into_iter().chain(responses).chain(writes).collect();
        match self.table.transact(all).await {
            Ok(()) => {
                for change in changes {
                    self.committed(change);
                }
                Ok(())
            }
            Err(TransactionError::Condition(index)) if index < extra_count => {
                Err(CommitError::Extra(index))
            }
            Err(TransactionError::Condition(index)) if index < response_end => {
                Err(CommitError::Repeated)
            }
            Err(TransactionError::Condition(_)) => Err(CommitError::Conflict),
            Err(TransactionError::Port(fault)) => Err(CommitError::Port(fault)),
        }
    }

    fn committed(&self, change: Changed<'_>) {
        let Changed { loaded, state, head, entries, at } = change;
        metrics::commit(&loaded.state, &state, &entries, at);
        loaded.chain = head;
        loaded.state = state;
        loaded.version += 1;
        let state = &loaded.state;
        self.notifier.committed(&state.workspace, &state.id, state.idle());
    }
}

// What a commit makes of one execution.
struct Changed<'c> {
    loaded: &'c mut Loaded,
    state: Execution,
    head: trace::Head,
    entries: Vec<Entry>,
    at: Timestamp,
}

// What changed of steps and approvals, the listings, and the head that makes it one commit.
fn state_writes(
    loaded: &Loaded,
    state: &mut Execution,
    chain: &trace::Head,
) -> Result<Vec<Write>, PortError> {
    let (workspace, id) = (state.workspace.clone(), state.id.clone());
    let version = loaded.version + 1;
    let (steps, approvals) = (state.take_touched(), state.take_touched_approvals());
    let put = |key, item| Write::Put { key, item, condition: Condition::Any };
    let mut writes = Vec::new();
    let touched: Vec<&StepId> = if steps.len() <= STEPS_APART_MAX {
        for step in &steps {
            writes.push(put(keys::step(&workspace, &id, &step.id), item(version, step)?));
        }
        steps.iter().map(|step| &step.id).collect()
    } else {
        // INVARIANT (bounded-work): however many steps one event changes, it is one transaction.
        let changed: BTreeSet<&StepId> = steps.iter().map(|step| &step.id).collect();
        let pages = state.steps.chunks(PAGE_STEPS).enumerate();
        let mut first = Vec::new();
        for (page, own) in pages.filter(|(_, own)| own.iter().any(|s| changed.contains(&s.id))) {
            writes.push(put(keys::step_page(&workspace, &id, page), item(version, &own)?));
            first.extend(own.first().map(|step| &step.id));
        }
        first
    };
    for (index, approval) in &approvals {
        writes.push(put(keys::approval(&workspace, &id, *index), item(version, approval)?));
    }
    writes.extend(listing_writes(loaded, state)?);
    let head = HeadView {
        execution: state,
        chain,
        epoch: loaded.epoch,
        lease: loaded.lease.as_ref(),
        wait: loaded.wait.as_ref(),
        touched,
        touched_approvals: approvals.iter().map(|(index, _)| *index).collect(),
        asked_since: state.asked_since(),
        drives: loaded.drives,
        traceparent: loaded.traceparent.as_deref(),
        title: &loaded.title,
    };
    writes.push(Write::Put {
        key: keys::head(&workspace, &id),
        item: item(version, &head)?,
        condition: Condition::unchanged(loaded.version),
    });
    Ok(writes)
}

// The entries of lists: they say what is, and are written where that changed.
fn listing_writes(loaded: &Loaded, state: &Execution) -> Result<Vec<Write>, PortError> {
    let (before, first) = (&loaded.state, loaded.version == 0);
    let (workspace, id) = (&state.workspace, &state.id);
    let put = |key, item| Write::Put { key, item, condition: Condition::Any };
    let mut writes = Vec::new();
    let tier = |state: &Execution| state.ruling.as_ref().map(|ruling| ruling.risk_tier);
    if first || before.status != state.status || tier(before) != tier(state) {
        let item = item(1, &summary(state, &loaded.title))?;
        writes.push(put(keys::list(workspace, id, state.created_at), item));
    }
    let open = !state.status.ended();
    if first || open == before.status.ended() {
        let key = keys::open(workspace, id);
        writes.push(if open {
            put(key, Item { version: 1, ..Item::default() })
        } else {
            Write::Delete { key, condition: Condition::Any }
        });
    }
    writes.extend(people_writes(loaded, state)?);
    Ok(writes)
}

// What waits for people: one small item of the execution, under its risk and age.
fn people_writes(loaded: &Loaded, state: &Execution) -> Result<Vec<Write>, PortError> {
    let key = |record: &PeopleRecord| {
        let risk = record.risk_tier.map_or(0, |tier| tier as u8 + 1);
        let since = record.waiting.iter().map(|one| one.since).min().unwrap_or_default();
        keys::people(&state.workspace, &state.id, risk, since)
    };
    let before = people(&loaded.state, &loaded.title);
    let after = people(state, &loaded.title);
    if before == after {
        return Ok(Vec::new());
    }
    let before = before.as_ref().map(key);
    let mut writes = Vec::new();
    if let Some(after) = &after {
        let (key, item) = (key(after), item(1, after)?);
        writes.push(Write::Put { key, item, condition: Condition::Any });
    }
    let moved = before.filter(|before| writes.iter().all(|write| write.key() != before));
    writes.extend(moved.map(|key| Write::Delete { key, condition: Condition::Any }));
    Ok(writes)
}

fn people(state: &Execution, title: &str) -> Option<PeopleRecord> {
    let waiting = state.waiting();
    if waiting.is_empty() {
        return None;
    }
    let summary = summary(state, title);
    Some(PeopleRecord {
        execution_id: summary.execution_id,
        text: summary.text,
        actor_id: summary.actor_id,
        actor_kind: summary.actor_kind,
        on_behalf_of: state.intent.as_ref().and_then(|intent| intent.on_behalf_of.clone()),
        risk_tier: state.ruling.as_ref().map(|ruling| ruling.risk_tier),
        money: summary.money,
        recipients: summary.recipients,
        excluded: state.excluded(),
        waiting,
    })
}

fn summary(state: &Execution, title: &str) -> ExecutionSummary {
    let radius = state.plan().map(|plan| &plan.plan().radius);
    ExecutionSummary {
        execution_id: state.id.clone(),
        run_id: run_of(state),
        status: contracts::Open::word(state.status.as_str()),
        risk_tier: state.ruling.as_ref().map(|ruling| ruling.risk_tier.into()),
        actor_id: state.intent.as_ref().map(|intent| intent.actor_id.clone()).unwrap_or_default(),
        actor_kind: state.intent.as_ref().and_then(|intent| intent.actor_kind),
        text: title.to_owned(),
        money: radius.map(|radius| view::money(&radius.money)).unwrap_or_default(),
        recipients: radius.map(|radius| radius.recipients).filter(|count| *count > 0),
        created_at: state.created_at,
        updated_at: state.updated_at,
    }
}

fn run_of(state: &Execution) -> Option<RunId> {
    state.run.as_ref().map(|run| run.run_id.clone())
}
