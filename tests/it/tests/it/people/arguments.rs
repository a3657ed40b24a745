//! What was approved is what is sent: the arguments of a call are changed after people approved it.

use super::kit::PeopleFixture;
use async_trait::async_trait;
use contracts::{
    ExecutionId,
    approval::{Decision, Vote, VoteApprovals},
    event::ActorKind,
};
use countersign_it::fixture::by_hand;
use cs_core::execution::ApprovalStatus;
use engine::{
    Caller, actor,
    ports::{ToolAnswer, ToolCall, Tools},
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

fn is_refund(input: &Value) -> bool {
    input.get("amount").is_some()
}

/// Tools that keep what they were sent.
#[derive(Default)]
struct Recorder(Mutex<Vec<Value>>);

#[async_trait]
impl Tools for Recorder {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        let input: Value = serde_json::from_slice(&call.body).unwrap();
        let output = match is_refund(&input) {
            true => json!({ "refundId": "ref_1", "status": "done" }),
            false => json!({ "id": "cus_ada", "name": "ada", "email": "ada@x.org",
                "active": true, "notes": "" }),
        };
        self.0.lock().unwrap().push(input);
        ToolAnswer::Output(output.to_string().into_bytes())
    }
}

impl Recorder {
    fn refunds(&self) -> Vec<Value> {
        let calls = self.0.lock().unwrap();
        calls.iter().filter(|input| is_refund(input)).cloned().collect()
    }
}

async fn fixture() -> (PeopleFixture, Arc<Recorder>) {
    let tools = Arc::new(Recorder::default());
    (PeopleFixture::with_tools(tools.clone()).await, tools)
}

// Approves whatever is asked, until nothing is.
async fn approve(fixture: &PeopleFixture, id: &ExecutionId) -> usize {
    let engine = &fixture.engine.engine;
    let ada = Caller { actor: actor(ActorKind::Human, "ada"), ..fixture.root.clone() };
    let loaded = engine.store().load(&fixture.root.workspace, id).await.unwrap();
    let open = loaded.state.approvals.iter().filter(|one| one.state == ApprovalStatus::Requested);
    let votes: Vec<Vote> = open
        .map(|asked| Vote {
            execution_id: id.clone(),
            approval_id: asked.id.clone(),
            view_digest: asked.view.clone(),
            decision: Decision::Approve,
            reason: None,
        })
        .collect();
    let count = votes.len();
    if count > 0 {
        engine.approvals.vote(&ada, VoteApprovals { approvals: votes }).await.unwrap();
    }
    count
}

// Goes on in another process, which remembers nothing.
async fn resume(fixture: &PeopleFixture, tools: &Arc<Recorder>, id: &ExecutionId) {
    let (clock, mails) = (fixture.engine.clock.clone(), fixture.engine.mails.clone());
    let table = fixture.table.clone();
    let (engine, _) =
        by_hand(table, clock, fixture.engine.signals.clone(), tools.clone(), mails).await;
    let _ = engine.runs.advance(&fixture.root.workspace, id, 60_000).await;
}

/// An amount is changed in whatever the store has of an execution, one item after another and all
/// at once, between the approval and the call. Right: what is sent is what was approved, or
/// nothing.
#[tokio::test]
async fn attack_arguments_are_changed_in_the_store_after_the_approval() {
    let (probe, _) = fixture().await;
    let (id, _) = probe.ask().await;
    approve(&probe, &id).await;
    let partition = countersign_store::keys::execution(&probe.root.workspace, &id);
    let says = |body: &[u8]| String::from_utf8_lossy(body).contains("4200");
    let stored = probe.stored();
    let sorts: Vec<String> = stored
        .iter()
        .filter(|(key, item)| key.partition == partition && says(&item.body))
        .map(|(key, _)| key.sort.split('#').take(2).collect::<Vec<_>>().join("#"))
        .collect();
    assert!(sorts.len() > 2, "{sorts:?}");
    let (mut withheld, mut sent) = (0, 0);
    for changed in sorts.iter().map(Some).chain([None]) {
        let (fixture, tools) = fixture().await;
        let (id, _) = fixture.ask().await;
        approve(&fixture, &id).await;
        let own = countersign_store::keys::execution(&fixture.root.workspace, &id);
        let keys: Vec<_> = fixture
            .stored()
            .into_keys()
            .filter(|key| key.partition == own)
            .filter(|key| changed.is_none_or(|sort| key.sort.starts_with(sort.as_str())))
            .collect();
        for key in &keys {
            fixture.table.tamper(key, |item| {
                let body = String::from_utf8_lossy(&item.body).replace("4200", "9900");
                item.body = body.into_bytes();
            });
        }
        resume(&fixture, &tools, &id).await;
        let refunds = tools.refunds();
        assert!(refunds.iter().all(|input| input["amount"] == 4200), "{changed:?}: {refunds:?}");
        withheld += usize::from(refunds.is_empty());
        sent += refunds.len();
    }
    // What the call is made of withholds it; what only tells of it does not.
    assert!(withheld > 0 && sent + withheld == sorts.len() + 1, "{sent} {withheld}");
}

/// The customer that was found is another one by the time of the call than the one that people were
/// shown. Right: it is not sent; people are asked about what is there now.
#[tokio::test]
async fn attack_an_input_from_another_step_is_changed_after_the_approval() {
    let (fixture, tools) = fixture().await;
    let steps = json!([
        { "id": "customer", "use": "crm/customer.find", "with": { "email": "ada@x.org" } },
        { "id": "refund", "use": "payments/refund.create",
          "with": { "customer": { "$from": "customer", "path": "/id" }, "amount": 4200,
                    "currency": "EUR" } } ]);
    let id = fixture.engine.submit(steps).await;
    fixture.engine.drive(&id).await;
    // The customer is found by then, and shown.
    let loaded = fixture.engine.engine.store().load(&fixture.root.workspace, &id).await.unwrap();
    let last = loaded.state.approvals.last().unwrap();
    assert_eq!(last.step.as_ref().map(ToString::to_string).as_deref(), Some("refund"));
    approve(&fixture, &id).await;
    assert!(tools.refunds().is_empty());
    let own = countersign_store::keys::execution(&fixture.root.workspace, &id);
    let key = fixture
        .stored()
        .into_keys()
        .find(|key| key.partition == own && key.sort.starts_with("b#out#customer"))
        .unwrap();
    fixture.table.tamper(&key, |item| {
        let body = String::from_utf8_lossy(&item.body).replace("cus_ada", "cus_eve");
        item.body = body.into_bytes();
    });
    resume(&fixture, &tools, &id).await;
    assert!(tools.refunds().is_empty(), "{:?}", tools.refunds());
}
