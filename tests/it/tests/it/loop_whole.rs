//! Every scenario on the embedded server.

use countersign_it::{House, scenarios::SCENARIOS};

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_on_the_embedded_server() {
    let jobs: Vec<_> = SCENARIOS
        .iter()
        .map(|(name, scenario)| (name, tokio::spawn(async move { scenario(&House::start().await).await })))
        .collect();
    let mut failed = Vec::new();
    for (name, job) in jobs {
        if job.await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
