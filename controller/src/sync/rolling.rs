//! The rolling drift check. IPVS raises no events, so somebody has to look, at a steady rate: a small table every
//! second, one of 1,000 services every nine and a half.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use lvs_plan::ServiceKey;

/// So many services are looked at together at most. They are read by one dump of all services, which costs a tenth
/// of what asking for each does.
const PART: usize = 1_024;
/// What one service adds to the time until the next look.
const PER_SERVICE: Duration = Duration::from_micros(9_500);
/// The shortest and the longest time until the next look.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(9_500));

/// Where the check stands.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    after: Option<ServiceKey>,
}

/// How long the check rests after a look. Up to [`PART`] services are all seen by each look, so every difference
/// among them is found within 10 s; larger tables take several looks.
pub(super) fn pause(services: usize) -> Duration {
    let (shortest, longest) = PAUSES;
    let share = PER_SERVICE.saturating_mul(u32::try_from(services).unwrap_or(u32::MAX));
    share.clamp(shortest, longest)
}

impl Rolling {
    /// The next services to look at, going round.
    pub(super) fn next_part<V>(&mut self, keys: &BTreeMap<ServiceKey, V>) -> Vec<ServiceKey> {
        let start = self.after.map_or(Bound::Unbounded, Bound::Excluded);
        let part: Vec<ServiceKey> =
            keys.range((start, Bound::Unbounded)).take(PART).map(|(key, _)| *key).collect();
        self.after = if part.len() < PART { None } else { part.last().copied() };
        part
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lvs_plan::service::Family;

    use super::*;

    fn keys(count: u32) -> BTreeMap<ServiceKey, ()> {
        (1..=count).map(|mark| (ServiceKey::FirewallMark { mark, family: Family::IPv4 }, ())).collect()
    }

    #[test]
    fn up_to_a_thousand_services_every_look_sees_all_within_ten_seconds() {
        for count in [1, 2, 100, 1_000] {
            let keys = keys(count);
            let mut rolling = Rolling::default();
            for _ in 0..2 {
                assert_eq!(rolling.next_part(&keys).len(), keys.len(), "of {count} services");
            }
            assert!(pause(keys.len()) < Duration::from_secs(10), "{count} services");
        }
    }

    #[test]
    fn a_larger_table_is_seen_wholly_in_as_many_looks_as_it_has_parts() {
        for count in [1_024, 1_025, 5_000] {
            let keys = keys(count);
            let mut rolling = Rolling::default();
            let looks = 1 + keys.len() / PART;
            let seen: BTreeSet<ServiceKey> = (0..looks).flat_map(|_| rolling.next_part(&keys)).collect();
            assert_eq!(seen.len(), keys.len(), "of {count} services");
        }
    }

    #[test]
    fn a_small_table_is_looked_at_often_and_a_large_one_no_more_at_once() {
        assert_eq!(pause(0), Duration::from_secs(1));
        assert_eq!(pause(10), Duration::from_secs(1));
        assert_eq!(pause(500), Duration::from_millis(4_750));
        assert_eq!(pause(1_000), pause(10_000));
    }

    #[test]
    fn an_empty_table_has_no_parts() {
        assert!(Rolling::default().next_part(&keys(0)).is_empty());
    }
}
