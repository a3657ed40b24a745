//! Freezes and moving windows: waited for, and their lifting is a signal.

use super::*;
use async_trait::async_trait;
use countersign_store::PortError;
use engine::ports::Signalled;
use std::sync::OnceLock;

// Sample: a 32-hour freeze strands what it holds through the limit of a machine's history.
#[tokio::test]
async fn a_freeze_of_thirty_two_hours_is_waited_for_and_its_lifting_is_the_signal() {
    let world = SimulatedWorld::new(MINUTE_MS).await;
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
        assert_eq!(
            world.status(id).await,
            "completed",
            "at once, also where the machine was stopped"
        );
    }
    let longest = world.short_histories();
    assert!(longest < 1_000, "{longest}");
}

// More than one request wakes: sweep goes on with the rest.
#[tokio::test]
async fn lifting_a_freeze_wakes_everybody_in_the_end() {
    let world = SimulatedWorld::new(MINUTE_MS).await;
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
    let world = SimulatedWorld::new(HOUR_MS).await;
    world.freeze(true).await;
    let id = world.submit("do").await;
    world.machines.run_until(&world.engine, world.clock.now()).await;
    assert_eq!(world.status(&id).await, "blocked");
    // Listed, and not registered: the machine is stopped on its way to the wait, and the signal
    // finds no token.
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
    let world = SimulatedWorld::new(HOUR_MS).await;
    let meter = |limit: u64| {
        json!({ "budgets": { "meters": [{ "id": "steps", "scope": "workspace",
            "measure": { "kind": "steps" },
            "windowSeconds": 86_400, "limit": limit }] } })
    };
    let set = |limit| serde_json::from_value(meter(limit)).unwrap();
    world.engine.limits.set_budgets(&world.person, set(2)).await.unwrap();
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
    world.engine.limits.set_budgets(&world.person, set(100)).await.unwrap();
    world.pass(1_000).await;
    assert_eq!(world.status(&ids[5]).await, "completed", "a larger budget is a signal");
}

#[tokio::test]
async fn a_short_window_is_waited_for_to_the_moment() {
    let world = SimulatedWorld::new(HOUR_MS).await;
    let meter = json!({ "budgets": { "meters": [{ "id": "steps", "scope": "workspace",
        "measure": { "kind": "steps" }, "windowSeconds": 240, "limit": 1 }] } });
    world
        .engine
        .limits
        .set_budgets(&world.person, serde_json::from_value(meter).unwrap())
        .await
        .unwrap();
    world.submit("do").await;
    let second = world.submit("do").await;
    world.pass(1_000).await;
    assert_eq!(world.status(&second).await, "blocked");
    world.pass(260_000).await;
    assert_eq!(world.status(&second).await, "completed", "long before the hour is over");
    assert!(world.machines.entered("Advance") <= 6, "{}", world.machines.entered("Advance"));
}

// Two changes find the execution at the same version: the start that the second one asks for has
// the name of the first one's and is none. The wait that is registered after them ends at once.
#[tokio::test]
async fn a_change_whose_wake_starts_nothing_ends_the_wait_that_comes_after_it() {
    let world = SimulatedWorld::new(HOUR_MS).await;
    world.freeze(true).await;
    let id = world.submit("do").await;
    let (engine, workspace) = (&world.engine, &world.agent.workspace);
    engine.verdicts.verify_task(workspace, &id).await.unwrap();
    engine.runs.advance(workspace, &id, 1_000).await.unwrap();
    world.freeze(false).await;
    world.freeze(true).await;
    let next = engine.runs.advance(workspace, &id, 1_000).await.unwrap();
    let wait = |token| WaitRequest { token, seen: next.version, seconds: 3_600 };
    world.freeze(false).await;
    engine.waker.register_wait(workspace, &id, wait("late")).await.unwrap();
    assert!(world.head(&id).await.wait.is_none(), "it looks again instead of waiting for an hour");
    // Looked at again, and held again: now it waits.
    world.freeze(true).await;
    let next = engine.runs.advance(workspace, &id, 1_000).await.unwrap();
    let wait = WaitRequest { token: "in time", seen: next.version, seconds: 3_600 };
    engine.waker.register_wait(workspace, &id, wait).await.unwrap();
    assert!(world.head(&id).await.wait.is_some());
}

/// Machines whose answer to a signal comes only when what it woke waits again.
struct SlowAnswers {
    machines: Arc<Machines>,
    engine: OnceLock<Arc<Engine>>,
    clock: OnceLock<Arc<HandClock>>,
}

#[async_trait]
impl Orchestrator for SlowAnswers {
    async fn start(
        &self,
        workspace: &WorkspaceId,
        id: &ExecutionId,
        name: &str,
    ) -> Result<(), PortError> {
        self.machines.start(workspace, id, name).await
    }
    async fn succeed(&self, token: &str) -> Result<Signalled, PortError> {
        let answer = self.machines.succeed(token).await;
        if let (Some(engine), Some(clock)) = (self.engine.get(), self.clock.get()) {
            self.machines.run_until(engine, clock.now()).await;
        }
        answer
    }
}

// What a change wakes looks, is held by something else, and is listed anew before the change takes
// it off the list: the new listing is not the one that it read.
#[tokio::test]
async fn what_is_listed_anew_while_a_change_wakes_it_stays_listed() {
    let slow = OnceLock::new();
    let world = SimulatedWorld::with(HOUR_MS, |machines| {
        let own = SlowAnswers { machines, engine: OnceLock::new(), clock: OnceLock::new() };
        slow.get_or_init(|| Arc::new(own)).clone()
    })
    .await;
    world.freeze(true).await;
    let id = world.submit("do").await;
    world.machines.run_until(&world.engine, world.clock.now()).await;
    assert!(world.head(&id).await.wait.is_some(), "held, and registered");
    let slow = slow.get().unwrap();
    assert!(slow.engine.set(world.engine.clone()).is_ok());
    assert!(slow.clock.set(world.clock.clone()).is_ok());
    let budgets = json!({ "budgets": { "plan": { "writes": 9 } } });
    let looks = world.machines.entered("Advance");
    world
        .engine
        .limits
        .set_budgets(&world.person, serde_json::from_value(budgets).unwrap())
        .await
        .unwrap();
    assert!(world.machines.entered("Advance") > looks, "it was woken, and looked");
    world.freeze(false).await;
    world.machines.run_until(&world.engine, world.clock.now()).await;
    assert_eq!(world.status(&id).await, "completed", "at once, not within the hour");
}
