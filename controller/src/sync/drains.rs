//! Real servers that drain: their connections are counted until none is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lvs_plan::health::Drain;
use lvs_plan::{DestinationKey, Kind, ObjectKey, ServiceKey};
use tracing::warn;

use super::Driver;
use crate::kernel::{Counted, Kernel};

/// Every real server that drains.
#[derive(Debug, Default)]
pub(super) struct Drains(BTreeMap<ObjectKey, Drain>);

/// Where a real server's connections are counted, and how long it may take.
pub(super) type Places = (Vec<(ServiceKey, DestinationKey)>, Duration);

impl Drains {
    pub(super) fn of(&self, real_server: &ObjectKey) -> Option<&Drain> {
        self.0.get(real_server)
    }

    /// Whether a real server drains, from now on.
    pub(super) fn set(&mut self, real_server: &ObjectKey, drains: bool, now: Instant) {
        if !drains {
            self.0.remove(real_server);
        } else if !self.0.contains_key(real_server) {
            self.0.insert(real_server.clone(), Drain::begin(now));
        }
    }

    /// When connections are to be counted next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(Drain::next).min()
    }

    fn due(&self, now: Instant) -> Vec<ObjectKey> {
        let due = self.0.iter().filter(|(_, drain)| drain.next() <= now);
        due.map(|(key, _)| key.clone()).collect()
    }
}

impl<K: Kernel> Driver<K> {
    /// Whose connections are counted from now on: of the objects that changed, those that drain, whose weight is 0 in the
    /// kernel by now, and those with thresholds.
    pub(super) fn note_counted(&mut self, now: Instant) {
        for key in self.backlog.objects.iter().filter(|key| key.kind == Kind::RealServer) {
            let version = self.inventory.real_server(key).and_then(|record| record.in_force.as_ref());
            self.health.drains.set(key, version.is_some_and(|version| version.drain), now);
            let has_thresholds = version.is_some_and(|version| version.upper_threshold > 0);
            self.health.overloads.set(key, has_thresholds, now);
        }
    }

    /// Counts the connections of those that are due. Says whose condition has changed by that.
    pub(super) fn count_drains(&mut self, now: Instant) -> Vec<ObjectKey> {
        let due = self.health.drains.due(now);
        if due.is_empty() {
            return Vec::new();
        }
        let places: BTreeMap<ObjectKey, Places> =
            due.into_iter().map(|key| (key.clone(), self.places(&key))).collect();
        let services: BTreeSet<ServiceKey> =
            places.values().flat_map(|(places, _)| places).map(|(service, _)| *service).collect();
        let counted = self.count_connections(&services);
        let mut changed = Vec::new();
        for (key, (places, timeout)) in places {
            // Until its weight is 0 in the kernel nothing says how far it is.
            let in_force = places.iter().all(|(service, _)| self.is_in_kernel(service));
            let Some(drain) = self.health.drains.0.get_mut(&key) else { continue };
            let Some(counted) = counted.as_ref().filter(|_| in_force) else {
                drain.postpone(now);
                continue;
            };
            let of_place = |(service, destination): &(ServiceKey, DestinationKey)| {
                let destination = counted.get(service)?.get(destination)?;
                Some(destination.active)
            };
            let active: u32 = places.iter().filter_map(of_place).sum();
            if drain.count(active, timeout, now) {
                changed.push(key);
            }
        }
        changed
    }

    /// Connections of these services, if they can be counted.
    pub(super) fn count_connections(&mut self, services: &BTreeSet<ServiceKey>) -> Option<Counted> {
        let counted = self.kernel.connections(services);
        // The next pass reads the kernel too, and says it louder.
        counted.inspect_err(|error| warn!(%error, "connections cannot be counted")).ok()
    }

    /// The destinations of a real server, and how long it may take to drain.
    pub(super) fn places(&self, key: &ObjectKey) -> Places {
        let mut places = Vec::new();
        let mut timeout = Duration::ZERO;
        let selected_by = self.inventory.real_server(key).map(|record| &record.selected_by);
        for owner in selected_by.into_iter().flatten() {
            let Some(record) = self.inventory.virtual_service(owner) else { continue };
            let policy = record.in_force.as_ref().map(|version| version.policy().drain_timeout);
            for (service, desired) in &record.desired().services {
                let mine = desired.destinations.iter().filter(|(_, wanted)| wanted.owner == *key);
                // What somebody else has in its place is none of ours.
                if !self.is_refused(service) {
                    places.extend(mine.map(|(destination, _)| (*service, *destination)));
                }
            }
            timeout = timeout.max(policy.unwrap_or_default());
        }
        (places, timeout)
    }
}
