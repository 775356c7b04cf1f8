//! How long the checks of a probe took and how they ended: counted by the checker's thread, read by whoever
//! is asked for metrics. A few additions for each check.

use std::collections::HashMap;
use std::ops::{AddAssign, SubAssign};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lvs_checks::REASONS;
use lvs_plan::health::Probe;

/// Upper bounds of the ranges in which durations are counted, in microseconds: from a local network's
/// fraction of a millisecond to the longest usual timeout.
pub const BOUNDS: [u32; 9] = [500, 1_000, 5_000, 25_000, 100_000, 500_000, 1_000_000, 2_000_000, 5_000_000];

/// So many ways to fail are told apart.
const WAYS: usize = REASONS.len();

/// Of one probe, since it is watched.
#[derive(Debug, Default)]
pub struct Tally {
    /// The tallies had been asked for so often when this one was made.
    made: u32,
    ranges: [AtomicU32; BOUNDS.len() + 1],
    micros: AtomicU64,
    successes: AtomicU32,
    /// Made with the first failure: most never fail.
    failures: OnceLock<Box<[AtomicU32; WAYS]>>,
}

/// How long checks took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How many took up to each of [`BOUNDS`] and more than the one before; the last ones took longer.
    pub ranges: [u64; BOUNDS.len() + 1],
    /// All together, in microseconds.
    pub micros: u64,
}

/// How checks ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// As they should.
    pub successes: u64,
    /// For each of [`REASONS`].
    pub failures: [u64; WAYS],
}

impl Tally {
    pub(crate) fn new(made: u32) -> Self {
        Self { made, ..Self::default() }
    }

    /// A check ended, with a label if it failed.
    pub(crate) fn note(&self, took: Duration, failure: Option<&'static str>) {
        let micros = took.as_micros() as u64;
        let range = BOUNDS.partition_point(|bound| u64::from(*bound) < micros);
        self.ranges[range].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let Some(failure) = failure else {
            self.successes.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if let Some(way) = REASONS.iter().position(|reason| *reason == failure) {
            self.failures.get_or_init(Box::default)[way].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How long they took.
    pub fn times(&self) -> Times {
        Times {
            ranges: self.ranges.each_ref().map(|count| count.load(Ordering::Relaxed).into()),
            micros: self.micros.load(Ordering::Relaxed),
        }
    }

    /// How they ended.
    pub fn results(&self) -> Results {
        let failures = self.failures.get().map(|ways| ways.each_ref());
        Results {
            successes: self.successes.load(Ordering::Relaxed).into(),
            failures: failures
                .map(|ways| ways.map(|count| count.load(Ordering::Relaxed).into()))
                .unwrap_or_default(),
        }
    }
}

/// Sums wrap: one may be a difference that becomes a number again only with what is added to it.
impl AddAssign<&Self> for Times {
    fn add_assign(&mut self, other: &Self) {
        self.micros = self.micros.wrapping_add(other.micros);
        add(&mut self.ranges, &other.ranges);
    }
}

impl SubAssign<&Self> for Times {
    fn sub_assign(&mut self, other: &Self) {
        self.micros = self.micros.wrapping_sub(other.micros);
        subtract(&mut self.ranges, &other.ranges);
    }
}

/// As for [`Times`].
impl AddAssign<&Self> for Results {
    fn add_assign(&mut self, other: &Self) {
        self.successes = self.successes.wrapping_add(other.successes);
        add(&mut self.failures, &other.failures);
    }
}

impl SubAssign<&Self> for Results {
    fn sub_assign(&mut self, other: &Self) {
        self.successes = self.successes.wrapping_sub(other.successes);
        subtract(&mut self.failures, &other.failures);
    }
}

fn add<const N: usize>(to: &mut [u64; N], what: &[u64; N]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to = to.wrapping_add(*what));
}

fn subtract<const N: usize>(from: &mut [u64; N], what: &[u64; N]) {
    from.iter_mut().zip(what).for_each(|(from, what)| *from = from.wrapping_sub(*what));
}

/// The tallies of all probes that are watched.
#[derive(Debug, Default)]
pub struct Tallies {
    /// How often they had been asked for before.
    pub(crate) asked: u32,
    pub(crate) of: HashMap<Probe, Arc<Tally>>,
}

impl Tallies {
    /// That of a probe.
    pub fn of(&self, probe: &Probe) -> Option<&Arc<Tally>> {
        self.of.get(probe)
    }

    /// Whether it was made since tallies were asked for before, so that nobody has read any of it.
    pub fn is_new(&self, tally: &Tally) -> bool {
        tally.made == self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_in_one_range_and_has_one_result() {
        let tally = Tally::default();
        for (micros, failure) in
            [(0, None), (500, None), (501, Some("refused")), (2_000_500, Some("timeout"))]
        {
            tally.note(Duration::from_micros(micros), failure);
        }
        tally.note(Duration::from_hours(2), Some("timeout"));
        assert_eq!(tally.times().ranges, [2, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(tally.times().micros, 500 + 501 + 2_000_500 + 7_200_000_000);
        let results = tally.results();
        assert_eq!((results.successes, results.failures.iter().sum::<u64>()), (2, 3));
        assert_eq!(results.failures[REASONS.iter().position(|reason| *reason == "timeout").unwrap()], 2);
    }

    #[test]
    fn what_was_there_before_can_be_taken_away_first_and_added_later() {
        let (before, now) = (Tally::default(), Tally::default());
        before.note(Duration::from_millis(1), None);
        now.note(Duration::from_millis(1), None);
        now.note(Duration::from_millis(3), Some("closed"));
        let (mut times, mut results) = (Times::default(), Results::default());
        times -= &before.times();
        results -= &before.results();
        times += &now.times();
        results += &now.results();
        assert_eq!((times.micros, times.ranges.iter().sum::<u64>()), (3_000, 1));
        assert_eq!((results.successes, results.failures.iter().sum::<u64>()), (0, 1));
    }
}
