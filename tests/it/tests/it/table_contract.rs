//! The embedded tables under the contract of every table, and what the one on disk promises beyond
//! it.

use countersign_it::{
    budget::nobody_overspends,
    table::{contract, item, key, put},
};
use countersign_store::{Condition, Table as _, memory::MemoryTable};
use local::EmbeddedTable;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    contract(Arc::new(MemoryTable::default()), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded() {
    let folder = tempfile::tempdir().unwrap();
    contract(Arc::new(EmbeddedTable::open(folder.path()).unwrap()), "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_overspends_one_budget() {
    nobody_overspends(Arc::new(MemoryTable::default())).await;
    let folder = tempfile::tempdir().unwrap();
    nobody_overspends(Arc::new(EmbeddedTable::open(folder.path()).unwrap())).await;
}

#[tokio::test]
async fn embedded_survives_being_reopened_and_refuses_a_second_owner() {
    let folder = tempfile::tempdir().unwrap();
    let table = EmbeddedTable::open(folder.path()).unwrap();
    table.transact(vec![put(key("p", "a"), item(3, "kept"), Condition::Any)]).await.unwrap();
    assert!(EmbeddedTable::open(folder.path()).is_err(), "one process owns the data");
    drop(table);
    for _ in 0..100 {
        // The writer's thread lets go of the store a moment after the table.
        if let Ok(table) = EmbeddedTable::open(folder.path()) {
            assert_eq!(table.get(&key("p", "a")).await.unwrap(), Some(item(3, "kept")));
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the store was not let go of");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_transactions_share_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let table = Arc::new(EmbeddedTable::open(folder.path()).unwrap());
    let writes: Vec<_> = (0..400)
        .map(|n| {
            let table = table.clone();
            tokio::spawn(async move {
                table
                    .transact(vec![put(
                        key("p", &n.to_string()),
                        item(1, "x"),
                        Condition::NotExists,
                    )])
                    .await
            })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    let stats = table.stats();
    let (commits, syncs) = (
        stats.commits.load(std::sync::atomic::Ordering::Relaxed),
        stats.syncs.load(std::sync::atomic::Ordering::Relaxed),
    );
    assert_eq!(commits, 400);
    assert!(syncs < 400, "{syncs} syncs");
}
