//! The invariants of the design, each by its name, on everything a run left behind: the table, the blobs, the tools' own
//! books, what people were shown.

use crate::{
    amounts::Moves,
    plans,
    ports::range,
    run::{METER_LIMIT, METER_SECONDS, World},
    tools::own_key,
    watch::has,
};
use contracts::{
    ExecutionId,
    command::CancelExecution,
    draft::Budget,
    event::{ActorKind, BlockReason, Entry, Event, Purpose, Resolution},
    governance::Look,
    query::{ExecutionView, GetExecution, GetTrace, GetWorkspaceLog, ListExecutions, ListSkills, ReplayTrace},
};
use cs_core::{canonical, execution::StepState};
use engine::{
    Caller, keys,
    ports::{Item, Key},
};
use futures_util::FutureExt as _;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Dump = BTreeMap<Key, Item>;

// Polls until ready: nothing sleeps when all is calm and nobody else runs.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    for _ in 0..10_000 {
        if let Some(value) = future.as_mut().now_or_never() {
            return value;
        }
    }
    panic!("a query does not end");
}

pub(crate) fn all(world: &World) {
    // What waits for the workspace log is chained first: nobody else does it any more.
    let chained = now(world.engine.chain_log(&world.workspace));
    world.book.hold("authority-is-on-record", chained.is_ok(), || format!("{chained:?}"));
    let dump = world.table.inner.dump();
    secrets(world, &dump);
    let executions = world.executions.lock().unwrap().clone();
    let mut called = world.done.lock().unwrap().called.clone();
    for id in &executions {
        execution(world, id, &dump);
        called.remove(id);
    }
    world.book.hold("no-effect-without-plan", called.is_empty(), || format!("calls of nobody's: {called:?}"));
    twins(world, &dump);
    metered(world, &dump);
    money_over_time(world);
    log(world, &dump);
    queries(world);
    credentials(world, &dump);
    let same = world.table.inner.dump() == dump;
    world.book.hold("get-never-mutates", same, || "a query changed something".into());
}

// A sensitive value stands nowhere in clear, not even in the vault.
fn secrets(world: &World, dump: &Dump) {
    for (key, item) in dump {
        world.book.hold("no-secrets-in-evidence", !has(&item.body, b"S3CRET-"), || {
            format!("{}/{}", key.partition, key.sort)
        });
    }
    for (name, bytes) in world.blobs.dump() {
        world.book.hold("no-secrets-in-evidence", !has(&bytes, b"S3CRET-"), || format!("the blob {name:?}"));
    }
}

fn partition(dump: &Dump, partition: &str, prefix: &str) -> Vec<Item> {
    let from = Key { partition: partition.to_owned(), sort: prefix.to_owned() };
    let here = |(key, _): &(&Key, &Item)| key.partition == partition && key.sort.starts_with(prefix);
    dump.range(from..).take_while(here).map(|(_, item)| item.clone()).collect()
}

// The entries of a chain, each checked against the one before by its own bytes.
fn chain(world: &World, items: &[Item], of: &str) -> Vec<Entry> {
    let (mut prev, mut entries) = (contracts::Digest::zero().to_string(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        let mut value: Value = serde_json::from_slice(&item.body).unwrap();
        let entry: Entry = serde_json::from_value(value.clone()).unwrap();
        let hash = value.as_object_mut().unwrap().remove("hash");
        let computed = canonical::digest(&value).unwrap().to_string();
        let follows = value["seq"] == index as u64 + 1 && value["prev"] == prev;
        let holds = follows && hash.as_ref().and_then(Value::as_str) == Some(computed.as_str());
        world.book.hold("append-only", holds, || format!("{of}: entry {} does not follow", entry.seq));
        prev = computed;
        entries.push(entry);
    }
    entries
}

fn execution(world: &World, id: &ExecutionId, dump: &Dump) {
    let hold = |invariant: &'static str, holds: bool, what: &dyn Fn() -> String| {
        world.book.hold(invariant, holds, || format!("{id}: {}", what()));
    };
    let auditor = world.person("auditor");
    let stranger = Caller { workspace: "other".parse().unwrap(), ..auditor.clone() };
    let get = GetExecution { execution_id: id.clone(), wait_seconds: None, include_plan: true, include_view: None };
    let trace = GetTrace { execution_id: id.clone(), include_payloads: true, from_seq: None };
    let cancel = CancelExecution { execution_id: id.clone(), reason: None, compensate: false };
    let outcomes = [
        now(world.engine.get(&stranger, get.clone())).map(drop),
        now(world.engine.trace(&stranger, trace.clone())).map(drop),
        now(world.engine.replay(&stranger, ReplayTrace { execution_id: id.clone() })).map(drop),
        now(world.engine.cancel(&stranger, cancel)).map(drop),
    ];
    for outcome in outcomes {
        let hidden = outcome.as_ref().is_err_and(|problem| problem.status == 404);
        hold("tenant-walls", hidden, &|| format!("another workspace reaches it: {outcome:?}"));
    }
    let replay = now(world.engine.replay(&auditor, ReplayTrace { execution_id: id.clone() })).unwrap();
    for (check, invariant) in [("chain", "append-only"), ("plan", "same-input-same-plan"), ("", "replayable")] {
        let others = |named: &str| !matches!(named, "chain" | "plan");
        let mine = |named: &str| if check.is_empty() { others(named) } else { named == check };
        let found: Vec<_> = replay.differences.iter().filter(|one| mine(&one.check)).collect();
        hold(invariant, found.is_empty(), &|| format!("{found:?}"));
    }
    let told = now(world.engine.trace(&auditor, trace)).unwrap();
    let entries = chain(world, &partition(dump, &keys::execution(&world.workspace, id), keys::EVENT), id.as_str());
    hold("append-only", told.entries.len() == entries.len(), &|| "its trace is told in part".into());
    let view = now(world.engine.get(&auditor, get)).unwrap().execution;
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
            (ActorKind::Human, "grace") | (ActorKind::Service, "countersign") => true,
            (ActorKind::Tool, _) => entry.channel.as_deref() == Some("warrant"),
            _ => false,
        };
        hold("identity-from-transport", known, &|| format!("{actor:?} with {key:?} did {}", entry.event.key()));
        if let Event::ApprovalGranted(data) = &entry.event {
            let seen = world.shown.lock().unwrap().contains(&(id.clone(), data.view_digest.clone()));
            hold("seen-is-signed", seen, &|| "approved what nobody was shown".into());
        }
    }
    storms(world, id, &entries);
    started(world, id, &entries);
    budgets(world, id, &entries);
    effects(world, id, &view, &entries);
}

// Claims against what came before them.
fn started(world: &World, id: &ExecutionId, entries: &[Entry]) {
    let hold = |invariant: &'static str, holds: bool, what: &dyn Fn() -> String| {
        world.book.hold(invariant, holds, || format!("{id}: {}", what()));
    };
    let (mut granted, mut consumed) = (BTreeSet::new(), BTreeSet::new());
    let mut in_flight: BTreeSet<String> = BTreeSet::new();
    // Steps one of whose claims consumed an approval that still holds for the next; steps that failed.
    let (mut approved, mut failed): (BTreeSet<String>, BTreeSet<String>) = Default::default();
    let (mut epochs, mut verified) = (0, false);
    for entry in entries {
        let step = entry.event.step_id().map(ToString::to_string).unwrap_or_default();
        match &entry.event {
            Event::PlanVerified(_) => verified = true,
            Event::PlanRejected(_) => (verified, in_flight) = (false, BTreeSet::new()),
            Event::ExecutionFailed(_) => in_flight.clear(),
            Event::ApprovalGranted(data) => drop(granted.insert(data.approval_id.clone())),
            Event::StepStarted(data) => {
                let purpose = data.purpose.as_str();
                hold("fail-closed", verified, &|| format!("the {purpose} of {step} began without a verdict"));
                if let Some(approval) = &data.approval_id {
                    let given = granted.contains(approval);
                    let once = consumed.insert((approval.clone(), step.clone()));
                    hold("approval-binds-digest", given, &|| format!("{step} used what was not granted"));
                    hold("approval-binds-digest", once, &|| format!("{step} used an approval twice"));
                    approved.insert(step.clone());
                }
                let grave = world.watch.called(id, &step, data.purpose).is_some_and(|called| called.tier == "high");
                if grave {
                    let asked = approved.contains(&step);
                    hold("high-risk-never-autonomous", asked, &|| format!("the {purpose} of {step}"));
                }
                hold("fenced", data.fence >= epochs, &|| format!("{step} was claimed by a stale worker"));
                epochs = data.fence;
                let free = in_flight.insert(step.clone());
                hold("fenced", free, &|| format!("{step} was claimed while in flight"));
            }
            Event::StepCompleted(_) => {
                let claimed = in_flight.remove(&step);
                hold("fenced", claimed, &|| format!("{step} completed without a claim"));
            }
            Event::StepFailed(_) => {
                in_flight.remove(&step);
                failed.insert(step);
            }
            Event::StepRetried(data) => {
                in_flight.remove(&step);
                if failed.remove(&step) && data.actor_id.is_some() {
                    approved.remove(&step);
                }
            }
            Event::StepResolved(data) => {
                if data.outcome == Resolution::Retry {
                    approved.remove(&step);
                }
                if data.outcome == Resolution::Failed {
                    failed.insert(step);
                }
            }
            Event::StepCompensated(_) => drop(in_flight.remove(&step)),
            Event::StepBlocked(data) if data.reason != BlockReason::AwaitingCallback => {
                in_flight.remove(&step);
            }
            _ => {}
        }
    }
}

fn storms(world: &World, id: &ExecutionId, entries: &[Entry]) {
    let storm = |name| world.book.storm(name);
    let (mut cancelled, mut called) = (false, BTreeSet::new());
    for entry in entries {
        let step = entry.event.step_id();
        match &entry.event {
            Event::ExecutionCancelled(data) => cancelled |= data.compensate,
            Event::StepStarted(data) => {
                called.insert(data.step_id.clone());
                if data.purpose == Purpose::Compensate {
                    storm(if cancelled { "undo: after a cancellation" } else { "undo: after a failure" });
                }
            }
            Event::StepCompensated(_) => storm("undo: done"),
            Event::StepBlocked(data) => {
                let message = data.message.as_deref().unwrap_or_default();
                let frozen = matches!(data.reason, BlockReason::Frozen | BlockReason::WorkspaceFrozen);
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
                    (BlockReason::UsageExceeded, _) if message.starts_with("money") => storm("money: over its limit"),
                    (BlockReason::ApprovalRequired, Purpose::Compensate) => storm("undo: asks people"),
                    _ => {}
                }
            }
            Event::PlanRejected(data) => {
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

// What was spent against what might be, by the events and by the tools' own count.
fn budgets(world: &World, id: &ExecutionId, entries: &[Entry]) {
    let asked = world.watch.asked(id).unwrap();
    let budget: Budget = serde_json::from_value(asked.draft["budget"].clone()).unwrap_or_default();
    if let Some(most) = budget.writes {
        // What a claim reserved counts until it is known to have had no effect.
        let mut holds: BTreeMap<(&str, Purpose), u64> = BTreeMap::new();
        let mut spent = 0;
        for entry in entries {
            match &entry.event {
                Event::StepStarted(data) if data.spend.writes > 0 => {
                    holds.insert((data.step_id.as_str(), data.purpose), data.spend.writes);
                }
                Event::StepFailed(data) if data.released => {
                    holds.remove(&(data.step_id.as_str(), Purpose::Run));
                }
                Event::StepResolved(data) if data.outcome == Resolution::Failed => {
                    holds.remove(&(data.step_id.as_str(), Purpose::Run));
                }
                _ => {}
            }
            spent = spent.max(holds.values().sum::<u64>());
        }
        world
            .book
            .hold("claim-is-one-transaction", spent <= most, || format!("{id}: spent {spent} of {most} writes"));
    }
    let done = world.done.lock().unwrap();
    let mut moved: BTreeMap<String, u128> = BTreeMap::new();
    let mut recipients = 0;
    for one in done.moved.values().filter(|one| one.of.0 == *id) {
        let Moves { money, recipients: to } = &one.moves;
        money.iter().for_each(|(currency, units)| *moved.entry(currency.clone()).or_default() += units);
        recipients += to.unwrap_or(0);
    }
    for (currency, units) in moved {
        let own = budget.money.as_ref().map(|money| money.get(&currency).copied().unwrap_or(0));
        let whole = world.limits.plan_money.map(|most| if currency == "EUR" || currency == "USD" { most } else { 0 });
        for most in [own, whole].into_iter().flatten() {
            world.book.hold("unmeasured-is-not-small", units <= u128::from(most), || {
                format!("{id}: the tools moved {units} of {most} {currency}")
            });
        }
    }
    if let Some(most) = budget.recipients {
        world.book.hold("unmeasured-is-not-small", recipients <= most, || {
            format!("{id}: the tools wrote to {recipients} of {most}")
        });
    }
}

// What the tools say against what the trace says.
fn effects(world: &World, id: &ExecutionId, view: &ExecutionView, entries: &[Entry]) {
    let hold = |invariant: &'static str, holds: bool, what: &dyn Fn() -> String| {
        world.book.hold(invariant, holds, || format!("{id}: {}", what()));
    };
    let done = world.done.lock().unwrap();
    let ran = entries.iter().any(|entry| matches!(entry.event, Event::ExecutionStarted(_)));
    hold("fail-closed", ran || !done.called.contains_key(id), &|| {
        "it was never started, and tools were called".into()
    });
    let (Some(digest), true) = (&view.plan_digest, ran) else { return };
    let undoes_failures = world.watch.asked(id).unwrap().draft["onFailure"] == "compensate";
    let undoes =
        entries.iter().any(|entry| matches!(&entry.event, Event::ExecutionCancelled(data) if data.compensate));
    let over = ["completed", "failed", "cancelled", "rejected"].contains(&view.status.as_str());
    for step in &view.steps {
        let name = step.step_id.as_str();
        let of = (id.clone(), name.to_owned());
        let own = plans::operation(&step.operation);
        let count = |purpose: Purpose| -> u32 {
            let key = own_key(id, digest.as_str(), name, purpose);
            done.effects.iter().filter(|((_, effect), _)| *effect == key).map(|(_, count)| *count).sum()
        };
        let (ran, undone) = (count(Purpose::Run), count(Purpose::Compensate));
        let said = |wanted: Resolution| {
            entries.iter().any(|entry| match &entry.event {
                Event::StepResolved(data) => data.step_id == step.step_id && data.outcome == wanted,
                _ => false,
            })
        };
        // A person who says `retry` of a call that is still on its way to a slow tool takes that on himself.
        let by_hand = world.retried.lock().unwrap().contains(&of);
        let undone_by_hand = world.undone_again.lock().unwrap().contains_key(&of);
        let probed = own.probe.is_some()
            && entries.iter().any(|entry| {
                matches!(&entry.event,
                Event::StepRetried(data) if data.step_id == step.step_id && data.code.as_deref() == Some("NOT_DONE"))
            });
        match own.effect {
            "idempotent" => hold("same-command-twice", ran <= 1, &|| format!("{name} took effect {ran} times")),
            "non_idempotent" => hold("unknown-is-not-failed", ran <= 1 || by_hand || probed, &|| {
                format!("{name} was silently repeated: {ran} effects")
            }),
            _ => {}
        }
        if let Some((undo, _)) = own.undo {
            let once = plans::operation(undo).effect == "non_idempotent";
            let invariant = if once { "unknown-is-not-failed" } else { "same-command-twice" };
            hold(invariant, undone <= 1 || (once && undone_by_hand), &|| format!("{name} was undone {undone} times"));
        }
        let compensated = step.status == StepState::Compensated.as_str();
        if (step.status == StepState::Completed.as_str() || compensated) && own.effect != "read" {
            hold("no-effect-without-plan", ran > 0, &|| format!("{name} completed without an effect"));
        }
        if compensated {
            hold("one-gate", undone > 0, &|| format!("{name} is compensated and nothing undid it"));
        }
        let state = StepState::ALL.into_iter().find(|state| state.as_str() == step.status).unwrap();
        let under_way = matches!(state, StepState::Running | StepState::Compensating);
        hold("unknown-is-not-failed", !(over && under_way), &|| {
            format!("{name} is {} in what has ended", step.status)
        });
        let ended = match state {
            StepState::Cancelled | StepState::Skipped => own.effect != "read",
            // An idempotent call may be made again as long as its plan is not being undone.
            StepState::Failed => {
                own.effect == "non_idempotent"
                    || (undoes_failures && own.effect != "read")
                    || (undoes && own.undo.is_some())
            }
            StepState::Pending
            | StepState::Ready
            | StepState::Blocked
            | StepState::Held
            | StepState::Running
            | StepState::Completed
            | StepState::Retrying
            | StepState::InDoubt
            | StepState::Compensating
            | StepState::Compensated
            | StepState::Stuck => false,
        };
        if ended {
            let key = own_key(id, digest.as_str(), name, Purpose::Run);
            let probed = probed && state != StepState::Failed;
            let known = ran == 0 || probed || said(Resolution::Failed) || done.refused.contains(&key);
            hold("unknown-is-not-failed", known, &|| {
                format!("{name} is {} and took effect: {:?} {:?}", step.status, step.code, step.message)
            });
        }
        let asked = state == StepState::InDoubt || said(Resolution::Completed) || said(Resolution::Failed);
        if own.effect == "idempotent" && asked {
            world.book.storm("lost: nothing calls again");
        }
    }
}

// A draft compiled twice is one plan, and a dry run of it never runs.
fn twins(world: &World, dump: &Dump) {
    for (one, twin) in world.twins.lock().unwrap().iter() {
        let digest = |id: &ExecutionId| {
            let entries = partition(dump, &keys::execution(&world.workspace, id), keys::EVENT);
            entries.iter().find_map(|item| match serde_json::from_slice::<Entry>(&item.body).unwrap().event {
                Event::PlanCompiled(data) => Some(data.plan_digest),
                _ => None,
            })
        };
        let (first, second) = (digest(one), digest(twin));
        if let (Some(first), Some(second)) = (first, second) {
            world.book.hold("same-input-same-plan", first == second, || format!("{one} and {twin} differ"));
        }
        let called = world.done.lock().unwrap().called.contains_key(twin);
        world.book.hold("one-gate", !called, || format!("the dry run {twin} called a tool"));
    }
}

// Within no window more was reserved, and not given back before, than the meter allows. Where the clock was set, a
// window is not what it was: `money_over_time` looks at those.
fn metered(world: &World, dump: &Dump) {
    if world.shared.jumps() > 0 {
        return;
    }
    let mut claims: Vec<(i64, i64, u64)> = Vec::new();
    for id in world.executions.lock().unwrap().iter() {
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        for item in partition(dump, &keys::execution(&world.workspace, id), keys::EVENT) {
            let entry: Entry = serde_json::from_slice(&item.body).unwrap();
            let back = match &entry.event {
                Event::StepStarted(data) => {
                    for one in data.reserved.iter().filter(|one| one.meter == "writes") {
                        if data.purpose == Purpose::Run {
                            open.insert(data.step_id.to_string(), claims.len());
                        }
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
        world.book.hold("claim-is-one-transaction", sum <= METER_LIMIT, || {
            format!("{sum} of {METER_LIMIT} writes within a window")
        });
    }
}

// Within no window in which nobody set the clock did the tools move more than the meters allow, by their own count.
fn money_over_time(world: &World) {
    let claims = world.watch.claims.lock().unwrap();
    let done = world.done.lock().unwrap();
    let mut counted: Vec<(i64, usize, u128, u64)> = Vec::new();
    for (index, claim) in claims.iter().enumerate().filter(|(_, claim)| claim.reserved) {
        let of = (claim.execution.clone(), claim.step.clone());
        let again = claims.iter().skip(index + 1).any(|later| {
            later.reserved && later.execution == of.0 && later.step == of.1 && later.purpose == claim.purpose
        });
        let moved = done.moved.values().find(|one| one.of == of && one.purpose == claim.purpose);
        // What was claimed anew had no effect before.
        let Some(moved) = moved.filter(|_| !again) else { continue };
        let euros = moved.moves.money.iter().filter(|(currency, _)| currency == "EUR").map(|(_, units)| *units).sum();
        counted.push((claim.passed, claim.jumps, euros, moved.moves.recipients.unwrap_or(0)));
    }
    let window = METER_SECONDS as i64 * 1_000;
    for (index, (at, jumps, ..)) in counted.iter().enumerate() {
        let before = counted.iter().take(index + 1);
        let within: Vec<_> = before.filter(|(then, set, ..)| set == jumps && *then > at - window).collect();
        let euros: u128 = within.iter().map(|one| one.2).sum();
        let recipients: u64 = within.iter().map(|one| one.3).sum();
        let most = (world.limits.meter_money, world.limits.meter_recipients);
        let holds =
            most.0.is_none_or(|most| euros <= u128::from(most)) && most.1.is_none_or(|most| recipients <= most);
        world.book.hold("unmeasured-is-not-small", holds, || {
            format!("the tools moved {euros} cents, to {recipients}, within a window: {most:?}")
        });
    }
}

// Everything that changed authority stands in the workspace log, once, as it was committed.
fn log(world: &World, dump: &Dump) {
    let own = keys::journal_head(&world.workspace).partition;
    let entries = chain(world, &partition(dump, &own, keys::EVENT), "the workspace log");
    let waiting = range(world.table.inner.as_ref(), keys::inbox_partition(&world.workspace), keys::INBOX);
    world.book.hold("authority-is-on-record", waiting.is_empty(), || format!("{} events wait", waiting.len()));
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for entry in &entries {
        let record = serde_json::json!([entry.at, entry.actor, entry.event]);
        *counts.entry(record.to_string()).or_default() += 1;
    }
    if !world.table.inner.fails() {
        for record in world.watch.inbox.lock().unwrap().iter() {
            let event: Event = serde_json::from_value(record["event"].clone()).unwrap();
            let record = serde_json::json!([record["at"], record["actor"], event]);
            *counts.entry(record.to_string()).or_default() -= 1;
        }
        for (record, count) in counts {
            world.book.hold("authority-is-on-record", count == 0, || format!("{count} too many of {record}"));
        }
    }
    for made in world.keys.lock().unwrap().iter() {
        let created = entries.iter().filter(|entry| match &entry.event {
            Event::KeyCreated(data) => data.key == made.id && data.actor_id == "person",
            _ => false,
        });
        let count = created.count();
        world.book.hold("authority-is-on-record", count == 1, || format!("the key {}: {count} times", made.id));
    }
}

fn queries(world: &World) {
    let (engine, auditor) = (&world.engine, world.person("auditor"));
    let stranger = Caller { workspace: "other".parse().unwrap(), ..auditor.clone() };
    let elsewhere = now(engine.list(&stranger, ListExecutions::default()));
    let none = elsewhere.as_ref().is_ok_and(|list| list.items.is_empty());
    world.book.hold("tenant-walls", none, || format!("another workspace lists {elsewhere:?}"));
    let outcomes = [
        now(engine.list(&auditor, ListExecutions::default())).map(drop),
        now(engine.policy_sets(&auditor, Look {})).map(drop),
        now(engine.freezes(&auditor, Look {})).map(drop),
        now(engine.budgets(&auditor, Look {})).map(drop),
        now(engine.trust(&auditor, Look {})).map(drop),
        now(engine.deciders(&auditor, Look {})).map(drop),
        now(engine.workspace_log(&auditor, GetWorkspaceLog::default())).map(drop),
        now(engine.list_skills(&auditor, ListSkills::default())).map(drop),
        now(engine.list_keys(&auditor, Default::default())).map(drop),
    ];
    for outcome in outcomes {
        world.book.hold("get-never-mutates", outcome.is_ok(), || format!("{outcome:?}"));
    }
}

// Who lost a key comes in with it no more.
fn credentials(world: &World, dump: &Dump) {
    for made in world.keys.lock().unwrap().iter() {
        let item = &dump[&keys::api_key_of(&world.workspace, &made.id)];
        let expired = made.expires_at.is_some_and(|at| at <= world.shared.now());
        let gone = expired || item.fields.get("revoked") != Some(&0);
        let outcome = now(world.engine.authenticate(Some(&made.secret)));
        world.book.hold("context-is-fresh", outcome.is_ok() != gone, || {
            format!("the key {} is gone: {gone}; {:?}", made.id, outcome.map(|caller| caller.actor))
        });
    }
}
