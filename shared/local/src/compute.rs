//! Work that costs processor time, on threads of its own, so that the small requests of everybody are answered meanwhile.
//!
//! INVARIANT (bounded-work): of one workspace only so much is worked on at once, whoever asks and by whatever keys, so that
//! one workspace's work delays nobody else's.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{runtime::Runtime, sync::Semaphore, task::JoinHandle};

/// Threads for such work, where the machine has so many.
const THREADS_MAX: usize = 4;
/// Pieces of one workspace that are worked on at once.
const AT_ONCE: usize = 2;
/// Requests of one workspace that are worked on or wait.
const WAITING_MAX: usize = 32;

/// The threads, and who uses them.
pub(crate) struct Compute {
    runtime: Option<Runtime>,
    owners: Mutex<HashMap<String, Arc<Owner>>>,
}

struct Owner {
    at_once: Semaphore,
    places: Semaphore,
}

/// Why a piece of work gave no result.
#[derive(Debug)]
pub(crate) enum Unworked {
    /// Too much of the same owner waits already.
    Full,
    /// It panicked, or the server stops.
    Ended,
}

impl Compute {
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(threads).thread_name("compute").enable_all().build()?;
        Ok(Arc::new(Self { runtime: Some(runtime), owners: Mutex::default() }))
    }

    /// Does a piece of work when it is its owner's turn; refuses it where too many of his wait.
    pub(crate) async fn try_run<F>(&self, owner: &str, work: F) -> Result<F::Output, Unworked>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let owner = self.owner(owner);
        let Ok(_place) = owner.places.try_acquire() else { return Err(Unworked::Full) };
        self.turn(&owner, work).await
    }

    /// Does a piece of work when it is its owner's turn.
    pub(crate) async fn run<F>(&self, owner: &str, work: F) -> Result<F::Output, Unworked>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.turn(&self.owner(owner), work).await
    }

    async fn turn<F>(&self, owner: &Owner, work: F) -> Result<F::Output, Unworked>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let Ok(_turn) = owner.at_once.acquire().await else { return Err(Unworked::Ended) };
        let Some(runtime) = &self.runtime else { return Err(Unworked::Ended) };
        // Ends with who waits for it: nobody wants its result then.
        let mut task = Task(runtime.spawn(work));
        (&mut task.0).await.map_err(|_| Unworked::Ended)
    }

    fn owner(&self, name: &str) -> Arc<Owner> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody uses now are forgotten.
        owners.retain(|other, owner| other == name || Arc::strong_count(owner) > 1);
        let new = || Arc::new(Owner { at_once: Semaphore::new(AT_ONCE), places: Semaphore::new(WAITING_MAX) });
        owners.entry(name.to_owned()).or_insert_with(new).clone()
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        // A runtime that is dropped waits, which is forbidden within another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
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

    #[tokio::test]
    async fn bounded_work_one_workspaces_queue_is_full_and_anothers_is_empty() {
        let compute = Compute::new().unwrap();
        let endless = |owner: &'static str| {
            let compute = compute.clone();
            tokio::spawn(async move { compute.try_run(owner, std::future::pending::<()>()).await })
        };
        let many: Vec<_> = (0..40).map(|_| endless("a")).collect();
        while compute.owner("a").places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(compute.try_run("a", async {}).await, Err(Unworked::Full)), "its places are taken");
        assert!(compute.try_run("b", async {}).await.is_ok(), "another waits for nobody");
        many.iter().for_each(|task| task.abort());
    }
}
