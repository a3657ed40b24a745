//! Concurrent claims on one budget, on every store.

use crate::fixture::EngineFixture;
use contracts::governance::{Budgets, EmptyQuery, Measure, Meter, MeterScope, SetBudgets};
use countersign_store::Table;
use serde_json::json;
use std::sync::Arc;

const WORKERS: u64 = 64;
const LIMIT: u64 = 20;

/// 64 workers claim at once from a budget for 20: 20 steps run, the others are held, and nothing is
/// overspent or lost.
pub async fn nobody_overspends(table: Arc<dyn Table>) {
    let fixture = Arc::new(EngineFixture::new(table).await);
    let meter = |id: &str, scope, limit| Meter {
        id: id.into(),
        scope,
        measure: Measure::Steps,
        window_seconds: 86_400,
        limit,
        only: Vec::new(),
    };
    let meters = vec![
        meter("all", MeterScope::Workspace, Some(LIMIT)),
        meter("each", MeterScope::Operation, None),
    ];
    let budgets =
        SetBudgets { budgets: Budgets { plan: None, meters }, force: false, reason: None };
    fixture.engine.limits.set_budgets(&fixture.agent, budgets).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..WORKERS {
        let step =
            json!([{ "id": "look", "use": "crm/customer.find", "with": { "email": "a@x.org" } }]);
        ids.push(fixture.submit(step).await);
    }
    let workers: Vec<_> = ids
        .iter()
        .cloned()
        .map(|id| {
            let fixture = fixture.clone();
            tokio::spawn(async move { fixture.drive(&id).await })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let mut statuses = std::collections::BTreeMap::<String, u64>::new();
    for id in &ids {
        let request = serde_json::from_value(json!({ "executionId": id })).unwrap();
        let view = fixture.engine.queries.get(&fixture.agent, request).await.unwrap().execution;
        *statuses.entry(view.steps[0].status.to_string()).or_default() += 1;
    }
    let wanted = [("completed".to_owned(), LIMIT), ("held".to_owned(), WORKERS - LIMIT)];
    assert_eq!(statuses, wanted.into());
    let usage = fixture.engine.limits.budgets(&fixture.agent, EmptyQuery {}).await.unwrap().usage;
    assert_eq!(
        usage.iter().map(|usage| usage.used).collect::<Vec<_>>(),
        [LIMIT, LIMIT],
        "{usage:?}"
    );
}
