//! The authorize function on AWS.

use countersign_fn_authorize::authorize;

fn main() -> Result<(), aws::Error> {
    aws::tasks(|host, event, _| {
        Box::pin(
            async move { authorize(&host.engine, &event).await?.ok_or_else(aws::unauthorized) },
        )
    })
}
