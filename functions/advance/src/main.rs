//! The advance function on AWS.

use countersign_fn_advance::task;

fn main() -> Result<(), aws::Error> {
    aws::calls(|host, payload, left_ms| {
        Box::pin(async move { task(&host.engine, &payload, aws::run_budget_ms(left_ms)).await })
    })
}
