//! The notify function on AWS.

use countersign_fn_notify::handle;

fn main() -> Result<(), aws::Error> {
    aws::calls(|host, batch, _| Box::pin(async move { Ok(handle(&host.engine, &batch).await) }))
}
