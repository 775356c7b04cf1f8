//! How long to wait after a failure: doubling, with a spread so that Directors that lost the API server together
//! do not come back to it together.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

/// Doubles from `min` to `max`.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    /// In percent, 0..25: what is taken off each wait.
    spread: u32,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        // The standard library's only source of randomness; it need not be a good one.
        let spread = RandomState::new().build_hasher().finish() % 25;
        Self { min, max, next: min, spread: u32::try_from(spread).unwrap_or_default() }
    }

    /// The next wait.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait * (100 - self.spread) / 100
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 8);
        backoff.spread = 0;
        let waits: Vec<u64> = (0..6).map(|_| backoff.wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
        backoff.reset();
        assert_eq!(backoff.wait(), second);
    }

    #[test]
    fn a_wait_is_never_shortened_by_more_than_a_quarter() {
        for _ in 0..100 {
            let wait = Backoff::new(Duration::from_secs(4), Duration::from_secs(8)).wait();
            assert!((Duration::from_secs(3)..=Duration::from_secs(4)).contains(&wait), "{wait:?}");
        }
    }
}
