//! The rolling drift check. IPVS raises no events, so somebody has to look, at a steady rate: a small table every
//! second, one of 1,000 services every nine and a half.
//!
//! Each look begins with a glance at the whole table, which is cheap and shows almost everything. What it shows otherwise
//! than when the service was last in order is read exactly, and so are some services more each time, for the sake
//! of what a glance does not show (thresholds above all): as many as a small share of a processor is enough for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use lvs_plan::ServiceKey;

use crate::kernel::Glance;

/// What one service adds to the time until the next look.
const PER_SERVICE: Duration = Duration::from_micros(9_500);
/// The shortest and the longest time until the next look.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The share of a processor that reading services exactly may take, whatever a glance shows. If one takes 19 µs, that
/// is enough for all of 1,000 at each look.
const EXACT_SHARE: f64 = 0.002;
/// So many are read for each second of pause however long that takes: all of 100 within 10 s, all of 1,000 within
/// 100 s.
const EXACT_PER_SECOND: f64 = 10.0;
/// An exact read takes no less than this, whatever a coarse clock says.
const LEAST_COST: Duration = Duration::from_micros(1);

/// Where the check stands.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    after: Option<ServiceKey>,
    /// The glance with which the present pass began.
    glance: Glance,
    /// How many services it showed, everybody's; none if there was no glance.
    shown: usize,
    /// Processor time of an exact read, a moving average.
    cost: Option<Duration>,
    /// The last look was to begin with a glance and could not.
    pub(super) blind: bool,
    /// What a glance showed of each service that an exact look after it found in order. (In the other order, what was
    /// changed between the two would never be seen.)
    in_order: HashMap<ServiceKey, u64>,
}

/// How long the check rests after a look at so many services. Every difference that a glance shows is found within
/// 10 s among up to 1,000 services, everybody's.
fn pause(services: usize) -> Duration {
    let (shortest, longest) = PAUSES;
    let share = PER_SERVICE.saturating_mul(u32::try_from(services).unwrap_or(u32::MAX));
    share.clamp(shortest, longest)
}

/// How many services a look reads exactly whatever a glance shows, if the check rests for so long and one takes so
/// much processor time.
#[allow(clippy::cast_sign_loss)] // a time and a rate are positive
fn exact(pause: Duration, cost: Option<Duration>) -> usize {
    let seconds = pause.as_secs_f64();
    let afforded = cost.map_or(0.0, |cost| EXACT_SHARE * seconds / cost.as_secs_f64());
    (seconds * EXACT_PER_SECOND).max(afforded).ceil() as usize
}

impl Rolling {
    /// Whether each look reads as many services exactly as there are. Then it needs no glance.
    pub(super) fn reads_all(&self, services: usize) -> bool {
        services <= exact(pause(services), self.cost)
    }

    /// So many services were read exactly, and that took so much processor time.
    pub(super) fn took(&mut self, services: usize, time: Duration) {
        let Some(one) = u32::try_from(services).ok().and_then(|services| time.checked_div(services)) else {
            return;
        };
        let one = one.max(LEAST_COST);
        self.cost = Some(self.cost.map_or(one, |before| (before * 3 + one) / 4));
    }

    /// The services to be read exactly. Without a glance that is all of them.
    pub(super) fn begin<V>(
        &mut self,
        keys: &BTreeMap<ServiceKey, V>,
        glance: Option<Glance>,
    ) -> BTreeSet<ServiceKey> {
        self.shown = glance.as_ref().map_or(0, Glance::len);
        let Some(glance) = glance else { return keys.keys().copied().collect() };
        let unknown = |key: &&ServiceKey| {
            let seen = glance.get(key);
            seen.is_none() || seen != self.in_order.get(key)
        };
        let mut part: BTreeSet<ServiceKey> = keys.keys().filter(unknown).copied().collect();
        part.extend(self.next_part(keys));
        self.glance = glance;
        part
    }

    /// How long the check rests if so many services are ours. A glance shows everybody's.
    pub(super) fn pause(&self, ours: usize) -> Duration {
        pause(ours.max(self.shown))
    }

    /// A pass looked at these services exactly, and of some of them there was something to do or to say.
    pub(super) fn end(&mut self, looked_at: &BTreeSet<ServiceKey>, touched: &BTreeSet<ServiceKey>) {
        let glance = std::mem::take(&mut self.glance);
        for key in looked_at {
            match glance.get(key) {
                Some(seen) if !touched.contains(key) => self.in_order.insert(*key, *seen),
                _ => self.in_order.remove(key),
            };
        }
    }

    /// The next services, going round.
    fn next_part<V>(&mut self, keys: &BTreeMap<ServiceKey, V>) -> Vec<ServiceKey> {
        let Some((first, _)) = keys.first_key_value() else { return Vec::new() };
        let count = exact(self.pause(keys.len()), self.cost);
        let (start, end) = match self.after {
            Some(after) => (Bound::Excluded(after), Bound::Included(after)),
            None => (Bound::Unbounded, Bound::Excluded(*first)),
        };
        let round = keys.range((start, Bound::Unbounded)).chain(keys.range((Bound::Unbounded, end)));
        let part: Vec<ServiceKey> = round.take(count).map(|(key, _)| *key).collect();
        self.after = part.last().copied();
        part
    }
}

#[cfg(test)]
mod tests {
    use lvs_plan::service::Family;

    use super::*;

    fn table(count: u32) -> BTreeMap<ServiceKey, ()> {
        (1..=count).map(|mark| (key(mark), ())).collect()
    }

    fn key(mark: u32) -> ServiceKey {
        ServiceKey::FirewallMark { mark, family: Family::IPv4 }
    }

    fn glance(count: u32) -> Glance {
        (1..=count).map(|mark| (key(mark), u64::from(mark))).collect()
    }

    /// A check that found everything in order.
    fn at_peace(count: u32) -> Rolling {
        let mut rolling = Rolling::default();
        let all = rolling.begin(&table(count), Some(glance(count)));
        assert_eq!(all.len(), count as usize, "nothing is known yet");
        rolling.end(&all, &BTreeSet::new());
        rolling
    }

    #[test]
    fn up_to_a_thousand_services_are_glanced_at_every_ten_seconds() {
        for count in [0, 1, 10, 100, 1_000] {
            assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&pause(count)), "{count}");
        }
        assert_eq!(pause(100_000), Duration::from_secs(30));
    }

    #[test]
    fn a_large_table_of_others_is_glanced_at_more_rarely() {
        let mut rolling = Rolling::default();
        let mut all = glance(2_000);
        rolling.begin(&table(11), Some(all.clone()));
        assert_eq!(rolling.pause(11), pause(2_000));
        all.clear();
        rolling.begin(&table(11), Some(all));
        assert_eq!(rolling.pause(11), pause(11));
    }

    #[test]
    fn what_a_glance_does_not_show_is_found_as_soon_beside_a_large_table_of_others() {
        let mut rolling = at_peace(100);
        let part = rolling.begin(&table(100), Some(glance(2_000)));
        assert_eq!(part.len(), 100, "in the {:?} to the next look all of them are due", rolling.pause(100));
    }

    #[test]
    fn a_table_that_has_become_small_is_looked_at_as_often_as_any() {
        let mut rolling = at_peace(3_000);
        rolling.begin(&table(5), None);
        assert_eq!(rolling.pause(5), pause(5));
    }

    #[test]
    fn what_a_glance_shows_otherwise_than_before_is_read_in_the_same_look() {
        let mut rolling = at_peace(1_000);
        let mut changed = glance(1_000);
        changed.insert(key(700), 0);
        changed.remove(&key(800));
        let part = rolling.begin(&table(1_000), Some(changed));
        assert!(part.contains(&key(700)) && part.contains(&key(800)));
        assert!(part.len() < 100, "{} of a thousand", part.len());
    }

    #[test]
    fn what_was_out_of_order_is_read_until_it_is_in_order() {
        let mut rolling = at_peace(1_000);
        let changed = BTreeSet::from([key(900)]);
        rolling.end(&changed, &changed);
        let mut look = |touched: &BTreeSet<ServiceKey>| {
            let part = rolling.begin(&table(1_000), Some(glance(1_000)));
            rolling.end(&part, touched);
            part.contains(&key(900))
        };
        assert!(look(&changed) && look(&changed), "out of order");
        assert!(look(&BTreeSet::new()), "put in order by the look before");
        assert!(!look(&BTreeSet::new()));
    }

    #[test]
    fn what_a_glance_does_not_show_is_found_in_turn() {
        for (count, within) in [(1, 1), (10, 2), (100, 11), (1_000, 105)] {
            let mut rolling = at_peace(count);
            let mut unseen: BTreeSet<ServiceKey> = table(count).into_keys().collect();
            let mut passed = Duration::ZERO;
            while !unseen.is_empty() {
                passed += pause(count as usize);
                let part = rolling.begin(&table(count), Some(glance(count)));
                unseen.retain(|key| !part.contains(key));
                rolling.end(&part, &BTreeSet::new());
            }
            assert!(passed <= Duration::from_secs(within), "{count} services: {passed:?}");
        }
    }

    #[test]
    fn a_pass_without_a_glance_proves_nothing() {
        let mut rolling = at_peace(1_000);
        let looked_at = BTreeSet::from([key(900)]);
        rolling.end(&looked_at, &BTreeSet::new());
        assert!(rolling.begin(&table(1_000), Some(glance(1_000))).contains(&key(900)));
        assert_eq!(rolling.begin(&table(1_000), None).len(), 1_000);
    }

    #[test]
    fn a_small_table_needs_no_glance() {
        let rolling = Rolling::default();
        let reads_all = |services| rolling.reads_all(services);
        assert!(reads_all(0) && reads_all(10) && !reads_all(11) && !reads_all(1_000));
    }

    #[test]
    fn as_many_are_read_exactly_as_their_share_of_a_processor_is_enough_for() {
        let of_1_000 = |microseconds: u64| {
            let mut rolling = at_peace(1_000);
            rolling.took(500, Duration::from_micros(500 * microseconds));
            (rolling.begin(&table(1_000), Some(glance(1_000))).len(), rolling.reads_all(1_000))
        };
        assert_eq!(of_1_000(10_000), (95, false), "never fewer than ten for each second");
        assert_eq!(of_1_000(100), (190, false));
        assert_eq!(of_1_000(19), (1_000, true));
    }

    #[test]
    fn what_an_exact_read_takes_is_not_judged_by_one_look() {
        let mut rolling = Rolling::default();
        rolling.took(0, Duration::from_secs(1));
        assert_eq!(rolling.cost, None);
        rolling.took(100, Duration::from_millis(2));
        rolling.took(100, Duration::from_millis(6));
        assert_eq!(rolling.cost, Some(Duration::from_micros(30)));
        rolling.took(100, Duration::ZERO);
        assert!(rolling.cost.is_some_and(|cost| cost > LEAST_COST));
    }

    #[test]
    fn an_empty_table_has_no_parts() {
        assert!(Rolling::default().begin(&table(0), Some(glance(0))).is_empty());
    }
}
