//! The channel function on AWS.

use countersign_fn_channel::{routes, task};

fn main() -> Result<(), aws::Error> {
    aws::serve_and_call(routes(), |host, payload, _| {
        Box::pin(async move { Ok(task(&host.engine, &payload).await) })
    })
}
