//! A range read that sees half of a commit, as DynamoDB's queries may: nobody is shown a state that
//! never was.

use async_trait::async_trait;
use countersign_it::fixture::EngineFixture;
use countersign_store::{
    Item, Key, PortError, Query, Table, TransactionError, Write, keys, memory::MemoryTable,
};
use engine::NextStep;
use serde_json::json;
use std::sync::{Arc, Mutex};

/// Shows an item as it was before, for so many queries.
#[derive(Default)]
struct StaleTable {
    inner: MemoryTable,
    before: Mutex<Option<(Key, Item, u32)>>,
}

#[async_trait]
impl Table for StaleTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, PortError> {
        self.inner.get(key).await
    }
    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, PortError> {
        let mut found = self.inner.query(query).await?;
        if let Some((key, item, left)) =
            self.before.lock().unwrap().as_mut().filter(|(_, _, left)| *left > 0)
            && let Some(seen) = found.iter_mut().find(|(seen, _)| seen == key)
        {
            *left -= 1;
            seen.1 = item.clone();
        }
        Ok(found)
    }
    async fn transact(&self, writes: Vec<Write>) -> Result<(), TransactionError> {
        self.inner.transact(writes).await
    }
}

#[tokio::test]
async fn a_state_that_never_was_is_read_again() {
    let table = Arc::new(StaleTable::default());
    let fixture = EngineFixture::new(table.clone()).await;
    let id = fixture
        .submit(json!([{ "id": "a", "use": "crm/customer.find", "with": { "email": "a@x.org" } }]))
        .await;
    let head = keys::head(&fixture.agent.workspace, &id);
    let before = table.get(&head).await.unwrap().unwrap();
    assert_eq!(fixture.drive(&id).await, NextStep::Done);
    let show = |left| *table.before.lock().unwrap() = Some((head.clone(), before.clone(), left));
    let view = || async {
        let request = serde_json::from_value(json!({ "executionId": id })).unwrap();
        fixture.engine.queries.get(&fixture.agent, request).await
    };
    // The head of before, the step of after.
    show(2);
    let seen = view().await.unwrap().execution;
    let statuses = [seen.status.to_string(), seen.steps[0].status.to_string()];
    assert_eq!(statuses, ["completed", "completed"]);
    // What never fits together is no answer.
    show(u32::MAX);
    assert_eq!(view().await.unwrap_err().status, 500);
}
