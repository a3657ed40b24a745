//! One budget, many workers: what every store must hold.

use crate::desk::Desk;
use contracts::governance::{Budgets, Look, Measure, Meter, MeterScope, SetBudgets};
use engine::ports::Table;
use serde_json::json;
use std::sync::Arc;

const WORKERS: u64 = 64;
const LIMIT: u64 = 20;

/// 64 workers claim of a budget for 20 at once: 20 steps run, the others are held, and nothing is over-spent or lost.
pub async fn nobody_overspends(table: Arc<dyn Table>) {
    let desk = Arc::new(Desk::new(table).await);
    let meter = |id: &str, scope, limit| Meter {
        id: id.into(),
        scope,
        measure: Measure::Steps,
        window_seconds: 86_400,
        limit,
        only: Vec::new(),
    };
    let meters = vec![meter("all", MeterScope::Workspace, Some(LIMIT)), meter("each", MeterScope::Operation, None)];
    let budgets = SetBudgets { budgets: Budgets { plan: None, meters }, force: false, reason: None };
    desk.engine.set_budgets(&desk.agent, budgets).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..WORKERS {
        let step = json!([{ "id": "look", "use": "crm/customer.find", "with": { "email": "a@x.org" } }]);
        ids.push(desk.submit(step).await);
    }
    let workers: Vec<_> = ids
        .iter()
        .cloned()
        .map(|id| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.drive(&id).await })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let mut statuses = std::collections::BTreeMap::<String, u64>::new();
    for id in &ids {
        let request = serde_json::from_value(json!({ "executionId": id })).unwrap();
        let view = desk.engine.get(&desk.agent, request).await.unwrap().execution;
        *statuses.entry(view.steps[0].status.clone()).or_default() += 1;
    }
    let wanted = [("completed".to_owned(), LIMIT), ("held".to_owned(), WORKERS - LIMIT)];
    assert_eq!(statuses, wanted.into());
    let usage = desk.engine.budgets(&desk.agent, Look {}).await.unwrap().usage;
    assert_eq!(usage.iter().map(|usage| usage.used).collect::<Vec<_>>(), [LIMIT, LIMIT], "{usage:?}");
}
