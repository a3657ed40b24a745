//! The template on LocalStack: every scenario of the embedded server, with the same trace; and what only a deployed
//! stack has: queues, schedules, functions that die.

mod deployed;

use countersign_aws_tests::{Cloud, Kind, Stack};
use countersign_it::{House, scenarios::SCENARIOS};
use futures_util::{StreamExt as _, stream};
use std::{sync::Arc, time::Instant};

/// Scenarios at once: each has several processes.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn everything_on_the_deployed_template() {
    let cloud = Cloud::start(Kind::LocalStack);
    // The test reads the queue itself at first. Exports come each minute, so that one comes while it looks.
    let parameters = ["DeliverWebhooks=false", "ExportSchedule=\"rate(1 minute)\""];
    let stack = Arc::new(Stack::deploy(cloud, &parameters).await);
    countersign_it::table::contract(Arc::new(stack.table()), "contract#").await;

    let mut failed: Vec<String> = stream::iter(SCENARIOS.iter().enumerate())
        .map(|(number, (name, scenario))| {
            let stack = stack.clone();
            let job = tokio::spawn(async move {
                let since = Instant::now();
                let workspace = format!("s{number}");
                let (house, own) = tokio::join!(House::on(stack, &workspace), House::start());
                tokio::join!(scenario(&house), scenario(&own));
                assert_same(name, &house.traces().await, &own.traces().await);
                eprintln!("    {name}: the same on both, {} ms", since.elapsed().as_millis());
            });
            async move { job.await.err().map(|_| (*name).to_owned()) }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |failed| failed)
        .collect()
        .await;
    for (name, job) in deployed::all(&stack) {
        let since = Instant::now();
        match tokio::spawn(job).await {
            Ok(()) => eprintln!("    {name}: {} ms", since.elapsed().as_millis()),
            Err(_) => failed.push(name.to_owned()),
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[track_caller]
fn assert_same(name: &str, deployed: &[Vec<String>], embedded: &[Vec<String>]) {
    assert_eq!(deployed.len(), embedded.len(), "{name}: another number of executions");
    for (number, (deployed, embedded)) in deployed.iter().zip(embedded).enumerate() {
        for (line, (deployed, embedded)) in deployed.iter().zip(embedded).enumerate() {
            assert_eq!(deployed, embedded, "{name}: execution {number}, event {}", line + 1);
        }
        assert_eq!(deployed.len(), embedded.len(), "{name}: execution {number}");
    }
}
