//! How many services and destinations should be in the kernel: counted as they change, so that a pass over one
//! service does not count all.

use std::collections::BTreeMap;

use lvs_plan::ServiceKey;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct TableSize {
    by_service: BTreeMap<ServiceKey, usize>,
    destinations: usize,
}

impl TableSize {
    /// The service should be there with so many destinations, or not at all.
    pub(super) fn set(&mut self, key: ServiceKey, destinations: Option<usize>) {
        let before = match destinations {
            Some(count) => self.by_service.insert(key, count),
            None => self.by_service.remove(&key),
        };
        self.destinations += destinations.unwrap_or(0);
        self.destinations -= before.unwrap_or(0);
    }

    /// Services that should be there.
    pub(super) fn services(&self) -> usize {
        self.by_service.len()
    }

    /// Their destinations.
    pub(super) fn destinations(&self) -> usize {
        self.destinations
    }
}

#[cfg(test)]
mod tests {
    use lvs_plan::service::Family;

    use super::*;

    #[test]
    fn a_service_counts_with_what_was_said_of_it_last() {
        let key = |mark| ServiceKey::FirewallMark { mark, family: Family::IPv4 };
        let mut size = TableSize::default();
        size.set(key(1), Some(4));
        size.set(key(2), Some(3));
        size.set(key(1), Some(1));
        assert_eq!((size.services(), size.destinations()), (2, 4));
        size.set(key(2), None);
        size.set(key(3), None);
        assert_eq!((size.services(), size.destinations()), (1, 1));
    }
}
