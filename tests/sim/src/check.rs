//! The invariants of the design, each by its name, on everything a run left behind.

use crate::run::{METER_LIMIT, METER_SECONDS, World, caller};
use contracts::{
    ExecutionId,
    event::{ActorKind, Entry, Event, Purpose, Resolution},
    query::{GetExecution, GetTrace, ReplayTrace},
    verdict::{Effect, RiskTier},
};
use cs_core::execution::StepState;
use engine::{HeadRecord, keys};
use futures_util::FutureExt as _;
use std::collections::{BTreeMap, BTreeSet};

/// Statuses of all executions, straight from the table.
pub(crate) fn statuses(world: &World) -> Vec<String> {
    let dump = world.table.inner.dump();
    let executions = world.executions.lock().unwrap();
    executions
        .iter()
        .map(|id| {
            let item = &dump[&keys::head(&world.workspace, id)];
            let head: HeadRecord = serde_json::from_slice(&item.body).unwrap();
            head.execution.status.as_str().to_owned()
        })
        .collect()
}

// Polls until ready: nothing sleeps when all is calm and nobody else runs.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    for _ in 0..10_000 {
        if let Some(value) = future.as_mut().now_or_never() {
            return value;
        }
    }
    panic!("a query does not end");
}

pub(crate) fn all(world: &World) {
    // No secrets in evidence: a sensitive value stands nowhere in clear, not even in the vault.
    for (key, item) in world.table.inner.dump() {
        if item.body.windows(7).any(|window| window == b"S3CRET-") {
            world.findings.add("no-secrets-in-evidence", format!("{}/{}", key.partition, key.sort));
        }
    }
    let before = *world.table.commits.lock().unwrap();
    let executions = world.executions.lock().unwrap().clone();
    for id in &executions {
        execution(world, id);
    }
    metered(world);
    // Get never mutates: all the queries above committed nothing.
    if *world.table.commits.lock().unwrap() != before {
        world.findings.add("get-never-mutates", "a query committed");
    }
}

// Claim is one transaction: within no window more was reserved, and not given back before, than the meter allows.
fn metered(world: &World) {
    let mut claims: Vec<(i64, i64, u64)> = Vec::new();
    for id in world.executions.lock().unwrap().iter() {
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        for (key, item) in world.table.inner.dump() {
            if key.partition != keys::execution(&world.workspace, id) || !key.sort.starts_with("e#") {
                continue;
            }
            let entry: Entry = serde_json::from_slice(&item.body).unwrap();
            let back = match &entry.event {
                Event::StepStarted(data) => {
                    for one in &data.reserved {
                        open.insert(data.step_id.to_string(), claims.len());
                        claims.push((entry.at.ms(), i64::MAX, one.amount));
                    }
                    None
                }
                Event::StepFailed(data) if data.released => Some(&data.step_id),
                Event::StepResolved(data) if data.outcome == Resolution::Failed => Some(&data.step_id),
                _ => None,
            };
            if let Some(claim) = back.and_then(|id| open.remove(id.as_str())).and_then(|at| claims.get_mut(at)) {
                claim.1 = entry.at.ms();
            }
        }
    }
    let window = METER_SECONDS as i64 * 1_000;
    for (at, _, _) in &claims {
        let counts = |(then, back, _): &&(i64, i64, u64)| *then <= *at && *then > *at - window && *back > *at;
        let sum: u64 = claims.iter().filter(counts).map(|(_, _, amount)| amount).sum();
        if sum > METER_LIMIT {
            world.findings.add("claim-is-one-transaction", format!("{sum} of {METER_LIMIT} within a window"));
        }
    }
}

fn execution(world: &World, id: &ExecutionId) {
    let add = |invariant: &str, what: String| world.findings.add(invariant, format!("{id}: {what}"));
    let auditor = caller(world, ActorKind::Human, "auditor", None);
    let mut stranger = auditor.clone();
    stranger.workspace = "other".parse().unwrap();
    let get = GetExecution { execution_id: id.clone(), wait_seconds: None, include_plan: true, include_view: None };
    if now(world.engine.get(&stranger, get.clone())).map_err(|problem| problem.status).err() != Some(404) {
        add("tenant-walls", "another workspace sees it".into());
    }
    match now(world.engine.replay(&auditor, ReplayTrace { execution_id: id.clone() })) {
        Ok(replay) => {
            for difference in replay.differences {
                let invariant = match difference.check.as_str() {
                    "chain" => "append-only",
                    "plan" => "same-input-same-plan",
                    _ => "replayable",
                };
                add(invariant, format!("{difference:?}"));
            }
        }
        Err(problem) => add("replayable", format!("{problem:?}")),
    }
    let trace = GetTrace { execution_id: id.clone(), include_payloads: false, from_seq: None };
    let trace = now(world.engine.trace(&auditor, trace)).unwrap();
    let entries: Vec<Entry> =
        trace.entries.into_iter().map(|entry| serde_json::from_value(entry.event).unwrap()).collect();
    let view = now(world.engine.get(&auditor, get)).unwrap().execution;
    if std::env::var_os("SIM_TRACE").is_some() {
        for entry in &entries {
            println!(
                "{} {} {} {}",
                entry.seq,
                entry.at,
                entry.actor.id,
                serde_json::to_string(&entry.event).unwrap()
            );
        }
    }
    let Some(plan) = view.plan.clone() else { return };
    let planned: BTreeMap<&str, _> = plan.steps.iter().map(|step| (step.id.as_str(), step)).collect();

    let mut granted = BTreeSet::new();
    let mut consumed = BTreeSet::new();
    let mut in_flight: BTreeMap<String, (u64, u32)> = BTreeMap::new();
    let mut epochs = 0;
    let mut verified = false;
    for entry in &entries {
        let known = ["agent", "grace", "countersign"];
        if !known.contains(&entry.actor.id.as_str()) && entry.actor.kind != ActorKind::Tool {
            add("identity-from-transport", format!("{} did {}", entry.actor.id, entry.event.key()));
        }
        match &entry.event {
            Event::PlanVerified(_) => verified = true,
            Event::ApprovalGranted(data) => {
                granted.insert(data.approval_id.clone());
            }
            Event::StepStarted(data) => {
                let step = planned[data.step_id.as_str()];
                if !verified {
                    add("fail-closed", format!("{} began before a verdict", data.step_id));
                }
                if data.purpose == Purpose::Run && data.attempt == 1 {
                    let must = step.risk_tier >= RiskTier::High;
                    if must && data.approval_id.is_none() {
                        add("high-risk-never-autonomous", data.step_id.to_string());
                    }
                }
                if let Some(approval) = &data.approval_id {
                    if !granted.contains(approval) {
                        add("approval-binds-digest", format!("{} used what was not granted", data.step_id));
                    }
                    if !consumed.insert((approval.clone(), data.step_id.clone())) {
                        add("approval-binds-digest", format!("{} used an approval twice", data.step_id));
                    }
                }
                if data.fence < epochs {
                    add("fenced", format!("{} was claimed by a stale worker", data.step_id));
                }
                epochs = data.fence;
                if in_flight.insert(data.step_id.to_string(), (data.fence, data.attempt)).is_some() {
                    add("fenced", format!("{} was claimed while in flight", data.step_id));
                }
            }
            Event::StepCompleted(data) => {
                let resolved = in_flight.remove(data.step_id.as_str());
                if resolved.is_none() {
                    add("fenced", format!("{} completed without a claim", data.step_id));
                }
            }
            Event::StepFailed(data) => {
                in_flight.remove(data.step_id.as_str());
            }
            Event::StepRetried(data) => {
                in_flight.remove(data.step_id.as_str());
            }
            Event::StepCompensated(data) => {
                in_flight.remove(data.step_id.as_str());
            }
            Event::StepBlocked(data) if data.reason != contracts::event::BlockReason::AwaitingCallback => {
                if let Some(step) = &data.step_id {
                    in_flight.remove(step.as_str());
                }
            }
            _ => {}
        }
    }
    if let Some(budget) = plan.budget.as_ref().and_then(|budget| budget.writes) {
        // What a claim reserved counts until it is known to have had no effect.
        let mut holds: BTreeMap<&str, u64> = BTreeMap::new();
        let mut spent = 0;
        for entry in &entries {
            match &entry.event {
                Event::StepStarted(data) if data.spend.writes > 0 => {
                    holds.insert(data.step_id.as_str(), data.spend.writes);
                }
                Event::StepFailed(data) if data.released => drop(holds.remove(data.step_id.as_str())),
                Event::StepResolved(data) if data.outcome == Resolution::Failed => {
                    holds.remove(data.step_id.as_str());
                }
                _ => {}
            }
            spent = spent.max(holds.values().sum::<u64>());
        }
        if spent > budget {
            add("claim-is-one-transaction", format!("spent {spent} of {budget} writes"));
        }
    }
    effects(world, id, &view, &entries);
}

// What the tools say against what the trace says.
fn effects(world: &World, id: &ExecutionId, view: &contracts::query::ExecutionView, entries: &[Entry]) {
    let add = |invariant: &str, what: String| world.findings.add(invariant, format!("{id}: {what}"));
    let done = world.done.lock().unwrap();
    let Some(plan) = &view.plan else { return };
    let digest = view.plan_digest.as_ref().unwrap();
    for (step, planned) in view.steps.iter().zip(&plan.steps) {
        let key = cs_core::canonical::digest_parts(&[
            id.as_str().as_bytes(),
            digest.as_str().as_bytes(),
            step.step_id.as_str().as_bytes(),
        ]);
        let count: u32 =
            done.effects.iter().filter(|((_, effect), _)| effect == key.hex()).map(|(_, count)| *count).sum();
        let by_hand = world.retried.lock().unwrap().contains(&(id.clone(), step.step_id.to_string()));
        let read = planned.call.effect == Effect::Read;
        let resolved = entries.iter().any(|entry| match &entry.event {
            Event::StepResolved(data) => data.step_id == step.step_id && data.outcome == Resolution::Failed,
            _ => false,
        });
        match planned.call.effect {
            Effect::Read => {}
            Effect::Idempotent if count > 1 => {
                add("same-command-twice", format!("{} took effect {count} times", step.step_id))
            }
            // A person who says `retry` of a call that is still on its way to a slow tool takes that on himself.
            Effect::NonIdempotent if count > 1 && !by_hand => {
                let probed = planned.probe.is_some() && entries.iter().any(|entry| matches!(&entry.event,
                    Event::StepRetried(data) if data.step_id == step.step_id && data.code.as_deref() == Some("NOT_DONE")));
                if !probed {
                    add("unknown-is-not-failed", format!("{} was silently repeated: {count} effects", step.step_id));
                }
            }
            Effect::Idempotent | Effect::NonIdempotent => {}
        }
        let completed =
            step.status == StepState::Completed.as_str() || step.status == StepState::Compensated.as_str();
        if completed && !read && count == 0 {
            add("no-effect-without-plan", format!("{} completed without an effect", step.step_id));
        }
        let failed = step.status == StepState::Failed.as_str() && planned.call.effect == Effect::NonIdempotent;
        if failed && count > 0 && !resolved && !done.refused.contains(key.hex()) {
            add(
                "unknown-is-not-failed",
                format!("{} is failed and took effect: {:?} {:?}", step.step_id, step.code, step.message),
            );
        }
    }
}
