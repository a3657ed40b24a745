//! Nothing waits for ever: sixty simulated days of the committed state machine, in which machines
//! are stopped at every state, tokens and signals are lost, freezes last, and people take their
//! time.

mod sweeps;
mod windows;

use contracts::{ExecutionId, WorkspaceId, event::ActorKind};
use countersign_it::{
    fixture::{Customers, HandClock, Mails, by_hand},
    machines::{End, Machines},
};
use countersign_store::{
    Clock as _, Condition, HeadRecord, Item, Table as _, Write, keys, memory::MemoryTable,
};
use cs_core::publisher::SkillSigner;
use engine::{
    ActivePolicy, Caller, Engine, PolicyRecord, Steer, WaitRequest, actor, ports::Orchestrator,
};
use serde_json::{Value, json};
use std::sync::Arc;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A machine of AWS ends at 25,000; ours end long before.
const HISTORY_MAX: u64 = 10_000;

/// A workspace whose approvals live for thirty days, over machines under simulated time.
struct SimulatedWorld {
    engine: Arc<Engine>,
    clock: Arc<HandClock>,
    table: Arc<MemoryTable>,
    machines: Arc<Machines>,
    agent: Caller,
    person: Caller,
    sweep_ms: i64,
}

impl SimulatedWorld {
    async fn new(sweep_ms: i64) -> Self {
        Self::with(sweep_ms, |machines| machines).await
    }

    /// With what stands between the engine and its machines.
    async fn with(
        sweep_ms: i64,
        between: impl FnOnce(Arc<Machines>) -> Arc<dyn Orchestrator>,
    ) -> Self {
        let (clock, table) = (HandClock::new(), Arc::new(MemoryTable::default()));
        let machines = Machines::new(clock.clone());
        let (tools, mails) = (Arc::new(Customers), Arc::new(Mails::default()));
        let between = between(machines.clone());
        let (engine, agent) = by_hand(table.clone(), clock.clone(), between, tools, mails).await;
        let person = Caller { actor: actor(ActorKind::Human, "grace"), ..agent.clone() };
        let world = Self { engine, clock, table, machines, agent, person, sweep_ms };
        world.skill().await;
        world.patience().await;
        world
    }

    // Two operations: one runs on its own, one is people's.
    async fn skill(&self) {
        let publisher = SkillSigner::from_secret(&[9; 32]);
        let trust = json!({ "trust": { "trustedPublishers": [
            { "id": "sim", "keys": [publisher.pinned()], "provenancePrefixes": ["sim"] }] } });
        self.engine
            .trust
            .set_trust(&self.person, serde_json::from_value(trust).unwrap())
            .await
            .unwrap();
        let any = json!({ "type": "object" });
        let operation = |key: &str, tier: &str| {
            json!({ "key": key, "title": key, "inputSchema": any, "outputSchema": any,
                "effect": "read",
                "riskTier": tier, "timeoutSeconds": 30,
                "binding": { "kind": "http", "url": format!("http://tool/{key}") } })
        };
        let manifest = json!({ "schemaVersion": "1.0.0",
            "skill": { "key": "work", "version": "1.0.0" },
            "publisher": { "id": "sim", "provenance": "sim" },
            "artifact": { "digest": cs_core::canonical::digest_bytes(b"") },
            "operations": [operation("do", "low"), operation("ask", "high")] });
        let (manifest, now) = (serde_json::from_value(manifest).unwrap(), self.clock.now());
        let request =
            publisher.sign(manifest, b"", now.plus_ms(-1_000), now.plus_ms(400 * DAY_MS)).unwrap();
        self.engine.skills.install_skill(&self.agent, request).await.unwrap();
    }

    async fn patience(&self) {
        let text = policy::BASELINE
            .replace("@id(\"baseline.assist\")", "@id(\"baseline.assist\") @expires(\"30d\")");
        let digest = cs_core::canonical::digest_bytes(text.as_bytes());
        let activated_at = self.clock.now();
        let record = PolicyRecord {
            digest: digest.clone(),
            text,
            activated_at,
            actor_id: "test".into(),
            note: None,
        };
        let put = |key, body| Write::Put {
            key,
            item: Item { version: 1, body, ..Item::default() },
            condition: Condition::Any,
        };
        let workspace = &self.agent.workspace;
        let active = ActivePolicy { digest: digest.clone() };
        let writes = vec![
            put(keys::policy_active(workspace), serde_json::to_vec(&active).unwrap()),
            put(keys::policy(workspace, &digest), serde_json::to_vec(&record).unwrap()),
        ];
        self.table.transact(writes).await.unwrap();
    }

    async fn submit(&self, operation: &str) -> ExecutionId {
        let step = json!({ "id": "s", "use": format!("work/{operation}"), "with": {} });
        let request = json!({ "text": "do it", "draft": { "steps": [step] } });
        let request = serde_json::from_value(request).unwrap();
        self.engine.intents.submit(&self.agent, request).await.unwrap().execution_id
    }

    /// Lets time pass, with a sweep as often as the schedule has one.
    async fn pass(&self, ms: i64) {
        let until = self.clock.now().plus_ms(ms);
        while self.clock.now() < until {
            let next = self.clock.now().plus_ms(self.sweep_ms).min(until);
            self.machines.run_until(&self.engine, next).await;
            self.engine.sweep.sweep(None, 1_000_000).await.unwrap();
        }
        self.machines.run_until(&self.engine, until).await;
    }

    async fn head(&self, id: &ExecutionId) -> HeadRecord {
        let item = self.table.get(&keys::head(&self.agent.workspace, id)).await.unwrap().unwrap();
        serde_json::from_slice(&item.body).unwrap()
    }

    async fn status(&self, id: &ExecutionId) -> String {
        self.head(id).await.execution.status.as_str().to_owned()
    }

    async fn approve(&self, id: &ExecutionId) {
        let get = serde_json::from_value(json!({ "executionId": id })).unwrap();
        let view = self.engine.queries.get(&self.person, get).await.unwrap().execution;
        let request = json!({ "executionId": id, "bindingDigest": view.binding_digest });
        self.engine
            .approvals
            .approve(&self.person, serde_json::from_value(request).unwrap())
            .await
            .unwrap();
    }

    async fn freeze(&self, frozen: bool) {
        let request = json!({ "scope": "workspace", "frozen": frozen });
        self.engine
            .limits
            .set_freeze(&self.person, serde_json::from_value(request).unwrap())
            .await
            .unwrap();
    }

    /// An execution has ended, or somebody will look at it by a moment that has not passed for
    /// long.
    async fn lives(&self, id: &ExecutionId) {
        let (head, now) = (self.head(id).await, self.clock.now());
        let slack = self.sweep_ms + 3 * MINUTE_MS;
        let promised =
            head.wait.map(|wait| wait.wait_until).or(head.lease.map(|lease| lease.expires_at));
        let promised = promised.unwrap_or(head.execution.updated_at);
        let late = now.ms() - promised.ms();
        assert!(
            head.execution.status.ended() || late <= slack,
            "{id} {}: {late} ms late",
            head.execution.status.as_str()
        );
    }

    fn short_histories(&self) -> u64 {
        let longest = self.machines.runs().into_iter().max_by_key(|run| run.history).unwrap();
        assert!(longest.history <= HISTORY_MAX, "{}: {} entries", longest.name, longest.history);
        assert!(
            self.machines.runs().iter().all(|run| run.end != Some(End::Failed)),
            "a machine failed"
        );
        longest.history
    }
}

// Sample: a machine is stopped while its execution waits; the approval is answered 200, and nothing
// happens.
#[tokio::test]
async fn a_machine_stopped_at_each_state_and_an_approval_after_it_completes() {
    let world = SimulatedWorld::new(MINUTE_MS).await;
    let states = world.machines.states();
    for state in ["Compile", "IsCompiled", "Verify", "Route", "Advance", "WhatNext", "AwaitSignal"]
    {
        assert!(states.iter().any(|own| own == state));
        let id = world.submit("ask").await;
        world.machines.stop_when_it_enters(&id, state);
        world.pass(MINUTE_MS / 2).await;
        assert_eq!(world.machines.live(&id), 0, "{state}: stopped");
        // Before it is verified nobody can approve; a sweep is what goes on.
        if !matches!(state, "WhatNext" | "AwaitSignal") {
            world.pass(3 * MINUTE_MS).await;
        }
        assert_eq!(world.status(&id).await, "blocked", "{state}");
        world.approve(&id).await;
        world.pass(1_000).await;
        assert_eq!(
            world.status(&id).await,
            "completed",
            "{state}: at once, by a machine of its own"
        );
    }
    // Stopped while it waits with a token, which is then nobody's.
    let id = world.submit("ask").await;
    world.pass(1_000).await;
    assert!(world.head(&id).await.wait.is_some());
    world.machines.stop(&id);
    world.approve(&id).await;
    world.pass(1_000).await;
    assert_eq!(world.status(&id).await, "completed", "the next machine, at once");
    // Stopped on its last way, when nothing is left to do.
    for state in ["Finish", "Done"] {
        let id = world.submit("do").await;
        world.machines.stop_when_it_enters(&id, state);
        world.pass(MINUTE_MS).await;
        assert_eq!(world.status(&id).await, "completed");
    }
    world.short_histories();
}

// Every command that moves an execution starts the next machine where the token is dead, not
// approve alone.
#[tokio::test]
async fn a_dead_token_is_no_end_whoever_signals_it() {
    let world = SimulatedWorld::new(HOUR_MS).await;
    let steer = |id: &ExecutionId| serde_json::from_value(json!({ "executionId": id })).unwrap();
    for verb in ["reject", "cancel", "pause", "abort"] {
        let id = world.submit("ask").await;
        world.pass(1_000).await;
        world.machines.stop(&id);
        let request = json!({ "executionId": id, "reason": "no" });
        match verb {
            "reject" => {
                let request = serde_json::from_value(request).unwrap();
                world.engine.approvals.reject(&world.person, request).await.unwrap();
            }
            "cancel" => {
                let request = serde_json::from_value(request).unwrap();
                world.engine.controls.cancel(&world.person, request).await.unwrap();
            }
            "pause" => {
                let grants = ["control-plane.execution.pause", "control-plane.execution.resume"];
                let mut person = world.person.clone();
                person.grants.extend(grants.map(str::to_owned));
                world.engine.controls.steer(&person, steer(&id), Steer::Pause).await.unwrap();
                world.pass(1_000).await;
                world.machines.stop(&id);
                world.engine.controls.steer(&person, steer(&id), Steer::Resume).await.unwrap();
                world.pass(1_000).await;
                world.approve(&id).await;
            }
            _ => drop(
                world.engine.controls.steer(&world.person, steer(&id), Steer::Abort).await.unwrap(),
            ),
        }
        world.pass(1_000).await;
        let head = world.head(&id).await;
        assert!(head.execution.status.ended(), "{verb}: {}", head.execution.status.as_str());
    }
}
