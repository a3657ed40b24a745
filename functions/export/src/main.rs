//! The export function on AWS.

use countersign_fn_export::handle;

fn main() -> Result<(), aws::Error> {
    aws::tasks(|host, payload, left_ms| {
        let budget_ms = aws::schedule_budget_ms(left_ms);
        Box::pin(async move { handle(&host.engine, &host.archive(), &payload, budget_ms).await })
    })
}
