//! How long to wait before the next try.

use contracts::limits::DELIVERY_BACKOFF_MS_MAX;

/// The first wait, in milliseconds; each doubles the one before it.
const FIRST_MS: i64 = 1_000;
/// Doublings after which any wait is at its longest.
const DOUBLINGS_MAX: u32 = 20;

/// The wait after so many failed tries, in milliseconds: a second, doubled with each, up to an
/// hour; times 0.8 to 1.2, so that what failed together is not tried together. `draw` is any
/// random number.
pub fn backoff_ms(tries: u32, draw: u64) -> i64 {
    let doublings = tries.saturating_sub(1).min(DOUBLINGS_MAX);
    let whole = (FIRST_MS << doublings).min(DELIVERY_BACKOFF_MS_MAX);
    let per_mille = 800 + i64::try_from(draw % 401).unwrap_or_default();
    (whole * per_mille / 1_000).min(DELIVERY_BACKOFF_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::limits::DELIVERY_TRIES_MAX;

    #[test]
    fn doubles_within_its_jitter_up_to_an_hour() {
        for tries in 0..100_u32 {
            let whole = (1_000_i64 << tries.saturating_sub(1).min(30)).min(DELIVERY_BACKOFF_MS_MAX);
            for draw in [0, 1, 200, 400, 401, u64::MAX] {
                let wait = backoff_ms(tries, draw);
                let most = (whole * 12 / 10).min(DELIVERY_BACKOFF_MS_MAX);
                assert!((whole * 8 / 10..=most).contains(&wait), "{tries} {draw}: {wait}");
            }
        }
        let spread: std::collections::BTreeSet<i64> =
            (0..401).map(|draw| backoff_ms(5, draw)).collect();
        assert!(spread.len() > 300 && spread.contains(&12_800) && spread.contains(&19_200));
    }

    #[test]
    fn all_tries_together_take_about_a_day() {
        let all: i64 = (1..DELIVERY_TRIES_MAX).map(|tries| backoff_ms(tries, 200)).sum();
        let hours = all / 3_600_000;
        assert!((22..=26).contains(&hours), "{hours} hours");
    }
}
