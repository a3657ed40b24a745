//! Range reads that see what was there before some commits, and then what was there after them: as
//! the pages of a query, between which others commit.

use async_trait::async_trait;
use contracts::{ExecutionId, approval::CommentApproval};
use countersign_it::fixture::EngineFixture;
use countersign_store::{
    Item, Key, PortError, Query, Table, TransactionError, Write, keys, memory::MemoryTable,
};
use engine::WaitRequest;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// A table whose next query of a partition sees old items up to a key.
#[derive(Default)]
struct TornTable {
    inner: MemoryTable,
    torn: Mutex<Option<Torn>>,
}

struct Torn {
    old: Vec<(Key, Item)>,
    until: String,
}

#[async_trait]
impl Table for TornTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, PortError> {
        self.inner.get(key).await
    }
    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, PortError> {
        let new = self.inner.query(query).await?;
        let Some(Torn { old, until }) = self.torn.lock().unwrap().take() else {
            return Ok(new);
        };
        let old = old.into_iter().filter(|(key, _)| key.sort < until);
        Ok(old.chain(new.into_iter().filter(|(key, _)| key.sort >= until)).collect())
    }
    async fn transact(&self, writes: Vec<Write>) -> Result<(), TransactionError> {
        self.inner.transact(writes).await
    }
}

/// Two commits between the pages of a load: one that changes an approval, and one that does not.
/// Right: an execution is as one commit left it, wherever the pages end.
#[tokio::test]
async fn what_is_loaded_between_two_commits_is_as_one_of_them_left_it() {
    let table = Arc::new(TornTable::default());
    let fixture = EngineFixture::new(table.clone()).await;
    let (engine, workspace) = (&fixture.engine, &fixture.agent.workspace);
    let steps = json!([{ "id": "p", "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }]);
    let id = fixture.submit(steps).await;
    fixture.drive(&id).await;
    let next = engine.runs.advance(workspace, &id, 1_000).await.unwrap();
    let query = Query::prefix(keys::execution(workspace, &id), keys::STATE, 1_000);
    let old = table.inner.query(&query).await.unwrap();
    let mut states = BTreeMap::new();
    let mut keep = async || states.extend([load(&fixture, &id).await]);
    keep().await;
    let approval = engine.store().load(workspace, &id).await.unwrap().state.approvals[0].id.clone();
    let comment = CommentApproval {
        execution_id: id.clone(),
        approval_id: approval,
        text: "look at the account".into(),
    };
    engine.approvals.comment(&fixture.agent, comment).await.unwrap();
    keep().await;
    let wait = WaitRequest { token: "token", seen: next.version + 1, seconds: 60 };
    engine.waker.register_wait(workspace, &id, wait).await.unwrap();
    keep().await;
    assert_eq!(states.len(), 3, "three commits: {states:?}");
    let cuts = old.iter().map(|(key, _)| key.sort.clone()).chain(["~".to_owned()]);
    for until in cuts {
        *table.torn.lock().unwrap() = Some(Torn { old: old.clone(), until: until.clone() });
        let (version, loaded) = load(&fixture, &id).await;
        assert_eq!(loaded, states[&version], "up to {until} as it was before");
    }
}

// The version that is loaded, and what a commit left.
async fn load(fixture: &EngineFixture, id: &ExecutionId) -> (u64, Value) {
    let loaded = fixture.engine.store().load(&fixture.agent.workspace, id).await.unwrap();
    (loaded.version, json!([loaded.state.steps, loaded.state.approvals]))
}
