//! The export function on AWS.

use countersign_fn_export::{routes, task};

fn main() -> Result<(), aws::Error> {
    aws::serve_and_call(routes(), |host, payload, left_ms| {
        let budget_ms = aws::schedule_budget_ms(left_ms);
        Box::pin(async move { task(&host.engine, &payload, budget_ms).await })
    })
}
