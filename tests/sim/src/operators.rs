//! Operators during a run: they freeze, disable, replace policy sets, rotate secrets, set the
//! clock, and sometimes mistype a name.

use crate::{
    plans::SKILL,
    run::{World, passing, skill, spawn},
};
use contracts::{
    Problem,
    access::{CreateKey, RevokeKey, SetDeciders},
    command::*,
    draft::Draft,
    event::ActorKind,
    governance::*,
    query::{GetExecution, ListExecutions},
};
use cs_core::canonical;
use engine::{Caller, actor};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};

/// The baseline with approvals of two people that live so shortly that some expire.
pub(crate) fn hasty() -> String {
    let own = "@id(\"baseline.assist\") @expires(\"60s\") @approvers(\"deciders:2\")";
    policy::BASELINE.replace("@id(\"baseline.assist\")", own)
}

// The same, and nobody pays.
pub(crate) fn strict() -> String {
    let rule = "@id(\"own.no-pay\") @reason(\"nobody pays\") forbid (principal, action == \
        Action::\"tool/pay\", resource);";
    format!("{}\n{rule}\n", hasty())
}

/// Activates a set, whatever of what it names may be used just then.
pub(crate) async fn activate(world: &World, person: &Caller, policies: String) {
    let request = ActivatePolicy { policies, note: None, dry_run: false, backtest_days: Some(0) };
    while let Err(problem) = world.engine.policies.activate_policy(person, request.clone()).await {
        assert!(passing(&problem), "{problem:?}");
        world.shared.sleep(200).await;
    }
}

pub(crate) fn begin(world: &Arc<World>) {
    *world.watch.strict.lock().unwrap() = Some(canonical::digest_bytes(strict().as_bytes()));
    spawn(world, freezer(world.clone()));
    spawn(world, governor(world.clone()));
    spawn(world, restorer(world.clone()));
    if world.shared.draw(3) {
        spawn(world, clock(world.clone()));
    }
    if world.shared.draw(3) {
        spawn(world, mistyper(world.clone()));
    }
}

// Whatever is frozen is thawed in time.
async fn freezer(world: Arc<World>) {
    while !world.shared.is_calm() {
        world.shared.sleep(1 + world.shared.pick(200_000) as u64).await;
        let (scope, key) = match world.shared.pick(5) {
            0 => (FreezeScope::Workspace, None),
            1 => (FreezeScope::Skill, Some(skill())),
            2 => (FreezeScope::Operation, Some("tool/put".to_owned())),
            3 => (FreezeScope::Operation, Some("tool/probe".to_owned())),
            _ => (FreezeScope::Actor, Some("agent".to_owned())),
        };
        for frozen in [true, false] {
            let request = SetFreeze { scope, key: key.clone(), frozen, force: true, reason: None };
            while world
                .engine
                .limits
                .set_freeze(&world.person("operator"), request.clone())
                .await
                .is_err()
            {
                world.shared.sleep(1_000).await;
            }
            world.shared.sleep(1 + world.shared.pick(60_000) as u64).await;
        }
    }
}

async fn governor(world: Arc<World>) {
    while !world.shared.is_calm() {
        world.shared.sleep(1 + world.shared.pick(200_000) as u64).await;
        let person = world.person("operator");
        match world.shared.pick(4) {
            0 | 1 => {
                activate(&world, &person, strict()).await;
                world.invariants.storm("policy: replaced");
                world.shared.sleep(1 + world.shared.pick(40_000) as u64).await;
                activate(&world, &person, hasty()).await;
            }
            2 => {
                let off = DisableSkill { skill_key: skill(), version: None, reason: None };
                while world.engine.skills.disable_skill(&person, off.clone()).await.is_err() {
                    world.shared.sleep(200).await;
                }
                world.invariants.storm("skill: disabled");
                world.shared.sleep(1 + world.shared.pick(40_000) as u64).await;
                let on = EnableSkill { skill_key: skill(), version: None, reason: None };
                while let Err(problem) = world.engine.skills.enable_skill(&person, on.clone()).await
                {
                    // Enabled by an answer that was lost.
                    if !passing(&problem) {
                        break;
                    }
                    world.shared.sleep(200).await;
                }
            }
            _ => {
                if world
                    .engine
                    .access
                    .rotate_tool_secret(&person, contracts::subscription::RotateToolSecret {})
                    .await
                    .is_ok()
                {
                    world.invariants.storm("secret: rotated");
                }
            }
        }
    }
}

// After the storm nothing stays frozen: a freeze may have come after its thaw.
async fn restorer(world: Arc<World>) {
    let mut pause = 60_000;
    loop {
        world.shared.sleep(pause).await;
        if !world.shared.is_calm() {
            continue;
        }
        pause = (pause * 2).min(20 * 60_000);
        let person = world.person("operator");
        let Ok(frozen) = world.engine.limits.freezes(&person, EmptyQuery {}).await else {
            continue;
        };
        for freeze in frozen.items.iter().filter_map(contracts::Open::known).cloned() {
            let lift = SetFreeze {
                scope: freeze.scope,
                key: freeze.key,
                frozen: false,
                force: true,
                reason: None,
            };
            let _ = world.engine.limits.set_freeze(&person, lift).await;
        }
    }
}

// Minutes to a day, forward and back.
async fn clock(world: Arc<World>) {
    for _ in 0..1 + world.shared.pick(3) {
        world.shared.sleep(1 + world.shared.pick(240_000) as u64).await;
        if world.shared.is_calm() {
            return;
        }
        let most = [5 * 60_000, 3_600_000, 24 * 3_600_000][world.shared.pick(3)];
        let by = 60_000 + world.shared.pick(most - 60_000) as i64;
        if world.shared.one_in(2) {
            world.invariants.storm("clock: set forward");
            world.shared.jump(by);
        } else {
            world.invariants.storm("clock: set back");
            world.shared.jump(-by);
        }
    }
}

async fn mistyper(world: Arc<World>) {
    for _ in 0..4 {
        world.shared.sleep(1 + world.shared.pick(200_000) as u64).await;
        let one = world.shared.pick(10);
        mistype(&world, one).await;
    }
}

// A name that does not exist is refused with the nearest, whoever says it and wherever.
async fn mistype(world: &World, which: usize) {
    let (engine, person) = (&world.engine, world.person("person"));
    let freeze = |scope, key: &str| SetFreeze {
        scope,
        key: Some(key.into()),
        frozen: true,
        force: false,
        reason: None,
    };
    match which {
        0 => refused(
            world,
            "put",
            engine.limits.set_freeze(&person, freeze(FreezeScope::Operation, "tool/putt")).await,
        ),
        1 => refused(
            world,
            SKILL,
            engine.limits.set_freeze(&person, freeze(FreezeScope::Skill, "tol")).await,
        ),
        2 => refused(
            world,
            "agent",
            engine.limits.set_freeze(&person, freeze(FreezeScope::Actor, "agemt")).await,
        ),
        3 => {
            let off = DisableSkill { skill_key: "tol".into(), version: None, reason: None };
            refused(world, SKILL, engine.skills.disable_skill(&person, off).await);
        }
        4 => {
            let grants = BTreeSet::from(["control-plane.execution.reed".to_owned()]);
            let actor = Some(actor(ActorKind::Agent, "other"));
            let key = CreateKey { actor, person: None, grants, expires_at: None };
            refused(
                world,
                "control-plane.execution.read",
                engine.access.create_key(&person, key).await,
            );
        }
        5 => {
            let meter = Meter {
                id: "m".into(),
                scope: MeterScope::Workspace,
                measure: Measure::Steps,
                window_seconds: 60,
                limit: Some(0),
                only: vec!["tool/pai".into()],
            };
            let budgets = Budgets { plan: None, meters: vec![meter] };
            let budgets = SetBudgets { budgets, force: false, reason: None };
            refused(world, "pai", engine.limits.set_budgets(&person, budgets).await);
        }
        6 => {
            let policies = hasty()
                + "@id(\"x\") forbid (principal, action == Action::\"tool/paye\", resource);";
            let policy =
                ActivatePolicy { policies, note: None, dry_run: false, backtest_days: Some(0) };
            refused(world, "paye", engine.policies.activate_policy(&person, policy).await);
        }
        7 => {
            let deciders =
                SetDeciders { services: BTreeSet::from(["agemt".to_owned()]), reason: None };
            refused(world, "agent", engine.access.set_deciders(&person, deciders).await);
        }
        8 => {
            let list =
                ListExecutions { actor_id: Some("agemt".into()), ..ListExecutions::default() };
            refused(world, "agent", engine.queries.list(&person, list).await);
            let key = RevokeKey { key_id: "0123456789ab".into() };
            refused(world, "0123456789ab", engine.access.revoke_key(&person, key).await);
        }
        _ => mistype_in_draft(world, &person).await,
    }
}

// A draft that names an operation that does not exist is rejected with the nearest.
async fn mistype_in_draft(world: &World, person: &Caller) {
    let draft = json!({ "steps": [{ "id": "a", "use": "tool/putt", "with": {} }] });
    let draft: Draft = serde_json::from_value(draft).unwrap();
    let request = SubmitIntent {
        text: "a name mistyped".into(),
        draft: Some(draft),
        playbook: None,
        mode: Default::default(),
        channel_key: None,
        metadata: None,
        trace_id: None,
        workspace_id: None,
        on_behalf_of: None,
    };
    let Ok(answer) = world.engine.intents.submit(person, request).await else { return };
    let get = GetExecution {
        execution_id: answer.execution_id,
        wait_seconds: None,
        include_plan: false,
        include_view: None,
    };
    let Ok(found) = world.engine.queries.get(person, get).await else { return };
    let said = format!("{:?}", found.execution.reasons);
    let named = found.execution.status == contracts::query::ExecutionStatus::Rejected
        && (said.contains("put") || said.contains(SKILL));
    world.invariants.storm("name: unknown");
    world.invariants.check("unknown-names-are-refused", named, || {
        format!("{}: {said}", found.execution.status)
    });
}

fn refused<T: std::fmt::Debug>(world: &World, near: &str, outcome: Result<T, Problem>) {
    if outcome.as_ref().is_err_and(passing) {
        return;
    }
    world.invariants.storm("name: unknown");
    let named = outcome.as_ref().err().is_some_and(|problem| {
        let issues = problem.issues.iter().map(|issue| issue.message.as_str());
        [problem.detail.as_str()].into_iter().chain(issues).any(|text| text.contains(near))
    });
    world
        .invariants
        .check("unknown-names-are-refused", named, || format!("near `{near}`: {outcome:?}"));
}
