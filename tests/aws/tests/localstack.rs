//! The template on LocalStack: every scenario of the embedded server, with the same trace; and what
//! only a deployed stack has: queues, schedules, functions that die.

mod deployed;

use countersign_aws_tests::{Cloud, Kind, Stack};
use countersign_it::{TestServer, scenarios::SCENARIOS};
use futures_util::{StreamExt as _, stream};
use std::{sync::Arc, time::Instant};

/// Scenarios at once: each has several processes.
const AT_ONCE: usize = 4;

/// Whether a scenario is asked for: `SCENARIO` is a part of its name.
fn asked_for(name: &str) -> bool {
    std::env::var("SCENARIO").map_or(true, |part| name.contains(&part))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_on_the_deployed_template() {
    let cloud = Cloud::start(Kind::LocalStack);
    // The test reads the queue itself at first. Exports come each minute, so that one comes while
    // it looks.
    let mut parameters = vec!["DeliverWebhooks=false", "ExportSchedule=\"rate(1 minute)\""];
    parameters.extend(deployed::tools::PARAMETERS);
    parameters.push(deployed::people::PARAMETER);
    let stack = Arc::new(Stack::deploy(cloud, &parameters).await);
    countersign_it::table::contract(Arc::new(stack.table()), "contract#").await;

    let scenarios = SCENARIOS.iter().enumerate().filter(|(_, (name, _))| asked_for(name));
    let mut failed: Vec<String> = stream::iter(scenarios)
        .map(|(number, (name, scenario))| {
            let stack = stack.clone();
            let job = tokio::spawn(async move {
                let since = Instant::now();
                let workspace = format!("s{number}");
                let (server, own) =
                    tokio::join!(TestServer::on(stack, &workspace), TestServer::start());
                tokio::join!(scenario(&server), scenario(&own));
                assert_same(name, &server.traces().await, &own.traces().await);
                eprintln!("    {name}: the same on both, {} ms", since.elapsed().as_millis());
            });
            async move { job.await.err().map(|_| (*name).to_owned()) }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |failed| failed)
        .collect()
        .await;
    for (name, job) in deployed::all(&stack).into_iter().filter(|(name, _)| asked_for(name)) {
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
