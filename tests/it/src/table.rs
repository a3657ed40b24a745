//! The contract suite that every adapter of the `Table` port must pass.

use countersign_store::{Condition, Item, Key, PortError, Query, Table, TransactionError, Write};
use std::{collections::BTreeMap, sync::Arc};

/// A key.
pub fn key(partition: &str, sort: &str) -> Key {
    Key { partition: partition.into(), sort: sort.into() }
}

/// An item.
pub fn item(version: u64, body: &str) -> Item {
    Item { version, body: body.as_bytes().to_vec(), ..Item::default() }
}

/// A put.
pub fn put(key: Key, item: Item, condition: Condition) -> Write {
    Write::Put { key, item, condition }
}

/// Panics where a table breaks the contract. `mark` begins every partition it uses.
pub async fn contract(table: Arc<dyn Table>, mark: &str) {
    let key = |partition: &str, sort: &str| key(&format!("{mark}{partition}"), sort);
    let a = key("p", "a");
    assert_eq!(table.get(&a).await.unwrap(), None);
    let mut first = item(1, "one");
    first.fields = BTreeMap::from([("frozen".into(), 0), ("spent".into(), -7)]);
    first.expires_at = Some(9);
    table.transact(vec![put(a.clone(), first.clone(), Condition::NotExists)]).await.unwrap();
    assert_eq!(table.get(&a).await.unwrap(), Some(first.clone()));

    // Conditions, each holding and not.
    let refused = |condition: Condition| {
        let (table, a) = (table.clone(), a.clone());
        async move { table.transact(vec![Write::Check { key: a, condition }]).await }
    };
    let no = Err(TransactionError::Condition(0));
    assert_eq!(refused(Condition::NotExists).await, no);
    assert_eq!(refused(Condition::Exists).await, Ok(()));
    assert_eq!(refused(Condition::VersionIs(1)).await, Ok(()));
    assert_eq!(refused(Condition::VersionIs(2)).await, no);
    assert_eq!(refused(Condition::FieldAtMost("frozen".into(), 0)).await, Ok(()));
    assert_eq!(refused(Condition::FieldAtMost("spent".into(), -8)).await, no);
    assert_eq!(
        refused(Condition::FieldAtMost("absent".into(), 0)).await,
        Ok(()),
        "an absent field is 0"
    );
    let missing =
        Write::Check { key: key("p", "zz"), condition: Condition::FieldAtMost("frozen".into(), 0) };
    assert_eq!(table.transact(vec![missing]).await, no, "a missing item fails closed");
    let missing = Write::Check { key: key("p", "zz"), condition: Condition::VersionIs(0) };
    assert_eq!(table.transact(vec![missing]).await, no);

    // All or nothing, and the index of the write that failed.
    let both = vec![
        put(key("p", "b"), item(1, "b"), Condition::NotExists),
        put(a.clone(), item(2, "two"), Condition::VersionIs(7)),
    ];
    assert_eq!(table.transact(both).await, Err(TransactionError::Condition(1)));
    assert_eq!(table.get(&key("p", "b")).await.unwrap(), None);

    // Form: distinct keys, 1 to 100 writes.
    let twice = vec![
        put(a.clone(), item(2, "x"), Condition::Any),
        Write::Delete { key: a.clone(), condition: Condition::Any },
    ];
    assert!(matches!(
        table.transact(twice).await,
        Err(TransactionError::Port(PortError::Corrupt(_)))
    ));
    let many = |count: usize| {
        (0..count)
            .map(|n| put(key("many", &format!("{n:03}")), item(1, "m"), Condition::Any))
            .collect()
    };
    assert!(matches!(
        table.transact(many(101)).await,
        Err(TransactionError::Port(PortError::Corrupt(_)))
    ));
    assert!(matches!(
        table.transact(Vec::new()).await,
        Err(TransactionError::Port(PortError::Corrupt(_)))
    ));
    table.transact(many(100)).await.unwrap();

    // Sizes: an item, and all of a transaction together, are limited on every store alike.
    let sized = |count: usize, bytes: usize| {
        let item = |n: usize| Item { version: 1, body: vec![b'x'; bytes], ..item(n as u64, "") };
        (0..count).map(|n| put(key("large", &format!("{n:03}")), item(n), Condition::Any)).collect()
    };
    let too_large =
        |outcome| matches!(outcome, Err(TransactionError::Port(PortError::TooLarge(_))));
    assert!(too_large(table.transact(sized(1, 350 * 1024)).await), "its key and fields count too");
    assert!(too_large(table.transact(sized(11, 340 * 1024)).await));
    assert_eq!(table.get(&key("large", "000")).await.unwrap(), None, "nothing was written");
    table.transact(sized(10, 340 * 1024)).await.unwrap();
    assert_eq!(table.get(&key("large", "009")).await.unwrap().unwrap().body.len(), 340 * 1024);

    // Ranges: inclusive from, exclusive to, order, reverse, limit; neighbours of another partition
    // stay out.
    table
        .transact(vec![
            put(key("many2", "000"), item(1, "other"), Condition::Any),
            put(key("man", "y000"), item(1, "other"), Condition::Any),
        ])
        .await
        .unwrap();
    let query = |from: &str, to: &str, limit: usize, reverse: bool| Query {
        partition: format!("{mark}many"),
        from: from.into(),
        to: to.into(),
        limit,
        reverse,
    };
    let sorts =
        |found: Vec<(Key, Item)>| found.into_iter().map(|(key, _)| key.sort).collect::<Vec<_>>();
    assert_eq!(
        sorts(table.query(&query("010", "013", 9, false)).await.unwrap()),
        ["010", "011", "012"]
    );
    assert_eq!(sorts(table.query(&query("010", "013", 2, true)).await.unwrap()), ["012", "011"]);
    assert_eq!(table.query(&query("", "~", 1_000, false)).await.unwrap().len(), 100);
    assert_eq!(table.query(&query("5", "4", 10, false)).await.unwrap(), []);
    assert_eq!(
        sorts(table.query(&Query::prefix(format!("{mark}many"), "09", 100)).await.unwrap()).len(),
        10
    );

    // Page by page: every item once, in order, and then no more.
    let (mut paged, mut pages) = (Vec::new(), 0);
    let mut next = Some(query("", "~", 40, false));
    while let Some(query) = next {
        let items = table.query(&query).await.unwrap();
        next = query.behind(&items);
        paged.extend(sorts(items));
        pages += 1;
    }
    assert_eq!(
        (paged, pages),
        (sorts(table.query(&query("", "~", 1_000, false)).await.unwrap()), 3)
    );

    // Delete, and put again as new.
    table
        .transact(vec![Write::Delete { key: a.clone(), condition: Condition::VersionIs(1) }])
        .await
        .unwrap();
    assert_eq!(table.get(&a).await.unwrap(), None);
    table.transact(vec![put(a.clone(), item(1, "again"), Condition::NotExists)]).await.unwrap();

    // Compare and set under concurrency: every increment counts once.
    let counter = key("p", "counter");
    table.transact(vec![put(counter.clone(), item(0, ""), Condition::NotExists)]).await.unwrap();
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (table, counter) = (table.clone(), counter.clone());
            tokio::spawn(async move {
                let mut won = 0;
                while won < 25 {
                    let version = table.get(&counter).await.unwrap().unwrap().version;
                    let write =
                        put(counter.clone(), item(version + 1, ""), Condition::VersionIs(version));
                    match table.transact(vec![write]).await {
                        Ok(()) => won += 1,
                        Err(TransactionError::Condition(0)) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(table.get(&counter).await.unwrap().unwrap().version, 200);
}
