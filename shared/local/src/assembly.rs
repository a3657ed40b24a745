//! How the functions are put together in one process: what starts each, as the template says it for
//! AWS. The node serves and begins what stands here, and nothing else.

use crate::{
    asl::{Machine, State},
    compute::Compute,
    deliver, inbound,
    relay::{self, Committed},
    schedule,
    walker::TaskFunction,
};
use contracts::endpoint::Auth;
use edge::Routes;
use engine::Engine;
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};
use tokio::sync::Notify;

/// What starts a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// A request: method and path.
    Route(&'static str, &'static str),
    /// Every request that shows an API key, before its route.
    Door,
    /// A task of the state machine.
    Task,
    /// Commits.
    Stream,
    /// Stage events on their way.
    Queue,
    /// Time.
    Schedule,
}

/// What pipelines are made of.
pub(crate) struct Parts {
    engine: Weak<Engine>,
    committed: Option<Committed>,
    /// Something came in through a channel.
    inbound: Arc<Notify>,
    /// Deliveries may be due earlier than was thought.
    due: Arc<Notify>,
}

impl Parts {
    pub(crate) fn new(
        engine: &Arc<Engine>,
        (committed, inbound): (Committed, Arc<Notify>),
    ) -> Self {
        let (due, engine) = (Arc::default(), Arc::downgrade(engine));
        Self { engine, committed: Some(committed), inbound, due }
    }
}

/// Functions that run without being asked, and how they run here.
struct Pipeline {
    functions: &'static [(&'static str, Trigger)],
    run: fn(&mut Parts) -> BoxFuture<'static, ()>,
}

const PIPELINES: &[Pipeline] = &[
    // What leaves the outbox is delivered at once: there is no queue in between.
    Pipeline {
        functions: &[("relay", Trigger::Stream), ("deliver", Trigger::Queue)],
        run: |parts| {
            let (engine, due) = (parts.engine.clone(), parts.due.clone());
            match parts.committed.take() {
                Some(committed) => Box::pin(relay::run(engine, committed, due)),
                None => Box::pin(async {}),
            }
        },
    },
    Pipeline {
        functions: &[("deliver", Trigger::Schedule)],
        run: |parts| Box::pin(deliver::run(parts.engine.clone(), parts.due.clone())),
    },
    Pipeline {
        functions: &[("channel", Trigger::Stream)],
        run: |parts| Box::pin(inbound::run(parts.engine.clone(), parts.inbound.clone())),
    },
    Pipeline {
        functions: &[("sweep", Trigger::Schedule)],
        run: |parts| Box::pin(schedule::sweep(parts.engine.clone())),
    },
    Pipeline {
        functions: &[("export", Trigger::Schedule)],
        run: |parts| Box::pin(schedule::export(parts.engine.clone())),
    },
];

/// What every function serves.
const SERVED: &[fn() -> Routes] = &[
    fn_submit::routes,
    fn_compile::routes,
    fn_verify::routes,
    fn_control::routes,
    fn_approve::routes,
    fn_query::routes,
    fn_console::routes,
    fn_skill::routes,
    fn_access::routes,
    fn_deliver::routes,
    fn_channel::routes,
    fn_export::routes,
];

/// The routes of all functions.
pub fn routes() -> Routes {
    SERVED.iter().fold(Routes::new(), |routes, own| routes.merge(own()))
}

/// Begins every pipeline.
pub(crate) fn begin(compute: &Compute, mut parts: Parts) {
    for pipeline in PIPELINES {
        compute.begin((pipeline.run)(&mut parts));
    }
}

/// Every function and what starts it here, with a state machine.
pub fn assembly(machine: &Machine) -> BTreeSet<(&'static str, Trigger)> {
    let routes = routes();
    let mut all = BTreeSet::new();
    for endpoint in routes.served() {
        all.insert((endpoint.function, Trigger::Route(endpoint.method.as_str(), endpoint.path)));
        if endpoint.auth == Auth::ApiKey {
            // Serving such a route is asking what the door asks.
            all.insert(("authorize", Trigger::Door));
        }
    }
    for state in machine.states.values() {
        if let State::Task(task) = state
            && let Some(function) = TaskFunction::named(&task.parameters.function_name)
        {
            all.insert((function.name(), Trigger::Task));
        }
    }
    all.extend(PIPELINES.iter().flat_map(|pipeline| pipeline.functions).copied());
    all
}
