//! What a provider says of itself, kept for a while: asked for by one at a time, whoever waits.
//!
//! INVARIANT (bounded-work): a provider that hangs holds up one call, and those who need what it
//! says for as long as that call; the failure is theirs too. INVARIANT (fail-closed): only leading
//! a browser away may rest on what was known a while ago; who signed in is never decided by it.

use engine::ports::ProviderError;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync;

/// How long a failure is everybody's who asks.
const FAILURE_KEPT: Duration = Duration::from_secs(5);

/// How old what is known may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age {
    /// Older than this, the provider is asked again.
    pub(crate) kept: Duration,
    /// What is known is of use while the provider is asked by somebody else, or does not answer.
    pub(crate) or_older: bool,
}

/// What is known of a provider.
pub(crate) struct Known<T> {
    state: Mutex<State<T>>,
    asking: sync::Mutex<()>,
}

struct State<T> {
    found: Option<(Instant, Arc<T>)>,
    failed: Option<(Instant, ProviderError)>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        let state = State { found: None, failed: None };
        Self { state: Mutex::new(state), asking: sync::Mutex::default() }
    }
}

impl<T> Known<T> {
    /// What is known; asked for by `ask` where that is too old.
    pub(crate) async fn get(
        &self,
        age: Age,
        now: impl Fn() -> Instant,
        ask: impl AsyncFnOnce() -> Result<T, ProviderError>,
    ) -> Result<Arc<T>, ProviderError> {
        if let Some(answer) = self.at_hand(age, now()) {
            return answer;
        }
        let older = if age.or_older { self.older() } else { None };
        let _one = match (self.asking.try_lock(), older.clone()) {
            (Ok(one), _) => one,
            (Err(_), Some(older)) => return Ok(older),
            (Err(_), None) => self.asking.lock().await,
        };
        // Somebody asked meanwhile.
        if let Some(answer) = self.at_hand(age, now()) {
            return answer;
        }
        let asked = ask().await;
        let now = now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (asked, older) {
            (Ok(found), _) => {
                let found = Arc::new(found);
                *state = State { found: Some((now, found.clone())), failed: None };
                Ok(found)
            }
            (Err(error), older) => {
                state.failed = Some((now, error.clone()));
                or_older(error, older)
            }
        }
    }

    // What is young enough, or the failure of a moment ago.
    fn at_hand(&self, age: Age, now: Instant) -> Option<Result<Arc<T>, ProviderError>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = state.found.as_ref();
        if let Some((_, young)) = found.filter(|(at, _)| now.duration_since(*at) < age.kept) {
            return Some(Ok(young.clone()));
        }
        let failed = state.failed.as_ref();
        let (_, error) = failed.filter(|(at, _)| now.duration_since(*at) < FAILURE_KEPT)?;
        let older = found.filter(|_| age.or_older).map(|(_, older)| older.clone());
        Some(or_older(error.clone(), older))
    }

    fn older(&self) -> Option<Arc<T>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.found.as_ref().map(|(_, older)| older.clone())
    }
}

// A provider that does not answer is who it was; one that says what cannot be believed is not.
fn or_older<T>(error: ProviderError, older: Option<Arc<T>>) -> Result<Arc<T>, ProviderError> {
    match (error, older) {
        (ProviderError::Unreached(_), Some(older)) => Ok(older),
        (error, _) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::{join, task::yield_now};

    const KEPT: Duration = Duration::from_secs(600);
    const LEADING: Age = Age { kept: KEPT, or_older: true };
    const DECIDING: Age = Age { kept: KEPT, or_older: false };
    const UNKNOWN_KEY: Age = Age { kept: Duration::from_secs(10), or_older: false };

    struct Provider {
        known: Known<u32>,
        now: Mutex<Instant>,
        asked: AtomicUsize,
        ended: AtomicUsize,
    }

    impl Provider {
        fn new() -> Self {
            let now = Mutex::new(Instant::now());
            Self { known: Known::default(), now, asked: 0.into(), ended: 0.into() }
        }

        fn pass(&self, time: Duration) {
            *self.now.lock().unwrap() += time;
        }

        // What somebody got, and how many calls had ended by then.
        async fn get(&self, age: Age, says: Result<u32, ProviderError>) -> (Option<u32>, usize) {
            let ask = async || {
                self.asked.fetch_add(1, Ordering::SeqCst);
                // It hangs while whoever comes waits.
                for _ in 0..100 {
                    yield_now().await;
                }
                self.ended.fetch_add(1, Ordering::SeqCst);
                says
            };
            let got = self.known.get(age, || *self.now.lock().unwrap(), ask).await;
            (got.ok().map(|found| *found), self.ended.load(Ordering::SeqCst))
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    fn hangs<T>() -> Result<T, ProviderError> {
        Err(ProviderError::Unreached("it hangs".into()))
    }

    #[tokio::test]
    async fn attack_sign_ins_queue_behind_a_provider_that_hangs() {
        let provider = Provider::new();
        let get = || provider.get(DECIDING, hangs());
        // All of them wait for one call, and so do those who come next.
        assert_eq!(join!(get(), get(), get()), ((None, 1), (None, 1), (None, 1)));
        assert_eq!((get().await, provider.asked()), ((None, 1), 1));
        provider.pass(FAILURE_KEPT);
        assert_eq!((get().await, provider.asked()), ((None, 2), 2));
        provider.pass(FAILURE_KEPT);
        let get = || provider.get(DECIDING, Ok(1));
        assert_eq!(join!(get(), get(), get()), ((Some(1), 3), (Some(1), 3), (Some(1), 3)));
        assert_eq!(provider.asked(), 3);
    }

    #[tokio::test]
    async fn what_was_known_leads_people_away_while_the_provider_is_asked() {
        let provider = Provider::new();
        assert_eq!(provider.get(LEADING, Ok(1)).await, (Some(1), 1));
        assert_eq!(provider.get(DECIDING, Ok(2)).await, (Some(1), 1));
        provider.pass(KEPT);
        let (leads, asks) = (provider.get(LEADING, Ok(3)), provider.get(DECIDING, Ok(2)));
        assert_eq!(join!(asks, leads), ((Some(2), 2), (Some(1), 1)));
        provider.pass(KEPT);
        // It does not answer: it is who it was.
        assert_eq!(provider.get(LEADING, hangs()).await, (Some(2), 3));
        assert_eq!(provider.get(LEADING, hangs()).await, (Some(2), 3));
        // It says what cannot be believed.
        provider.pass(FAILURE_KEPT);
        let another = Err(ProviderError::Untrusted("another issuer".into()));
        assert_eq!(provider.get(LEADING, another).await, (None, 4));
        assert_eq!(provider.get(LEADING, Ok(3)).await, (None, 4));
    }

    #[tokio::test]
    async fn fail_closed_nobody_is_signed_in_by_what_was_known() {
        let provider = Provider::new();
        assert_eq!(provider.get(DECIDING, Ok(1)).await, (Some(1), 1));
        // A key that is not known, while somebody asks and after that failed.
        provider.pass(UNKNOWN_KEY.kept);
        let get = || provider.get(UNKNOWN_KEY, hangs());
        assert_eq!(join!(get(), get()), ((None, 2), (None, 2)));
        assert_eq!(provider.get(UNKNOWN_KEY, Ok(2)).await, (None, 2));
        provider.pass(KEPT);
        assert_eq!(provider.get(DECIDING, hangs()).await, (None, 3));
        assert_eq!(provider.get(DECIDING, hangs()).await, (None, 3));
    }
}
