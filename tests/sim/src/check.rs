//! The invariants of the design, each by its name, on everything a run left behind: the table, the
//! blobs, the tools' own books, what people were shown.

mod execution;
mod money;
mod workspace;

use execution::{execution, twins};
use money::{metered, money_over_time};
use workspace::{credentials, log, queries};

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
    governance::EmptyQuery,
    query::{
        ExecutionView, GetExecution, GetTrace, GetWorkspaceLog, ListExecutions, ListSkills,
        ReplayTrace,
    },
};
use countersign_store::{Item, Key, keys};
use cs_core::{canonical, execution::StepStatus};
use engine::Caller;
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
    let chained = now(world.engine.store().chain_log(&world.workspace));
    world.invariants.check("authority-is-on-record", chained.is_ok(), || format!("{chained:?}"));
    let dump = world.table.inner.dump();
    secrets(world, &dump);
    let executions = world.executions.lock().unwrap().clone();
    let mut called = world.done.lock().unwrap().called.clone();
    for id in &executions {
        execution(world, id, &dump);
        called.remove(id);
    }
    world.invariants.check("no-effect-without-plan", called.is_empty(), || {
        format!("calls of nobody's: {called:?}")
    });
    twins(world, &dump);
    metered(world, &dump);
    money_over_time(world);
    log(world, &dump);
    queries(world);
    credentials(world, &dump);
    let same = world.table.inner.dump() == dump;
    world.invariants.check("get-never-mutates", same, || "a query changed something".into());
}

// A sensitive value stands nowhere in clear, not even in the vault.
fn secrets(world: &World, dump: &Dump) {
    for (key, item) in dump {
        world.invariants.check("no-secrets-in-evidence", !has(&item.body, b"S3CRET-"), || {
            format!("{}/{}", key.partition, key.sort)
        });
    }
    for (name, bytes) in world.blobs.dump() {
        world.invariants.check("no-secrets-in-evidence", !has(&bytes, b"S3CRET-"), || {
            format!("the blob {name:?}")
        });
    }
}

fn partition(dump: &Dump, partition: &str, prefix: &str) -> Vec<Item> {
    let from = Key { partition: partition.to_owned(), sort: prefix.to_owned() };
    let here =
        |(key, _): &(&Key, &Item)| key.partition == partition && key.sort.starts_with(prefix);
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
        world
            .invariants
            .check("append-only", holds, || format!("{of}: entry {} does not follow", entry.seq));
        prev = computed;
        entries.push(entry);
    }
    entries
}
