//! Kill switches contend with nothing that a caller without their grant can cause: told by what
//! each transaction asks for, not by a race.

use async_trait::async_trait;
use contracts::event::ActorKind;
use countersign_it::fixture::EngineFixture;
use countersign_store::{
    Condition, Item, Key, PortError, Query, Table, TransactionError, Write, memory::MemoryTable,
};
use engine::{Caller, NextStep, Steer, actor};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

/// A table that notes each transaction.
#[derive(Default)]
struct RecordingTable {
    inner: MemoryTable,
    noted: Mutex<Vec<Vec<Write>>>,
}

impl RecordingTable {
    fn take(&self) -> Vec<Vec<Write>> {
        std::mem::take(&mut self.noted.lock().unwrap())
    }
}

#[async_trait]
impl Table for RecordingTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, PortError> {
        self.inner.get(key).await
    }
    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, PortError> {
        self.inner.query(query).await
    }
    async fn transact(&self, writes: Vec<Write>) -> Result<(), TransactionError> {
        self.noted.lock().unwrap().push(writes.clone());
        self.inner.transact(writes).await
    }
}

// What a transaction can fail by.
fn asked(write: &Write) -> Option<&Key> {
    match write {
        Write::Put { condition: Condition::Any, .. }
        | Write::Delete { condition: Condition::Any, .. } => None,
        Write::Put { key, .. } | Write::Delete { key, .. } | Write::Check { key, .. } => Some(key),
    }
}

// Sample: 24 connections of refused installs by an agent, while a person sets a freeze, 40 times.
#[tokio::test]
async fn authority_no_kill_switch_asks_for_anything_that_a_refused_install_writes() {
    let table = Arc::new(RecordingTable::default());
    let fixture = EngineFixture::new(table.clone()).await;
    let (engine, agent) = (&fixture.engine, &fixture.agent);
    let person = Caller { actor: actor(ActorKind::Human, "grace"), ..agent.clone() };
    let key = json!({ "actor": { "kind": "agent", "id": "bot" }, "grants": [] });
    let key = engine
        .access
        .create_key(&person, serde_json::from_value(key).unwrap())
        .await
        .unwrap()
        .key
        .id;
    let pay = json!([{ "id": "p", "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }]);
    let (cancelled, aborted) = (fixture.submit(pay.clone()).await, fixture.submit(pay).await);
    for id in [&cancelled, &aborted] {
        assert_eq!(fixture.drive(id).await, NextStep::Blocked);
    }
    let zeros = format!("sha256:{}", "0".repeat(64));
    let install =
        json!({ "skillKey": "x", "version": "1.0.0", "artifactDigest": zeros, "manifest": {} });
    let refused = async || {
        table.take();
        engine
            .skills
            .install_skill(agent, serde_json::from_value(install.clone()).unwrap())
            .await
            .unwrap_err();
        let noted = table.take().concat();
        let writes = noted.iter().filter(|write| !matches!(write, Write::Check { .. }));
        writes.map(|write| write.key().clone()).collect::<BTreeSet<Key>>()
    };
    for switch in ["freeze", "lift", "disable", "disable one", "revoke", "cancel", "abort"] {
        let mut written = refused().await;
        let body: Value = match switch {
            "freeze" | "lift" => {
                json!({ "scope": "skill", "key": "crm", "frozen": switch == "freeze" })
            }
            "disable" => json!({ "skillKey": "crm" }),
            "disable one" => json!({ "skillKey": "crm", "version": "1.2.0" }),
            "revoke" => json!({ "keyId": key }),
            "cancel" => json!({ "executionId": cancelled }),
            _ => json!({ "executionId": aborted }),
        };
        match switch {
            "freeze" | "lift" => {
                drop(
                    engine
                        .limits
                        .set_freeze(&person, serde_json::from_value(body).unwrap())
                        .await
                        .unwrap(),
                );
            }
            "disable" | "disable one" => {
                drop(
                    engine
                        .skills
                        .disable_skill(&person, serde_json::from_value(body).unwrap())
                        .await
                        .unwrap(),
                );
            }
            "revoke" => drop(
                engine
                    .access
                    .revoke_key(&person, serde_json::from_value(body).unwrap())
                    .await
                    .unwrap(),
            ),
            "cancel" => drop(
                engine
                    .controls
                    .cancel(&person, serde_json::from_value(body).unwrap())
                    .await
                    .unwrap(),
            ),
            _ => {
                let request = serde_json::from_value(body).unwrap();
                drop(engine.controls.steer(&person, request, Steer::Abort).await.unwrap());
            }
        }
        // The first transaction is the switch; what comes behind it may fail and be made good.
        let noted = table.take();
        written.extend(refused().await);
        let asks: Vec<&Key> = noted[0].iter().filter_map(asked).collect();
        assert!(!asks.is_empty() && written.len() > 3, "{switch}");
        for key in asks {
            assert!(!written.contains(key), "{switch} waits for {key:?}");
        }
    }
}
