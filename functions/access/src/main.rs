//! The access function on AWS.

use countersign_fn_access::{routes, task};

fn main() -> Result<(), aws::Error> {
    aws::serve_and_sign_in(routes(), |host, payload, _| {
        Box::pin(async move { task(&host.engine, &payload).await })
    })
}
