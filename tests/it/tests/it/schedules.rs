//! What runs on a schedule: sweep and export.

use async_trait::async_trait;
use contracts::{ExecutionId, Timestamp, WorkspaceId, event::CloudEvent, evidence::Manifest};
use countersign_it::fixture::{EngineFixture, HandClock};
use countersign_store::{
    Condition, Item, PortError, Query, Stream, Table as _, Write, keys, memory::MemoryTable,
};
use cs_core::canonical;
use engine::{
    NextStep, WaitRequest,
    ports::{Archive, Publisher},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

const HOUR_MS: i64 = 3_600_000;

fn find(id: &str) -> serde_json::Value {
    json!({ "id": id, "use": "crm/customer.find", "with": { "email": "a@x.org" } })
}

/// A queue that takes so many events and then refuses.
#[derive(Default)]
struct Queue {
    taken: Mutex<Vec<(String, u64)>>,
    most: Mutex<usize>,
}

#[async_trait]
impl Publisher for Queue {
    async fn publish(
        &self,
        _: &WorkspaceId,
        events: &[CloudEvent],
    ) -> (usize, Result<(), PortError>) {
        let mut taken = self.taken.lock().unwrap();
        for (count, event) in events.iter().enumerate() {
            if taken.len() >= *self.most.lock().unwrap() {
                return (count, Err(PortError::Unavailable("full".into())));
            }
            taken.push((event.subject.clone(), event.sequence));
        }
        (events.len(), Ok(()))
    }
}

#[tokio::test]
async fn a_lost_start_is_taken_up_once() {
    let fixture = EngineFixture::new(Arc::new(MemoryTable::default())).await;
    *fixture.signals.lost.lock().unwrap() = true;
    let id = fixture.submit(json!([find("a")])).await;
    *fixture.signals.lost.lock().unwrap() = false;
    let swept = fixture.engine.sweep.sweep(None, 1_000).await.unwrap();
    assert_eq!((swept.open, swept.driven), (1, 0), "whoever should start it may be about to");
    fixture.clock.pass(61_000);
    assert_eq!(fixture.engine.sweep.sweep(None, 1_000).await.unwrap().driven, 1);
    fixture.engine.sweep.sweep(None, 1_000).await.unwrap();
    let names = fixture.signals.names.lock().unwrap().clone();
    assert!(names.iter().all(|name| *name == names[0]), "the same start, which is one: {names:?}");
    assert_eq!(fixture.drive(&id).await, NextStep::Done);
    assert_eq!(fixture.engine.sweep.sweep(None, 1_000).await.unwrap().open, 0);
}

#[tokio::test]
async fn one_that_cannot_be_read_keeps_nobody_else_waiting() {
    let table = Arc::new(MemoryTable::default());
    let fixture = EngineFixture::new(table.clone()).await;
    *fixture.signals.lost.lock().unwrap() = true;
    let mut ids = Vec::new();
    for name in ["head", "step", "outbox", "whole"] {
        ids.push(fixture.submit(json!([find(name)])).await);
    }
    *fixture.signals.lost.lock().unwrap() = false;
    let workspace = &fixture.agent.workspace;
    let unreadable = |key| {
        let item = Item { version: 1, body: b"{".to_vec(), ..Item::default() };
        Write::Put { key, item, condition: Condition::Any }
    };
    let writes = vec![
        unreadable(countersign_store::keys::head(workspace, &ids[0])),
        unreadable(countersign_store::keys::step(workspace, &ids[1], &"step".parse().unwrap())),
        unreadable(countersign_store::keys::outbox(workspace, &ids[2].clone().into(), 1)),
    ];
    table.transact(writes).await.unwrap();
    fixture.clock.pass(61_000);
    let queue = Queue { most: Mutex::new(usize::MAX), ..Queue::default() };
    let swept = fixture.engine.sweep.sweep(Some(&queue), 1_000).await.unwrap();
    // A step that cannot be read is for its machine to find: sweep looks at heads. The log is
    // published, too.
    assert_eq!((swept.open, swept.driven, swept.published, swept.failed), (4, 3, 4, 2));
}

#[tokio::test]
async fn an_expired_approval_is_taken_up_and_a_waiting_one_left_alone() {
    let fixture = EngineFixture::new(Arc::new(MemoryTable::default())).await;
    let steps = json!([{ "id": "p", "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }]);
    let id = fixture.submit(steps).await;
    assert_eq!(fixture.drive(&id).await, NextStep::Blocked);
    let workspace = &fixture.agent.workspace;
    let next = fixture.engine.runs.advance(workspace, &id, 1_000).await.unwrap();
    let wait = WaitRequest { token: "token", seen: next.version, seconds: next.seconds };
    fixture.engine.waker.register_wait(workspace, &id, wait).await.unwrap();
    fixture.signals.names.lock().unwrap().clear();
    fixture.clock.pass(HOUR_MS);
    let swept = fixture.engine.sweep.sweep(None, 1_000).await.unwrap();
    assert_eq!(
        (swept.driven, swept.approval_age_ms),
        (0, HOUR_MS),
        "people are asked; nobody is late"
    );
    fixture.clock.pass(24 * HOUR_MS);
    assert_eq!(fixture.engine.sweep.sweep(None, 1_000).await.unwrap().driven, 1);
    assert_eq!(fixture.drive(&id).await, NextStep::Blocked, "expired is not run");
}

#[tokio::test]
async fn what_was_not_sent_is_published_in_order_and_once() {
    let fixture = EngineFixture::new(Arc::new(MemoryTable::default())).await;
    let id = fixture.submit(json!([find("a")])).await;
    fixture.drive(&id).await;
    // What stands in the workspace log comes first.
    let (log, outcome) = {
        let queue = Queue { most: Mutex::new(usize::MAX), ..Queue::default() };
        fixture.engine.relay.publish(&fixture.agent.workspace, &Stream::Log, &queue).await
    };
    outcome.unwrap();
    fixture.engine.store().sent(&log).await.unwrap();
    let queue = Queue { most: Mutex::new(3), ..Queue::default() };
    fixture.clock.pass(61_000);
    let swept = fixture.engine.sweep.sweep(Some(&queue), 1_000).await.unwrap();
    assert!(swept.outbox_age_ms >= 61_000 && swept.published == 0, "{swept:?}");
    *queue.most.lock().unwrap() = usize::MAX;
    assert_eq!(fixture.engine.sweep.sweep(Some(&queue), 1_000).await.unwrap().published, 1);
    fixture.engine.sweep.sweep(Some(&queue), 1_000).await.unwrap();
    let mut taken: Vec<u64> =
        queue.taken.lock().unwrap().iter().map(|(_, sequence)| *sequence).collect();
    assert_eq!(taken.iter().filter(|sequence| **sequence == 7).count(), 1);
    let in_order = taken.windows(2).all(|pair| pair[1] <= pair[0] + 1);
    taken.dedup();
    assert!(
        in_order && taken.last() == Some(&7),
        "at least once, none before the one it follows: {taken:?}"
    );
}

/// A queue that takes its time and then nothing.
struct FailingQueue(Arc<HandClock>);

#[async_trait]
impl Publisher for FailingQueue {
    async fn publish(&self, _: &WorkspaceId, _: &[CloudEvent]) -> (usize, Result<(), PortError>) {
        self.0.pass(10_000);
        (0, Err(PortError::Unavailable("down".into())))
    }
}

#[tokio::test]
async fn a_queue_that_is_down_keeps_no_execution_waiting() {
    let fixture = EngineFixture::new(Arc::new(MemoryTable::default())).await;
    *fixture.signals.lost.lock().unwrap() = true;
    for name in ["a", "b", "c", "d"] {
        fixture.submit(json!([find(name)])).await;
    }
    *fixture.signals.lost.lock().unwrap() = false;
    fixture.clock.pass(61_000);
    let swept = fixture
        .engine
        .sweep
        .sweep(Some(&FailingQueue(fixture.clock.clone())), 20_000)
        .await
        .unwrap();
    assert_eq!((swept.driven, swept.published, swept.cut), (4, 0, true));
    assert!(swept.outbox_age_ms >= 61_000, "{swept:?}");
}

#[derive(Default)]
struct LimitedArchive {
    held: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Documents taken before it fails.
    most: Mutex<Option<usize>>,
}

#[async_trait]
impl Archive for LimitedArchive {
    async fn holds(&self, name: &str) -> Result<bool, PortError> {
        Ok(self.held.lock().unwrap().contains_key(name))
    }
    async fn put(&self, name: &str, _: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        let mut held = self.held.lock().unwrap();
        if self.most.lock().unwrap().is_some_and(|most| held.len() >= most) {
            return Err(PortError::Unavailable("full".into()));
        }
        if let Some(before) = held.insert(name.to_owned(), bytes.clone()) {
            assert_eq!(before, bytes, "{name}: the same hour gives the same bytes");
        }
        Ok(())
    }
}

#[tokio::test]
async fn an_hour_is_exported_when_it_is_over_and_goes_on_where_it_broke_off() {
    let fixture = EngineFixture::new(Arc::new(MemoryTable::default())).await;
    let id = fixture.submit(json!([find("a")])).await;
    fixture.drive(&id).await;
    let archive = LimitedArchive::default();
    fixture.engine.exports.export(&archive, 1_000_000).await.unwrap();
    assert!(archive.held.lock().unwrap().is_empty(), "the hour is not over");
    fixture.clock.pass(HOUR_MS);
    *archive.most.lock().unwrap() = Some(1);
    assert!(
        fixture.engine.exports.export(&archive, 1_000_000).await.is_err(),
        "it breaks off before the manifest"
    );
    *archive.most.lock().unwrap() = None;
    let exported = fixture.engine.exports.export(&archive, 1_000_000).await.unwrap();
    assert_eq!(exported.traces, 2, "the trace, and the workspace log");
    assert_eq!(
        fixture.engine.exports.export(&archive, 1_000_000).await.unwrap().manifests,
        0,
        "once"
    );
    let held = archive.held.lock().unwrap();
    let (name, manifest) = held.iter().find(|(name, _)| name.ends_with("manifest.json")).unwrap();
    let manifest: Manifest = serde_json::from_slice(manifest).unwrap();
    let part = &manifest.files[0];
    assert!(name.starts_with("acme/"), "one workspace a folder: {name}");
    let bytes = &held[&name.replace("manifest.json", &part.name)];
    assert_eq!(canonical::digest_bytes(bytes), part.digest);
    assert_eq!(part.segments[&Stream::Trace(id)].to, 7);
    assert!(part.heads.contains_key(&Stream::Log));
}

// INVARIANT append-only.
#[tokio::test]
async fn a_broken_trace_is_named_and_keeps_no_other_from_the_archive() {
    let table = Arc::new(MemoryTable::default());
    let fixture = EngineFixture::new(table.clone()).await;
    let mut ids = Vec::new();
    for name in ["changed", "cut", "unreadable", "headless", "whole"] {
        let id = fixture.submit(json!([find(name)])).await;
        fixture.drive(&id).await;
        ids.push(id);
    }
    let [changed, cut, unreadable, headless, whole] = ids.as_slice() else { unreachable!() };
    let workspace = &fixture.agent.workspace;
    let event = |id, seq| countersign_store::keys::event(workspace, id, seq);
    table.tamper(&event(changed, 3), |item| {
        item.body =
            String::from_utf8(item.body.clone()).unwrap().replacen("low", "lax", 1).into_bytes();
    });
    let remove = Write::Delete { key: event(cut, 7), condition: Condition::Any };
    table.transact(vec![remove]).await.unwrap();
    table.tamper(&event(unreadable, 2), |item| item.body = b"{".to_vec());
    table.tamper(&countersign_store::keys::head(workspace, headless), |item| {
        item.body = b"{".to_vec()
    });
    fixture.clock.pass(HOUR_MS);
    let archive = LimitedArchive::default();
    let exported = fixture.engine.exports.export(&archive, 1_000_000).await.unwrap();
    assert_eq!((exported.traces, exported.broken, exported.left), (2, 4, 0));
    let held = archive.held.lock().unwrap();
    let (_, manifest) = held.iter().find(|(name, _)| name.ends_with("manifest.json")).unwrap();
    let manifest: Manifest = serde_json::from_slice(manifest).unwrap();
    let whole = Stream::Trace(whole.clone());
    assert_eq!(manifest.files[0].heads.keys().collect::<Vec<_>>(), [&Stream::Log, &whole]);
    let why = |id: &contracts::ExecutionId| manifest.broken[&Stream::Trace(id.clone())].as_str();
    let named: Vec<_> = [changed, cut, unreadable, headless].map(why).into();
    assert_eq!(named[0], "event 3 was changed: its content does not have its hash");
    assert_eq!(
        named[1],
        "the chain ends at event 6, but its head is event 7: the tail was cut or forged"
    );
    assert!(
        named[2].contains("e#0000000002: unreadable") && named[3].contains("a#head"),
        "{named:?}"
    );
}

/// Executions wait for their workspace, and many before them are listed since. Right: the change
/// that they wait for wakes them, and `sweep` those that are too far behind.
#[tokio::test]
async fn what_waits_behind_others_is_woken_by_the_same_change() {
    let table = Arc::new(MemoryTable::default());
    let fixture = EngineFixture::new(table.clone()).await;
    let workspace = &fixture.agent.workspace;
    let freeze = async |frozen: bool| {
        let request = json!({ "scope": "workspace", "frozen": frozen });
        let request = serde_json::from_value(request).unwrap();
        fixture.engine.limits.set_freeze(&fixture.agent, request).await.unwrap();
    };
    let listed = async || {
        let query = Query::prefix(keys::waiting_partition(workspace), "", 10_000);
        let items = table.query(&query).await.unwrap();
        items.iter().filter(|(key, _)| key.sort.starts_with("exe_04")).count()
    };
    let now = fixture.engine.now();
    let list = async |numbers: std::ops::Range<u64>, at: Timestamp| {
        for number in numbers {
            let mut id = [0; 16];
            id[0] = if at > now { 1 } else { 4 };
            id[8..].copy_from_slice(&number.to_be_bytes());
            let body = json!({ "at": at }).to_string().into_bytes();
            let item = Item { version: 1 + number, body, ..Item::default() };
            let key = keys::waiting(workspace, &ExecutionId::from_bytes(id));
            table
                .transact(vec![Write::Put { key, item, condition: Condition::Any }])
                .await
                .unwrap();
        }
    };
    freeze(true).await;
    list(0..120, now.plus_ms(HOUR_MS)).await;
    list(0..3, now.plus_ms(-1)).await;
    freeze(false).await;
    assert_eq!(listed().await, 0, "woken");
    // More than a command looks at before it answers.
    freeze(true).await;
    list(120..1_200, now.plus_ms(HOUR_MS)).await;
    list(0..120, now.plus_ms(-1)).await;
    freeze(false).await;
    assert_eq!(listed().await, 120, "a command looks at so many");
    fixture.engine.sweep.sweep(None, 1_000).await.unwrap();
    assert_eq!(listed().await, 0, "and sweep goes on");
    let left = table.query(&Query::prefix(keys::WAKING.into(), "", 10)).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
