//! How many retries a process makes of what its store refuses.

use std::sync::atomic::{AtomicI64, Ordering};

/// Retries that all callers of one process may still make. Each costs [`Budget::COST`], each
/// success gives one back: a store in trouble is not asked more often than one that is well.
#[derive(Debug)]
pub struct Budget(AtomicI64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicI64::new(Self::MAX))
    }
}

impl Budget {
    const MAX: i64 = 500;
    const COST: i64 = 5;

    pub(super) fn take(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left >= Self::COST).then(|| left - Self::COST)
            })
            .is_ok()
    }
    pub(super) fn give(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left < Self::MAX).then_some(left + 1)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_and_refills() {
        let budget = Budget::default();
        assert_eq!((0..1_000).filter(|_| budget.take()).count(), 100);
        (0..5).for_each(|_| budget.give());
        assert!(budget.take() && !budget.take());
    }
}
