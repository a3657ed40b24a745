//! How many requests a caller may send: a bucket of tokens for each credential, and for each peer
//! that has none.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Requests a second of one caller, on the average.
const PER_SECOND: f64 = 5_000.0;
/// Requests of one caller at once.
const BURST: f64 = 10_000.0;
/// Callers that are counted; beyond, those that have been quiet are forgotten.
const CALLERS_MAX: usize = 10_000;

/// The buckets.
#[derive(Default)]
pub(super) struct Rates {
    buckets: Mutex<HashMap<u64, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    /// Takes one request of a caller, or says after how many seconds it may come again.
    pub(super) fn take(&self, who: u64) -> Result<(), u64> {
        self.take_at(who, Instant::now())
    }

    fn take_at(&self, who: u64, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= CALLERS_MAX {
            // A bucket that is full again says nothing.
            buckets.retain(|_, bucket| bucket.filled(now) < BURST);
            if buckets.len() >= CALLERS_MAX {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(who).or_insert(Bucket { tokens: BURST, at: now });
        bucket.tokens = bucket.filled(now);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return Err(1);
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

impl Bucket {
    fn filled(&self, now: Instant) -> f64 {
        (self.tokens + now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn bounded_work_a_caller_is_limited_and_others_are_not() {
        let (rates, now) = (Rates::default(), Instant::now());
        let taken = (0..20_000).filter(|_| rates.take_at(1, now).is_ok()).count();
        assert_eq!(taken, BURST as usize);
        assert_eq!(rates.take_at(1, now), Err(1));
        assert_eq!(rates.take_at(2, now), Ok(()));
        let later = now + Duration::from_secs(1);
        assert_eq!(
            (0..20_000).filter(|_| rates.take_at(1, later).is_ok()).count(),
            PER_SECOND as usize
        );
        for who in 0..50_000 {
            let _ = rates.take_at(who, later);
        }
        assert!(rates.buckets.lock().unwrap().len() <= CALLERS_MAX);
    }
}
