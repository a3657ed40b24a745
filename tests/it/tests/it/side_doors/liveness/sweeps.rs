//! Long waits: the sweep makes up for lost signals, machines hand over in time.

use super::*;

// A signal that is lost, and starts that are lost: a sweep within minutes.
#[tokio::test]
async fn a_lost_signal_is_made_up_for_by_the_sweep() {
    let world = SimulatedWorld::new(MINUTE_MS).await;
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
    let world = SimulatedWorld::new(sweep_ms).await;
    let (slow, never, paused) =
        (world.submit("ask").await, world.submit("ask").await, world.submit("ask").await);
    let stranded = world.submit("ask").await;
    world.pass(MINUTE_MS).await;
    world.machines.stop(&stranded);
    let steer = || serde_json::from_value(json!({ "executionId": paused })).unwrap();
    world.engine.controls.steer(&world.agent, steer(), Steer::Pause).await.unwrap();
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
    assert_eq!(
        ended.execution.status.as_str(),
        "blocked",
        "expired: people may still ask again, or cancel"
    );
    let request =
        serde_json::from_value(json!({ "executionId": never, "reason": "too late" })).unwrap();
    world.engine.controls.cancel(&world.person, request).await.unwrap();
    world.engine.controls.steer(&world.agent, steer(), Steer::Resume).await.unwrap();
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
    let world = SimulatedWorld::new(HOUR_MS).await;
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
    let world = SimulatedWorld::new(MINUTE_MS).await;
    let id = world.submit("ask").await;
    world.pass(1_000).await;
    let request = serde_json::from_value(json!({ "executionId": id, "reason": "no" })).unwrap();
    world.engine.approvals.reject(&world.person, request).await.unwrap();
    world.pass(MINUTE_MS).await;
    assert!(world.head(&id).await.execution.status.ended());
    assert!(world.machines.runs().iter().all(|run| run.end == Some(End::Succeeded)));
}

// What every round of a machine costs when everything in it is retried to the last: still far below
// the limit.
#[test]
fn a_machines_history_has_room_for_every_retry() {
    let text = include_str!("../../../../../../infra/execution.asl.json");
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
