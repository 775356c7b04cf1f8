//! The rolling drift check. IPVS raises no events, so somebody has to look: a part of the services each second,
//! all of them within [`ROUND`] seconds.

use std::collections::BTreeMap;

use lvs_plan::ServiceKey;

/// Parts in a round: at one part a second every difference is found in less than 10 s.
const ROUND: usize = 8;

/// Where the check stands.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    after: Option<ServiceKey>,
}

impl Rolling {
    /// The next part of the keys: an eighth of them, rounded up, going round.
    pub(super) fn next_part<V>(&mut self, keys: &BTreeMap<ServiceKey, V>) -> Vec<ServiceKey> {
        let size = keys.len().div_ceil(ROUND);
        let start = match self.after {
            Some(after) => keys.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded)),
            None => keys.range(..),
        };
        let part: Vec<ServiceKey> = start.take(size).map(|(key, _)| *key).collect();
        self.after = if part.len() < size { None } else { part.last().copied() };
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
    fn every_service_is_seen_within_nine_parts_however_many_there_are() {
        for count in [1, 2, 7, 8, 9, 17, 1000] {
            let keys = keys(count);
            let mut rolling = Rolling::default();
            let seen: BTreeSet<ServiceKey> = (0..=ROUND).flat_map(|_| rolling.next_part(&keys)).collect();
            assert_eq!(seen.len(), keys.len(), "of {count} services");
        }
    }

    #[test]
    fn an_empty_table_has_no_parts() {
        assert!(Rolling::default().next_part(&keys(0)).is_empty());
    }
}
