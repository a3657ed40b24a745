//! The export function on AWS.

use countersign_fn_export::handle;

fn main() -> Result<(), aws::Error> {
    aws::tasks(|host, _, left_ms| {
        Box::pin(async move { handle(&host.engine, &host.archive(), aws::schedule_budget_ms(left_ms)).await })
    })
}
