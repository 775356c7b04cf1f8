//! When which object may be written: at most once a second, less often if it does not come to rest, and nothing
//! while the server is away. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lvs_plan::ObjectKey;

use crate::api::backoff::Backoff;

/// Between two writes of one object.
const INTERVAL: Duration = Duration::from_secs(1);
/// So many writes in a row may follow each other that fast; then the interval doubles with each. Somebody
/// else wants the same fields, or the object is in trouble: both can wait.
const BRISK: u32 = 5;
/// The longest interval, and the time after which an object counts as at rest.
const CALM: Duration = Duration::from_mins(1);
/// So many objects are remembered without looking for those that are at rest.
const ROOM: usize = 1024;
/// After the server did not answer.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The objects to look at.
#[derive(Debug)]
pub(super) struct Pace {
    due: BTreeMap<ObjectKey, Instant>,
    queue: BTreeSet<(Instant, ObjectKey)>,
    history: BTreeMap<ObjectKey, History>,
    /// How long the history may become before it is looked through again.
    room: usize,
    paused_until: Option<Instant>,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug)]
struct History {
    last: Instant,
    in_a_row: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            due: BTreeMap::new(),
            queue: BTreeSet::new(),
            history: BTreeMap::new(),
            room: ROOM,
            paused_until: None,
            backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX),
        }
    }
}

impl Pace {
    /// These changed: to be looked at as soon as their last write allows.
    pub(super) fn due_all(&mut self, keys: impl IntoIterator<Item = ObjectKey>, now: Instant) {
        for key in keys {
            let at = self.history.get(&key).map_or(now, |history| history.next().max(now));
            self.schedule(key, at, false);
        }
    }

    /// The object that is due first, if one is. It stays due until it is said what became of it.
    pub(super) fn next_due(&self, now: Instant) -> Option<ObjectKey> {
        if self.paused_until.is_some_and(|until| until > now) {
            return None;
        }
        self.queue.first().filter(|(at, _)| *at <= now).map(|(_, key)| key.clone())
    }

    /// When the next one is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let first = self.queue.first().map(|(at, _)| *at)?;
        Some(self.paused_until.map_or(first, |until| until.max(first)))
    }

    /// It is as it should be.
    pub(super) fn settled(&mut self, key: &ObjectKey) {
        self.unschedule(key);
    }

    /// It was written.
    pub(super) fn wrote(&mut self, key: &ObjectKey, now: Instant) {
        self.unschedule(key);
        self.paused_until = None;
        self.backoff.reset();
        self.count(key, now);
        self.prune(now);
    }

    /// The server refused: again later, others meanwhile.
    pub(super) fn failed(&mut self, key: &ObjectKey, now: Instant) {
        self.paused_until = None;
        self.backoff.reset();
        self.count(key, now);
        let at = self.history.get(key).map_or(now + INTERVAL, |history| history.next());
        self.schedule(key.clone(), at, true);
    }

    /// The server is away: everything waits.
    pub(super) fn pause(&mut self, key: &ObjectKey, now: Instant) {
        self.paused_until = Some(now + self.backoff.wait());
        self.schedule(key.clone(), now, false);
    }

    /// It is gone.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.unschedule(key);
        self.history.remove(key);
    }

    fn count(&mut self, key: &ObjectKey, now: Instant) {
        let before =
            self.history.get(key).filter(|history| now < history.last + CALM.max(history.interval()) * 2);
        let in_a_row = before.map_or(1, |history| history.in_a_row.saturating_add(1));
        self.history.insert(key.clone(), History { last: now, in_a_row });
    }

    /// The history is of use only as long as it delays something. It is looked through when it has doubled: not
    /// with each write while many objects are written.
    fn prune(&mut self, now: Instant) {
        if self.history.len() > self.room {
            self.history.retain(|_, history| now < history.last + CALM * 2);
            self.room = 2 * self.history.len() + ROOM;
        }
    }

    fn schedule(&mut self, key: ObjectKey, at: Instant, later: bool) {
        let at = match self.due.get(&key) {
            Some(due) if !later => at.min(*due),
            _ => at,
        };
        self.unschedule(&key);
        self.due.insert(key.clone(), at);
        self.queue.insert((at, key));
    }

    fn unschedule(&mut self, key: &ObjectKey) {
        if let Some((key, at)) = self.due.remove_entry(key) {
            self.queue.remove(&(at, key));
        }
    }
}

impl History {
    fn interval(self) -> Duration {
        let doublings = self.in_a_row.saturating_sub(BRISK).min(6);
        (INTERVAL * (1 << doublings)).min(CALM)
    }

    fn next(self) -> Instant {
        self.last + self.interval()
    }
}

#[cfg(test)]
mod tests {
    use lvs_plan::Kind;
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> ObjectKey {
        ObjectKey::new(Kind::RealServer, "default", &format!("rs{n}"))
    }

    /// What is due, taken as settled.
    fn drain(pace: &mut Pace, now: Instant) -> BTreeSet<ObjectKey> {
        let next = || {
            let key = pace.next_due(now)?;
            pace.settled(&key);
            Some(key)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn changes_within_a_second_share_a_write() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.due_all([key(1)], now);
        assert_eq!(pace.next_due(now), Some(key(1)));
        pace.wrote(&key(1), now);
        for ms in [10, 200, 900] {
            pace.due_all([key(1)], now + Duration::from_millis(ms));
            assert_eq!(pace.next_due(now + Duration::from_millis(ms)), None);
        }
        assert_eq!(pace.next_deadline(), Some(now + INTERVAL));
        assert_eq!(pace.next_due(now + INTERVAL), Some(key(1)));
    }

    #[test]
    fn an_object_that_never_rests_is_written_ever_more_rarely() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut writes = 0;
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            pace.due_all([key(1)], now);
            if let Some(key) = pace.next_due(now) {
                writes += 1;
                pace.wrote(&key, now);
            }
        }
        assert!((10..=20).contains(&writes), "{writes} writes in 10 minutes");
    }

    #[test]
    fn while_the_server_is_away_nothing_is_due_and_then_everything_is() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.due_all((0..100).map(key), now);
        let mut tries = 0;
        let mut at = now;
        while at < now + Duration::from_mins(5) {
            if let Some(key) = pace.next_due(at) {
                tries += 1;
                pace.pause(&key, at);
            }
            at += Duration::from_millis(100);
        }
        assert!((8..=20).contains(&tries), "{tries} tries in 5 minutes");
        let back = at + PAUSE_MAX;
        assert_eq!(drain(&mut pace, back).len(), 100);
    }

    #[test]
    fn one_that_is_refused_does_not_hold_up_the_others() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.due_all([key(1), key(2)], now);
        pace.failed(&key(1), now);
        assert_eq!(pace.next_due(now), Some(key(2)));
        assert_eq!(drain(&mut pace, now + INTERVAL), BTreeSet::from([key(1), key(2)]));
    }

    #[test]
    fn objects_that_came_to_rest_are_forgotten() {
        let start = Instant::now();
        let mut pace = Pace::default();
        for minute in 0..60_u64 {
            for number in 0..1000 {
                let key = ObjectKey::new(Kind::RealServer, "default", &format!("rs{minute}-{number}"));
                pace.wrote(&key, start + Duration::from_secs(60 * minute));
            }
        }
        assert!(pace.history.len() < 10_000, "{} of 60,000", pace.history.len());
    }

    proptest! {
        /// Whatever is said to change whenever: no object is written twice within a second.
        #[test]
        fn no_object_is_written_twice_within_a_second(changes in prop::collection::vec((0_u64..300, 0_u8..3), 0..200)) {
            let mut pace = Pace::default();
            let mut now = Instant::now();
            let mut last: BTreeMap<ObjectKey, Instant> = BTreeMap::new();
            for (wait, n) in changes {
                now += Duration::from_millis(wait);
                pace.due_all([key(n)], now);
                while let Some(key) = pace.next_due(now) {
                    if let Some(last) = last.insert(key.clone(), now) {
                        prop_assert!(now - last >= INTERVAL);
                    }
                    pace.wrote(&key, now);
                }
            }
        }
    }
}
