//! What the real servers saw, as figures: how many checks, how punctual, how even.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// A connection that a real server took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The real server's number.
    pub(super) server: u32,
    /// Since the servers were started.
    pub(super) at: Duration,
}

const SECOND: Duration = Duration::from_secs(1);
/// The second in which most and fewest are looked for moves by so much.
const STEP: Duration = Duration::from_millis(100);

/// Fewest and most arrivals in any second within a window, wherever that second begins. Arrivals are in order.
pub(super) fn in_any_second(arrivals: &[Arrival], window: Range<Duration>) -> Option<(usize, usize)> {
    let before = |time: Duration| arrivals.partition_point(|arrival| arrival.at < time);
    let mut start = window.start;
    let mut found: Option<(usize, usize)> = None;
    while start + SECOND <= window.end {
        let count = before(start + SECOND) - before(start);
        let (fewest, most) = found.unwrap_or((count, count));
        found = Some((fewest.min(count), most.max(count)));
        start += STEP;
    }
    found
}

/// The error of the schedule that 99 of 100 checks keep, as a share of the interval: how much the time since the same
/// server's check before differs from the interval. Arrivals are in order; `None` without two of one server.
pub(super) fn schedule_error(arrivals: &[Arrival], interval: Duration) -> Option<f64> {
    let mut last: BTreeMap<u32, Duration> = BTreeMap::new();
    let mut errors: Vec<Duration> = arrivals
        .iter()
        .filter_map(|arrival| Some(arrival.at.abs_diff(last.insert(arrival.server, arrival.at)? + interval)))
        .collect();
    errors.sort_unstable();
    let place = (errors.len() * 99).div_ceil(100).checked_sub(1)?;
    Some(errors[place].as_secs_f64() / interval.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(of: impl IntoIterator<Item = (u32, u64)>) -> Vec<Arrival> {
        let arrival = |(server, millis)| Arrival { server, at: Duration::from_millis(millis) };
        of.into_iter().map(arrival).collect()
    }

    #[test]
    fn a_second_may_begin_anywhere() {
        let window = Duration::from_secs(1)..Duration::from_secs(4);
        let even = arrivals((0..50).map(|number| (0, number * 100)));
        assert_eq!(in_any_second(&even, window.clone()), Some((10, 10)));
        // Four at the end of one second and the start of the next are four in one second.
        let bunched = arrivals([(0, 1900), (1, 1950), (2, 2000), (3, 2050)]);
        assert_eq!(in_any_second(&bunched, window), Some((0, 4)));
        assert_eq!(in_any_second(&even, SECOND..Duration::from_millis(1500)), None);
    }

    #[test]
    fn the_error_is_of_the_worst_but_one_in_a_hundred_early_or_late() {
        let every_second = |number: u64| (7, number * 1000);
        let mut seen = arrivals((0..=100).map(every_second));
        assert_eq!(schedule_error(&seen, SECOND), Some(0.0));
        seen[50].at -= Duration::from_millis(200);
        assert_eq!(schedule_error(&seen, SECOND), Some(0.2), "two of a hundred gaps are wrong by 0.2 s");
        seen[50].at += Duration::from_millis(200);
        seen[100].at += Duration::from_millis(500);
        assert_eq!(schedule_error(&seen, SECOND), Some(0.0), "one of a hundred may be");
        assert_eq!(schedule_error(&seen[..1], SECOND), None);
    }

    #[test]
    fn servers_are_told_apart() {
        let seen = arrivals([(1, 0), (2, 500), (1, 1000), (2, 1500)]);
        assert_eq!(schedule_error(&seen, SECOND), Some(0.0));
    }
}
