//! One run: a workspace, a few executions, people who decide and operators who govern, until
//! everything has ended.

mod setup;

pub(crate) use setup::skill;
use setup::{limits, setup};

use crate::{
    check,
    exec::{Killable, Shared, execute},
    invariants::InvariantLog,
    operators, people, plans,
    plans::SKILL,
    ports::*,
    tools::{Done, Limits, SimTools},
    watch::{Asked, Monitor},
};
use contracts::{
    Digest, ExecutionId, Problem, Timestamp, WorkspaceId,
    access::{CreateKey, RevokeKey},
    command::*,
    directory::{PutGroup, PutPerson},
    draft::{Budget, Draft},
    event::{ActorKind, SubmitMode},
    governance::*,
    manifest::Manifest,
};
use countersign_store::{
    HeadRecord, keys,
    memory::{MemoryBlobs, MemoryTable},
};
use cs_core::publisher::SkillSigner;
use engine::{
    Caller, Config, Engine, FixedVaultKey, Ports, actor, agent_grants, approver_grants,
    ports::{NoArchive, NoIdentityProvider, NoMail},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::Ordering},
};

/// Simulated time after which no more faults happen.
const STORMY_MS: i64 = 20 * 60_000;
const POLLS_MAX: usize = 600_000;
const DEATH_ONE_IN: u32 = 400;
/// Writes that the workspace may make within a window.
pub(crate) const METER_LIMIT: u64 = 6;
pub(crate) const METER_SECONDS: u64 = 60;

/// The result of one seed.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub violations: Vec<String>,
    pub executions: usize,
    pub commits: u64,
    pub calls: u64,
    pub statuses: Vec<String>,
    /// How often each invariant was checked.
    pub looks: BTreeMap<&'static str, u64>,
    /// How often each kind of fault occurred.
    pub storms: BTreeMap<&'static str, u64>,
}

/// A key that the run made.
#[derive(Clone)]
pub(crate) struct MadeKey {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) expires_at: Option<Timestamp>,
}

pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: Arc<FaultTable>,
    pub(crate) blobs: Arc<MemoryBlobs>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) signals: Arc<SimSignals>,
    pub(crate) done: Arc<Mutex<Done>>,
    pub(crate) invariants: Arc<InvariantLog>,
    pub(crate) watch: Arc<Monitor>,
    pub(crate) limits: Limits,
    pub(crate) workspace: WorkspaceId,
    pub(crate) executions: Mutex<BTreeSet<ExecutionId>>,
    /// Dry runs of the draft of another execution.
    pub(crate) twins: Mutex<Vec<(ExecutionId, ExecutionId)>>,
    pub(crate) keys: Mutex<Vec<MadeKey>>,
    /// Digests and commitments that could be read.
    pub(crate) known: Arc<Mutex<Vec<String>>>,
    /// What people were shown: of an execution, a view by its digest.
    pub(crate) shown: Mutex<BTreeSet<(ExecutionId, Digest)>>,
    /// Steps that a person said to try again although their outcome was not known; likewise of
    /// undoing.
    pub(crate) retried: Mutex<BTreeSet<(ExecutionId, String)>>,
    pub(crate) undone_again: Mutex<BTreeMap<(ExecutionId, String), u32>>,
    submitted: Mutex<usize>,
}

/// Runs one seed on the table in memory.
pub fn run(seed: u64) -> Outcome {
    run_on(seed, |_| Arc::new(MemoryTable::default()))
}

/// Runs one seed on a store.
pub fn run_on(seed: u64, store: impl FnOnce(&Arc<Shared>) -> Arc<dyn Store>) -> Outcome {
    let world = make(seed, store);
    let shared = world.shared.clone();
    let count = 1 + shared.pick(3);
    spawn(&world, setup(world.clone(), count));
    let start = shared.passed();
    let (watched, all) = (world.clone(), count);
    let polls = execute(&shared, POLLS_MAX, DEATH_ONE_IN, move || {
        if watched.shared.passed() - start > STORMY_MS {
            watched.shared.calm.store(true, Ordering::SeqCst);
        }
        watched.finished(all)
    });
    shared.calm.store(true, Ordering::SeqCst);
    if !world.finished(count) {
        let why = if polls == POLLS_MAX { "it never ends" } else { "nobody goes on" };
        let minutes = (shared.passed() - start) / 60_000;
        world.invariants.stalled(format!("{why} in {minutes} minutes: {:?}", world.statuses()));
    }
    check::all(&world);
    let executions = world.executions.lock().unwrap().len();
    let commits = *world.table.commits.lock().unwrap();
    let calls = world.done.lock().unwrap().calls;
    Outcome {
        seed,
        violations: world.invariants.violations(),
        executions,
        commits,
        calls,
        statuses: world.statuses(),
        looks: world.invariants.looks(),
        storms: world.invariants.storms(),
    }
}

fn make(seed: u64, store: impl FnOnce(&Arc<Shared>) -> Arc<dyn Store>) -> Arc<World> {
    let shared = Shared::new(seed);
    let invariants = Arc::new(InvariantLog::default());
    let workspace: WorkspaceId = "acme".parse().unwrap();
    let watch = Monitor::new(invariants.clone(), shared.clone(), workspace.clone());
    let table = Arc::new(FaultTable {
        inner: store(&shared),
        shared: shared.clone(),
        commits: Mutex::default(),
        applying: Mutex::default(),
        watch: watch.clone(),
        engine: Default::default(),
        unheard: Mutex::default(),
    });
    let (done, known): (Arc<Mutex<Done>>, Arc<Mutex<Vec<String>>>) = Default::default();
    let limits = limits(&shared);
    let tools = Arc::new(SimTools {
        shared: shared.clone(),
        done: done.clone(),
        watch: watch.clone(),
        table: table.clone(),
        engine: Default::default(),
        limits: limits.into(),
        known: known.clone(),
    });
    let signals = SimSignals::new(shared.clone(), watch.clone());
    let blobs = Arc::new(MemoryBlobs::default());
    let ports = Ports {
        table: table.clone(),
        blobs: blobs.clone(),
        tools: tools.clone(),
        orchestrator: signals.clone(),
        notifier: Arc::new(SimNotifier(shared.clone())),
        clock: Arc::new(SimClock(shared.clone())),
        ids: Arc::new(SimIds(shared.clone())),
        signer: Arc::new(Arc::new(ring())),
        vault_keys: Arc::new(FixedVaultKey([3; 32])),
        mailer: Arc::new(NoMail),
        identity: Arc::new(NoIdentityProvider),
        archive: Arc::new(NoArchive),
    };
    let config = Config { allow_private_targets: true, ..Config::default() };
    let engine = Arc::new(Engine::new(ports, config));
    let _ = tools.engine.set(Arc::downgrade(&engine));
    let _ = table.engine.set(Arc::downgrade(&engine));
    let _ = signals.engine.set(Arc::downgrade(&engine));
    Arc::new(World {
        shared: shared.clone(),
        table,
        blobs,
        engine,
        signals,
        done,
        invariants,
        watch,
        limits,
        workspace,
        executions: Mutex::default(),
        twins: Mutex::default(),
        keys: Mutex::default(),
        known,
        shown: Mutex::default(),
        retried: Mutex::default(),
        undone_again: Mutex::default(),
        submitted: Mutex::default(),
    })
}

pub(crate) fn spawn(world: &World, job: impl Future<Output = ()> + Send + 'static) {
    world.shared.spawn(Box::pin(job), Killable::No, None);
}

/// People who decide.
pub(crate) const DECIDERS: [&str; 3] = ["grace", "heidi", "ivan"];

/// A person with every grant.
pub(crate) fn person(workspace: &WorkspaceId, id: &str) -> Caller {
    Caller {
        workspace: workspace.clone(),
        actor: actor(ActorKind::Human, id),
        grants: approver_grants(),
        only: None,
        key_id: None,
        key_made_by: None,
        channel: "sim".into(),
        second_factor: None,
        traceparent: None,
        idempotency_key: None,
    }
}

/// Whether a problem is transient, so that a retry may help.
pub(crate) fn passing(problem: &Problem) -> bool {
    problem.status >= 500 || problem.retryable
}

impl World {
    pub(crate) fn person(&self, id: &str) -> Caller {
        person(&self.workspace, id)
    }

    /// Statuses of all executions, straight from the table.
    pub(crate) fn statuses(&self) -> Vec<String> {
        let sight = crate::watch::StoredView::new(self.table.inner.as_ref());
        let executions = self.executions.lock().unwrap();
        executions
            .iter()
            .map(|id| {
                let item = sight.get(&keys::head(&self.workspace, id)).unwrap();
                let head: HeadRecord = serde_json::from_slice(&item.body).unwrap();
                head.execution.status.as_str().to_owned()
            })
            .collect()
    }

    fn finished(&self, count: usize) -> bool {
        *self.submitted.lock().unwrap() == count
            && self.statuses().iter().all(|status| {
                matches!(status.as_str(), "completed" | "failed" | "cancelled" | "rejected")
            })
    }
}

// A key of the agent's own, as it comes with it: it may be short-lived, and it may be taken away.
async fn agent(world: &Arc<World>) -> Caller {
    loop {
        let now = world.shared.now();
        let expires_at = match world.shared.pick(7) {
            0 => Some(now.plus_ms(2_000 + world.shared.pick(20_000) as i64)),
            1 | 2 => Some(now.plus_ms(20_000 + world.shared.pick(300_000) as i64)),
            _ => None,
        };
        let request = CreateKey {
            actor: Some(actor(ActorKind::Agent, "agent")),
            person: None,
            grants: agent_grants(),
            expires_at,
        };
        let made = match world.engine.access.create_key(&world.person("person"), request).await {
            Ok(made) => made,
            Err(problem) => {
                assert!(passing(&problem) || problem.status == 422, "{problem:?}");
                continue;
            }
        };
        let secret = made.api_key.unwrap();
        world.keys.lock().unwrap().push(MadeKey {
            id: made.key.id.clone(),
            secret: secret.clone(),
            expires_at,
        });
        loop {
            match world.engine.access.authenticate(Some(&secret)).await {
                Ok(caller) => {
                    let agent = caller.actor == actor(ActorKind::Agent, "agent")
                        && caller.workspace == world.workspace;
                    world.invariants.check("identity-from-transport", agent, || {
                        format!("a key of the agent is {caller:?}")
                    });
                    if world.shared.draw(5) {
                        spawn(world, revoke(world.clone(), made.key.id.clone()));
                    }
                    return caller;
                }
                // It expired, or the clock was set on, before it came to that.
                Err(problem) if problem.status == 401 => break,
                Err(problem) => assert!(passing(&problem), "{problem:?}"),
            }
        }
    }
}

async fn revoke(world: Arc<World>, key_id: String) {
    world.shared.sleep(1 + world.shared.pick(120_000) as u64).await;
    let request = RevokeKey { key_id };
    while world.engine.access.revoke_key(&world.person("operator"), request.clone()).await.is_err()
    {
        world.shared.sleep(500).await;
    }
    world.invariants.storm("key: revoked");
}

async fn submit(world: Arc<World>, index: usize) {
    let agent = agent(&world).await;
    let (draft, open) = plans::draft(&world.shared, &world.invariants);
    let id = ask(&world, &agent, (format!("work {index}"), &draft), false).await;
    world.executions.lock().unwrap().insert(id.clone());
    *world.submitted.lock().unwrap() += 1;
    spawn(&world, people::watch_over(world.clone(), id.clone()));
    if open {
        let twin = ask(&world, &agent, (format!("twin {index}"), &draft), true).await;
        world.twins.lock().unwrap().push((id, twin));
    }
}

// INVARIANT same-command-twice: repeated until it answers, and once more.
async fn ask(
    world: &Arc<World>,
    agent: &Caller,
    (words, draft): (String, &serde_json::Value),
    dry: bool,
) -> ExecutionId {
    let key = agent.key_id.clone().unwrap();
    world
        .watch
        .asked
        .lock()
        .unwrap()
        .insert(words.clone(), Asked { draft: draft.clone(), key, dry });
    let agent = Caller { idempotency_key: Some(words.clone()), ..agent.clone() };
    let typed: Draft = serde_json::from_value(draft.clone()).unwrap();
    let request = SubmitIntent {
        text: words,
        draft: Some(typed),
        playbook: None,
        mode: if dry { SubmitMode::DryRun } else { SubmitMode::Auto },
        channel_key: None,
        metadata: None,
        trace_id: None,
        workspace_id: None,
        on_behalf_of: None,
    };
    let mut answers = Vec::new();
    while answers.len() < 2 {
        match world.engine.intents.submit(&agent, request.clone()).await {
            Ok(answer) => answers.push(answer),
            Err(problem) => assert!(passing(&problem), "{problem:?}"),
        }
        world.shared.sleep(100).await;
    }
    world.invariants.check("same-command-twice", answers[0] == answers[1], || {
        "a repeated submit answered otherwise".into()
    });
    let other = SubmitIntent { text: "something else".into(), ..request.clone() };
    let outcome = world.engine.intents.submit(&agent, other).await;
    world.invariants.check("same-command-twice", outcome.is_err(), || {
        "another request went under a used key".into()
    });
    let elsewhere = SubmitIntent { workspace_id: Some("other".into()), ..request };
    let unkeyed = Caller { idempotency_key: None, ..agent };
    let outcome =
        world.engine.intents.submit(&unkeyed, elsewhere).await.map_err(|problem| problem.status);
    world.invariants.check("identity-from-transport", outcome.as_ref().err() == Some(&403), || {
        format!("a body named the workspace: {outcome:?}")
    });
    answers.swap_remove(0).execution_id
}

// Executions whose driver died are driven again; now and then one that has a driver, too.
async fn sweep(world: Arc<World>) {
    let mut pause = 20_000;
    loop {
        world.shared.sleep(pause).await;
        if world.shared.is_calm() {
            pause = (pause * 2).min(20 * 60_000);
        }
        if let Ok(open) = world.engine.store().open_executions().await {
            for (workspace, id) in open {
                if world.signals.live(&id) == 0 || world.shared.one_in(20) {
                    world.signals.drive(&workspace, &id);
                }
            }
        }
        if world.shared.pick(3) == 0 {
            let _ = world.engine.sweep.sweep(None, 10_000).await;
        }
    }
}

#[cfg(test)]
mod tests;
