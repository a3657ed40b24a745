//! The verify function on AWS.

use countersign_fn_verify::{routes, task};

fn main() -> Result<(), aws::Error> {
    aws::serve(routes(), |host, payload, _| {
        Box::pin(async move { task(&host.engine, &payload).await })
    })
}
