//! Requests that cost processor time, on threads of their own: compiling, judging past plans, installing, proving.

use axum::{body::Body, response::IntoResponse as _};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Body as _;
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{runtime::Runtime, sync::Semaphore};

/// Threads for such requests, where the machine has so many.
const THREADS_MAX: usize = 4;
/// Such requests of one caller that are worked on at once.
const AT_ONCE: usize = 2;
/// Such requests of one caller that are worked on or wait.
const WAITING_MAX: usize = 32;
/// A caller that waits comes again after so many seconds.
const RETRY_SECONDS: u64 = 1;
/// Bodies above this size are heavy whatever they are for, in bytes.
const BODY_BYTES_LIGHT: u64 = 16 * 1024;

/// Routes whose work grows with what is stored, or with schemas.
const ROUTES: [&str; 6] = ["/v1/skills", "/v1/policies", "/v1/trust", "/replay", "/plan", "/compile"];

/// Whether a request is one.
pub(super) fn is_heavy(request: &Request<hyper::body::Incoming>) -> bool {
    let size = request.body().size_hint().upper();
    of_size(request.method(), request.uri().path(), request.headers(), size)
}

fn of_size(method: &Method, path: &str, headers: &HeaderMap, upper: Option<u64>) -> bool {
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|size| size.to_str().ok()?.parse().ok());
    let size = upper.or(stated);
    let body = *method == Method::POST && size.is_none_or(|size| size > BODY_BYTES_LIGHT);
    body || ROUTES.iter().any(|route| path.starts_with(route) || path.ends_with(route))
}

/// The threads, and who uses them.
pub(super) struct Heavy {
    runtime: Option<Runtime>,
    callers: Mutex<HashMap<u64, Arc<Caller>>>,
}

struct Caller {
    at_once: Semaphore,
    places: Semaphore,
}

impl Heavy {
    pub(super) fn new() -> std::io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(threads).thread_name("heavy").enable_all().build()?;
        Ok(Self { runtime: Some(runtime), callers: Mutex::default() })
    }

    /// Does a caller's work when it is his turn, or says after how many seconds to come again.
    pub(super) async fn run<F>(&self, who: u64, work: F) -> Result<Response<Body>, u64>
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let caller = self.caller(who);
        let Ok(_place) = caller.places.try_acquire() else { return Err(RETRY_SECONDS) };
        let Ok(_turn) = caller.at_once.acquire().await else { return Err(RETRY_SECONDS) };
        let Some(runtime) = &self.runtime else { return Err(RETRY_SECONDS) };
        // Ends with its request: nobody waits for its answer then.
        let mut task = Task(runtime.spawn(work));
        Ok((&mut task.0).await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()))
    }

    fn caller(&self, who: u64) -> Arc<Caller> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody uses now are forgotten.
        callers.retain(|other, caller| *other == who || Arc::strong_count(caller) > 1);
        let new = || Arc::new(Caller { at_once: Semaphore::new(AT_ONCE), places: Semaphore::new(WAITING_MAX) });
        callers.entry(who).or_insert_with(new).clone()
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        // A runtime that is dropped waits, which is forbidden within another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Task(tokio::task::JoinHandle<Response<Body>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_work_what_is_heavy() {
        let heavy = |method: Method, path: &str, size: Option<u64>| of_size(&method, path, &HeaderMap::new(), size);
        assert!(heavy(Method::POST, "/v1/skills/verify", Some(10)) && heavy(Method::POST, "/v1/policies", Some(10)));
        assert!(heavy(Method::POST, "/v1/intents", Some(100_000)) && heavy(Method::POST, "/v1/intents", None));
        assert!(heavy(Method::GET, "/v1/executions/exe_1/replay", Some(0)));
        assert!(!heavy(Method::POST, "/v1/intents", Some(500)) && !heavy(Method::GET, "/healthz", Some(0)));
        assert!(!heavy(Method::GET, "/v1/executions/exe_1", Some(0)));
    }

    #[tokio::test]
    async fn bounded_work_one_callers_queue_is_full_and_anothers_is_empty() {
        let heavy = Arc::new(Heavy::new().unwrap());
        let spawn = |who: u64| {
            let heavy = heavy.clone();
            tokio::spawn(async move {
                heavy
                    .run(who, async {
                        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                        Response::default()
                    })
                    .await
            })
        };
        let mut many: Vec<_> = (0..40).map(|_| spawn(1)).collect();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(heavy.run(1, async { Response::default() }).await.is_err(), "his places are taken");
        assert!(heavy.run(2, async { Response::default() }).await.is_ok(), "another waits for nobody");
        many.iter_mut().for_each(|task| task.abort());
    }
}
