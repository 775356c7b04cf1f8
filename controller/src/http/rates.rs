//! Connections per second, from what a stream has seen of the kernel's counters.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use lvs_plan::{DestinationKey, ServiceKey};

use crate::counters::Counts;

/// The kernel adds up every 2 s what its processors counted: a shorter time would show none and then twice as
/// many.
const SHORTEST: Duration = Duration::from_millis(1_900);
/// Two of the kernel's.
const LONGEST: Duration = Duration::from_millis(4_100);

/// Connections of every destination so far.
type Sample = HashMap<(ServiceKey, DestinationKey), u64>;

/// The samples of the last seconds, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Rates(VecDeque<(Instant, Sample)>);

impl Rates {
    /// Takes in what was counted.
    pub(super) fn sample(&mut self, counted: &HashMap<ServiceKey, Counts>, now: Instant) {
        let of_service = |(service, counts): (&ServiceKey, &Counts)| {
            let connections = counts.iter().map(|(at, it)| ((*service, *at), it.traffic.connections));
            connections.collect::<Vec<_>>()
        };
        self.0.push_back((now, counted.iter().flat_map(of_service).collect()));
        while self.0.front().is_some_and(|(at, _)| now - *at > LONGEST) {
            self.0.pop_front();
        }
    }

    /// New connections per second up to the last sample; `None` until there are two of it, far enough apart.
    pub(super) fn per_second(&self, service: ServiceKey, destination: DestinationKey) -> Option<f64> {
        let at = (service, destination);
        let (last, newest) = self.0.back()?;
        let now = *newest.get(&at)?;
        let (then, before) = self.0.iter().find_map(|(then, sample)| Some((then, *sample.get(&at)?)))?;
        let passed = *last - *then;
        // A destination that was made anew counts from 0 again.
        let new = now.checked_sub(before)?;
        let new = u32::try_from(new).unwrap_or(u32::MAX);
        (passed >= SHORTEST).then(|| f64::from(new) / passed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use lvs_plan::service::Family;

    use super::*;
    use crate::counters::{Count, Traffic};

    const SERVICE: ServiceKey = ServiceKey::FirewallMark { mark: 7, family: Family::IPv4 };

    fn destination() -> DestinationKey {
        DestinationKey { address: [192, 168, 40, 12].into(), port: 0 }
    }

    fn counted(connections: u64) -> HashMap<ServiceKey, Counts> {
        let traffic = Traffic { connections, ..Traffic::default() };
        [(SERVICE, [(destination(), Count { traffic, ..Count::default() })].into_iter().collect())].into()
    }

    #[test]
    fn the_rate_does_not_jump_though_the_kernel_counts_every_other_second_only() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let mut seen = Vec::new();
        for (second, connections) in (0..).zip([0, 100, 100, 200, 200, 300, 300, 400, 400, 400, 400, 400]) {
            rates.sample(&counted(connections), start + Duration::from_secs(second));
            seen.push(rates.per_second(SERVICE, destination()));
        }
        let shown = [50.0, 66.7, 50.0, 50.0, 50.0, 50.0, 50.0, 25.0, 25.0, 0.0];
        assert_eq!(seen[..2], [None, None]);
        for (seen, shown) in seen[2..].iter().zip(shown) {
            assert!((seen.expect("a rate") - shown).abs() < 0.1, "{seen:?} is not {shown}");
        }
    }

    #[test]
    fn a_destination_that_is_made_anew_has_no_rate_until_it_was_seen_long_enough() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let mut seen = Vec::new();
        for (second, connections) in (0..).zip([900, 900, 900, 4, 4, 8, 8, 8]) {
            rates.sample(&counted(connections), start + Duration::from_secs(second));
            seen.push(rates.per_second(SERVICE, destination()).is_some());
        }
        assert_eq!(seen, [false, false, true, false, false, false, false, true]);
        rates.sample(&HashMap::new(), start + Duration::from_secs(8));
        assert_eq!(rates.per_second(SERVICE, destination()), None, "it could not be read");
    }
}
