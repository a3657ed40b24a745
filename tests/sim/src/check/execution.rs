//! What one execution left behind: its trace, its steps and the effects of its calls.

use super::{money::budgets, *};
use crate::run::DECIDERS;
use contracts::{
    approval::Decision,
    event::{ExecutionEvent, Requirement, StepStarted},
};

pub(super) fn execution(world: &World, id: &ExecutionId, dump: &Dump) {
    let hold = |invariant: &'static str, holds: bool, what: &dyn Fn() -> String| {
        world.invariants.check(invariant, holds, || format!("{id}: {}", what()));
    };
    let auditor = world.person("auditor");
    let stranger = Caller { workspace: "other".parse().unwrap(), ..auditor.clone() };
    let get = GetExecution {
        execution_id: id.clone(),
        wait_seconds: None,
        include_plan: true,
        include_view: None,
    };
    let trace = GetTrace { execution_id: id.clone(), include_payloads: true, from_seq: None };
    let cancel = CancelExecution { execution_id: id.clone(), reason: None, compensate: false };
    let outcomes = [
        now(world.engine.queries.get(&stranger, get.clone())).map(drop),
        now(world.engine.queries.trace(&stranger, trace.clone())).map(drop),
        now(world.engine.replays.replay(&stranger, ReplayTrace { execution_id: id.clone() }))
            .map(drop),
        now(world.engine.controls.cancel(&stranger, cancel)).map(drop),
    ];
    for outcome in outcomes {
        let hidden = outcome.as_ref().is_err_and(|problem| problem.status == 404);
        hold("tenant-walls", hidden, &|| format!("another workspace reaches it: {outcome:?}"));
    }
    let replay =
        now(world.engine.replays.replay(&auditor, ReplayTrace { execution_id: id.clone() }))
            .unwrap();
    for (check, invariant) in
        [("chain", "append-only"), ("plan", "same-input-same-plan"), ("", "replayable")]
    {
        let others = |named: &str| !matches!(named, "chain" | "plan");
        let mine = |named: &str| if check.is_empty() { others(named) } else { named == check };
        let found: Vec<_> = replay.differences.iter().filter(|one| mine(&one.check)).collect();
        hold(invariant, found.is_empty(), &|| format!("{found:?}"));
    }
    let told = now(world.engine.queries.trace(&auditor, trace)).unwrap();
    let entries = chain(
        world,
        &partition(dump, &keys::execution(&world.workspace, id), keys::EVENT),
        id.as_str(),
    );
    hold("append-only", told.entries.len() == entries.len(), &|| {
        "its trace is told in part".into()
    });
    let view = now(world.engine.queries.get(&auditor, get)).unwrap().execution;
    if std::env::var_os("SIM_TRACE").is_some() {
        for entry in &entries {
            let event = serde_json::to_string(&entry.event).unwrap();
            println!("{} {} {} {event}", entry.seq, entry.at, entry.actor.id);
        }
    }
    let asked = world.watch.asked(id).unwrap();
    for entry in &entries {
        let (actor, key) = (&entry.actor, entry.key_id.as_ref());
        let known = match (actor.kind, actor.id.as_str()) {
            (ActorKind::Agent, "agent") => key == Some(&asked.key),
            (ActorKind::Human, id) => DECIDERS.contains(&id),
            (ActorKind::Service, "countersign") => true,
            (ActorKind::Tool, _) => entry.channel.as_deref() == Some("warrant"),
            _ => false,
        };
        hold("identity-from-transport", known, &|| {
            format!("{actor:?} with {key:?} did {}", entry.event.key())
        });
        if let Event::Execution(ExecutionEvent::ApprovalGranted(data)) = &entry.event {
            let seen =
                world.shown.lock().unwrap().contains(&(id.clone(), data.view_digest.clone()));
            hold("seen-is-signed", seen, &|| "approved what nobody was shown".into());
        }
    }
    storms(world, id, &entries);
    quorum(world, id, &entries);
    started(world, id, &entries);
    budgets(world, id, &entries);
    effects(world, id, &view, &entries);
}

// What was granted had the voices that were asked for, each of another person, and none of them
// taken back.
fn quorum(world: &World, id: &ExecutionId, entries: &[Entry]) {
    let mut asked: BTreeMap<&str, &[Requirement]> = BTreeMap::new();
    let mut agreed: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::Execution(ExecutionEvent::ApprovalRequested(data)) => {
                asked.insert(data.approval_id.as_str(), &data.requirement);
            }
            Event::Execution(ExecutionEvent::ApprovalVoted(data))
                if data.decision == Decision::Approve =>
            {
                let person = data.actor_id.as_str();
                let votes = agreed.entry(data.approval_id.as_str()).or_default();
                votes.extend(data.groups.iter().map(|group| (group.as_str(), person)));
            }
            Event::Execution(ExecutionEvent::ApprovalWithdrawn(data)) => {
                let votes = agreed.entry(data.approval_id.as_str()).or_default();
                votes.retain(|(_, person)| *person != data.actor_id);
            }
            Event::Execution(ExecutionEvent::ApprovalGranted(data)) => {
                let (request, none) = (data.approval_id.as_str(), BTreeSet::new());
                let votes = agreed.get(request).unwrap_or(&none);
                let given = |group: &str| votes.iter().filter(|(own, _)| *own == group).count();
                let wanted = asked.get(request).copied().unwrap_or_default();
                let met = wanted.iter().all(|one| given(&one.group) >= one.count as usize);
                world.invariants.check("approval-binds-digest", met && !wanted.is_empty(), || {
                    format!("{id}: granted by {votes:?}, asked of {wanted:?}")
                });
            }
            _ => {}
        }
    }
}

// Claims against what came before them.
fn started(world: &World, id: &ExecutionId, entries: &[Entry]) {
    let hold = |invariant: &'static str, holds: bool, what: &dyn Fn() -> String| {
        world.invariants.check(invariant, holds, || format!("{id}: {}", what()));
    };
    let (mut granted, mut consumed) = (BTreeSet::new(), BTreeSet::new());
    let mut in_flight: BTreeSet<String> = BTreeSet::new();
    // Steps one of whose claims consumed an approval that still holds for the next; steps that
    // failed.
    let (mut approved, mut failed): (BTreeSet<String>, BTreeSet<String>) = Default::default();
    let (mut epochs, mut verified) = (0, false);
    for entry in entries {
        let step = entry.event.step_id().map(ToString::to_string).unwrap_or_default();
        match &entry.event {
            Event::Execution(ExecutionEvent::PlanVerified(_)) => verified = true,
            Event::Execution(ExecutionEvent::PlanRejected(_)) => {
                (verified, in_flight) = (false, BTreeSet::new())
            }
            Event::Execution(ExecutionEvent::ExecutionFailed(_)) => in_flight.clear(),
            Event::Execution(ExecutionEvent::ApprovalGranted(data)) => {
                granted.insert(data.approval_id.clone());
            }
            Event::Execution(ExecutionEvent::StepStarted(data)) => {
                let purpose = data.purpose.as_str();
                hold("fail-closed", verified, &|| {
                    format!("the {purpose} of {step} began without a verdict")
                });
                if let Some(approval) = &data.approval_id {
                    let given = granted.contains(approval);
                    let once = consumed.insert((approval.clone(), step.clone()));
                    hold("approval-binds-digest", given, &|| {
                        format!("{step} used what was not granted")
                    });
                    hold("approval-binds-digest", once, &|| {
                        format!("{step} used an approval twice")
                    });
                    approved.insert(step.clone());
                }
                high_risk_is_approved(world, id, data, approved.contains(&step));
                hold("fenced", data.fence >= epochs, &|| {
                    format!("{step} was claimed by a stale worker")
                });
                epochs = data.fence;
                let free = in_flight.insert(step.clone());
                hold("fenced", free, &|| format!("{step} was claimed while in flight"));
            }
            Event::Execution(ExecutionEvent::StepCompleted(_)) => {
                let claimed = in_flight.remove(&step);
                hold("fenced", claimed, &|| format!("{step} completed without a claim"));
            }
            Event::Execution(ExecutionEvent::StepFailed(_)) => {
                in_flight.remove(&step);
                failed.insert(step);
            }
            Event::Execution(ExecutionEvent::StepRetried(data)) => {
                in_flight.remove(&step);
                if failed.remove(&step) && data.actor_id.is_some() {
                    approved.remove(&step);
                }
            }
            Event::Execution(ExecutionEvent::StepResolved(data)) => {
                if data.outcome == Resolution::Retry {
                    approved.remove(&step);
                }
                if data.outcome == Resolution::Failed {
                    failed.insert(step);
                }
            }
            Event::Execution(ExecutionEvent::StepCompensated(_)) => drop(in_flight.remove(&step)),
            Event::Execution(ExecutionEvent::StepBlocked(data))
                if data.reason != BlockReason::AwaitingCallback =>
            {
                in_flight.remove(&step);
            }
            _ => {}
        }
    }
}

// No call of the highest tier begins that no person approved.
fn high_risk_is_approved(world: &World, id: &ExecutionId, data: &StepStarted, approved: bool) {
    let called = world.watch.called(id, data.step_id.as_str(), data.purpose);
    if called.is_some_and(|called| called.tier == "high") {
        world.invariants.check("high-risk-never-autonomous", approved, || {
            format!("{id}: the {} of {}", data.purpose.as_str(), data.step_id)
        });
    }
}

fn storms(world: &World, id: &ExecutionId, entries: &[Entry]) {
    let storm = |name| world.invariants.storm(name);
    let (mut cancelled, mut called) = (false, BTreeSet::new());
    for entry in entries {
        let step = entry.event.step_id();
        match &entry.event {
            Event::Execution(ExecutionEvent::ExecutionCancelled(data)) => {
                cancelled |= data.compensate
            }
            Event::Execution(ExecutionEvent::StepStarted(data)) => {
                called.insert(data.step_id.clone());
                if data.purpose == Purpose::Compensate {
                    storm(if cancelled {
                        "undo: after a cancellation"
                    } else {
                        "undo: after a failure"
                    });
                }
            }
            Event::Execution(ExecutionEvent::StepCompensated(_)) => storm("undo: done"),
            Event::Execution(ExecutionEvent::StepBlocked(data)) => {
                let message = data.message.as_deref().unwrap_or_default();
                let frozen =
                    matches!(data.reason, BlockReason::Frozen | BlockReason::WorkspaceFrozen);
                let undo = data.purpose == Purpose::Compensate;
                match (data.reason, data.purpose) {
                    (_, Purpose::Run) if frozen => storm("freeze: held a run"),
                    (_, Purpose::Probe) if frozen => storm("freeze: held a probe"),
                    (_, Purpose::Compensate) if frozen => storm("undo: frozen"),
                    (BlockReason::RequesterRevoked, purpose) => {
                        if message.contains("expired") {
                            storm("key: expired");
                        }
                        storm(match purpose {
                            Purpose::Run if step.is_some_and(|step| called.contains(step)) => {
                                "key: gone before a further call"
                            }
                            Purpose::Run => "key: gone before a first call",
                            Purpose::Probe => "key: gone before a probe",
                            Purpose::Compensate => "key: gone before an undo",
                        });
                    }
                    (BlockReason::CompensationFailed, _) => {
                        storm("undo: stuck");
                        if message.contains("INPUT_MISSING") {
                            storm("undo: its input missing");
                        }
                    }
                    (BlockReason::BudgetExceeded, _) => {
                        if undo {
                            storm("undo: over budget");
                        }
                        if message.contains("cannot be measured") {
                            storm("unmeasured: refused where there is a limit");
                        } else if message.contains("money") {
                            storm("money: over its limit");
                        }
                    }
                    (BlockReason::UsageExceeded, _) if message.starts_with("money") => {
                        storm("money: over its limit")
                    }
                    (BlockReason::ApprovalRequired, Purpose::Compensate) => {
                        storm("undo: asks people")
                    }
                    _ => {}
                }
            }
            Event::Execution(ExecutionEvent::PlanRejected(data)) => {
                let said = data.reasons.join(" ");
                if said.contains("cannot be measured") {
                    storm("unmeasured: refused where there is a limit");
                } else if said.contains("money/") {
                    storm("money: over its limit");
                }
            }
            _ => {}
        }
    }
    let _ = id;
}

// What the tools say against what the trace says.
fn effects(world: &World, id: &ExecutionId, view: &ExecutionView, entries: &[Entry]) {
    let hold = |invariant: &'static str, holds: bool, what: &dyn Fn() -> String| {
        world.invariants.check(invariant, holds, || format!("{id}: {}", what()));
    };
    let done = world.done.lock().unwrap();
    let ran = entries
        .iter()
        .any(|entry| matches!(entry.event, Event::Execution(ExecutionEvent::ExecutionStarted(_))));
    hold("fail-closed", ran || !done.called.contains_key(id), &|| {
        "it was never started, and tools were called".into()
    });
    let (Some(digest), true) = (&view.plan_digest, ran) else { return };
    let undoes_failures = world.watch.asked(id).unwrap().draft["onFailure"] == "compensate";
    let cancelled_to_undo = |entry: &contracts::event::Entry| match &entry.event {
        Event::Execution(ExecutionEvent::ExecutionCancelled(data)) => data.compensate,
        _ => false,
    };
    let undoes = entries.iter().any(cancelled_to_undo);
    let over = ["completed", "failed", "cancelled", "rejected"]
        .contains(&view.status.to_string().as_str());
    for step in &view.steps {
        let key = own_key(id, digest.as_str(), step.step_id.as_str(), Purpose::Run);
        let effects = StepEffects {
            world,
            of: (id.clone(), step.step_id.to_string()),
            step,
            own: plans::operation(&step.operation),
            ran: done.count(&key),
            undone: done.count(&own_key(
                id,
                digest.as_str(),
                step.step_id.as_str(),
                Purpose::Compensate,
            )),
            refused: done.refused.contains(&key),
            entries,
        };
        effects.not_repeated();
        effects.recorded();
        let state = StepStatus::ALL
            .into_iter()
            .find(|state| state.as_str() == step.status.to_string())
            .unwrap();
        let under_way = matches!(state, StepStatus::Running | StepStatus::Compensating);
        hold("unknown-is-not-failed", !(over && under_way), &|| {
            format!("{} is {} in what has ended", step.step_id, step.status)
        });
        effects.ended(state, undoes_failures, undoes);
    }
}

/// What the tool of one step did, beside what the trace says of it.
struct StepEffects<'a> {
    world: &'a World,
    of: (ExecutionId, String),
    step: &'a contracts::query::StepView,
    own: &'static plans::Operation,
    /// How often its call took effect.
    ran: u32,
    undone: u32,
    /// Its tool refused its call.
    refused: bool,
    entries: &'a [Entry],
}

impl StepEffects<'_> {
    fn hold(&self, invariant: &'static str, holds: bool, what: &dyn Fn() -> String) {
        let (id, name) = &self.of;
        self.world.invariants.check(invariant, holds, || format!("{id}: {name} {}", what()));
    }

    // Whether a person said this of its outcome.
    fn said(&self, wanted: Resolution) -> bool {
        self.entries.iter().any(|entry| match &entry.event {
            Event::Execution(ExecutionEvent::StepResolved(data)) => {
                data.step_id == self.step.step_id && data.outcome == wanted
            }
            _ => false,
        })
    }

    // Whether a probe found that it had not been done.
    fn probed(&self) -> bool {
        self.own.probe.is_some()
            && self.entries.iter().any(|entry| {
                matches!(&entry.event,
                    Event::Execution(ExecutionEvent::StepRetried(data))
                        if data.step_id == self.step.step_id
                            && data.code.as_deref() == Some("NOT_DONE"))
            })
    }

    fn not_repeated(&self) {
        let (own, ran, undone) = (self.own, self.ran, self.undone);
        // A person who resolves a call by `retry` accepts that it may still reach a slow tool.
        let by_hand = self.world.retried.lock().unwrap().contains(&self.of);
        let undone_by_hand = self.world.undone_again.lock().unwrap().contains_key(&self.of);
        match own.effect {
            "idempotent" => {
                self.hold("same-command-twice", ran <= 1, &|| format!("took effect {ran} times"))
            }
            "non_idempotent" => {
                self.hold("unknown-is-not-failed", ran <= 1 || by_hand || self.probed(), &|| {
                    format!("was silently repeated: {ran} effects")
                })
            }
            _ => {}
        }
        if let Some((undo, _)) = own.undo {
            let once = plans::operation(undo).effect == "non_idempotent";
            let invariant = if once { "unknown-is-not-failed" } else { "same-command-twice" };
            self.hold(invariant, undone <= 1 || (once && undone_by_hand), &|| {
                format!("was undone {undone} times")
            });
        }
    }

    // What the trace calls done took effect.
    fn recorded(&self) {
        let compensated = self.step.status == contracts::status::StepStatus::Compensated;
        if (self.step.status == contracts::status::StepStatus::Completed || compensated)
            && self.own.effect != "read"
        {
            self.hold("no-effect-without-plan", self.ran > 0, &|| {
                "completed without an effect".to_owned()
            });
        }
        if compensated {
            self.hold("one-gate", self.undone > 0, &|| {
                "is compensated and nothing undid it".to_owned()
            });
        }
    }

    // What ended without completing took no effect, unless a probe, a person or the tool says so.
    fn ended(&self, state: StepStatus, undoes_failures: bool, undoes: bool) {
        let (step, own) = (self.step, self.own);
        let ended = match state {
            StepStatus::Cancelled | StepStatus::Skipped => own.effect != "read",
            // An idempotent call may be made again as long as its plan is not being undone.
            StepStatus::Failed => {
                own.effect == "non_idempotent"
                    || (undoes_failures && own.effect != "read")
                    || (undoes && own.undo.is_some())
            }
            StepStatus::Pending
            | StepStatus::Ready
            | StepStatus::Blocked
            | StepStatus::Held
            | StepStatus::Running
            | StepStatus::Completed
            | StepStatus::Retrying
            | StepStatus::InDoubt
            | StepStatus::Compensating
            | StepStatus::Compensated
            | StepStatus::Stuck => false,
        };
        if ended {
            let probed = self.probed() && state != StepStatus::Failed;
            let known = self.ran == 0 || probed || self.said(Resolution::Failed) || self.refused;
            self.hold("unknown-is-not-failed", known, &|| {
                format!("is {} and took effect: {:?} {:?}", step.status, step.code, step.message)
            });
        }
        let asked = state == StepStatus::InDoubt
            || self.said(Resolution::Completed)
            || self.said(Resolution::Failed);
        if own.effect == "idempotent" && asked {
            self.world.invariants.storm("lost: nothing calls again");
        }
    }
}

// A draft compiled twice is one plan, and a dry run of it never runs.
pub(super) fn twins(world: &World, dump: &Dump) {
    for (one, twin) in world.twins.lock().unwrap().iter() {
        let digest = |id: &ExecutionId| {
            let entries = partition(dump, &keys::execution(&world.workspace, id), keys::EVENT);
            entries.iter().find_map(|item| {
                match serde_json::from_slice::<Entry>(&item.body).unwrap().event {
                    Event::Execution(ExecutionEvent::PlanCompiled(data)) => Some(data.plan_digest),
                    _ => None,
                }
            })
        };
        let (first, second) = (digest(one), digest(twin));
        if let (Some(first), Some(second)) = (first, second) {
            world.invariants.check("same-input-same-plan", first == second, || {
                format!("{one} and {twin} differ")
            });
        }
        let called = world.done.lock().unwrap().called.contains_key(twin);
        world.invariants.check("one-gate", !called, || format!("the dry run {twin} called a tool"));
    }
}
