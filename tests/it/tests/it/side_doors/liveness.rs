//! Nothing waits for ever: sixty simulated days of the committed state machine, in which machines are stopped at every
//! state, tokens and signals are lost, freezes last, and people take their time.

use contracts::{ExecutionId, event::ActorKind};
use countersign_it::{
    desk::{HandClock, by_hand},
    machines::{End, Machines},
};
use cs_core::publisher::Publisher;
use engine::{
    ActivePolicy, Caller, Engine, HeadRecord, PolicyRecord, Steer,
    access::actor,
    keys,
    memory::MemoryTable,
    ports::{Clock as _, Condition, Item, Table as _, Write},
};
use serde_json::{Value, json};
use std::sync::Arc;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A machine of AWS ends at 25,000; ours end long before.
const HISTORY_MAX: u64 = 10_000;

/// A workspace whose approvals live for thirty days, over machines under simulated time.
struct World {
    engine: Arc<Engine>,
    clock: Arc<HandClock>,
    table: Arc<MemoryTable>,
    machines: Arc<Machines>,
    agent: Caller,
    person: Caller,
    sweep_ms: i64,
}

impl World {
    async fn new(sweep_ms: i64) -> Self {
        let (clock, table) = (HandClock::new(), Arc::new(MemoryTable::default()));
        let machines = Machines::new(clock.clone());
        let (engine, agent) = by_hand(table.clone(), clock.clone(), machines.clone()).await;
        let person = Caller { actor: actor(ActorKind::Human, "grace"), ..agent.clone() };
        let world = Self { engine, clock, table, machines, agent, person, sweep_ms };
        world.skill().await;
        world.patience().await;
        world
    }

    // Two operations: one runs on its own, one is people's.
    async fn skill(&self) {
        let publisher = Publisher::from_secret(&[9; 32]);
        let trust = json!({ "trust": { "trustedPublishers": [
            { "id": "sim", "keys": [publisher.pinned()], "provenancePrefixes": ["sim"] }] } });
        self.engine.set_trust(&self.person, serde_json::from_value(trust).unwrap()).await.unwrap();
        let any = json!({ "type": "object" });
        let operation = |key: &str, tier: &str| {
            json!({ "key": key, "title": key, "inputSchema": any, "outputSchema": any, "effect": "read",
                "riskTier": tier, "timeoutSeconds": 30,
                "binding": { "kind": "http", "url": format!("http://tool/{key}") } })
        };
        let manifest = json!({ "schemaVersion": "1.0.0", "skill": { "key": "work", "version": "1.0.0" },
            "publisher": { "id": "sim", "provenance": "sim" },
            "artifact": { "digest": cs_core::canonical::digest_bytes(b"") },
            "operations": [operation("do", "low"), operation("ask", "high")] });
        let (manifest, now) = (serde_json::from_value(manifest).unwrap(), self.clock.now());
        let request = publisher.sign(manifest, b"", now.plus_ms(-1_000), now.plus_ms(400 * DAY_MS)).unwrap();
        self.engine.install_skill(&self.agent, request).await.unwrap();
    }

    async fn patience(&self) {
        let text = policy::BASELINE.replace("@id(\"baseline.assist\")", "@id(\"baseline.assist\") @expires(\"30d\")");
        let digest = cs_core::canonical::digest_bytes(text.as_bytes());
        let activated_at = self.clock.now();
        let record = PolicyRecord { digest: digest.clone(), text, activated_at, actor_id: "test".into(), note: None };
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
        self.engine.submit(&self.agent, request).await.unwrap().execution_id
    }

    /// Lets time pass, with a sweep as often as the schedule has one.
    async fn pass(&self, ms: i64) {
        let until = self.clock.now().plus_ms(ms);
        while self.clock.now() < until {
            let next = self.clock.now().plus_ms(self.sweep_ms).min(until);
            self.machines.run_until(&self.engine, next).await;
            self.engine.sweep(None, 1_000_000).await.unwrap();
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
        let view = self.engine.get(&self.person, get).await.unwrap().execution;
        let request = json!({ "executionId": id, "bindingDigest": view.binding_digest });
        self.engine.approve(&self.person, serde_json::from_value(request).unwrap()).await.unwrap();
    }

    async fn freeze(&self, frozen: bool) {
        let request = json!({ "scope": "workspace", "frozen": frozen });
        self.engine.set_freeze(&self.person, serde_json::from_value(request).unwrap()).await.unwrap();
    }

    /// An execution has ended, or somebody will look at it by a moment that has not passed for long.
    async fn lives(&self, id: &ExecutionId) {
        let (head, now) = (self.head(id).await, self.clock.now());
        let slack = self.sweep_ms + 3 * MINUTE_MS;
        let promised = head.wait.map(|wait| wait.wait_until).or(head.lease.map(|lease| lease.expires_at));
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
        assert!(self.machines.runs().iter().all(|run| run.end != Some(End::Failed)), "a machine failed");
        longest.history
    }
}

// Sample: a machine is stopped while its execution waits; the approval is answered 200, and nothing happens.
#[tokio::test]
async fn a_machine_stopped_at_each_state_and_an_approval_after_it_completes() {
    let world = World::new(MINUTE_MS).await;
    let states = world.machines.states();
    for state in ["Compile", "IsCompiled", "Verify", "Route", "Advance", "WhatNext", "AwaitSignal"] {
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
        assert_eq!(world.status(&id).await, "completed", "{state}: at once, by a machine of its own");
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

// Every command that moves an execution starts the next machine where the token is dead, not approve alone.
#[tokio::test]
async fn a_dead_token_is_no_end_whoever_signals_it() {
    let world = World::new(HOUR_MS).await;
    let steer = |id: &ExecutionId| serde_json::from_value(json!({ "executionId": id })).unwrap();
    for verb in ["reject", "cancel", "pause", "abort"] {
        let id = world.submit("ask").await;
        world.pass(1_000).await;
        world.machines.stop(&id);
        let request = json!({ "executionId": id, "reason": "no" });
        match verb {
            "reject" => {
                let request = serde_json::from_value(request).unwrap();
                world.engine.reject(&world.person, request).await.unwrap();
            }
            "cancel" => {
                let request = serde_json::from_value(request).unwrap();
                world.engine.cancel(&world.person, request).await.unwrap();
            }
            "pause" => {
                let grants = ["control-plane.execution.pause", "control-plane.execution.resume"];
                let mut person = world.person.clone();
                person.grants.extend(grants.map(str::to_owned));
                world.engine.steer(&person, steer(&id), Steer::Pause).await.unwrap();
                world.pass(1_000).await;
                world.machines.stop(&id);
                world.engine.steer(&person, steer(&id), Steer::Resume).await.unwrap();
                world.pass(1_000).await;
                world.approve(&id).await;
            }
            _ => drop(world.engine.steer(&world.person, steer(&id), Steer::Abort).await.unwrap()),
        }
        world.pass(1_000).await;
        let head = world.head(&id).await;
        assert!(head.execution.status.ended(), "{verb}: {}", head.execution.status.as_str());
    }
}

// Sample: a 32-hour freeze strands what it holds through the limit of a machine's history.
#[tokio::test]
async fn a_freeze_of_thirty_two_hours_is_waited_for_and_its_lifting_is_the_signal() {
    let world = World::new(MINUTE_MS).await;
    world.freeze(true).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.submit("do").await);
    }
    world.pass(32 * HOUR_MS).await;
    for id in &ids {
        assert_eq!(world.status(id).await, "blocked");
        assert_eq!(world.machines.live(id), 1, "one machine waits");
    }
    let looks = world.machines.entered("Advance");
    assert!(looks <= 5 * 40, "an hourly look, not one each minute: {looks}");
    world.machines.stop(&ids[0]);
    world.freeze(false).await;
    world.pass(5_000).await;
    for id in &ids {
        assert_eq!(world.status(id).await, "completed", "at once, also where the machine was stopped");
    }
    let longest = world.short_histories();
    assert!(longest < 1_000, "{longest}");
}

// More than one request wakes: sweep goes on with the rest.
#[tokio::test]
async fn lifting_a_freeze_wakes_everybody_in_the_end() {
    let world = World::new(MINUTE_MS).await;
    world.freeze(true).await;
    let mut ids = Vec::new();
    for _ in 0..130 {
        ids.push(world.submit("do").await);
    }
    world.pass(MINUTE_MS).await;
    world.freeze(false).await;
    world.pass(2 * MINUTE_MS).await;
    for id in &ids {
        assert_eq!(world.status(id).await, "completed");
    }
}

// A machine that looks at the freeze and then waits, while the freeze is lifted between the two.
#[tokio::test]
async fn a_change_between_the_look_and_the_wait_is_not_missed() {
    let world = World::new(HOUR_MS).await;
    world.freeze(true).await;
    let id = world.submit("do").await;
    world.machines.run_until(&world.engine, world.clock.now()).await;
    assert_eq!(world.status(&id).await, "blocked");
    // Listed, and not registered: the machine is stopped on its way to the wait, and the signal finds no token.
    let other = world.submit("do").await;
    world.machines.stop_when_it_enters(&other, "AwaitSignal");
    world.machines.run_until(&world.engine, world.clock.now()).await;
    assert!(world.head(&other).await.wait.is_none());
    world.freeze(false).await;
    world.machines.run_until(&world.engine, world.clock.now().plus_ms(1_000)).await;
    assert_eq!(world.status(&id).await, "completed");
    assert_eq!(world.status(&other).await, "completed");
}

#[tokio::test]
async fn a_moving_window_is_waited_for_until_it_has_room_and_a_new_budget_is_a_signal() {
    let world = World::new(HOUR_MS).await;
    let meter = |limit: u64| {
        json!({ "budgets": { "meters": [{ "id": "steps", "scope": "workspace", "measure": { "kind": "steps" },
            "windowSeconds": 86_400, "limit": limit }] } })
    };
    let set = |limit| serde_json::from_value(meter(limit)).unwrap();
    world.engine.set_budgets(&world.person, set(2)).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(world.submit("do").await);
        world.pass(1_000).await;
    }
    assert_eq!(world.status(&ids[1]).await, "completed");
    assert_eq!(world.status(&ids[2]).await, "blocked");
    let looks = world.machines.entered("Advance");
    world.pass(26 * HOUR_MS).await;
    assert_eq!(world.status(&ids[2]).await, "completed", "the window moved on");
    assert_eq!(world.status(&ids[3]).await, "completed");
    assert!(world.machines.entered("Advance") - looks <= 2 * 30);
    for _ in 0..2 {
        ids.push(world.submit("do").await);
        world.pass(1_000).await;
    }
    assert_eq!(world.status(&ids[5]).await, "blocked");
    world.engine.set_budgets(&world.person, set(100)).await.unwrap();
    world.pass(1_000).await;
    assert_eq!(world.status(&ids[5]).await, "completed", "a larger budget is a signal");
}

#[tokio::test]
async fn a_short_window_is_waited_for_to_the_moment() {
    let world = World::new(HOUR_MS).await;
    let meter = json!({ "budgets": { "meters": [{ "id": "steps", "scope": "workspace",
        "measure": { "kind": "steps" }, "windowSeconds": 240, "limit": 1 }] } });
    world.engine.set_budgets(&world.person, serde_json::from_value(meter).unwrap()).await.unwrap();
    world.submit("do").await;
    let second = world.submit("do").await;
    world.pass(1_000).await;
    assert_eq!(world.status(&second).await, "blocked");
    world.pass(260_000).await;
    assert_eq!(world.status(&second).await, "completed", "long before the hour is over");
    assert!(world.machines.entered("Advance") <= 6, "{}", world.machines.entered("Advance"));
}

// A signal that is lost, and starts that are lost: a sweep within minutes.
#[tokio::test]
async fn a_lost_signal_is_made_up_for_by_the_sweep() {
    let world = World::new(MINUTE_MS).await;
    let id = world.submit("ask").await;
    world.pass(1_000).await;
    world.machines.lose_signals(true);
    world.machines.lose_starts(true);
    world.approve(&id).await;
    world.pass(1_000).await;
    assert_eq!(world.status(&id).await, "running", "nobody knows");
    world.machines.lose_signals(false);
    world.machines.lose_starts(false);
    world.pass(4 * MINUTE_MS).await;
    assert_eq!(world.status(&id).await, "completed");
}

async fn sixty_days(sweep_ms: i64, days: i64) {
    let world = World::new(sweep_ms).await;
    let (slow, never, paused) = (world.submit("ask").await, world.submit("ask").await, world.submit("ask").await);
    let stranded = world.submit("ask").await;
    world.pass(MINUTE_MS).await;
    world.machines.stop(&stranded);
    let steer = || serde_json::from_value(json!({ "executionId": paused })).unwrap();
    world.engine.steer(&world.agent, steer(), Steer::Pause).await.unwrap();
    world.freeze(true).await;
    let held = world.submit("do").await;
    let all = [&slow, &never, &paused, &stranded, &held];
    for day in 0..days {
        // People, freezes and accidents of the day.
        if day == 2 {
            world.freeze(false).await;
            world.pass(MINUTE_MS).await;
            assert_eq!(world.status(&held).await, "completed");
        }
        if day % 7 == 3 {
            all.iter().for_each(|id| world.machines.stop(id));
        }
        if day == days / 2 - 2 {
            world.approve(&slow).await;
            world.approve(&stranded).await;
            world.pass(5_000).await;
            assert_eq!(world.status(&slow).await, "completed");
            assert_eq!(world.status(&stranded).await, "completed");
        }
        world.pass(DAY_MS).await;
        for id in all {
            world.lives(id).await;
        }
    }
    let ended = world.head(&never).await;
    assert_eq!(ended.execution.status.as_str(), "blocked", "expired: people may still ask again, or cancel");
    let request = serde_json::from_value(json!({ "executionId": never, "reason": "too late" })).unwrap();
    world.engine.cancel(&world.person, request).await.unwrap();
    world.engine.steer(&world.agent, steer(), Steer::Resume).await.unwrap();
    world.pass(MINUTE_MS).await;
    assert_eq!(world.status(&never).await, "cancelled");
    world.lives(&paused).await;
    let longest = world.short_histories();
    let runs = world.machines.runs();
    eprintln!("{days} days: {} machines, the longest history has {longest} entries", runs.len());
}

#[tokio::test]
async fn sixty_days_with_a_sweep_each_hour() {
    sixty_days(HOUR_MS, 60).await;
}

#[tokio::test]
async fn ten_days_with_a_sweep_each_minute() {
    sixty_days(MINUTE_MS, 10).await;
}

#[tokio::test]
async fn a_machine_hands_over_long_before_its_history_ends() {
    let world = World::new(HOUR_MS).await;
    world.freeze(true).await;
    let id = world.submit("do").await;
    // Held for forty days: some thousand looks.
    world.pass(40 * DAY_MS).await;
    assert!(world.machines.entered("Handover") >= 8, "{}", world.machines.entered("Handover"));
    assert_eq!(world.machines.live(&id), 1);
    assert!(world.short_histories() < 3_000);
    world.freeze(false).await;
    world.pass(1_000).await;
    assert_eq!(world.status(&id).await, "completed");
}

// Business outcomes are no failures of machines.
#[tokio::test]
async fn refused_and_rejected_executions_end_their_machine_in_success() {
    let world = World::new(MINUTE_MS).await;
    let id = world.submit("ask").await;
    world.pass(1_000).await;
    let request = serde_json::from_value(json!({ "executionId": id, "reason": "no" })).unwrap();
    world.engine.reject(&world.person, request).await.unwrap();
    world.pass(MINUTE_MS).await;
    assert!(world.head(&id).await.execution.status.ended());
    assert!(world.machines.runs().iter().all(|run| run.end == Some(End::Succeeded)));
}

// What every round of a machine costs when everything in it is retried to the last: still far below the limit.
#[test]
fn a_machines_history_has_room_for_every_retry() {
    let text = include_str!("../../../../../infra/execution.asl.json");
    let machine: Value = serde_json::from_str(text).unwrap();
    let retries = |state: &str| {
        let retriers = machine["States"][state]["Retry"].as_array().unwrap();
        retriers.iter().map(|retrier| retrier["MaxAttempts"].as_u64().unwrap()).sum::<u64>()
    };
    let task = |state: &str| 8 + 3 * retries(state);
    let round = task("Advance") + 4 + task("AwaitSignal");
    let outside = task("Compile") + task("Verify") + task("Handover") + task("Finish") + 12;
    let most = engine::ROUNDS_MAX * round + outside;
    assert!(most < 20_000, "{most} of 25,000");
    for (name, state) in machine["States"].as_object().unwrap() {
        for retrier in state["Retry"].as_array().into_iter().flatten() {
            assert_eq!(retrier["JitterStrategy"], "FULL", "{name}");
        }
        assert!(state["Type"] != "Task" || state["Retry"].is_array(), "{name} retries nothing");
        assert_ne!(state["Type"], "Fail", "{name}");
    }
    assert_eq!(
        machine["States"]["AwaitSignal"]["Catch"][0]["ErrorEquals"],
        json!(["States.Timeout", "States.HeartbeatTimeout"])
    );
}
