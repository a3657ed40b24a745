//! One seed, twice: the same run; and what a run must find.

use super::{setup::found, *};
use contracts::{event::Purpose, query::ReplayTrace};
use futures_util::FutureExt as _;

const HOUR_MS: i64 = 3_600_000;

fn calm() -> Arc<World> {
    let world = make(0, |_| Arc::new(MemoryTable::default()));
    world.shared.calm.store(true, Ordering::SeqCst);
    soon(&world, found(&world));
    world
}

// Polls until it is done, and lets time pass where it waits.
fn soon<T>(world: &World, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    for _ in 0..1_000 {
        for _ in 0..100 {
            if let Some(value) = future.as_mut().now_or_never() {
                return value;
            }
        }
        world.shared.pass_time();
    }
    panic!("it does not end");
}

fn usable(world: &World) -> bool {
    soon(world, world.engine.in_force.snapshot(&world.workspace))
        .unwrap()
        .registry
        .exact(SKILL, plans::VERSION)
        .is_some()
}

// INVARIANT context-is-fresh: a clock that was set back does not disable the skill for good.
#[test]
fn a_skill_that_is_not_valid_yet_is_usable_once_it_is() {
    let world = calm();
    assert!(usable(&world));
    world.shared.jump(-HOUR_MS);
    assert!(!usable(&world), "its signature begins in an hour");
    world.shared.jump(HOUR_MS);
    assert!(usable(&world), "nothing but time has passed");
}

// INVARIANT replayable: a plan whose skill is disabled is judged like any other, and each claim is
// refused.
#[test]
fn a_plan_judged_while_its_skill_is_disabled_replays() {
    let world = calm();
    let agent = soon(&world, agent(&world));
    let draft = serde_json::json!({ "steps": [{ "id": "s0", "use": "tool/put", "with": {} }] });
    let asked = soon(&world, ask(&world, &agent, ("work".into(), &draft), false));
    let off = DisableSkill { skill_key: SKILL.into(), version: None, reason: None };
    soon(&world, world.engine.skills.disable_skill(&world.person("operator"), off)).unwrap();
    assert_eq!(
        soon(&world, world.engine.verdicts.verify_task(&world.workspace, &asked)).unwrap(),
        "advance"
    );
    let replay = ReplayTrace { execution_id: asked };
    let replayed =
        soon(&world, world.engine.replays.replay(&world.person("auditor"), replay)).unwrap();
    assert!(replayed.matches, "{:?}", replayed.differences);
}

// What a draft led to after one turn of its driver.
fn turned(world: &Arc<World>, draft: serde_json::Value) -> ExecutionId {
    let agent = soon(world, agent(world));
    let asked = soon(world, ask(world, &agent, ("work".into(), &draft), false));
    assert_eq!(
        soon(world, world.engine.verdicts.verify_task(&world.workspace, &asked)).unwrap(),
        "advance"
    );
    soon(world, world.engine.runs.advance(&world.workspace, &asked, 60_000)).unwrap();
    world.executions.lock().unwrap().insert(asked.clone());
    asked
}

// A compensation claim of a cancelled execution is judged again under the new policy set.
#[test]
fn undoing_goes_on_under_another_policy_set() {
    let world = calm();
    let steps = serde_json::json!([{ "id": "s0", "use": "tool/put", "with": { "n": 1 } },
        { "id": "s1", "use": "tool/pay", "with": {}, "after": ["s0"] },
        { "id": "s2", "use": "tool/grave", "with": {}, "after": ["s1"] }]);
    let asked = turned(&world, serde_json::json!({ "steps": steps }));
    assert_eq!(world.statuses(), ["blocked"], "the last step waits for people");
    let cancel = CancelExecution { execution_id: asked.clone(), reason: None, compensate: true };
    soon(&world, world.engine.controls.cancel(&world.person("grace"), cancel)).unwrap();
    // Under it the plan as a whole may not run any more; what undoes its steps may.
    soon(&world, operators::activate(&world, &world.person("operator"), operators::strict()));
    soon(&world, world.engine.runs.advance(&world.workspace, &asked, 60_000)).unwrap();
    assert_eq!(world.statuses(), ["cancelled"]);
    let undone =
        world.done.lock().unwrap().effects.keys().any(|(operation, _)| operation == "unput");
    assert!(undone, "the first step is undone");
}

// Two steps become ready at once, and the first cannot be called, which ends the other.
#[test]
fn a_step_that_fails_leaves_nothing_to_do_for_those_beside_it() {
    let world = calm();
    let missing = serde_json::json!({ "$from": "s0", "path": "/body/none/none" });
    let steps = serde_json::json!([{ "id": "s0", "use": "tool/read", "with": { "n": 1 } },
        { "id": "s1", "use": "tool/put", "with": { "from": missing } },
        { "id": "s2", "use": "tool/grave", "with": {}, "after": ["s0"] },
        { "id": "s3", "use": "tool/put", "with": {}, "after": ["s0"] }]);
    turned(&world, serde_json::json!({ "steps": steps, "onFailure": "compensate" }));
    assert_eq!(world.statuses(), ["failed"]);
}

// A step's outcome and the claim of its compensation are one commit. If the answer to that commit
// is lost, the outcome is not recorded again as that of the compensation.
#[test]
fn the_outcome_of_a_step_is_not_that_of_its_undoing() {
    let world = calm();
    *world.table.unheard.lock().unwrap() = Some(Purpose::Compensate);
    let steps = serde_json::json!([{ "id": "s0", "use": "tool/put", "with": { "n": 1 } },
        { "id": "s1", "use": "tool/doom", "with": {} }]);
    turned(&world, serde_json::json!({ "steps": steps, "onFailure": "compensate" }));
    let lost = world.table.unheard.lock().unwrap().is_none();
    assert!(lost, "the claim that undoes was heard of: {:?}", world.statuses());
    let undone =
        world.done.lock().unwrap().effects.keys().any(|(operation, _)| operation == "unput");
    assert!(undone || world.statuses() != ["failed"], "compensated, and nothing undid it");
}
