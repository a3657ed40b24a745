//! People of an execution: they decide, pause, cancel, resolve unknown outcomes, and give up what
//! cannot end.

use crate::{
    plans::marker,
    ports::zero,
    run::World,
    tools::{looks_like_ours, own_key},
};
use contracts::{
    ExecutionId, Open,
    approval::WithdrawVote,
    command::*,
    event::{ActorKind, BlockReason, Purpose, Resolution},
    query::{ApprovalView, ExecutionView, GetExecution, StepView},
    status::{ApprovalStatus, ExecutionStatus, StepStatus},
};
use cs_core::canonical;
use engine::{Caller, Steer, actor};
use serde_json::json;
use std::sync::Arc;

/// Undoing that failed so often is given up.
const UNDO_AGAIN_MAX: u32 = 2;

pub(crate) async fn watch_over(world: Arc<World>, id: ExecutionId) {
    let (mut pause, mut before) = (5_000, None);
    loop {
        let stormy = !world.shared.is_calm();
        world.shared.sleep(if stormy { 1 + world.shared.pick(60_000) as u64 } else { pause }).await;
        let person = world.person("grace");
        let include_plan = world.shared.pick(4) == 0;
        let request = GetExecution {
            execution_id: id.clone(),
            wait_seconds: None,
            include_plan,
            include_view: None,
        };
        let Ok(answer) = world.engine.queries.get(&person, request).await else { continue };
        let view = answer.execution;
        remember(&world, &id, &view);
        let ended =
            [ExecutionStatus::Completed, ExecutionStatus::Rejected, ExecutionStatus::Cancelled];
        if ended.iter().any(|ended| view.status == *ended) {
            return;
        }
        if view.status == ExecutionStatus::Failed {
            if !world.shared.one_in(2) {
                return;
            }
            let request = RetryExecution { execution_id: id.clone(), reason: None, step_id: None };
            let _ = world.engine.controls.retry(&person, request).await;
            continue;
        }
        act(&world, &person, &id, &view).await;
        // Who sees nothing new looks again later.
        let now = Some((view.status.clone(), view.updated_at));
        let waits =
            view.approvals.iter().any(|approval| approval.status == ApprovalStatus::Requested);
        pause = if now == before && !waits { (pause * 2).min(20 * 60_000) } else { 5_000 };
        before = now;
    }
}

// What could be read is known from now on, to whoever means ill as well.
fn remember(world: &World, id: &ExecutionId, view: &ExecutionView) {
    let mut known = world.known.lock().unwrap();
    let plan = view.plan.iter().filter_map(Open::known).flat_map(|plan| &plan.steps);
    let mut digests: Vec<String> =
        plan.flat_map(|step| step.seals.values().map(ToString::to_string)).collect();
    digests.extend(
        view.steps.iter().filter_map(|step| step.output_digest.as_ref()).map(ToString::to_string),
    );
    for digest in digests {
        if known.len() < 30 && !known.contains(&digest) {
            known.push(digest);
        }
    }
    for approval in
        view.approvals.iter().filter(|approval| approval.status == ApprovalStatus::Requested)
    {
        let Some(shown) = approval.view.as_ref().and_then(Open::known) else {
            world.invariants.broken("seen-is-signed", "an open approval shows nothing");
            continue;
        };
        let digest = canonical::digest(shown).unwrap();
        let invariants = &world.invariants;
        invariants.check("seen-is-signed", digest == approval.view_digest, || {
            format!("{id}: another view than is signed")
        });
        let asked = world.watch.asked(id);
        let who = shown.requester.actor == actor(ActorKind::Agent, "agent")
            && shown.requester.key_id.as_ref() == asked.as_ref().map(|asked| &asked.key);
        invariants.check("seen-is-signed", who, || {
            format!("{id}: it does not say who asks: {:?}", shown.requester)
        });
        // Whatever a call of the step that is decided on moves is there: an amount, or that it
        // could not be counted.
        for step in shown.steps.iter().filter(|_| approval.step_id.is_some()) {
            let moves = crate::plans::operation(&step.call.operation).money.is_some();
            let touches = &step.call.touches;
            let told = !moves || !touches.money.is_empty() || !touches.unmeasured.is_empty();
            invariants.check("seen-is-signed", told, || {
                format!("{id}: {} does not say how much", step.step_id)
            });
        }
        world.shown.lock().unwrap().insert((id.clone(), digest));
    }
}

async fn act(world: &World, person: &Caller, id: &ExecutionId, view: &ExecutionView) {
    let engine = &world.engine;
    let steer = || SteerExecution { execution_id: id.clone(), reason: None };
    let cancel =
        |compensate| CancelExecution { execution_id: id.clone(), reason: None, compensate };
    if view.status == ExecutionStatus::Paused {
        let _ = engine.controls.steer(person, steer(), Steer::Resume).await;
        return;
    }
    if world.shared.one_in(25) {
        let _ = engine.controls.steer(person, steer(), Steer::Pause).await;
        return;
    }
    if world.shared.one_in(20) {
        let compensate = !world.shared.one_in(3);
        let _ = engine.controls.cancel(person, cancel(compensate)).await;
        return;
    }
    if world.shared.one_in(80) {
        let _ = engine.controls.steer(person, steer(), Steer::Abort).await;
        return;
    }
    let waits = |reason: BlockReason| {
        view.steps.iter().any(|step| step.waits_for.as_ref().is_some_and(|why| *why == reason))
    };
    // Nobody gives a key back: what waits for it is ended, undone where that still goes.
    if waits(BlockReason::RequesterRevoked) && !world.shared.one_in(2) {
        if view.status == ExecutionStatus::Cancelling
            || engine.controls.cancel(person, cancel(world.shared.pick(2) == 0)).await.is_err()
        {
            let _ = engine.controls.steer(person, steer(), Steer::Abort).await;
        }
        return;
    }
    for step in view
        .steps
        .iter()
        .filter(|step| step.status == StepStatus::InDoubt || step.status == StepStatus::Stuck)
    {
        resolve(world, person, id, step, view).await;
    }
    let open: Vec<_> = view
        .approvals
        .iter()
        .filter(|approval| approval.status == ApprovalStatus::Requested)
        .collect();
    if !open.is_empty() && !world.shared.one_in(4) {
        for approval in open {
            decide(world, person, id, approval).await;
        }
    } else if view.status == ExecutionStatus::Blocked {
        if waits(BlockReason::ApprovalExpired) {
            let request = RetryExecution { execution_id: id.clone(), reason: None, step_id: None };
            let _ = engine.controls.retry(person, request).await;
        } else if waits(BlockReason::BudgetExceeded) {
            let _ = engine.controls.cancel(person, cancel(world.shared.pick(2) == 0)).await;
        }
    }
}

// A person decides on one open request, mostly on what is shown.
async fn decide(world: &World, person: &Caller, id: &ExecutionId, approval: &ApprovalView) {
    let (engine, invariants) = (&world.engine, &world.invariants);
    if world.shared.one_in(20) {
        let request = RejectExecution {
            execution_id: id.clone(),
            step_id: approval.step_id.clone(),
            view_digest: Some(approval.view_digest.clone()),
            reason: "no".into(),
        };
        let _ = engine.approvals.reject(person, request).await;
        return;
    }
    let (stale, unseen) = (world.shared.one_in(10), world.shared.one_in(10));
    let request = ApproveExecution {
        execution_id: id.clone(),
        step_id: approval.step_id.clone(),
        binding_digest: if stale { zero() } else { approval.binding_digest.clone() },
        view_digest: Some(if unseen { zero() } else { approval.view_digest.clone() }),
        note: None,
    };
    // Who asked, as a service and as a person, and who made the key that asked.
    let mut own = person.clone();
    own.actor = actor(
        if world.shared.pick(2) == 0 { ActorKind::Service } else { ActorKind::Human },
        "agent",
    );
    for (who, caller) in [("the requester", own), ("the maker of its key", world.person("person"))]
    {
        let outcome = engine.approvals.approve(&caller, request.clone()).await;
        invariants
            .check("approval-binds-digest", outcome.is_err(), || format!("{id}: {who} approved"));
    }
    let key = format!("approve-{}", world.shared.pick(usize::MAX));
    let person = Caller { idempotency_key: Some(key), ..person.clone() };
    let first = engine.approvals.approve(&person, request.clone()).await;
    if stale {
        invariants.check("approval-binds-digest", first.is_err(), || {
            format!("{id}: a wrong binding was approved")
        });
    }
    if unseen {
        invariants.check("seen-is-signed", first.is_err(), || {
            format!("{id}: a view that was not shown was approved")
        });
    }
    let again = engine.approvals.approve(&person, request.clone()).await;
    let voted = first.is_ok();
    if let (Ok(first), Ok(again)) = (first, again) {
        invariants.check("same-command-twice", first == again, || {
            format!("{id}: a repeated approval answered otherwise")
        });
    }
    if voted {
        others(world, id, approval, &request).await;
    }
}

// The same person under an alias has no second voice; another person has one; and sometimes
// somebody takes a vote back before the other one comes.
async fn others(
    world: &World,
    id: &ExecutionId,
    approval: &ApprovalView,
    request: &ApproveExecution,
) {
    let (engine, shared) = (&world.engine, &world.shared);
    let alias = engine.approvals.approve(&world.person("grace-2"), request.clone()).await;
    world.invariants.check("approval-binds-digest", alias.is_err(), || {
        format!("{id}: one person decided twice")
    });
    if shared.one_in(6) {
        let request = WithdrawVote {
            execution_id: id.clone(),
            approval_id: approval.approval_id.clone(),
            reason: None,
        };
        let _ = engine.approvals.withdraw(&world.person("grace"), request).await;
        world.invariants.storm("vote: withdrawn");
    }
    for other in ["heidi", "ivan"] {
        if !shared.one_in(3) {
            let _ = engine.approvals.approve(&world.person(other), request.clone()).await;
        }
    }
}

// A person looks at the tool's own books and says what became of the call.
async fn resolve(
    world: &World,
    person: &Caller,
    id: &ExecutionId,
    step: &StepView,
    view: &ExecutionView,
) {
    let stuck = step.status == StepStatus::Stuck;
    let asked = view.approvals.iter().any(|approval| {
        approval.status == ApprovalStatus::Requested
            && approval.step_id.as_ref() == Some(&step.step_id)
    });
    if stuck && asked {
        return; // people decide whether it may be undone
    }
    let of = (id.clone(), step.step_id.to_string());
    let purpose = if stuck { Purpose::Compensate } else { Purpose::Run };
    let key =
        own_key(id, view.plan_digest.as_ref().unwrap().as_str(), step.step_id.as_str(), purpose);
    let happened = world.done.lock().unwrap().effects.iter().any(|((_, effect), _)| *effect == key);
    let again = world.undone_again.lock().unwrap().get(&of).copied().unwrap_or(0);
    // What would undo it exceeds a budget, and will each time; or it has failed often enough.
    let hopeless = step.waits_for.as_ref().is_some_and(|why| *why == BlockReason::BudgetExceeded)
        || again >= UNDO_AGAIN_MAX;
    let (outcome, evidence) = match (stuck, happened) {
        (true, true) => (Resolution::Completed, None),
        (true, false) if hopeless => (Resolution::Failed, None),
        (true, false) => (Resolution::Retry, None),
        (false, true) => {
            let known = world.known.lock().unwrap().clone();
            let evidence = json!({ "id": "by hand", "body": marker(&world.shared, &known),
                "hidden": "S3CRET-HAND" });
            (Resolution::Completed, Some(evidence))
        }
        (false, false) if world.shared.one_in(2) => (Resolution::Retry, None),
        (false, false) => (Resolution::Failed, None),
    };
    if let Some(evidence) = &evidence {
        if looks_like_ours(evidence) {
            world.invariants.storm("marker: in a person's evidence");
        }
        world.done.lock().unwrap().said.entry(of.clone()).or_default().push(evidence.clone());
    }
    if outcome == Resolution::Retry {
        if stuck {
            *world.undone_again.lock().unwrap().entry(of).or_default() += 1;
        } else {
            world.retried.lock().unwrap().insert(of);
        }
    }
    let request =
        ResolveStep { execution_id: id.clone(), step_id: step.step_id.clone(), outcome, evidence };
    let resolved = world.engine.controls.resolve(person, request).await.is_ok();
    if resolved && stuck {
        match outcome {
            Resolution::Retry => world.invariants.storm("undo: tried again by people"),
            Resolution::Failed => world.invariants.storm("undo: given up by people"),
            Resolution::Completed => {}
        }
    }
}
