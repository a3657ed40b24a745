//! The DynamoDB adapter: the contract of every table, injected troubles, and the simulation of the
//! foundation over it.

use aws_smithy_async::{
    rt::sleep::{AsyncSleep, Sleep},
    time::TimeSource,
};
use countersign_aws_tests::dynamo::{Dynamo, FaultPlan, InjectedFault};
use countersign_it::table::{contract, item, key, put};
use countersign_sim::{Shared, SimClock, SimIds, Store as _, run_on};
use countersign_store::{Condition, PortError, Table as _, TransactionError, Write};
use host::{SystemClock, SystemIds};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Seeds of the simulation.
const SEEDS: u64 = 150;

fn dynamo(troubles: Option<FaultPlan>) -> Dynamo {
    Dynamo::with(Arc::new(SystemClock), Arc::new(SystemIds), troubles, |aws| aws)
}

/// FaultPlan for the first requests of an operation, in order; then none.
fn first(operation: &'static str, troubles: &[InjectedFault]) -> FaultPlan {
    let left = Mutex::new(troubles.to_vec());
    Arc::new(move |asked| {
        let mut left = left.lock().unwrap();
        (asked == operation && !left.is_empty()).then(|| left.remove(0))
    })
}

fn pair() -> Vec<Write> {
    vec![
        put(key("p", "a"), item(1, "a"), Condition::NotExists),
        put(key("p", "b"), item(1, "b"), Condition::NotExists),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    contract(Arc::new(dynamo(None)), "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_overspends_one_budget() {
    countersign_it::budget::nobody_overspends(Arc::new(dynamo(None))).await;
}

#[tokio::test]
async fn passing_troubles_are_tried_again_and_done_once() {
    for trouble in [
        InjectedFault::Throttled,
        InjectedFault::Conflict,
        InjectedFault::Failed,
        InjectedFault::LostBefore,
        // Committed already: the same request token says so instead of `NotExists` failing.
        InjectedFault::LostAfter,
        InjectedFault::FailedAfter,
    ] {
        let table = dynamo(Some(first("TransactWriteItems", &[trouble, trouble])));
        assert_eq!(table.transact(pair()).await, Ok(()), "{trouble:?}");
        assert_eq!(table.dump().len(), 2, "{trouble:?}");
        assert_eq!(table.requests.lock().unwrap().len(), 3, "{trouble:?}");
    }
}

#[tokio::test]
async fn lasting_troubles_are_faults_and_the_tries_end() {
    for (trouble, most) in [
        (InjectedFault::Throttled, 4),
        (InjectedFault::LostBefore, 4),
        (InjectedFault::Failed, 4),
        (InjectedFault::Conflict, 10),
    ] {
        let table = dynamo(Some(Arc::new(move |_| Some(trouble))));
        let outcome = table.transact(pair()).await;
        assert!(
            matches!(outcome, Err(TransactionError::Port(PortError::Unavailable(_)))),
            "{trouble:?}: {outcome:?}"
        );
        let tries = table.requests.lock().unwrap().len();
        assert!((2..=most).contains(&tries), "{trouble:?}: {tries} tries");
        assert!(table.dump().is_empty());
    }
    // Nobody gets other credentials by asking again.
    let table = dynamo(Some(Arc::new(|_| Some(InjectedFault::ExpiredCredentials))));
    assert!(matches!(table.get(&key("p", "a")).await,
            Err(PortError::Unavailable(why)) if why.contains("ExpiredToken")));
    assert!(table.requests.lock().unwrap().len() <= 4);
}

#[tokio::test]
async fn a_condition_that_fails_is_never_tried_again_and_names_its_write() {
    let table = dynamo(None);
    table.transact(pair()).await.unwrap();
    table.requests.lock().unwrap().clear();
    let mut writes = pair();
    writes.remove(0);
    writes.insert(0, put(key("p", "c"), item(1, "c"), Condition::NotExists));
    assert_eq!(table.transact(writes).await, Err(TransactionError::Condition(1)));
    assert_eq!(table.requests.lock().unwrap().len(), 1);
    assert_eq!(table.dump().len(), 2);
}

#[tokio::test]
async fn a_store_in_trouble_is_not_asked_more_than_one_that_is_well() {
    let table = dynamo(Some(Arc::new(|_| Some(InjectedFault::Conflict))));
    for _ in 0..40 {
        let _ = table.transact(pair()).await;
    }
    let tries = table.requests.lock().unwrap().len();
    assert!(
        tries <= 40 + 100,
        "the budget of retries was spent, and then there were none: {tries}"
    );
}

#[test]
fn the_simulation_holds_every_invariant_over_it() {
    let mut broken = Vec::new();
    let (mut commits, mut executions) = (0, 0);
    for seed in 0..SEEDS {
        let outcome = run_on(seed, |shared| {
            let troubles: FaultPlan = {
                let shared = shared.clone();
                Arc::new(move |operation| trouble(&shared, operation))
            };
            let (clock, ids) =
                (Arc::new(SimClock(shared.clone())), Arc::new(SimIds(shared.clone())));
            let simulated = Simulated(shared.clone());
            Arc::new(Dynamo::with(clock, ids, Some(troubles), |aws| {
                aws.simulated(simulated.clone(), simulated)
            }))
        });
        commits += outcome.commits;
        executions += outcome.executions;
        if !outcome.violations.is_empty() {
            broken.push((seed, outcome.violations));
        }
    }
    eprintln!("{SEEDS} seeds on DynamoDB: {executions} executions, {commits} commits");
    assert!(broken.is_empty(), "{broken:#?}");
}

fn trouble(shared: &Shared, operation: &str) -> Option<InjectedFault> {
    let write = operation == "TransactWriteItems";
    let rarely = if write { 25 } else { 150 };
    if !shared.one_in(rarely) {
        return None;
    }
    let all = [
        InjectedFault::Throttled,
        InjectedFault::Conflict,
        InjectedFault::LostBefore,
        InjectedFault::LostAfter,
        InjectedFault::FailedAfter,
        InjectedFault::Failed,
        InjectedFault::ExpiredCredentials,
    ];
    Some(all[shared.pick(all.len())])
}

/// The simulation's time, for the SDK.
#[derive(Clone)]
struct Simulated(Arc<Shared>);

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Simulated")
    }
}

impl AsyncSleep for Simulated {
    fn sleep(&self, duration: Duration) -> Sleep {
        let shared = self.0.clone();
        Sleep::new(async move { shared.sleep(duration.as_millis() as u64).await })
    }
}

impl TimeSource for Simulated {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.now().ms() as u64)
    }
}
