//! When what failed is tried again. Each has its own wait: one that will never work does not slow down another
//! that would work at once. Pure: the time is passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The first wait; it doubles at each failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// What failed, and when it is due again.
#[derive(Debug)]
pub(super) struct Retries<K> {
    waiting: BTreeMap<K, Retry>,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

impl<K> Default for Retries<K> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Retries<K> {
    /// It failed, perhaps again.
    pub(super) fn failed(&mut self, what: K, now: Instant) {
        let wait = self.waiting.get(&what).map_or(FIRST, |retry| (retry.wait * 2).min(LONGEST));
        self.waiting.insert(what, Retry { at: now + wait, wait });
    }

    /// It worked, or is not to be done any more.
    pub(super) fn settled(&mut self, what: &K) {
        self.waiting.remove(what);
    }

    /// Something changed that may help these: they are due at once, and wait short again.
    pub(super) fn hurry(&mut self, now: Instant, helped: impl Fn(&K) -> bool) {
        for (_, retry) in self.waiting.iter_mut().filter(|(what, _)| helped(what)) {
            *retry = Retry { at: now, wait: FIRST / 2 };
        }
    }

    /// Everything that waits, which then waits no longer.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = K> {
        self.waiting.into_keys()
    }

    /// Whether it failed last and is not due yet.
    pub(super) fn is_waiting(&self, what: &K, now: Instant) -> bool {
        self.waiting.get(what).is_some_and(|retry| retry.at > now)
    }

    /// What is due. It stays due until it is told what became of it.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = K> {
        self.waiting.iter().filter(move |(_, retry)| retry.at <= now).map(|(what, _)| *what)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next_but(|_| false)
    }

    /// When the next one is due, apart from those that wait for something else.
    pub(super) fn next_but(&self, waits_otherwise: impl Fn(&K) -> bool) -> Option<Instant> {
        let waiting = self.waiting.iter().filter(|(what, _)| !waits_otherwise(what));
        waiting.map(|(_, retry)| retry.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let start = Instant::now();
        let mut retries = Retries::default();
        let mut now = start;
        let waits: Vec<u64> = (0..7)
            .map(|_| {
                retries.failed("a", now);
                let next = retries.next().unwrap();
                let wait = next - now;
                now = next;
                wait.as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn one_that_never_works_does_not_slow_down_another() {
        let start = Instant::now();
        let mut retries = Retries::default();
        for _ in 0..10 {
            retries.failed("hopeless", start);
        }
        retries.failed("new", start);
        assert_eq!(retries.next(), Some(start + seconds(1)));
        assert_eq!(retries.due(start + seconds(1)).collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn what_worked_starts_anew_when_it_fails_again() {
        let start = Instant::now();
        let mut retries = Retries::default();
        retries.failed("a", start);
        retries.failed("a", start);
        retries.settled(&"a");
        assert!(!retries.is_waiting(&"a", start) && retries.next().is_none());
        retries.failed("a", start);
        assert_eq!(retries.next(), Some(start + seconds(1)));
    }

    #[test]
    fn a_hurry_makes_everything_due_and_the_next_wait_short() {
        let start = Instant::now();
        let mut retries = Retries::default();
        for _ in 0..10 {
            retries.failed("a", start);
        }
        retries.hurry(start, |_| true);
        assert_eq!(retries.due(start).count(), 1);
        retries.failed("a", start);
        assert_eq!(retries.next(), Some(start + seconds(1)));
    }
}
