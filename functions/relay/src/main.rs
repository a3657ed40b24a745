//! The relay function on AWS.

use countersign_fn_relay::handle;

fn main() -> Result<(), aws::Error> {
    aws::tasks(|host, batch, _| {
        Box::pin(async move { Ok(handle(&host.engine, &host.queue(), &batch).await) })
    })
}
