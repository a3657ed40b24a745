//! The sweep function on AWS.

use countersign_fn_sweep::handle;

fn main() -> Result<(), aws::Error> {
    aws::tasks(|host, _, left_ms| {
        Box::pin(async move {
            handle(&host.engine, &host.queue(), aws::schedule_budget_ms(left_ms)).await
        })
    })
}
