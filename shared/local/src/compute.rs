//! Where work is done: connections, and kill switches, on threads that do nothing else; what costs
//! processor time on threads of its own; everyday work on those of whoever started the node, beside
//! the calls of tools, which it waits for most.
//!
//! INVARIANT (bounded-work): of what costs processor time only so much of one workspace is worked
//! on at once, whoever asks and by whatever keys, so that one workspace's work delays nobody
//! else's. So many of its executions are driven at once: a request waits behind turns of those, not
//! of all that it has under way.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    runtime::{Handle, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinHandle, JoinSet},
};

/// Threads of each kind, where the machine has so many.
const THREADS_MAX: usize = 4;
/// Pieces of one workspace that are worked on at once.
const AT_ONCE: usize = 2;
/// Requests of one key that are worked on or wait.
const WAITING_MAX: usize = 32;
/// Executions of one workspace that are driven at once; the others wait.
const DRIVEN_MAX: usize = 256;

/// The threads, and who uses them.
pub(crate) struct Compute {
    front: Handle,
    dear: Handle,
    everyday: Handle,
    runtimes: Mutex<Option<[Runtime; 2]>>,
    /// Everyday work that nobody waits for.
    begun: Mutex<JoinSet<()>>,
    /// Turns of each workspace.
    owners: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Places of each key.
    callers: Mutex<HashMap<u64, Arc<Semaphore>>>,
    /// Places of each workspace for executions that are driven.
    driven: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A piece of work gave no result.
#[derive(Debug)]
pub(crate) enum Ended {
    Panicked,
    /// The server stops.
    Stopped,
}

impl From<JoinError> for Ended {
    fn from(error: JoinError) -> Self {
        if error.is_panic() { Self::Panicked } else { Self::Stopped }
    }
}

impl Compute {
    /// Everyday work is done where this is called: within a runtime.
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let runtime = |name: &str, threads: usize| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads).thread_name(name).enable_all().build()
        };
        // Connections cost little; each thread more is one more to wake.
        let (front, dear) = (runtime("front", threads.div_ceil(2))?, runtime("dear", threads)?);
        Ok(Arc::new(Self {
            front: front.handle().clone(),
            dear: dear.handle().clone(),
            everyday: Handle::current(),
            runtimes: Mutex::new(Some([front, dear])),
            begun: Mutex::default(),
            owners: Mutex::default(),
            callers: Mutex::default(),
            driven: Mutex::default(),
        }))
    }

    /// The threads that connections are served by.
    pub(crate) fn front(&self) -> &Handle {
        &self.front
    }

    /// Does everyday work, which ends with who waits for it.
    pub(crate) async fn everyday<F>(&self, work: F) -> Result<F::Output, Ended>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let mut task = Task(self.everyday.spawn(work));
        Ok((&mut task.0).await?)
    }

    /// Begins everyday work that nobody waits for.
    pub(crate) fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        while begun.try_join_next().is_some() {}
        begun.spawn_on(work, &self.everyday);
    }

    /// A place among the executions of a workspace whose steps are called, until it is dropped.
    /// `None`: the server stops.
    pub(crate) async fn driven(&self, owner: &str) -> Option<OwnedSemaphorePermit> {
        shared(&self.driven, owner.to_owned(), DRIVEN_MAX).acquire_owned().await.ok()
    }

    /// Ends all work where it is.
    pub(crate) fn end(&self) {
        let runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A runtime that is dropped waits, which is forbidden within another.
        runtimes.into_iter().flatten().for_each(Runtime::shutdown_background);
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// A place for a request of a caller, until it is dropped. `None`: too many of his have one.
    pub(crate) fn place(&self, caller: u64) -> Option<OwnedSemaphorePermit> {
        shared(&self.callers, caller, WAITING_MAX).try_acquire_owned().ok()
    }

    /// Does a piece of work when it is its owner's turn.
    pub(crate) async fn run<F>(&self, owner: &str, work: F) -> Result<F::Output, Ended>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let owner = shared(&self.owners, owner.to_owned(), AT_ONCE);
        let Ok(_turn) = owner.acquire().await else { return Err(Ended::Stopped) };
        // Ends with who waits for it: nobody wants its result then.
        let mut task = Task(self.dear.spawn(work));
        Ok((&mut task.0).await?)
    }
}

// The semaphore of a name. Those that nobody uses now are forgotten.
fn shared<N: Eq + Hash>(
    all: &Mutex<HashMap<N, Arc<Semaphore>>>,
    name: N,
    permits: usize,
) -> Arc<Semaphore> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|other, semaphore| *other == name || Arc::strong_count(semaphore) > 1);
    all.entry(name).or_insert_with(|| Arc::new(Semaphore::new(permits))).clone()
}

impl Drop for Compute {
    fn drop(&mut self) {
        self.end();
    }
}

struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn bounded_work_one_callers_places_are_taken_and_anothers_are_free() {
        let compute = Compute::new().unwrap();
        let places: Vec<_> = (0..40).map_while(|_| compute.place(1)).collect();
        assert_eq!(places.len(), WAITING_MAX);
        assert!(compute.place(2).is_some());
        drop(places);
        assert!(compute.place(1).is_some());
    }

    #[tokio::test]
    async fn bounded_work_one_workspaces_executions_wait_for_places_and_anothers_are_driven() {
        let compute = Compute::new().unwrap();
        let mut places = Vec::new();
        for _ in 0..DRIVEN_MAX {
            places.push(compute.driven("a").await);
        }
        // A task that did so much gives way first.
        tokio::task::yield_now().await;
        assert!(compute.driven("a").now_or_never().is_none(), "one more waits");
        assert!(compute.driven("b").now_or_never().is_some(), "another waits for nobody");
        places.pop();
        assert!(compute.driven("a").now_or_never().is_some());
    }

    #[tokio::test]
    async fn bounded_work_one_workspaces_turns_are_taken_and_anothers_are_free() {
        let compute = Compute::new().unwrap();
        let endless = || {
            let compute = compute.clone();
            tokio::spawn(async move { compute.run("a", std::future::pending::<()>()).await })
        };
        let many: Vec<_> = (0..40).map(|_| endless()).collect();
        while shared(&compute.owners, "a".into(), AT_ONCE).available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(compute.run("b", async {}).await.is_ok(), "another waits for nobody");
        many.iter().for_each(|task| task.abort());
    }
}
