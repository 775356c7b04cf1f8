//! Real servers with thresholds: whether the kernel has stopped to send them new connections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lvs_plan::health::Thresholds;
use lvs_plan::{ObjectKey, ServiceKey};

use super::Driver;
use crate::kernel::Kernel;

/// How often connections are counted where there are thresholds.
const LOOK: Duration = Duration::from_secs(5);

/// Every real server with thresholds.
#[derive(Debug, Default)]
pub(super) struct Overloads {
    real_servers: BTreeMap<ObjectKey, BTreeSet<ServiceKey>>,
    next: Option<Instant>,
}

impl Overloads {
    /// The services in which a real server is overloaded; `None` if it has no thresholds.
    pub(super) fn of(&self, real_server: &ObjectKey) -> Option<&BTreeSet<ServiceKey>> {
        self.real_servers.get(real_server)
    }

    pub(super) fn set(&mut self, real_server: &ObjectKey, has_thresholds: bool, now: Instant) {
        if !has_thresholds {
            self.real_servers.remove(real_server);
        } else if !self.real_servers.contains_key(real_server) {
            self.real_servers.insert(real_server.clone(), BTreeSet::new());
        }
        self.next = if self.real_servers.is_empty() { None } else { self.next.or(Some(now + LOOK)) };
    }

    /// When connections are to be counted next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }
}

impl<K: Kernel> Driver<K> {
    /// Counts the connections of all of them, when it is time. Says whose condition has changed by that.
    pub(super) fn count_overloads(&mut self, now: Instant) -> Vec<ObjectKey> {
        if self.health.overloads.next.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.health.overloads.next = Some(now + LOOK);
        let real_servers: Vec<ObjectKey> = self.health.overloads.real_servers.keys().cloned().collect();
        let places: Vec<_> = real_servers.into_iter().map(|key| (self.places(&key).0, key)).collect();
        let services = places.iter().flat_map(|(places, _)| places).map(|(service, _)| *service).collect();
        let Some(counted) = self.count_connections(&services) else { return Vec::new() };
        let mut changed = Vec::new();
        for (places, key) in places {
            let version = self.inventory.real_server(&key).and_then(|record| record.in_force.as_ref());
            let Some(before) = self.health.overloads.real_servers.get_mut(&key) else { continue };
            let Some(version) = version else { continue };
            let thresholds = Thresholds { upper: version.upper_threshold, lower: version.lower_threshold };
            let is_overloaded = |(service, destination)| {
                let count = counted.get(&service)?.get(&destination)?;
                let all = count.active.saturating_add(count.inactive);
                thresholds.is_overloaded(before.contains(&service), all).then_some(service)
            };
            let overloaded: BTreeSet<ServiceKey> = places.into_iter().filter_map(is_overloaded).collect();
            if *before != overloaded {
                *before = overloaded;
                changed.push(key);
            }
        }
        changed
    }
}
