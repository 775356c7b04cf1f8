//! When each probe is due: spread so evenly that no second has notably more of them than another.
//!
//! Probes of one interval share a circle as long as it. A new one takes the emptiest half of the circle, of
//! that half the emptiest half, and so on down to a 1024th: without removals that is the van der Corput
//! sequence, and where some were removed new ones fill the gaps. So the number that is due in any part of the
//! circle is within a few of its share, and the Director's load and the real servers' is level. Random phases
//! would be off by the root of it.
//!
//! Those whose places are within one `TICK` begin together at its end: to wake up for each would cost more than
//! its connection does.
//!
//! Inside, times are nanoseconds since the epoch, from which the turns of every circle are counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The circle's parts, and the levels of halves above them.
const LEVELS: u32 = 10;
const PARTS: usize = 1 << LEVELS;

/// Checks begin at multiples of this: a fiftieth of a second, so that any second has its share within a fiftieth.
const TICK: Duration = Duration::from_millis(20);
const TICK_NANOS: u64 = nanos(TICK);

/// Probes, by an id of the caller's, and when each is due.
#[derive(Clone, Debug)]
pub struct Schedule<I> {
    /// From here the turns of every circle are counted.
    epoch: Instant,
    probes: BTreeMap<I, Entry>,
    /// Who is due at which tick, counted from the epoch.
    ticks: BTreeMap<u64, Vec<I>>,
    /// Emptied lists of past ticks, for the ticks to come: each check would else pay for a list that grows anew.
    spare: Vec<Vec<I>>,
    /// By their length.
    circles: BTreeMap<u64, Circle>,
    /// How many were ever added: each gets a jitter of its own.
    added: u32,
}

/// A probe is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn<I> {
    /// Which one.
    pub id: I,
    /// The tick at which it should begin; in the past if it is late.
    pub planned: Instant,
    /// So many turns of the same probe were missed and are left out.
    pub left_out: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    interval: u64,
    /// The tick at which it is due.
    tick: u64,
    part: u16,
    seed: u32,
}

impl<I: Copy + Ord> Schedule<I> {
    /// Without probes. Nothing is due before `epoch`.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            probes: BTreeMap::new(),
            ticks: BTreeMap::new(),
            spare: Vec::new(),
            circles: BTreeMap::new(),
            added: 0,
        }
    }

    /// Adds a probe, which is due the first time within its interval, and within a second and a tick. An id that
    /// is there already is added anew.
    pub fn add(&mut self, id: I, interval: Duration, now: Instant) {
        self.remove(id);
        let interval = nanos(interval).max(1);
        let part = self.circles.entry(interval).or_default().take_the_emptiest();
        self.added = self.added.wrapping_add(1);
        let seed = self.added;
        // Many come at once, when the agent starts: they are spread over that first second as they will be
        // later.
        let first = self.since_epoch(now) + place(part, seed, 0, interval.min(nanos(Duration::from_secs(1))));
        let tick = tick_from(first);
        self.probes.insert(id, Entry { interval, tick, part, seed });
        self.ticks.entry(tick).or_default().push(id);
    }

    /// Removes a probe, if it is there.
    pub fn remove(&mut self, id: I) {
        let Some(Entry { interval, tick, part, .. }) = self.probes.remove(&id) else { return };
        if let Some(ids) = self.ticks.get_mut(&tick) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.ticks.remove(&tick);
            }
        }
        if let Some(circle) = self.circles.get_mut(&interval) {
            circle.give_back(part);
            if circle.is_empty() {
                self.circles.remove(&interval);
            }
        }
    }

    /// The probes that are due by the last tick, earliest first, and each once: turns that were missed are left
    /// out. The next turn of each comes at its place on the circle, and not before half an interval from now.
    pub fn due(&mut self, now: Instant) -> Vec<Turn<I>> {
        let now = self.since_epoch(now);
        let mut due = Vec::new();
        while let Some(first) = self.ticks.first_entry().filter(|first| *first.key() <= now / TICK_NANOS) {
            let (tick, mut ids) = first.remove_entry();
            let planned = tick * TICK_NANOS;
            due.reserve(ids.len());
            for id in ids.drain(..) {
                let Some(entry) = self.probes.get_mut(&id) else { continue };
                let next = entry.turn_from(now + entry.interval / 2);
                entry.tick = tick_from(next);
                let left_out = entry.left_out(planned, now, next);
                due.push(Turn { id, planned: self.epoch + Duration::from_nanos(planned), left_out });
                self.ticks.entry(entry.tick).or_insert_with(|| self.spare.pop().unwrap_or_default()).push(id);
            }
            self.spare.push(ids);
        }
        // As many as there are lists of ticks to come, which is enough for another turn of all circles.
        self.spare.truncate(self.ticks.len());
        due
    }

    /// The tick at which the next one is due; in the past if it is late.
    pub fn next(&self) -> Option<Instant> {
        let (tick, _) = self.ticks.first_key_value()?;
        Some(self.epoch + Duration::from_nanos(tick * TICK_NANOS))
    }

    fn since_epoch(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.epoch))
    }
}

/// They last for five centuries.
const fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// The first tick from this time on.
fn tick_from(at: u64) -> u64 {
    at.div_ceil(TICK_NANOS)
}

impl Entry {
    /// The first turn at the probe's place on the circle, not before this time.
    fn turn_from(&self, earliest: u64) -> u64 {
        let at = |turn: u64| turn * self.interval + place(self.part, self.seed, turn, self.interval);
        // A turn's place is anywhere within its interval.
        let turn = earliest / self.interval;
        let this = at(turn);
        if this >= earliest { this } else { at(turn + 1) }
    }

    /// How many turns there would have been between the one that was planned and the next, had it come in time.
    fn left_out(&self, planned: u64, now: u64, next: u64) -> u32 {
        if now - planned < self.interval / 4 {
            // Turns are an interval apart, less a tick and the jitter, which are no quarter of a second, the shortest
            // interval. Only the first may be nearer to the second, which is then left out on purpose.
            return 0;
        }
        let expected = self.turn_from(planned + self.interval / 2);
        // By the jitter a place differs from turn to turn, by far less than half an interval.
        ((next - expected + self.interval / 2) / self.interval) as u32
    }
}

/// The place in one turn of a circle of this length: in the part, and within it by a jitter that is another
/// one each turn, but the same whenever it is asked for.
fn place(part: u16, seed: u32, turn: u64, circle: u64) -> u64 {
    let fraction = u64::from(part) << 32 | u64::from(jitter(seed, turn));
    ((u128::from(circle) * u128::from(fraction)) >> (32 + LEVELS)) as u64
}

/// 32 bits without a pattern (the finalizer of `SplitMix64`).
fn jitter(seed: u32, turn: u64) -> u32 {
    let mut bits =
        u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ turn.wrapping_mul(0xd1b5_4a32_d192_ed03);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits >> 32) as u32
}

/// How many probes are in each half, quarter and so on of a circle: a heap-ordered tree whose leaves are the
/// parts.
#[derive(Clone, Debug)]
struct Circle {
    counts: Box<[u32]>,
}

impl Default for Circle {
    fn default() -> Self {
        Self { counts: vec![0; 2 * PARTS].into() }
    }
}

impl Circle {
    fn take_the_emptiest(&mut self) -> u16 {
        let mut node = 1;
        self.counts[node] += 1;
        while node < PARTS {
            node *= 2;
            node += usize::from(self.counts[node + 1] < self.counts[node]);
            self.counts[node] += 1;
        }
        (node - PARTS) as u16
    }

    fn give_back(&mut self, part: u16) {
        let mut node = PARTS + usize::from(part);
        while node > 0 {
            self.counts[node] -= 1;
            node /= 2;
        }
    }

    fn is_empty(&self) -> bool {
        self.counts[1] == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Every check until `until`, the clock stopping at each.
    fn run(schedule: &mut Schedule<u32>, until: Instant) -> Vec<(Instant, u32)> {
        let mut checks = Vec::new();
        while let Some(next) = schedule.next().filter(|next| *next < until) {
            let turns = schedule.due(next);
            assert!(turns.iter().all(|turn| turn.planned == next && turn.left_out == 0), "{turns:?}");
            checks.extend(turns.into_iter().map(|turn| (next, turn.id)));
        }
        checks
    }

    /// The largest share by which any window of a run has more or fewer checks than its share of all, the
    /// windows one behind the other.
    fn unevenness(
        checks: &[(Instant, u32)],
        start: Instant,
        length: Duration,
        window: Duration,
        per_second: u32,
    ) -> f64 {
        let windows = (length.as_nanos() / window.as_nanos()) as u32;
        let mean = f64::from(per_second) * window.as_secs_f64();
        (0..windows)
            .map(|index| {
                let from = start + window * index;
                let count = checks.iter().filter(|(at, _)| *at >= from && *at < from + window).count();
                (f64::from(count as u32) - mean).abs() / mean
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn any_part_of_the_interval_has_its_share_within_a_twentieth() {
        for (count, interval) in [(1_000, 1), (1_000, 5), (10_000, 1), (10_000, 5), (1_000, 3)] {
            let start = Instant::now();
            let interval = SECOND * interval;
            let mut schedule = Schedule::new(start);
            (0..count).for_each(|id| schedule.add(id, interval, start + Duration::from_micros(id.into())));
            let steady = start + interval * 3 + Duration::from_millis(137);
            let checks = run(&mut schedule, steady + interval * 3);
            let per_second = count / interval.as_secs() as u32;
            for window in [interval / 10, interval / 5, interval] {
                let off = unevenness(&checks, steady, interval * 3, window, per_second);
                assert!(off <= 0.05, "{count} each {interval:?} in {window:?}: off by {off}");
            }
        }
    }

    #[test]
    fn it_is_as_even_after_half_of_them_were_removed_and_as_many_added() {
        let start = Instant::now();
        let interval = SECOND * 5;
        let mut schedule = Schedule::new(start);
        (0..2_000).for_each(|id| schedule.add(id, interval, start));
        // Without a pattern: every second one would leave even gaps.
        (0..2_000).filter(|id| jitter(*id, 7).is_multiple_of(2)).for_each(|id| schedule.remove(id));
        let left = schedule.probes.len() as u32;
        assert!((900..1_100).contains(&left), "{left}");
        (5_000..5_000 + 2_000 - left).for_each(|id| schedule.add(id, interval, start + SECOND));
        let steady = start + interval * 3;
        let checks = run(&mut schedule, steady + interval * 3);
        for window in [interval / 10, SECOND, interval] {
            let off = unevenness(&checks, steady, interval * 3, window, 400);
            assert!(off <= 0.05, "in {window:?}: off by {off}");
        }
    }

    #[test]
    fn the_first_second_of_many_is_as_even() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        (0..10_000).for_each(|id| schedule.add(id, SECOND * 5, start));
        let checks = run(&mut schedule, start + SECOND + TICK);
        assert_eq!(checks.len(), 10_000, "each is checked in the first second, which ends with a tick");
        let off = unevenness(&checks, start + TICK, SECOND, SECOND / 10, 10_000);
        assert!(off <= 0.05, "off by {off}");
    }

    #[test]
    fn one_that_is_removed_is_never_due_again() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.add(1, SECOND, start);
        schedule.add(2, SECOND, start);
        schedule.remove(1);
        schedule.remove(3);
        let checks = run(&mut schedule, start + SECOND * 4);
        assert!(checks.len() >= 3 && checks.iter().all(|(_, id)| *id == 2), "{checks:?}");
        schedule.remove(2);
        assert_eq!(schedule.next(), None);
        assert!(schedule.circles.is_empty(), "nothing is kept of an interval that nobody has");
    }

    #[test]
    fn turns_that_were_slept_through_are_left_out() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        (0..100).for_each(|id| schedule.add(id, SECOND, start));
        let late = start + SECOND * 60;
        let mut due = schedule.due(late);
        due.sort_unstable_by_key(|turn| turn.id);
        assert!(due.iter().map(|turn| turn.id).eq(0..100), "each once");
        for turn in &due {
            assert!((start..=start + SECOND + TICK).contains(&turn.planned), "{turn:?}");
            assert!((59..=60).contains(&turn.left_out), "{turn:?}");
        }
        assert!(schedule.due(late).is_empty());
        let next = schedule.next().expect("there are probes");
        assert!(next >= late + SECOND / 2, "not two checks within half an interval");
    }

    #[test]
    fn a_first_turn_that_is_a_little_late_leaves_none_out() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        // Between two turns of the circle, so that the second comes anywhere from half an interval after the first.
        let added = start + Duration::from_millis(450);
        (0..1_000).for_each(|id| schedule.add(id, SECOND, added));
        let mut first = BTreeSet::new();
        for step in 1..=11 {
            let turns = schedule.due(added + SECOND / 10 * step);
            assert!(turns.iter().all(|turn| turn.left_out == 0), "{turns:?}");
            first.extend(turns.iter().map(|turn| turn.id));
        }
        assert_eq!(first.len(), 1_000, "and each had its first");
    }

    #[test]
    fn a_turn_is_left_out_when_the_one_before_is_late_by_more_than_half_an_interval() {
        for (late, left_out) in [(0, 0), (240, 0), (260, 0), (400, 0), (600, 1), (900, 1), (1_600, 2)] {
            let start = Instant::now();
            let mut schedule = Schedule::new(start);
            schedule.add(1, SECOND, start);
            run(&mut schedule, start + SECOND * 5);
            let planned = schedule.next().expect("there is one");
            let turns = schedule.due(planned + Duration::from_millis(late));
            assert_eq!(turns, [Turn { id: 1, planned, left_out }], "{late} ms late");
        }
    }

    #[test]
    fn those_of_one_tick_begin_together_and_any_second_has_its_share() {
        let start = Instant::now();
        let interval = SECOND * 5;
        let mut schedule = Schedule::new(start);
        (0..1_000).for_each(|id| schedule.add(id, interval, start + Duration::from_micros(id.into())));
        let steady = start + interval * 2;
        let checks = run(&mut schedule, steady + interval * 3);
        let ticks: BTreeSet<_> = checks.iter().map(|(at, _)| *at).collect();
        assert!(ticks.iter().all(|at| (*at - start).as_nanos().is_multiple_of(TICK.as_nanos())));
        assert!(ticks.len() * 3 < checks.len(), "{} at {} times", checks.len(), ticks.len());
        for step in 0..140 {
            let from = steady + SECOND / 10 * step;
            let count = checks.iter().filter(|(at, _)| (from..from + SECOND).contains(at)).count();
            assert!((196..=204).contains(&count), "{count} in the second from {step} tenths");
        }
        // Whoever looks between two ticks starts nothing early.
        let next = schedule.next().expect("there are probes");
        let before = start + (next - start).saturating_sub(Duration::from_nanos(1));
        assert!(schedule.due(before).is_empty());
        assert!(!schedule.due(next).is_empty());
    }

    proptest! {
        #[test]
        fn checks_of_one_probe_are_half_to_one_and_a_half_intervals_apart(
            intervals in prop::collection::vec(1_u32..8, 1..40), delays in prop::collection::vec(0_u64..3_000, 40),
        ) {
            let start = Instant::now();
            let mut schedule = Schedule::new(start);
            let mut now = start;
            let mut seen: BTreeMap<u32, Vec<Instant>> = BTreeMap::new();
            let until = start + SECOND * 40;
            for (id, interval) in (0..).zip(&intervals) {
                let added = now + Duration::from_millis(delays[id as usize]);
                for (at, id) in run(&mut schedule, added) {
                    seen.entry(id).or_default().push(at);
                }
                now = added;
                schedule.add(id, SECOND * *interval, now);
                seen.insert(id, vec![now]);
            }
            for (at, id) in run(&mut schedule, until.max(now) + SECOND * 30) {
                seen.entry(id).or_default().push(at);
            }
            for (id, interval) in (0..).zip(&intervals) {
                let interval = SECOND * *interval;
                let turns = &seen[&id];
                prop_assert!(turns[1] - turns[0] <= interval.min(SECOND), "the first comes soon");
                for pair in turns[1..].windows(2) {
                    let apart = pair[1] - pair[0];
                    prop_assert!(apart * 2 >= interval && apart <= interval * 3 / 2 + TICK, "{apart:?}");
                }
            }
        }
    }
}
