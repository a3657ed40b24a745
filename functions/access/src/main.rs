//! The access function on AWS.

use countersign_fn_access::{health, keys, task, webhooks};

fn main() -> Result<(), aws::Error> {
    let routes = keys().merge(webhooks()).merge(health());
    aws::serve(routes, |host, payload, _| Box::pin(async move { task(&host.engine, &payload).await }))
}
